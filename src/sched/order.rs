//! Which of two ready steps goes first: the one with more work behind it.

use std::cmp::Reverse;

use super::input::{InvalidInput, Needs, StepSpec};

/// The order in which steps that are ready at the same time are started, fixed for the run: a rank for each step.
///
/// The scheduler numbers steps by rank inside. Steps that start one after the other, and the steps behind them, then
/// lie close together in memory, whatever the order of the file; and the set of ready ranks is its own priority queue.
#[derive(Debug)]
pub(super) struct Order {
    /// The step of each rank.
    pub(super) steps: Vec<u32>,
    /// The rank of each step.
    pub(super) ranks: Vec<u32>,
    /// For each rank, the ranks that need it, in ascending order.
    pub(super) dependents: Needs,
}

impl Order {
    /// Every need must be a known step.
    pub(super) fn new(needs: &Needs, specs: &[StepSpec]) -> Result<Self, InvalidInput> {
        let remaining = remaining(needs, specs)?;
        let mut keyed: Vec<(Reverse<u64>, u32)> = remaining.into_iter().map(Reverse).zip(0..).collect();
        // Of equal ones, the first in the file.
        keyed.sort_unstable();
        let steps: Vec<u32> = keyed.into_iter().map(|(_, step)| step).collect();
        let mut ranks = vec![0; steps.len()];
        for (rank, &step) in (0..).zip(&steps) {
            ranks[step as usize] = rank;
        }
        let dependents = needs.reversed(&steps, &ranks);
        Ok(Self { steps, ranks, dependents })
    }
}

/// For each step, the expected time from its start to the end of the longest path that begins with it, in milliseconds;
/// found by walking from the last steps to the first.
fn remaining(needs: &Needs, specs: &[StepSpec]) -> Result<Vec<u64>, InvalidInput> {
    let count = specs.len();
    let mut remaining = vec![0_u64; count];
    let mut waiting = needs.times_needed();
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
        // 1 -> 2 -> 4, 1 -> 3 -> 4, 0 alone
        let needs: Needs = [vec![], vec![], vec![1], vec![1], vec![2, 3]].into_iter().collect();
        let specs = [spec(0), spec(1), spec(10), spec(5), spec(2)];
        assert_eq!(remaining(&needs, &specs).unwrap(), [1, 13, 12, 7, 2]);
        let order = Order::new(&needs, &specs).unwrap();
        assert_eq!(order.steps, [1, 2, 3, 4, 0]);
        assert_eq!(order.ranks, [4, 0, 1, 2, 3]);
        let dependents: Vec<&[u32]> = (0..5).map(|rank| order.dependents.of(rank)).collect();
        assert_eq!(dependents, [&[1, 2][..], &[3], &[3], &[], &[]]);
    }

    #[test]
    fn of_equal_steps_the_first_goes_first() {
        let needs: Needs = (0..5).map(|_| None).collect();
        assert_eq!(Order::new(&needs, &[spec(3); 5]).unwrap().steps, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_cycle_is_refused() {
        for needs in [vec![vec![0]], vec![vec![], vec![0, 2], vec![1], vec![2]]] {
            let needs: Needs = needs.into_iter().collect();
            let specs = vec![spec(1); needs.len()];
            let error = Order::new(&needs, &specs).unwrap_err();
            assert!(matches!(error, InvalidInput::Cycle { .. }), "{error}");
        }
    }
}
