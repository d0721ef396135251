//! Two halves of the work on a large file, done at the same time.

/// A smaller text is not worth a thread.
const LARGE: usize = 64 << 10;

/// Nor are fewer tables.
const MANY: usize = 1000;

/// Whether the work on this text is worth a thread.
pub(super) fn is_large(text: &str) -> bool {
    text.len() >= LARGE
}

/// Whether so many tables are worth a thread.
pub(super) fn are_many(tables: usize) -> bool {
    tables >= MANY
}

/// Does both; `other` on a thread of its own if that is worth it.
pub(super) fn beside<A: Send, B>(is_worth: bool, other: impl FnOnce() -> A + Send, own: impl FnOnce() -> B) -> (A, B) {
    if !is_worth {
        return (other(), own());
    }
    std::thread::scope(|scope| {
        let other = scope.spawn(other);
        let own = own();
        match other.join() {
            Ok(other) => (other, own),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// What becomes of each item, in their order; `own` does the first half of many, or all of few, `other` the rest. `All`
/// takes in what `own` makes as it is made.
pub(super) fn each<'i, T: Sync, R: Send, All: Extend<R>>(
    items: &'i [T],
    mut all: All,
    other: impl FnMut(&'i T) -> Option<R> + Send,
    own: impl FnMut(&'i T) -> Option<R>,
) -> All {
    let middle = if are_many(items.len()) { items.len() / 2 } else { items.len() };
    let (first, second) = items.split_at(middle);
    let (rest, ()) = beside(
        !second.is_empty(),
        || {
            let mut rest = Vec::with_capacity(second.len());
            rest.extend(second.iter().filter_map(other));
            rest
        },
        || all.extend(first.iter().filter_map(own)),
    );
    all.extend(rest);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_by_two_has_the_order_of_one() {
        for count in [0, 1, MANY - 1, MANY, 3 * MANY + 1] {
            let items: Vec<usize> = (0..count).collect();
            let here = std::thread::current().id();
            let elsewhere = |item: &usize| Some((*item, std::thread::current().id() != here));
            let done = each(&items, Vec::new(), elsewhere, elsewhere);
            assert!(done.iter().map(|(item, _)| *item).eq(items), "{count}");
            assert_eq!(done.last().is_some_and(|(_, elsewhere)| *elsewhere), count >= MANY, "{count}");
        }
    }
}
