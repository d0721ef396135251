//! The folder `.stack/`: caches and a lock, never the truth.
//!
//! Everything here may be deleted at any moment: the next apply is then slower to explain itself, and as right as
//! before. Files are versioned, replaced atomically, and readable by their owner only. A damaged file, or one of a newer
//! version, is a miss with a warning.

mod frames;
mod lock;
mod manifests;
mod places;
mod proven;
mod state;
mod tasks;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::key::OWN_FOLDER;
use crate::key::context::{DigestCache, FileStat};

pub use lock::{Holder, Lock, LockError};
pub use manifests::Manifests;
pub use proven::{Proof, Proven};
pub use state::{Hints, LastOutcome, State};
pub use tasks::{AllMade, Made, StackTasks, TaskLog, TaskRecord, TaskView};

/// The folder `.stack/` beside a stack file.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

/// Everything that earlier runs left.
#[derive(Debug)]
pub struct Earlier {
    /// Hints.
    pub state: State,
    /// Whether the hints that were there had to be ignored, and are to be written anew.
    pub is_state_ignored: bool,
    /// What steps were last done with.
    pub manifests: Manifests,
    /// What tasks did.
    pub tasks: Arc<TaskLog>,
    /// The digests of files.
    pub digests: DigestCache,
    /// What was found to be right.
    pub proven: Proven,
    /// As what all of it was read.
    pub stamp: Stamp,
    /// What had to be ignored, one sentence each.
    pub warnings: Vec<String>,
}

/// What the system says of the files that a run writes when it has done something: another stamp means that another run
/// was at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp([Option<FileStat>; 2]);

impl Store {
    /// What the system says of what runs write.
    pub fn stamp(&self) -> Stamp {
        Stamp(["state.json", "tasks"].map(|name| stat(&self.path(name))))
    }

    /// Reads everything that earlier runs left. The two files that grow with the number of files in a build's context are
    /// read at the same time.
    pub fn read_earlier(&self) -> Earlier {
        let stamp = self.stamp();
        let open_digests = || DigestCache::open(self.path("digests"));
        let (others, (digests, about_digests)) = std::thread::scope(|scope| {
            let digests = scope.spawn(open_digests);
            let others = (
                self.read_state(),
                Manifests::open(self.path("manifests")),
                TaskLog::open(self.path("tasks")),
                Proven::open(self.path("proven")),
            );
            (others, digests.join().unwrap_or_else(|_| open_digests()))
        });
        let ((state, about_state), (manifests, about_manifests), (tasks, about_tasks), (proven, about_proven)) = others;
        let is_state_ignored = about_state.is_some();
        let warnings = [about_state, about_manifests, about_tasks, about_digests, about_proven];
        let warnings = warnings.into_iter().flatten().collect();
        let tasks = Arc::new(tasks);
        Earlier { state, is_state_ignored, manifests, tasks, digests, proven, stamp, warnings }
    }

    /// The store beside the stack file in `root`. Nothing is created before it is written to.
    pub fn beside(root: &Path) -> Self {
        Self { folder: root.join(OWN_FOLDER) }
    }

    /// The path of one of its files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Creates the folder when it is missing, with a `.gitignore` of its own, so that it never gets committed.
    ///
    /// # Errors
    /// When the folder can't be created.
    pub fn create(&self) -> io::Result<()> {
        create_beside(&self.path("lock"))?;
        // A run that was killed, or that found the disk full, may have left none, or an empty one.
        let ignore = self.path(IGNORE);
        if !std::fs::metadata(&ignore).is_ok_and(|data| data.len() > 0) {
            ignore_all(&ignore);
        }
        Ok(())
    }

    /// Takes the lock of this stack, or says who holds it.
    ///
    /// # Errors
    /// [`LockError::Held`] when another process holds it, [`LockError::Io`] when the folder can't be used.
    pub fn lock(&self, command: &str) -> Result<Lock, LockError> {
        self.create().map_err(|source| LockError::Io { path: self.folder.clone(), source })?;
        let lock = Lock::take(&self.path("lock"), command)?;
        self.sweep();
        Ok(lock)
    }

    /// Takes the lock of this stack as soon as whoever holds it is done. Blocks the thread.
    ///
    /// # Errors
    /// [`LockError::Io`] when the folder can't be used.
    pub fn lock_waiting(&self, command: &str) -> Result<Lock, LockError> {
        self.create().map_err(|source| LockError::Io { path: self.folder.clone(), source })?;
        let lock = Lock::take_waiting(&self.path("lock"), command)?;
        self.sweep();
        Ok(lock)
    }

    /// Who worked on this stack last, if it was killed before it could say how it ended.
    pub fn killed(&self) -> Option<Holder> {
        lock::killed(&self.path("lock"))
    }

    /// Removes what a run that was killed left half written. Only who holds the lock writes here.
    fn sweep(&self) {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(TEMPORARY)) {
            // What can't be removed is in nobody's way.
            let _ = std::fs::remove_file(entry.path());
        }
    }

    /// Reads what earlier runs left, with a warning when a file had to be ignored.
    pub fn read_state(&self) -> (State, Option<String>) {
        State::read(&self.path("state.json"))
    }

    /// Replaces what earlier runs left.
    ///
    /// # Errors
    /// When the folder can't be written to.
    pub fn write_state(&self, state: &State) -> io::Result<()> {
        self.create()?;
        state.write(&self.path("state.json"))
    }
}

/// Creates the folder that a file is to be in: a command may have removed it.
fn create_beside(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    ignore_all(&folder.join(IGNORE));
    Ok(())
}

/// The file that keeps the folder out of commits.
const IGNORE: &str = ".gitignore";

/// Nothing depends on this file: where it can't be written, the next run tries again.
fn ignore_all(path: &Path) {
    let _ = std::fs::write(path, "*\n");
}

fn stat(path: &Path) -> Option<FileStat> {
    std::fs::metadata(path).ok().map(|data| FileStat::of(&data))
}

/// Whether a file that was opened is still the one in this place.
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(opened), Ok(there)) => (opened.dev(), opened.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// How the names of files begin that are not whole yet.
const TEMPORARY: &str = ".tmp-";

/// Writes a file that only its owner can read: to a temporary file in the same folder, then renamed.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_with(path, |file| file.write_all(content))
}

/// The same with a file that is written piece by piece.
fn replace_with(path: &Path, write: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>) -> io::Result<()> {
    create_beside(path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder)?;
    let mut writer = BufWriter::new(file.as_file_mut());
    write(&mut writer)?;
    writer.flush()?;
    drop(writer);
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_kept_out_of_commits_whatever_an_earlier_run_left() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::beside(folder.path());
        let ignore = store.path(IGNORE);
        store.create().unwrap();
        for left in [None, Some("")] {
            std::fs::remove_file(&ignore).unwrap();
            if let Some(text) = left {
                std::fs::write(&ignore, text).unwrap();
            }
            store.create().unwrap();
            assert_eq!(std::fs::read_to_string(&ignore).unwrap(), "*\n");
        }
    }
}
