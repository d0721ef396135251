//! Hundreds of thousands of random runs on a virtual clock.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use stack::sched::{Effect, Event, Failing, StopReason};

use crate::case::Case;
use crate::check::{Precision, check};
use crate::shrink::shrink;
use crate::simulate::{Between, simulate};

/// How many runs are simulated; `STACK_SIMULATED_RUNS` says otherwise.
const RUNS: u64 = 200_000;

/// What is wrong with the run of `case`, if anything.
fn verdict(case: &Case, between: Between) -> Result<(), String> {
    let run = AssertUnwindSafe(|| {
        let trace = simulate(case, between)?;
        check(case, &trace, Precision::Exact)?;
        if case.noise % 4 == 1 {
            let again = simulate(case, between)?;
            if again != trace {
                return Err("the same run has another trace the second time".to_owned());
            }
        }
        Ok(())
    });
    catch_unwind(run).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().cloned();
        Err(format!("panicked: {}", message.unwrap_or_else(|| "no message".to_owned())))
    })
}

/// Tells of a failing seed: what went wrong, how to see it again, and the smallest case that goes wrong.
fn report(seed: u64, what: &str, between: Between) -> String {
    let small = shrink(Case::random(seed), |case| verdict(case, between).is_err());
    let why = verdict(&small, between).unwrap_err();
    format!(
        "seed {seed}: {what}\nagain: STACK_SIMULATED_SEED={seed} cargo test --test engine simulated\n\
         shrunk to {} steps: {why}\n{small:#?}",
        small.steps.len()
    )
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect(variable))
}

#[test]
fn simulated_runs_keep_every_promise() {
    let (seeds, threads) = match number("STACK_SIMULATED_SEED") {
        Some(seed) => (seed..seed + 1, 1),
        None => {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            (0..number("STACK_SIMULATED_RUNS").unwrap_or(RUNS), threads)
        }
    };
    let next = AtomicU64::new(seeds.start);
    let steps = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return;
                }
                let case = Case::random(seed);
                steps.fetch_add(case.steps.len() as u64, Ordering::Relaxed);
                if let Err(what) = verdict(&case, Between::NOTHING) {
                    next.store(seeds.end, Ordering::Relaxed);
                    panic!("{}", report(seed, &what, Between::NOTHING));
                }
            }
        };
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    println!("simulated runs {seeds:?} with {} steps in all", steps.into_inner());
}

/// The promises can only be believed if their breach is noticed: each of these breaks something on purpose, and must be
/// found within a few thousand runs and shrunk to a handful of steps.
#[test]
fn simulated_mistakes_are_found_and_shrunk() {
    let nothing = Between::NOTHING;
    let mistakes: [(&str, Between); 13] = [
        (
            "a job too many",
            Between { input: |input| input.limits.jobs = input.limits.jobs.saturating_add(1), ..nothing },
        ),
        (
            "a job too few",
            Between {
                input: |input| {
                    input.limits.jobs =
                        std::num::NonZeroU32::new(input.limits.jobs.get() - 1).unwrap_or(input.limits.jobs);
                },
                ..nothing
            },
        ),
        (
            "a slot too many",
            Between {
                input: |input| {
                    for slots in &mut input.limits.pools {
                        *slots = slots.saturating_add(1);
                    }
                },
                ..nothing
            },
        ),
        ("a whole forgotten", Between { input: |input| input.limits.within.clear(), ..nothing }),
        (
            "a need forgotten",
            Between {
                input: |input| {
                    let steps = input.needs.len() as u32;
                    let short = |step| input.needs.of(step).split_first().map_or(&[][..], |(_, rest)| rest).to_vec();
                    input.needs = (0..steps).map(short).collect();
                },
                ..nothing
            },
        ),
        (
            "an estimate forgotten",
            Between {
                input: |input| {
                    for step in &mut input.steps {
                        step.estimate_ms = 0;
                    }
                },
                ..nothing
            },
        ),
        (
            "a retry too many",
            Between {
                input: |input| {
                    for step in &mut input.steps {
                        step.retries += 1;
                    }
                },
                ..nothing
            },
        ),
        (
            "no wait before a retry",
            Between {
                input: |input| {
                    for step in &mut input.steps {
                        step.backoff_ms = 0;
                    }
                },
                ..nothing
            },
        ),
        ("going on after a failure", Between { input: |input| input.limits.failing = Failing::KeepGoing, ..nothing }),
        (
            "deadlines forgotten",
            Between {
                input: |input| {
                    for step in &mut input.steps {
                        step.deadline_ms = None;
                    }
                },
                ..nothing
            },
        ),
        ("deaf to the user", Between { event: |event| *event != Event::Stop(StopReason::Interrupt), ..nothing }),
        ("asking nobody to stop", Between { effect: |effect| !matches!(effect, Effect::Cancel { .. }), ..nothing }),
        ("no last word", Between { effect: |effect| !matches!(effect, Effect::RunOver(_)), ..nothing }),
    ];
    for (name, between) in mistakes {
        let seed = (0..5_000).find(|&seed| verdict(&Case::random(seed), between).is_err());
        let seed = seed.unwrap_or_else(|| panic!("nobody noticed: {name}"));
        let small = shrink(Case::random(seed), |case| verdict(case, between).is_err());
        assert!(small.steps.len() <= 3, "{name}: shrunk to {small:#?}");
    }
}
