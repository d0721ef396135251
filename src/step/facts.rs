//! Everything that a task's decision follows from, as one hash, taken without reading a file.
//!
//! A file stands in it by what the system says of it (of which the time of the last change of its metadata tells who may
//! execute it, too), so equal facts mean equal contents exactly as far as the cache of
//! digests is to be trusted; and facts are only ever recorded when that cache trusts every file among them. Whatever is
//! not plain (a secret, an output of another step in the command) leaves no facts, and the task is looked at as usual.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, readlinkat, statat};

use super::World;
use super::made::own_program;
use super::task::add_needs;
use crate::config::{Run, Task as Spec, Value};
use crate::graph::StepIndex;
use crate::key::context::{DigestCache, FileStat};
use crate::key::patterns::{Patterns, is_plain, target_text};
use crate::key::{Manifest, Value as Input};
use crate::store::{Proof, TaskView};

/// The version of the recipe.
///
/// - 1: the first.
/// - 2: what the needs put out comes last, by itself.
/// - 3: the keys hold who may execute a file, and links to folders.
/// - 4: links among the outputs, links that lead nowhere, and the task's own program.
const VERSION: u32 = 4;

/// The files beside a stack file, as the system describes them.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    /// The same folder, opened: the system walks from there and not from the root of everything.
    folder: OwnedFd,
}

impl Files {
    /// The files in this folder. Nothing if it can't be opened.
    pub(super) fn of(root: &Path) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Some(Self { root: root.to_owned(), folder: rustix::fs::open(root, flags, Mode::empty()).ok()? })
    }

    /// Looks at a task that ran before. Nothing if there are no facts about it, or what it printed was not kept.
    pub(super) fn see(&self, spec: &Spec, last: &TaskView<'_>) -> Option<Seen> {
        let stdout = last.stdout?.to_owned();
        Some(Seen { own: self.own_facts(spec, last, None)?, stdout, outputs: last.made() })
    }

    /// The facts about a task that ran before, except for what its needs put out: these can be taken before its turn. With
    /// `settled`, only if these digests know every file in them.
    pub(super) fn own_facts(&self, spec: &Spec, last: &TaskView<'_>, settled: Option<&DigestCache>) -> Option<Proof> {
        let mut facts = Facts { files: self, settled, bytes: Vec::with_capacity(512) };
        facts.add(&VERSION.to_le_bytes());
        // A task's key may be another one in another version of the program.
        facts.add(env!("CARGO_PKG_VERSION").as_bytes());
        facts.spec(spec)?;
        facts.inputs(spec)?;
        if let Some(program) = own_program(&self.root, spec) {
            facts.file(&program)?;
        }
        facts.add(last.key.as_bytes());
        facts.add(last.effect.as_bytes());
        for (path, made) in &last.outputs {
            facts.add(&made.digest);
            if !facts.file(path)? {
                return None;
            }
        }
        for (path, target) in &last.links {
            facts.add(path.as_bytes());
            if facts.link(path)? != *target {
                return None;
            }
        }
        Some(proof(&facts.bytes))
    }
}

struct Facts<'f> {
    files: &'f Files,
    /// These have to know the digest of every file.
    settled: Option<&'f DigestCache>,
    /// Hashed as a whole: a few hundred bytes, of which most parts are shorter than a block of the hash.
    bytes: Vec<u8>,
}

/// A task that ran before, looked at without its needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// The facts about itself.
    pub(super) own: Proof,
    /// What it printed.
    pub(super) stdout: String,
    /// How many files and links it made.
    pub(super) outputs: usize,
}

/// All facts about a task, made of its own and what the steps that it needs put out, as its key has it.
pub(super) fn facts(world: &World, step: StepIndex, own: Proof) -> Option<Proof> {
    if world.graph().needs(step).is_empty() {
        return Some(own);
    }
    let mut manifest = Manifest::new("task");
    add_needs(world, step, &mut manifest);
    let mut bytes = own.to_vec();
    for input in manifest.inputs() {
        add(&mut bytes, input.path().as_bytes());
        match &input.value {
            Input::Unknown { .. } => return None,
            known => add(&mut bytes, known.text().as_bytes()),
        }
    }
    Some(proof(&bytes))
}

fn proof(bytes: &[u8]) -> Proof {
    let mut proof = [0; 16];
    proof.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    proof
}

/// Adds a part, so that no two rows of parts are the same bytes.
fn add(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
    bytes.extend_from_slice(part);
}

impl Facts<'_> {
    fn add(&mut self, part: &[u8]) {
        add(&mut self.bytes, part);
    }

    /// What the stack file says.
    fn spec(&mut self, spec: &Spec) -> Option<()> {
        match &spec.run {
            Run::Argv(argv) => {
                self.add(&(argv.len() as u32).to_le_bytes());
                argv.iter().try_for_each(|word| word.as_literal().map(|word| self.add(word.as_bytes())))?;
            }
            Run::Shell(line) => {
                self.add(b"shell");
                self.add(line.as_literal()?.as_bytes());
            }
        }
        for (name, value) in &spec.env {
            self.add(name.as_bytes());
            match value {
                Value::Bool(value) => self.add(&[u8::from(*value)]),
                Value::Integer(value) => self.add(&value.to_le_bytes()),
                Value::Float(value) => self.add(&value.to_le_bytes()),
                Value::Template(text) => self.add(text.as_literal()?.as_bytes()),
                Value::List(_) | Value::Map(_) => return None,
            }
        }
        self.add(b"cwd");
        self.add(spec.cwd.as_ref().map_or("", |cwd| &cwd.text).as_bytes());
        for patterns in [&spec.inputs, &spec.outputs] {
            self.add(&(patterns.len() as u32).to_le_bytes());
            patterns.iter().for_each(|pattern| self.add(pattern.value.as_bytes()));
        }
        Some(())
    }

    /// The files that it depends on.
    fn inputs(&mut self, spec: &Spec) -> Option<()> {
        if spec.inputs.iter().all(|pattern| is_plain(&pattern.value)) {
            return spec.inputs.iter().try_for_each(|file| self.file(&file.value).map(drop));
        }
        let patterns = Patterns::new(spec.inputs.iter().map(|pattern| &*pattern.value)).ok()?;
        let found = patterns.find(&self.files.root).ok()?;
        for file in &found.files {
            self.add(file.path.as_bytes());
            self.stat(&file.stat)?;
        }
        self.add(b"links");
        for link in found.standing_links() {
            self.add(link.path.as_bytes());
            self.add(link.target.as_bytes());
            self.add(&[link.leads as u8]);
        }
        Some(())
    }

    /// What a link says. Nothing if it is none.
    fn link(&mut self, path: &str) -> Option<String> {
        let target = readlinkat(&self.files.folder, path, Vec::new()).ok()?;
        let target = target_text(Path::new(OsStr::from_bytes(target.to_bytes())));
        self.add(target.as_bytes());
        Some(target)
    }

    /// A file by its path. False if it is not there; nothing if it is no file.
    fn file(&mut self, path: &str) -> Option<bool> {
        self.add(path.as_bytes());
        match statat(&self.files.folder, path, AtFlags::empty()) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                self.stat(&FileStat::of_raw(&stat)).map(|()| true)
            }
            Ok(_) => None,
            Err(rustix::io::Errno::NOENT) => {
                self.add(b"absent");
                // It may be a link to nothing.
                let _ = self.link(path);
                Some(false)
            }
            Err(_) => None,
        }
    }

    fn stat(&mut self, stat: &FileStat) -> Option<()> {
        if self.settled.is_some_and(|digests| digests.get(stat).is_none()) {
            return None;
        }
        let FileStat { device, inode, size, modified_ns, changed_ns } = *stat;
        for number in [device, inode, size, modified_ns.cast_unsigned(), changed_ns.cast_unsigned()] {
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
        Some(())
    }
}
