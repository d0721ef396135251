//! Walks the graph and makes it so.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::input::{Selected, for_apply};
use super::prune::prune;
use super::{RunResult, inspect, run_finished, step_finished};
use crate::error::Class;
use crate::event::{EventKind, Events};
use crate::exec::{AttemptResult, ExecEvent, Runner, Stops, run};
use crate::graph::{StepIndex, StepKind};
use crate::plan::Action;
use crate::process::{Cancel, CancelLevel};
use crate::sched::{End, Failing, InvalidInput, StopReason};
use crate::step::{self, Known, Speaker, StepError, World};
use crate::store::LastOutcome;

/// How to apply.
#[derive(Debug, Default)]
pub struct ApplyOptions {
    /// How many steps at the same time.
    pub jobs: Option<NonZeroU32>,
    /// Go on with what does not depend on a step that failed.
    pub keep_going: bool,
    /// For a run over everything: removes, in the end, what has left the file. How to stop that.
    pub prune: Option<Stops>,
}

/// Makes the selected steps hold. Everything that happens is told as events, the end included.
///
/// # Errors
/// If the scheduler refuses its input, which is a mistake of `stack` itself.
pub async fn apply(
    world: &Arc<World>,
    selected: Selected,
    options: ApplyOptions,
    stops: Stops,
    events: &Events,
) -> Result<RunResult, InvalidInput> {
    let begun = Instant::now();
    events.send(EventKind::RunStarted { stack: world.stack().name.value.clone(), steps: selected.steps().len() });
    let failing = if options.keep_going { Failing::KeepGoing } else { Failing::Fast };
    let input = for_apply(world, &selected, options.jobs, failing);
    step::look_early(world, selected.steps());
    let applier = Arc::new(Applier { world: Arc::clone(world), selected, events: events.clone() });
    let mut failures = std::collections::BTreeMap::new();
    // What has left the file is looked for meanwhile. That holds if the run turns out to change nothing.
    let has_cluster = world.stack().cluster.is_some();
    let early = options.prune.as_ref().filter(|_| has_cluster).map(|_| {
        let world = Arc::clone(world);
        AbortOnDrop(tokio::spawn(async move { step::leftovers_early(&world).await }))
    });
    let mut report = run(input, Arc::clone(&applier), stops, |event| {
        if let ExecEvent::Finished { step, end: End::Failed { class, .. }, .. } = &event {
            failures.insert(applier.world.graph().id(applier.selected.step(*step)).to_string(), *class);
        }
        applier.tell(event);
    })
    .await?;
    if report.summary.stopped == Some(StopReason::Deadline)
        && let Some(deadline) = world.stack().limits.deadline
    {
        let message = format!("the run was stopped: it took longer than its deadline of {} s", deadline.as_secs_f64());
        events.send(EventKind::Warning { step: None, message });
    }
    if let Some(mut stops) = options.prune.filter(|_| report.summary.is_well() && report.summary.stopped.is_none()) {
        let look = async {
            let known = match early {
                Some(mut early) if report.summary.done == 0 => (&mut early.0).await.ok().and_then(Result::ok),
                Some(_) | None => None,
            };
            match known {
                Some(known) => Ok(known),
                None => step::leftovers(world).await,
            }
        };
        let leftovers = tokio::select! {
            biased;
            Some(reason) = stops.recv() => {
                report.summary.stopped = Some(reason);
                Ok(Vec::new())
            }
            leftovers = look => leftovers,
        };
        let leftovers = leftovers.unwrap_or_else(|error| {
            let reason = error.redacted(world.redactor()).reason;
            let message = format!("what has left the file can't be looked for: {reason}");
            events.send(EventKind::Warning { step: None, message });
            Vec::new()
        });
        if !leftovers.is_empty() {
            let pruned = prune(world, leftovers, stops, events).await?;
            report.summary.done += pruned.done;
            report.summary.failed += pruned.failed;
            report.summary.cancelled += pruned.cancelled;
            report.summary.stopped = pruned.stopped;
            if pruned.failed > 0 {
                failures.insert("prune".to_owned(), Class::Input);
            }
        }
    }
    events.send(run_finished(&report.summary, begun.elapsed()));
    Ok(RunResult { summary: report.summary, failures })
}

/// A look at the world that nobody needs any more once nobody waits for it.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Applier {
    world: Arc<World>,
    selected: Selected,
    events: Events,
}

impl Applier {
    async fn attempt(&self, step: StepIndex, attempt: u32, cancel: &Cancel) -> Result<AttemptResult, StepError> {
        let world = &self.world;
        let id = world.graph().id(step);
        let speaker = Speaker::new(id.clone(), self.events.clone(), world.redactor().clone());
        let inspection = tokio::select! {
            biased;
            inspection = inspect(world, step, cancel) => inspection?,
            // Looking changes nothing, so it need not come to an end.
            _ = cancel.raised(CancelLevel::Terminate) => return Err(step::stopped()),
            never = step::name_waits(world, id.kind(), &speaker) => match never {},
        };
        let forced = world.is_forced(step);
        // A task that is skipped, and should not be, is noticed by nobody else.
        if inspection.decision.action != Action::Skip || forced || id.kind() == StepKind::Task {
            inspection.manifest.unknowable().iter().for_each(|sentence| speaker.warn(sentence));
        }
        let reason = match inspection.decision.action {
            Action::Skip if !forced => {
                world.keep_manifest(id, &inspection.manifest);
                world.set_output(step, inspection.output);
                return Ok(AttemptResult::skipped(inspection.decision.reason));
            }
            Action::Skip => "forced".to_owned(),
            Action::Run => inspection.decision.reason.clone(),
            Action::Unknown | Action::Blocked => {
                // Everything selected that it needs has run, so what is missing was left out with --no-deps.
                let reason = format!("{}; it was left out of this run", inspection.decision.reason);
                return Err(StepError::new(Class::Input, reason).with_diagnosis("try again without --no-deps"));
            }
        };
        if cancel.is_raised() {
            return Err(step::stopped());
        }
        step::announce(world, id.kind(), &self.events);
        speaker.started(attempt, &reason);
        // A build keeps its own: it may have been of newer files than these.
        let manifest = (id.kind() != StepKind::Build).then(|| inspection.manifest.clone());
        let finished = step::execute(world, step, inspection, &speaker, cancel).await;
        world.changed();
        let finished = finished?;
        if let Some(manifest) = manifest {
            world.keep_manifest(id, &manifest);
        }
        world.set_output(step, Known::Yes(finished.output));
        let result = AttemptResult::done(reason);
        Ok(match finished.note {
            Some(note) => result.with_note(note),
            None => result,
        })
    }

    fn tell(&self, event: ExecEvent) {
        let id = |step: u32| self.world.graph().id(self.selected.step(step)).clone();
        match event {
            ExecEvent::Retry { step, attempt, reason, delay } => self.events.send(EventKind::StepRetry {
                step: id(step),
                attempt,
                reason,
                delay_seconds: delay.as_secs_f64(),
            }),
            ExecEvent::Finished { step, end, result, took } => {
                self.remember(self.selected.step(step), end, took);
                self.events.send(step_finished(id, step, end, result, took));
            }
        }
    }

    /// Keeps what the next run wants to know of this one: how long steps take, and which did not end well.
    fn remember(&self, step: StepIndex, end: End, took: Duration) {
        let world = &self.world;
        let id = || world.graph().id(step).to_string();
        let outcome = match end {
            End::Done => {
                let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                world.learn(|state| state.own.durations.insert(id(), millis));
                None
            }
            End::Skipped => None,
            End::Failed { .. } => Some(LastOutcome::Failed),
            End::Blocked { .. } | End::Cancelled { .. } => Some(LastOutcome::NotReached),
        };
        match outcome {
            Some(outcome) => _ = world.learn(|state| state.own.outcomes.insert(id(), outcome)),
            None if world.state().own.outcomes.is_empty() => {}
            None => _ = world.learn(|state| state.own.outcomes.remove(&id())),
        }
    }
}

impl Runner for Applier {
    fn try_now(&self, number: u32) -> Option<AttemptResult> {
        let step = self.selected.step(number);
        let (reason, output) = step::skip_at_once(&self.world, step)?;
        self.world.set_output(step, Known::Yes(output));
        Some(AttemptResult::skipped(reason))
    }

    async fn run(self: Arc<Self>, number: u32, attempt: u32, cancel: Cancel) -> AttemptResult {
        let step = self.selected.step(number);
        match self.attempt(step, attempt, &cancel).await {
            Ok(result) => result,
            Err(error) => error.redacted(self.world.redactor()).into(),
        }
    }
}
