//! The state machine itself.

use std::time::Duration;

use super::input::{Failing, Input, InvalidInput, Limits, Needs, StepSpec};
use super::order::Order;
use super::ready::ReadySet;
use super::{Effect, End, Event, Level, StopReason, Summary, Timer, Verdict};
use crate::error::Class;

/// The longest wait between two attempts.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// Where a step stands. [`Scheduler::enter`] is the only place that changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Needs something that is not done or skipped yet.
    Waiting,
    /// May start as soon as there is a slot.
    Ready,
    /// An attempt lives.
    Running,
    /// An attempt lives that was asked to stop since the run was stopped.
    Stopping,
    /// An attempt lives that was asked to stop since it took too long.
    Overdue,
    /// Its last attempt failed, the next one has to wait.
    Backoff,
    /// It has reached its final state.
    Ended,
}

impl State {
    /// Whether it holds a job and a slot in its pool.
    fn is_live(self) -> bool {
        match self {
            Self::Running | Self::Stopping | Self::Overdue => true,
            Self::Waiting | Self::Ready | Self::Backoff | Self::Ended => false,
        }
    }
}

/// What changes about a step during the run.
#[derive(Debug, Clone, Copy)]
struct Step {
    state: State,
    /// How urgently the live attempt was asked to stop.
    asked: Option<Level>,
    /// The last attempt that started; 0 before the first.
    attempt: u32,
    /// How many needs are not done or skipped yet.
    unmet: u32,
}

/// A pool's slots and the steps that wait for one.
#[derive(Debug)]
struct Pool {
    slots: u32,
    live: u32,
    ready: ReadySet,
}

/// See the [module](super).
#[derive(Debug)]
pub struct Scheduler {
    specs: Vec<StepSpec>,
    dependents: Needs,
    order: Order,
    limits: Limits,
    steps: Vec<Step>,
    pools: Vec<Pool>,
    live: u32,
    left: u32,
    /// The first step that failed for good under fail-fast.
    culprit: Option<u32>,
    begun: bool,
    summary: Summary,
    effects: Vec<Effect>,
    /// Steps still to be blocked; kept to be reused.
    to_block: Vec<u32>,
}

impl Scheduler {
    /// A scheduler for a run that has not begun.
    ///
    /// # Errors
    /// If the input refers to steps or pools that do not exist, or has a cycle.
    pub fn new(input: Input) -> Result<Self, InvalidInput> {
        input.validate()?;
        let Input { needs, steps: specs, limits } = input;
        let dependents = needs.reversed();
        let order = Order::new(&needs, &dependents, &specs, limits.pools.len())?;
        let steps: Vec<Step> = (0..specs.len() as u32)
            .map(|step| Step { state: State::Waiting, asked: None, attempt: 0, unmet: needs.of(step).len() as u32 })
            .collect();
        let pools = limits
            .pools
            .iter()
            .zip(&order.steps)
            .map(|(slots, steps)| Pool { slots: slots.get(), live: 0, ready: ReadySet::new(steps.len()) })
            .collect();
        Ok(Self {
            left: specs.len() as u32,
            specs,
            dependents,
            order,
            limits,
            steps,
            pools,
            live: 0,
            culprit: None,
            begun: false,
            summary: Summary::default(),
            effects: Vec::new(),
            to_block: Vec::new(),
        })
    }

    /// Takes in what happened at `now` (since the run began, never less than before), and returns what has to be done.
    ///
    /// Events that no longer matter, such as a timer of an attempt that has ended, have no effects.
    #[must_use = "the effects have to be carried out"]
    pub fn handle(&mut self, event: Event, now: Duration) -> &[Effect] {
        self.effects.clear();
        if self.begun && self.left == 0 {
            return &self.effects;
        }
        match event {
            Event::Begin => self.begin(now),
            Event::Finished { step, attempt, verdict } => {
                if self.is_live(step, attempt) {
                    self.finished(step, verdict, now);
                }
            }
            Event::Timer(Timer::Run) => self.stop(StopReason::Deadline, now),
            Event::Timer(Timer::Attempt { step, attempt }) => {
                if self.is_live(step, attempt) && self.steps[step as usize].state == State::Running {
                    self.enter(step, State::Overdue);
                    self.ask(step, Level::Terminate, now);
                }
            }
            Event::Timer(Timer::Backoff { step, attempt }) => {
                let Some(known) = self.steps.get(step as usize) else { return &self.effects };
                if known.state == State::Backoff && known.attempt == attempt {
                    self.enter(step, State::Ready);
                }
            }
            Event::Timer(Timer::Harder { step, attempt, level }) => {
                if self.is_live(step, attempt) && self.steps[step as usize].asked.is_some() {
                    self.ask(step, level, now);
                }
            }
            Event::Stop(reason) => self.stop(reason, now),
        }
        self.dispatch(now);
        if self.begun && self.left == 0 {
            self.effects.push(Effect::RunOver(self.summary));
        }
        &self.effects
    }

    /// How many attempts live.
    pub fn live(&self) -> u32 {
        self.live
    }

    /// How many steps have not reached their final state.
    pub fn left(&self) -> u32 {
        self.left
    }

    /// Why nothing starts any more, if so.
    pub fn stopped(&self) -> Option<StopReason> {
        self.summary.stopped
    }

    fn begin(&mut self, now: Duration) {
        if self.begun {
            return;
        }
        self.begun = true;
        if let Some(deadline) = self.limits.deadline {
            self.effects.push(Effect::ArmTimer { timer: Timer::Run, at: now + deadline });
        }
        for step in 0..self.steps.len() as u32 {
            let known = self.steps[step as usize];
            if known.unmet == 0 && known.state == State::Waiting {
                self.enter(step, State::Ready);
            }
        }
    }

    /// Starts ready steps while there are slots: always the one with the longest path behind it among those whose pool
    /// has a slot.
    fn dispatch(&mut self, now: Duration) {
        if !self.begun || self.summary.stopped.is_some() {
            return;
        }
        while self.live < self.limits.jobs.get() {
            let Some(step) = self.next_ready() else { return };
            self.enter(step, State::Running);
            let attempt = self.steps[step as usize].attempt;
            self.effects.push(Effect::Start { step, attempt });
            if let Some(deadline) = deadline(&self.specs[step as usize]) {
                let timer = Timer::Attempt { step, attempt };
                self.effects.push(Effect::ArmTimer { timer, at: now + deadline });
            }
        }
    }

    fn next_ready(&self) -> Option<u32> {
        self.pools
            .iter()
            .zip(&self.order.steps)
            .filter(|(pool, _)| pool.live < pool.slots)
            .filter_map(|(pool, steps)| pool.ready.first().map(|place| steps[place as usize]))
            .min_by_key(|&step| (std::cmp::Reverse(self.order.remaining[step as usize]), step))
    }

    fn is_live(&self, step: u32, attempt: u32) -> bool {
        self.steps.get(step as usize).is_some_and(|known| known.state.is_live() && known.attempt == attempt)
    }

    /// A live attempt of `step` ended.
    fn finished(&mut self, step: u32, verdict: Verdict, now: Duration) {
        let state = self.steps[step as usize].state;
        match verdict {
            // What was achieved counts, even when it was asked to stop.
            Verdict::Done => self.succeed(step, End::Done),
            Verdict::Skipped => self.succeed(step, End::Skipped),
            Verdict::Failed(_) if state == State::Stopping => {
                let reason = self.summary.stopped.unwrap_or(StopReason::Interrupt);
                self.end(step, End::Cancelled { reason, by: None });
            }
            Verdict::Failed(class) => {
                let Step { attempt, .. } = self.steps[step as usize];
                let spec = self.specs[step as usize];
                let overdue = if state == State::Overdue { deadline(&spec) } else { None };
                let class = if overdue.is_some() { Class::Transient } else { class };
                let again = class == Class::Transient && attempt <= spec.retries.into();
                if again && self.summary.stopped.is_none() {
                    let delay = backoff(spec.backoff_ms, attempt);
                    self.enter(step, State::Backoff);
                    self.effects.push(Effect::Retry { step, attempt, overdue, delay });
                    self.effects.push(Effect::ArmTimer { timer: Timer::Backoff { step, attempt }, at: now + delay });
                } else {
                    self.fail(step, class, overdue, now);
                }
            }
        }
    }

    fn succeed(&mut self, step: u32, end: End) {
        self.end(step, end);
        for at in 0..self.dependents.of(step).len() {
            let dependent = self.dependents.of(step)[at];
            let known = &mut self.steps[dependent as usize];
            known.unmet -= 1;
            if known.unmet == 0 && known.state == State::Waiting {
                self.enter(dependent, State::Ready);
            }
        }
    }

    /// `step` failed for good: so nothing that needs it can start.
    fn fail(&mut self, step: u32, class: Class, overdue: Option<Duration>, now: Duration) {
        self.end(step, End::Failed { class, overdue });
        let mut to_block = std::mem::take(&mut self.to_block);
        to_block.extend_from_slice(self.dependents.of(step));
        while let Some(dependent) = to_block.pop() {
            if self.steps[dependent as usize].state == State::Waiting {
                self.end(dependent, End::Blocked { by: step });
                to_block.extend_from_slice(self.dependents.of(dependent));
            }
        }
        self.to_block = to_block;
        if self.limits.failing == Failing::Fast && self.summary.stopped.is_none() {
            self.culprit = Some(step);
            self.stop(StopReason::FailFast, now);
        }
    }

    /// From now on nothing starts; what runs is asked to stop as urgently as `reason` wants it.
    fn stop(&mut self, reason: StopReason, now: Duration) {
        let first = self.summary.stopped.is_none();
        if self.summary.stopped.is_some_and(|known| known >= reason) {
            return;
        }
        self.summary.stopped = Some(reason);
        // A run that is stopped before it begins ends when it begins, so that its end is told once.
        if first {
            self.end_unstarted(reason, now);
        }
        let level = match reason {
            StopReason::FailFast => return,
            StopReason::Deadline | StopReason::Interrupt => Level::Terminate,
            StopReason::Kill => Level::Kill,
        };
        for step in 0..self.steps.len() as u32 {
            match self.steps[step as usize].state {
                State::Running => {
                    self.enter(step, State::Stopping);
                    self.ask(step, level, now);
                }
                State::Stopping | State::Overdue => self.ask(step, level, now),
                State::Waiting | State::Ready | State::Backoff | State::Ended => {}
            }
        }
    }

    /// Ends every step that has no live attempt.
    fn end_unstarted(&mut self, reason: StopReason, now: Duration) {
        // A step between two attempts has failed, since there will not be another; and so it blocks what needs it.
        for step in 0..self.steps.len() as u32 {
            let known = self.steps[step as usize];
            if known.state == State::Backoff || (known.state == State::Ready && known.attempt > 0) {
                // Between attempts, whether the last one was asked to stop tells whether its deadline ended it.
                let overdue = known.asked.and_then(|_| deadline(&self.specs[step as usize]));
                self.fail(step, Class::Transient, overdue, now);
            }
        }
        let by = self.culprit;
        for step in 0..self.steps.len() as u32 {
            match self.steps[step as usize].state {
                State::Waiting | State::Ready => self.end(step, End::Cancelled { reason, by }),
                State::Running | State::Stopping | State::Overdue | State::Backoff | State::Ended => {}
            }
        }
    }

    /// Asks the live attempt of `step` to stop, unless it was asked as urgently before.
    fn ask(&mut self, step: u32, level: Level, now: Duration) {
        let known = &mut self.steps[step as usize];
        if known.asked >= Some(level) {
            return;
        }
        known.asked = Some(level);
        let attempt = known.attempt;
        self.effects.push(Effect::Cancel { step, attempt, level });
        let (next, within) = match level {
            Level::Terminate => (Level::Kill, self.limits.terminate_within),
            Level::Kill => (Level::Abandon, self.limits.kill_within),
            Level::Abandon => return,
        };
        let timer = Timer::Harder { step, attempt, level: next };
        self.effects.push(Effect::ArmTimer { timer, at: now + within });
    }

    fn end(&mut self, step: u32, end: End) {
        self.enter(step, State::Ended);
        let count = match end {
            End::Done => &mut self.summary.done,
            End::Skipped => &mut self.summary.skipped,
            End::Failed { .. } => &mut self.summary.failed,
            End::Blocked { .. } => &mut self.summary.blocked,
            End::Cancelled { .. } => &mut self.summary.cancelled,
        };
        *count += 1;
        self.effects.push(Effect::Finish { step, end });
    }

    /// Every change of state passes through here, and only here do queues and counters of live attempts change.
    fn enter(&mut self, step: u32, to: State) {
        let known = &mut self.steps[step as usize];
        let from = std::mem::replace(&mut known.state, to);
        debug_assert!(may_follow(from, to), "step {step}: {from:?} -> {to:?}");
        if to == State::Running {
            known.attempt += 1;
            known.asked = None;
        }
        let pool = &mut self.pools[usize::from(self.specs[step as usize].pool)];
        let place = self.order.place[step as usize];
        if from == State::Ready {
            pool.ready.remove(place);
        }
        if to == State::Ready {
            pool.ready.insert(place);
        }
        match (from.is_live(), to.is_live()) {
            (false, true) => {
                pool.live += 1;
                self.live += 1;
            }
            (true, false) => {
                pool.live -= 1;
                self.live -= 1;
            }
            (true, true) | (false, false) => {}
        }
        if to == State::Ended {
            self.left -= 1;
        }
    }
}

/// The transitions that exist.
fn may_follow(from: State, to: State) -> bool {
    use State::{Backoff, Ended, Overdue, Ready, Running, Stopping, Waiting};
    match (from, to) {
        (Waiting, Ready | Ended)
        | (Ready, Running | Ended)
        | (Running, Stopping | Overdue | Backoff | Ended)
        | (Stopping, Ended)
        | (Overdue, Backoff | Ended)
        | (Backoff, Ready | Ended) => true,
        (Waiting | Ready | Running | Stopping | Overdue | Backoff | Ended, _) => false,
    }
}

fn deadline(spec: &StepSpec) -> Option<Duration> {
    spec.deadline_ms.map(|deadline| Duration::from_millis(deadline.get().into()))
}

fn backoff(first_ms: u32, attempt: u32) -> Duration {
    let factor = 1_u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX);
    Duration::from_millis(u64::from(first_ms).saturating_mul(factor)).min(LONGEST_BACKOFF)
}
