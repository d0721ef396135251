//! Colours, named by what they mean.

use anstyle::{AnsiColor, Effects, Style};

use crate::event::Outcome;
use crate::plan::Action;

/// The styles in use. The console strips them where colour is off, so nobody else asks.
#[derive(Debug, Clone, Copy)]
pub struct Palette;

impl Palette {
    /// Something that is as it should be, or got there.
    pub const GOOD: Style = AnsiColor::Green.on_default();
    /// Something that failed.
    pub const BAD: Style = AnsiColor::Red.on_default().effects(Effects::BOLD);
    /// Something to look at.
    pub const WARN: Style = AnsiColor::Yellow.on_default();
    /// Something at work.
    pub const BUSY: Style = AnsiColor::Cyan.on_default();
    /// Something of less interest.
    pub const DIM: Style = Style::new().effects(Effects::DIMMED);
    /// A heading.
    pub const BOLD: Style = Style::new().effects(Effects::BOLD);

    /// The style of a step's final state.
    pub const fn outcome(outcome: Outcome) -> Style {
        match outcome {
            Outcome::Done => Self::GOOD,
            Outcome::Skipped => Self::DIM,
            Outcome::Failed => Self::BAD,
            Outcome::Blocked | Outcome::Cancelled => Self::WARN,
        }
    }

    /// The style of a planned action.
    pub const fn action(action: Action) -> Style {
        match action {
            Action::Run => Self::BUSY,
            Action::Skip => Self::DIM,
            Action::Unknown => Self::WARN,
            Action::Blocked => Self::BAD,
        }
    }
}
