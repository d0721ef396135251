//! Parses a large file in parts, by two threads.
//!
//! TOML is a sequence of tables, each of which begins with a header in a line of its own. A text that is cut before
//! headers, and whose parts but the last are whole documents, means what its parts mean: none has a string or list that is
//! still open, and none goes on with a table of one before. What the parts could only say together is left to the parser
//! of the whole: every error, and every table that two of them speak of.
//!
//! It is not only the second thread that makes this fast. What the parser takes for a text is many times the size of the
//! text; a part is small enough that it gets the memory of the part before it, instead of new pages from the system.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use toml::de::DeTable;
use toml_parser::lexer::Token;

use super::beside::{beside, is_large};
use super::plain;
use super::tree::{self, Entry, Node, NodeKind};

/// How many bytes make a part.
const PART: usize = 32 << 10;

/// A part of the text, read.
struct Part<'t> {
    entries: Vec<Entry<'t>>,
    /// Headers that name one table, and not a table within one.
    single: Vec<Single<'t>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Single<'t> {
    Named(&'t str),
    /// With quotes, or otherwise not plain.
    Any,
}

/// The tables of the whole text, if it is large and its parts can be read by themselves.
pub(super) fn parse(text: &str) -> Option<Vec<Entry<'_>>> {
    if is_large(text) { join(text, read(text, &cuts(text, PART))?) } else { None }
}

/// Where the parts begin: at headers of two segments, `[task.a]`, since what follows one, `[task.a.env]`, belongs with it.
fn cuts(text: &str, size: usize) -> Vec<usize> {
    let mut cuts = vec![0];
    let mut from = size;
    while let Some(header) = text.as_bytes().get(from..).and_then(|rest| rest.windows(2).position(|two| two == b"\n["))
    {
        from += header + 1;
        if inner(&text[from..]).is_some_and(|inner| inner.matches('.').count() == 1) {
            cuts.push(from);
            from += size;
        }
    }
    cuts
}

/// What stands between the brackets of a header.
fn inner(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix('[')?.split([']', '\n']).next()
}

/// Reads the parts, each by the thread that comes to it first.
fn read<'t>(text: &'t str, cuts: &[usize]) -> Option<Vec<Part<'t>>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut parts = Vec::new();
        let mut tokens = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(start) = cuts.get(index) else { return Some(parts) };
            let end = cuts.get(index + 1).copied().unwrap_or(text.len());
            parts.push((index, part(&text[*start..end], *start, &mut tokens)?));
        }
    };
    let (other, own) = beside(true, work, work);
    let mut parts = own?;
    parts.extend(other?);
    parts.sort_unstable_by_key(|(index, _)| *index);
    Some(parts.into_iter().map(|(_, part)| part).collect())
}

fn part<'t>(text: &'t str, offset: usize, tokens: &mut Vec<Token>) -> Option<Part<'t>> {
    let entries = plain::read(text, offset, tokens).or_else(|| library(text, offset))?;
    if !entries.iter().flat_map(|entry| entry.node.entries()).all(|entry| plain::is_apart(&entry.node)) {
        return None;
    }
    Some(Part { entries, single: text.lines().filter_map(single).collect() })
}

fn library(text: &str, offset: usize) -> Option<Vec<Entry<'_>>> {
    let table = DeTable::parse(text).ok()?.into_inner();
    let mut wrong = false;
    let entries = tree::entries(table, offset, &mut |_| wrong = true);
    (!wrong).then_some(entries)
}

fn single(line: &str) -> Option<Single<'_>> {
    let inner = inner(line)?.trim_start_matches('[').trim();
    let end = inner.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')).unwrap_or(inner.len());
    match inner[end..].trim_start() {
        "" => Some(Single::Named(&inner[..end])),
        rest if end > 0 && rest.starts_with('.') => None,
        _ => Some(Single::Any),
    }
}

/// The parts as one, if nothing in it is said twice.
fn join<'t>(text: &str, parts: Vec<Part<'t>>) -> Option<Vec<Entry<'t>>> {
    let mut all: Vec<Entry<'t>> = Vec::new();
    let mut places: HashMap<Cow<'t, str>, usize> = HashMap::new();
    let mut left = parts.len();
    for Part { entries, single } in parts {
        left -= 1;
        for entry in entries {
            let Some(place) = places.get(&entry.key).copied() else {
                places.insert(entry.key.clone(), all.len());
                all.push(entry);
                continue;
            };
            // What was not opened by a header, or is named by a header of its own, may be closed for others.
            let before = &text[..all[place].key_span.start()];
            let is_open = before.trim_end_matches([' ', '\t']).ends_with('[')
                && !single.iter().any(|single| matches!(single, Single::Any) || *single == Single::Named(&entry.key));
            match (&mut all[place].node.kind, entry.node) {
                (NodeKind::Table(known), Node { kind: NodeKind::Table(more), .. }) if is_open => {
                    known.reserve(more.len() * (left + 1));
                    known.extend(more);
                }
                _ => return None,
            }
        }
    }
    let apart = plain::are_apart(&all) && all.iter().all(|entry| plain::are_apart(entry.node.entries()));
    apart.then_some(all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the parser of the whole has it, if there is nothing wrong.
    fn whole(text: &str) -> Option<String> {
        let table = DeTable::parse(text).ok()?.into_inner();
        Some(format!("{:?}", tree::entries(table, 0, &mut |error| panic!("{error}"))))
    }

    /// What is read of a text that is cut at one of its headers, and at all of them; nothing where that is left to the whole.
    fn cut_everywhere(text: &str) -> Vec<Option<String>> {
        let headers: Vec<usize> = text.match_indices("\n[").map(|(at, _)| at + 1).collect();
        let every = std::iter::once(0).chain(headers.iter().copied()).collect();
        let cuts = headers.iter().map(|at| vec![0, *at]).chain([every]);
        cuts.map(|cuts| Some(format!("{:?}", join(text, read(text, &cuts)?)?))).collect()
    }

    #[test]
    fn tables_that_are_apart_are_read_apart() {
        let text = "[stack]\nname = \"a\"\n[task.a]\nrun = \"\"\"\nx\"\"\"\n[task.b]\nrun = 'ü'\n[limits]\njobs = 1\n[task.\"c.d\"]\n";
        assert_eq!(cut_everywhere(text), vec![whole(text); 5]);
    }

    #[test]
    fn what_only_the_whole_can_say_is_left_to_it() {
        for text in [
            "[task.a]\n[task.a]\n",
            "[task.a]\nx = 1\n[task.a.env]\n",
            "[task]\n[task]\n",
            "[task]\nx.y = 1\n[ task ]\nx.z = 1\n",
            "[\"t.a\"]\nx = 1\n[\"t.a\"]\ny = 1\n",
            "[task.a]\n[\"task\"]\n",
            "[task.a]\n[\"task\".b]\n",
            "task = { a = 1 }\n\n[task.b]\n",
            "task.a = 1\n\n[task.b]\n",
            "x = \"\"\"\n[task]\ny = \"\"\"\ntask = { a = 1 }\n[task.b]",
            "[[task]]\n[[task]]\n",
            "[task.a]\nrun = [\n[1]]\n",
            "[task.a]\nrun = \"\"\"\n[task.b]\n\"\"\"\n",
            "[task.a]\n[task.b\n",
            "[task.a]\n[task.b]\nx = 99999999999999999999\n",
        ] {
            let found = cut_everywhere(text);
            assert!(!found.is_empty() && found.iter().all(Option::is_none), "{text:?}: {found:?}");
        }
    }

    #[test]
    fn a_part_begins_where_a_table_within_another_does() {
        let text = "[stack]\nname = \"a\"\n[task.a]\n[task.a.env]\nx = \"ü\"\n[[e]]\n[\"a.b\".c]\n[task.b]\n";
        assert_eq!(cuts(text, 4), [0, text.find("[task.a]").unwrap(), text.find("[task.b]").unwrap()]);
        assert_eq!(cuts("", 4), [0]);
    }

    #[test]
    fn a_large_file_is_read_in_parts() {
        let tasks: String =
            (0..20_000).map(|i| format!("\n[task.t{i}]\nrun = 'true'\n[task.t{i}.env]\nx = '{i}'\n")).collect();
        let text = format!("[stack]\nname = 'a'\n{tasks}");
        assert!(cuts(&text, PART).len() > 10);
        assert_eq!(parse(&text).map(|entries| format!("{entries:?}")), whole(&text));
        assert!(parse(&text[..1000]).is_none());
        assert!(parse(&format!("{text}{tasks}")).is_none());
    }

    proptest! {
        #[test]
        fn no_cut_changes_what_a_text_means(
            lines in prop::collection::vec(
                prop::sample::select(vec![
                    "[a]", "[a.b]", "[a.c]", "[b]", "[a.b.c]", "[[a.d]]", "[[e]]", "[\"a\"]", "[ a . b ]", "  [c]", "[\"a.b\"]",
                    "[a.\"b\"]", "x = 1", "y = 'ü'", "x.y = 2", "a.b = 1", "a = { b = 1 }", "z = [", "[1]", "]", "t = \"\"\"",
                    "\"\"\"", "# [",
                ]),
                1..14,
            ),
        ) {
            let text = lines.join("\n");
            let expected = whole(&text);
            for found in cut_everywhere(&text).into_iter().flatten() {
                prop_assert_eq!(Some(found), expected.clone());
            }
        }
    }
}
