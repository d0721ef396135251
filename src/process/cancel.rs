//! How a running piece of work is asked to stop: one level that only rises.

use tokio::sync::watch;

/// How urgently the work has to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum CancelLevel {
    /// Go on.
    #[default]
    None,
    /// Stop in an orderly way, within the grace.
    Terminate,
    /// Stop at once.
    Kill,
}

/// The controlling half: raises the level. Dropping it leaves the level where it is.
#[derive(Debug)]
pub struct CancelSource {
    sender: watch::Sender<CancelLevel>,
}

impl CancelSource {
    /// A source at [`CancelLevel::None`].
    pub fn new() -> Self {
        Self { sender: watch::Sender::new(CancelLevel::None) }
    }

    /// A handle that sees every raise, past and future.
    pub fn cancel(&self) -> Cancel {
        Cancel { receiver: self.sender.subscribe() }
    }

    /// Raises the level to `level`; a level that is already as high stays.
    pub fn raise(&self, level: CancelLevel) {
        self.sender.send_if_modified(|current| {
            let higher = level > *current;
            if higher {
                *current = level;
            }
            higher
        });
    }

    /// The level now.
    pub fn level(&self) -> CancelLevel {
        *self.sender.borrow()
    }
}

impl Default for CancelSource {
    fn default() -> Self {
        Self::new()
    }
}

/// The observing half. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cancel {
    receiver: watch::Receiver<CancelLevel>,
}

impl Cancel {
    /// A handle that is never raised.
    pub fn never() -> Self {
        CancelSource::new().cancel()
    }

    /// The level now.
    pub fn level(&self) -> CancelLevel {
        *self.receiver.borrow()
    }

    /// Whether the work has been asked to stop, at any level.
    pub fn is_raised(&self) -> bool {
        self.level() > CancelLevel::None
    }

    /// Waits until the level is at least `level`, and returns the level then. Pending for ever if that never happens.
    /// May be dropped and asked again without losing a raise.
    pub async fn raised(&self, level: CancelLevel) -> CancelLevel {
        let mut receiver = self.receiver.clone();
        // The reference holds a lock: it must not outlive this statement.
        let seen = receiver.wait_for(|current| *current >= level).await.map(|current| *current);
        match seen {
            Ok(level) => level,
            // The source is gone, so nobody can raise the level any more.
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_level_only_rises_and_waiters_see_it() {
        let source = CancelSource::new();
        let cancel = source.cancel();
        assert!(!cancel.is_raised());
        source.raise(CancelLevel::Kill);
        source.raise(CancelLevel::Terminate);
        assert_eq!(cancel.level(), CancelLevel::Kill);
        assert_eq!(cancel.raised(CancelLevel::Terminate).await, CancelLevel::Kill);
        drop(source);
        assert_eq!(cancel.raised(CancelLevel::Kill).await, CancelLevel::Kill, "a raise outlives its source");
        let never = Cancel::never();
        tokio::select! {
            biased;
            _ = never.raised(CancelLevel::Terminate) => panic!("nobody raised it"),
            () = std::future::ready(()) => {}
        }
    }
}
