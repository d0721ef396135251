//! The only owner of step states. A pure state machine: events in, effects out.
//!
//! It decides what may start and when: needs, pools, priorities, retries, deadlines, fail-fast, cancellation. It knows
//! steps by number only, and it knows no clock, no runtime and no tool: time is told to it as the time since the run
//! began, and what it wants done it returns. `exec` carries that out on tokio; the simulation carries it out on a
//! virtual clock.
//!
//! What it promises, and the simulation checks on every random graph: a step starts only when all it needs are done or
//! skipped; no more attempts live than there are jobs, or slots in a pool; a slot is never idle while a step that could
//! use it is ready; after a stop nothing starts; an attempt starts only when the one before has ended; every step
//! reaches exactly one final state; the same events at the same times give the same effects.

mod input;
mod machine;
mod order;
mod ready;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use input::{Failing, Input, InvalidInput, Limits, Needs, StepSpec};
pub use machine::Scheduler;

use crate::error::Class;

/// Something that happened, told to the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The run begins. Once, and first.
    Begin,
    /// An attempt has ended, and nothing of it lives any more.
    Finished {
        /// The step.
        step: u32,
        /// The attempt, from 1.
        attempt: u32,
        /// How it ended.
        verdict: Verdict,
    },
    /// The time of a timer that was armed has come.
    Timer(Timer),
    /// Somebody wants the run to stop.
    Stop(StopReason),
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It did what there was to do.
    Done,
    /// There was nothing to do. For what comes after, that is as good as done.
    Skipped,
    /// It failed. A failure after a request to stop counts as stopped.
    Failed(Class),
}

/// Something to be told when its time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// The run's deadline.
    Run,
    /// The deadline of an attempt.
    Attempt {
        /// The step.
        step: u32,
        /// The attempt.
        attempt: u32,
    },
    /// The wait before the attempt after this one is over.
    Backoff {
        /// The step.
        step: u32,
        /// The attempt that failed.
        attempt: u32,
    },
    /// An attempt that was asked to stop had its time to do so.
    Harder {
        /// The step.
        step: u32,
        /// The attempt.
        attempt: u32,
        /// How to ask next.
        level: Level,
    },
}

/// How urgently a running attempt is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// In an orderly way, within its grace.
    Terminate,
    /// At once.
    Kill,
    /// It did not heed even that: take it away.
    Abandon,
}

/// Why nothing new starts any more, from the mildest to the worst. Only a worse reason replaces one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopReason {
    /// A step failed; what runs may finish.
    FailFast,
    /// The run's deadline is over; what runs is terminated.
    Deadline,
    /// The user wants it; what runs is terminated.
    Interrupt,
    /// The user wants it now; what runs is killed.
    Kill,
}

/// Something that has to be carried out, in the order given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Start an attempt. Its end must be told by [`Event::Finished`].
    Start {
        /// The step.
        step: u32,
        /// The attempt, from 1.
        attempt: u32,
    },
    /// An attempt failed, and there will be another.
    Retry {
        /// The step.
        step: u32,
        /// The attempt that failed.
        attempt: u32,
        /// The deadline by which it failed, if it did.
        overdue: Option<Duration>,
        /// The wait before the next one.
        delay: Duration,
    },
    /// Tell [`Event::Timer`] at `at`. A timer that is no longer wanted is told all the same, and does nothing.
    ArmTimer {
        /// The timer.
        timer: Timer,
        /// When, since the run began.
        at: Duration,
    },
    /// Ask a running attempt to stop.
    Cancel {
        /// The step.
        step: u32,
        /// The attempt.
        attempt: u32,
        /// How urgently.
        level: Level,
    },
    /// A step has reached its final state.
    Finish {
        /// The step.
        step: u32,
        /// The final state.
        end: End,
    },
    /// Every step has reached its final state. Once, and last.
    RunOver(Summary),
}

/// The final state of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It ran and succeeded.
    Done,
    /// It had nothing to do.
    Skipped,
    /// Its last attempt failed.
    Failed {
        /// The class of the failure.
        class: Class,
        /// The deadline by which it failed, if it did.
        overdue: Option<Duration>,
    },
    /// It could not start, since a step that it needs, perhaps through others, failed.
    Blocked {
        /// The step that failed.
        by: u32,
    },
    /// It was stopped, or never started, since the run was stopped.
    Cancelled {
        /// Why the run was stopped, as far as was known then.
        reason: StopReason,
        /// The failed step, if that is why.
        by: Option<u32>,
    },
}

/// How many steps ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Ran and succeeded.
    pub done: u32,
    /// Had nothing to do.
    pub skipped: u32,
    /// Failed.
    pub failed: u32,
    /// Could not start.
    pub blocked: u32,
    /// Were stopped or never started.
    pub cancelled: u32,
    /// The worst reason to stop, if there was one. A deadline by which every step ended well is none.
    pub stopped: Option<StopReason>,
}

impl Summary {
    /// Whether every step ended well.
    pub fn is_well(&self) -> bool {
        self.failed + self.blocked + self.cancelled == 0
    }
}
