//! The graph as text: a tree for people, a page for a browser, dot and mermaid for pictures, JSON for programs.
//!
//! Nothing here knows a terminal: colours are written only when they are asked for.

mod html;
mod json;
mod layout;
mod nodes;
mod picture;
mod reduce;
mod tree;

use std::fmt;

use anstyle::{AnsiColor, Style};

use super::{Graph, StepIndex, StepSet};

pub use html::html;
pub use json::json;
pub use picture::{dot, mermaid};
pub use tree::tree;

/// What would be done with a step, from the least to what a person should look at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tint {
    /// There is nothing to do.
    Skip,
    /// That depends on something that has not happened yet.
    Unknown,
    /// It has to run.
    Run,
    /// It cannot run.
    Blocked,
}

impl Tint {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Skip, Self::Unknown, Self::Run, Self::Blocked];

    /// The word for it, as in `stack plan`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Skip => "skip",
            Self::Unknown => "unknown",
            Self::Blocked => "blocked",
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Run => AnsiColor::Yellow.on_default().bold(),
            Self::Skip => AnsiColor::Green.on_default(),
            Self::Unknown => AnsiColor::Cyan.on_default(),
            Self::Blocked => AnsiColor::Red.on_default().bold(),
        }
    }

    /// Fill and border of a box in a picture: readable on white and on black, and in print.
    const fn fill(self) -> (&'static str, &'static str) {
        match self {
            Self::Run => ("#ffe9a8", "#b8860b"),
            Self::Skip => ("#d5f0d5", "#3a7d3a"),
            Self::Unknown => ("#d4eaf7", "#2b6c99"),
            Self::Blocked => ("#f8d0d0", "#a33030"),
        }
    }
}

/// How a step is shown: what would be done with it, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// What would be done.
    pub tint: Tint,
    /// Why; may be empty.
    pub reason: String,
}

/// Says how steps are shown, for `--plan`.
pub type Decide<'d> = &'d dyn Fn(StepIndex) -> Option<Look>;

/// Which steps are drawn, and how.
#[derive(Clone, Copy)]
pub struct Drawing<'d> {
    /// The graph.
    pub graph: &'d Graph,
    /// The steps that are drawn.
    pub steps: &'d StepSet,
    /// What would be done with them, if that is to be shown.
    pub decide: Option<Decide<'d>>,
    /// Write colours for a terminal (the tree only).
    pub colour: bool,
}

impl fmt::Debug for Drawing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drawing").field("steps", self.steps).field("colour", &self.colour).finish_non_exhaustive()
    }
}

impl Drawing<'_> {
    fn look(&self, step: StepIndex) -> Option<Look> {
        self.decide.and_then(|decide| decide(step))
    }

    /// What a step needs of the steps that are drawn.
    fn needs(&self, step: StepIndex) -> impl Iterator<Item = StepIndex> {
        self.graph.needs(step).iter().copied().filter(|need| self.steps.contains(*need))
    }
}
