//! Reads the plain part of TOML straight into the tree: tables by their headers, keys of one segment, all values but dates.
//!
//! The parser's own tables are made for every document there may be, and take several times the memory and the time. Here
//! nothing is judged: what is not plain, or looks wrong in any way, is refused, and is read by the library as a whole. The
//! one rule that is left to the caller is that no table has a key twice, see [`is_apart`].

use std::borrow::Cow;
use std::collections::HashSet;

use toml_parser::decoder::{Encoding, ScalarKind};
use toml_parser::lexer::Token;
use toml_parser::parser::{Event, EventKind, EventReceiver, ValidateWhitespace, parse_document};
use toml_parser::{ErrorSink, ParseError, Source, Span as At};

use super::span::Span;
use super::tree::{Entry, Node, NodeKind};

/// Lists and tables within another, each in a line of text: nobody writes so many.
const DEEPEST: usize = 16;

/// Up to so many keys are compared with each other.
const FEW: usize = 8;

/// The tables of a text that begins `offset` bytes into the file, if it is plain. `tokens` is memory for the work.
pub(super) fn read<'t>(text: &'t str, offset: usize, tokens: &mut Vec<Token>) -> Option<Vec<Entry<'t>>> {
    let source = Source::new(text);
    tokens.clear();
    tokens.extend(source.lex());
    let mut reader = Reader {
        source,
        offset,
        header: None,
        path: Vec::new(),
        open: Vec::new(),
        keys: Vec::new(),
        items: Vec::new(),
        entries: Vec::new(),
        tables: Vec::new(),
        refused: false,
    };
    let mut wrong: Option<ParseError> = None;
    parse_document(tokens, &mut ValidateWhitespace::new(&mut reader, source), &mut wrong);
    reader.finish_table();
    (wrong.is_none() && !reader.refused).then_some(reader.tables)
}

/// Whether no key is there twice. Tables within are not looked at.
pub(super) fn are_apart(entries: &[Entry<'_>]) -> bool {
    if entries.len() <= FEW {
        return entries
            .iter()
            .enumerate()
            .all(|(at, entry)| entries[..at].iter().all(|before| before.key != entry.key));
    }
    let mut keys = HashSet::with_capacity_and_hasher(entries.len(), foldhash::fast::RandomState::default());
    entries.iter().all(|entry| keys.insert(entry.key.as_ref()))
}

/// Whether no table in a value has a key twice.
pub(super) fn is_apart(node: &Node<'_>) -> bool {
    match &node.kind {
        NodeKind::Table(entries) => are_apart(entries) && entries.iter().all(|entry| is_apart(&entry.node)),
        NodeKind::Array(items) => items.iter().all(is_apart),
        _ => true,
    }
}

/// A key and where it stands.
type Key<'t> = (Cow<'t, str>, Span);

/// A list or an inline table that is not closed yet.
enum Open {
    /// Its values begin at this place of `items`.
    Array(usize),
    /// Its keys begin at this place of `entries`.
    Table(usize),
}

struct Reader<'t> {
    source: Source<'t>,
    offset: usize,
    /// The header of the current table; nothing before the first.
    header: Option<Span>,
    /// The segments of that header.
    path: Vec<Key<'t>>,
    /// What is open, each with where it began.
    open: Vec<(Open, At)>,
    /// Keys without their values yet.
    keys: Vec<Key<'t>>,
    /// The values of open lists, one list after the other: so each list is made when its length is known.
    items: Vec<Node<'t>>,
    /// The entries of the current table and of open inline tables, likewise.
    entries: Vec<Entry<'t>>,
    /// The tables that are complete.
    tables: Vec<Entry<'t>>,
    refused: bool,
}

impl<'t> Reader<'t> {
    fn span(&self, at: At) -> Span {
        Span::new(at.start() + self.offset, at.end() + self.offset)
    }

    fn decode(&mut self, kind: EventKind, encoding: Option<Encoding>, at: At) -> Option<(ScalarKind, Cow<'t, str>)> {
        let raw = self.source.get(Event::new_unchecked(kind, encoding, at))?;
        let mut text = Cow::Borrowed("");
        let mut wrong: Option<ParseError> = None;
        let scalar = match kind {
            EventKind::SimpleKey => {
                raw.decode_key(&mut text, &mut wrong);
                ScalarKind::String
            }
            _ => raw.decode_scalar(&mut text, &mut wrong),
        };
        wrong.is_none().then_some((scalar, text))
    }

    fn value(&mut self, kind: NodeKind<'t>, at: At) {
        let node = Node { kind, span: self.span(at) };
        if let Some((Open::Array(_), _)) = self.open.last() {
            self.items.push(node);
        } else if let Some((key, key_span)) = self.keys.pop() {
            self.entries.push(Entry { key, key_span, node });
        } else {
            self.refused = true;
        }
    }

    fn open(&mut self, open: Open, at: At) -> bool {
        self.refused |= self.open.len() >= DEEPEST;
        self.open.push((open, at));
        !self.refused
    }

    fn close(&mut self, at: At) {
        let (kind, begun) = match self.open.pop() {
            Some((Open::Array(first), begun)) => (NodeKind::Array(self.items.drain(first..).collect()), begun),
            Some((Open::Table(first), begun)) => (NodeKind::Table(self.entries.drain(first..).collect()), begun),
            None => {
                self.refused = true;
                return;
            }
        };
        self.value(kind, begun.append(at));
    }

    /// Puts the current table where its header says.
    fn finish_table(&mut self) {
        self.refused |= !(self.open.is_empty() && self.keys.is_empty());
        let Some(span) = self.header else {
            self.tables.append(&mut self.entries);
            return;
        };
        let node = Node { kind: NodeKind::Table(self.entries.drain(..).collect()), span };
        let Some((key, key_span)) = self.path.pop() else {
            self.refused = true;
            return;
        };
        let mut table = &mut self.tables;
        for (key, key_span) in self.path.drain(..) {
            // Most often it is the last one.
            let at = table.iter().rposition(|entry| entry.key == key).unwrap_or_else(|| {
                let node = Node { kind: NodeKind::Table(Vec::new()), span: key_span };
                table.push(Entry { key, key_span, node });
                table.len() - 1
            });
            let start = table[at].node.span.start() - self.offset;
            match &mut table[at].node.kind {
                // An inline table is complete.
                NodeKind::Table(entries) if self.source.input().as_bytes().get(start) != Some(&b'{') => table = entries,
                _ => {
                    self.refused = true;
                    return;
                }
            }
        }
        table.push(Entry { key, key_span, node });
    }
}

impl EventReceiver for Reader<'_> {
    fn std_table_open(&mut self, at: At, _: &mut dyn ErrorSink) {
        self.finish_table();
        self.header = Some(self.span(at));
    }

    fn std_table_close(&mut self, at: At, _: &mut dyn ErrorSink) {
        self.path.append(&mut self.keys);
        self.header = self.header.map(|header| Span::new(header.start(), at.end() + self.offset));
    }

    fn array_table_open(&mut self, _: At, _: &mut dyn ErrorSink) {
        self.refused = true;
    }

    fn inline_table_open(&mut self, at: At, _: &mut dyn ErrorSink) -> bool {
        self.open(Open::Table(self.entries.len()), at)
    }

    fn inline_table_close(&mut self, at: At, _: &mut dyn ErrorSink) {
        self.close(at);
    }

    fn array_open(&mut self, at: At, _: &mut dyn ErrorSink) -> bool {
        self.open(Open::Array(self.items.len()), at)
    }

    fn array_close(&mut self, at: At, _: &mut dyn ErrorSink) {
        self.close(at);
    }

    fn simple_key(&mut self, at: At, encoding: Option<Encoding>, _: &mut dyn ErrorSink) {
        match self.decode(EventKind::SimpleKey, encoding, at) {
            Some((_, key)) => self.keys.push((key, self.span(at))),
            None => self.refused = true,
        }
    }

    fn key_val_sep(&mut self, _: At, _: &mut dyn ErrorSink) {
        // One for the value to come, and one for each inline table that it is within: more are segments of one key.
        let tables = self.open.iter().filter(|(open, _)| matches!(open, Open::Table(_))).count();
        self.refused |= self.keys.len() > tables + 1;
    }

    fn scalar(&mut self, at: At, encoding: Option<Encoding>, _: &mut dyn ErrorSink) {
        let kind = self.decode(EventKind::Scalar, encoding, at).and_then(|(kind, text)| {
            Some(match kind {
                ScalarKind::String => NodeKind::String(text),
                ScalarKind::Boolean(value) => NodeKind::Bool(value),
                ScalarKind::Integer(radix) => NodeKind::Integer(i64::from_str_radix(&text, radix.value()).ok()?),
                ScalarKind::Float => NodeKind::Float(text.parse().ok()?),
                ScalarKind::DateTime => return None,
            })
        });
        match kind {
            Some(kind) => self.value(kind, at),
            None => self.refused = true,
        }
    }

    fn error(&mut self, _: At, _: &mut dyn ErrorSink) {
        self.refused = true;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use toml::de::DeTable;

    use super::super::tree;
    use super::*;

    /// What is read here, as the caller takes it.
    fn plain(text: &str, offset: usize) -> Option<String> {
        read(text, offset, &mut Vec::new())
            .filter(|entries| are_apart(entries) && entries.iter().all(|entry| is_apart(&entry.node)))
            .map(|entries| format!("{entries:?}"))
    }

    /// What the library reads, if it finds nothing wrong.
    fn library(text: &str, offset: usize) -> Option<String> {
        let table = DeTable::parse(text).ok()?.into_inner();
        let mut wrong = false;
        let entries = tree::entries(table, offset, &mut |_| wrong = true);
        (!wrong).then(|| format!("{entries:?}"))
    }

    #[test]
    fn what_people_write_is_plain() {
        for text in [
            "",
            "# nothing\n\n",
            "a = 1\nb = -0x0\n",
            "a = 1_000\nb = 1.5e3\nc = inf\nd = true\ne = 0xff\n",
            "[stack]\nname = \"a\" # a comment\n\n[image.a]\ncontext = 'x\\y'\nargs = { A = \"1\", \"b c\" = [1, 2, { d = [] }] }\n",
            "[task.a]\n[task.b]\n[task.a.env]\nx = \"\\u00fc ü\"\n[task.\"gen:1\".env]\n",
            "[ a . b ]\r\nx = \"\"\"\n  y\\\n  z\"\"\"\r\nz = [\n  1, # one\n  2,\n]\r\n",
            "[a.b.c]\n[a.b.d]\n[a.e]\n",
        ] {
            let expected = library(text, 7);
            assert_eq!(plain(text, 7), expected, "{text:?}");
            assert_eq!(expected.is_some(), !text.contains("-0x0"), "{text:?}");
        }
    }

    #[test]
    fn all_else_is_refused() {
        for text in [
            "a.b = 1\n",
            "a = { b.c = 1 }\n",
            "a = { x = { y.z = 1 } }\n",
            "[[a]]\n",
            "a = 2026-11-23\n",
            "a = 99999999999999999999\n",
            "a = 1\na = 2\n",
            "a = { b = 1, b = 2 }\n",
            "[a]\nb = 1\n[a.b]\n",
            "[a]\nb = {}\n[a.b.c]\n",
            "[a]\n[a]\n",
            "[a.b]\n[a]\n",
            "a = 1\nb\n",
            "a = [1\n",
            "a = \"\\q\"\n",
            "a = tru\n",
            "a = 1 # \u{1}\n",
            "a = [[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]\n",
            "[a\n",
            "[]\n",
            " = 1\n",
        ] {
            assert_eq!(plain(text, 0), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_the_library_reads(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "[", "]", "[[", "]]", "{", "}", "=", " = ", ",", ".", "\n", "\r\n", " ", "a", "b", "c", "\"a\"", "'b'", "\"\\n\"",
                    "1", "-2.5", "true", "0x1F", "1979-05-27", "\"\"\"", "'''", "# x", "ü", "\t", "\n[a.b]\n", "\n[a]\n", "\na = ",
                    "\nb = [", "\nc = { ", "a = 1", "\u{7f}",
                ]),
                0..24,
            ),
        ) {
            let text = pieces.concat();
            if let Some(found) = plain(&text, 3) {
                prop_assert_eq!(Some(found), library(&text, 3), "{:?}", text);
            }
        }
    }
}
