//! Walks the graph backwards and takes away what steps made: what is needed goes after everything that needs it.

use std::sync::Arc;
use std::time::Instant;

use super::input::{Selected, for_destroy};
use super::{run_finished, step_finished};
use crate::event::{EventKind, Events};
use crate::exec::{AttemptResult, ExecEvent, Runner, Stops, run};
use crate::process::Cancel;
use crate::sched::{InvalidInput, Summary};
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
    events.send(run_finished(&report.summary, begun.elapsed()));
    Ok(report.summary)
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
        self.events.send(step_finished(id, step, end, result, took));
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
            Err(error) => error.redacted(self.world.redactor()).into(),
        }
    }
}
