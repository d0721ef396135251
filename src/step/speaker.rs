//! How a step speaks while it works: events of its own, with every secret that is known taken out.

use crate::event::{EventKind, Events, Room, Stream, Transfer};
use crate::graph::StepId;
use crate::tools::redact::Redactor;

/// Sends the events of one step. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Speaker {
    step: StepId,
    events: Events,
    redactor: Redactor,
}

impl Speaker {
    /// The voice of a step.
    pub fn new(step: StepId, events: Events, redactor: Redactor) -> Self {
        Self { step, events, redactor }
    }

    /// The step.
    pub fn step(&self) -> &StepId {
        &self.step
    }

    /// What takes secrets out of texts.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// An attempt begins.
    pub fn started(&self, attempt: u32, reason: &str) {
        self.events.send(EventKind::StepStarted { step: self.step.clone(), attempt, reason: self.clean(reason) });
    }

    /// A tool printed a line.
    pub fn output(&self, stream: Stream, line: &str) {
        self.events.send(EventKind::StepOutput { step: self.step.clone(), stream, line: self.clean(line) });
    }

    /// The room for what tools print: who can, reads on only while it is there.
    pub fn room(&self) -> Room {
        self.events.room().clone()
    }

    /// How far the step has come.
    pub fn progress(&self, message: &str, done: Option<u64>, total: Option<u64>) {
        self.events.send(EventKind::StepProgress {
            step: self.step.clone(),
            message: self.clean(message),
            done,
            total,
        });
    }

    /// What the step waits for.
    pub fn waiting(&self, message: &str) {
        self.events.send(EventKind::StepWaiting { step: self.step.clone(), message: self.clean(message) });
    }

    /// How far an image has come on its way to a node.
    pub fn transfer(&self, transfer: Transfer) {
        self.events.send(EventKind::StepTransfer { step: self.step.clone(), transfer });
    }

    /// An object in the cluster changed its state.
    pub fn transition(&self, object: String, from: String, to: String, detail: String) {
        let [from, to, detail] = [from, to, detail].map(|text| self.clean(&text));
        self.events.send(EventKind::StepTransition { step: self.step.clone(), object, from, to, detail });
    }

    /// What a chart tells those who install it.
    pub fn notes(&self, notes: &str) {
        let notes = self.clean(notes.trim());
        if !notes.is_empty() {
            self.events.send(EventKind::StepNotes { step: self.step.clone(), notes });
        }
    }

    /// Something to know that is no failure.
    pub fn warn(&self, message: &str) {
        self.events.send(EventKind::Warning { step: Some(self.step.clone()), message: self.clean(message) });
    }

    fn clean(&self, text: &str) -> String {
        self.redactor.text(text)
    }
}
