//! Follows a run's events to their end, in the form that the caller's terminal can show.

use std::time::Duration;

use super::live::Live;
use super::plain::Plain;
use super::{Console, Finished, Palette, seconds};
use crate::event::{Event, EventKind, EventReceiver, Outcome};
use crate::tools::redact::plain;

/// What the follower saw, for whoever needs it after the run.
#[derive(Debug, Default)]
pub struct Follow {
    /// Every step that has reached its end, in that order.
    pub finished: Vec<Finished>,
    /// All warnings.
    pub warnings: Vec<String>,
    /// Every failed step's diagnosis, in the order of the failures.
    pub failures: Vec<Failed>,
}

/// A failed step.
#[derive(Debug)]
pub struct Failed {
    /// The step.
    pub step: String,
    /// What happened.
    pub reason: String,
    /// The whole explanation.
    pub diagnosis: Option<String>,
    /// The steps that it blocked.
    pub blocked: Vec<String>,
}

/// How many events are shown before they are written, at most.
const TOGETHER: usize = 1024;

/// How many steps that a failure blocks are named.
const NAMED: usize = 10;

/// How long events are left to come together.
const PAUSE: Duration = Duration::from_millis(2);

/// How events are shown.
enum View {
    Json(Console, String),
    Plain(Plain),
    Live(Live),
}

/// Shows events until their channel closes, then the failures once more and the summary. With `keep`, what became of every
/// step is kept and not only the failures. Writing blocks: this wants a thread of its own.
pub async fn follow(mut events: EventReceiver, console: Console, verbose: bool, keep: bool) -> Follow {
    let mut seen = Follow::default();
    let mut view = if console.is_json() {
        View::Json(console.clone(), String::new())
    } else if console.is_interactive() && !verbose {
        View::Live(Live::new(console.clone()))
    } else {
        View::Plain(Plain::new(console.clone(), verbose))
    };
    let mut together = Vec::new();
    loop {
        let count = events.recv_many(&mut together, TOGETHER).await;
        if count == 0 {
            return seen;
        }
        let is_over = together.iter().any(|event| matches!(event.kind, EventKind::RunFinished { .. }));
        for event in together.drain(..) {
            seen.note(&event);
            if keep {
                seen.keep(&event);
            }
            match &mut view {
                View::Json(_, lines) => json(&event, lines),
                View::Plain(plain) => plain.show(&event),
                View::Live(live) => live.show(&event),
            }
            if let (EventKind::RunFinished { .. }, false) = (&event.kind, console.is_json()) {
                view.flush();
                seen.show_failures(&console);
                summary(&console, &event.kind);
            }
        }
        view.flush();
        // Whoever sends need not wake us for each event by itself, and nobody sees that a line comes this much later.
        if count < TOGETHER && !is_over {
            events.pause(PAUSE).await;
        }
    }
}

impl View {
    /// Writes what was shown, once for all events that came together.
    fn flush(&mut self) {
        match self {
            Self::Json(console, lines) => {
                console.result(lines);
                lines.clear();
            }
            Self::Plain(plain) => plain.flush(),
            Self::Live(_) => {}
        }
    }
}

fn json(event: &Event, lines: &mut String) {
    if let Ok(text) = serde_json::to_string(event) {
        lines.push_str(&text);
        lines.push('\n');
    }
}

impl Follow {
    fn keep(&mut self, event: &Event) {
        if let EventKind::Warning { step, message } = &event.kind {
            let message = plain(message).into_owned();
            self.warnings.push(step.as_ref().map_or_else(|| message.clone(), |step| format!("{step}: {message}")));
        }
        if let EventKind::StepFinished { step, outcome, reason, diagnosis, seconds, .. } = &event.kind {
            // The files and pages of a CI system have no colours.
            let step = step.to_string();
            let (reason, diagnosis) =
                (plain(reason).into_owned(), diagnosis.as_deref().map(|text| plain(text).into_owned()));
            self.finished.push(Finished { step, outcome: *outcome, reason, diagnosis, seconds: *seconds });
        }
    }

    fn note(&mut self, event: &Event) {
        let EventKind::StepFinished { step, outcome, reason, by, diagnosis, .. } = &event.kind else { return };
        match outcome {
            Outcome::Failed => self.failures.push(Failed {
                step: step.to_string(),
                reason: reason.clone(),
                diagnosis: diagnosis.clone(),
                blocked: Vec::new(),
            }),
            Outcome::Blocked => {
                let by = by.as_ref().map(ToString::to_string);
                if let Some(failed) = self.failures.iter_mut().find(|failed| by.as_ref() == Some(&failed.step)) {
                    failed.blocked.push(step.to_string());
                }
            }
            Outcome::Done | Outcome::Skipped | Outcome::Cancelled => {}
        }
    }

    fn show_failures(&self, console: &Console) {
        let (bad, dim) = (Palette::BAD, Palette::DIM);
        for Failed { step, reason, diagnosis, blocked } in &self.failures {
            console.line(format_args!("\n{bad}{step} failed{bad:#}: {reason}"));
            let lines = diagnosis.iter().flat_map(|text| text.lines());
            // A diagnosis that is read by itself begins with its headline, which stands above already.
            for line in lines.skip_while(|line| line == reason) {
                console.line(format_args!("  {line}"));
            }
            if !blocked.is_empty() {
                console.line(format_args!("  {dim}so these could not start: {}{dim:#}", first_of(blocked)));
            }
        }
    }
}

/// The names of the first few, and how many more there are.
fn first_of(steps: &[String]) -> String {
    match steps.len().saturating_sub(NAMED) {
        0 => steps.join(", "),
        more => format!("{} and {more} more", steps[..NAMED].join(", ")),
    }
}

fn summary(console: &Console, event: &EventKind) {
    let EventKind::RunFinished { outcome, done, skipped, failed, blocked, cancelled, seconds: time } = event else {
        return;
    };
    let style = match outcome {
        crate::event::RunOutcome::Done => Palette::GOOD,
        crate::event::RunOutcome::Failed => Palette::BAD,
        crate::event::RunOutcome::Cancelled => Palette::WARN,
    };
    let mut counts = format!("done:{done} skipped:{skipped} failed:{failed}");
    for (name, count) in [("blocked", blocked), ("cancelled", cancelled)] {
        if *count > 0 {
            counts.push_str(&format!(" {name}:{count}"));
        }
    }
    console.line(format_args!("\n{style}{counts}{style:#} in {}", seconds(*time)));
}
