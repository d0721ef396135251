//! A run on a virtual clock.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use stack::error::Class;
use stack::sched::{Effect, Event, Input, Level, Scheduler, StopReason, Timer, Verdict};

use crate::case::{AttemptCase, Case, Rng};
use crate::trace::{Record, What};

/// What stands between the case and the scheduler: nothing, unless a test breaks something on purpose.
#[derive(Clone, Copy)]
pub struct Between {
    pub input: fn(&mut Input),
    pub event: fn(&Event) -> bool,
    pub effect: fn(&Effect) -> bool,
}

impl Between {
    pub const NOTHING: Self = Self { input: |_| {}, event: |_| true, effect: |_| true };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Ended { step: u32, attempt: u32, plan: u64 },
    Timer(Timer),
    Stop(StopReason),
}

struct Live {
    attempt: u32,
    does: AttemptCase,
    ends: u64,
    /// Only the newest plan of its end counts.
    plan: u64,
    verdict: Verdict,
}

struct World<'a> {
    case: &'a Case,
    now: u64,
    due: BinaryHeap<Reverse<(u64, u64, Due)>>,
    count: u64,
    live: HashMap<u32, Live>,
    trace: Vec<Record>,
    over: bool,
}

/// Runs `case` to its end.
pub fn simulate(case: &Case, between: Between) -> Result<Vec<Record>, String> {
    let mut input = case.input();
    (between.input)(&mut input);
    let mut scheduler = Scheduler::new(input).map_err(|error| error.to_string())?;
    let mut world = World {
        case,
        now: 0,
        due: BinaryHeap::new(),
        count: 0,
        live: HashMap::new(),
        trace: Vec::with_capacity(case.steps.len() * 6),
        over: false,
    };
    for &(at, reason) in &case.stops {
        world.plan(at, Due::Stop(reason));
    }
    let mut noise = Rng::new(case.noise);
    let mut event = Event::Begin;
    loop {
        let now = Duration::from_millis(world.now);
        if (between.event)(&event) {
            world.carry_out(scheduler.handle(event, now), between)?;
        }
        world.record(What::Settled);
        if case.noise != 0 && !case.steps.is_empty() && noise.chance(1, 4) {
            let nonsense = nonsense(&mut noise, case, &world.live);
            let effects = scheduler.handle(nonsense, now);
            if !effects.is_empty() {
                return Err(format!("{nonsense:?} means nothing now, but had the effects {effects:?}"));
            }
        }
        event = match world.next() {
            Some(event) => event,
            None => return Ok(world.trace),
        };
    }
}

impl World<'_> {
    fn record(&mut self, what: What) {
        self.trace.push(Record { at: self.now, what });
    }

    fn plan(&mut self, at: u64, due: Due) -> u64 {
        self.count += 1;
        let due = match due {
            Due::Ended { step, attempt, .. } => Due::Ended { step, attempt, plan: self.count },
            Due::Timer(_) | Due::Stop(_) => due,
        };
        self.due.push(Reverse((at, self.count, due)));
        self.count
    }

    /// Moves the clock to what happens next.
    fn next(&mut self) -> Option<Event> {
        while let Some(Reverse((at, _, due))) = self.due.pop() {
            self.now = at;
            match due {
                Due::Ended { step, attempt, plan } => {
                    if self.live.get(&step).is_some_and(|live| live.plan == plan) {
                        let verdict = self.live.remove(&step)?.verdict;
                        self.record(What::Ended { step, attempt, verdict });
                        return Some(Event::Finished { step, attempt, verdict });
                    }
                }
                Due::Timer(timer) => {
                    if timer == Timer::Run && !self.over {
                        self.record(What::Stop(StopReason::Deadline));
                    }
                    return Some(Event::Timer(timer));
                }
                Due::Stop(reason) => {
                    if !self.over {
                        self.record(What::Stop(reason));
                    }
                    return Some(Event::Stop(reason));
                }
            }
        }
        None
    }

    fn carry_out(&mut self, effects: &[Effect], between: Between) -> Result<(), String> {
        for &effect in effects.iter().filter(|effect| (between.effect)(effect)) {
            match effect {
                Effect::Start { step, attempt } => {
                    let does = self.case.attempt(step, attempt);
                    let ends = self.now + does.takes;
                    self.record(What::Start { step, attempt });
                    let plan = self.plan(ends, Due::Ended { step, attempt, plan: 0 });
                    let live = Live { attempt, does, ends, plan, verdict: does.verdict };
                    if self.live.insert(step, live).is_some() {
                        return Err(format!("step {step} started while an attempt at it lives"));
                    }
                }
                Effect::Retry { step, delay, .. } => {
                    self.record(What::Retry { step, delay: delay.as_millis() as u64 });
                }
                Effect::ArmTimer { timer, at } => {
                    self.plan(at.as_millis() as u64, Due::Timer(timer));
                }
                Effect::Cancel { step, attempt, level } => {
                    self.record(What::Cancel { step, level });
                    self.cancel(step, attempt, level)?;
                }
                Effect::Finish { step, end } => self.record(What::Final { step, end }),
                Effect::RunOver(summary) => {
                    self.record(What::Over(summary));
                    self.over = true;
                }
            }
        }
        Ok(())
    }

    fn cancel(&mut self, step: u32, attempt: u32, level: Level) -> Result<(), String> {
        let live = self.live.get_mut(&step).filter(|live| live.attempt == attempt);
        let Some(live) = live else { return Err(format!("attempt {attempt} of step {step} does not live")) };
        let after = match level {
            Level::Terminate => live.does.heeds_terminate,
            Level::Kill => live.does.heeds_kill,
            Level::Abandon => Some(0),
        };
        let Some(ends) = after.map(|after| self.now + after).filter(|&ends| ends < live.ends) else { return Ok(()) };
        let plan = self.plan(ends, Due::Ended { step, attempt, plan: 0 });
        if let Some(live) = self.live.get_mut(&step) {
            (live.ends, live.plan, live.verdict) = (ends, plan, Verdict::Failed(Class::Input));
        }
        Ok(())
    }
}

/// An event that can mean nothing in the present state.
fn nonsense(rng: &mut Rng, case: &Case, live: &HashMap<u32, Live>) -> Event {
    let step = rng.below(case.steps.len() as u64) as u32;
    let attempt = live.get(&step).map_or(0, |live| live.attempt) + if rng.chance(1, 2) { 1 } else { 1000 };
    let attempt = if live.contains_key(&step) { attempt } else { rng.pick(&[0, 1000]) };
    match rng.below(6) {
        0 => Event::Begin,
        1 => Event::Finished { step, attempt, verdict: Verdict::Done },
        2 => Event::Finished { step: case.steps.len() as u32 + 5, attempt: 1, verdict: Verdict::Failed(Class::Input) },
        3 => Event::Timer(Timer::Attempt { step, attempt }),
        4 => Event::Timer(Timer::Backoff { step, attempt: 1000 }),
        _ => Event::Timer(Timer::Harder { step, attempt, level: Level::Kill }),
    }
}
