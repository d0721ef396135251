//! Excerpts: an API server that can't read an object shows what is around the place, cut after a number of bytes and so
//! perhaps in the middle of a value: `error found in #10 byte of ...|b":5}|..., bigger context ...|cret","b":5}|...`.

use super::{HIDDEN, SHORTEST};

/// What stands before an excerpt.
pub(super) const BEFORE: &str = "...|";
/// What stands behind it.
const BEHIND: &str = "|...";

/// The line without what is left of values at either end of its excerpts.
pub(super) fn hide(line: &str, values: &[String]) -> String {
    let mut hidden = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once(BEFORE) {
        let (excerpt, behind) = after.find(BEHIND).map_or((after, ""), |end| after.split_at(end));
        hidden.push_str(before);
        hidden.push_str(BEFORE);
        hidden.push_str(&excerpt_without(excerpt, values));
        // What ends one excerpt may begin with the points that the next one begins with.
        let end = BEHIND.len().min(behind.len());
        hidden.push_str(&behind[..end]);
        rest = &behind[end..];
    }
    hidden.push_str(rest);
    hidden
}

fn excerpt_without(excerpt: &str, values: &[String]) -> String {
    if excerpt.len() >= SHORTEST && values.iter().any(|value| value.contains(excerpt)) {
        return HIDDEN.to_owned();
    }
    let ends = |value: &String| (SHORTEST..value.len()).rev().find(|&len| is_end(value, len, excerpt));
    let begins = |value: &String| (SHORTEST..value.len()).rev().find(|&len| is_beginning(value, len, excerpt));
    let from = values.iter().filter_map(ends).max().unwrap_or_default();
    let to = excerpt.len() - values.iter().filter_map(begins).max().unwrap_or_default();
    let star = |cut: bool| if cut { HIDDEN } else { "" };
    match excerpt.get(from..to.max(from)) {
        Some(kept) => format!("{}{kept}{}", star(from > 0), star(to < excerpt.len())),
        None => HIDDEN.to_owned(),
    }
}

/// Whether the excerpt begins with the last bytes of a value.
fn is_end(value: &str, len: usize, excerpt: &str) -> bool {
    excerpt.as_bytes().starts_with(&value.as_bytes()[value.len() - len..])
}

/// Whether the excerpt ends with the first bytes of a value.
fn is_beginning(value: &str, len: usize, excerpt: &str) -> bool {
    excerpt.as_bytes().ends_with(&value.as_bytes()[..len])
}
