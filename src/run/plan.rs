//! Walks the graph without changing anything: what would each step do?

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use super::input::{Selected, for_plan};
use super::{inspect, pending};
use crate::exec::{AttemptResult, Runner, Stops, run, stop_channel};
use crate::plan::{Action, Decision};
use crate::process::{Cancel, CancelLevel};
use crate::report::{PlanReport, PlannedStep};
use crate::step::{self, ChartChanges, Known, StepError, World};

/// A plan, and the errors for which steps could not be decided.
#[derive(Debug)]
pub struct Planned {
    /// The plan.
    pub report: PlanReport,
    /// The steps that could not be inspected, in order.
    pub errors: Vec<StepError>,
    /// Somebody wanted it to stop before all was looked at.
    pub is_stopped: bool,
}

/// What a plan shows beside the decisions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// What has left the file, which only a plan of everything knows.
    pub prune: bool,
    /// What would change in the cluster, object by object and line by line, and not only what would be removed.
    pub diff: bool,
}

/// Inspects the selected steps, all that can be at the same time. Looking may take commands, so a signal does not just end the
/// process.
pub async fn plan(world: &Arc<World>, selected: Selected, options: PlanOptions, stops: &mut Stops) -> Planned {
    let input = for_plan(world, &selected);
    let count = selected.steps().len();
    let decided = Mutex::new(vec![None; count]);
    let planner = Arc::new(Planner { world: Arc::clone(world), selected, whole: options.diff, decided });
    let (sender, stops_of_run) = stop_channel();
    let mut is_stopped = false;
    {
        let mut looking = pin!(run(input, Arc::clone(&planner), stops_of_run, |_| {}));
        loop {
            tokio::select! {
                // The graph has been checked for cycles, which is all that could be wrong with the input.
                _ = &mut looking => break,
                Some(reason) = stops.recv() => {
                    is_stopped = true;
                    // If it is just over, nobody listens any more.
                    let _ = sender.send(reason);
                }
            }
        }
    }
    let mut planned = planner.finish();
    if options.prune && !is_stopped {
        tokio::select! {
            () = planned.add_leftovers(world) => {}
            Some(_) = stops.recv() => is_stopped = true,
        }
    }
    planned.is_stopped = is_stopped;
    planned
}

impl Planned {
    async fn add_leftovers(&mut self, world: &World) {
        match step::leftovers(world).await {
            Ok(leftovers) => {
                for leftover in leftovers.iter().filter(|leftover| leftover.is_release()) {
                    let decision = Decision::new(Action::Run, leftover.reason());
                    self.report.add(PlannedStep::new(leftover.step(), decision));
                }
            }
            Err(error) => self.errors.push(error.redacted(world.redactor())),
        }
    }
}

struct Planner {
    world: Arc<World>,
    selected: Selected,
    /// Whether all that charts would change is wanted, and not only what they would remove.
    whole: bool,
    decided: Mutex<Vec<Option<Result<Decided, StepError>>>>,
}

type Decided = (Decision, Option<ChartChanges>);

impl Planner {
    fn decide(&self, number: u32, decision: Result<Decided, StepError>) {
        // Every change is one assignment, so a panic elsewhere leaves nothing half-changed.
        let mut decided = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
        decided[number as usize] = Some(decision);
    }

    fn finish(&self) -> Planned {
        let decided = std::mem::take(&mut *self.decided.lock().unwrap_or_else(PoisonError::into_inner));
        let mut errors = Vec::new();
        let mut steps = Vec::with_capacity(decided.len());
        for (&step, decision) in self.selected.steps().iter().zip(decided) {
            let (decision, chart) = match decision {
                Some(Ok(decided)) => decided,
                Some(Err(error)) => {
                    let decision = Decision::new(Action::Blocked, error.reason.clone());
                    errors.push(error);
                    (decision, None)
                }
                None => (Decision::new(Action::Blocked, "a step that it needs could not be looked at"), None),
            };
            steps.push(PlannedStep { id: self.world.graph().id(step).clone(), decision, chart });
        }
        let report = PlanReport::new(self.world.stack().name.value.clone(), steps);
        Planned { report, errors, is_stopped: false }
    }
}

impl Runner for Planner {
    fn try_now(&self, number: u32) -> Option<AttemptResult> {
        let step = self.selected.step(number);
        let (reason, output) = step::skip_at_once(&self.world, step)?;
        self.world.set_output(step, Known::Yes(output));
        self.decide(number, Ok((Decision::new(Action::Skip, reason), None)));
        Some(AttemptResult::skipped("planned"))
    }

    async fn run(self: Arc<Self>, number: u32, _attempt: u32, cancel: Cancel) -> AttemptResult {
        let step = self.selected.step(number);
        let look = async {
            let inspection = inspect(&self.world, step, &cancel).await?;
            let chart = step::differences(&self.world, &inspection, self.whole).await;
            Ok((inspection, chart))
        };
        let looked = tokio::select! {
            biased;
            looked = look => looked,
            // Looking changes nothing, so it need not come to an end.
            _ = cancel.raised(CancelLevel::Terminate) => Err(step::stopped()),
        };
        match looked {
            Ok((inspection, chart)) => {
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
                self.decide(number, Ok((decision, chart)));
                AttemptResult::skipped("planned")
            }
            Err(error) => {
                self.decide(number, Err(error.clone()));
                error.into()
            }
        }
    }
}
