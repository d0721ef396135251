//! The view on a terminal: finished steps scroll by, and each running step has one line that shows what it does now.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::plain::{STEP_WIDTH, line, transition};
use super::screen::Screen;
use super::{Console, FOLD_ABOVE, Palette};
use crate::event::{Event, EventKind};
use crate::graph::StepId;
use crate::tools::redact::plain;

/// How often the lines of running steps are drawn at most.
const DRAWN_PER_SECOND: u8 = 20;

/// How many characters of a message are drawn at most.
const MESSAGE: usize = 500;

pub(super) struct Live {
    console: Console,
    bars: MultiProgress,
    running: HashMap<StepId, ProgressBar>,
    steps: usize,
}

impl Live {
    pub(super) fn new(console: Console) -> Self {
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(Screen::default()), DRAWN_PER_SECOND);
        Self { console, bars: MultiProgress::with_draw_target(target), running: HashMap::new(), steps: 0 }
    }

    pub(super) fn show(&mut self, event: &Event) {
        match &event.kind {
            EventKind::RunStarted { steps, .. } => self.steps = *steps,
            EventKind::StepStarted { step, reason, .. } => self.start(step, reason),
            EventKind::StepWaiting { step, message } => {
                // A step that has not started has no line yet.
                if !self.running.contains_key(step) {
                    self.start(step, message);
                }
                self.message(step, message);
            }
            EventKind::StepOutput { step, line, .. } => self.message(step, line),
            EventKind::StepProgress { step, message, done, total } => {
                let counted = match (done, total) {
                    (Some(done), Some(total)) => {
                        format!("{message} {} of {}", super::bytes(*done), super::bytes(*total))
                    }
                    (Some(done), None) => format!("{message} {}", super::bytes(*done)),
                    (None, _) => message.clone(),
                };
                self.message(step, &counted);
            }
            EventKind::StepTransfer { step, transfer } => self.message(step, &super::plain::transfer(transfer)),
            EventKind::StepTransition { step, object, from, to, detail } => {
                self.message(step, &transition(object, from, to, detail));
            }
            EventKind::StepFinished { step, outcome, .. } => {
                if let Some(bar) = self.running.remove(step) {
                    bar.finish_and_clear();
                }
                if self.steps <= FOLD_ABOVE || !outcome.is_folded() {
                    self.print(&event.kind);
                }
            }
            EventKind::RunTarget { .. }
            | EventKind::Warning { .. }
            | EventKind::StepRetry { .. }
            | EventKind::StepNotes { .. } => self.print(&event.kind),
            EventKind::RunFinished { .. } => self.clear(),
        }
    }

    fn clear(&mut self) {
        self.running.clear();
        // The terminal is gone: there is nothing to clear.
        let _ = self.bars.clear();
    }

    fn start(&mut self, step: &StepId, reason: &str) {
        let busy = Palette::BUSY;
        let template = format!("{{prefix}} {busy}{{spinner}}{busy:#} {{elapsed:>5}}  {{wide_msg}}");
        let template = if self.console.stderr_has_color() { template } else { plain(&template).into_owned() };
        let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = self.bars.add(ProgressBar::new_spinner().with_style(style));
        // A name that leaves no room for anything else is cut: a line that is wrapped would not be found again.
        let name: String =
            step.to_string().chars().take(usize::from(Screen::default().width() / 2).max(STEP_WIDTH)).collect();
        bar.set_prefix(format!("{name:<STEP_WIDTH$}"));
        bar.set_message(one_line(reason));
        bar.enable_steady_tick(Duration::from_millis(120));
        if let Some(old) = self.running.insert(step.clone(), bar) {
            old.finish_and_clear();
        }
    }

    fn message(&self, step: &StepId, message: &str) {
        if let Some(bar) = self.running.get(step) {
            // An empty line of output says less than the one before it.
            if !message.trim().is_empty() {
                bar.set_message(one_line(message));
            }
        }
    }

    fn print(&self, event: &EventKind) {
        if let Some(line) = line(event, false) {
            self.bars.suspend(|| self.console.line(line));
        }
    }
}

/// The beginning of a message, as one line and without colours: there is one line for each step, and it says what is going
/// on, not all of it.
fn one_line(message: &str) -> String {
    plain(message).chars().take(MESSAGE).map(|c| if c.is_whitespace() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_that_commands_nothing() {
        assert_eq!(one_line("a\tb\r\nc\x1b[?25l\x1b[31md\x0be"), "a b cde");
        assert_eq!(one_line(&"x".repeat(1_000_000)).len(), MESSAGE);
    }
}
