//! Files that a task is going to make for a step that needs it: what they are now says nothing of what the step will find.
//!
//! Only who looks ahead meets them, as a plan does. In an apply everything that a step needs has been carried out before
//! the step is looked at.

use std::collections::HashSet;
use std::path::Path;

use super::output::Known;
use super::{Inspection, StepError, World};
use crate::config::{ChartSource, SecretSource, ValuesSource};
use crate::error::Class;
use crate::graph::{StepId, StepIndex, StepKind};
use crate::key::patterns::Patterns;
use crate::key::{Group, Manifest};
use crate::tools::helm;

/// A task that has yet to run, and the files that it makes.
pub(super) struct Awaited {
    task: StepId,
    pub(super) files: Patterns,
}

/// Those that a step needs, itself or through others.
pub(super) fn of_step(world: &World, step: StepIndex) -> Vec<Awaited> {
    let graph = world.graph();
    let mut awaited = Vec::new();
    let mut seen = HashSet::new();
    let mut todo = graph.needs(step).to_vec();
    while let Some(need) = todo.pop() {
        if !seen.insert(need) {
            continue;
        }
        todo.extend(graph.needs(need));
        let id = graph.id(need);
        if id.kind() == StepKind::Task
            && let Some((_, spec)) = world.task(need).filter(|(_, spec)| !spec.outputs.is_empty())
            // Who only asks which files matter has looked at no step.
            && matches!(world.output_of(need), Some(Known::After(_)))
            // Patterns that are none were refused with the stack file.
            && let Ok(files) = Patterns::new(spec.outputs.iter().map(|pattern| &*pattern.value))
        {
            awaited.push(Awaited { task: id.clone(), files });
        }
    }
    awaited
}

/// Adds to the inputs of a build or a chart that such a task makes something where it looks.
pub(super) fn add(world: &World, kind: StepKind, name: &str, manifest: &mut Manifest) {
    for Awaited { task, files } in of_reader(world, &StepId::new(kind, name)) {
        manifest.unknown(Group::Output, task.to_string(), task);
        manifest.awaits(files);
    }
}

/// What was found of a build or a chart; or that nothing can be said of it yet, when its files can't be read and such a
/// task makes some of them.
pub(super) fn or_unknown(
    world: &World,
    reader: &StepId,
    inspection: Result<Inspection, StepError>,
    unknown: impl FnOnce(&str, Manifest, StepId) -> Inspection,
) -> Result<Inspection, StepError> {
    match inspection {
        Err(error) if error.class == Class::Input => match of_reader(world, reader).into_iter().next() {
            Some(Awaited { task, .. }) => {
                tracing::debug!(%error, %reader, "nothing can be said of it yet");
                let mut manifest = Manifest::new(reader.kind().as_str());
                manifest.unknown(Group::Output, task.to_string(), task.clone());
                Ok(unknown(reader.name(), manifest, task))
            }
            None => Err(error),
        },
        other => other,
    }
}

fn of_reader(world: &World, reader: &StepId) -> Vec<Awaited> {
    let mut awaited = world.graph().find(reader).map(|step| of_step(world, step)).unwrap_or_default();
    if !awaited.is_empty() {
        let places = places(world, reader);
        awaited.retain(|awaited| places.iter().any(|place| awaited.files.may_be_in(place)));
    }
    awaited
}

/// The files and folders that a build or a chart is made from, by their paths in the folder of the stack file.
fn places(world: &World, reader: &StepId) -> Vec<String> {
    let stack = world.stack();
    let mut places = Vec::new();
    let mut put = |path: &Path| {
        let inside = path.strip_prefix(&stack.root).ok().and_then(Path::to_str);
        places.extend(inside.map(str::to_owned));
    };
    match reader.kind() {
        StepKind::Build => {
            let Some(spec) = stack.images.get(reader.name()) else { return places };
            put(&spec.context.absolute);
            put(&spec.dockerfile.absolute);
            for secret in &spec.secrets {
                if let SecretSource::File(path) = &secret.source {
                    put(&path.absolute);
                }
            }
        }
        StepKind::Chart => {
            let Some(spec) = stack.charts.get(reader.name()) else { return places };
            if let ChartSource::Path(path) = &spec.source {
                put(&path.absolute);
                helm::local_dependencies(&path.absolute).iter().for_each(|beside| put(&beside.folder));
            }
            for source in &spec.values {
                if let ValuesSource::File(path) = source {
                    put(&path.absolute);
                }
            }
            spec.set_file.values().for_each(|path| put(&path.absolute));
            let words = spec.post_render.iter().filter_map(|word| word.as_literal());
            words.for_each(|word| put(&stack.root.join(word)));
        }
        StepKind::Cluster | StepKind::Load | StepKind::Ready | StepKind::Task => {}
    }
    places
}
