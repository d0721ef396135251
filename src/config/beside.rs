//! Two halves of the work on a large file, done at the same time.

/// Smaller files are not worth a thread.
const LARGE: usize = 64 << 10;

/// Whether the work on this text is worth a thread.
pub(super) fn is_large(text: &str) -> bool {
    text.len() >= LARGE
}

/// Does both; `other` on a thread of its own if the text is large.
pub(super) fn beside<A: Send, B>(text: &str, other: impl FnOnce() -> A + Send, own: impl FnOnce() -> B) -> (A, B) {
    if !is_large(text) {
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
