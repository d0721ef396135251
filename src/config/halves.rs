//! Parses a large file in two halves at the same time.
//!
//! TOML is a sequence of tables, each of which begins with a header in a line of its own. A text that is cut before a
//! header, and whose first part is a whole document, means what its two parts mean: the first part has no string or list
//! that is still open, and the second does not go on with a table of the first. What the parts could only say together is
//! left to the parser of the whole: every error, and every table that both speak of.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::beside::{beside, is_large};

/// The second half, with spaces in place of the first: so its spans are those of the whole text.
pub(super) fn second(text: &str) -> Option<String> {
    if !is_large(text) {
        return None;
    }
    // The thread for the second part has to be started, and is not the only other one.
    let middle = text.len() / 20 * 11;
    let cut = middle + text.as_bytes()[middle..].windows(2).position(|pair| pair == b"\n[")? + 1;
    Some(from(text, cut))
}

fn from(text: &str, cut: usize) -> String {
    let mut second = String::with_capacity(text.len());
    second.push('#');
    second.push_str(&" ".repeat(cut - 2));
    second.push('\n');
    second.push_str(&text[cut..]);
    second
}

/// The table of the whole text, if its halves can be read by themselves.
pub(super) fn parse<'t>(text: &'t str, second: &'t str) -> Option<DeTable<'t>> {
    // The first line of the second half stands in place of the first half.
    let cut = second.find('\n')? + 1;
    let (second, first) = beside(true, || whole(second), || whole(&text[..cut]));
    let (mut table, second) = (first?, second?);
    // The headers of the second half that name one table, and not a table within one.
    let alone: Vec<&str> = text[cut..]
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix('[')?.split(']').next())
        .filter(|inner| !inner.contains('.') || inner.contains(['"', '\'']))
        .collect();
    // A table that was opened before any header, or that one half names by itself, may be closed for the other.
    let first_header = if text.starts_with('[') { 0 } else { text.find("\n[")? + 1 };
    let is_open = |key: &Spanned<_>, name: &str| {
        let closes = |inner: &&str| inner.trim_start_matches('[').trim() == name || inner.contains(['"', '\'']);
        key.span().start > first_header && !alone.iter().any(closes)
    };
    for (key, value) in second {
        let name = key.get_ref().clone();
        let Some((known, _)) = table.get_key_value(name.as_ref()) else {
            table.insert(key, value);
            continue;
        };
        let is_open = is_open(known, &name);
        match (table.get_mut(name.as_ref()).map(Spanned::get_mut), value.into_inner()) {
            (Some(DeValue::Table(first)), DeValue::Table(second)) if is_open => {
                for (key, value) in second {
                    if first.insert(key, value).is_some() {
                        return None;
                    }
                }
            }
            _ => return None,
        }
    }
    Some(table)
}

fn whole(text: &str) -> Option<DeTable<'_>> {
    DeTable::parse(text).ok().map(Spanned::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is read of a text that is cut at each of its headers; nothing where that is left to the whole.
    fn cut_everywhere(text: &str) -> Vec<Option<String>> {
        let cuts = text.match_indices("\n[").filter(|(at, _)| *at > 0);
        cuts.map(|(at, _)| parse(text, &from(text, at + 1)).map(|table| format!("{table:?}"))).collect()
    }

    #[test]
    fn tables_that_are_apart_are_read_apart() {
        let text = "[stack]\nname = \"a\"\n[task.a]\nrun = \"\"\"\nx\"\"\"\n[task.b]\nrun = 'ü'\n[limits]\njobs = 1\n";
        let expected = format!("{:?}", whole(text).unwrap());
        assert_eq!(cut_everywhere(text), vec![Some(expected); 3]);
    }

    #[test]
    fn what_only_the_whole_can_say_is_left_to_it() {
        for text in [
            "[task.a]\n[task.a]\n",
            "[task.a]\nx = 1\n[task.a.env]\n",
            "[task]\n[task]\n",
            "[task]\nx.y = 1\n[ task ]\nx.z = 1\n",
            "[\"t.a\"]\nx = 1\n[\"t.a\"]\ny = 1\n",
            "task = { a = 1 }\n\n[task.b]\n",
            "task.a = 1\n\n[task.b]\n",
            "[[task]]\n[[task]]\n",
            "[task.a]\nrun = [\n[1]]\n",
            "[task.a]\nrun = \"\"\"\n[task.b]\n\"\"\"\n",
            "[task.a]\n[task.b\n",
        ] {
            let found = cut_everywhere(text);
            assert!(!found.is_empty() && found.iter().all(Option::is_none), "{text:?}: {found:?}");
        }
    }

    proptest! {
        #[test]
        fn no_cut_changes_what_a_text_means(
            lines in prop::collection::vec(
                prop::sample::select(vec![
                    "[a]", "[a.b]", "[a.c]", "[b]", "[a.b.c]", "[[a.d]]", "[[e]]", "[\"a\"]", "[ a . b ]", "  [c]", "[\"a.b\"]",
                    "x = 1", "y = 'ü'", "x.y = 2", "a.b = 1", "a = { b = 1 }", "z = [", "[1]", "]", "t = \"\"\"", "\"\"\"", "# [",
                ]),
                1..14,
            ),
        ) {
            let text = lines.join("\n");
            let expected = whole(&text).map(|table| format!("{table:?}"));
            for found in cut_everywhere(&text).into_iter().flatten() {
                prop_assert_eq!(Some(found), expected.clone());
            }
        }
    }
}
