//! One apply at a time: an advisory lock on a file that also names its holder.
//!
//! The kernel releases the lock when the process ends, however it ends; so a lock is never stale. The text in the file
//! serves the message, and is taken away at the end: one that is there without a lock is that of a process that was killed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How often a holder is looked for that does not say who it is, and how long in between.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(1);

/// Who holds the lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// When it took the lock.
    pub since: Timestamp,
    /// What it does: `apply`, `destroy`.
    pub command: String,
}

/// The lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{}", held(.0.as_ref()))]
    Held(Option<Holder>),
    /// The file can't be used.
    #[error("can't lock {path}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn held(holder: Option<&Holder>) -> String {
    match holder {
        Some(Holder { pid, since, command }) => {
            format!("another `stack {command}` is at work on this stack: process {pid}, since {since:.0}")
        }
        None => "another stack is at work on this stack".to_owned(),
    }
}

/// The lock, released when it is dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    command: String,
    file: Mutex<File>,
    killed: Option<Holder>,
}

impl Lock {
    pub(super) fn take(path: &Path, command: &str) -> Result<Self, LockError> {
        let (file, killed) = Self::locked(path, command)?;
        Ok(Self { path: path.to_owned(), command: command.to_owned(), file: Mutex::new(file), killed })
    }

    fn locked(path: &Path, command: &str) -> Result<(File, Option<Holder>), LockError> {
        let mut looks = 0;
        loop {
            let mut file = open(path).map_err(|source| at(path, source))?;
            match file.try_lock() {
                // Whoever removed it meanwhile may have locked another one by now.
                Ok(()) if !super::is_at(&file, path) => {}
                Ok(()) => return Ok(taken(file, command)),
                Err(TryLockError::WouldBlock) => match read_holder(&mut file) {
                    // It has just taken the lock and is about to say who it is, or is about to leave.
                    None if looks < LOOKS => {
                        looks += 1;
                        std::thread::sleep(PAUSE);
                    }
                    holder => return Err(LockError::Held(holder)),
                },
                Err(TryLockError::Error(source)) => return Err(at(path, source)),
            }
        }
    }

    pub(super) fn take_waiting(path: &Path, command: &str) -> Result<Self, LockError> {
        loop {
            let file = open(path).map_err(|source| at(path, source))?;
            file.lock().map_err(|source| at(path, source))?;
            if super::is_at(&file, path) {
                let (file, killed) = taken(file, command);
                return Ok(Self { path: path.to_owned(), command: command.to_owned(), file: Mutex::new(file), killed });
            }
        }
    }

    /// Who held it last, if it was killed.
    pub fn killed(&self) -> Option<&Holder> {
        self.killed.as_ref()
    }

    /// Takes the lock anew if its file was removed, as `git clean` does, unless somebody was faster.
    pub fn hold(&self) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if !super::is_at(&file, &self.path)
            && let Ok((anew, _)) = Self::locked(&self.path, &self.command)
        {
            *file = anew;
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // If that fails, the next run takes us for killed, and looks at more than it has to.
        let _ = self.file.get_mut().unwrap_or_else(PoisonError::into_inner).set_len(0);
    }
}

fn taken(mut file: File, command: &str) -> (File, Option<Holder>) {
    let killed = read_holder(&mut file);
    let holder = Holder { pid: std::process::id(), since: Timestamp::now(), command: command.to_owned() };
    // On a full disk the lock holds all the same; others only don't learn who has it.
    let _ = write_holder(&mut file, &holder);
    (file, killed)
}

/// Who held the lock in this place last, if it was killed.
pub(super) fn killed(path: &Path) -> Option<Holder> {
    let mut file = File::open(path).ok()?;
    let holder = read_holder(&mut file)?;
    file.try_lock_shared().is_ok().then_some(holder)
}

fn at(path: &Path, source: io::Error) -> LockError {
    LockError::Io { path: path.to_owned(), source }
}

fn open(path: &Path) -> io::Result<File> {
    super::create_beside(path)?;
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn write_holder(file: &mut File, holder: &Holder) -> io::Result<()> {
    let text = serde_json::to_vec(holder)?;
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_learns_who_the_first_is_and_gets_the_lock_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = Lock::take(&path, "apply").unwrap();
        let Err(LockError::Held(Some(holder))) = Lock::take(&path, "destroy") else {
            panic!("the lock was given twice")
        };
        assert_eq!((holder.pid, holder.command.as_str()), (std::process::id(), "apply"));
        drop(first);
        Lock::take(&path, "destroy").unwrap();
    }

    #[test]
    fn a_lock_whose_file_was_removed_is_taken_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".stack/lock");
        let first = Lock::take(&path, "apply").unwrap();
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
        first.hold();
        let Err(LockError::Held(Some(holder))) = Lock::take(&path, "apply") else { panic!("the lock was given twice") };
        assert_eq!(holder.pid, std::process::id());
        // Who comes between has it, and keeps it.
        std::fs::remove_file(&path).unwrap();
        let second = Lock::take(&path, "apply").unwrap();
        first.hold();
        drop(first);
        assert!(matches!(Lock::take(&path, "apply"), Err(LockError::Held(_))));
        drop(second);
        Lock::take_waiting(&path, "apply").unwrap();
    }

    #[test]
    fn who_comes_and_who_leaves_is_named_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let taken = Lock::take(&path, "apply");
                        assert!(!matches!(taken, Err(LockError::Held(None))));
                    }
                });
            }
        });
        assert_eq!(killed(&path), None, "both have left");
        std::mem::forget(Lock::take(&path, "apply").unwrap());
        assert_eq!(killed(&path), None, "it is still held");
    }

    #[test]
    fn noise_in_the_file_neither_blocks_nor_breaks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        std::fs::write(&path, b"\xff\x00 no json").unwrap();
        let first = Lock::take(&path, "apply").unwrap();
        assert!(matches!(Lock::take(&path, "apply"), Err(LockError::Held(Some(_)))));
        drop(first);
    }
}
