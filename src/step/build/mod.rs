//! `build:NAME`: an image exists in the engine that was built from exactly these inputs.
//!
//! The engine itself is the index: an image built from inputs with key `K` has the tag `k-<16 digits of K>`. It counts
//! only if the same image also has the tag of its own ID, `<12 digits>`, which is what gets deployed, and the tag
//! `k-<16 digits of K>-<12 digits>`, which says both: a tag that was moved by hand to another image, be it one of this stack,
//! is thereby noticed. The tags are given only after the inputs were read a second time and found unchanged.
//!
//! A build that took more of its context than its Dockerfile tells has the key of all of it. That it did so, the next one
//! to look learns by one more tag, `k-<16 digits>-whole-<12 digits>`: its first digits stand for all that decides what a
//! build reaches, so that they are the same however its files change.

mod inputs;

use std::path::PathBuf;

use self::inputs::{Bases, Inputs, Reach, difference, read};
use super::output::{Known, Output, deploy_tag};
use super::sources::{folder_of, listed_folders};
use super::{Finished, Inspection, Speaker, StepError, World, builds, cache, stopped};
use crate::config::{Image as Spec, LoadMode, SecretSource};
use crate::error::Class;
use crate::event::Stream;
use crate::graph::{StepId, StepKind};
use crate::key::{CLUSTER, Group, Key, Manifest};
use crate::plan::{Effect, by_effect};
use crate::process::{Cancel, CancelLevel};
use crate::tools::docker::{BuildEvent, DockerError, Engine, ImageFilter, ImageInfo};

/// How often a build is begun anew because its inputs changed under it, or because it did not begin at all.
const CHASES: u32 = 3;

/// What `inspect` leaves to `execute`.
#[derive(Debug)]
pub(super) struct Work {
    name: String,
    inputs: Option<Inputs>,
}

impl Inputs {
    /// The tag by whose beginning it is known that these inputs were not all that a build took.
    fn outgrown(&self) -> Option<String> {
        self.narrowing.as_ref().map(|key| format!("{}-whole", key_tag(key)))
    }

    /// The names of an image that was built from these.
    fn names(&self, repository: &str, key: &Key, id: &str) -> Vec<String> {
        let outgrown = self.outgrown().filter(|_| self.reach == Reach::Whole);
        let outgrown = outgrown.map(|tag| format!("{repository}:{tag}-{}", deploy_tag(id)));
        outgrown.into_iter().chain(tags(repository, key, id)).collect()
    }
}

fn of_docker(error: DockerError) -> StepError {
    StepError::of(&error, error.class(), error.help())
}

fn spec<'w>(world: &'w World, name: &str) -> Result<&'w Spec, StepError> {
    let found = world.stack().images.get(name);
    found.ok_or_else(|| StepError::new(Class::Internal, format!("there is no image {name}")))
}

pub(super) async fn inspect(world: &World, name: &str, cancel: &Cancel) -> Result<Inspection, StepError> {
    let spec = spec(world, name)?;
    if let (LoadMode::Direct, Known::After(because)) = (spec.load, world.cluster_uid()) {
        let mut manifest = Manifest::new("build");
        manifest.unknown(Group::Target, CLUSTER, because.clone());
        return Ok(unknown(name, manifest, because));
    }
    let engine = world.builder(spec.load).await?;
    let (inputs, found) = look(world, name, engine, Bases::Once, cancel).await?;
    let manifest = inputs.manifest.clone();
    let step = StepId::new(StepKind::Build, name);
    let repository = &spec.repository.value;
    let (effect, output) = match (manifest.key(), manifest.waits_for()) {
        (Some(key), _) => {
            let was_there = world.last_key(&step).as_ref() == Some(&key);
            match found {
                Some(image) if tags(repository, &key, &image.id).iter().all(|tag| image.has_name(tag)) => {
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
    let inputs = (!is_intact || world.is_forced_step(&step)).then_some(inputs);
    let work = Work { name: name.to_owned(), inputs };
    Ok(Inspection { decision, manifest, output, work: super::Work::Build(Box::new(work)) })
}

/// The inputs, and the image with the tag of their key. All of the context counts where a build with the same Dockerfile
/// and the same base images took more of it than they tell: then no image has the key of what they tell.
async fn look(
    world: &World,
    name: &str,
    engine: &Engine,
    bases: Bases,
    cancel: &Cancel,
) -> Result<(Inputs, Option<ImageInfo>), StepError> {
    let spec = spec(world, name)?;
    let repository = &spec.repository.value;
    let mut reach = Reach::Narrowed;
    loop {
        let inputs = read(world, name, engine, reach, bases, cancel).await?;
        let Some(key) = inputs.manifest.key() else { return Ok((inputs, None)) };
        let found = engine.image(&format!("{repository}:{}", key_tag(&key))).await.map_err(of_docker)?;
        if found.is_none()
            && reach == Reach::Narrowed
            && let Some(tag) = inputs.outgrown()
        {
            let filter = ImageFilter { references: vec![format!("{repository}:{tag}-*")], ..ImageFilter::default() };
            if !engine.images(&filter).await.map_err(of_docker)?.is_empty() {
                reach = Reach::Whole;
                continue;
            }
        }
        return Ok((inputs, found));
    }
}

/// See [`super::Sources`].
pub(super) async fn sources(
    world: &World,
    name: &str,
    folders: &mut Vec<PathBuf>,
    cancel: &Cancel,
) -> Result<Manifest, StepError> {
    let spec = spec(world, name)?;
    let (Inputs { manifest, .. }, _) = look(world, name, world.builder(spec.load).await?, Bases::Now, cancel).await?;
    listed_folders(&manifest, &spec.context.absolute, folders);
    folder_of(&spec.dockerfile.absolute, folders);
    for secret in &spec.secrets {
        if let SecretSource::File(path) = &secret.source {
            folder_of(&path.absolute, folders);
        }
    }
    Ok(manifest)
}

/// A build of which nothing can be said before another step has run.
pub(super) fn unknown(name: &str, manifest: Manifest, because: StepId) -> Inspection {
    let decision = by_effect(&manifest, None, &Effect::Unknown { because });
    let work = super::Work::Build(Box::new(Work { name: name.to_owned(), inputs: None }));
    Inspection { decision, manifest, output: Known::After(StepId::new(StepKind::Build, name)), work }
}

fn key_tag(key: &Key) -> String {
    format!("k-{}", key.short())
}

/// The names of an image that was built from inputs with this key. The key's comes last: whoever finds it finds the others.
fn tags(repository: &str, key: &Key, id: &str) -> [String; 3] {
    let key = format!("{repository}:{}", key_tag(key));
    [id_tag(repository, id), format!("{key}-{}", deploy_tag(id)), key]
}

fn id_tag(repository: &str, id: &str) -> String {
    format!("{repository}:{}", deploy_tag(id))
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
    if let Some(known) = inputs.take() {
        let (known, finished) = match world.is_forced_step(speaker.step()) {
            true => (known, None),
            false => fetched_however(world, name, engine, known, speaker, cancel).await?,
        };
        if let Some(finished) = finished {
            return Ok(finished);
        }
        inputs = Some(known);
    }
    for _ in 0..CHASES {
        let Some(known) = inputs.take() else { break };
        let (reach, Some(build)) = (known.reach, &known.build) else {
            return Err(StepError::new(Class::Internal, "a build was started before its arguments were known"));
        };
        let mut told = false;
        let tell = |event: BuildEvent| {
            told = true;
            self::tell(speaker, &event);
        };
        let built = tokio::select! {
            built = engine.build(build, tell) => built,
            // Dropping the build closes its connections, and the engine stops building.
            _ = cancel.raised(CancelLevel::Terminate) => return Err(stopped()),
        };
        let built = match built {
            Ok(built) => built,
            // The Dockerfile was not understood as the engine understands it: all files count then.
            Err(DockerError::Outgrown { path }) if reach == Reach::Narrowed => {
                tracing::debug!(path, "the build outgrew its narrowed context");
                inputs = Some(read(world, name, engine, Reach::Whole, Bases::Now, cancel).await?);
                continue;
            }
            // It failed for want of a file that is no input any more.
            Err(DockerError::Gone { path }) => {
                warn_of_change(speaker, &path);
                inputs = Some(read(world, name, engine, reach, Bases::Now, cancel).await?);
                continue;
            }
            // A busy engine drops connections that are not greeted in time; nothing has happened yet.
            Err(error @ DockerError::Broken { .. }) if !told => {
                tracing::debug!(%error, "the build did not begin");
                inputs = Some(known);
                continue;
            }
            Err(error) => return Err(of_build(error)),
        };
        let now = read(world, name, engine, reach, Bases::Now, cancel).await?;
        if let Some(changed) = built.changed.or_else(|| difference(&known.manifest, &now.manifest)) {
            warn_of_change(speaker, &changed);
            inputs = Some(now);
            continue;
        }
        let repository = spec.repository.value.clone();
        let key = now.manifest.key().ok_or_else(|| StepError::new(Class::Internal, "a built image has no key"))?;
        let id = built.image.id;
        for name in now.names(&repository, &key, &id) {
            engine.tag(&id, &name).await.map_err(of_docker)?;
        }
        world.keep_manifest(speaker.step(), &now.manifest);
        let outgrown = now.outgrown().filter(|_| reach == Reach::Whole);
        for tag in [key_tag(&key)].into_iter().chain(outgrown) {
            tokio::select! {
                () = cache::share(world, engine, &repository, &tag, &id, speaker) => {}
                _ = cancel.raised(CancelLevel::Terminate) => return Err(stopped()),
            }
        }
        let note = Some(id_tag(&repository, &id));
        return Ok(Finished { output: Output::Image { repository, id }, note });
    }
    Err(StepError::new(Class::Input, "its files kept changing while it was being built")
        .with_diagnosis("try again when nothing writes into its context"))
}

/// The image from the cache, also if whoever built it found that all of the context counts: then it does here as well.
async fn fetched_however(
    world: &World,
    name: &str,
    engine: &Engine,
    inputs: Inputs,
    speaker: &Speaker,
    cancel: &Cancel,
) -> Result<(Inputs, Option<Finished>), StepError> {
    let spec = spec(world, name)?;
    let finished = fetched(world, spec, engine, &inputs, speaker, cancel).await?;
    let (None, Reach::Narrowed, Some(tag)) = (&finished, inputs.reach, inputs.outgrown()) else {
        return Ok((inputs, finished));
    };
    let outgrew = tokio::select! {
        outgrew = cache::has(world, engine, &spec.repository.value, &tag) => outgrew,
        _ = cancel.raised(CancelLevel::Terminate) => return Err(stopped()),
    };
    if !outgrew {
        return Ok((inputs, None));
    }
    let inputs = read(world, name, engine, Reach::Whole, Bases::Now, cancel).await?;
    let finished = fetched(world, spec, engine, &inputs, speaker, cancel).await?;
    Ok((inputs, finished))
}

/// The image from the cache, if it has one that was built from these inputs.
async fn fetched(
    world: &World,
    spec: &Spec,
    engine: &Engine,
    inputs: &Inputs,
    speaker: &Speaker,
    cancel: &Cancel,
) -> Result<Option<Finished>, StepError> {
    let (Some(cache), Some(key)) = (&world.stack().cache, inputs.manifest.key()) else { return Ok(None) };
    let (repository, tag) = (spec.repository.value.clone(), key_tag(&key));
    let image = tokio::select! {
        image = cache::fetch(world, engine, &repository, &tag, speaker) => image,
        _ = cancel.raised(CancelLevel::Terminate) => return Err(stopped()),
    };
    let Some(image) = image else { return Ok(None) };
    for name in inputs.names(&repository, &key, &image.id) {
        engine.tag(&image.id, &name).await.map_err(of_docker)?;
    }
    cache::forget(world, engine, &repository, &tag).await;
    world.keep_manifest(speaker.step(), &inputs.manifest);
    let note = Some(format!("{}, from {}", id_tag(&repository, &image.id), cache.registry));
    Ok(Some(Finished { output: Output::Image { repository, id: image.id }, note }))
}

fn warn_of_change(speaker: &Speaker, changed: &str) {
    speaker.warn(&format!("{changed} changed while the image was being built; building again"));
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
