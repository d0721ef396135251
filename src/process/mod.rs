//! Child processes: spawning by argv, process groups, capture, and an end that is certain.
//!
//! Every child leads a process group of its own, so that a signal reaches whatever it started, and so that a Ctrl-C on
//! the terminal reaches `stack` alone, which then decides. However a run ends, by exit, by cancellation, by a time-out
//! or because its future was dropped, the child is reaped, and after anything but its success its whole group is gone.
//! This room knows nothing of steps and tools.

mod cancel;
mod command;
mod error;
mod group;
mod limit;
mod lines;
mod piped;
mod run;

pub use cancel::{Cancel, CancelLevel, CancelSource};
pub use command::{Command, OnTerminate};
pub use error::ProcessError;
pub use limit::make_room;
pub use piped::Piped;
pub use run::{Capture, Output, capture, pipe, run};

#[cfg(test)]
mod tests;
