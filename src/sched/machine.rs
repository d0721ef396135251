//! The state machine itself.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU32;
use std::time::Duration;

use super::input::{Failing, Input, InvalidInput, Limits, StepSpec};
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

/// What is looked at of a step whenever something happens to it, kept together: in a graph of a million steps, fetching
/// it is what costs.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// How many needs are not done or skipped yet.
    unmet: u32,
    /// The last attempt that started; 0 before the first.
    attempt: u32,
    deadline_ms: Option<NonZeroU32>,
    pool: u16,
    state: State,
    /// Whether the last attempt was asked to stop since it took too long.
    was_overdue: bool,
    /// How urgently the live attempt was asked to stop.
    asked: Option<Level>,
}

impl Step {
    /// The deadline that ended the last attempt, if one did.
    fn overdue(&self) -> Option<Duration> {
        self.deadline_ms.filter(|_| self.was_overdue).map(milliseconds)
    }
}

/// A pool's slots and the steps that wait for one.
#[derive(Debug)]
struct Pool {
    slots: u32,
    live: u32,
    /// The pool of which its steps take a slot as well.
    within: Option<u16>,
    ready: ReadySet,
}

/// The number of a step inside the scheduler, see [`Order`]. All that comes in or goes out has the caller's numbers.
type Rank = usize;

/// See the [module](super).
#[derive(Debug)]
pub struct Scheduler {
    /// By the caller's numbers.
    specs: Vec<StepSpec>,
    order: Order,
    limits: Limits,
    /// By rank.
    steps: Vec<Step>,
    pools: Vec<Pool>,
    live: u32,
    left: u32,
    /// The first step that failed for good under fail-fast, by the caller's number.
    culprit: Option<u32>,
    begun: bool,
    summary: Summary,
    effects: Vec<Effect>,
    /// Steps still to be blocked, by the caller's number and by rank; kept to be reused.
    to_block: BinaryHeap<Reverse<(u32, u32)>>,
}

impl Scheduler {
    /// A scheduler for a run that has not begun.
    ///
    /// # Errors
    /// If the input refers to steps or pools that do not exist, or has a cycle.
    pub fn new(input: Input) -> Result<Self, InvalidInput> {
        input.validate()?;
        let Input { needs, steps: specs, limits } = input;
        let order = Order::new(&needs, &specs)?;
        let steps: Vec<Step> = order
            .steps
            .iter()
            .map(|&step| {
                let StepSpec { pool, deadline_ms, .. } = specs[step as usize];
                let unmet = needs.of(step).len() as u32;
                Step { unmet, attempt: 0, deadline_ms, pool, state: State::Waiting, was_overdue: false, asked: None }
            })
            .collect();
        let within = limits.within.iter().copied().chain(std::iter::repeat(None));
        let pool = |(slots, within): (&NonZeroU32, _)| {
            let ready = ReadySet::new(steps.len());
            Pool { slots: slots.get(), live: 0, within, ready }
        };
        Ok(Self {
            pools: limits.pools.iter().zip(within).map(pool).collect(),
            left: specs.len() as u32,
            specs,
            order,
            limits,
            steps,
            live: 0,
            culprit: None,
            begun: false,
            summary: Summary::default(),
            effects: Vec::new(),
            to_block: BinaryHeap::new(),
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
                if let Some(rank) = self.live_rank(step, attempt) {
                    self.finished(rank, verdict, now);
                }
            }
            Event::Timer(Timer::Run) => self.stop(StopReason::Deadline, now),
            Event::Timer(Timer::Attempt { step, attempt }) => {
                if let Some(rank) = self.live_rank(step, attempt)
                    && self.steps[rank].state == State::Running
                {
                    self.enter(rank, State::Overdue);
                    self.ask(rank, Level::Terminate, now);
                }
            }
            Event::Timer(Timer::Backoff { step, attempt }) => {
                if let Some(&rank) = self.order.ranks.get(step as usize) {
                    let known = self.steps[rank as Rank];
                    if known.state == State::Backoff && known.attempt == attempt {
                        self.enter(rank as Rank, State::Ready);
                    }
                }
            }
            Event::Timer(Timer::Harder { step, attempt, level }) => {
                if let Some(rank) = self.live_rank(step, attempt)
                    && self.steps[rank].asked.is_some()
                {
                    self.ask(rank, level, now);
                }
            }
            Event::Stop(reason) => self.stop(reason, now),
        }
        self.dispatch(now);
        if self.begun && self.left == 0 {
            // What was just ending when the deadline passed has ended well: so the deadline has stopped nothing.
            if self.summary.stopped == Some(StopReason::Deadline) && self.summary.is_well() {
                self.summary.stopped = None;
            }
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
        for rank in 0..self.steps.len() {
            let known = self.steps[rank];
            if known.unmet == 0 && known.state == State::Waiting {
                self.enter(rank, State::Ready);
            }
        }
    }

    /// Starts ready steps while there are slots: always the one with the longest path behind it among those whose pool,
    /// and the pool that this is a part of, has a slot.
    fn dispatch(&mut self, now: Duration) {
        if !self.begun || self.summary.stopped.is_some() {
            return;
        }
        while self.live < self.limits.jobs.get() {
            let ready = self.pools.iter().filter(|pool| self.has_slot(pool)).filter_map(|pool| pool.ready.first());
            let Some(rank) = ready.min() else { return };
            let rank = rank as Rank;
            self.enter(rank, State::Running);
            let Step { attempt, deadline_ms, .. } = self.steps[rank];
            let step = self.order.steps[rank];
            self.effects.push(Effect::Start { step, attempt });
            if let Some(deadline) = deadline_ms {
                let timer = Timer::Attempt { step, attempt };
                self.effects.push(Effect::ArmTimer { timer, at: now + milliseconds(deadline) });
            }
        }
    }

    /// Whether a step of this pool could start.
    fn has_slot(&self, pool: &Pool) -> bool {
        let is_free = |pool: &Pool| pool.live < pool.slots;
        is_free(pool) && pool.within.is_none_or(|whole| is_free(&self.pools[usize::from(whole)]))
    }

    /// The rank of `step`, if this attempt at it lives.
    fn live_rank(&self, step: u32, attempt: u32) -> Option<Rank> {
        let rank = *self.order.ranks.get(step as usize)? as Rank;
        let known = &self.steps[rank];
        (known.state.is_live() && known.attempt == attempt).then_some(rank)
    }

    /// A live attempt ended.
    fn finished(&mut self, rank: Rank, verdict: Verdict, now: Duration) {
        let Step { state, attempt, .. } = self.steps[rank];
        match verdict {
            // What was achieved counts, even when it was asked to stop.
            Verdict::Done => self.succeed(rank, End::Done),
            Verdict::Skipped => self.succeed(rank, End::Skipped),
            Verdict::Failed(_) if state == State::Stopping => {
                let reason = self.summary.stopped.unwrap_or(StopReason::Interrupt);
                self.end(rank, End::Cancelled { reason, by: None });
            }
            Verdict::Failed(class) => {
                let step = self.order.steps[rank];
                let spec = self.specs[step as usize];
                let overdue = self.steps[rank].overdue();
                let class = if overdue.is_some() { Class::Transient } else { class };
                let again = class == Class::Transient && attempt <= spec.retries.into();
                if again && self.summary.stopped.is_none() {
                    let delay = backoff(spec.backoff_ms, attempt);
                    self.enter(rank, State::Backoff);
                    self.effects.push(Effect::Retry { step, attempt, overdue, delay });
                    self.effects.push(Effect::ArmTimer { timer: Timer::Backoff { step, attempt }, at: now + delay });
                } else {
                    self.fail(rank, class, now);
                }
            }
        }
    }

    fn succeed(&mut self, rank: Rank, end: End) {
        self.end(rank, end);
        for at in 0..self.order.dependents.of(rank as u32).len() {
            let dependent = self.order.dependents.of(rank as u32)[at] as Rank;
            let known = &mut self.steps[dependent];
            known.unmet -= 1;
            if known.unmet == 0 && known.state == State::Waiting {
                self.enter(dependent, State::Ready);
            }
        }
    }

    /// A step failed for good: so nothing that needs it can start.
    fn fail(&mut self, rank: Rank, class: Class, now: Duration) {
        let overdue = self.steps[rank].overdue();
        self.end(rank, End::Failed { class, overdue });
        let by = self.order.steps[rank];
        let mut to_block = std::mem::take(&mut self.to_block);
        let mut blocker = Some(rank);
        loop {
            let dependents = blocker.map_or(&[][..], |rank| self.order.dependents.of(rank as u32)).iter();
            to_block.extend(dependents.map(|&dependent| Reverse((self.order.steps[dependent as Rank], dependent))));
            // In the order of the caller, in which nothing stands before what it needs.
            let Some(Reverse((_, dependent))) = to_block.pop() else { break };
            let rank = dependent as Rank;
            blocker = Some(rank).filter(|rank| self.steps[*rank].state == State::Waiting);
            if blocker.is_some() {
                self.end(rank, End::Blocked { by });
            }
        }
        self.to_block = to_block;
        if self.limits.failing == Failing::Fast && self.summary.stopped.is_none() {
            self.culprit = Some(by);
            self.stop(StopReason::FailFast, now);
        }
    }

    /// From now on nothing starts; what runs is asked to stop as urgently as `reason` wants it.
    fn stop(&mut self, reason: StopReason, now: Duration) {
        let before = self.summary.stopped;
        if before >= Some(reason) {
            return;
        }
        self.summary.stopped = Some(reason);
        if before.is_none() {
            self.end_unstarted(reason, now);
        }
        let level = match reason {
            StopReason::FailFast => return,
            StopReason::Deadline | StopReason::Interrupt => Level::Terminate,
            StopReason::Kill => Level::Kill,
        };
        for step in 0..self.steps.len() {
            let rank = self.order.ranks[step] as Rank;
            match self.steps[rank].state {
                State::Running => {
                    self.enter(rank, State::Stopping);
                    self.ask(rank, level, now);
                }
                State::Stopping | State::Overdue => self.ask(rank, level, now),
                State::Waiting | State::Ready | State::Backoff | State::Ended => {}
            }
        }
    }

    /// Ends every step that has no live attempt, in the order of the caller.
    fn end_unstarted(&mut self, reason: StopReason, now: Duration) {
        // A step between two attempts has failed, since there will not be another; and so it blocks what needs it.
        for step in 0..self.steps.len() {
            let rank = self.order.ranks[step] as Rank;
            let known = self.steps[rank];
            if known.state == State::Backoff || (known.state == State::Ready && known.attempt > 0) {
                self.fail(rank, Class::Transient, now);
            }
        }
        let by = self.culprit;
        for step in 0..self.steps.len() {
            let rank = self.order.ranks[step] as Rank;
            match self.steps[rank].state {
                State::Waiting | State::Ready => self.end(rank, End::Cancelled { reason, by }),
                State::Running | State::Stopping | State::Overdue | State::Backoff | State::Ended => {}
            }
        }
    }

    /// Asks the live attempt to stop, unless it was asked as urgently before.
    fn ask(&mut self, rank: Rank, level: Level, now: Duration) {
        let step = self.order.steps[rank];
        let known = &mut self.steps[rank];
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

    fn end(&mut self, rank: Rank, end: End) {
        self.enter(rank, State::Ended);
        let count = match end {
            End::Done => &mut self.summary.done,
            End::Skipped => &mut self.summary.skipped,
            End::Failed { .. } => &mut self.summary.failed,
            End::Blocked { .. } => &mut self.summary.blocked,
            End::Cancelled { .. } => &mut self.summary.cancelled,
        };
        *count += 1;
        self.effects.push(Effect::Finish { step: self.order.steps[rank], end });
    }

    /// Every change of state passes through here, and only here do queues and counters of live attempts change.
    fn enter(&mut self, rank: Rank, to: State) {
        let known = &mut self.steps[rank];
        let from = std::mem::replace(&mut known.state, to);
        debug_assert!(may_follow(from, to), "{:?}: {from:?} -> {to:?}", self.order.steps.get(rank));
        if to == State::Running {
            known.attempt += 1;
            known.asked = None;
            known.was_overdue = false;
        }
        if to == State::Overdue {
            known.was_overdue = true;
        }
        let pool = &mut self.pools[usize::from(known.pool)];
        if from == State::Ready {
            pool.ready.remove(rank as u32);
        }
        if to == State::Ready {
            pool.ready.insert(rank as u32);
        }
        let change: fn(&mut u32) = match (from.is_live(), to.is_live()) {
            (false, true) => |live| *live += 1,
            (true, false) => |live| *live -= 1,
            (true, true) | (false, false) => |_| {},
        };
        change(&mut pool.live);
        change(&mut self.live);
        if let Some(whole) = pool.within {
            change(&mut self.pools[usize::from(whole)].live);
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

fn milliseconds(number: NonZeroU32) -> Duration {
    Duration::from_millis(number.get().into())
}

fn backoff(first_ms: u32, attempt: u32) -> Duration {
    let factor = 1_u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX);
    Duration::from_millis(u64::from(first_ms).saturating_mul(factor)).min(LONGEST_BACKOFF)
}
