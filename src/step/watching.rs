//! What is told while objects are waited for, and how it is explained when they don't become ready.

use super::{Speaker, StepError, stopped};
use crate::tools::kube::ready::{NotReady, ReadyEvent};

/// Tells what happens while waiting.
pub(super) fn tell(speaker: &Speaker, event: ReadyEvent) {
    match event {
        ReadyEvent::Transition { object, from, to, detail } => {
            speaker.transition(object.to_string(), from, to, detail);
        }
        ReadyEvent::Progress { object, detail } => speaker.progress(&format!("{object}: {detail}"), None, None),
        ReadyEvent::Trouble(sighting) => {
            let message = format!("{}: {}", sighting.object, sighting.trouble.message);
            speaker.progress(&message, None, None);
        }
        ReadyEvent::Note(note) => speaker.warn(&note),
    }
}

/// The step's failure, with the diagnosis.
pub(super) fn not_ready(error: NotReady) -> StepError {
    if matches!(error, NotReady::Cancelled) {
        return stopped();
    }
    let step = StepError::of(&error, error.class(), error.help());
    match error.diagnosis() {
        Some(diagnosis) => step.with_diagnosis(diagnosis.to_string().trim_end()),
        None => step,
    }
}
