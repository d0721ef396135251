//! Which of two ready steps goes first: the one with more work behind it.

use super::input::{InvalidInput, Needs, StepSpec};

/// The order of all steps, fixed for the run, in which ready ones are started.
#[derive(Debug)]
pub(super) struct Order {
    /// For each step, the expected time from its start to the end of the longest path that begins with it, in
    /// milliseconds.
    pub(super) remaining: Vec<u64>,
    /// For each step, its place among the steps of its pool.
    pub(super) place: Vec<u32>,
    /// For each pool, its steps by place.
    pub(super) steps: Vec<Vec<u32>>,
}

impl Order {
    pub(super) fn new(
        needs: &Needs,
        dependents: &Needs,
        specs: &[StepSpec],
        pools: usize,
    ) -> Result<Self, InvalidInput> {
        let remaining = remaining(needs, dependents, specs)?;
        let mut steps = vec![Vec::new(); pools];
        for (step, spec) in (0_u32..).zip(specs) {
            steps[usize::from(spec.pool)].push(step);
        }
        let mut place = vec![0; specs.len()];
        for steps in &mut steps {
            // Stable, so that equal steps keep the order of the file.
            steps.sort_by_key(|&step| std::cmp::Reverse(remaining[step as usize]));
            for (at, &step) in (0_u32..).zip(steps.iter()) {
                place[step as usize] = at;
            }
        }
        Ok(Self { remaining, place, steps })
    }
}

/// The longest path from each step, walking from the last steps to the first.
fn remaining(needs: &Needs, dependents: &Needs, specs: &[StepSpec]) -> Result<Vec<u64>, InvalidInput> {
    let count = specs.len();
    let mut remaining = vec![0_u64; count];
    let mut waiting: Vec<u32> = (0..count as u32).map(|step| dependents.of(step).len() as u32).collect();
    let mut last: Vec<u32> = (0..count as u32).filter(|&step| waiting[step as usize] == 0).collect();
    let mut seen = 0;
    while let Some(step) = last.pop() {
        seen += 1;
        // At least 1, so that of steps without estimates the one with the longer chain behind it goes first.
        let own = remaining[step as usize] + u64::from(specs[step as usize].estimate_ms.max(1));
        remaining[step as usize] = own;
        for &need in needs.of(step) {
            let behind = &mut remaining[need as usize];
            *behind = own.max(*behind);
            let left = &mut waiting[need as usize];
            *left -= 1;
            if *left == 0 {
                last.push(need);
            }
        }
    }
    if seen < count {
        // Proof that one is found: fewer than all were seen, and each unseen one waits for another.
        let step = waiting.iter().position(|&left| left > 0).unwrap_or_default() as u32;
        return Err(InvalidInput::Cycle { step });
    }
    Ok(remaining)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(estimate_ms: u32) -> StepSpec {
        StepSpec { estimate_ms, ..StepSpec::default() }
    }

    #[test]
    fn the_longest_remaining_path_counts() {
        // 0 -> 1 -> 3, 0 -> 2 -> 3, 4 alone
        let needs: Needs = [vec![], vec![0], vec![0], vec![1, 2], vec![]].into_iter().collect();
        let specs = [spec(1), spec(10), spec(5), spec(2), spec(0)];
        let order = Order::new(&needs, &needs.reversed(), &specs, 1).unwrap();
        assert_eq!(order.remaining, [13, 12, 7, 2, 1]);
        assert_eq!(order.steps, [[0, 1, 2, 3, 4]]);
    }

    #[test]
    fn a_cycle_is_refused() {
        for needs in [vec![vec![0]], vec![vec![], vec![0, 2], vec![1], vec![2]]] {
            let needs: Needs = needs.into_iter().collect();
            let specs = vec![spec(1); needs.len()];
            let error = Order::new(&needs, &needs.reversed(), &specs, 1).unwrap_err();
            assert!(matches!(error, InvalidInput::Cycle { .. }), "{error}");
        }
    }
}
