//! One apply at a time: an advisory lock on a file that also names its holder.
//!
//! The kernel releases the lock when the process ends, however it ends; so a lock is never stale, and the text in the
//! file only serves the message.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

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
}

impl Lock {
    pub(super) fn take(path: &Path, command: &str) -> Result<Self, LockError> {
        loop {
            let mut file = open(path).map_err(|source| at(path, source))?;
            match file.try_lock() {
                // Whoever removed it meanwhile may have locked another one by now.
                Ok(()) if !super::is_at(&file, path) => {}
                Ok(()) => return Ok(Self::taken(file, path, command)),
                Err(TryLockError::WouldBlock) => return Err(LockError::Held(read_holder(&mut file))),
                Err(TryLockError::Error(source)) => return Err(at(path, source)),
            }
        }
    }

    pub(super) fn take_waiting(path: &Path, command: &str) -> Result<Self, LockError> {
        loop {
            let file = open(path).map_err(|source| at(path, source))?;
            file.lock().map_err(|source| at(path, source))?;
            if super::is_at(&file, path) {
                return Ok(Self::taken(file, path, command));
            }
        }
    }

    fn taken(mut file: File, path: &Path, command: &str) -> Self {
        let holder = Holder { pid: std::process::id(), since: Timestamp::now(), command: command.to_owned() };
        // On a full disk the lock holds all the same; others only don't learn who has it.
        let _ = write_holder(&mut file, &holder);
        Self { path: path.to_owned(), command: command.to_owned(), file: Mutex::new(file) }
    }

    /// Takes the lock anew if its file was removed, as `git clean` does, unless somebody was faster.
    pub fn hold(&self) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if !super::is_at(&file, &self.path)
            && let Ok(Self { file: anew, .. }) = Self::take(&self.path, &self.command)
        {
            *file = anew.into_inner().unwrap_or_else(PoisonError::into_inner);
        }
    }
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
    fn noise_in_the_file_neither_blocks_nor_breaks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        std::fs::write(&path, b"\xff\x00 no json").unwrap();
        let first = Lock::take(&path, "apply").unwrap();
        assert!(matches!(Lock::take(&path, "apply"), Err(LockError::Held(Some(_)))));
        drop(first);
    }
}
