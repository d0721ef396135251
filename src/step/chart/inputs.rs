//! The inputs of a chart step: everything that could change what Helm installs, listed once, and the values that Helm gets.

use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;
use serde_json::{Map, Value as Json};

use super::super::output::Known;
use super::super::sources::{folder_of, whole_tree};
use super::super::{StepError, World, values};
use crate::config::{Chart as Spec, ChartSource as Source, ValuesSource};
use crate::error::Class;
use crate::key::{Group, Manifest, files};
use crate::tools::helm;

/// The values that Helm gets, secrets included: they show themselves to nobody.
#[derive(Clone)]
pub(super) struct HelmValues(pub(super) Json);

impl std::fmt::Debug for HelmValues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HelmValues(..)")
    }
}

/// Lists the inputs, and merges the values of `set` and its kin; no values while some are not known.
pub(super) async fn collect(
    world: &World,
    name: &str,
    spec: &Spec,
) -> Result<(Manifest, Option<HelmValues>), StepError> {
    let mut manifest = Manifest::new("chart");
    match world.cluster_uid() {
        Known::Yes(uid) => manifest.text(Group::Target, "cluster", uid),
        Known::After(step) => manifest.unknown(Group::Target, "cluster", step),
    }
    manifest.text(Group::Target, "namespace", &spec.namespace);
    manifest.text(Group::Target, "release", &spec.release);
    manifest.text(Group::Setting, "helm", world.helm().await?.major().to_string());
    source(&mut manifest, spec)?;
    for source in &spec.values {
        match source {
            ValuesSource::File(path) => {
                manifest.digest(Group::File, &path.text, files::digest(&path.absolute).map_err(unreadable)?);
            }
            ValuesSource::Url(url) => {
                manifest.text(Group::Setting, "values", url);
                manifest.cannot_know(format!("{url} is fetched by Helm: whether it changed can't be known"));
            }
        }
    }
    post_render(world, &mut manifest, spec)?;
    for (label, value) in &spec.namespace_labels {
        values::add(world, &mut manifest, Group::Setting, &format!("namespace label {label}"), value);
    }
    let values = merged(world, name, spec, &mut manifest)?;
    Ok((manifest, values))
}

/// See [`crate::step::Sources`].
pub(in crate::step) async fn sources(
    world: &World,
    name: &str,
    folders: &mut Vec<PathBuf>,
) -> Result<Manifest, StepError> {
    let spec = super::spec(world, name)?;
    if let Source::Path(path) = &spec.source {
        whole_tree(&path.absolute, folders);
        helm::local_dependencies(&path.absolute).iter().for_each(|beside| whole_tree(&beside.folder, folders));
    }
    for source in &spec.values {
        if let ValuesSource::File(path) = source {
            folder_of(&path.absolute, folders);
        }
    }
    spec.set_file.values().for_each(|path| folder_of(&path.absolute, folders));
    Ok(collect(world, name, spec).await?.0)
}

fn unreadable(error: files::FilesError) -> StepError {
    StepError::of(&error, error.class(), None)
}

/// The chart's own files, or what names a published one.
fn source(manifest: &mut Manifest, spec: &Spec) -> Result<(), StepError> {
    match &spec.source {
        Source::Path(path) => {
            // What is packed from a folder beside is known by that folder: the archive differs with every packing.
            let beside = helm::local_dependencies(&path.absolute);
            for file in files::chart(&path.absolute).map_err(unreadable)? {
                if !beside.iter().any(|dependency| dependency.is_archive(&file.path)) {
                    manifest.digest(Group::File, format!("{}/{}", path.text, file.path), file.digest);
                }
            }
            for dependency in beside {
                for file in files::chart(&dependency.folder).map_err(unreadable)? {
                    manifest.digest(Group::File, format!("{}/{}", dependency.name, file.path), file.digest);
                }
            }
        }
        Source::Published { chart, version, repo } => {
            manifest.text(Group::Setting, "chart", &chart.value);
            manifest.text(Group::Setting, "version", version.as_deref().unwrap_or("latest"));
            manifest.text(Group::Setting, "repo", repo.as_deref().unwrap_or_default());
            if version.is_none() {
                manifest
                    .cannot_know(format!("chart {} has no version: which one is newest can't be known", chart.value));
            }
        }
    }
    Ok(())
}

/// The post-renderer's words, and the program itself when it is a file of the project.
fn post_render(world: &World, manifest: &mut Manifest, spec: &Spec) -> Result<(), StepError> {
    for (place, argument) in spec.post_render.iter().enumerate() {
        values::add_template(world, manifest, Group::Setting, &format!("post-render[{place}]"), argument);
    }
    let program = spec.post_render.first().and_then(|word| values::text(world, word).ok());
    if let Some((program, file)) = program.and_then(|program| Some((program.clone(), own_program(world, &program)?))) {
        manifest.digest(Group::File, program, files::digest(&file).map_err(unreadable)?);
    }
    Ok(())
}

/// The file of the project that a program is; none when `$PATH` leads to it.
pub(super) fn own_program(world: &World, program: &str) -> Option<PathBuf> {
    let file = world.stack().root.join(program);
    (program.contains('/') && file.is_file()).then(|| std::path::absolute(&file).unwrap_or(file))
}

/// Adds the values to the manifest one by one, and merges them into the one tree that Helm gets.
fn merged(world: &World, name: &str, spec: &Spec, manifest: &mut Manifest) -> Result<Option<HelmValues>, StepError> {
    let mut outputs = Vec::new();
    let all = || spec.set.values().chain(spec.set_string.values());
    all().for_each(|value| value.each_output(&mut |output| outputs.push(output)));
    values::add_images(world, manifest, outputs.into_iter());

    let mut complete = true;
    let mut tree = Json::Object(Map::new());
    let mut put = |key: &str, value: Json| {
        helm::values::set(&mut tree, key, value)
            .map_err(|error| StepError::new(Class::Input, format!("[chart.{name}] {error}")))
    };
    for (key, value) in &spec.set {
        match values::add(world, manifest, Group::Value, key, value) {
            Some(resolved) => put(key, resolved.exposed())?,
            None => complete = false,
        }
    }
    for (key, value) in &spec.set_string {
        match values::add(world, manifest, Group::Value, key, value) {
            Some(resolved) => put(key, Json::from(resolved.exposed_text().expose_secret()))?,
            None => complete = false,
        }
    }
    for (key, path) in &spec.set_file {
        let text = read(&path.absolute, &path.text, key)?;
        manifest.digest(Group::File, &path.text, files::digest_bytes(text.as_bytes()));
        put(key, Json::from(text))?;
    }
    Ok(complete.then_some(HelmValues(tree)))
}

fn read(file: &Path, shown: &str, key: &str) -> Result<String, StepError> {
    std::fs::read_to_string(file)
        .map_err(|error| StepError::new(Class::Input, format!("can't read {shown} for the value {key}: {error}")))
}
