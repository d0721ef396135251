//! The selected steps as the scheduler wants them.

use std::fmt::Write;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::config::StepOptions;
use crate::graph::{Graph, StepIndex, StepKind, StepSet};
use crate::process::make_room;
use crate::sched::{Failing, Input, Limits, Needs, StepSpec};
use crate::step::World;

/// The pools that are not the user's own, in the order in which the scheduler numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// What has no limit of its own.
    Free,
    /// Builds.
    Builds,
    /// Loads.
    Loads,
    /// Charts.
    Charts,
    /// Tasks.
    Tasks,
}

impl Pool {
    const COUNT: usize = 5;

    const fn of(kind: StepKind) -> Self {
        match kind {
            StepKind::Cluster | StepKind::Ready => Self::Free,
            StepKind::Build => Self::Builds,
            StepKind::Load => Self::Loads,
            StepKind::Chart => Self::Charts,
            StepKind::Task => Self::Tasks,
        }
    }
}

/// The steps of a run, numbered as the scheduler knows them: in an order in which each comes after what it needs.
#[derive(Debug)]
pub struct Selected {
    steps: Vec<StepIndex>,
    /// For each step of the graph, its number in the run.
    numbers: Vec<Option<u32>>,
}

impl Selected {
    /// Numbers a selection of a graph's steps.
    pub fn new(graph: &Graph, selection: &StepSet) -> Self {
        let steps: Vec<_> = graph.order().iter().copied().filter(|&step| selection.contains(step)).collect();
        let mut numbers = vec![None; graph.len()];
        for (number, step) in (0..).zip(&steps) {
            numbers[step.index()] = Some(number);
        }
        Self { steps, numbers }
    }

    /// The steps in order.
    pub fn steps(&self) -> &[StepIndex] {
        &self.steps
    }

    /// The step of a number.
    pub fn step(&self, number: u32) -> StepIndex {
        self.steps[number as usize]
    }

    /// The needs of all steps, as far as they are selected too; also those by way of steps that are not.
    pub fn needs(&self, graph: &Graph) -> Needs {
        let number = |need: &StepIndex| self.numbers[need.index()];
        if self.steps.len() == graph.len() {
            return self.steps.iter().map(|&step| graph.needs(step).iter().filter_map(number)).collect();
        }
        let set = StepSet::of(graph, self.steps.iter().copied());
        let within = |&step: &StepIndex| graph.needs_within(step, &set).iter().filter_map(number).collect::<Vec<_>>();
        self.steps.iter().map(within).collect()
    }
}

impl Selected {
    /// The needs, turned round: for each step, those that need it.
    fn dependents(&self, graph: &Graph) -> Needs {
        let needs = self.needs(graph);
        let mut dependents = vec![Vec::new(); self.steps.len()];
        for step in 0..self.steps.len() as u32 {
            for &need in needs.of(step) {
                dependents[need as usize].push(step);
            }
        }
        dependents.into_iter().collect()
    }
}

/// What the scheduler needs to apply a selection.
pub(super) fn for_apply(world: &World, selected: &Selected, jobs: Option<NonZeroU32>, failing: Failing) -> Input {
    let limits = &world.stack().limits;
    let own = |count: Option<u32>| count.and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX);
    let mut pools = vec![NonZeroU32::MAX, own(limits.builds), own(limits.loads), own(limits.charts), own(limits.tasks)];
    pools.extend(limits.pools.values().map(|&count| own(Some(count))));
    // Pools of the user's own hold tasks, which count as tasks all the same.
    let mut within = vec![None; Pool::COUNT];
    within.resize(pools.len(), limits.tasks.map(|_| Pool::Tasks as u16));
    let state = world.state();
    let mut text = String::new();
    let steps = selected
        .steps()
        .iter()
        .map(|&step| {
            let id = world.graph().id(step);
            let options = options(world, step);
            let millis = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
            text.clear();
            // Writing to a string does not fail.
            let _ = write!(text, "{id}");
            let seen = state.own.durations.get(text.as_str()).map(|&millis| u32::try_from(millis).unwrap_or(u32::MAX));
            StepSpec {
                pool: pool(world, step),
                retries: options.map_or(0, |options| u16::try_from(options.retries).unwrap_or(u16::MAX)),
                backoff_ms: options.map_or(0, |options| millis(options.backoff)),
                estimate_ms: seen.unwrap_or_else(|| usual(id.kind())),
                deadline_ms: options
                    .and_then(|options| deadline(id.kind(), options))
                    .and_then(|limit| NonZeroU32::new(millis(limit))),
            }
        })
        .collect();
    drop(state);
    let jobs = jobs.unwrap_or_else(|| default_jobs(limits.jobs));
    let at_once = u32::try_from(selected.steps().len()).unwrap_or(u32::MAX).min(jobs.get());
    let jobs = jobs.min(NonZeroU32::new(make_room(at_once)).unwrap_or(NonZeroU32::MIN));
    let usual = Limits::jobs(jobs);
    // What is stuck is killed from outside, but never before the grace that its own guard gives it is over.
    let terminate_within = usual.terminate_within.max(limits.grace + usual.kill_within);
    let limits = Limits { pools, within, failing, deadline: limits.deadline, terminate_within, ..usual };
    Input { needs: selected.needs(world.graph()), steps, limits }
}

/// What the scheduler needs only to look at a selection: everything at once, whatever fails.
pub(super) fn for_plan(world: &World, selected: &Selected) -> Input {
    let mut limits = Limits::jobs(NonZeroU32::MAX);
    limits.failing = Failing::KeepGoing;
    let steps = vec![StepSpec::default(); selected.steps().len()];
    Input { needs: selected.needs(world.graph()), steps, limits }
}

/// What the scheduler needs to take a selection away: every step after those that need it, and on with the rest when one
/// of them fails.
pub(super) fn for_destroy(world: &World, selected: &Selected) -> Input {
    let mut limits = Limits::jobs(default_jobs(world.stack().limits.jobs));
    limits.failing = Failing::KeepGoing;
    // An image can't go while a pod that uses it is still ending, which takes half a minute and a bit: 0.5 s + 1 s + ...
    let spec = StepSpec { retries: 7, backoff_ms: 500, ..StepSpec::default() };
    let steps = vec![spec; selected.steps().len()];
    Input { needs: selected.dependents(world.graph()), steps, limits }
}

/// How long steps of a kind usually take, in milliseconds: for the order of a first run.
const fn usual(kind: StepKind) -> u32 {
    match kind {
        StepKind::Cluster => 60_000,
        StepKind::Build => 30_000,
        StepKind::Load => 5_000,
        StepKind::Chart => 15_000,
        StepKind::Ready => 2_000,
        StepKind::Task => 1_000,
    }
}

/// Steps mostly wait for others, so there is more than one for each processor even on a small machine.
fn default_jobs(configured: Option<u32>) -> NonZeroU32 {
    const LEAST: NonZeroU32 = NonZeroU32::new(8).unwrap();
    let processors = std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1));
    configured
        .or(Some(processors))
        .and_then(NonZeroU32::new)
        .map_or(LEAST, |jobs| if configured.is_some() { jobs } else { jobs.max(LEAST) })
}

/// When a step is stopped from outside. What waits for the cluster keeps its own time, since it has to say what was in the
/// way, and may have to go back: it is stopped only when it does not come to an end by itself.
fn deadline(kind: StepKind, options: &StepOptions) -> Option<Duration> {
    const TO_EXPLAIN: Duration = Duration::from_secs(60);
    let limit = options.timeout?;
    Some(match kind {
        StepKind::Chart | StepKind::Ready => 2 * limit + TO_EXPLAIN,
        StepKind::Cluster | StepKind::Build | StepKind::Load | StepKind::Task => limit,
    })
}

fn pool(world: &World, step: StepIndex) -> u16 {
    let id = world.graph().id(step);
    let own = (id.kind() == StepKind::Task && !world.stack().limits.pools.is_empty())
        .then(|| world.task(step).and_then(|(_, task)| task.pool.as_ref()))
        .flatten()
        .and_then(|name| world.stack().limits.pools.get_index_of(name))
        .and_then(|place| u16::try_from(Pool::COUNT + place).ok());
    own.unwrap_or(Pool::of(id.kind()) as u16)
}

fn options(world: &World, step: StepIndex) -> Option<&StepOptions> {
    let id = world.graph().id(step);
    let stack = world.stack();
    match id.kind() {
        StepKind::Cluster => stack.cluster.as_ref().map(|cluster| &cluster.options),
        StepKind::Build | StepKind::Load => stack.images.get(id.name()).map(|image| &image.options),
        StepKind::Chart => stack.charts.get(id.name()).map(|chart| &chart.options),
        StepKind::Ready => stack.ready.get(id.name()).map(|ready| &ready.options),
        StepKind::Task => world.task(step).map(|(_, task)| &task.options),
    }
}
