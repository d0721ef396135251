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

use super::frames::{FRAME, Frame, HEADER, MAGIC, VERSION, decode, encode, frame, header, payload};
use super::stat;
use crate::key::RecordedManifest;
use crate::key::context::{Digest, FileStat};

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
    /// The links that it made, with their targets, by path: also those to files, which are among the outputs as well.
    pub links: Vec<(String, String)>,
    /// Its inputs as JSON: read only to explain a difference.
    pub(super) manifest: Vec<u8>,
}

/// The files that a task made, and the links with their targets.
pub type AllMade = (Vec<(String, Made)>, Vec<(String, String)>);

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
    /// The files that it made, by path.
    pub outputs: Vec<(&'r str, Made)>,
    /// The links that it made, with their targets.
    pub links: Vec<(&'r str, &'r str)>,
    pub(super) manifest: &'r [u8],
}

impl TaskView<'_> {
    /// How many files and links it made.
    pub fn made(&self) -> usize {
        let is_file = |path: &str| self.outputs.binary_search_by(|(file, _)| (*file).cmp(path)).is_ok();
        let others = self.links.iter().filter(|(path, _)| !is_file(path));
        self.outputs.len() + others.count()
    }

    fn to_record(&self) -> TaskRecord {
        TaskRecord {
            key: self.key.to_owned(),
            effect: self.effect.to_owned(),
            stdout: self.stdout.map(str::to_owned),
            outputs: self.outputs.iter().map(|(path, made)| ((*path).to_owned(), *made)).collect(),
            links: self.links.iter().map(|(path, target)| ((*path).to_owned(), (*target).to_owned())).collect(),
            manifest: self.manifest.to_vec(),
        }
    }
}

impl TaskRecord {
    /// The record, to be looked at.
    pub fn view(&self) -> TaskView<'_> {
        TaskView {
            key: &self.key,
            effect: &self.effect,
            stdout: self.stdout.as_deref(),
            outputs: self.outputs.iter().map(|(path, made)| (path.as_str(), *made)).collect(),
            links: self.links.iter().map(|(path, target)| (path.as_str(), target.as_str())).collect(),
            manifest: &self.manifest,
        }
    }

    /// The record of a task that succeeded.
    pub fn new(manifest: &RecordedManifest, effect: String, stdout: Option<String>, (outputs, links): AllMade) -> Self {
        let key = manifest.key.to_string();
        // Without it a difference is explained less well, and nothing else.
        let manifest = serde_json::to_vec(manifest).unwrap_or_default();
        Self { key, effect, stdout, outputs, links, manifest }
    }

    /// The inputs, for an explanation.
    pub fn manifest(&self) -> Option<RecordedManifest> {
        serde_json::from_slice(&self.manifest).ok()
    }
}

/// The records of all tasks of the stacks in a folder.
#[derive(Debug)]
pub struct TaskLog {
    path: PathBuf,
    state: Mutex<State>,
}

/// The records of the tasks of one stack.
#[derive(Debug, Clone, Copy)]
pub struct StackTasks<'l> {
    log: &'l TaskLog,
    stack: &'l str,
}

#[derive(Debug, Default)]
struct State {
    /// What the system said of the file just before it was read.
    read_as: Option<FileStat>,
    /// As read from disk.
    bytes: Arc<Vec<u8>>,
    /// The records, read or written, by stack and task.
    records: HashMap<String, HashMap<String, Place>>,
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

    /// The records of this stack.
    pub fn of<'l>(&'l self, stack: &'l str) -> StackTasks<'l> {
        StackTasks { log: self, stack }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere can't have left half a record: every change is one insertion.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StackTasks<'_> {
    /// What a task did when it last succeeded.
    pub fn get(&self, task: &str) -> Option<Arc<TaskRecord>> {
        let state = self.log.lock();
        match state.place(self.stack, task)? {
            Place::Read(range) => {
                decode(state.bytes.get(range.clone())?)?.record.map(|view| Arc::new(view.to_record()))
            }
            Place::Written(record) => Some(Arc::clone(record)),
        }
    }

    /// What a task did when it last succeeded, without a copy of it.
    pub fn view<R>(&self, task: &str, look: impl FnOnce(&TaskView<'_>) -> R) -> Option<R> {
        let state = self.log.lock();
        let bytes = Arc::clone(&state.bytes);
        let place = match state.place(self.stack, task)? {
            Place::Read(range) => Place::Read(range.clone()),
            Place::Written(record) => Place::Written(Arc::clone(record)),
        };
        // Whoever looks may ask for the records of other tasks.
        drop(state);
        match place {
            Place::Read(range) => decode(bytes.get(range)?)?.record.as_ref().map(look),
            Place::Written(record) => Some(look(&record.view())),
        }
    }

    /// Forgets what a task did: it is about to start.
    ///
    /// # Errors
    /// When the file can't be written; then the task must not start.
    pub fn withdraw(&self, task: &str) -> io::Result<()> {
        let mut state = self.log.lock();
        if state.remove(self.stack, task).is_none() {
            return Ok(());
        }
        state.stale += 2;
        state.append(&self.log.path, &encode(self.stack, task, None))
    }

    /// Records what a task did.
    ///
    /// # Errors
    /// When the file can't be written; then the task runs again the next time.
    pub fn put(&self, task: &str, record: TaskRecord) -> io::Result<()> {
        let mut state = self.log.lock();
        let payload = encode(self.stack, task, Some(&record));
        if state.insert(self.stack, task, Place::Written(Arc::new(record))).is_some() {
            state.stale += 1;
        }
        state.append(&self.log.path, &payload)
    }

    /// Writes the file anew if most of it no longer counts. `exists` says which tasks of the stack there still are.
    ///
    /// # Errors
    /// When the file can't be written; the old one stays.
    pub fn tidy(&self, exists: impl Fn(&str) -> bool) -> io::Result<()> {
        let mut state = self.log.lock();
        if state.file.is_none() && !state.broken {
            // Nothing was written, so it is as tidy as the last run left it.
            return Ok(());
        }
        let gone = state.records.get(self.stack).map_or(0, |own| own.keys().filter(|task| !exists(task)).count());
        let all: usize = state.records.values().map(HashMap::len).sum();
        if state.stale + gone <= all.max(64) && !state.broken {
            return Ok(());
        }
        let bytes = state.whole(|stack, task| stack != self.stack || exists(task));
        super::replace(&self.log.path, &bytes)?;
        let (mut fresh, _) = State::read(bytes);
        fresh.read_as = stat(&self.log.path);
        *state = fresh;
        Ok(())
    }
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
        let mut at = HEADER;
        while at < bytes.len() {
            let Some(payload) = payload(&bytes, at) else {
                // What was read is good; what follows can't be told apart from it any more.
                state.broken = true;
                break;
            };
            match decode(&bytes[payload.clone()]) {
                Some(Frame { stack, task, record: Some(_) }) => {
                    if state.records.is_empty() {
                        // Most often all of them are of one stack.
                        let own = HashMap::with_capacity_and_hasher(bytes.len() / USUAL, Default::default());
                        state.records.insert(stack.to_owned(), own);
                    }
                    if state.insert(stack, task, Place::Read(payload.clone())).is_some() {
                        state.stale += 1;
                    }
                }
                Some(Frame { stack, task, record: None }) => {
                    state.remove(stack, task);
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

    fn place(&self, stack: &str, task: &str) -> Option<&Place> {
        self.records.get(stack)?.get(task)
    }

    fn insert(&mut self, stack: &str, task: &str, place: Place) -> Option<Place> {
        match self.records.get_mut(stack) {
            Some(own) => own.insert(task.to_owned(), place),
            None => self.records.entry(stack.to_owned()).or_default().insert(task.to_owned(), place),
        }
    }

    fn remove(&mut self, stack: &str, task: &str) -> Option<Place> {
        self.records.get_mut(stack)?.remove(task)
    }

    /// A whole file of the records that are `wanted`.
    fn whole(&self, wanted: impl Fn(&str, &str) -> bool) -> Vec<u8> {
        let all =
            self.records.iter().flat_map(|(stack, own)| own.iter().map(move |(task, place)| (stack, task, place)));
        let mut all: Vec<_> = all.filter(|(stack, task, _)| wanted(stack, task)).collect();
        all.sort_unstable_by_key(|(stack, task, _)| (*stack, *task));
        let mut bytes = header();
        for (stack, task, place) in all {
            match place {
                Place::Read(range) => frame(&self.bytes[range.clone()], &mut bytes),
                Place::Written(record) => frame(&encode(stack, task, Some(record)), &mut bytes),
            }
        }
        bytes
    }

    /// Whether the file was taken away from under this run: by `git clean`, say.
    fn is_gone(&self, path: &Path) -> bool {
        match &self.file {
            Some(file) => !super::is_at(file, path),
            None => self.read_as.is_some() && !path.exists(),
        }
    }

    fn append(&mut self, path: &Path, payload: &[u8]) -> io::Result<()> {
        if self.broken || self.is_gone(path) || self.write(path, payload).is_err() {
            // Nothing may follow what can't be read, such as a frame of which a full disk has taken only a part: a withdrawal
            // there would be in vain. What counts is written anew, by itself.
            self.broken = true;
            self.file = None;
            super::replace(path, &self.whole(|_, _| true))?;
            self.broken = false;
            self.read_as = stat(path);
        }
        Ok(())
    }

    fn write(&mut self, path: &Path, payload: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                use std::os::unix::fs::OpenOptionsExt;
                super::create_beside(path)?;
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
        let links = vec![("out/l".to_owned(), format!("to {number}"))];
        let made = (outputs, links);
        TaskRecord::new(&manifest.recorded().unwrap(), format!("effect {number}"), Some("said\n".to_owned()), made)
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
        log.of("s").put("a", record(1)).unwrap();
        log.of("s").put("b", record(2)).unwrap();
        log.of("s").put("a", record(3)).unwrap();
        for log in [&log, &open(&path)] {
            assert_eq!(log.of("s").get("a").as_deref(), Some(&record(3)));
            assert_eq!(log.of("s").get("b").unwrap().manifest().unwrap().inputs.len(), 1);
            assert_eq!(log.of("s").get("c"), None);
        }
        let log = open(&path);
        log.of("s").withdraw("a").unwrap();
        assert_eq!((log.of("s").get("a"), open(&path).of("s").get("a")), (None, None));
        open(&path).of("s").put("a", record(4)).unwrap();
        assert_eq!(open(&path).of("s").get("a").as_deref(), Some(&record(4)));
    }

    #[test]
    fn a_torn_or_damaged_end_loses_only_what_follows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks");
        let log = open(&path);
        log.of("s").put("a", record(1)).unwrap();
        let first = fs::metadata(&path).unwrap().len() as usize;
        log.of("s").put("b", record(2)).unwrap();
        let good = fs::read(&path).unwrap();
        for cut in 0..good.len() {
            fs::write(&path, &good[..cut]).unwrap();
            let (log, warning) = TaskLog::open(&path);
            assert_eq!(log.of("s").get("a").is_some(), cut >= first, "cut to {cut} bytes");
            assert_eq!(log.of("s").get("b"), None, "cut to {cut} bytes");
            assert_eq!(warning.is_none(), cut == HEADER || cut == first, "cut to {cut} bytes");
            // It can be written to again, and then is whole.
            log.of("s").put("c", record(3)).unwrap();
            let again = open(&path);
            assert_eq!((again.of("s").get("a"), again.of("s").get("c")), (log.of("s").get("a"), log.of("s").get("c")));
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(&path, &bad).unwrap();
            let (log, warning) = TaskLog::open(&path);
            assert!(warning.is_some() && log.of("s").get("b").is_none(), "byte {at}");
            assert!(log.of("s").get("a").is_none_or(|found| *found == record(1)), "byte {at}");
        }
    }

    #[test]
    fn a_frame_that_a_full_disk_took_a_part_of_hides_no_withdrawal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks");
        let log = open(&path);
        log.of("s").put("a", record(1)).unwrap();
        log.of("s").put("b", record(2)).unwrap();
        log.lock().file.as_mut().unwrap().write_all(&[9, 0, 0, 0, 1]).unwrap();
        // A file that can't be written to stands for a disk that is still full.
        log.lock().file = Some(File::open(&path).unwrap());
        log.of("s").withdraw("a").unwrap();
        let again = open(&path);
        assert_eq!((again.of("s").get("a"), again.of("s").get("b").as_deref()), (None, Some(&record(2))));
    }

    #[test]
    fn stacks_in_one_folder_have_records_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks");
        let log = open(&path);
        log.of("a").put("t", record(1)).unwrap();
        assert_eq!(log.of("b").get("t"), None);
        log.of("b").put("t", record(2)).unwrap();
        log.of("a").withdraw("t").unwrap();
        for _ in 0..100 {
            log.of("a").put("u", record(3)).unwrap();
        }
        log.of("a").tidy(|_| false).unwrap();
        for log in [&log, &open(&path)] {
            assert_eq!(log.of("a").get("t"), None);
            assert_eq!(log.of("a").get("u"), None);
            assert_eq!(log.of("b").get("t").as_deref(), Some(&record(2)));
        }
    }

    #[test]
    fn what_is_removed_meanwhile_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".stack/tasks");
        let remove = || fs::remove_dir_all(path.parent().unwrap()).unwrap();
        let log = open(&path);
        log.of("s").put("a", record(1)).unwrap();
        remove();
        // While it is open, and before it is.
        for log in [log, open(&path)] {
            log.of("s").put("b", record(2)).unwrap();
            log.of("s").put("c", record(3)).unwrap();
            remove();
            log.of("s").withdraw("b").unwrap();
            log.of("s").put("d", record(4)).unwrap();
            let again = open(&path);
            assert_eq!(again.of("s").get("c").as_deref(), Some(&record(3)));
            assert_eq!(again.of("s").get("d").as_deref(), Some(&record(4)));
            assert_eq!(again.of("s").get("b"), None);
        }
        let log = open(&path);
        remove();
        log.of("s").put("e", record(5)).unwrap();
        assert!(open(&path).of("s").get("d").is_some());
        assert!(path.with_file_name(".gitignore").exists());
    }

    #[test]
    fn tidying_keeps_what_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks");
        let log = open(&path);
        for round in 0..100 {
            log.of("s").put("a", record(round)).unwrap();
        }
        log.of("s").put("gone", record(1)).unwrap();
        let before = fs::metadata(&path).unwrap().len();
        log.of("s").tidy(|task| task != "gone").unwrap();
        assert!(fs::metadata(&path).unwrap().len() < before / 10);
        log.of("s").put("b", record(5)).unwrap();
        for log in [&log, &open(&path)] {
            assert_eq!(log.of("s").get("a").as_deref(), Some(&record(99)));
            assert_eq!(log.of("s").get("b").as_deref(), Some(&record(5)));
            assert_eq!(log.of("s").get("gone"), None);
        }
    }
}
