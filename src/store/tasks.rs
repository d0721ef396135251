//! What tasks did on this machine: for each task, what it was made from and what it made.
//!
//! A task has no other witness than its outputs, so here the record decides, and is kept with care: it is withdrawn
//! before the task starts and written after it succeeded, each by appending one frame, so that a crash at any moment
//! leaves a task that runs again. A torn or damaged frame ends the file. At the end of a run that changed much, the
//! frames that count are written anew.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;

use crate::key::RecordedManifest;
use crate::key::context::{Digest, FileStat};

const MAGIC: &[u8; 8] = b"stacktsk";
/// The version of the format.
///
/// - 1: the first.
/// - 2: what a task printed is left out where it holds a secret.
/// - 3: CRC-32 instead of a digest: a frame can be torn, not forged.
const VERSION: u32 = 3;
const HEADER: usize = 8 + 4;
/// Length and checksum.
const FRAME: usize = 4 + 4;
/// What follows the digest of a file that may be executed.
const EXECUTABLE: &[u8] = b"x";
/// The bytes of a frame with a record of a task that makes a file.
const USUAL: usize = 512;

/// What a task was made from and what it made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRecord {
    /// The key of its inputs.
    pub key: String,
    /// Changes whenever what depends on the task has to look again.
    pub effect: String,
    /// What it printed; absent where a secret was in it.
    pub stdout: Option<String>,
    /// The files that it made, by path.
    pub outputs: Vec<(String, Made)>,
    /// Its inputs as JSON: read only to explain a difference.
    manifest: Vec<u8>,
}

/// A file that a task made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// The digest of what is in it.
    pub digest: Digest,
    /// Whether its owner may execute it.
    pub executable: bool,
}

/// A record that is looked at where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskView<'r> {
    /// The key of its inputs.
    pub key: &'r str,
    /// Changes whenever what depends on the task has to look again.
    pub effect: &'r str,
    /// What it printed; absent where a secret was in it.
    pub stdout: Option<&'r str>,
    /// The files that it made.
    pub outputs: Vec<(&'r str, Made)>,
    manifest: &'r [u8],
}

impl TaskView<'_> {
    fn to_record(&self) -> TaskRecord {
        TaskRecord {
            key: self.key.to_owned(),
            effect: self.effect.to_owned(),
            stdout: self.stdout.map(str::to_owned),
            outputs: self.outputs.iter().map(|(path, made)| ((*path).to_owned(), *made)).collect(),
            manifest: self.manifest.to_vec(),
        }
    }
}

impl TaskRecord {
    fn view(&self) -> TaskView<'_> {
        TaskView {
            key: &self.key,
            effect: &self.effect,
            stdout: self.stdout.as_deref(),
            outputs: self.outputs.iter().map(|(path, made)| (path.as_str(), *made)).collect(),
            manifest: &self.manifest,
        }
    }

    /// The record of a task that succeeded.
    pub fn new(
        manifest: &RecordedManifest,
        effect: String,
        stdout: Option<String>,
        outputs: Vec<(String, Made)>,
    ) -> Self {
        let key = manifest.key.to_string();
        // Without it a difference is explained less well, and nothing else.
        let manifest = serde_json::to_vec(manifest).unwrap_or_default();
        Self { key, effect, stdout, outputs, manifest }
    }

    /// The inputs, for an explanation.
    pub fn manifest(&self) -> Option<RecordedManifest> {
        serde_json::from_slice(&self.manifest).ok()
    }
}

/// The records of all tasks of a stack.
#[derive(Debug)]
pub struct TaskLog {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the system said of the file just before it was read.
    read_as: Option<FileStat>,
    /// As read from disk.
    bytes: Arc<Vec<u8>>,
    /// The records, read or written.
    records: HashMap<String, Place>,
    /// Frames on disk that no longer count.
    stale: usize,
    /// Opened when the first frame is written.
    file: Option<File>,
    /// The file on disk is no log that could be appended to.
    broken: bool,
}

#[derive(Debug)]
enum Place {
    /// A payload in the bytes that were read.
    Read(Range<usize>),
    Written(Arc<TaskRecord>),
}

impl TaskLog {
    /// Opens the log in this file. A file that can't be used gives an empty log and a sentence that says why; one that
    /// is not there gives an empty log.
    pub fn open(path: impl Into<PathBuf>) -> (Self, Option<String>) {
        let path = path.into();
        let (state, why) = State::open(&path);
        let warning = why.map(|why| format!("{}: {why}; tasks that are not in it run again", path.display()));
        (Self { path, state: Mutex::new(state) }, warning)
    }

    /// What a task did when it last succeeded.
    pub fn get(&self, task: &str) -> Option<Arc<TaskRecord>> {
        let state = self.lock();
        match state.records.get(task)? {
            Place::Read(range) => decode(state.bytes.get(range.clone())?)?.1.map(|view| Arc::new(view.to_record())),
            Place::Written(record) => Some(Arc::clone(record)),
        }
    }

    /// Reads the file again if it has changed since: whoever held the lock until now may have written to it. Says whether
    /// it has.
    pub fn refresh(&self) -> bool {
        let mut state = self.lock();
        let has_changed = state.read_as != stat(&self.path);
        if has_changed {
            *state = State::open(&self.path).0;
        }
        has_changed
    }

    /// What a task did when it last succeeded, without a copy of it.
    pub fn view<R>(&self, task: &str, look: impl FnOnce(&TaskView<'_>) -> R) -> Option<R> {
        let state = self.lock();
        let bytes = Arc::clone(&state.bytes);
        let place = match state.records.get(task)? {
            Place::Read(range) => Place::Read(range.clone()),
            Place::Written(record) => Place::Written(Arc::clone(record)),
        };
        // Whoever looks may ask for the records of other tasks.
        drop(state);
        match place {
            Place::Read(range) => decode(bytes.get(range)?)?.1.as_ref().map(look),
            Place::Written(record) => Some(look(&record.view())),
        }
    }

    /// Forgets what a task did: it is about to start.
    ///
    /// # Errors
    /// When the file can't be written; then the task must not start.
    pub fn withdraw(&self, task: &str) -> io::Result<()> {
        let mut state = self.lock();
        if state.records.remove(task).is_none() {
            return Ok(());
        }
        state.stale += 2;
        state.append(&self.path, &encode(task, None))
    }

    /// Records what a task did.
    ///
    /// # Errors
    /// When the file can't be written; then the task runs again the next time.
    pub fn put(&self, task: &str, record: TaskRecord) -> io::Result<()> {
        let mut state = self.lock();
        let payload = encode(task, Some(&record));
        if state.records.insert(task.to_owned(), Place::Written(Arc::new(record))).is_some() {
            state.stale += 1;
        }
        state.append(&self.path, &payload)
    }

    /// Writes the file anew if most of it no longer counts. `exists` says which tasks there still are.
    ///
    /// # Errors
    /// When the file can't be written; the old one stays.
    pub fn tidy(&self, exists: impl Fn(&str) -> bool) -> io::Result<()> {
        let mut state = self.lock();
        if state.file.is_none() && !state.broken {
            // Nothing was written, so it is as tidy as the last run left it.
            return Ok(());
        }
        let gone = state.records.keys().filter(|task| !exists(task)).count();
        if state.stale + gone <= state.records.len().max(64) && !state.broken {
            return Ok(());
        }
        let mut bytes = header();
        let mut tasks: Vec<&String> = state.records.keys().filter(|task| exists(task)).collect();
        tasks.sort_unstable();
        for task in tasks {
            let payload = match &state.records[task] {
                Place::Read(range) => state.bytes[range.clone()].to_vec(),
                Place::Written(record) => encode(task, Some(record)),
            };
            frame(&payload, &mut bytes);
        }
        super::replace(&self.path, &bytes)?;
        let (mut fresh, _) = State::read(bytes);
        fresh.file = None;
        *state = fresh;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere can't have left half a record: every change is one insertion.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stat(path: &Path) -> Option<FileStat> {
    fs::metadata(path).ok().map(|data| FileStat::of(&data))
}

impl State {
    fn open(path: &Path) -> (Self, Option<String>) {
        let read_as = stat(path);
        let (state, why) = match fs::read(path) {
            Ok(bytes) => Self::read(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Self::default(), None),
            Err(error) => (Self { broken: true, ..Self::default() }, Some(error.to_string())),
        };
        (Self { read_as, ..state }, why)
    }

    /// Reads all frames up to the first that is damaged.
    fn read(bytes: Vec<u8>) -> (Self, Option<String>) {
        let broken = |why: &str| (Self { broken: true, ..Self::default() }, Some(why.to_owned()));
        if bytes.get(..8) != Some(MAGIC) {
            return broken("it is no record of tasks");
        }
        if bytes.get(8..HEADER) != Some(&VERSION.to_le_bytes()) {
            return broken("it was written by another version of stack");
        }
        let mut state = Self::default();
        state.records.reserve(bytes.len() / USUAL);
        let mut at = HEADER;
        while at < bytes.len() {
            let Some(payload) = payload(&bytes, at) else {
                // What was read is good; what follows can't be told apart from it any more.
                state.broken = true;
                break;
            };
            match decode(&bytes[payload.clone()]) {
                Some((task, Some(_))) => {
                    if state.records.insert(task.to_owned(), Place::Read(payload.clone())).is_some() {
                        state.stale += 1;
                    }
                }
                Some((task, None)) => {
                    state.records.remove(task);
                    state.stale += 2;
                }
                None => {
                    state.broken = true;
                    break;
                }
            }
            at = payload.end;
        }
        let why = state.broken.then(|| "its end is damaged".to_owned());
        state.bytes = Arc::new(bytes);
        (state, why)
    }

    fn append(&mut self, path: &Path, payload: &[u8]) -> io::Result<()> {
        if self.broken {
            // Nothing may follow what can't be read. What counts is written anew, by itself.
            let mut bytes = header();
            for (task, place) in &self.records {
                match place {
                    Place::Read(range) => frame(&self.bytes[range.clone()], &mut bytes),
                    Place::Written(record) => frame(&encode(task, Some(record)), &mut bytes),
                }
            }
            super::replace(path, &bytes)?;
            self.broken = false;
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                use std::os::unix::fs::OpenOptionsExt;
                let mut file = File::options().append(true).create(true).mode(0o600).open(path)?;
                if file.metadata()?.len() == 0 {
                    file.write_all(&header())?;
                }
                self.file.insert(file)
            }
        };
        let mut bytes = Vec::with_capacity(FRAME + payload.len());
        frame(payload, &mut bytes);
        // One write: another process sees all of it or nothing.
        file.write_all(&bytes)
    }
}

fn header() -> Vec<u8> {
    [MAGIC.as_slice(), &VERSION.to_le_bytes()].concat()
}

fn checksum(payload: &[u8]) -> [u8; 4] {
    crc32fast::hash(payload).to_le_bytes()
}

fn frame(payload: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    into.extend_from_slice(&checksum(payload));
    into.extend_from_slice(payload);
}

/// Where the payload of the frame at `at` is, if the frame is whole.
fn payload(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let length = bytes.get(at..at + 4)?;
    let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
    let start = at + FRAME;
    let payload = bytes.get(start..start.checked_add(length)?)?;
    (bytes[at + 4..start] == checksum(payload)).then(|| start..start + length)
}

/// Name, then a record unless it is a withdrawal. Every text is preceded by its length.
fn encode(task: &str, record: Option<&TaskRecord>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut put = |part: &[u8]| {
        bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
        bytes.extend_from_slice(part);
    };
    put(task.as_bytes());
    if let Some(record) = record {
        put(record.key.as_bytes());
        put(record.effect.as_bytes());
        put(&[u8::from(record.stdout.is_some())]);
        put(record.stdout.as_deref().unwrap_or_default().as_bytes());
        put(&record.manifest);
        for (path, Made { digest, executable }) in &record.outputs {
            put(path.as_bytes());
            match executable {
                false => put(digest),
                true => put(&[digest.as_slice(), EXECUTABLE].concat()),
            }
        }
    }
    bytes
}

fn decode(payload: &[u8]) -> Option<(&str, Option<TaskView<'_>>)> {
    let mut rest = payload;
    let mut take = || {
        let (length, after) = rest.split_at_checked(4)?;
        let (part, after) = after.split_at_checked(u32::from_le_bytes(length.try_into().ok()?) as usize)?;
        rest = after;
        Some(part)
    };
    let text = |part| std::str::from_utf8(part).ok();
    let task = text(take()?)?;
    let Some(key) = take() else { return Some((task, None)) };
    let key = text(key)?;
    let effect = text(take()?)?;
    let is_kept = take()? == [1];
    let stdout = Some(text(take()?)?).filter(|_| is_kept);
    let manifest = take()?;
    let mut outputs = Vec::new();
    while let Some(path) = take() {
        let (digest, mark) = take()?.split_first_chunk()?;
        if !mark.is_empty() && mark != EXECUTABLE {
            return None;
        }
        outputs.push((text(path)?, Made { digest: *digest, executable: !mark.is_empty() }));
    }
    Some((task, Some(TaskView { key, effect, stdout, outputs, manifest })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Group, Manifest};

    fn record(number: u8) -> TaskRecord {
        let mut manifest = Manifest::new("task");
        manifest.text(Group::Setting, "run", format!("echo {number}"));
        let made = |digest, executable| Made { digest, executable };
        let outputs = vec![
            ("out/a".to_owned(), made([number; 32], false)),
            ("out/b".to_owned(), made([0; 32], number.is_multiple_of(2))),
        ];
        TaskRecord::new(&manifest.recorded().unwrap(), format!("effect {number}"), Some("said\n".to_owned()), outputs)
    }

    fn open(path: &Path) -> TaskLog {
        let (log, warning) = TaskLog::open(path);
        assert_eq!(warning, None);
        log
    }

    #[test]
    fn the_newest_record_counts_until_it_is_withdrawn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks");
        let log = open(&path);
        log.put("a", record(1)).unwrap();
        log.put("b", record(2)).unwrap();
        log.put("a", record(3)).unwrap();
        for log in [&log, &open(&path)] {
            assert_eq!(log.get("a").as_deref(), Some(&record(3)));
            assert_eq!(log.get("b").unwrap().manifest().unwrap().inputs.len(), 1);
            assert_eq!(log.get("c"), None);
        }
        let log = open(&path);
        log.withdraw("a").unwrap();
        assert_eq!((log.get("a"), open(&path).get("a")), (None, None));
        open(&path).put("a", record(4)).unwrap();
        assert_eq!(open(&path).get("a").as_deref(), Some(&record(4)));
    }

    #[test]
    fn a_torn_or_damaged_end_loses_only_what_follows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks");
        let log = open(&path);
        log.put("a", record(1)).unwrap();
        let first = fs::metadata(&path).unwrap().len() as usize;
        log.put("b", record(2)).unwrap();
        let good = fs::read(&path).unwrap();
        for cut in 0..good.len() {
            fs::write(&path, &good[..cut]).unwrap();
            let (log, warning) = TaskLog::open(&path);
            assert_eq!(log.get("a").is_some(), cut >= first, "cut to {cut} bytes");
            assert_eq!(log.get("b"), None, "cut to {cut} bytes");
            assert_eq!(warning.is_none(), cut == HEADER || cut == first, "cut to {cut} bytes");
            // It can be written to again, and then is whole.
            log.put("c", record(3)).unwrap();
            let again = open(&path);
            assert_eq!((again.get("a"), again.get("c")), (log.get("a"), log.get("c")));
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(&path, &bad).unwrap();
            let (log, warning) = TaskLog::open(&path);
            assert!(warning.is_some() && log.get("b").is_none(), "byte {at}");
            assert!(log.get("a").is_none_or(|found| *found == record(1)), "byte {at}");
        }
    }

    #[test]
    fn tidying_keeps_what_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks");
        let log = open(&path);
        for round in 0..100 {
            log.put("a", record(round)).unwrap();
        }
        log.put("gone", record(1)).unwrap();
        let before = fs::metadata(&path).unwrap().len();
        log.tidy(|task| task != "gone").unwrap();
        assert!(fs::metadata(&path).unwrap().len() < before / 10);
        log.put("b", record(5)).unwrap();
        for log in [&log, &open(&path)] {
            assert_eq!(log.get("a").as_deref(), Some(&record(99)));
            assert_eq!(log.get("b").as_deref(), Some(&record(5)));
            assert_eq!(log.get("gone"), None);
        }
    }
}
