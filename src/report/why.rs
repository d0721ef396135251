//! A step's inputs, and what changed.

use super::{Console, Palette};
use crate::plan::Action;
use crate::run::Explained;

impl Console {
    /// Shows why a step does what it does.
    pub fn why(&self, explained: &Explained) {
        let (bold, dim) = (Palette::BOLD, Palette::DIM);
        let Explained { id, decision, key, inputs, notes } = explained;
        let style = Palette::action(decision.action);
        let word = match decision.action {
            Action::Run => "would run",
            Action::Skip => "has nothing to do",
            Action::Unknown => "is not known yet",
            Action::Blocked => "is blocked",
        };
        self.result_line(format_args!("{bold}{id}{bold:#} {style}{word}{style:#}: {}", decision.reason));
        if !decision.changes.is_empty() {
            self.result_line(format_args!("\n{bold}changed since the last apply{bold:#}"));
            for change in &decision.changes {
                self.result_line(format_args!("  {}", change.shown));
            }
        }
        let key = key.as_deref().map_or("not known yet", |key| key.get(..16).unwrap_or(key));
        self.result_line(format_args!("\n{bold}inputs{bold:#} {dim}(key {key}){dim:#}"));
        let width = inputs.iter().map(|input| input.path.len()).max().unwrap_or(0).min(48);
        for input in inputs {
            self.result_line(format_args!("  {:<width$}  {dim}{}{dim:#}", input.path, input.shown));
        }
        for note in notes {
            self.result_line(format_args!("{dim}note: {note}{dim:#}"));
        }
    }
}
