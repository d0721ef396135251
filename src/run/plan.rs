//! Walks the graph without changing anything: what would each step do?

use std::sync::{Arc, Mutex, PoisonError};

use super::input::{Selected, for_plan};
use super::{inspect, pending};
use crate::exec::{AttemptResult, Runner, run, stop_channel};
use crate::plan::{Action, Decision};
use crate::process::Cancel;
use crate::report::{PlanReport, PlannedStep};
use crate::step::{self, Known, StepError, World};

/// A plan, and the errors for which steps could not be decided.
#[derive(Debug)]
pub struct Planned {
    /// The plan.
    pub report: PlanReport,
    /// The steps that could not be inspected, in order.
    pub errors: Vec<StepError>,
}

/// Inspects the selected steps, all that can be at the same time.
pub async fn plan(world: &Arc<World>, selected: Selected) -> Planned {
    let input = for_plan(world, &selected);
    let count = selected.steps().len();
    let planner = Arc::new(Planner { world: Arc::clone(world), selected, decided: Mutex::new(vec![None; count]) });
    let (_never, stops) = stop_channel();
    // The graph has been checked for cycles, which is all that could be wrong with the input.
    let _ = run(input, Arc::clone(&planner), stops, |_| {}).await;
    planner.finish()
}

struct Planner {
    world: Arc<World>,
    selected: Selected,
    decided: Mutex<Vec<Option<Result<Decision, StepError>>>>,
}

impl Planner {
    fn decide(&self, number: u32, decision: Result<Decision, StepError>) {
        // Every change is one assignment, so a panic elsewhere leaves nothing half-changed.
        let mut decided = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
        decided[number as usize] = Some(decision);
    }

    fn finish(&self) -> Planned {
        let decided = std::mem::take(&mut *self.decided.lock().unwrap_or_else(PoisonError::into_inner));
        let mut errors = Vec::new();
        let mut steps = Vec::with_capacity(decided.len());
        for (&step, decision) in self.selected.steps().iter().zip(decided) {
            let decision = match decision {
                Some(Ok(decision)) => decision,
                Some(Err(error)) => {
                    let decision = Decision::new(Action::Blocked, error.reason.clone());
                    errors.push(error);
                    decision
                }
                None => Decision::new(Action::Blocked, "a step that it needs could not be looked at"),
            };
            steps.push(PlannedStep { id: self.world.graph().id(step).clone(), decision });
        }
        Planned { report: PlanReport::new(self.world.stack().name.value.clone(), steps), errors }
    }
}

impl Runner for Planner {
    fn try_now(&self, number: u32) -> Option<AttemptResult> {
        let step = self.selected.step(number);
        let (reason, output) = step::skip_at_once(&self.world, step)?;
        self.world.set_output(step, Known::Yes(output));
        self.decide(number, Ok(Decision::new(Action::Skip, reason)));
        Some(AttemptResult::skipped("planned"))
    }

    async fn run(self: Arc<Self>, number: u32, _attempt: u32, _cancel: Cancel) -> AttemptResult {
        let step = self.selected.step(number);
        match inspect(&self.world, step).await {
            Ok(inspection) => {
                let mut decision = inspection.decision;
                if self.world.is_forced(step) && decision.action != Action::Run {
                    decision = Decision::new(Action::Run, "forced");
                }
                let output = match decision.action {
                    Action::Skip => inspection.output,
                    Action::Run | Action::Unknown | Action::Blocked => {
                        // A release keeps its name whether or not it changes; what is still unknown says so itself.
                        pending(&self.world, step)
                    }
                };
                self.world.set_output(step, output);
                self.decide(number, Ok(decision));
                AttemptResult::skipped("planned")
            }
            Err(error) => {
                self.decide(number, Err(error.clone()));
                error.into()
            }
        }
    }
}
