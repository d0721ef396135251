//! Puts a run together: the selected steps for the scheduler, the world for the steps, the events for the reporter.
//!
//! Owns the translation between the graph's numbers (all steps) and the scheduler's (the selected ones), and the two ways
//! to walk the graph: to apply, and only to plan. Decides nothing itself.

mod apply;
mod destroy;
mod explain;
mod gc;
mod input;
mod logs;
mod plan;
mod prune;
mod status;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

pub use apply::{ApplyOptions, apply};
pub use destroy::destroy;
pub use explain::{Explained, ExplainedInput, explain};
pub use gc::{Gc, GcImage, gc, sweep};
pub use input::{Pool, Selected};
pub use logs::follow_logs;
pub use plan::{PlanOptions, Planned, plan};
pub use status::{BuiltImage, ClusterStatus, ImageStatus, ReleaseStatusView, Status, status};

use crate::event::{EventKind, Outcome, RunOutcome};
use crate::exec::AttemptResult;
use crate::graph::{StepId, StepIndex};
use crate::plan::Decision;
use crate::process::Cancel;
use crate::sched::{End, StopReason, Summary};
use crate::step::{self, Inspection, Known, StepError, World};

/// What a run came to.
#[derive(Debug)]
pub struct RunResult {
    /// How many steps ended how.
    pub summary: Summary,
    /// The classes of all failures.
    pub failures: BTreeMap<String, crate::error::Class>,
}

impl From<StepError> for AttemptResult {
    fn from(error: StepError) -> Self {
        let StepError { class, reason, diagnosis } = error;
        let result = Self::failed(class, reason);
        match diagnosis {
            Some(diagnosis) => result.with_diagnosis(diagnosis),
            None => result,
        }
    }
}

/// Inspects a step, after those of its needs that are left out of the run: their outputs are needed all the same, and
/// nobody else will find them. No secret is in what comes back for people to read.
async fn inspect(world: &Arc<World>, step: StepIndex, cancel: &Cancel) -> Result<Inspection, StepError> {
    let redactor = world.redactor();
    let mut inspection = inspect_exposed(world, step, cancel).await.map_err(|error| error.redacted(redactor))?;
    let Decision { action: _, reason, changes, unknowable } = &mut inspection.decision;
    let sentences = changes.iter_mut().map(|change| &mut change.shown).chain(unknowable).chain([reason]);
    sentences.for_each(|text| *text = redactor.brief(text));
    // What is secret now may have been none when it was recorded. All else is told as it is.
    let values = changes.iter_mut().flat_map(|change| [&mut change.from, &mut change.to]).flatten();
    values.filter(|value| redactor.finds(value)).for_each(|value| *value = redactor.text(value));
    Ok(inspection)
}

async fn inspect_exposed(world: &Arc<World>, step: StepIndex, cancel: &Cancel) -> Result<Inspection, StepError> {
    let graph = world.graph();
    let mut missing = HashSet::new();
    let mut todo = vec![step];
    while let Some(next) = todo.pop() {
        let unknown = graph.needs(next).iter().filter(|&&need| world.output_of(need).is_none());
        todo.extend(unknown.filter(|&&need| missing.insert(need)));
    }
    if !missing.is_empty() {
        for &need in graph.order().iter().filter(|need| missing.contains(need)) {
            let inspection = step::inspect(world, need, cancel).await?;
            world.set_output(need, inspection.output);
        }
    }
    step::inspect(world, step, cancel).await
}

/// What is not known before a step has run is known to be its own doing.
fn pending(world: &World, step: StepIndex) -> Known<step::Output> {
    Known::After(world.graph().id(step).clone())
}

/// The event for a step that has reached its final state.
fn step_finished(
    id: impl Fn(u32) -> StepId,
    step: u32,
    end: End,
    result: Option<AttemptResult>,
    took: Duration,
) -> EventKind {
    let AttemptResult { reason, note, diagnosis, .. } = result.unwrap_or_else(|| AttemptResult::skipped(String::new()));
    let (outcome, reason, by, class) = match end {
        End::Done => (Outcome::Done, reason, None, None),
        End::Skipped => (Outcome::Skipped, reason, None, None),
        End::Failed { class, .. } => (Outcome::Failed, reason, None, Some(class)),
        End::Blocked { by } => (Outcome::Blocked, format!("blocked by {}", id(by)), Some(id(by)), None),
        End::Cancelled { reason, by } => {
            let by = by.map(&id);
            (Outcome::Cancelled, why_cancelled(reason, by.as_ref()), by, None)
        }
    };
    let seconds = took.as_secs_f64();
    EventKind::StepFinished { step: id(step), outcome, reason, by, class, diagnosis, note, seconds }
}

fn why_cancelled(reason: StopReason, by: Option<&StepId>) -> String {
    match (reason, by) {
        (StopReason::FailFast, Some(step)) => format!("not started, since {step} failed"),
        (StopReason::FailFast, None) => "not started, since a step failed".to_owned(),
        (StopReason::Deadline, _) => "the run took longer than its deadline".to_owned(),
        (StopReason::Interrupt | StopReason::Kill, _) => "interrupted".to_owned(),
    }
}

/// The event for the end of a run.
fn run_finished(summary: &Summary, took: Duration) -> EventKind {
    let Summary { done, skipped, failed, blocked, cancelled, stopped, .. } = *summary;
    let outcome = match (failed, stopped) {
        (_, Some(StopReason::Interrupt | StopReason::Kill | StopReason::Deadline)) => RunOutcome::Cancelled,
        (0, _) => RunOutcome::Done,
        _ => RunOutcome::Failed,
    };
    let count = |count: u32| count as usize;
    EventKind::RunFinished {
        outcome,
        done: count(done),
        skipped: count(skipped),
        failed: count(failed),
        blocked: count(blocked),
        cancelled: count(cancelled),
        seconds: took.as_secs_f64(),
    }
}
