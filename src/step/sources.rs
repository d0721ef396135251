//! The files behind a step: what its key says of them, and where to watch for others.
//!
//! Which files matter is read off the step's own manifest, so that whoever watches can't disagree with the key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{StepError, World, build, chart, task};
use crate::graph::{StepId, StepIndex, StepKind};
use crate::key::patterns::folders_below;
use crate::key::{Group, Manifest, Value, files};
use crate::process::Cancel;

/// The files behind steps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// What the keys hold of files, by step and name.
    pub inputs: BTreeMap<String, Seen>,
    /// The folders in which something may change, or appear, that matters.
    pub folders: BTreeSet<PathBuf>,
}

/// What a key holds of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Where it is.
    pub path: PathBuf,
    /// Its digest, or the like.
    pub value: String,
}

impl Sources {
    /// Adds what stands behind a step. Its files may be large: `cancel` ends their reading.
    ///
    /// # Errors
    /// When an input can't be read.
    pub async fn add(&mut self, world: &World, step: StepIndex, cancel: &Cancel) -> Result<(), StepError> {
        let id = world.graph().id(step);
        let mut found = Vec::new();
        let mut root = world.stack().root.clone();
        let manifest = match id.kind() {
            // A load and a check have no files of their own, and the cluster has none.
            StepKind::Cluster | StepKind::Load | StepKind::Ready => return Ok(()),
            StepKind::Build => {
                let manifest = build::sources(world, id.name(), &mut found, cancel).await?;
                // Names of a build's files are those in its context, whose folder comes first.
                root = found.first().cloned().unwrap_or(root);
                manifest
            }
            StepKind::Chart => chart::sources(world, id.name(), &mut found).await?,
            StepKind::Task => {
                tokio::task::block_in_place(|| task::sources(world, step, id.name(), &mut found, cancel))?
            }
        };
        self.folders.extend(found);
        let files = manifest.inputs().filter(|i| matches!(i.group, Group::Definition | Group::File | Group::Secret));
        self.inputs.extend(files.map(|input| {
            let value = input.value.text().into_owned();
            let mut path = root.join(&input.name);
            // A Dockerfile may lie beside the context.
            if input.group == Group::Definition && !path.exists() {
                path = world.stack().root.join(&input.name);
            }
            (format!("{id} {}", input.path()), Seen { path, value })
        }));
        Ok(())
    }

    /// Adds that a step's inputs can't be read, and why.
    pub fn add_failure(&mut self, step: &StepId, error: &StepError) {
        self.inputs.insert(step.to_string(), Seen { path: PathBuf::new(), value: error.reason.clone() });
    }

    /// Takes over from a later look what the tasks themselves made: that is no change to act upon.
    pub fn accept_made(&mut self, world: &World, later: &Self) {
        let tasks = world.stack().tasks.keys().filter_map(|task| world.tasks().get(task));
        let root = &world.stack().root;
        let mut made: BTreeSet<PathBuf> = BTreeSet::new();
        for task in tasks {
            made.extend(task.outputs.iter().map(|(path, _)| root.join(path)));
            made.extend(task.links.iter().map(|(path, _)| root.join(path)));
        }
        let theirs = later.inputs.iter().filter(|(_, seen)| made.contains(&seen.path));
        self.inputs.extend(theirs.map(|(name, seen)| (name.clone(), seen.clone())));
    }

    /// Adds a file by itself: the stack file. One that can't be read counts as empty.
    pub fn add_file(&mut self, path: &Path) {
        let value = files::digest_bytes(&std::fs::read(path).unwrap_or_default());
        self.inputs.insert(path.display().to_string(), Seen { path: path.to_owned(), value });
        self.folders.extend(path.parent().map(Path::to_owned));
    }
}

/// The folders of a manifest's own tree: those that it lists below `root`, and `root`.
pub(super) fn listed_folders(manifest: &Manifest, root: &Path, found: &mut Vec<PathBuf>) {
    found.push(root.to_owned());
    let folders = manifest.inputs().filter(|input| match &input.value {
        Value::Text(text) | Value::Digest(text) => text == "folder",
        Value::Content { .. } | Value::Unknown { .. } => false,
    });
    found.extend(folders.map(|input| root.join(&input.name)));
}

/// The folder that a file is in.
pub(super) fn folder_of(file: &Path, found: &mut Vec<PathBuf>) {
    found.extend(file.parent().map(Path::to_owned));
}

/// Every folder of a tree.
pub(super) fn whole_tree(folder: &Path, found: &mut Vec<PathBuf>) {
    folders_below(folder, usize::MAX, found);
}
