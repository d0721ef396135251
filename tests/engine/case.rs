//! A run written down in full: the graph, the limits, and what every attempt will do. Made from a seed.

use std::num::NonZeroU32;
use std::time::Duration;

use stack::error::Class;
use stack::sched::{Failing, Input, Limits, StepSpec, StopReason, Verdict};

/// How long an attempt may ignore TERM, and then KILL, before the scheduler asks harder (milliseconds).
pub const TERMINATE_WITHIN: u64 = 150;
pub const KILL_WITHIN: u64 = 100;

/// A run. All times are in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    pub steps: Vec<StepCase>,
    pub jobs: u32,
    pub pools: Vec<u32>,
    /// For each pool the one that it is a part of.
    pub within: Vec<Option<u16>>,
    pub keep_going: bool,
    pub deadline: Option<u64>,
    pub stops: Vec<(u64, StopReason)>,
    /// Events that make no sense are told now and then, from this seed; 0 for none.
    pub noise: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct StepCase {
    pub needs: Vec<u32>,
    pub pool: u16,
    pub estimate: u32,
    pub retries: u16,
    pub backoff: u32,
    pub deadline: Option<u32>,
    /// What each attempt does; further ones do what the last one does.
    pub attempts: Vec<AttemptCase>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttemptCase {
    pub takes: u64,
    pub verdict: Verdict,
    /// How long it lives after TERM and after KILL; `None` if it does not heed that.
    pub heeds_terminate: Option<u64>,
    pub heeds_kill: Option<u64>,
}

impl AttemptCase {
    pub const PLAIN: Self = Self { takes: 1, verdict: Verdict::Done, heeds_terminate: Some(0), heeds_kill: Some(0) };
}

impl StepCase {
    pub fn plain() -> Self {
        Self {
            needs: Vec::new(),
            pool: 0,
            estimate: 0,
            retries: 0,
            backoff: 0,
            deadline: None,
            attempts: vec![AttemptCase::PLAIN],
        }
    }
}

impl Case {
    pub fn input(&self) -> Input {
        let nonzero = |number: u32| NonZeroU32::new(number).unwrap();
        Input {
            needs: self.steps.iter().map(|step| step.needs.iter().copied()).collect(),
            steps: self
                .steps
                .iter()
                .map(|step| StepSpec {
                    pool: step.pool,
                    retries: step.retries,
                    backoff_ms: step.backoff,
                    estimate_ms: step.estimate,
                    deadline_ms: step.deadline.map(nonzero),
                })
                .collect(),
            limits: Limits {
                jobs: nonzero(self.jobs),
                pools: self.pools.iter().copied().map(nonzero).collect(),
                within: self.within.clone(),
                failing: if self.keep_going { Failing::KeepGoing } else { Failing::Fast },
                deadline: self.deadline.map(Duration::from_millis),
                terminate_within: Duration::from_millis(TERMINATE_WITHIN),
                kill_within: Duration::from_millis(KILL_WITHIN),
            },
        }
    }

    /// The pools of which `step` takes a slot.
    pub fn pools_of(&self, step: u32) -> impl Iterator<Item = usize> + use<> {
        let pool = usize::from(self.steps[step as usize].pool);
        std::iter::once(pool).chain(self.within[pool].map(usize::from))
    }

    /// What `attempt` (from 1) of `step` does.
    pub fn attempt(&self, step: u32, attempt: u32) -> AttemptCase {
        let attempts = &self.steps[step as usize].attempts;
        attempts.get(attempt as usize - 1).or(attempts.last()).copied().unwrap_or(AttemptCase::PLAIN)
    }

    /// The run of `seed`. Most are small, where mistakes hide in combinations; a few have up to 2,000 steps.
    pub fn random(seed: u64) -> Self {
        let rng = &mut Rng::new(seed);
        let size = match rng.below(2000) {
            0..3 => rng.between(600, 2000),
            3..20 => rng.between(120, 600),
            20..200 => rng.between(24, 120),
            _ => rng.below(25),
        } as u32;
        Self::of_size(rng, size)
    }

    pub fn of_size(rng: &mut Rng, size: u32) -> Self {
        let pools: Vec<u32> = (0..rng.between(1, 4)).map(|_| rng.pick(&[1, 1, 2, 3, 5, 1000])).collect();
        // The first one may have parts.
        let nested = rng.chance(1, 2);
        let within = (0..pools.len()).map(|pool| (nested && pool > 0 && rng.chance(2, 3)).then_some(0)).collect();
        let failures = rng.pick(&[0, 0, 0, 5, 20, 60]);
        let retries = rng.chance(1, 3);
        let deadlines = rng.chance(1, 4);
        let stubborn = rng.chance(1, 3);
        let longest = rng.pick(&[1, 10, 100, 1000]);
        let mut steps: Vec<StepCase> = graph(rng, size)
            .into_iter()
            .map(|needs| {
                let mut step = StepCase { needs, pool: rng.below(pools.len() as u64) as u16, ..StepCase::plain() };
                if retries && rng.chance(1, 2) {
                    step.retries = rng.below(4) as u16;
                    step.backoff = rng.below(200) as u32;
                }
                if deadlines && rng.chance(1, 2) {
                    step.deadline = Some(rng.between(1, 500) as u32);
                }
                step.attempts = (0..rng.between(1, u64::from(step.retries) + 1))
                    .map(|_| attempt(rng, failures, longest, stubborn))
                    .collect();
                step.estimate = match rng.below(3) {
                    0 => 0,
                    1 => step.attempts[0].takes as u32,
                    _ => rng.below(1000) as u32,
                };
                step
            })
            .collect();
        if rng.chance(1, 10) && size > 0 {
            // The same need twice is no mistake.
            let step = rng.below(u64::from(size)) as usize;
            let again = steps[step].needs.clone();
            steps[step].needs.extend(again);
        }
        let horizon = longest * u64::from(size.clamp(1, 60));
        let stops = match rng.below(4) {
            0 => (0..rng.between(1, 3))
                .map(|_| (rng.below(horizon), rng.pick(&[StopReason::Interrupt, StopReason::Kill])))
                .collect(),
            _ => Vec::new(),
        };
        Self {
            steps,
            jobs: rng.pick(&[1, 2, 2, 3, 4, 8, 64]),
            pools,
            within,
            keep_going: rng.chance(1, 2),
            deadline: rng.chance(1, 8).then(|| rng.below(horizon)),
            stops,
            noise: if rng.chance(1, 4) { rng.next() | 1 } else { 0 },
        }
    }
}

fn attempt(rng: &mut Rng, failures: u64, longest: u64, stubborn: bool) -> AttemptCase {
    let verdict = if rng.chance(failures, 100) {
        Verdict::Failed(rng.pick(&[
            Class::Transient,
            Class::Transient,
            Class::Input,
            Class::Environment,
            Class::Internal,
        ]))
    } else if rng.chance(1, 3) {
        Verdict::Skipped
    } else {
        Verdict::Done
    };
    AttemptCase {
        takes: rng.below(longest + 1),
        verdict,
        heeds_terminate: if stubborn && rng.chance(1, 2) { None } else { Some(rng.below(300)) },
        heeds_kill: if stubborn && rng.chance(1, 4) { None } else { Some(rng.below(150)) },
    }
}

/// Needs of `size` steps in one of several shapes, without cycles. Steps are numbered at random, so that what a step
/// needs may come after it.
pub fn graph(rng: &mut Rng, size: u32) -> Vec<Vec<u32>> {
    let number = rng.permutation(size);
    let mut needs = vec![Vec::new(); size as usize];
    let shape = rng.below(6);
    let most = rng.pick(&[1, 2, 4, 10]);
    let width = u64::from(rng.pick(&[2_u32, 5, 20, 100]));
    for at in 1..u64::from(size) {
        let mut chosen: Vec<u64> = match shape {
            // A chain, with a break now and then.
            0 => (!rng.chance(1, 10)).then_some(at - 1).into_iter().collect(),
            // Layers: everything of the layer before, or some of it.
            1 => {
                let layer = at / width;
                let before = layer.saturating_sub(1) * width..layer * width;
                before.filter(|_| rng.chance(2, 3)).take(12).collect()
            }
            // Everything needs the first one.
            2 => vec![0],
            // The last one needs everything.
            3 => {
                if at + 1 == u64::from(size) {
                    (0..at).collect()
                } else {
                    vec![]
                }
            }
            // Neighbours.
            4 => (0..rng.below(most + 1)).map(|_| at - rng.between(1, at.min(width))).collect(),
            // Anything before.
            _ => (0..rng.below(most + 1)).map(|_| rng.below(at)).collect(),
        };
        chosen.sort_unstable();
        chosen.dedup();
        needs[number[at as usize] as usize] = chosen.into_iter().map(|need| number[need as usize]).collect();
    }
    needs
}

/// SplitMix64: small, fast, and the same everywhere for ever.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def0)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub fn chance(&mut self, of: u64, all: u64) -> bool {
        self.below(all) < of
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    pub fn permutation(&mut self, size: u32) -> Vec<u32> {
        let mut numbers: Vec<u32> = (0..size).collect();
        for at in (1..numbers.len()).rev() {
            numbers.swap(at, self.below(at as u64 + 1) as usize);
        }
        numbers
    }
}
