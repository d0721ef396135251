//! Walks the graph backwards and takes away what steps made: what is needed goes after everything that needs it.

use std::sync::Arc;
use std::time::Instant;

use super::input::{Selected, for_destroy};
use super::seconds_since;
use crate::event::{EventKind, Events, Outcome, RunOutcome};
use crate::exec::{AttemptResult, ExecEvent, Runner, Stops, run};
use crate::process::Cancel;
use crate::sched::{End, InvalidInput, StopReason, Summary};
use crate::step::{Removal, Speaker, World, remove};

/// Takes away what the selected steps made. What could not be taken away is told as a failed step.
///
/// # Errors
/// If the scheduler refuses its input, which is a mistake of `stack` itself.
pub async fn destroy(
    world: &Arc<World>,
    selected: Selected,
    removal: Removal,
    stops: Stops,
    events: &Events,
) -> Result<Summary, InvalidInput> {
    let begun = Instant::now();
    events.send(EventKind::RunStarted { stack: world.stack_name().to_owned(), steps: selected.steps().len() });
    let input = for_destroy(world, &selected);
    let remover = Arc::new(Remover { world: Arc::clone(world), selected, removal, events: events.clone() });
    let report = run(input, Arc::clone(&remover), stops, |event| remover.tell(event)).await?;
    let summary = report.summary;
    let outcome = match (summary.failed, summary.stopped) {
        (_, Some(StopReason::Interrupt | StopReason::Kill | StopReason::Deadline)) => RunOutcome::Cancelled,
        (0, _) => RunOutcome::Done,
        _ => RunOutcome::Failed,
    };
    events.send(EventKind::RunFinished {
        outcome,
        done: summary.done as usize,
        skipped: summary.skipped as usize,
        failed: summary.failed as usize,
        blocked: summary.blocked as usize,
        cancelled: summary.cancelled as usize,
        seconds: seconds_since(begun),
    });
    Ok(summary)
}

struct Remover {
    world: Arc<World>,
    selected: Selected,
    removal: Removal,
    events: Events,
}

impl Remover {
    fn tell(&self, event: ExecEvent) {
        let id = |step: u32| self.world.graph().id(self.selected.step(step)).clone();
        let ExecEvent::Finished { step, end, result, took } = event else { return };
        let AttemptResult { reason, note, diagnosis, .. } =
            result.unwrap_or_else(|| AttemptResult::skipped(String::new()));
        let (outcome, reason, class) = match end {
            End::Done => (Outcome::Done, reason, None),
            End::Skipped => (Outcome::Skipped, reason, None),
            End::Failed { class, .. } => (Outcome::Failed, reason, Some(class)),
            End::Blocked { by } => (Outcome::Blocked, format!("blocked by {}", id(by)), None),
            End::Cancelled { .. } => (Outcome::Cancelled, "interrupted".to_owned(), None),
        };
        self.events.send(EventKind::StepFinished {
            step: id(step),
            outcome,
            reason,
            class,
            diagnosis,
            note,
            seconds: took.as_secs_f64(),
        });
    }
}

impl Runner for Remover {
    async fn run(self: Arc<Self>, number: u32, _attempt: u32, cancel: Cancel) -> AttemptResult {
        let step = self.selected.step(number);
        let id = self.world.graph().id(step).clone();
        let speaker = Speaker::new(id, self.events.clone(), self.world.redactor().clone());
        match remove(&self.world, step, self.removal, &speaker, &cancel).await {
            Ok(Some(note)) => AttemptResult::done("removed").with_note(note),
            Ok(None) => AttemptResult::skipped("nothing to remove"),
            Err(error) => error.into(),
        }
    }
}
