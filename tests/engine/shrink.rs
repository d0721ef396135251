//! Makes a failing case small enough to be read.

use crate::case::{AttemptCase, Case, StepCase};

/// How many cases may be tried.
const TRIES: usize = 20_000;

/// The smallest case found that still `fails`. `case` itself has to.
pub fn shrink(mut case: Case, fails: impl Fn(&Case) -> bool) -> Case {
    let mut left = TRIES;
    let mut attempt = |smaller: Case, case: &mut Case| {
        let better = left > 0 && smaller != *case && fails(&smaller);
        left = left.saturating_sub(1);
        if better {
            *case = smaller;
        }
        better
    };
    loop {
        let mut progress = false;
        let mut chunk = case.steps.len().div_ceil(2);
        while chunk > 0 {
            let mut at = 0;
            while at < case.steps.len() {
                if attempt(without(&case, at..(at + chunk).min(case.steps.len())), &mut case) {
                    progress = true;
                } else {
                    at += chunk;
                }
            }
            chunk /= 2;
        }
        for simpler in whole_case(&case) {
            progress |= attempt(simpler(case.clone()), &mut case);
        }
        for at in 0..case.steps.len() {
            for simpler in one_step() {
                let mut smaller = case.clone();
                simpler(&mut smaller.steps[at]);
                progress |= attempt(smaller, &mut case);
            }
            for need in (0..case.steps[at].needs.len()).rev() {
                let mut smaller = case.clone();
                smaller.steps[at].needs.remove(need);
                progress |= attempt(smaller, &mut case);
            }
        }
        if !progress {
            return case;
        }
    }
}

/// `case` without some of its steps; what needed them needs nothing instead.
fn without(case: &Case, gone: std::ops::Range<usize>) -> Case {
    let mut smaller = case.clone();
    let size = gone.len() as u32;
    smaller.steps.drain(gone.clone());
    for step in &mut smaller.steps {
        step.needs.retain(|&need| !gone.contains(&(need as usize)));
        for need in &mut step.needs {
            if *need as usize >= gone.end {
                *need -= size;
            }
        }
    }
    smaller
}

fn whole_case(case: &Case) -> Vec<Box<dyn Fn(Case) -> Case>> {
    let mut simpler: Vec<Box<dyn Fn(Case) -> Case>> = vec![
        Box::new(|case| Case { noise: 0, ..case }),
        Box::new(|case| Case { deadline: None, ..case }),
        Box::new(|case| Case { keep_going: true, ..case }),
        Box::new(|case| Case { jobs: 1, ..case }),
        Box::new(|case| Case { jobs: 2, ..case }),
        Box::new(|case| Case { within: vec![None; case.pools.len()], ..case }),
        Box::new(|case| Case { pools: vec![1000; case.pools.len()], ..case }),
        Box::new(|mut case| {
            case.pools.iter_mut().filter(|slots| **slots < 1000).for_each(|slots| *slots = 1);
            case
        }),
    ];
    for at in 0..case.stops.len() {
        simpler.push(Box::new(move |mut case| {
            if at < case.stops.len() {
                case.stops.remove(at);
            }
            case
        }));
    }
    simpler
}

fn one_step() -> [fn(&mut StepCase); 7] {
    [
        |step| *step = StepCase { needs: std::mem::take(&mut step.needs), ..StepCase::plain() },
        |step| step.deadline = None,
        |step| step.retries = 0,
        |step| step.backoff = 0,
        |step| step.estimate = 0,
        |step| step.attempts.truncate(1),
        |step| {
            for attempt in &mut step.attempts {
                *attempt = AttemptCase { verdict: attempt.verdict, ..AttemptCase::PLAIN };
            }
        },
    ]
}
