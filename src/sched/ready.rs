//! The ready steps of a pool, by rank, with the first one at hand.

/// A set of numbers below a fixed bound. Insert, remove and first take as many operations as there are levels, which is
/// 4 for a million: the cost of a step does not grow with the graph as it would in a heap.
#[derive(Debug)]
pub(super) struct ReadySet {
    /// `levels[0]` has a bit for each number, each further level a bit for each word of the one below that is not 0.
    levels: Vec<Vec<u64>>,
}

impl ReadySet {
    /// The empty set of numbers below `bound`.
    pub(super) fn new(bound: usize) -> Self {
        let mut levels = Vec::new();
        let mut bits = bound;
        loop {
            let words = bits.div_ceil(64).max(1);
            levels.push(vec![0; words]);
            if words == 1 {
                return Self { levels };
            }
            bits = words;
        }
    }

    pub(super) fn insert(&mut self, number: u32) {
        let mut at = number as usize;
        for level in &mut self.levels {
            let word = &mut level[at / 64];
            let was_empty = *word == 0;
            *word |= 1 << (at % 64);
            if !was_empty {
                return;
            }
            at /= 64;
        }
    }

    pub(super) fn remove(&mut self, number: u32) {
        let mut at = number as usize;
        for level in &mut self.levels {
            let word = &mut level[at / 64];
            *word &= !(1 << (at % 64));
            if *word != 0 {
                return;
            }
            at /= 64;
        }
    }

    /// The smallest number in the set.
    pub(super) fn first(&self) -> Option<u32> {
        let mut at = 0;
        for level in self.levels.iter().rev() {
            let word = level[at];
            if word == 0 {
                return None;
            }
            at = at * 64 + word.trailing_zeros() as usize;
        }
        Some(at as u32)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(changes in prop::collection::vec((0_u32..70_000, any::<bool>()), 0..300)) {
            let mut set = ReadySet::new(70_000);
            let mut model = BTreeSet::new();
            for (number, insert) in changes {
                if insert {
                    set.insert(number);
                    model.insert(number);
                } else {
                    set.remove(number);
                    model.remove(&number);
                }
                prop_assert_eq!(set.first(), model.first().copied());
            }
            while let Some(first) = set.first() {
                prop_assert_eq!(Some(first), model.pop_first());
                set.remove(first);
            }
            prop_assert!(model.is_empty());
        }
    }

    #[test]
    fn small_bounds_work() {
        assert_eq!(ReadySet::new(0).first(), None);
        for bound in [1, 63, 64, 65, 4096, 4097] {
            let mut set = ReadySet::new(bound);
            set.insert(bound as u32 - 1);
            assert_eq!(set.first(), Some(bound as u32 - 1));
        }
    }
}
