//! Where in a JSON text the values of an object stand, without reading them: there may be megabytes of each.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;

/// Bytes that are read at a time.
const PIECE: usize = 64 * 1024;

/// The places of the values by their names, counted from the beginning of the file. The file's first line is passed over;
/// after it comes an object that has objects as its values.
pub(super) fn find<F: Read + Seek>(mut file: F) -> io::Result<BTreeMap<String, Range<u64>>> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::with_capacity(PIECE, file);
    let first_line = reader.skip_until(b'\n')?;
    let mut finder = Finder { at: first_line as u64, ..Finder::default() };
    loop {
        let piece = reader.fill_buf()?;
        if piece.is_empty() {
            return Ok(finder.places);
        }
        finder.read(piece);
        let size = piece.len();
        reader.consume(size);
    }
}

#[derive(Default)]
struct Finder {
    places: BTreeMap<String, Range<u64>>,
    /// How many bytes were before.
    at: u64,
    /// How many objects and lists are open.
    depth: usize,
    in_text: bool,
    escaped: bool,
    /// The last text of the outermost object, as it is written.
    name: Vec<u8>,
    /// Where the value began that is being read.
    start: u64,
}

impl Finder {
    fn read(&mut self, mut piece: &[u8]) {
        while let Some((&byte, rest)) = piece.split_first() {
            if self.in_text && self.depth > 1 && !self.escaped {
                // Most of it are texts that nobody looks at.
                let plain = piece.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(piece.len());
                if plain > 0 {
                    self.at += plain as u64;
                    piece = &piece[plain..];
                    continue;
                }
            }
            self.at += 1;
            piece = rest;
            if self.in_text { self.letter(byte) } else { self.sign(byte) }
        }
    }

    /// A byte of a text.
    fn letter(&mut self, byte: u8) {
        if self.depth == 1 {
            self.name.push(byte);
        }
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => self.in_text = false,
            _ => {}
        }
    }

    /// A byte between texts.
    fn sign(&mut self, byte: u8) {
        match byte {
            b'"' => {
                self.in_text = true;
                if self.depth == 1 {
                    self.name = vec![byte];
                }
            }
            b'{' | b'[' => {
                self.depth += 1;
                if self.depth == 2 {
                    self.start = self.at - 1;
                }
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 1
                    && let Ok(name) = serde_json::from_slice(&self.name)
                {
                    self.places.insert(name, self.start..self.at);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Cursor;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    proptest! {
        #[test]
        fn what_stands_there_is_the_value(found in prop::collection::btree_map(
            "[a\\\\\"{}é,:]{0,4}", prop::collection::vec("[a\\\\\"{}\\[\\]é,:]{0,4}", 0..4), 0..6,
        ), first in "[a{\"]{0,9}") {
            let values: BTreeMap<String, Value> =
                found.into_iter().map(|(name, texts)| (name, json!({"list": texts, "deep": {"n": 1}}))).collect();
            let text = format!("{first}\n{}", serde_json::to_string(&values).unwrap());
            let places = find(Cursor::new(&text)).unwrap();
            let at = |place: &Range<u64>| serde_json::from_str(&text[place.start as usize..place.end as usize]).unwrap();
            let read: BTreeMap<String, Value> = places.iter().map(|(name, place)| (name.clone(), at(place))).collect();
            prop_assert_eq!(read, values);
        }
    }
}
