//! Carries out the effects of the scheduler on tokio: attempts, timers, cancellation. Holds no policy.
//!
//! What a step is and does is the [`Runner`]'s business; when it may, the scheduler's. This room sees to it that each
//! attempt that was started is heard of again, whatever becomes of it: a panic is a failure, an attempt that heeds
//! nothing is taken away, and when the run's own future is dropped, so are all attempts.

mod driver;
mod signals;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

pub use driver::run;
pub use signals::{Stops, stop_channel, watch_signals};

use crate::error::Class;
use crate::process::Cancel;
use crate::sched::{End, Summary};

/// Does the work of a step.
pub trait Runner: Send + Sync + 'static {
    /// Decides at once, if that takes no more than microseconds, that a step has nothing to do (or cannot be done).
    /// `None` if it has to [`run`](Self::run). Called from the run's own task: it must not block.
    fn try_now(&self, step: u32) -> Option<AttemptResult> {
        let _ = step;
        None
    }

    /// Carries out an attempt at `step`, counted from 1. It holds its slots until the future ends.
    ///
    /// The attempt decides by itself whether there is something to do, announces what it is doing, and heeds `cancel`:
    /// at `Terminate` it ends in an orderly way within 10 s, at `Kill` at once. Later its future is dropped.
    fn run(self: Arc<Self>, step: u32, attempt: u32, cancel: Cancel) -> impl Future<Output = AttemptResult> + Send;
}

/// How an attempt ended, with what people want to know about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptResult {
    /// How it ended.
    pub kind: AttemptKind,
    /// Why: of a skip, what is equal; of a failure, what happened, in one sentence.
    pub reason: String,
    /// What was achieved or saved.
    pub note: Option<String>,
    /// The full explanation of a failure.
    pub diagnosis: Option<String>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptKind {
    /// It did what there was to do.
    Done,
    /// There was nothing to do.
    Skipped,
    /// It failed. After `cancel` rose, this is also how it says that it was stopped.
    Failed(Class),
}

impl AttemptResult {
    /// It did what there was to do, because of `reason`.
    pub fn done(reason: impl Into<String>) -> Self {
        Self::new(AttemptKind::Done, reason)
    }

    /// There was nothing to do, because of `reason`.
    pub fn skipped(reason: impl Into<String>) -> Self {
        Self::new(AttemptKind::Skipped, reason)
    }

    /// It failed: `reason` says how in one sentence.
    pub fn failed(class: Class, reason: impl Into<String>) -> Self {
        Self::new(AttemptKind::Failed(class), reason)
    }

    /// Adds what was achieved or saved.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// Adds the full explanation.
    #[must_use]
    pub fn with_diagnosis(mut self, diagnosis: impl Into<String>) -> Self {
        self.diagnosis = Some(diagnosis.into());
        self
    }

    fn new(kind: AttemptKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), note: None, diagnosis: None }
    }
}

/// Something that the run tells, in the order in which it happened. What an attempt does in between it tells by itself.
#[derive(Debug, Clone, PartialEq)]
pub enum ExecEvent {
    /// A failed attempt will be followed by another.
    Retry {
        /// The step.
        step: u32,
        /// The attempt that failed.
        attempt: u32,
        /// Why.
        reason: String,
        /// The wait before the next attempt.
        delay: Duration,
    },
    /// A step has reached its final state.
    Finished {
        /// The step.
        step: u32,
        /// The final state.
        end: End,
        /// How its last attempt ended; `None` if it never had one.
        result: Option<AttemptResult>,
        /// From the start of the first attempt to the end of the last.
        took: Duration,
    },
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunReport {
    /// How many steps ended how, and whether the run was stopped.
    pub summary: Summary,
    /// How long it took.
    pub took: Duration,
}
