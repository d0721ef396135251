//! The manifests with which steps last succeeded on this machine. They only explain differences.
//!
//! One of them may list a hundred thousand files, and most runs need none of that: the keys stand in the file's first line
//! and the rest is read when somebody asks. That it is whole is seen at once, without keeping it.
//!
//! ```text
//! {"version":1,"checksum":"…","keys":{"build:api":"…"}}
//! {"build:api":{…}}
//! ```
//!
//! The checksum is the BLAKE3 digest of the keys' JSON text and all that follows the first line.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::state::ignored;
use crate::key::{Key, Manifest, RecordedManifest};

/// The version of the file's form.
///
/// - 1: the first.
const VERSION: u32 = 1;

/// A first line that is longer is none.
const LONGEST_LINE: u64 = 16 << 20;

/// Bytes that are read at a time.
const PIECE: usize = 64 * 1024;

/// The manifests with which steps last succeeded here.
#[derive(Debug)]
pub struct Manifests {
    path: PathBuf,
    state: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    keys: BTreeMap<String, Key>,
    /// The manifests as text; absent while nobody has asked for one.
    texts: Option<BTreeMap<String, Box<RawValue>>>,
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
        let (keys, warning) = match read_keys(&path) {
            Ok(keys) => (keys, None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (BTreeMap::new(), None),
            Err(error) => (BTreeMap::new(), Some(ignored(&path, &error.to_string()))),
        };
        // A file that is damaged is as good as empty, and is written anew.
        let texts = keys.is_empty().then(BTreeMap::new);
        let changed = warning.is_some();
        (Self { path, state: Mutex::new(Kept { keys, texts, changed }) }, warning)
    }

    /// The key of a step's manifest.
    pub fn key(&self, step: &str) -> Option<Key> {
        self.lock().keys.get(step).cloned()
    }

    /// A step's manifest.
    pub fn get(&self, step: &str) -> Option<RecordedManifest> {
        let mut kept = self.lock();
        kept.keys.get(step)?;
        let text = kept.texts(&self.path).get(step)?;
        serde_json::from_str(text.get()).ok()
    }

    /// Keeps a step's manifest in the place of an earlier one. One with an unknown input is not kept.
    pub fn insert(&self, step: &str, manifest: &Manifest) {
        let Some(record) = manifest.record() else { return };
        // It is always JSON.
        let Ok(text) = serde_json::value::to_raw_value(&record) else { return };
        let mut kept = self.lock();
        kept.texts(&self.path).insert(step.to_owned(), text);
        kept.keys.insert(step.to_owned(), record.key);
        kept.changed = true;
    }

    /// The steps of which there is a manifest.
    pub fn steps(&self) -> Vec<String> {
        self.lock().keys.keys().cloned().collect()
    }

    /// Forgets these steps.
    pub fn forget(&self, steps: &[String]) {
        let mut kept = self.lock();
        for step in steps {
            if kept.keys.remove(step).is_some() {
                kept.texts(&self.path).remove(step);
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
        let texts = kept.texts(&self.path);
        let mut hasher = blake3::Hasher::new();
        hasher.update(keys.get().as_bytes());
        let mut body = BufWriter::with_capacity(PIECE, &mut hasher);
        serde_json::to_writer(&mut body, texts)?;
        body.flush()?;
        drop(body);
        let head = Head { version: VERSION, checksum: hasher.finalize().to_hex().to_string(), keys };
        super::replace_with(&self.path, |file| {
            serde_json::to_writer(&mut *file, &head)?;
            file.write_all(b"\n")?;
            Ok(serde_json::to_writer(file, texts)?)
        })?;
        kept.changed = false;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // A panic elsewhere can't have left half a manifest: every change is one insertion.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// The texts, read now if they were not before. They were whole when the run began; what has gone wrong with the file
    /// since only costs explanations.
    fn texts(&mut self, path: &Path) -> &mut BTreeMap<String, Box<RawValue>> {
        self.texts.get_or_insert_with(|| read_texts(path).unwrap_or_default())
    }
}

/// Reads the first line of the file, and makes sure of the rest without keeping it.
fn read_keys(path: &Path) -> io::Result<BTreeMap<String, Key>> {
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
    serde_json::from_str(head.keys.get()).map_err(|_| damaged())
}

fn read_texts(path: &Path) -> io::Result<BTreeMap<String, Box<RawValue>>> {
    let (mut file, _) = first_line(path)?;
    let mut body = Vec::new();
    file.read_to_end(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
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
        let text = std::fs::read_to_string(&path).unwrap().replacen("\"version\":1", "\"version\":2", 1);
        std::fs::write(&path, text).unwrap();
        assert!(Manifests::open(&path).1.unwrap().contains("another version"));
    }
}
