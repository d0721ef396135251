//! What happened in a run, simulated or real, in order.

use stack::sched::{End, Level, StopReason, Summary, Verdict};

#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Milliseconds since the run began.
    pub at: u64,
    pub what: What,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum What {
    /// An attempt started.
    Start { step: u32, attempt: u32 },
    /// An attempt ended.
    Ended { step: u32, attempt: u32, verdict: Verdict },
    /// An attempt was asked to stop.
    Cancel { step: u32, level: Level },
    /// A retry was announced.
    Retry { step: u32, delay: u64 },
    /// A step reached its final state.
    Final { step: u32, end: End },
    /// The run was asked to stop.
    Stop(StopReason),
    /// The scheduler has dealt with everything that has happened so far.
    Settled,
    /// The run is over.
    Over(Summary),
}
