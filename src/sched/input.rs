//! What the scheduler is given: steps, their needs, and the limits of the run.

use std::num::NonZeroU32;
use std::time::Duration;

/// What each step needs, by number, in one allocation for all of them: the needs of step `i` are
/// `edges[offsets[i]..offsets[i + 1]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    offsets: Vec<u32>,
    edges: Vec<u32>,
}

impl Needs {
    /// Needs of no steps yet, with room for `steps` steps and `edges` needs in all.
    pub fn with_capacity(steps: usize, edges: usize) -> Self {
        let mut offsets = Vec::with_capacity(steps + 1);
        offsets.push(0);
        Self { offsets, edges: Vec::with_capacity(edges) }
    }

    /// Adds the next step, which needs `needs`; they may be steps that are added later.
    pub fn push(&mut self, needs: impl IntoIterator<Item = u32>) {
        self.edges.extend(needs);
        // More than 2^32 needs would be 16 GiB of them; `Scheduler::new` refuses what does not fit.
        self.offsets.push(u32::try_from(self.edges.len()).unwrap_or(u32::MAX));
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there are no steps.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What `step` needs.
    ///
    /// # Panics
    /// If there is no such step.
    pub fn of(&self, step: u32) -> &[u32] {
        let step = step as usize;
        &self.edges[self.offsets[step] as usize..self.offsets[step + 1] as usize]
    }

    /// How many needs there are in all.
    pub(super) fn edges(&self) -> usize {
        self.edges.len()
    }

    /// How often each step is needed. Every need must be a known step.
    pub(super) fn times_needed(&self) -> Vec<u32> {
        let mut times = vec![0; self.len()];
        for &need in &self.edges {
            times[need as usize] += 1;
        }
        times
    }

    /// For each rank, the ranks that need it, in ascending order, where `steps` has the step of each rank, and `ranks`
    /// the rank of each step. Every need must be a known step.
    pub(super) fn reversed(&self, steps: &[u32], ranks: &[u32]) -> Self {
        let times = self.times_needed();
        let mut offsets = Vec::with_capacity(self.offsets.len());
        let mut end = 0;
        offsets.push(end);
        for &step in steps {
            end += times[step as usize];
            offsets.push(end);
        }
        let mut next = offsets.clone();
        let mut edges = vec![0_u32; self.edges.len()];
        for (rank, &step) in (0..).zip(steps) {
            for &need in self.of(step) {
                let place = &mut next[ranks[need as usize] as usize];
                edges[*place as usize] = rank;
                *place += 1;
            }
        }
        Self { offsets, edges }
    }
}

impl Default for Needs {
    fn default() -> Self {
        Self::with_capacity(0, 0)
    }
}

impl<N: IntoIterator<Item = u32>> FromIterator<N> for Needs {
    fn from_iter<I: IntoIterator<Item = N>>(steps: I) -> Self {
        let mut needs = Self::default();
        for step in steps {
            needs.push(step);
        }
        needs
    }
}

/// What the scheduler has to know of a step besides its needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepSpec {
    /// The pool whose slots it takes, an index into [`Limits::pools`].
    pub pool: u16,
    /// How many more attempts follow a transient failure.
    pub retries: u16,
    /// The wait before the second attempt, in milliseconds; it doubles with each further one, up to a minute.
    pub backoff_ms: u32,
    /// How long it is expected to take, in milliseconds, as it took before or as steps of its kind usually take.
    pub estimate_ms: u32,
    /// How long an attempt may take, in milliseconds; `None` for as long as it likes.
    pub deadline_ms: Option<NonZeroU32>,
}

/// What happens to the rest of the run when a step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Failing {
    /// Nothing new starts; what runs finishes.
    #[default]
    Fast,
    /// Everything that does not need the failed step goes on.
    KeepGoing,
}

/// The limits of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How many attempts may live at the same time.
    pub jobs: NonZeroU32,
    /// How many of them in each pool. A pool that needs no limit of its own has [`NonZeroU32::MAX`].
    pub pools: Vec<NonZeroU32>,
    /// For each pool the one that it is a part of, if any: its steps take a slot of both. One that has parts is not a part
    /// itself. Pools beyond the end of this list are no parts.
    pub within: Vec<Option<u16>>,
    /// What a failure does to the rest.
    pub failing: Failing,
    /// How long the run may take.
    pub deadline: Option<Duration>,
    /// How long an attempt that was asked to terminate may take before it is asked to die. Longer than the grace of a
    /// process, which is killed by its own guard: this is for what is stuck.
    pub terminate_within: Duration,
    /// How long an attempt that was asked to die may take before it is taken away.
    pub kill_within: Duration,
}

impl Limits {
    /// `jobs` attempts at a time, in one pool without a limit of its own; fail-fast; no deadline.
    pub fn jobs(jobs: NonZeroU32) -> Self {
        Self {
            jobs,
            pools: vec![NonZeroU32::MAX],
            within: Vec::new(),
            failing: Failing::default(),
            deadline: None,
            terminate_within: Duration::from_secs(15),
            kill_within: Duration::from_secs(10),
        }
    }
}

/// Everything that the scheduler is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// What each step needs.
    pub needs: Needs,
    /// The rest about each step; as long as `needs`.
    pub steps: Vec<StepSpec>,
    /// The limits of the run.
    pub limits: Limits,
}

/// The input makes no sense. A mistake of whoever made it: users' cycles are found, and shown as a path, long before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidInput {
    /// The two lists differ in length.
    #[error("needs of {needs} steps were given, and {specs} steps")]
    Lengths {
        /// How many steps have needs.
        needs: usize,
        /// How many steps there are.
        specs: usize,
    },
    /// There are too many steps or needs to number them.
    #[error("there are more than 2^32 - 2 steps or needs")]
    TooMany,
    /// A step needs one that does not exist.
    #[error("step {step} needs step {need}, which does not exist")]
    UnknownNeed {
        /// The step.
        step: u32,
        /// What it needs.
        need: u32,
    },
    /// A step is in a pool that does not exist.
    #[error("step {step} is in pool {pool}, which does not exist")]
    UnknownPool {
        /// The step.
        step: u32,
        /// The pool.
        pool: u16,
    },
    /// A pool is a part of one that does not exist, or that is a part itself.
    #[error("pool {pool} is within pool {within}, which does not exist or is within another")]
    BadPart {
        /// The pool.
        pool: u16,
        /// What it would be a part of.
        within: u16,
    },
    /// A step needs itself, perhaps through others.
    #[error("step {step} needs itself, through a cycle or as part of what a cycle needs")]
    Cycle {
        /// A step that can never start.
        step: u32,
    },
}

impl InvalidInput {
    /// The class: always a mistake of `stack` itself.
    pub fn class(&self) -> crate::error::Class {
        crate::error::Class::Internal
    }
}

impl Input {
    pub(super) fn validate(&self) -> Result<(), InvalidInput> {
        let count = self.needs.len();
        if count != self.steps.len() {
            return Err(InvalidInput::Lengths { needs: count, specs: self.steps.len() });
        }
        if count >= u32::MAX as usize || self.needs.edges() >= u32::MAX as usize {
            return Err(InvalidInput::TooMany);
        }
        let Limits { pools, within, .. } = &self.limits;
        for (pool, &part) in (0_u16..).zip(within) {
            let Some(whole) = part else { continue };
            let is_part = within.get(usize::from(whole)).is_some_and(Option::is_some);
            if is_part || usize::from(whole) >= pools.len() {
                return Err(InvalidInput::BadPart { pool, within: whole });
            }
        }
        for (step, spec) in (0_u32..).zip(&self.steps) {
            if usize::from(spec.pool) >= self.limits.pools.len() {
                return Err(InvalidInput::UnknownPool { step, pool: spec.pool });
            }
            if let Some(&need) = self.needs.of(step).iter().find(|&&need| need as usize >= count) {
                return Err(InvalidInput::UnknownNeed { step, need });
            }
        }
        Ok(())
    }
}
