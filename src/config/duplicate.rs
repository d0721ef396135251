//! Two things of one name: TOML forbids it, and the error shows both places.

use super::error::ConfigError;
use super::span::Span;

/// The error for a key that was defined again at `again`.
///
/// The parser says only where the second one is, so the first is looked for in the text: an earlier header, or an
/// earlier key of the same table, that is spelled the same. After a table that is there twice the parser goes on as if
/// it were one; keys that only clash because of that are nobody's mistake, and nothing is returned for them.
pub(super) fn explain(text: &str, again: Span) -> Option<ConfigError> {
    let key = again.of(text);
    let header = line_at(text, again.start()).trim_start().strip_prefix('[').filter(|rest| !rest.starts_with('['));
    let Some(path) = header.and_then(|rest| rest.split(']').next()) else {
        let first = first_key(text, key, again.start());
        if first.is_none() && table_is_there_twice(text, again.start()) {
            return None;
        }
        let error = ConfigError::new(format!("the key `{key}` is there twice")).label(again, "again here");
        let error = first.into_iter().fold(error, |error, first| error.label(first, "first here"));
        return Some(error.help("keep one of them"));
    };
    let error = ConfigError::new(format!("{} is there twice", thing(path))).label(again, "again here");
    let first = first_header(text, &segments(path), again.start());
    let error = first.into_iter().fold(error, |error, first| error.label(first, "first here"));
    Some(error.help("give one of them another name, or make them one table"))
}

/// The table that `position` is in has a header that was there before.
fn table_is_there_twice(text: &str, position: usize) -> bool {
    let Some(start) = text[..position].rfind("\n[").map(|at| at + 1) else { return false };
    let path = line_at(text, start).trim_start_matches('[').split(']').next().unwrap_or_default();
    first_header(text, &segments(path), start).is_some()
}

/// `[image.backend]` as people say it.
fn thing(path: &str) -> String {
    match segments(path).as_slice() {
        [kind @ ("image" | "chart" | "ready" | "task" | "profile"), name] => format!("{kind} `{name}`"),
        _ => format!("the table `[{}]`", path.trim()),
    }
}

fn segments(path: &str) -> Vec<&str> {
    path.split('.').map(|segment| segment.trim().trim_matches(['"', '\''])).collect()
}

fn line_at(text: &str, position: usize) -> &str {
    let start = text[..position].rfind('\n').map_or(0, |at| at + 1);
    text[start..].lines().next().unwrap_or_default()
}

/// The last segment of the first header before `end` that names the same table.
fn first_header(text: &str, path: &[&str], end: usize) -> Option<Span> {
    lines(text, end).find_map(|(start, line)| {
        let inner = line.trim_start().strip_prefix('[')?.split(']').next()?;
        (segments(inner) == path).then(|| {
            let last = inner.rsplit('.').next().unwrap_or(inner).trim();
            let at = start + line.find(inner).unwrap_or(0) + inner.rfind(last).unwrap_or(0);
            Span::new(at, at + last.len())
        })
    })
}

/// The same key, earlier in the same table.
fn first_key(text: &str, key: &str, end: usize) -> Option<Span> {
    let before = &text[..end];
    // Within one line (an inline table), else since the last header.
    let line = before.rfind('\n').map_or(0, |at| at + 1);
    if let Some(at) = before[line..].find(key).map(|at| at + line) {
        return Some(Span::new(at, at + key.len()));
    }
    let table = before.rfind("\n[").map_or(0, |at| at + 1);
    lines(text, end).filter(|(start, _)| *start >= table).find_map(|(start, line)| {
        let indent = line.len() - line.trim_start().len();
        let after = line[indent..].strip_prefix(key)?;
        after.trim_start().starts_with(['=', '.']).then(|| Span::new(start + indent, start + indent + key.len()))
    })
}

/// The whole lines before `end`, with their positions.
fn lines(text: &str, end: usize) -> impl Iterator<Item = (usize, &str)> {
    let mut position = 0;
    text.split_inclusive('\n').map_while(move |line| {
        let start = position;
        position += line.len();
        (position <= end).then_some((start, line))
    })
}
