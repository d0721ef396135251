//! The facts about tasks, taken by a second thread while the first makes the graph and walks it.
//!
//! For thousands of tasks with nothing to do, most of the time goes into asking the system about their files. What is
//! found holds as long as what is [looked at early](super::early) does: until this run changes something. A run that had to
//! wait for another one looks anew.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::facts::{Files, Seen};
use crate::config::StackFile;
use crate::store::TaskLog;

/// Fewer tasks are not worth a thread.
const WORTH_A_THREAD: usize = 64;

/// What was seen of tasks, by their places in the stack file.
#[derive(Debug, Default)]
pub struct EarlyFacts {
    slots: OnceLock<Box<[OnceLock<Slot>]>>,
    are_old: AtomicBool,
}

#[derive(Debug)]
enum Slot {
    /// There may be no facts about a task that was looked at.
    Seen(Option<Seen>),
    /// Whoever wanted them came first, and looked by himself.
    TooLate,
}

impl EarlyFacts {
    /// Whether it is worth a thread to [`look`](Self::look) at this stack.
    pub fn are_worth_it(stack: &StackFile) -> bool {
        stack.tasks.len() >= WORTH_A_THREAD
    }

    /// Looks at all tasks that ran before, as long as what is found will be wanted. The last comes first: whoever wants the
    /// facts begins with the first.
    pub fn look(&self, stack: &StackFile, log: &TaskLog) {
        let Some(files) = Files::of(&stack.root) else { return };
        self.fill(stack.tasks.len(), |place| {
            let (name, spec) = stack.tasks.get_index(place).filter(|(_, spec)| spec.cache)?;
            log.of(&stack.name.value).view(name, |last| files.see(spec, last))
        });
    }

    fn fill(&self, count: usize, look: impl Fn(usize) -> Option<Option<Seen>>) {
        let slots = self.slots.get_or_init(|| (0..count).map(|_| OnceLock::new()).collect());
        for (place, slot) in slots.iter().enumerate().rev() {
            if self.are_old.load(Ordering::Acquire) {
                return;
            }
            if slot.get().is_none()
                && let Some(seen) = look(place)
            {
                slot.get_or_init(|| Slot::Seen(seen));
            }
        }
    }

    /// What was seen of the task in this place; nothing if nobody has looked, or it does not hold any more.
    pub(super) fn of(&self, place: usize) -> Option<Option<&Seen>> {
        match self.slots.get()?.get(place)?.get_or_init(|| Slot::TooLate) {
            Slot::Seen(seen) if !self.are_old.load(Ordering::Acquire) => Some(seen.as_ref()),
            Slot::Seen(_) | Slot::TooLate => None,
        }
    }

    /// Something has changed.
    pub(super) fn forget(&self) {
        self.are_old.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_hold_until_something_changes() {
        let facts = EarlyFacts::default();
        assert_eq!(facts.of(0), None, "nobody has looked");
        let seen = Seen { own: [7; 16], stdout: "said".to_owned(), outputs: 1 };
        facts.fill(5, |place| match place {
            4 => {
                // Somebody wants the facts about this one before they are there.
                assert_eq!(facts.of(1), None);
                Some(Some(seen.clone()))
            }
            3 => Some(None),
            1 => unreachable!("a look at what will not be used"),
            _ => None,
        });
        let found: Vec<_> = (0..6).map(|place| facts.of(place)).collect();
        assert_eq!(found, [None, None, None, Some(None), Some(Some(&seen)), None]);
        facts.forget();
        assert!((0..6).all(|place| facts.of(place).is_none()));
        facts.fill(5, |_| unreachable!("a look at what will not be used"));
    }
}
