//! Tells when something in some folders changes, as the operating system tells it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout};

use crate::error::Class;

/// How many times as long as it has to be quiet quiet is waited for.
const PATIENCE: u32 = 10;

/// The system does not tell.
#[derive(Debug, thiserror::Error)]
#[error("the system does not tell when files change")]
pub struct ChangesError(#[from] notify::Error);

impl ChangesError {
    /// It is the system's.
    pub fn class(&self) -> Class {
        Class::Environment
    }

    /// What to try.
    pub fn help(&self) -> Option<&'static str> {
        match self.0.kind {
            notify::ErrorKind::MaxFilesWatch => Some("raise the limit fs.inotify.max_user_watches"),
            _ => None,
        }
    }
}

/// Folders that are watched, each by itself and not what is below it.
pub struct Changes {
    watcher: RecommendedWatcher,
    folders: BTreeSet<PathBuf>,
    happened: UnboundedReceiver<()>,
}

impl Changes {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new() -> Result<Self, ChangesError> {
        let (sender, happened) = unbounded_channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // That something was read is no change. That events were lost is one, as far as anybody knows.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                // Nobody waits any more: then there is nobody to tell.
                let _ = sender.send(());
            }
        })?;
        Ok(Self { watcher, folders: BTreeSet::new(), happened })
    }

    /// Watches these folders from now on, and no others. Says whether one of them is new.
    ///
    /// # Errors
    /// When the system refuses. A folder that is gone is left out: whatever is above it tells of its return.
    pub fn watch(&mut self, folders: &BTreeSet<PathBuf>) -> Result<bool, ChangesError> {
        for gone in self.folders.difference(folders) {
            // It may have gone by itself.
            let _ = self.watcher.unwatch(gone);
        }
        let mut watched = BTreeSet::new();
        let mut news = false;
        for folder in folders {
            if self.folders.contains(folder) && folder.is_dir() {
                watched.insert(folder.clone());
            } else if self.begin(folder)? {
                news = true;
                watched.insert(folder.clone());
            }
        }
        self.folders = watched;
        Ok(news)
    }

    fn begin(&mut self, folder: &Path) -> Result<bool, ChangesError> {
        match self.watcher.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => Ok(true),
            Err(_) if !folder.is_dir() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until something has changed, and then until nothing has for as long as `quiet`, or it has not been quiet for
    /// ten times as long: somebody may write a log there all the time. May be dropped and asked again.
    pub async fn settled(&mut self, quiet: Duration) {
        if self.happened.recv().await.is_none() {
            // The watcher lives as long as this does, so its end can't have gone.
            return std::future::pending().await;
        }
        let latest = Instant::now() + quiet.saturating_mul(PATIENCE);
        while Instant::now() < latest
            && let Ok(Some(())) = timeout(quiet, self.happened.recv()).await
        {}
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn what_never_gets_quiet_is_told_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        let mut changes = Changes::new().unwrap();
        changes.watch(&BTreeSet::from([folder.path().to_owned()])).unwrap();
        let noise = async {
            loop {
                fs::write(&file, "more").unwrap();
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            settled = timeout(Duration::from_secs(20), changes.settled(Duration::from_millis(50))) => settled.unwrap(),
            () = noise => {}
        }
    }

    #[tokio::test]
    async fn a_change_is_told_and_a_look_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        fs::write(&file, "one").unwrap();
        let mut changes = Changes::new().unwrap();
        let folders = BTreeSet::from([folder.path().to_owned(), folder.path().join("not-there")]);
        assert!(changes.watch(&folders).unwrap());
        assert!(!changes.watch(&folders).unwrap(), "no news");
        fs::read(&file).unwrap();
        let quiet = Duration::from_millis(20);
        assert!(timeout(Duration::from_millis(100), changes.settled(quiet)).await.is_err(), "it was only read");
        fs::write(&file, "two").unwrap();
        changes.settled(quiet).await;
        fs::write(folder.path().join("new"), "").unwrap();
        changes.settled(quiet).await;
    }
}
