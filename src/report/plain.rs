//! The log for pipes, files and CI: one line for each thing that happened, in the order in which it happened.

use jiff::Timestamp;

use super::{Console, FOLD_ABOVE, Palette, bytes, seconds};
use crate::event::{Event, EventKind, Outcome, Transfer};

/// How wide the column of step ids is; longer ids push their line.
pub(super) const STEP_WIDTH: usize = 16;

pub(super) struct Plain {
    console: Console,
    started: Option<Timestamp>,
    verbose: bool,
    steps: usize,
    /// Lines that are still to be written.
    waiting: String,
}

impl Plain {
    pub(super) fn new(console: Console, verbose: bool) -> Self {
        Self { console, started: None, verbose, steps: 0, waiting: String::new() }
    }

    pub(super) fn show(&mut self, event: &Event) {
        let started = *self.started.get_or_insert(event.time);
        match &event.kind {
            EventKind::RunStarted { steps, .. } => self.steps = *steps,
            EventKind::StepFinished { outcome, .. }
                if self.steps > FOLD_ABOVE && !self.verbose && outcome.is_folded() => {}
            kind => {
                let Some(line) = line(kind, self.verbose) else { return };
                let elapsed = (event.time - started).total(jiff::Unit::Second).unwrap_or(0.0);
                let dim = Palette::DIM;
                self.waiting.push_str(&format!("{dim}{elapsed:>7.2}s{dim:#}  {line}\n"));
            }
        }
    }

    /// Writes what was shown: once for all that happened together, which may be thousands of lines.
    pub(super) fn flush(&mut self) {
        if !self.waiting.is_empty() {
            self.console.text(&self.waiting);
            self.waiting.clear();
        }
    }
}

/// The line that tells of an event, without its time; nothing for events that a log has no use for.
pub(super) fn line(event: &EventKind, verbose: bool) -> Option<String> {
    let (dim, busy, warn) = (Palette::DIM, Palette::BUSY, Palette::WARN);
    match event {
        EventKind::RunTarget { context, server, namespaces } => {
            let server = server.as_ref().map(|server| format!(" at {server}")).unwrap_or_default();
            let word = if namespaces.len() == 1 { "namespace" } else { "namespaces" };
            let namespaces = match namespaces.len() {
                0 => String::new(),
                1..=5 => format!(", {word} {}", namespaces.join(", ")),
                more => format!(", {more} namespaces"),
            };
            Some(format!("{:<STEP_WIDTH$} {busy}changing{busy:#}  context {context}{server}{namespaces}", "cluster"))
        }
        EventKind::StepStarted { step, attempt, reason } => {
            let again = if *attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
            Some(format!("{step:<STEP_WIDTH$} {busy}started{busy:#}   {reason}{again}"))
        }
        EventKind::StepOutput { step, line, .. } => Some(format!("{step:<STEP_WIDTH$} {dim}|{dim:#} {line}")),
        EventKind::StepWaiting { step, message } => Some(format!("{step:<STEP_WIDTH$} {dim}.{dim:#} {message}")),
        EventKind::StepProgress { step, message, .. } if verbose => {
            Some(format!("{step:<STEP_WIDTH$} {dim}.{dim:#} {message}"))
        }
        EventKind::StepTransfer { step, transfer } if verbose && transfer.arrived => {
            Some(format!("{step:<STEP_WIDTH$} {dim}.{dim:#} {}", self::transfer(transfer)))
        }
        EventKind::StepTransition { step, object, from, to, detail } => {
            Some(format!("{step:<STEP_WIDTH$} {dim}~{dim:#} {}", transition(object, from, to, detail)))
        }
        EventKind::StepNotes { step, notes } => {
            let lines = notes.lines().map(|line| format!("\n    {line}")).collect::<String>();
            Some(format!("{step:<STEP_WIDTH$} {dim}says{dim:#}{lines}"))
        }
        EventKind::Warning { step, message } => {
            let step = step.as_ref().map(|step| format!("{step}: ")).unwrap_or_default();
            Some(format!("{warn}warning{warn:#}: {step}{message}"))
        }
        EventKind::StepRetry { step, attempt, reason, delay_seconds } => Some(format!(
            "{step:<STEP_WIDTH$} {warn}again{warn:#}     attempt {attempt} failed: {reason}; next in {}",
            seconds(*delay_seconds)
        )),
        EventKind::StepFinished { step, outcome, reason, note, seconds: time, .. } => {
            let style = Palette::outcome(*outcome);
            let word = outcome_word(*outcome);
            let text = match (outcome, note) {
                (Outcome::Done, Some(note)) => format!("{}  {note}", seconds(*time)),
                (Outcome::Done, None) => seconds(*time),
                (Outcome::Failed, _) => format!("{}  {reason}", seconds(*time)),
                (Outcome::Skipped | Outcome::Blocked | Outcome::Cancelled, _) => reason.clone(),
            };
            Some(format!("{step:<STEP_WIDTH$} {style}{word:<9}{style:#} {text}"))
        }
        EventKind::RunStarted { .. }
        | EventKind::StepProgress { .. }
        | EventKind::StepTransfer { .. }
        | EventKind::RunFinished { .. } => None,
    }
}

/// What an object has become, and why when that is known.
pub(super) fn transition(object: &str, from: &str, to: &str, detail: &str) -> String {
    let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
    format!("{object}: {from} -> {to}{detail}")
}

/// How far an image has come on its way to a node, in a few words.
pub(super) fn transfer(transfer: &Transfer) -> String {
    let Transfer { node, arrived, sent, expected, layers_skipped, layers, rate, why_whole, .. } = transfer;
    let of = if *arrived { String::new() } else { format!(" of {}", bytes(*expected)) };
    let verb = if *arrived { "sent to" } else { "sending to" };
    let why = why_whole.as_ref().map(|why| format!(", whole since {why}")).unwrap_or_default();
    let there = if *layers_skipped > 0 { format!(", {layers_skipped} of {layers} layers were there") } else { why };
    format!("{verb} {node} {}{of}, {}/s{there}", bytes(*sent), bytes(*rate as u64))
}

/// The word for a final state.
fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Skipped => "skipped",
        Outcome::Failed => "failed",
        Outcome::Blocked => "blocked",
        Outcome::Cancelled => "cancelled",
    }
}
