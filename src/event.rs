//! Everything that happens in a run, as owned, serialisable data.
//!
//! Producers (`exec`, `step`) send events; consumers (`report`, `store`) read them. An event knows nothing of its
//! consumers, and carries no secret: whoever makes an event redacts it first. The JSON form is a contract, see the
//! design of the commands.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{Notify, mpsc};

use crate::error::Class;
use crate::graph::StepId;

/// One event with the moment at which it happened.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// When it happened, UTC.
    pub time: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum EventKind {
    /// A run begins.
    RunStarted {
        /// The stack's name.
        stack: String,
        /// How many steps the run looks at.
        steps: usize,
    },
    /// The cluster that is about to be changed: told once, before the first change.
    RunTarget {
        /// The kubeconfig context.
        context: String,
        /// The address of its API server, when it is there already.
        #[serde(skip_serializing_if = "Option::is_none")]
        server: Option<String>,
        /// The namespaces that charts are installed into.
        namespaces: Vec<String>,
    },
    /// An attempt at a step begins: it was decided that it has to run.
    StepStarted {
        /// The step.
        step: StepId,
        /// 1 for the first attempt.
        attempt: u32,
        /// Why it has to run.
        reason: String,
    },
    /// A line that a step's tool printed.
    StepOutput {
        /// The step.
        step: StepId,
        /// Where the tool printed it.
        stream: Stream,
        /// The line, without its end.
        line: String,
    },
    /// How far a running step has come. Only the newest matters; consumers may drop older ones.
    StepProgress {
        /// The step.
        step: StepId,
        /// What it is doing now, in a few words.
        message: String,
        /// Units done, when they can be counted.
        #[serde(skip_serializing_if = "Option::is_none")]
        done: Option<u64>,
        /// Units in all, when known.
        #[serde(skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
    },
    /// A step waits for something that takes longer than a moment, also before it has started.
    StepWaiting {
        /// The step.
        step: StepId,
        /// What it waits for: `waiting for the API server of minikube profile todo`.
        message: String,
    },
    /// How far an image has come on its way to a node. Consumers may drop all but the last of a node.
    StepTransfer {
        /// The step.
        step: StepId,
        /// Which node, and how far.
        #[serde(flatten)]
        transfer: Transfer,
    },
    /// An object in the cluster changed its state, such as `Active -> Updating`.
    StepTransition {
        /// The step that watches the object.
        step: StepId,
        /// `Deployment todo-backend`.
        object: String,
        /// The state before.
        from: String,
        /// The state now.
        to: String,
        /// Detail such as `1 of 2 new pods ready`.
        detail: String,
    },
    /// What a chart tells those who install it: its NOTES, told when they are new.
    StepNotes {
        /// The step.
        step: StepId,
        /// The text, of several lines.
        notes: String,
    },
    /// Something to know that is no failure.
    Warning {
        /// The step it belongs to, if it belongs to one.
        #[serde(skip_serializing_if = "Option::is_none")]
        step: Option<StepId>,
        /// The sentence to show.
        message: String,
    },
    /// A failed attempt will be followed by another.
    StepRetry {
        /// The step.
        step: StepId,
        /// The attempt that failed.
        attempt: u32,
        /// Why it failed.
        reason: String,
        /// Seconds until the next attempt.
        delay_seconds: f64,
    },
    /// A step has reached its final state.
    StepFinished {
        /// The step.
        step: StepId,
        /// Its final state.
        outcome: Outcome,
        /// Why: of a skip, what is equal; of a failure, what happened; of a block, by whom.
        reason: String,
        /// The step that failed, of one that was blocked by it or not started because of it.
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<StepId>,
        /// The class of a failure.
        #[serde(skip_serializing_if = "Option::is_none")]
        class: Option<Class>,
        /// The full explanation of a failure: several lines, ending in what to try.
        #[serde(skip_serializing_if = "Option::is_none")]
        diagnosis: Option<String>,
        /// What was achieved or saved, for the summary: `sent 1.0 MB of 865 MB`.
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<String>,
        /// How long it took, from its start (0 for a step that never started).
        seconds: f64,
    },
    /// The run is over.
    RunFinished {
        /// How it ended.
        outcome: RunOutcome,
        /// Steps that ran and succeeded.
        done: usize,
        /// Steps that had nothing to do.
        skipped: usize,
        /// Steps that failed.
        failed: usize,
        /// Steps that could not start since a step they need failed.
        blocked: usize,
        /// Steps that were stopped or never started because the run was cancelled.
        cancelled: usize,
        /// Wall time of the run.
        seconds: f64,
    },
}

/// How far an image has come on its way to a node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Transfer {
    /// The node.
    pub node: String,
    /// Whether it has arrived and was found there.
    pub arrived: bool,
    /// Bytes sent so far.
    pub sent: u64,
    /// Bytes that will be sent, about.
    pub expected: u64,
    /// The size of the whole image.
    pub total: u64,
    /// Layers that the node had already.
    pub layers_skipped: usize,
    /// Layers of the image.
    pub layers: usize,
    /// Bytes per second, since the beginning.
    pub rate: f64,
    /// Why the whole image is sent although only its missing layers were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_whole: Option<String>,
}

/// Where a tool printed a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output, or the progress of a daemon.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The final state of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It ran and succeeded.
    Done,
    /// Nothing had to be done.
    Skipped,
    /// It ran and failed.
    Failed,
    /// A step it needs failed, or was blocked itself.
    Blocked,
    /// The run was cancelled before it finished.
    Cancelled,
}

impl Outcome {
    /// Whether a large run only counts steps that end so.
    pub fn is_folded(self) -> bool {
        matches!(self, Self::Skipped | Self::Blocked)
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunOutcome {
    /// Every step is done or skipped.
    Done,
    /// At least one step failed.
    Failed,
    /// Stopped by a signal or a deadline.
    Cancelled,
}

/// The sending end of a run's events. Cheap to clone; sending never blocks and never fails visibly: a run goes on when
/// nobody listens any more.
///
/// What steps print is the one kind of event that may come faster than it can be told. Whoever reads it from a tool waits
/// for [`Room`] before reading on; what comes all the same is dropped, and its lines are counted.
#[derive(Debug, Clone)]
pub struct Events {
    sender: mpsc::UnboundedSender<Event>,
    is_over: Arc<Notify>,
    room: Room,
}

/// The receiving end of a run's events.
#[derive(Debug)]
pub struct EventReceiver {
    receiver: mpsc::UnboundedReceiver<Event>,
    is_over: Arc<Notify>,
    room: Room,
    /// The size of the output that was handed out last, which is not told yet.
    handed_out: usize,
}

impl EventReceiver {
    /// Waits for events and appends as many as there are, up to `most`; none when nobody can send any more. Those that were
    /// received before are told by then.
    pub async fn recv_many(&mut self, events: &mut Vec<Event>, most: usize) -> usize {
        self.room.give_back(std::mem::take(&mut self.handed_out));
        let before = events.len();
        let count = self.receiver.recv_many(events, most).await;
        self.handed_out = events[before..].iter().map(|event| size(&event.kind)).sum();
        let dropped = self.room.take_dropped();
        if dropped > 0 {
            let message = format!("{dropped} lines of output were dropped: they came faster than they could be told");
            let kind = EventKind::Warning { step: None, message };
            // The end of the run stays the last word.
            let place = events[before..].iter().position(|event| matches!(event.kind, EventKind::RunFinished { .. }));
            events.insert(place.map_or(events.len(), |place| before + place), Event { time: Timestamp::now(), kind });
        }
        count
    }

    /// Lets events come together for so long, or until the run is over.
    pub async fn pause(&self, longest: Duration) {
        // Either way there is no more to wait for.
        let _ = tokio::time::timeout(longest, self.is_over.notified()).await;
    }
}

impl Drop for EventReceiver {
    fn drop(&mut self) {
        // Nobody listens any more, so there is nothing to wait for.
        self.room.close();
    }
}

impl Events {
    /// A channel of events.
    pub fn channel() -> (Self, EventReceiver) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let is_over = Arc::new(Notify::new());
        let room = Room::default();
        let events = Self { sender, is_over: Arc::clone(&is_over), room: room.clone() };
        (events, EventReceiver { receiver, is_over, room, handed_out: 0 })
    }

    /// Sends an event that happened now.
    pub fn send(&self, kind: EventKind) {
        if !self.room.take(size(&kind)) {
            return;
        }
        let is_over = matches!(kind, EventKind::RunFinished { .. });
        // A closed channel means that the reporter is gone (a closed pipe, say): the run still has to end well.
        let _ = self.sender.send(Event { time: Timestamp::now(), kind });
        if is_over {
            self.is_over.notify_one();
        }
    }

    /// The room for what steps print.
    pub fn room(&self) -> &Room {
        &self.room
    }
}

/// What an event weighs that is a line of output; others are few, and weigh nothing.
fn size(kind: &EventKind) -> usize {
    match kind {
        // Beside its text, about what the event itself takes.
        EventKind::StepOutput { line, .. } => line.len() + 256,
        _ => 0,
    }
}

/// The room for output that is still to be told. Cheap to clone: clones are the same room.
#[derive(Debug, Clone, Default)]
pub struct Room(Arc<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    size: AtomicUsize,
    /// Lines for which there was no room at all.
    dropped: AtomicU64,
    is_closed: AtomicBool,
    changed: Notify,
}

impl Room {
    /// With more output than this waiting, those who can wait do.
    const WAIT: usize = 4 << 20;
    /// With more than this, it is dropped.
    const DROP: usize = 4 * Self::WAIT;

    /// Whether output can be read on.
    pub fn is_there(&self) -> bool {
        self.0.size.load(SeqCst) < Self::WAIT || self.0.is_closed.load(SeqCst)
    }

    /// Waits until output can be read on.
    pub async fn made(&self) {
        loop {
            let mut changed = pin!(self.0.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            if self.is_there() {
                return;
            }
            changed.await;
        }
    }

    fn take(&self, size: usize) -> bool {
        if size == 0 {
            return true;
        }
        if self.0.size.fetch_add(size, SeqCst) < Self::DROP || self.0.is_closed.load(SeqCst) {
            return true;
        }
        self.0.dropped.fetch_add(1, SeqCst);
        self.0.size.fetch_sub(size, SeqCst);
        false
    }

    fn give_back(&self, size: usize) {
        if size > 0 {
            self.0.size.fetch_sub(size, SeqCst);
            self.0.changed.notify_waiters();
        }
    }

    fn take_dropped(&self) -> u64 {
        self.0.dropped.swap(0, SeqCst)
    }

    fn close(&self) {
        self.0.is_closed.store(true, SeqCst);
        self.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::StepKind;

    fn line(line: String) -> EventKind {
        EventKind::StepOutput { step: StepId::new(StepKind::Task, "a"), stream: Stream::Stdout, line }
    }

    #[tokio::test]
    async fn output_that_nobody_takes_is_bounded_and_what_was_dropped_is_told() {
        let (events, mut receiver) = Events::channel();
        assert!(events.room().is_there());
        let lines = 3 * Room::DROP / 10_000;
        for _ in 0..lines {
            events.send(line("x".repeat(10_000)));
        }
        assert!(!events.room().is_there());
        events.send(EventKind::RunStarted { stack: "s".to_owned(), steps: 1 });
        let mut seen = Vec::new();
        receiver.recv_many(&mut seen, lines).await;
        let kept = seen.iter().filter(|event| matches!(event.kind, EventKind::StepOutput { .. })).count();
        assert!(kept * 10_000 <= Room::DROP + 10_000 && kept * 10_000 > Room::WAIT, "{kept} are kept");
        assert!(seen.iter().any(|event| matches!(event.kind, EventKind::RunStarted { .. })), "the rest has no bound");
        let told = format!("{} lines of output were dropped", lines - kept);
        let is_told =
            |event: &Event| matches!(&event.kind, EventKind::Warning { message, .. } if message.starts_with(&told));
        assert!(seen.iter().any(is_told), "{told}");
        // What was received is told by the time that more is wanted.
        events.send(EventKind::RunStarted { stack: "s".to_owned(), steps: 1 });
        tokio::join!(events.room().made(), receiver.recv_many(&mut seen, 1));
        assert!(events.room().is_there());
    }

    #[tokio::test]
    async fn nobody_waits_for_a_listener_that_is_gone() {
        let (events, receiver) = Events::channel();
        (0..Room::DROP / 1000).for_each(|_| events.send(line("x".repeat(1000))));
        tokio::join!(events.room().made(), async { drop(receiver) });
    }
}
