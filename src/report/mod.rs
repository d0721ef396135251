//! Every consumer of events, and the only writer to stdout and stderr.
//!
//! A closed pipe or a stalled terminal never reaches the run: events wait in their channel (of what steps print only so
//! much, see [`Room`](crate::event::Room)), and writing that fails is told once, when everything is over.

mod ci;
mod console;
mod diff;
mod failure;
mod follow;
mod live;
mod logs;
mod plain;
mod plan;
mod screen;
mod status;
mod style;
mod why;

pub use crate::model::quantity::{bytes, seconds};
pub use ci::{CiReports, Finished};
pub use console::{ColorChoice, Console};
pub use follow::{Follow, follow};
pub use logs::LogView;
pub use plan::{PlanReport, PlannedStep};
pub use style::Palette;

/// Runs with more steps than this show no line for a step that is skipped or blocked: the summary counts them, and a failure
/// names those that it blocked.
const FOLD_ABOVE: usize = 60;
