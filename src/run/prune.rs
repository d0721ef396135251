//! After everything in the file holds: removes what has left it.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::step_finished;
use crate::event::Events;
use crate::exec::{AttemptResult, ExecEvent, Runner, Stops, run};
use crate::process::Cancel;
use crate::sched::{Failing, Input, InvalidInput, Limits, StepSpec, Summary};
use crate::step::{Leftover, Speaker, StepError, World, remove_leftover};

/// How many releases are removed at the same time.
const AT_A_TIME: NonZeroU32 = NonZeroU32::new(8).unwrap();

/// Removes releases whose charts have left the file.
///
/// # Errors
/// If the scheduler refuses its input, which is a mistake of `stack` itself.
pub(super) async fn prune(
    world: &Arc<World>,
    leftovers: Vec<Leftover>,
    stops: Stops,
    events: &Events,
) -> Result<Summary, InvalidInput> {
    let mut limits = Limits::jobs(AT_A_TIME);
    limits.failing = Failing::KeepGoing;
    let needs = leftovers.iter().map(|_| Vec::new()).collect();
    let steps = vec![StepSpec::default(); leftovers.len()];
    let pruner = Arc::new(Pruner { world: Arc::clone(world), leftovers, events: events.clone() });
    let report = run(Input { needs, steps, limits }, Arc::clone(&pruner), stops, |event| pruner.tell(event)).await?;
    Ok(report.summary)
}

struct Pruner {
    world: Arc<World>,
    leftovers: Vec<Leftover>,
    events: Events,
}

impl Pruner {
    fn tell(&self, event: ExecEvent) {
        let ExecEvent::Finished { step, end, result, took } = event else { return };
        if self.leftovers[step as usize].is_release() {
            let id = |step: u32| self.leftovers[step as usize].step();
            self.events.send(step_finished(id, step, end, result, took));
        }
    }

    async fn remove(&self, leftover: &Leftover, cancel: &Cancel) -> Result<AttemptResult, StepError> {
        let speaker = Speaker::new(leftover.step(), self.events.clone(), self.world.redactor().clone());
        if leftover.is_release() {
            crate::step::announce(&self.world, leftover.step().kind(), &self.events);
        }
        Ok(match remove_leftover(&self.world, leftover, &speaker, cancel).await? {
            Some(note) => AttemptResult::done(leftover.reason()).with_note(format!("removed {note}")),
            None => AttemptResult::skipped("nothing to remove"),
        })
    }
}

impl Runner for Pruner {
    async fn run(self: Arc<Self>, number: u32, _attempt: u32, cancel: Cancel) -> AttemptResult {
        match self.remove(&self.leftovers[number as usize], &cancel).await {
            Ok(result) => result,
            Err(error) => error.redacted(self.world.redactor()).into(),
        }
    }
}
