//! Everything that a task's decision follows from, as one hash, taken without reading a file.
//!
//! A file stands in it by what the system says of it, so equal facts mean equal contents exactly as far as the cache of
//! digests is to be trusted; and facts are only ever recorded when that cache trusts every file among them. Whatever is
//! not plain (a secret, an output of another step in the command) leaves no facts, and the task is looked at as usual.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, statat};

use super::World;
use super::task::add_needs;
use crate::config::{Run, Task as Spec, Value};
use crate::graph::StepIndex;
use crate::key::context::FileStat;
use crate::key::patterns::{Patterns, is_plain};
use crate::key::{Manifest, Value as Input};
use crate::store::{Proof, TaskView};

/// The version of the recipe.
///
/// - 1: the first.
const VERSION: u32 = 1;

struct Facts<'w> {
    world: &'w World,
    /// The folder that paths are relative to: the system walks from there and not from the root.
    root: &'w OwnedFd,
    /// Whether every file's digest has to be known.
    settled: bool,
    hasher: blake3::Hasher,
}

/// The facts about a task that ran before. With `settled`, only if the digest of every file in them is known.
pub(super) fn facts(world: &World, step: StepIndex, spec: &Spec, last: &TaskView<'_>, settled: bool) -> Option<Proof> {
    let root = world.root_folder()?;
    let mut facts = Facts { world, root, settled, hasher: blake3::Hasher::new() };
    facts.add(&VERSION.to_le_bytes());
    // A task's key may be another one in another version of the program.
    facts.add(env!("CARGO_PKG_VERSION").as_bytes());
    facts.spec(spec)?;
    facts.needs(step)?;
    facts.inputs(spec)?;
    facts.add(last.key.as_bytes());
    facts.add(last.effect.as_bytes());
    for (path, digest) in &last.outputs {
        facts.add(*digest);
        if !facts.file(path)? {
            return None;
        }
    }
    let mut proof = [0; 16];
    proof.copy_from_slice(&facts.hasher.finalize().as_bytes()[..16]);
    Some(proof)
}

impl Facts<'_> {
    fn add(&mut self, part: &[u8]) {
        self.hasher.update(&(part.len() as u32).to_le_bytes());
        self.hasher.update(part);
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

    /// What the steps that it needs put out, as its key has it.
    fn needs(&mut self, step: StepIndex) -> Option<()> {
        if self.world.graph().needs(step).is_empty() {
            return Some(());
        }
        let mut manifest = Manifest::new("task");
        add_needs(self.world, step, &mut manifest);
        for input in manifest.inputs() {
            self.add(input.path().as_bytes());
            match &input.value {
                Input::Unknown { .. } => return None,
                known => self.add(known.text().as_bytes()),
            }
        }
        Some(())
    }

    /// The files that it depends on.
    fn inputs(&mut self, spec: &Spec) -> Option<()> {
        if spec.inputs.iter().all(|pattern| is_plain(&pattern.value)) {
            return spec.inputs.iter().try_for_each(|file| self.file(&file.value).map(drop));
        }
        let patterns = Patterns::new(spec.inputs.iter().map(|pattern| &*pattern.value)).ok()?;
        for file in patterns.find(&self.world.stack().root).ok()?.files {
            self.add(file.path.as_bytes());
            self.stat(&file.stat)?;
        }
        Some(())
    }

    /// A file by its path. False if it is not there; nothing if it is no file.
    fn file(&mut self, path: &str) -> Option<bool> {
        self.add(path.as_bytes());
        match statat(self.root, path, AtFlags::empty()) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                self.stat(&FileStat::of_raw(&stat)).map(|()| true)
            }
            Ok(_) => None,
            Err(rustix::io::Errno::NOENT) => {
                self.add(b"absent");
                Some(false)
            }
            Err(_) => None,
        }
    }

    fn stat(&mut self, stat: &FileStat) -> Option<()> {
        if self.settled && self.world.digests().get(stat).is_none() {
            return None;
        }
        let FileStat { device, inode, size, modified_ns, changed_ns } = *stat;
        for number in [device, inode, size, modified_ns.cast_unsigned(), changed_ns.cast_unsigned()] {
            self.hasher.update(&number.to_le_bytes());
        }
        Some(())
    }
}
