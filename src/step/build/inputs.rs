//! Everything that a build gets: read once, so that what is hashed is what is built.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use secrecy::ExposeSecret;
use tokio::task::block_in_place;

use super::{id_tag, of_docker, spec};
use crate::config::{Image as Spec, LoadMode, SecretSource, Value};
use crate::error::Class;
use crate::graph::{StepKind, base_of_stack};
use crate::key::context::{
    Context, ContextReader, ContextSpec, DockerfileOptions, DockerfileReading, Narrow, Scope, Unpinned, pin_bases,
    read_dockerfile,
};
use crate::key::{Group, Input, Key, Manifest, SecretDigest, Value as InputValue, files};
use crate::process::Cancel;
use crate::step::output::Known;
use crate::step::{StepError, World, awaited, of_context, values};
use crate::tools::docker::{Build, BuildSecret, Engine, ImageInfo, split_tag};

/// The value of a base image that the engine does not have.
const ABSENT: &str = "not there yet";

/// Everything that a build gets, read once: what is hashed is what is built.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) manifest: Manifest,
    /// Nothing while an argument waits for another step.
    pub(super) build: Option<Build>,
    pub(super) reach: Reach,
    /// The key of all that decides what the build reaches, when its Dockerfile seems to tell that.
    pub(super) narrowing: Option<Key>,
}

/// How much of the context counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// What the Dockerfile can reach, where that is certain.
    Narrowed,
    /// All of it.
    Whole,
}

/// When base images are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bases {
    /// Once for all builds of the run, as long as nothing has changed.
    Once,
    /// Now.
    Now,
}

/// Reads all inputs.
pub(super) async fn read(
    world: &World,
    name: &str,
    engine: &Engine,
    reach: Reach,
    bases: Bases,
    cancel: &Cancel,
) -> Result<Inputs, StepError> {
    let spec = spec(world, name)?;
    let mut manifest = Manifest::new("build");
    let dockerfile = std::fs::read(&spec.dockerfile.absolute).map_err(|error| {
        StepError::new(Class::Input, format!("can't read the Dockerfile {}: {error}", spec.dockerfile.text))
    })?;
    // The engine does not tell capitals of a stage's name.
    manifest.text(Group::Setting, "target", spec.target.as_deref().unwrap_or_default().to_lowercase());
    manifest.text(Group::Setting, "platform", spec.platform.as_deref().unwrap_or_default());

    let mut complete = true;
    let mut args = Vec::new();
    for (arg, value) in &spec.args {
        match values::add(world, &mut manifest, Group::Arg, arg, value) {
            Some(resolved) => args.push((arg.clone(), resolved.exposed_text().expose_secret().to_owned())),
            None => complete = false,
        }
    }
    let mut labels = Vec::new();
    for (label, value) in &spec.labels {
        match values::add(world, &mut manifest, Group::Setting, &format!("label {label}"), value) {
            Some(resolved) => labels.push((label.clone(), resolved.exposed_text().expose_secret().to_owned())),
            None => complete = false,
        }
    }
    let mut outputs = Vec::new();
    spec.args.values().for_each(|value: &Value| value.each_output(&mut |output| outputs.push(output)));
    values::add_images(world, &mut manifest, outputs.into_iter());
    let secrets = secrets(world, spec, &mut manifest)?;
    awaited::add(world, StepKind::Build, name, &mut manifest);
    let mut reading = dockerfile_reading(spec, &dockerfile, &args);
    let own = own_bases(world, name, &mut reading, &mut manifest)?;
    complete &= own.is_known;
    for pin in own.pins.values() {
        if let Some(image) = engine.image(pin).await.map_err(of_docker)? {
            reading = reading.with_on_build(pin, &image.on_build);
        }
    }
    let bases = if spec.load == LoadMode::Direct { Bases::Now } else { bases };
    let mut reading = add_bases(world, engine, reading, bases, &mut manifest).await?;
    reading.unknowable.iter().for_each(|sentence| manifest.cannot_know(sentence));
    let narrowing = match &reading.scope {
        Scope::Narrowed(narrow) => narrowing(&manifest, &dockerfile, narrow).key(),
        Scope::Whole { .. } => None,
    };
    if reach == Reach::Whole && narrowing.is_some() {
        reading.scope = Scope::Whole { reason: "the build takes more than its Dockerfile tells".to_owned() };
    }

    let context = block_in_place(|| context(world, spec, reading.scope, cancel))?;
    let reached = match &context.scope {
        Scope::Whole { reason } => {
            manifest.note(format!("depends on every file of its context: {reason}"));
            None
        }
        Scope::Narrowed(narrow) => {
            let sources: Vec<_> = narrow.sources().collect();
            manifest.note(if sources.is_empty() {
                "its Dockerfile takes nothing from the context".to_owned()
            } else {
                format!("depends only on what its Dockerfile reaches: {}", sources.join(", "))
            });
            Some(sources)
        }
    };
    manifest.tree(Arc::clone(&context.tree));
    // The folders above a context are no part of a build: what stands in neither folder is called as it is written.
    let shown = |path: &Path, written: String| {
        let inside = path.strip_prefix(&spec.context.absolute).or_else(|_| path.strip_prefix(&world.stack().root));
        inside.map_or(written, |inside| inside.display().to_string())
    };
    let written = &spec.dockerfile.text;
    let name = shown(&spec.dockerfile.absolute, written.clone());
    manifest.digest(Group::Definition, name, files::digest_bytes(&dockerfile));
    let ignore = context.ignore.as_ref().map(|(path, bytes)| {
        // Only that of the Dockerfile can be outside.
        let name = shown(path, format!("{written}.dockerignore"));
        manifest.digest(Group::Definition, name, files::digest_bytes(bytes));
        bytes::Bytes::from(bytes.clone())
    });

    let pinned = pinned(spec, &dockerfile, &args, &own.pins)?;
    let build = Build {
        reach: reached,
        ignore,
        args,
        target: spec.target.clone(),
        platform: spec.platform.clone(),
        secrets,
        labels,
        redactor: world.redactor().clone(),
        ..Build::new(context.tree, pinned)
    };
    Ok(Inputs { manifest, build: complete.then_some(build), reach, narrowing })
}

/// All that decides what a build reaches of its context: what is known of the build before its files are.
fn narrowing(manifest: &Manifest, dockerfile: &[u8], narrow: &Narrow) -> Manifest {
    let mut all = Manifest::new("narrowing");
    manifest.inputs().map(Cow::into_owned).for_each(|input| all.push(input.group, input.name, input.value));
    all.digest(Group::Definition, "Dockerfile", files::digest_bytes(dockerfile));
    narrow.sources().for_each(|source| all.text(Group::Setting, format!("reaches {source}"), ""));
    all
}

/// What the Dockerfile tells. Arguments that are not known yet keep their defaults: they are unknown inputs anyway.
fn dockerfile_reading(spec: &Spec, dockerfile: &[u8], args: &[(String, String)]) -> DockerfileReading {
    read_dockerfile(&String::from_utf8_lossy(dockerfile), &dockerfile_options(spec, args))
}

fn dockerfile_options<'a>(spec: &'a Spec, args: &'a [(String, String)]) -> DockerfileOptions<'a> {
    DockerfileOptions {
        args: args.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        target: spec.target.as_deref(),
        platform: spec.platform.as_deref(),
    }
}

/// The images of the stack that a Dockerfile builds on.
struct OwnBases {
    /// By the references in the Dockerfile, the names of the very images that are meant.
    pins: BTreeMap<String, String>,
    /// Whether all of them are known.
    is_known: bool,
}

/// Adds those of the bases that the stack builds itself, by their IDs, and takes them from the others: what their
/// repository's `latest` is in the engine has nothing to do with them.
fn own_bases(
    world: &World,
    name: &str,
    reading: &mut DockerfileReading,
    manifest: &mut Manifest,
) -> Result<OwnBases, StepError> {
    let mut own = OwnBases { pins: BTreeMap::new(), is_known: true };
    for reference in std::mem::take(&mut reading.bases) {
        let Some(base) = base_of_stack(world.stack(), name, &reference) else {
            reading.bases.push(reference);
            continue;
        };
        let is_direct = |image| Ok::<_, StepError>(spec(world, image)?.load == LoadMode::Direct);
        if is_direct(name)? != is_direct(base)? {
            let reason = format!("{name} is built in another engine than {base}, which it is built from");
            return Err(
                StepError::new(Class::Input, reason).with_diagnosis("try `load = \"direct\"` for both, or for none")
            );
        }
        let is_new = !manifest.inputs().any(|input| input.group == Group::Image && *input.name == **base);
        match world.image(base) {
            Known::Yes((repository, id)) => {
                own.pins.insert(reference, id_tag(&repository, &id));
                if is_new {
                    manifest.digest(Group::Image, &**base, id);
                }
            }
            Known::After(step) => {
                own.is_known = false;
                if is_new {
                    manifest.unknown(Group::Image, &**base, step);
                }
            }
        }
    }
    Ok(own)
}

/// The Dockerfile that the engine gets.
fn pinned(
    spec: &Spec,
    dockerfile: &[u8],
    args: &[(String, String)],
    pins: &BTreeMap<String, String>,
) -> Result<Vec<u8>, StepError> {
    if pins.is_empty() {
        return Ok(dockerfile.to_vec());
    }
    let text = String::from_utf8_lossy(dockerfile);
    let pinned = pin_bases(&text, &dockerfile_options(spec, args), pins);
    pinned.map(String::into_bytes).map_err(|Unpinned { reference, line }| {
        let place =
            format!("line {line} of {} names the image {reference} of this stack in parts", spec.dockerfile.text);
        StepError::new(Class::Input, place).with_diagnosis("try to write the name as one word")
    })
}

fn context(world: &World, spec: &Spec, scope: Scope, cancel: &Cancel) -> Result<Context, StepError> {
    let digests = world.digests();
    let spec = ContextSpec { root: spec.context.absolute.clone(), dockerfile: spec.dockerfile.absolute.clone(), scope };
    ContextReader::new(digests).read(&spec, cancel).map_err(|error| of_context(&error))
}

/// Reads the build's secrets now, so that the key and the build see the same bytes.
fn secrets(world: &World, spec: &Spec, manifest: &mut Manifest) -> Result<Vec<BuildSecret>, StepError> {
    let mut secrets = Vec::new();
    for secret in &spec.secrets {
        let id = &secret.id;
        let value = match &secret.source {
            SecretSource::File(path) => read_secret(&path.absolute).map_err(|error| {
                StepError::new(Class::Input, format!("can't read the secret {id} from {}: {error}", path.text))
            })?,
            SecretSource::Env(variable) => {
                world.environment().get_os(variable).map(|value| value.as_encoded_bytes().to_vec())
            }
            SecretSource::Value(template) => {
                let resolved = template.resolve(world).ok();
                resolved.map(|resolved| resolved.exposed_text().expose_secret().as_bytes().to_vec())
            }
        };
        match value {
            Some(value) => {
                manifest.secret(Group::Secret, id, SecretDigest::of_bytes(world.stack_name(), id, &value));
                secrets.push(BuildSecret { id: id.clone(), value: value.into() });
            }
            None if secret.optional => manifest.text(Group::Secret, id, "absent"),
            None => {
                return Err(StepError::new(Class::Input, format!("the secret {id} is not there"))
                    .with_diagnosis("try to say `optional = true` if the build does without it"));
            }
        }
    }
    Ok(secrets)
}

/// The content of a secret's file; nothing when there is none.
fn read_secret(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Adds the images that the Dockerfile builds on, as the engine or their registry resolves them; and with them what they
/// bring along.
async fn add_bases(
    world: &World,
    engine: &Engine,
    mut reading: DockerfileReading,
    bases: Bases,
    manifest: &mut Manifest,
) -> Result<DockerfileReading, StepError> {
    for reference in reading.bases.clone() {
        let seen = match bases {
            Bases::Once => world.early().image(engine, &reference).await,
            Bases::Now => None,
        };
        let image = match seen {
            Some(image) => image,
            None => engine.image(&reference).await.map_err(of_docker)?,
        };
        match image {
            Some(image) => {
                reading = reading.with_on_build(&reference, &image.on_build);
                let local = engine.local_manifest_digest(&image).await.map_err(of_docker)?;
                let digest = local.unwrap_or_else(|| base_digest(&reference, image));
                world.remember_base(&reference, &digest);
                manifest.digest(Group::Base, &reference, digest);
            }
            None => match world.resolve_base(engine, &reference).await {
                Some(digest) => manifest.digest(Group::Base, reference, digest),
                None => manifest.text(Group::Base, reference, ABSENT),
            },
        }
    }
    Ok(reading)
}

/// What stands for a base image that the engine has: the digest under which its registry knows it, which is the same on
/// every machine whether it has been fetched there or not; for one that comes from no registry its ID.
fn base_digest(reference: &str, image: ImageInfo) -> String {
    let name = reference.split_once('@').map_or_else(|| split_tag(reference).0, |(name, _)| name);
    let digest = image.digests_in(name).min().map(str::to_owned);
    digest.unwrap_or(image.id)
}

/// The first input that differs, as people call it. A base image that the build itself has fetched is no change.
pub(super) fn difference(before: &Manifest, now: &Manifest) -> Option<String> {
    let fetched = |group, value: &InputValue| group == Group::Base && *value == InputValue::Text(ABSENT.to_owned());
    let is_same = |one: &Input, other: &Input| one.group == other.group && one.name == other.name;
    let mut before_inputs = before.inputs();
    let mut now_inputs = now.inputs();
    loop {
        match (before_inputs.next(), now_inputs.next()) {
            (None, None) => return None,
            (Some(one), Some(other)) if one == other => {}
            (Some(one), Some(other)) if is_same(&one, &other) && fetched(one.group, &one.value) => {}
            (Some(one), Some(other)) => {
                // Both lists have one order. What was here before either went, or something new stands before it.
                let stays = now.inputs().any(|input| is_same(&input, &one));
                return Some(called(if stays { &other } else { &one }));
            }
            (Some(one), None) | (None, Some(one)) => return Some(called(&one)),
        }
    }
}

fn called(input: &Input) -> String {
    match input.group {
        Group::Secret => format!("the secret {}", input.name),
        Group::Base => format!("the base image {}", input.name),
        Group::Setting
        | Group::Arg
        | Group::Image
        | Group::Value
        | Group::Definition
        | Group::File
        | Group::Target
        | Group::Output
        | Group::Env => input.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(base: &str, files: &[&str], secret: &str) -> Manifest {
        let mut manifest = Manifest::new("build");
        manifest.text(Group::Secret, "s", secret);
        if base == ABSENT {
            manifest.text(Group::Base, "b", base);
        } else {
            manifest.digest(Group::Base, "b", base);
        }
        files.iter().for_each(|file| manifest.digest(Group::File, *file, "file"));
        manifest.digest(Group::Definition, "Dockerfile", "d");
        manifest
    }

    #[test]
    fn what_differs_is_what_came_went_or_changed() {
        let before = manifest("1", &["a", "m"], "x");
        let table = [
            (manifest("1", &["a", "m"], "x"), None),
            (manifest("1", &["a", "m", "z"], "x"), Some("z")),
            (manifest("1", &["0", "a", "m"], "x"), Some("0")),
            (manifest("1", &["a"], "x"), Some("m")),
            (manifest("1", &["m"], "x"), Some("a")),
            (manifest("1", &["a", "m"], "y"), Some("the secret s")),
            (manifest("2", &["a", "m"], "x"), Some("the base image b")),
            (manifest(ABSENT, &["a", "m"], "x"), Some("the base image b")),
        ];
        for (now, expected) in table {
            assert_eq!(difference(&before, &now).as_deref(), expected, "{now:?}");
        }
        let fetched = difference(&manifest(ABSENT, &["a"], "x"), &manifest("1", &["a"], "x"));
        assert_eq!(fetched, None);
    }
}
