//! The manifest: everything that a step depends on, listed once, as named inputs.
//!
//! Two readers walk the same list: [`Manifest::key`] hashes it, and [`super::changes`] compares it with an earlier one.
//! So the explanation of a key can never disagree with the key. A manifest is also what a record keeps, which is why no
//! value in it may be secret: secrets enter as [`SecretDigest`].

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use super::patterns::Patterns;
use super::recorded::{RecordedInputs, RecordedManifest};
use crate::graph::StepId;
use crate::model::tree::{FileEntry, FileKind, FileTree};

/// The version of the key's recipe. Every step runs again when it changes, so it changes only when the old keys could
/// be wrong.
///
/// - 1: the first recipe.
/// - 2: of a chart's values their type, their order and their place count.
pub(super) const VERSION: u32 = 2;

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
    /// What says how an image is built: its Dockerfile and its ignore file, by content. A file of the context may be the same
    /// one, and be an input of its own.
    Definition,
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
    /// What stands for a file, folder or link of a tree: `file b3:…`, `executable b3:…`, `folder`, `link ../target`; for a
    /// file that runs as its owner or group `4000 executable b3:…`.
    pub fn of_entry(entry: &FileEntry<'_>) -> Self {
        match entry.kind {
            FileKind::File => {
                let digest = entry.digest.copied().unwrap_or_default();
                let content = Self::Content { executable: entry.is_executable(), digest };
                match entry.set_id() {
                    0 => content,
                    bits => Self::Digest(format!("{bits:o} {}", content.text())),
                }
            }
            FileKind::Folder => Self::Digest("folder".to_owned()),
            FileKind::Symlink { target } => Self::Digest(format!("link {target}")),
        }
    }

    /// The value as a person reads it, on one line; digests shortened to 12 digits.
    pub fn shown(&self) -> String {
        match self {
            Self::Text(text) if text.contains(char::is_control) => format!("{text:?}"),
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
    pub(super) fn recorded(&self) -> Self {
        match self {
            Self::Content { .. } => Self::Digest(self.text().into_owned()),
            Self::Text(_) | Self::Digest(_) | Self::Unknown { .. } => self.clone(),
        }
    }

    /// Whether a record that has this value means the same.
    pub(super) fn is_recorded_as(&self, recorded: &Self) -> bool {
        match (self, recorded) {
            (Self::Content { .. }, Self::Digest(_)) | (Self::Digest(_), Self::Content { .. }) => {
                self.text() == recorded.text()
            }
            _ => self == recorded,
        }
    }

    /// The content that a record means with this digest, if it is a file's.
    pub(super) fn content_of(text: &str) -> Option<Self> {
        let (kind, digits) = text.split_once(" b3:")?;
        let executable = match kind {
            "file" => false,
            "executable" => true,
            _ => return None,
        };
        let digest = *blake3::Hash::from_hex(digits).ok()?.as_bytes();
        // Capital letters would not come out as they went in.
        (hex(&digest) == *digits.as_bytes()).then_some(Self::Content { executable, digest })
    }
}

/// `sha256:0123…` cut to 12 hexadecimal digits, the form in which Docker shows image IDs. Where a link points to stays whole.
fn short_digest(digest: &str) -> String {
    if digest.starts_with("link ") {
        return digest.to_owned();
    }
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
    /// The input that a file, folder or link of a tree is.
    fn of_entry(entry: &FileEntry<'_>) -> Self {
        Self { group: Group::File, name: entry.path(), value: Value::of_entry(entry) }
    }

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
            Self::Definition => "definition",
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
#[derive(Debug, Clone)]
pub struct Manifest {
    kind: &'static str,
    inputs: Vec<Input>,
    tree: Option<Tree>,
    /// Why the key can't say everything, such as a remote file without a checksum. One sentence each.
    unknowable: Vec<String>,
    /// Remarks for `why`, which are no inputs.
    notes: Vec<String>,
    /// Files that are going to be made anew: what they are now is no difference.
    awaited: Vec<Patterns>,
    /// Made when somebody first asks for it.
    key: OnceLock<Option<Key>>,
}

/// The files of a build's context. There may be a hundred thousand of them, which stay as they were walked: each is made
/// an [`Input`] only for whoever looks at it by itself.
#[derive(Debug, Clone)]
struct Tree {
    files: Arc<FileTree>,
    /// How many inputs were added before them.
    position: usize,
}

impl Manifest {
    /// An empty manifest for a step of this kind.
    pub fn new(kind: &'static str) -> Self {
        Self {
            kind,
            inputs: Vec::new(),
            tree: None,
            unknowable: Vec::new(),
            notes: Vec::new(),
            awaited: Vec::new(),
            key: OnceLock::new(),
        }
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
        self.key.take();
        self.inputs.push(Input { group, name: name.into(), value });
    }

    /// Adds everything in a tree, each as a file. There is one tree; a second takes the place of the first.
    pub fn tree(&mut self, files: Arc<FileTree>) {
        self.key.take();
        self.tree = Some(Tree { files, position: self.inputs.len() });
    }

    /// Says that something which matters can't be known.
    pub fn cannot_know(&mut self, sentence: impl Into<String>) {
        self.unknowable.push(sentence.into());
    }

    /// Says that a step which has not run yet makes these files. What is not known because of it is an input by itself.
    pub fn awaits(&mut self, files: Patterns) {
        self.awaited.push(files);
    }

    /// Whether an input is a file that has yet to be made, by its [path](Input::path).
    pub(super) fn is_awaited(&self, path: &str) -> bool {
        !self.awaited.is_empty()
            && path
                .strip_prefix("file.")
                .is_some_and(|file| self.awaited.iter().any(|files| files.matches(file.trim_start_matches("./"))))
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
    pub fn inputs(&self) -> impl Iterator<Item = Cow<'_, Input>> {
        let (before, after) = self.inputs.split_at(self.tree.as_ref().map_or(0, |tree| tree.position));
        let files = self.files(FileTree::iter).map(|entry| Cow::Owned(Input::of_entry(&entry)));
        before.iter().map(Cow::Borrowed).chain(files).chain(after.iter().map(Cow::Borrowed))
    }

    /// The inputs that are a file, folder or link of the tree, in an order of the tree's.
    fn files<'a, I: Iterator<Item = FileEntry<'a>>>(
        &'a self,
        order: impl FnOnce(&'a FileTree) -> I,
    ) -> impl Iterator<Item = FileEntry<'a>> {
        self.tree.as_ref().map(|tree| order(&tree.files)).into_iter().flatten()
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
        self.key.get_or_init(|| self.make_key()).clone()
    }

    fn make_key(&self) -> Option<Key> {
        let mut inputs: Vec<(usize, &Input)> = self.inputs.iter().enumerate().collect();
        inputs.sort_by(|(_, a), (_, b)| (a.group, &a.name).cmp(&(b.group, &b.name)));
        let mut inputs = inputs.into_iter().peekable();
        let mut hasher = KeyHasher::new(self.kind);
        let mut path = String::new();
        for entry in self.files(FileTree::by_path) {
            path.clear();
            entry.write_path(&mut path);
            // Of two with the same name, the one that was added first comes first.
            let position = self.tree.as_ref().map_or(0, |tree| tree.position);
            let comes_before = |(at, input): &(usize, &Input)| {
                (input.group, input.name.as_str()).cmp(&(Group::File, &path)).then(at.cmp(&position)).is_lt()
            };
            while let Some((_, input)) = inputs.next_if(comes_before) {
                hasher.input(input)?;
            }
            hasher.entry(&path, &entry);
        }
        inputs.try_for_each(|(_, input)| hasher.input(input))?;
        Some(hasher.finish())
    }

    /// The form that records keep, or nothing while an input is unknown.
    pub fn recorded(&self) -> Option<RecordedManifest> {
        let key = self.key()?;
        let inputs = self.inputs().map(|input| (input.path(), input.into_owned().value));
        Some(RecordedManifest { version: VERSION, key, inputs: RecordedInputs::of(inputs).ok()? })
    }

    /// The same to be written, without being made; or nothing while an input is unknown.
    pub fn record(&self) -> Option<Record<'_>> {
        Some(Record { version: VERSION, key: self.key()?, inputs: Inputs(self) })
    }
}

/// A manifest as it is written to a record. It is read as a [`RecordedManifest`].
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    version: u32,
    /// The key.
    pub key: Key,
    inputs: Inputs<'a>,
}

#[derive(Debug)]
struct Inputs<'a>(&'a Manifest);

impl Serialize for Inputs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.inputs().map(|input| (input.path(), input.value.recorded())))
    }
}

/// What makes a key of inputs in their order. Every part is preceded by its length.
struct KeyHasher {
    hasher: blake3::Hasher,
    /// Large pieces are hashed several times faster than small ones.
    buffer: Vec<u8>,
}

impl KeyHasher {
    fn new(kind: &str) -> Self {
        let mut hasher = Self { hasher: blake3::Hasher::new(), buffer: Vec::with_capacity(2 * PIECE) };
        hasher.add(&[&VERSION.to_le_bytes()]);
        hasher.add(&[kind.as_bytes()]);
        hasher
    }

    /// Adds one part, which is told in pieces.
    fn add(&mut self, pieces: &[&[u8]]) {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        self.buffer.extend_from_slice(&(length as u64).to_le_bytes());
        pieces.iter().for_each(|piece| self.buffer.extend_from_slice(piece));
        if self.buffer.len() >= PIECE {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
    }

    fn name(&mut self, group: Group, name: &str) {
        self.add(&[group.as_str().as_bytes(), b".", name.as_bytes()]);
    }

    /// Nothing if it is unknown.
    fn input(&mut self, input: &Input) -> Option<()> {
        self.name(input.group, &input.name);
        match &input.value {
            Value::Text(text) => {
                self.add(&[b"text"]);
                self.add(&[text.as_bytes()]);
            }
            Value::Digest(digest) => self.digest(&[digest.as_bytes()]),
            Value::Content { executable, digest } => self.content(*executable, digest),
            Value::Unknown { .. } => return None,
        }
        Some(())
    }

    /// The same as for [`Input::of_entry`], without making it.
    fn entry(&mut self, path: &str, entry: &FileEntry<'_>) {
        self.name(Group::File, path);
        match entry.kind {
            FileKind::File if entry.set_id() != 0 => self.digest(&[Value::of_entry(entry).text().as_bytes()]),
            FileKind::File => self.content(entry.is_executable(), &entry.digest.copied().unwrap_or_default()),
            FileKind::Folder => self.digest(&[b"folder"]),
            FileKind::Symlink { target } => self.digest(&[b"link ", target.as_bytes()]),
        }
    }

    fn digest(&mut self, pieces: &[&[u8]]) {
        self.add(&[b"digest"]);
        self.add(pieces);
    }

    /// The same as for the text that a record keeps, without making it.
    fn content(&mut self, executable: bool, digest: &[u8; 32]) {
        let kind: &[u8] = if executable { b"executable b3:" } else { b"file b3:" };
        self.digest(&[kind, &hex(digest)]);
    }

    fn finish(mut self) -> Key {
        self.hasher.update(&self.buffer);
        Key(self.hasher.finalize().to_hex().to_string())
    }
}

/// A digest in hexadecimal digits. Written so that all of them are made at once: there are a hundred thousand digests.
fn hex(digest: &[u8; 32]) -> [u8; 64] {
    let digit = |nibble: u8| nibble + if nibble < 10 { b'0' } else { b'a' - 10 };
    let mut hex = [0; 64];
    for (pair, byte) in hex.as_chunks_mut::<2>().0.iter_mut().zip(digest) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
    hex
}

#[cfg(test)]
mod tests;
