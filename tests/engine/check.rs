//! What every run keeps to, whoever made its trace. Knows nothing of how the scheduler does it.

use stack::error::Class;
use stack::sched::{End, Level, StopReason, Summary, Verdict};

use crate::case::{Case, KILL_WITHIN, TERMINATE_WITHIN};
use crate::trace::{Record, What};

/// How exactly the trace tells what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Everything in its order on a virtual clock.
    Exact,
    /// Starts and ends as real processes wrote them down.
    Observed,
}

#[derive(Clone, Default)]
struct Step {
    unmet: usize,
    attempts: u32,
    started: u64,
    is_live: bool,
    asked: Option<Level>,
    asked_by_deadline: bool,
    last: Option<Verdict>,
    /// When the next attempt may start; `None` from the end of an attempt until it is known what follows.
    not_before: Option<u64>,
    end: Option<End>,
    /// Of all attempts together, and of the waits between them.
    worked: u64,
    waited: u64,
}

struct Check<'a> {
    case: &'a Case,
    precision: Precision,
    dependents: Vec<Vec<u32>>,
    remaining: Vec<u64>,
    steps: Vec<Step>,
    live: Vec<u32>,
    pool_live: Vec<u32>,
    /// Steps that could start if there were a slot, by pool.
    pool_ready: Vec<u32>,
    /// Steps between two attempts.
    between: Vec<u32>,
    ended: usize,
    stopped: Option<StopReason>,
    stopped_at: u64,
    last_end: u64,
    over: bool,
}

/// Checks `trace` against everything that `case` allows. The error says what went wrong, and when.
pub fn check(case: &Case, trace: &[Record], precision: Precision) -> Result<(), String> {
    let mut check = Check::new(case, precision);
    for record in trace {
        check.record(record).map_err(|what| format!("at {} ms, {:?}: {what}", record.at, record.what))?;
    }
    check.at_the_end()
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

impl<'a> Check<'a> {
    fn new(case: &'a Case, precision: Precision) -> Self {
        let mut dependents = vec![Vec::new(); case.steps.len()];
        for (step, known) in case.steps.iter().enumerate() {
            for &need in &known.needs {
                dependents[need as usize].push(step as u32);
            }
        }
        let mut check = Self {
            case,
            precision,
            remaining: remaining(case, &dependents),
            dependents,
            steps: case
                .steps
                .iter()
                .map(|step| Step { unmet: step.needs.len(), not_before: Some(0), ..Step::default() })
                .collect(),
            live: Vec::new(),
            pool_live: vec![0; case.pools.len()],
            pool_ready: vec![0; case.pools.len()],
            between: Vec::new(),
            ended: 0,
            stopped: None,
            stopped_at: 0,
            last_end: 0,
            over: false,
        };
        for step in &case.steps {
            check.pool_ready[usize::from(step.pool)] += u32::from(step.needs.is_empty());
        }
        check
    }

    fn record(&mut self, record: &Record) -> Result<(), String> {
        let at = record.at;
        ensure(!self.over || record.what == What::Settled, || "the run was over".to_owned())?;
        match record.what {
            What::Start { step, attempt } => self.start(at, step, attempt),
            What::Ended { step, verdict, .. } => self.ended(at, step, verdict),
            What::Cancel { step, level } => self.cancel(at, step, level),
            What::Retry { step, delay } => self.retry(at, step, delay),
            What::Final { step, end } => self.final_state(at, step, end),
            What::Stop(reason) => {
                self.stop(at, reason);
                Ok(())
            }
            What::Settled => self.settled(at),
            What::Over(summary) => self.over(summary),
        }
    }

    fn start(&mut self, at: u64, step: u32, attempt: u32) -> Result<(), String> {
        let spec = &self.case.steps[step as usize];
        let pool = usize::from(spec.pool);
        let known = &self.steps[step as usize];
        ensure(self.stopped.is_none(), || format!("the run was stopped: {:?}", self.stopped))?;
        ensure(known.end.is_none(), || format!("it had ended: {:?}", known.end))?;
        ensure(!known.is_live, || "an attempt at it lives".to_owned())?;
        ensure(known.unmet == 0, || format!("{} of its needs are not satisfied", known.unmet))?;
        ensure(attempt == known.attempts + 1, || format!("it had {} attempts", known.attempts))?;
        ensure(attempt <= 1 + u32::from(spec.retries), || "it has no retry left".to_owned())?;
        ensure(known.not_before.is_some_and(|time| at >= time), || format!("it waits for {:?}", known.not_before))?;
        ensure(self.live.len() < self.case.jobs as usize, || format!("{:?} live", self.live))?;
        for pool in self.case.pools_of(step) {
            ensure(self.pool_live[pool] < self.case.pools[pool], || format!("pool {pool} is full"))?;
        }
        if self.precision == Precision::Exact && self.steps.len() <= 40 {
            let first =
                self.eligible(at, step).min_by_key(|&step| (std::cmp::Reverse(self.remaining[step as usize]), step));
            ensure(first == Some(step), || format!("{first:?} has more work behind it"))?;
        }
        self.live.push(step);
        self.case.pools_of(step).for_each(|pool| self.pool_live[pool] += 1);
        if attempt == 1 {
            self.pool_ready[pool] -= 1;
        } else {
            self.between.retain(|&other| other != step);
        }
        let known = &mut self.steps[step as usize];
        known.is_live = true;
        known.attempts = attempt;
        known.started = at;
        known.asked = None;
        known.asked_by_deadline = false;
        known.last = None;
        Ok(())
    }

    /// Steps that could start now, as `started` does. In the millisecond in which the wait of another one ends, whether
    /// the scheduler knows that already is open.
    fn eligible(&self, at: u64, started: u32) -> impl Iterator<Item = u32> {
        (0..self.steps.len() as u32).filter(move |&step| {
            let known = &self.steps[step as usize];
            let waits = known.unmet > 0 || known.is_live || known.end.is_some();
            let waits = waits || (step != started && known.attempts > 0 && Some(at) <= known.not_before);
            !waits && known.not_before.is_some() && self.has_slot(step)
        })
    }

    fn has_slot(&self, step: u32) -> bool {
        self.case.pools_of(step).all(|pool| self.pool_live[pool] < self.case.pools[pool])
    }

    fn ended(&mut self, at: u64, step: u32, verdict: Verdict) -> Result<(), String> {
        let spec = &self.case.steps[step as usize];
        let known = &mut self.steps[step as usize];
        ensure(known.is_live, || "it does not live".to_owned())?;
        let took = at - known.started;
        if let (Some(deadline), Precision::Exact) = (spec.deadline, self.precision) {
            ensure(took <= u64::from(deadline) || known.asked.is_some(), || {
                format!("it took {took} ms without being asked to stop after {deadline} ms")
            })?;
        }
        known.is_live = false;
        known.last = Some(verdict);
        known.not_before = None;
        known.worked += took;
        self.live.retain(|&other| other != step);
        self.case.pools_of(step).for_each(|pool| self.pool_live[pool] -= 1);
        self.last_end = at;
        Ok(())
    }

    fn cancel(&mut self, at: u64, step: u32, level: Level) -> Result<(), String> {
        let spec = &self.case.steps[step as usize];
        let hard = self.stopped >= Some(StopReason::Deadline);
        let known = &mut self.steps[step as usize];
        ensure(known.is_live, || "it does not live".to_owned())?;
        ensure(known.asked < Some(level), || format!("it was asked to {:?} before", known.asked))?;
        let overdue = spec.deadline.is_some_and(|deadline| at >= known.started + u64::from(deadline));
        ensure(hard || overdue, || "there is no reason to stop it".to_owned())?;
        if known.asked.is_none() {
            known.asked_by_deadline = !hard;
        }
        known.asked = Some(level);
        Ok(())
    }

    fn retry(&mut self, at: u64, step: u32, delay: u64) -> Result<(), String> {
        let spec = &self.case.steps[step as usize];
        let known = &mut self.steps[step as usize];
        ensure(self.stopped.is_none(), || "the run was stopped".to_owned())?;
        let transient = known.last == Some(Verdict::Failed(Class::Transient)) || known.asked_by_deadline;
        ensure(transient && !known.is_live, || format!("its last attempt ended with {:?}", known.last))?;
        let doubled = u64::from(spec.backoff) << (known.attempts - 1).min(20);
        ensure(delay == doubled.min(60_000), || format!("{doubled} ms were to be waited"))?;
        known.not_before = Some(at + delay);
        known.waited += delay;
        self.between.push(step);
        Ok(())
    }

    fn final_state(&mut self, at: u64, step: u32, end: End) -> Result<(), String> {
        let spec = &self.case.steps[step as usize];
        let known = &self.steps[step as usize];
        ensure(known.end.is_none(), || format!("it had ended: {:?}", known.end))?;
        ensure(!known.is_live, || "an attempt at it lives".to_owned())?;
        match end {
            End::Done => ensure(known.last == Some(Verdict::Done), || format!("it ended with {:?}", known.last))?,
            End::Skipped => ensure(known.last == Some(Verdict::Skipped), || format!("it ended with {:?}", known.last))?,
            End::Failed { class, overdue } => {
                let Some(Verdict::Failed(expected)) = known.last else { return Err("it did not fail".to_owned()) };
                let expected = if known.asked_by_deadline { Class::Transient } else { expected };
                ensure(class == expected, || format!("it failed as {expected:?}"))?;
                ensure(overdue.is_some() == known.asked_by_deadline, || "its deadline says otherwise".to_owned())?;
                let spent = known.attempts > u32::from(spec.retries);
                ensure(spent || class != Class::Transient || self.stopped.is_some(), || "it has a retry".to_owned())?;
            }
            End::Blocked { by } => {
                let root = matches!(self.steps[by as usize].end, Some(End::Failed { .. }));
                let through = spec
                    .needs
                    .iter()
                    .any(|&need| need == by || self.steps[need as usize].end == Some(End::Blocked { by }));
                ensure(root && through && known.attempts == 0, || format!("{by} does not block it"))?;
            }
            End::Cancelled { reason, by } => {
                ensure(self.stopped == Some(reason), || format!("the run's reason is {:?}", self.stopped))?;
                let blamed = by.is_none_or(|by| matches!(self.steps[by as usize].end, Some(End::Failed { .. })));
                let blames = by.is_some() == (reason == StopReason::FailFast);
                ensure(blames && blamed, || "it blames the wrong step".to_owned())?;
                let stopped = matches!(known.last, Some(Verdict::Failed(_))) && known.asked.is_some();
                ensure(known.attempts == 0 || stopped || self.precision == Precision::Observed, || {
                    "it was not stopped".to_owned()
                })?;
            }
        }
        if known.attempts == 0 && known.unmet == 0 {
            self.pool_ready[usize::from(spec.pool)] -= 1;
        }
        if known.attempts > 0 {
            self.between.retain(|&other| other != step);
        }
        self.steps[step as usize].end = Some(end);
        self.ended += 1;
        match end {
            End::Done | End::Skipped => {
                for &dependent in &self.dependents[step as usize] {
                    let waits = &mut self.steps[dependent as usize];
                    waits.unmet -= 1;
                    if waits.unmet == 0 && waits.end.is_none() {
                        self.pool_ready[usize::from(self.case.steps[dependent as usize].pool)] += 1;
                    }
                }
            }
            // Steps that this blocks are told after it, so it is only settled that nothing starts any more.
            End::Failed { .. } if !self.case.keep_going => self.stop(at, StopReason::FailFast),
            End::Failed { .. } | End::Blocked { .. } | End::Cancelled { .. } => {}
        }
        Ok(())
    }

    fn stop(&mut self, at: u64, reason: StopReason) {
        if self.stopped < Some(reason) {
            self.stopped = Some(reason);
            self.stopped_at = at;
        }
    }

    /// Between two events: no slot is idle that has work, and whoever has to stop knows it.
    fn settled(&mut self, at: u64) -> Result<(), String> {
        if self.over {
            return Ok(());
        }
        let Some(reason) = self.stopped else {
            if self.live.len() < self.case.jobs as usize {
                for pool in 0..self.pool_ready.len() {
                    let is_free = |pool: usize| self.pool_live[pool] < self.case.pools[pool];
                    let whole = self.case.within[pool].map(usize::from);
                    let idle = self.pool_ready[pool] > 0 && is_free(pool) && whole.is_none_or(is_free);
                    ensure(!idle, || format!("pool {pool} has a slot and {} ready steps", self.pool_ready[pool]))?;
                }
                for &step in &self.between {
                    let idle = self.steps[step as usize].not_before < Some(at) && self.has_slot(step);
                    ensure(!idle, || format!("the wait of step {step} is over, and it does not start"))?;
                }
            }
            return Ok(());
        };
        ensure(self.ended + self.live.len() == self.steps.len(), || {
            format!("after {reason:?}, {} steps are neither running nor final", self.steps.len() - self.ended)
        })?;
        let level = match reason {
            StopReason::FailFast => return Ok(()),
            StopReason::Deadline | StopReason::Interrupt => Level::Terminate,
            StopReason::Kill => Level::Kill,
        };
        ensure(self.live.iter().all(|&step| self.steps[step as usize].asked >= Some(level)), || {
            format!("after {reason:?} an attempt runs that was not asked to stop")
        })?;
        ensure(at <= self.stopped_at + TERMINATE_WITHIN + KILL_WITHIN, || "it should be over by now".to_owned())
    }

    fn over(&mut self, summary: Summary) -> Result<(), String> {
        ensure(self.ended == self.steps.len() && self.live.is_empty(), || "not every step has ended".to_owned())?;
        let mut counted = Summary { stopped: self.stopped, ..Summary::default() };
        for known in &self.steps {
            *match known.end {
                Some(End::Done) => &mut counted.done,
                Some(End::Skipped) => &mut counted.skipped,
                Some(End::Failed { .. }) => &mut counted.failed,
                Some(End::Blocked { .. }) => &mut counted.blocked,
                Some(End::Cancelled { .. }) | None => &mut counted.cancelled,
            } += 1;
        }
        if counted.stopped == Some(StopReason::Deadline) && counted.is_well() {
            counted.stopped = None;
        }
        ensure(summary == counted, || format!("counted {counted:?}"))?;
        self.over = true;
        Ok(())
    }

    fn at_the_end(&self) -> Result<(), String> {
        if self.precision == Precision::Exact {
            ensure(self.over, || "the run never ended".to_owned())?;
            self.makespan()?;
        }
        Ok(())
    }

    /// The bound of list scheduling (Graham 1966), widened for waits between attempts and for pools: whenever the
    /// chain of needs that ends last is neither running nor waiting for a retry, all jobs, or all slots of its pool,
    /// are busy.
    fn makespan(&self) -> Result<(), String> {
        let jobs = f64::from(self.case.jobs);
        let work: u64 = self.steps.iter().map(|known| known.worked).sum();
        let mut bound = work as f64 / jobs;
        let mut narrow = false;
        for (pool, &slots) in self.case.pools.iter().enumerate() {
            if slots < self.case.jobs {
                let members = (0..).zip(&self.steps).filter(|(step, _)| self.case.pools_of(*step).any(|of| of == pool));
                let work: u64 = members.map(|(_, known)| known.worked).sum();
                bound += work as f64 / f64::from(slots);
                narrow = narrow || work > 0;
            }
        }
        // Without a narrow pool the chain's own work need not be counted twice.
        let share = if narrow { 1.0 } else { 1.0 - 1.0 / jobs };
        let mut longest = vec![0.0_f64; self.steps.len()];
        for &step in &topological(self.case, &self.dependents) {
            let (spec, known) = (&self.case.steps[step as usize], &self.steps[step as usize]);
            let before = spec.needs.iter().map(|&need| longest[need as usize]).fold(0.0, f64::max);
            longest[step as usize] = before + known.worked as f64 * share + known.waited as f64;
        }
        bound += longest.iter().copied().fold(0.0, f64::max);
        ensure(self.last_end as f64 <= bound + 1e-6, || {
            format!("the last attempt ended after {} ms, more than {bound} ms", self.last_end)
        })
    }
}

/// All steps, each after what it needs.
fn topological(case: &Case, dependents: &[Vec<u32>]) -> Vec<u32> {
    let mut unmet: Vec<usize> = case.steps.iter().map(|step| step.needs.len()).collect();
    let mut order: Vec<u32> = (0..unmet.len() as u32).filter(|&step| unmet[step as usize] == 0).collect();
    let mut at = 0;
    while at < order.len() {
        for &dependent in &dependents[order[at] as usize] {
            unmet[dependent as usize] -= 1;
            if unmet[dependent as usize] == 0 {
                order.push(dependent);
            }
        }
        at += 1;
    }
    order
}

fn remaining(case: &Case, dependents: &[Vec<u32>]) -> Vec<u64> {
    let mut remaining = vec![0; case.steps.len()];
    for &step in topological(case, dependents).iter().rev() {
        let behind = dependents[step as usize].iter().map(|&dependent| remaining[dependent as usize]).max();
        remaining[step as usize] = u64::from(case.steps[step as usize].estimate.max(1)) + behind.unwrap_or(0);
    }
    remaining
}
