//! The manifest: everything that a step depends on, listed once, as named inputs.
//!
//! Two readers walk the same list: [`Manifest::key`] hashes it, and [`super::changes`] compares it with an earlier one.
//! So the explanation of a key can never disagree with the key. A manifest is also what a record keeps, which is why no
//! value in it may be secret: secrets enter as [`SecretDigest`].

use std::borrow::Cow;
use std::fmt;

use indexmap::IndexMap;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::graph::StepId;

/// The version of the key's recipe. Every step runs again when it changes, so it changes only when the old keys could
/// be wrong.
///
/// - 1: the first recipe.
const VERSION: u32 = 1;

/// Bytes that are hashed at a time.
const PIECE: usize = 64 * 1024;

/// What sort of input it is; decides how a change of it is told to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// How the step is done: a target, a platform, a tool's major version.
    Setting,
    /// A build argument.
    Arg,
    /// A secret, by keyed digest.
    Secret,
    /// A base image, by the digest it resolves to.
    Base,
    /// An image of this stack, by its ID.
    Image,
    /// A value that a chart is installed with.
    Value,
    /// A file, by kind, mode and content.
    File,
    /// Where the effect goes: a cluster's identity, a namespace, a release's name.
    Target,
    /// The output of another step.
    Output,
    /// An environment variable named in the stack file.
    Env,
}

/// The value of an input.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    /// Text that may be shown.
    Text(String),
    /// A digest, shown shortened.
    Digest(String),
    /// A file, by its content; a record keeps the same as a digest in text. There may be a hundred thousand of them.
    #[serde(skip)]
    Content {
        /// Whether it may be executed.
        executable: bool,
        /// The BLAKE3 digest of what is in it.
        digest: [u8; 32],
    },
    /// Not known yet: the output of a step that has not run.
    #[serde(skip)]
    Unknown {
        /// The step whose output it is.
        because: StepId,
    },
}

impl Value {
    /// The value as a person reads it; digests shortened to 12 digits.
    pub fn shown(&self) -> String {
        match self {
            Self::Digest(digest) => short_digest(digest),
            Self::Content { .. } => short_digest(&self.text()),
            Self::Text(_) | Self::Unknown { .. } => self.text().into_owned(),
        }
    }

    /// The whole value.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) | Self::Digest(text) => Cow::Borrowed(text),
            Self::Content { executable, digest } => {
                let kind = if *executable { "executable" } else { "file" };
                Cow::Owned(format!("{kind} b3:{}", blake3::Hash::from_bytes(*digest).to_hex()))
            }
            Self::Unknown { because } => Cow::Owned(format!("(known after {because})")),
        }
    }

    /// The value as a record keeps it.
    fn recorded(&self) -> Self {
        match self {
            Self::Content { .. } => Self::Digest(self.text().into_owned()),
            Self::Text(_) | Self::Digest(_) | Self::Unknown { .. } => self.clone(),
        }
    }

    /// Whether a record that has this value means the same.
    pub(super) fn is_recorded_as(&self, recorded: &Self) -> bool {
        match (self, recorded) {
            (Self::Content { .. }, Self::Digest(text)) => self.text() == *text,
            _ => self == recorded,
        }
    }
}

/// `sha256:0123…` cut to 12 hexadecimal digits, the form in which Docker shows image IDs.
fn short_digest(digest: &str) -> String {
    match digest.split_once(':') {
        Some((algorithm, hex)) => format!("{algorithm}:{}", hex.get(..12).unwrap_or(hex)),
        None => digest.get(..12).unwrap_or(digest).to_owned(),
    }
}

/// One named input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Its sort.
    pub group: Group,
    /// Its name within the group: a path, an argument, a dotted value path.
    pub name: String,
    /// Its value.
    pub value: Value,
}

impl Input {
    /// The name under which the input stands in records and JSON: `arg.PYTHON_VERSION`, `file.app/main.py`.
    pub fn path(&self) -> String {
        path(self.group, &self.name)
    }
}

fn path(group: Group, name: &str) -> String {
    format!("{}.{name}", group.as_str())
}

impl Group {
    /// Its name in paths.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Setting => "setting",
            Self::Arg => "arg",
            Self::Secret => "secret",
            Self::Base => "base",
            Self::Image => "image",
            Self::Value => "value",
            Self::File => "file",
            Self::Target => "target",
            Self::Output => "output",
            Self::Env => "env",
        }
    }
}

/// A secret as it may stand in a manifest: equal for equal secrets, useless without the secret's neighbours.
///
/// The digest is keyed by the stack's name and the input's name and shortened to 64 bits, so that one table of digests
/// does not serve against every stack, and equal secrets in two places do not look equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretDigest(String);

impl SecretDigest {
    /// The digest of a secret's bytes.
    pub fn of_bytes(stack: &str, input: &str, secret: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("stack 2026-11 digest of a secret input");
        for part in [stack.as_bytes(), input.as_bytes(), secret] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(format!("keyed:{}", &hasher.finalize().to_hex()[..16]))
    }

    /// The digest of a secret text.
    pub fn of(stack: &str, input: &str, secret: &SecretString) -> Self {
        Self::of_bytes(stack, input, secret.expose_secret().as_bytes())
    }
}

impl From<SecretDigest> for Value {
    fn from(digest: SecretDigest) -> Self {
        Self::Digest(digest.0)
    }
}

/// The digest of a manifest: equal keys, equal work.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// The first 16 hexadecimal digits, as they stand in the tag `k-…` of an image.
    pub fn short(&self) -> &str {
        self.0.get(..16).unwrap_or(&self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// All that a step depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    kind: &'static str,
    inputs: Vec<Input>,
    /// Why the key can't say everything, such as a remote file without a checksum. One sentence each.
    unknowable: Vec<String>,
    /// Remarks for `why`, which are no inputs.
    notes: Vec<String>,
}

impl Manifest {
    /// An empty manifest for a step of this kind.
    pub fn new(kind: &'static str) -> Self {
        Self { kind, inputs: Vec::new(), unknowable: Vec::new(), notes: Vec::new() }
    }

    /// Adds an input whose text may be shown.
    pub fn text(&mut self, group: Group, name: impl Into<String>, value: impl Into<String>) {
        self.push(group, name, Value::Text(value.into()));
    }

    /// Adds an input by its digest.
    pub fn digest(&mut self, group: Group, name: impl Into<String>, digest: impl Into<String>) {
        self.push(group, name, Value::Digest(digest.into()));
    }

    /// Adds a secret input.
    pub fn secret(&mut self, group: Group, name: impl Into<String>, digest: SecretDigest) {
        self.push(group, name, digest.into());
    }

    /// Adds an input that is not known before another step has run.
    pub fn unknown(&mut self, group: Group, name: impl Into<String>, because: StepId) {
        self.push(group, name, Value::Unknown { because });
    }

    /// Adds an input.
    pub fn push(&mut self, group: Group, name: impl Into<String>, value: Value) {
        self.inputs.push(Input { group, name: name.into(), value });
    }

    /// Says that something which matters can't be known.
    pub fn cannot_know(&mut self, sentence: impl Into<String>) {
        self.unknowable.push(sentence.into());
    }

    /// Adds a remark for `why`.
    pub fn note(&mut self, sentence: impl Into<String>) {
        self.notes.push(sentence.into());
    }

    /// What can't be known, one sentence each.
    pub fn unknowable(&self) -> &[String] {
        &self.unknowable
    }

    /// Remarks for `why`.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The inputs, in the order in which they were added.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// The first step whose output is still missing, if any is.
    pub fn waits_for(&self) -> Option<&StepId> {
        self.inputs.iter().find_map(|input| match &input.value {
            Value::Unknown { because } => Some(because),
            Value::Text(_) | Value::Digest(_) | Value::Content { .. } => None,
        })
    }

    /// The key, or nothing while an input is unknown. It does not depend on the order of the inputs.
    pub fn key(&self) -> Option<Key> {
        let mut inputs: Vec<_> = self.inputs.iter().collect();
        inputs.sort_by(|a, b| (a.group, &a.name).cmp(&(b.group, &b.name)));
        let mut hasher = blake3::Hasher::new();
        // Large pieces are hashed several times faster than small ones.
        let mut buffer = Vec::with_capacity(2 * PIECE);
        let mut add = |parts: &[&[u8]]| {
            let length: usize = parts.iter().map(|part| part.len()).sum();
            buffer.extend_from_slice(&(length as u64).to_le_bytes());
            parts.iter().for_each(|part| buffer.extend_from_slice(part));
            if buffer.len() >= PIECE {
                hasher.update(&buffer);
                buffer.clear();
            }
        };
        add(&[&VERSION.to_le_bytes()]);
        add(&[self.kind.as_bytes()]);
        for input in inputs {
            let path = [input.group.as_str().as_bytes(), b".", input.name.as_bytes()];
            add(&path);
            match &input.value {
                Value::Text(text) => {
                    add(&[b"text"]);
                    add(&[text.as_bytes()]);
                }
                Value::Digest(digest) => {
                    add(&[b"digest"]);
                    add(&[digest.as_bytes()]);
                }
                // The same as the text that a record keeps, without making it.
                Value::Content { executable, digest } => {
                    let kind: &[u8] = if *executable { b"executable b3:" } else { b"file b3:" };
                    add(&[b"digest"]);
                    add(&[kind, blake3::Hash::from_bytes(*digest).to_hex().as_bytes()]);
                }
                Value::Unknown { .. } => return None,
            }
        }
        hasher.update(&buffer);
        Some(Key(hasher.finalize().to_hex().to_string()))
    }

    /// The form that records keep, or nothing while an input is unknown.
    pub fn recorded(&self) -> Option<RecordedManifest> {
        let key = self.key()?;
        let inputs = self.inputs.iter().map(|input| (input.path(), input.value.recorded())).collect();
        Some(RecordedManifest { version: VERSION, key, inputs })
    }
}

/// A manifest as records keep it: what the last applied state was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedManifest {
    /// The recipe's version.
    pub version: u32,
    /// The key.
    pub key: Key,
    /// The inputs by path.
    pub inputs: IndexMap<String, Value>,
}

impl RecordedManifest {
    /// Whether it was made by another recipe, so that its inputs say nothing about a difference.
    pub fn is_other_version(&self) -> bool {
        self.version != VERSION
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(inputs: &[(Group, &str, &str)]) -> Manifest {
        let mut manifest = Manifest::new("build");
        for (group, name, value) in inputs {
            manifest.text(*group, *name, *value);
        }
        manifest
    }

    #[test]
    fn order_does_not_count_and_boundaries_do() {
        let key = |inputs: &[_]| manifest(inputs).key().unwrap();
        let (a, b) = ((Group::Arg, "A", "1"), (Group::File, "a", "2"));
        assert_eq!(key(&[a, b]), key(&[b, a]));
        assert_ne!(key(&[(Group::Arg, "A", "12")]), key(&[(Group::Arg, "A1", "2")]));
        assert_ne!(key(&[(Group::Arg, "A", "1")]), key(&[(Group::Env, "A", "1")]));
        assert_ne!(key(&[]), key(&[a]));
    }

    #[test]
    fn text_and_digest_of_the_same_letters_differ() {
        let mut text = Manifest::new("build");
        text.text(Group::Arg, "A", "x");
        let mut digest = Manifest::new("build");
        digest.digest(Group::Arg, "A", "x");
        assert_ne!(text.key(), digest.key());
        assert_ne!(Manifest::new("build").key(), Manifest::new("chart").key());
    }

    #[test]
    fn an_unknown_input_leaves_no_key() {
        let mut manifest = manifest(&[(Group::Arg, "A", "1")]);
        manifest.unknown(Group::Image, "backend", StepId::new(crate::graph::StepKind::Build, "backend"));
        assert_eq!(manifest.key(), None);
        assert_eq!(manifest.waits_for().unwrap().to_string(), "build:backend");
    }

    #[test]
    fn a_secret_digest_depends_on_all_three_and_shows_nothing() {
        let digest = |stack, input, secret: &str| SecretDigest::of(stack, input, &SecretString::from(secret));
        let one = digest("todo", "arg.TOKEN", "hunter2");
        assert_eq!(one, digest("todo", "arg.TOKEN", "hunter2"));
        assert_ne!(one, digest("todo", "arg.TOKEN", "hunter3"));
        assert_ne!(one, digest("todo", "arg.OTHER", "hunter2"));
        assert_ne!(one, digest("other", "arg.TOKEN", "hunter2"));
        assert!(!one.0.contains("hunter2"));
    }

    #[test]
    fn a_record_survives_being_written_and_read() {
        let mut manifest = manifest(&[(Group::Arg, "A", "1")]);
        manifest.digest(Group::File, "b c", "blake3:00ff");
        let recorded = manifest.recorded().unwrap();
        let text = serde_json::to_string(&recorded).unwrap();
        assert_eq!(serde_json::from_str::<RecordedManifest>(&text).unwrap(), recorded);
    }
}
