//! The inputs of a chart step: everything that could change what Helm installs, listed once, and the values that Helm gets.

use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;
use serde_json::{Map, Value as Json};

use super::super::sources::{folder_of, whole_tree};
use super::super::{StepError, World, awaited, values};
use crate::config::{Chart as Spec, ChartSource as Source, ValuesSource};
use crate::error::Class;
use crate::graph::StepKind;
use crate::key::files::Looked;
use crate::key::{Group, Manifest, files};
use crate::tools::helm;
use crate::tools::kube::yaml;

/// The values that Helm gets, secrets included: they show themselves to nobody.
#[derive(Clone)]
pub(super) struct HelmValues(pub(super) Json);

impl std::fmt::Debug for HelmValues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HelmValues(..)")
    }
}

/// What a chart is installed from, as it was read.
pub(super) struct Inputs {
    pub(super) manifest: Manifest,
    /// The values of `set` and its kin, merged; absent while some are not known.
    pub(super) values: Option<HelmValues>,
    /// The files that Helm reads once more by itself.
    pub(super) looked: Looked,
}

/// Lists the inputs, and merges the values.
pub(super) async fn collect(world: &World, name: &str, spec: &Spec) -> Result<Inputs, StepError> {
    let mut looked = Looked::default();
    let mut manifest = Manifest::new("chart");
    values::add_cluster(world, &mut manifest);
    manifest.text(Group::Target, "namespace", &spec.namespace);
    manifest.text(Group::Target, "release", &spec.release);
    manifest.text(Group::Setting, "helm", world.helm().await?.major().to_string());
    source(&mut manifest, spec, &mut looked)?;
    values_files(&mut manifest, spec, &mut looked)?;
    post_render(world, &mut manifest, spec, &mut looked)?;
    for (label, value) in &spec.namespace_labels {
        values::add(world, &mut manifest, Group::Setting, &format!("namespace label {label}"), value);
    }
    let values = merged(world, name, spec, &mut manifest)?;
    awaited::add(world, StepKind::Chart, name, &mut manifest);
    Ok(Inputs { manifest, values, looked })
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
    Ok(collect(world, name, spec).await?.manifest)
}

fn unreadable(error: files::FilesError) -> StepError {
    StepError::of(&error, error.class(), None)
}

/// The chart's own files, or what names a published one.
fn source(manifest: &mut Manifest, spec: &Spec, looked: &mut Looked) -> Result<(), StepError> {
    match &spec.source {
        Source::Path(path) => {
            // What is packed from a folder beside is known by that folder: the archive differs with every packing.
            let beside = helm::local_dependencies(&path.absolute);
            let mut asking = Vec::new();
            for file in files::chart(&path.absolute, looked).map_err(unreadable)? {
                if helm::asks_the_cluster(&file.path, &file.bytes) {
                    asking.push(format!("{}/{}", path.text, file.path));
                }
                if !beside.iter().any(|dependency| dependency.is_archive(&file.path)) {
                    manifest.digest(Group::File, format!("{}/{}", path.text, file.path), file.digest);
                }
            }
            for dependency in beside {
                for file in files::chart(&dependency.folder, looked).map_err(unreadable)? {
                    if helm::asks_the_cluster(&file.path, &file.bytes) {
                        asking.push(format!("{}/{}", dependency.name, file.path));
                    }
                    manifest.digest(Group::File, format!("{}/{}", dependency.name, file.path), file.digest);
                }
            }
            if let Some(first) = asking.first() {
                let more = if asking.len() > 1 { " and others" } else { "" };
                manifest
                    .cannot_know(format!("{first}{more} uses `lookup`: what that finds in the cluster can't be known"));
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

/// The values files, and their order: later ones win.
fn values_files(manifest: &mut Manifest, spec: &Spec, looked: &mut Looked) -> Result<(), StepError> {
    let mut order = Vec::new();
    for source in &spec.values {
        match source {
            ValuesSource::File(path) => {
                order.push(path.text.as_str());
                manifest.digest(Group::File, &path.text, files::digest(&path.absolute, looked).map_err(unreadable)?);
            }
            ValuesSource::Url(url) => {
                order.push(url.as_str());
                manifest.cannot_know(format!("{url} is fetched by Helm: whether it changed can't be known"));
            }
        }
    }
    if !order.is_empty() {
        manifest.text(Group::Setting, "values", Json::from(order).to_string());
    }
    Ok(())
}

/// The post-renderer's words, and those that are files of the project with what is in them. What else it reads is known
/// to nobody.
fn post_render(world: &World, manifest: &mut Manifest, spec: &Spec, looked: &mut Looked) -> Result<(), StepError> {
    for (place, argument) in spec.post_render.iter().enumerate() {
        let resolved =
            values::add_template(world, manifest, Group::Setting, &format!("post-render[{place}]"), argument);
        let Some(word) = resolved.filter(|resolved| !resolved.is_secret()) else { continue };
        let word = word.exposed_text().expose_secret().to_owned();
        // Without a slash, the program is looked for in `$PATH`.
        let file = if place == 0 { own_program(world, &word) } else { own_file(world, &word) };
        if let Some(file) = file {
            manifest.digest(Group::File, word, files::digest(&file, looked).map_err(unreadable)?);
        }
    }
    if !spec.post_render.is_empty() {
        manifest.cannot_know("what the post-renderer reads beside the files that it is given by name can't be known");
    }
    Ok(())
}

/// The file of the project that a program is; none when `$PATH` leads to it.
pub(super) fn own_program(world: &World, program: &str) -> Option<PathBuf> {
    own_file(world, program).filter(|_| program.contains('/'))
}

/// The file of the project that a word names.
fn own_file(world: &World, word: &str) -> Option<PathBuf> {
    let file = world.stack().root.join(word);
    file.is_file().then(|| std::path::absolute(&file).unwrap_or(file))
}

/// Adds the values to the manifest one by one, and merges them into the one tree that Helm gets.
fn merged(world: &World, name: &str, spec: &Spec, manifest: &mut Manifest) -> Result<Option<HelmValues>, StepError> {
    let mut outputs = Vec::new();
    let all = || spec.set.values().chain(spec.set_string.values());
    all().for_each(|value| value.each_output(&mut |output| outputs.push(output)));
    values::add_images(world, manifest, outputs.into_iter());

    let mut complete = true;
    let mut tree = Json::Object(Map::new());
    let keys = spec.set.keys().chain(spec.set_string.keys()).chain(spec.set_file.keys());
    let keys = keys.map(String::as_str).collect::<Vec<_>>();
    // Files are only read again when a part of a list in them may be set.
    let below = if keys.iter().any(|key| key.contains('[')) { of_files(spec) } else { Json::Null };
    let mut put = |key: &str, value: Json| {
        helm::values::set(&mut tree, &below, key, value)
            .map_err(|error| StepError::new(Class::Input, format!("[chart.{name}] {error}")))
    };
    let given = spec.set.iter().map(|(key, value)| (key, value, false));
    for (key, value, as_text) in given.chain(spec.set_string.iter().map(|(key, value)| (key, value, true))) {
        match values::add_typed(world, manifest, key, value, as_text) {
            Some(value) => put(key, value)?,
            None => complete = false,
        }
    }
    for (key, path) in &spec.set_file {
        let text = read(&path.absolute, &path.text, key)?;
        manifest.text(Group::Setting, format!("set-file {key}"), &path.text);
        manifest.digest(Group::File, &path.text, files::digest_bytes(text.as_bytes()));
        put(key, Json::from(text))?;
    }
    let overlapping = overlapping(&keys);
    if !overlapping.is_empty() {
        manifest.text(Group::Setting, "order of values", Json::from(overlapping).to_string());
    }
    Ok(complete.then_some(HelmValues(tree)))
}

/// What the values files say together. What can't be read here, Helm complains of, or fetches.
fn of_files(spec: &Spec) -> Json {
    let mut all = Json::Object(Map::new());
    for source in &spec.values {
        let ValuesSource::File(path) = source else { continue };
        let text = std::fs::read_to_string(&path.absolute).unwrap_or_default();
        let said = yaml::parse(&text).ok().filter(Json::is_object);
        said.into_iter().for_each(|said| helm::values::merge(&mut all, said));
    }
    all
}

/// The keys of values that are put into one another, in their order, which decides what is left of them.
fn overlapping<'k>(keys: &[&'k str]) -> Vec<&'k str> {
    let within = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let meets = |(at, key): &(usize, &&'k str)| {
        let others = keys.iter().enumerate().filter(|(other, _)| other != at);
        others.map(|(_, other)| other).any(|other| within(key, other) || within(other, key))
    };
    keys.iter().enumerate().filter(meets).map(|(_, key)| *key).collect()
}

fn read(file: &Path, shown: &str, key: &str) -> Result<String, StepError> {
    std::fs::read_to_string(file)
        .map_err(|error| StepError::new(Class::Input, format!("can't read {shown} for the value {key}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_that_meet_have_an_order() {
        assert_eq!(overlapping(&["a.b", "a.c", "ab", "list[0]", "list[1]"]), Vec::<&str>::new());
        assert_eq!(overlapping(&["m.x", "z", "m"]), ["m.x", "m"]);
        assert_eq!(overlapping(&["list", "list[0]"]), ["list", "list[0]"]);
        assert_eq!(overlapping(&["a", "b", "a"]), ["a", "a"]);
    }
}
