//! `build:NAME`: an image exists in the engine that was built from exactly these inputs.
//!
//! The engine itself is the index: an image built from inputs with key `K` has the tag `k-<16 digits of K>`. It counts
//! only if the same image also has the tag of its own ID, `<12 digits>`, which is what gets deployed, and the tag
//! `k-<16 digits of K>-<12 digits>`, which says both: a tag that was moved by hand to another image, be it one of this stack,
//! is thereby noticed. The tags are given only after the inputs were read a second time and found unchanged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::ExposeSecret;
use tokio::task::block_in_place;

use super::output::{Known, Output, deploy_tag};
use super::sources::{folder_of, listed_folders};
use super::{Finished, Inspection, Speaker, StepError, World, builds, cache, stopped, values};
use crate::config::{Image as Spec, LoadMode, SecretSource, Value};
use crate::error::Class;
use crate::event::Stream;
use crate::graph::{StepId, StepKind, base_of_stack};
use crate::key::context::{
    Context, ContextReader, ContextSpec, DockerfileOptions, DockerfileReading, Scope, Unpinned, pin_bases,
    read_dockerfile,
};
use crate::key::{Group, Key, Manifest, SecretDigest, Value as InputValue, files};
use crate::plan::{Effect, by_effect};
use crate::process::{Cancel, CancelLevel};
use crate::tools::docker::{Build, BuildEvent, BuildSecret, DockerError, Engine, ImageInfo, split_tag};

/// How often a build is begun anew because its inputs changed under it, or because it did not begin at all.
const CHASES: u32 = 3;

/// The value of a base image that the engine does not have.
const ABSENT: &str = "not there yet";

/// What `inspect` leaves to `execute`.
#[derive(Debug)]
pub(super) struct Work {
    name: String,
    inputs: Option<Inputs>,
}

/// Everything that a build gets, read once: what is hashed is what is built.
#[derive(Debug)]
struct Inputs {
    manifest: Manifest,
    build: Build,
}

fn of_docker(error: DockerError) -> StepError {
    StepError::of(&error, error.class(), error.help())
}

fn spec<'w>(world: &'w World, name: &str) -> Result<&'w Spec, StepError> {
    let found = world.stack().images.get(name);
    found.ok_or_else(|| StepError::new(Class::Internal, format!("there is no image {name}")))
}

pub(super) async fn inspect(world: &World, name: &str) -> Result<Inspection, StepError> {
    let spec = spec(world, name)?;
    if let (LoadMode::Direct, Known::After(because)) = (spec.load, world.cluster_uid()) {
        return Ok(without_cluster(world, name, because));
    }
    let engine = world.builder(spec.load).await?;
    let (manifest, build) = read(world, name, engine, Reach::Narrowed, Bases::Once).await?;
    let step = StepId::new(StepKind::Build, name);
    let repository = &spec.repository.value;
    let (effect, output) = match (manifest.key(), manifest.waits_for()) {
        (Some(key), _) => {
            let was_there = world.last_key(&step).as_ref() == Some(&key);
            match engine.image(&key_tag(repository, key.short())).await.map_err(of_docker)? {
                Some(image) if tags(repository, &key, &image.id).iter().all(|tag| image.tags.contains(tag)) => {
                    let seen = format!("{} is built from these inputs", id_tag(repository, &image.id));
                    let output = Output::Image { repository: repository.clone(), id: image.id };
                    (Effect::Intact(seen), Known::Yes(output))
                }
                Some(_) => (Effect::wrong("the image was retagged by hand"), Known::After(step)),
                None if was_there => (Effect::wrong("image is gone from the Docker engine"), Known::After(step)),
                None => (Effect::wrong("not built from these inputs yet"), Known::After(step)),
            }
        }
        (None, Some(because)) => (Effect::Unknown { because: because.clone() }, Known::After(step)),
        (None, None) => return Err(StepError::new(Class::Internal, "an image without a key waits for nothing")),
    };
    let step = StepId::new(StepKind::Build, name);
    let is_intact = matches!(effect, Effect::Intact(_));
    let last = if is_intact { None } else { builds::last(world, name).await };
    let decision = by_effect(&manifest, last.as_ref(), &effect);
    let build = build.filter(|_| !is_intact || world.is_forced_step(&step));
    let inputs = build.map(|build| Inputs { manifest: manifest.clone(), build });
    let work = Work { name: name.to_owned(), inputs };
    Ok(Inspection { decision, manifest, output, work: super::Work::Build(Box::new(work)) })
}

/// See [`super::Sources`].
pub(super) async fn sources(world: &World, name: &str, folders: &mut Vec<PathBuf>) -> Result<Manifest, StepError> {
    let spec = spec(world, name)?;
    let (manifest, _) = read(world, name, world.builder(spec.load).await?, Reach::Narrowed, Bases::Now).await?;
    listed_folders(&manifest, &spec.context.absolute, folders);
    folder_of(&spec.dockerfile.absolute, folders);
    for secret in &spec.secrets {
        if let SecretSource::File(path) = &secret.source {
            folder_of(&path.absolute, folders);
        }
    }
    Ok(manifest)
}

/// A build in the node's engine, as long as there is no node to ask.
fn without_cluster(world: &World, name: &str, because: StepId) -> Inspection {
    let step = StepId::new(StepKind::Build, name);
    let mut manifest = Manifest::new("build");
    manifest.unknown(Group::Target, "cluster", because.clone());
    let decision = by_effect(&manifest, world.last_manifest(&step).as_ref(), &Effect::Unknown { because });
    let work = Work { name: name.to_owned(), inputs: None };
    Inspection { decision, manifest, output: Known::After(step), work: super::Work::Build(Box::new(work)) }
}

fn key_tag(repository: &str, key: &str) -> String {
    format!("{repository}:k-{key}")
}

/// The names of an image that was built from inputs with this key. The key's comes last: whoever finds it finds the others.
fn tags(repository: &str, key: &Key, id: &str) -> [String; 3] {
    let key = key_tag(repository, key.short());
    [id_tag(repository, id), format!("{key}-{}", deploy_tag(id)), key]
}

fn id_tag(repository: &str, id: &str) -> String {
    format!("{repository}:{}", deploy_tag(id))
}

/// How much of the context counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// What the Dockerfile can reach, where that is certain.
    Narrowed,
    /// All of it.
    Whole,
}

/// When base images are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bases {
    /// Once for all builds of the run, as long as nothing has changed.
    Once,
    /// Now.
    Now,
}

/// Reads all inputs. The build is absent while an argument waits for another step.
async fn read(
    world: &World,
    name: &str,
    engine: &Engine,
    reach: Reach,
    bases: Bases,
) -> Result<(Manifest, Option<Build>), StepError> {
    let spec = spec(world, name)?;
    let mut manifest = Manifest::new("build");
    let dockerfile = std::fs::read(&spec.dockerfile.absolute).map_err(|error| {
        StepError::new(Class::Input, format!("can't read the Dockerfile {}: {error}", spec.dockerfile.text))
    })?;
    manifest.text(Group::Setting, "target", spec.target.as_deref().unwrap_or_default());
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
    let mut reading = dockerfile_reading(spec, &dockerfile, &args);
    if reach == Reach::Whole {
        reading.scope = Scope::Whole { reason: "the build takes more than its Dockerfile tells".to_owned() };
    }
    let own = own_bases(world, name, &mut reading, &mut manifest)?;
    complete &= own.is_known;
    for pin in own.pins.values() {
        if let Some(image) = engine.image(pin).await.map_err(of_docker)? {
            reading = reading.with_on_build(pin, &image.on_build);
        }
    }
    let bases = if spec.load == LoadMode::Direct { Bases::Now } else { bases };
    let reading = add_bases(world, engine, reading, bases, &mut manifest).await?;
    reading.unknowable.iter().for_each(|sentence| manifest.cannot_know(sentence));

    let context = block_in_place(|| context(world, spec, reading.scope))?;
    let reach = match &context.scope {
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
    manifest.digest(Group::File, &spec.dockerfile.text, files::digest_bytes(&dockerfile));
    let ignore = context.ignore.as_ref().map(|(path, bytes)| {
        let shown = path.strip_prefix(&world.stack().root).unwrap_or(path).display().to_string();
        manifest.digest(Group::File, shown, files::digest_bytes(bytes));
        bytes::Bytes::from(bytes.clone())
    });

    let pinned = pinned(spec, &dockerfile, &args, &own.pins)?;
    let build = Build {
        reach,
        ignore,
        args,
        target: spec.target.clone(),
        platform: spec.platform.clone(),
        secrets,
        labels,
        redactor: world.redactor().clone(),
        ..Build::new(context.tree, pinned)
    };
    Ok((manifest, complete.then_some(build)))
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

fn context(world: &World, spec: &Spec, scope: Scope) -> Result<Context, StepError> {
    let digests = world.digests();
    let spec = ContextSpec { root: spec.context.absolute.clone(), dockerfile: spec.dockerfile.absolute.clone(), scope };
    ContextReader::new(digests).read(&spec).map_err(|error| StepError::of(&error, error.class(), error.help()))
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
                manifest.digest(Group::Base, &reference, base_digest(&reference, image));
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
    let short = ["docker.io/library/", "docker.io/"].iter().find_map(|hub| name.strip_prefix(hub)).unwrap_or(name);
    let known = image.repo_digests.into_iter().filter_map(|known| {
        known.split_once('@').filter(|(name, _)| *name == short).map(|(_, digest)| digest.to_owned())
    });
    known.min().unwrap_or(image.id)
}

pub(super) async fn execute(
    world: &World,
    work: Work,
    speaker: &Speaker,
    cancel: &Cancel,
) -> Result<Finished, StepError> {
    let name = &work.name;
    let spec = spec(world, name)?;
    let engine = world.builder(spec.load).await?;
    let mut inputs = work.inputs;
    if let Some(Inputs { manifest, .. }) = &inputs
        && !world.is_forced_step(speaker.step())
        && let Some(finished) = fetched(world, spec, engine, manifest, speaker, cancel).await?
    {
        return Ok(finished);
    }
    let mut reach = Reach::Narrowed;
    for _ in 0..CHASES {
        let Some(Inputs { manifest, build }) = inputs.take() else {
            return Err(StepError::new(Class::Internal, "a build was started before its arguments were known"));
        };
        let mut told = false;
        let tell = |event: BuildEvent| {
            told = true;
            self::tell(speaker, &event);
        };
        let built = tokio::select! {
            built = engine.build(&build, tell) => built,
            // Dropping the build closes its connections, and the engine stops building.
            _ = cancel.raised(CancelLevel::Terminate) => return Err(stopped()),
        };
        let built = match built {
            Ok(built) => built,
            // The Dockerfile was not understood as the engine understands it: all files count then.
            Err(DockerError::Outgrown { path }) if reach == Reach::Narrowed => {
                tracing::debug!(path, "the build outgrew its narrowed context");
                reach = Reach::Whole;
                let (manifest, build) = read(world, name, engine, reach, Bases::Now).await?;
                inputs = build.map(|build| Inputs { manifest, build });
                continue;
            }
            // A busy engine drops connections that are not greeted in time; nothing has happened yet.
            Err(error @ DockerError::Broken { .. }) if !told => {
                tracing::debug!(%error, "the build did not begin");
                inputs = Some(Inputs { manifest, build });
                continue;
            }
            Err(error) => return Err(of_build(error)),
        };
        let (now, again) = read(world, name, engine, reach, Bases::Now).await?;
        if let Some(changed) = difference(&manifest, &now) {
            speaker.warn(&format!("{changed} changed while the image was being built; building again"));
            inputs = again.map(|build| Inputs { manifest: now, build });
            continue;
        }
        let repository = spec.repository.value.clone();
        let key = now.key().ok_or_else(|| StepError::new(Class::Internal, "a built image has no key"))?;
        let id = built.image.id;
        for tag in tags(&repository, &key, &id) {
            engine.tag(&id, &tag).await.map_err(of_docker)?;
        }
        world.keep_manifest(speaker.step(), &now);
        tokio::select! {
            () = cache::share(world, engine, &repository, &key, &id, speaker) => {}
            _ = cancel.raised(CancelLevel::Terminate) => return Err(stopped()),
        }
        let note = Some(id_tag(&repository, &id));
        return Ok(Finished { output: Output::Image { repository, id }, note });
    }
    Err(StepError::new(Class::Input, "its files kept changing while it was being built")
        .with_diagnosis("try again when nothing writes into its context"))
}

/// The image from the cache, if it has one that was built from these inputs.
async fn fetched(
    world: &World,
    spec: &Spec,
    engine: &Engine,
    manifest: &Manifest,
    speaker: &Speaker,
    cancel: &Cancel,
) -> Result<Option<Finished>, StepError> {
    let (Some(cache), Some(key)) = (&world.stack().cache, manifest.key()) else { return Ok(None) };
    let repository = spec.repository.value.clone();
    let image = tokio::select! {
        image = cache::fetch(world, engine, &repository, &key, speaker) => image,
        _ = cancel.raised(CancelLevel::Terminate) => return Err(stopped()),
    };
    let Some(image) = image else { return Ok(None) };
    for tag in tags(&repository, &key, &image.id) {
        engine.tag(&image.id, &tag).await.map_err(of_docker)?;
    }
    cache::forget(world, engine, &repository, &key).await;
    world.keep_manifest(speaker.step(), manifest);
    let note = Some(format!("{}, from {}", id_tag(&repository, &image.id), cache.registry));
    Ok(Some(Finished { output: Output::Image { repository, id: image.id }, note }))
}

/// The first input that differs. A base image that the build itself has fetched is no change.
fn difference(before: &Manifest, now: &Manifest) -> Option<String> {
    let fetched = |group, value: &InputValue| group == Group::Base && *value == InputValue::Text(ABSENT.to_owned());
    let mut before_inputs = before.inputs();
    let mut now_inputs = now.inputs();
    loop {
        match (before_inputs.next(), now_inputs.next()) {
            (None, None) => return None,
            (Some(one), Some(other)) if one == other => {}
            (Some(one), Some(other)) if one.name == other.name && fetched(one.group, &one.value) => {}
            (Some(one), Some(other)) => return Some(one.into_owned().name.min(other.into_owned().name)),
            (Some(one), None) | (None, Some(one)) => return Some(one.into_owned().name),
        }
    }
}

/// A failed build is explained by the last lines of the command that failed.
fn of_build(error: DockerError) -> StepError {
    match &error {
        DockerError::Build(failure) => {
            StepError::new(failure.class, failure.to_string()).with_diagnosis(failure.tail.join("\n"))
        }
        _ => of_docker(error),
    }
}

fn tell(speaker: &Speaker, event: &BuildEvent) {
    match event {
        BuildEvent::StepStarted { step } => speaker.progress(step, None, None),
        BuildEvent::StepDone { step, cached: true, .. } => speaker.progress(&format!("{step} (cached)"), None, None),
        BuildEvent::StepDone { step, seconds, .. } => {
            speaker.output(Stream::Stdout, &format!("{step} {}", crate::model::quantity::seconds(*seconds)));
        }
        BuildEvent::StepFailed { step, error } => speaker.output(Stream::Stderr, &format!("{step} {error}")),
        BuildEvent::Output { stderr, line, .. } => {
            speaker.output(if *stderr { Stream::Stderr } else { Stream::Stdout }, line);
        }
        BuildEvent::Progress { item, current, total, .. } => speaker.progress(item, Some(*current), *total),
        BuildEvent::Warning { message, .. } => speaker.warn(message),
    }
}
