//! What earlier runs on this machine left: hints that make the next run faster and better explained.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use foldhash::HashMap;
use serde::{Deserialize, Serialize, Serializer};

/// The version of the file's form.
///
/// - 1: the first.
/// - 2: only those outcomes that were not good.
/// - 3: manifests with their keys beside them.
/// - 4: manifests have a file of their own.
/// - 5: what is known of steps, by stack.
const VERSION: u32 = 5;

/// Hints from earlier runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The stack that is worked on.
    stack: String,
    /// What is known of its steps.
    pub own: Hints,
    /// The same for the other stacks in the folder, by name.
    others: BTreeMap<String, Hints>,
    /// Answers of tools that hold until the tool changes, by a name that says what they depend on.
    pub tools: BTreeMap<String, serde_json::Value>,
}

/// What is known of the steps of a stack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hints {
    /// For each step, how long it took when it last ran, in milliseconds.
    #[serde(serialize_with = "in_order")]
    pub durations: HashMap<String, u64>,
    /// For each step that was not done or skipped in the last run that was to reach it, how it ended.
    pub outcomes: BTreeMap<String, LastOutcome>,
    /// Tasks whose inputs changed while they ran the last time, so that what they made is made of nobody knows what.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub unsettled: BTreeSet<String>,
    /// The inputs that tasks wrote to the last time and left as they were.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub touched: BTreeMap<String, BTreeSet<String>>,
}

/// The hints as they are written.
#[derive(Serialize, Deserialize)]
struct Written<S, T> {
    stacks: S,
    tools: T,
}

/// How a step ended that was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LastOutcome {
    /// It failed.
    Failed,
    /// It was blocked or cancelled.
    NotReached,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    /// BLAKE3 of the content's JSON text, so that a torn or edited file is noticed.
    checksum: String,
    content: T,
}

impl Hints {
    /// The steps of which something is remembered.
    pub fn steps(&self) -> impl Iterator<Item = &str> {
        let steps = self.durations.keys().chain(self.outcomes.keys()).chain(&self.unsettled).chain(self.touched.keys());
        let steps: BTreeSet<_> = steps.map(String::as_str).collect();
        steps.into_iter()
    }

    /// Forgets these steps.
    pub fn forget(&mut self, steps: &[String]) {
        for step in steps {
            self.durations.remove(step);
            self.outcomes.remove(step);
            self.unsettled.remove(step);
            self.touched.remove(step);
        }
    }
}

impl State {
    /// The same, for work on this stack.
    #[must_use]
    pub fn of(mut self, stack: &str) -> Self {
        let last = std::mem::take(&mut self.own);
        if last != Hints::default() {
            self.others.insert(std::mem::take(&mut self.stack), last);
        }
        let own = self.others.remove(stack).unwrap_or_default();
        Self { stack: stack.to_owned(), own, ..self }
    }

    pub(super) fn read(path: &Path) -> (Self, Option<String>) {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return (Self::default(), None),
            Err(error) => return (Self::default(), Some(ignored(path, &error.to_string()))),
        };
        match parse(&bytes) {
            Ok(state) => (state, None),
            Err(why) => (Self::default(), Some(ignored(path, why))),
        }
    }

    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut stacks: BTreeMap<&str, &Hints> = self.others.iter().map(|(name, hints)| (&**name, hints)).collect();
        stacks.insert(&self.stack, &self.own);
        let text = serde_json::to_string(&Written { stacks, tools: &self.tools })?;
        let checksum = blake3::hash(text.as_bytes()).to_hex().to_string();
        let content = serde_json::value::RawValue::from_string(text)?;
        let bytes = serde_json::to_vec(&Versioned { version: VERSION, checksum, content })?;
        super::replace(path, &bytes)
    }
}

fn parse(bytes: &[u8]) -> Result<State, &'static str> {
    const DAMAGED: &str = "it is damaged";
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let file: Result<Versioned<&serde_json::value::RawValue>, _> = serde_json::from_slice(bytes);
    let version = match &file {
        Ok(file) => file.version,
        // Another version's file may have another form.
        Err(_) => serde_json::from_slice(bytes).map(|Version { version }| version).map_err(|_| DAMAGED)?,
    };
    if version != VERSION {
        return Err("it was written by another version of stack");
    }
    let file = file.map_err(|_| DAMAGED)?;
    if blake3::hash(file.content.get().as_bytes()).to_hex().as_str() != file.checksum {
        return Err(DAMAGED);
    }
    let Written { stacks, tools } = serde_json::from_str(file.content.get()).map_err(|_| DAMAGED)?;
    Ok(State { others: stacks, tools, ..State::default() })
}

/// Equal hints make equal files.
fn in_order<S: Serializer>(durations: &HashMap<String, u64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(durations.iter().collect::<BTreeMap<_, _>>())
}

pub(super) fn ignored(path: &Path, why: &str) -> String {
    format!("{} is ignored: {why}. It is only a cache and will be written again.", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> (tempfile::TempDir, std::path::PathBuf, State) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let mut state = State::default().of("a");
        state.own.durations.insert("build:a".to_owned(), 1200);
        state.write(&path).unwrap();
        (folder, path, state)
    }

    #[test]
    fn what_was_written_is_read() {
        let (_folder, path, state) = written();
        let (read, warning) = State::read(&path);
        assert_eq!((read.clone().of("a"), warning), (state.clone(), None));
        let other = read.of("b");
        assert_eq!(other.own, Hints::default());
        other.write(&path).unwrap();
        assert_eq!(State::read(&path).0.of("a").own, state.own, "another stack in the folder");
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_a_warned_miss() {
        let (_folder, path, state) = written();
        let good = std::fs::read(&path).unwrap();
        for length in 0..good.len() {
            std::fs::write(&path, &good[..length]).unwrap();
            let (read, warning) = State::read(&path);
            assert!(read == State::default() && warning.is_some(), "cut to {length} bytes");
        }
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 0x20;
            std::fs::write(&path, &bad).unwrap();
            let (read, warning) = State::read(&path);
            assert!(warning.is_some() || read.of("a") == state, "byte {position} flipped and believed");
        }
    }

    #[test]
    fn a_newer_version_is_a_warned_miss() {
        let (_folder, path, _) = written();
        let text = std::fs::read_to_string(&path)
            .unwrap()
            .replace(&format!("\"version\":{VERSION}"), &format!("\"version\":{}", VERSION + 1));
        std::fs::write(&path, text).unwrap();
        let (read, warning) = State::read(&path);
        assert_eq!(read, State::default());
        assert!(warning.unwrap().contains("another version"));
    }
}
