//! A manifest as records keep it, in little memory: there may be a hundred thousand inputs, which are read only to be
//! compared once.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::manifest::{Key, VERSION, Value};

/// A manifest as records keep it: what the last applied state was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedManifest {
    /// The recipe's version.
    pub version: u32,
    /// The key.
    pub key: Key,
    /// The inputs by path.
    pub inputs: RecordedInputs,
}

impl RecordedManifest {
    /// Whether it was made by another recipe, so that its inputs say nothing about a difference.
    pub fn is_other_version(&self) -> bool {
        self.version != VERSION
    }
}

/// Inputs by path, in the order in which they were recorded. Of two with the same path the value of the last one counts,
/// at the place of the first.
#[derive(Clone, Default)]
pub struct RecordedInputs {
    /// All paths and values, one after the other.
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// For each entry the hash of its path and then its position, sorted.
    index: Vec<(u32, u32)>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    path: Span,
    value: Span,
    kind: Kind,
}

/// Where something is among the bytes.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    length: u32,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Digest,
    /// The content of a file: the 32 bytes of the digest that a record has in letters.
    Content {
        executable: bool,
    },
}

/// More inputs than can be counted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record has too many inputs")]
pub struct TooMany;

impl RecordedInputs {
    /// These inputs. One that is unknown has no place in a record and is left out.
    ///
    /// # Errors
    /// When they are too many to be counted.
    pub fn of(inputs: impl IntoIterator<Item = (String, Value)>) -> Result<Self, TooMany> {
        let mut made = Self::default();
        inputs.into_iter().try_for_each(|(path, value)| made.push(&path, &value))?;
        made.finish()
    }

    /// The number of inputs.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All of them, each with its path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Value)> {
        self.entries.iter().map(|entry| (self.path(entry), self.value(entry)))
    }

    /// The value at this position.
    pub(super) fn get(&self, position: usize) -> Option<Value> {
        self.entries.get(position).map(|entry| self.value(entry))
    }

    /// The position of the input with this path. It is looked for at the `expected` one first.
    pub(super) fn find(&self, path: &str, expected: usize) -> Option<usize> {
        let is_it = |position: &usize| self.entries.get(*position).is_some_and(|entry| self.path(entry) == path);
        if is_it(&expected) {
            return Some(expected);
        }
        let hash = hash(path.as_bytes());
        let first = self.index.partition_point(|(other, _)| *other < hash);
        let same = self.index.iter().skip(first).take_while(|(other, _)| *other == hash);
        same.map(|(_, position)| *position as usize).find(is_it)
    }

    fn path(&self, entry: &Entry) -> &str {
        // Every path was put there as a whole.
        std::str::from_utf8(self.bytes(entry.path)).unwrap_or_default()
    }

    fn value(&self, entry: &Entry) -> Value {
        let bytes = self.bytes(entry.value);
        let text = || String::from_utf8_lossy(bytes).into_owned();
        match entry.kind {
            Kind::Text => Value::Text(text()),
            Kind::Digest => Value::Digest(text()),
            Kind::Content { executable } => Value::Content { executable, digest: bytes.try_into().unwrap_or_default() },
        }
    }

    fn bytes(&self, span: Span) -> &[u8] {
        let start = span.start as usize;
        self.bytes.get(start..start + span.length as usize).unwrap_or_default()
    }

    fn add(&mut self, bytes: &[u8]) -> Result<Span, TooMany> {
        let start = u32::try_from(self.bytes.len()).map_err(|_| TooMany)?;
        let length = u32::try_from(bytes.len()).map_err(|_| TooMany)?;
        self.bytes.extend_from_slice(bytes);
        Ok(Span { start, length })
    }

    /// Adds an input. The paths are found only after [`finish`](Self::finish).
    fn push(&mut self, path: &str, value: &Value) -> Result<(), TooMany> {
        let (kind, bytes) = match value {
            Value::Text(text) => (Kind::Text, text.as_bytes()),
            Value::Digest(text) => match Value::content_of(text) {
                Some(content) => return self.push(path, &content),
                None => (Kind::Digest, text.as_bytes()),
            },
            Value::Content { executable, digest } => (Kind::Content { executable: *executable }, digest.as_slice()),
            Value::Unknown { .. } => return Ok(()),
        };
        let (path, value) = (self.add(path.as_bytes())?, self.add(bytes)?);
        self.entries.push(Entry { path, value, kind });
        Ok(())
    }

    /// Makes the index, and one entry of all that have the same path.
    fn finish(mut self) -> Result<Self, TooMany> {
        self.make_index()?;
        let mut again = vec![false; self.entries.len()];
        for at in 0..self.index.len() {
            let (hash, last) = (self.index[at].0, self.index[at].1 as usize);
            let path = self.path(&self.entries[last]);
            // Entries of the same hash are in their order.
            let before = self.index[..at].iter().rev().take_while(|(other, _)| *other == hash);
            let first = before.map(|(_, position)| *position as usize);
            let first = first.filter(|&position| self.path(&self.entries[position]) == path).last();
            if let Some(first) = first {
                let Entry { value, kind, .. } = self.entries[last];
                self.entries[first] = Entry { value, kind, ..self.entries[first] };
                again[last] = true;
            }
        }
        if again.contains(&true) {
            let mut again = again.into_iter();
            self.entries.retain(|_| !again.next().unwrap_or_default());
            self.make_index()?;
        }
        Ok(self)
    }

    fn make_index(&mut self) -> Result<(), TooMany> {
        let count = u32::try_from(self.entries.len()).map_err(|_| TooMany)?;
        let hashes = self.entries.iter().map(|entry| hash(self.bytes(entry.path)));
        self.index = hashes.zip(0..count).collect();
        self.index.sort_unstable();
        Ok(())
    }
}

fn hash(path: &[u8]) -> u32 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    // Half of it is enough to find a few.
    hasher.finish() as u32
}

impl PartialEq for RecordedInputs {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for RecordedInputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for RecordedInputs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(path, value)| (path, value.recorded())))
    }
}

impl<'de> Deserialize<'de> for RecordedInputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OneByOne)
    }
}

/// Takes in inputs as they are read.
struct OneByOne;

impl<'de> Visitor<'de> for OneByOne {
    type Value = RecordedInputs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("inputs by path")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<RecordedInputs, M::Error> {
        let mut inputs = RecordedInputs::default();
        while let Some((path, value)) = map.next_entry::<String, Value>()? {
            inputs.push(&path, &value).map_err(M::Error::custom)?;
        }
        inputs.finish().map_err(M::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;
    use proptest::prelude::*;

    use super::super::explain::{Change, change, changes, gone};
    use super::super::{Group, Manifest};
    use super::*;

    /// What records were read into before: the plain form of the same.
    #[derive(Debug, Deserialize)]
    struct Plain {
        inputs: IndexMap<String, Value>,
    }

    fn plain_changes(before: &Plain, now: &Manifest) -> Vec<Change> {
        let mut seen = std::collections::HashSet::new();
        let mut found = Vec::new();
        for input in now.inputs() {
            let old = before.inputs.get(&input.path());
            seen.insert(input.path());
            if !matches!(input.value, Value::Unknown { .. }) && old != Some(&input.value.recorded()) {
                found.push(change(&input, old));
            }
        }
        let left = before.inputs.iter().filter(|(path, _)| !seen.contains(*path));
        found.extend(left.map(|(path, old)| gone(path, old)));
        found
    }

    fn manifest(inputs: &[(u8, String, u8)]) -> Manifest {
        let mut manifest = Manifest::new("build");
        for (sort, name, value) in inputs {
            let content = Value::Content { executable: value % 2 == 0, digest: [*value; 32] };
            match sort {
                0 => manifest.text(Group::Arg, name, value.to_string()),
                1 => manifest.digest(Group::Base, name, format!("sha256:{value}")),
                2 => manifest.digest(Group::File, name, content.text()),
                _ => manifest.push(Group::File, name, content),
            }
        }
        manifest
    }

    fn inputs() -> impl Strategy<Value = Vec<(u8, String, u8)>> {
        prop::collection::vec((0_u8..5, "[ab./\"é]{0,2}", 0_u8..3), 0..20)
    }

    proptest! {
        #[test]
        fn what_differs_is_what_differs_in_the_plain_form(before in inputs(), now in inputs()) {
            let (before, now) = (manifest(&before), manifest(&now));
            let text = serde_json::to_string(&before.record().unwrap()).unwrap();
            let plain: Plain = serde_json::from_str(&text).unwrap();
            let read: RecordedManifest = serde_json::from_reader(text.as_bytes()).unwrap();
            prop_assert_eq!(&read, &before.recorded().unwrap());
            let texts = |value: &Value| value.text().into_owned();
            prop_assert_eq!(
                read.inputs.iter().map(|(path, value)| (path.to_owned(), texts(&value))).collect::<Vec<_>>(),
                plain.inputs.iter().map(|(path, value)| (path.clone(), texts(value))).collect::<Vec<_>>()
            );
            prop_assert_eq!(serde_json::to_string(&read.inputs).unwrap(), serde_json::to_string(&plain.inputs).unwrap());
            prop_assert_eq!(changes(&read, &now), plain_changes(&plain, &now));
        }
    }

    #[test]
    fn a_file_takes_little() {
        assert_eq!(size_of::<Entry>(), 20);
        let content = Value::Content { executable: true, digest: [7; 32] };
        let odd = [content.text().to_uppercase(), "file b3:07".to_owned(), "file b3:+7".repeat(20)];
        for text in odd.iter().map(String::as_str).chain(["", "folder", "link b3:00"]) {
            assert_eq!(Value::content_of(text), None);
        }
        assert_eq!(Value::content_of(&content.text()), Some(content));
    }
}
