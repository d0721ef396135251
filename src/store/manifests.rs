//! The manifests with which steps last succeeded on this machine. They only explain differences.
//!
//! One of them may list a hundred thousand files, and most runs need none of that: the keys stand in the file's first line
//! and the rest is read when somebody asks. That it is whole is seen at once, without keeping it.
//!
//! ```text
//! {"version":2,"checksum":"…","keys":{"shop/build:api":"…"}}
//! {"shop/build:api":{…}}
//! ```
//!
//! The checksum is the BLAKE3 digest of the keys' JSON text and all that follows the first line.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IntoInnerError, Read, Seek, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::places;
use super::state::ignored;
use crate::key::{Key, Manifest, RecordedManifest};

/// The version of the file's form.
///
/// - 1: the first.
/// - 2: the name of the stack before that of the step.
const VERSION: u32 = 2;

/// A first line that is longer is none.
const LONGEST_LINE: u64 = 16 << 20;

/// Bytes that are read at a time.
const PIECE: usize = 64 * 1024;

/// The manifests with which steps last succeeded here.
#[derive(Debug)]
pub struct Manifests {
    path: PathBuf,
    /// The name of the stack, with a `/`, which no name holds.
    stack: String,
    state: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    keys: BTreeMap<String, Key>,
    /// The file that was read. Whoever replaces it leaves this one as it is.
    file: Option<File>,
    /// Where in the file the manifests are; absent while nobody has asked for one.
    places: Option<BTreeMap<String, Range<u64>>>,
    /// What is to be written.
    new: BTreeMap<String, Manifest>,
    changed: bool,
}

#[derive(Serialize, Deserialize)]
struct Head<K> {
    version: u32,
    checksum: String,
    keys: K,
}

impl Manifests {
    /// Opens this file. One that can't be used gives no manifests and a sentence that says why; one that is not there gives
    /// none.
    pub fn open(path: impl Into<PathBuf>) -> (Self, Option<String>) {
        let path = path.into();
        let (keys, file, warning) = match read_keys(&path) {
            Ok((keys, file)) => (keys, Some(file), None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (BTreeMap::new(), None, None),
            Err(error) => (BTreeMap::new(), None, Some(ignored(&path, &error.to_string()))),
        };
        // A file that is damaged is as good as empty, and is written anew.
        let changed = warning.is_some();
        (
            Self { path, stack: "/".to_owned(), state: Mutex::new(Kept { keys, file, changed, ..Kept::default() }) },
            warning,
        )
    }

    /// The same, of the steps of this stack.
    #[must_use]
    pub fn of(self, stack: &str) -> Self {
        Self { stack: format!("{stack}/"), ..self }
    }

    /// A step of the stack as it is named in the file.
    fn name(&self, step: &str) -> String {
        format!("{}{step}", self.stack)
    }

    /// The key of a step's manifest.
    pub fn key(&self, step: &str) -> Option<Key> {
        self.lock().keys.get(&self.name(step)).cloned()
    }

    /// A step's manifest.
    pub fn get(&self, step: &str) -> Option<RecordedManifest> {
        let name = self.name(step);
        let mut kept = self.lock();
        kept.keys.get(&name)?;
        match kept.new.get(&name) {
            Some(new) => new.recorded(),
            None => serde_json::from_reader(BufReader::with_capacity(PIECE, kept.text(&name)?)).ok(),
        }
    }

    /// Keeps a step's manifest in the place of an earlier one. One with an unknown input is not kept.
    pub fn insert(&self, step: &str, manifest: &Manifest) {
        let Some(key) = manifest.key() else { return };
        let mut kept = self.lock();
        kept.new.insert(self.name(step), manifest.clone());
        kept.keys.insert(self.name(step), key);
        kept.changed = true;
    }

    /// The steps of which there is a manifest.
    pub fn steps(&self) -> Vec<String> {
        self.lock().keys.keys().filter_map(|name| name.strip_prefix(&self.stack)).map(str::to_owned).collect()
    }

    /// Forgets these steps.
    pub fn forget(&self, steps: &[String]) {
        let mut kept = self.lock();
        for step in steps {
            let name = self.name(step);
            if kept.keys.remove(&name).is_some() {
                kept.new.remove(&name);
                kept.changed = true;
            }
        }
    }

    /// Writes them, if there is something new. The file is replaced in one step.
    ///
    /// # Errors
    /// When the file can't be written; the old one stays.
    pub fn save(&self) -> io::Result<()> {
        let mut kept = self.lock();
        if !kept.changed {
            return Ok(());
        }
        let keys = serde_json::value::to_raw_value(&kept.keys)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(keys.get().as_bytes());
        // The checksum takes its place when the rest is written: it is always as long.
        let mut head =
            Head { version: VERSION, checksum: blake3::Hash::from_bytes([0; 32]).to_hex().to_string(), keys };
        super::replace_with(&self.path, |file| {
            write_head(file, &head)?;
            let mut body = BufWriter::with_capacity(PIECE, Hashed { file: &mut *file, hasher });
            kept.write_body(&mut body)?;
            let Hashed { hasher, .. } = body.into_inner().map_err(IntoInnerError::into_error)?;
            head.checksum = hasher.finalize().to_hex().to_string();
            file.rewind()?;
            write_head(file, &head)
        })?;
        kept.changed = false;
        // What comes after this in the same run reads what was written: that takes less memory.
        let keys = std::mem::take(&mut kept.keys);
        *kept = Kept { keys, file: Some(File::open(&self.path)?), ..Kept::default() };
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // A panic elsewhere can't have left half a manifest: every change is one insertion.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// The text of a manifest in the file. It was whole when the run began; what has gone wrong with the file since only
    /// costs explanations.
    fn text(&mut self, step: &str) -> Option<io::Take<&File>> {
        let mut file = self.file.as_ref()?;
        let places = self.places.get_or_insert_with(|| places::find(file).unwrap_or_default());
        let place = places.get(step)?;
        file.seek(io::SeekFrom::Start(place.start)).ok()?;
        Some(file.take(place.end - place.start))
    }

    /// Writes all that follows the first line.
    fn write_body(&mut self, body: &mut impl Write) -> io::Result<()> {
        let steps: Vec<String> = self.keys.keys().cloned().collect();
        let mut separator = "{";
        for step in &steps {
            let mut name = |body: &mut dyn Write| {
                body.write_all(std::mem::replace(&mut separator, ",").as_bytes())?;
                serde_json::to_writer(&mut *body, step)?;
                body.write_all(b":")
            };
            if let Some(record) = self.new.get(step).and_then(Manifest::record) {
                name(body)?;
                serde_json::to_writer(&mut *body, &record)?;
            } else if let Some(mut old) = self.text(step) {
                name(body)?;
                io::copy(&mut old, body)?;
            }
        }
        body.write_all(if separator == "{" { b"{}" } else { b"}" })
    }
}

/// Hashes what it writes.
struct Hashed<W> {
    file: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let size = self.file.write(bytes)?;
        self.hasher.update(&bytes[..size]);
        Ok(size)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn write_head(file: &mut impl Write, head: &Head<Box<RawValue>>) -> io::Result<()> {
    serde_json::to_writer(&mut *file, head)?;
    file.write_all(b"\n")
}

/// Reads the first line of the file, and makes sure of the rest without keeping it.
fn read_keys(path: &Path) -> io::Result<(BTreeMap<String, Key>, File)> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "it is damaged");
    let (mut file, line) = first_line(path)?;
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_slice(&line).map_err(|_| damaged())?;
    if version != VERSION {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it was written by another version of stack"));
    }
    let head: Head<Box<RawValue>> = serde_json::from_slice(&line).map_err(|_| damaged())?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(head.keys.get().as_bytes());
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(size) => {
                hasher.update(&piece[..size]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if hasher.finalize().to_hex().as_str() != head.checksum {
        return Err(damaged());
    }
    let keys = serde_json::from_str(head.keys.get()).map_err(|_| damaged())?;
    Ok((keys, file))
}

/// The file after its first line, and that line.
fn first_line(path: &Path) -> io::Result<(File, Vec<u8>)> {
    let mut line = Vec::new();
    let mut reader = BufReader::new(File::open(path)?).take(LONGEST_LINE);
    reader.read_until(b'\n', &mut line)?;
    let mut file = reader.into_inner().into_inner();
    file.seek(io::SeekFrom::Start(line.len() as u64))?;
    Ok((file, line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Group;

    fn manifest(value: &str) -> Manifest {
        let mut manifest = Manifest::new("build");
        manifest.text(Group::Arg, "COLOUR", value);
        manifest
    }

    fn written() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifests");
        let (manifests, warning) = Manifests::open(&path);
        assert_eq!(warning, None);
        manifests.insert("build:a", &manifest("red"));
        manifests.insert("build:b", &manifest("blue"));
        manifests.save().unwrap();
        (folder, path)
    }

    #[test]
    fn what_was_written_is_read_and_what_is_forgotten_goes() {
        let (_folder, path) = written();
        let (manifests, warning) = Manifests::open(&path);
        assert_eq!(warning, None);
        assert_eq!(manifests.key("build:a"), manifest("red").key());
        assert_eq!(manifests.get("build:b"), manifest("blue").recorded());
        assert_eq!(manifests.get("build:c"), None);
        manifests.insert("build:a", &manifest("green"));
        manifests.forget(&["build:b".to_owned()]);
        manifests.save().unwrap();
        let (manifests, _) = Manifests::open(&path);
        assert_eq!(manifests.steps(), ["build:a"]);
        assert_eq!(manifests.get("build:a"), manifest("green").recorded());
    }

    #[test]
    fn what_nobody_touched_is_written_as_it_was() {
        let (_folder, path) = written();
        let first = std::fs::read_to_string(&path).unwrap();
        let (manifests, _) = Manifests::open(&path);
        manifests.insert("build:\"odd\"", &manifest("{\""));
        // Whoever replaces the file meanwhile takes nothing from this run.
        super::super::replace(&path, b"noise").unwrap();
        manifests.save().unwrap();
        for manifests in [manifests, Manifests::open(&path).0] {
            assert_eq!(manifests.steps(), ["build:\"odd\"", "build:a", "build:b"]);
            assert_eq!(manifests.get("build:a"), manifest("red").recorded());
            assert_eq!(manifests.get("build:\"odd\""), manifest("{\"").recorded());
            manifests.forget(&["build:\"odd\"".to_owned()]);
            manifests.save().unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), first);
            manifests.insert("build:\"odd\"", &manifest("{\""));
            manifests.save().unwrap();
        }
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_a_warned_miss() {
        let (_folder, path) = written();
        let good = std::fs::read(&path).unwrap();
        for length in 0..good.len() {
            std::fs::write(&path, &good[..length]).unwrap();
            let (manifests, warning) = Manifests::open(&path);
            assert!(manifests.key("build:a").is_none() && warning.is_some(), "cut to {length} bytes");
        }
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 0x20;
            std::fs::write(&path, &bad).unwrap();
            let (manifests, warning) = Manifests::open(&path);
            let is_same = manifests.get("build:a") == manifest("red").recorded()
                && manifests.get("build:b") == manifest("blue").recorded();
            assert!(warning.is_some() || is_same, "byte {position} flipped and believed");
        }
        // What is damaged is written anew as a whole.
        let (manifests, _) = Manifests::open(&path);
        manifests.insert("build:a", &manifest("red"));
        manifests.save().unwrap();
        assert_eq!(Manifests::open(&path).1, None);
    }

    #[test]
    fn a_newer_version_is_a_warned_miss() {
        let (_folder, path) = written();
        let text = std::fs::read_to_string(&path).unwrap().replacen("\"version\":2", "\"version\":3", 1);
        std::fs::write(&path, text).unwrap();
        assert!(Manifests::open(&path).1.unwrap().contains("another version"));
    }
}
