//! `chart:NAME`: a release is installed from exactly these inputs, nobody has changed it since, and it is ready.
//!
//! A release does not show what it was made from, so a record beside it does: the manifest and the revision that it led
//! to. The record is withdrawn before Helm is called and written when the release has been read back and is ready; whoever
//! dies in between leaves a record in doubt, which counts as none.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::output::{Known, Output};
use super::sources::{folder_of, whole_tree};
use super::{Finished, Inspection, Speaker, StepError, World, stopped};
use super::{values, watching};
use crate::config::{Chart as Spec, ChartSource as Source, ValuesSource};
use crate::error::Class;
use crate::graph::{StepId, StepKind};
use crate::key::{Group, Manifest, RecordedManifest, files};
use crate::model::release::{Release, ReleaseStatus};
use crate::plan::{Decision, Effect, by_record};
use crate::process::{Cancel, CancelLevel};
use crate::tools::helm::{self, ChartSource, HelmError, Recovered, Session, Upgrade, releases};
use crate::tools::kube::ready::{ReadyOptions, Rules, wait_ready};
use crate::tools::kube::records::{self, Holder, Record, RecordId};
use crate::tools::kube::{self, Cluster, KubeError, Object, manifest};

/// How long a namespace that is being deleted, or a helm that is at the release, is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long installing, and becoming ready, may take when the stack file says nothing.
const TIMEOUT: Duration = Duration::from_secs(300);

/// What `inspect` leaves to `execute`.
#[derive(Debug)]
pub(super) struct Work {
    name: String,
    /// The values of `set` and its kin, merged; absent while some are unknown.
    values: Option<HelmValues>,
    /// Helm has nothing to do: only what it made is not ready yet.
    only_wait: bool,
    record: Option<Record>,
}

/// The values that Helm gets, secrets included: they show themselves to nobody.
struct HelmValues(Json);

impl std::fmt::Debug for HelmValues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HelmValues(..)")
    }
}

/// What a chart's record says.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    manifest: RecordedManifest,
    /// The release's name, for when its chart has left the file.
    release: String,
    revision: u64,
    /// What the objects looked like when they were ready, to tell what was changed by hand.
    objects: Json,
}

fn of_kube(error: KubeError) -> StepError {
    StepError::of(&error, error.class(), error.help())
}

fn of_helm(error: HelmError) -> StepError {
    StepError::of(&error, error.class(), error.help())
}

fn spec<'w>(world: &'w World, name: &str) -> Result<&'w Spec, StepError> {
    let found = world.stack().charts.get(name);
    found.ok_or_else(|| StepError::new(Class::Internal, format!("there is no chart {name}")))
}

fn record_id(world: &World, name: &str, spec: &Spec) -> RecordId {
    RecordId {
        stack: world.stack_name().to_owned(),
        kind: StepKind::Chart.as_str().to_owned(),
        name: name.to_owned(),
        namespace: spec.namespace.clone(),
    }
}

pub(super) async fn inspect(world: &World, name: &str) -> Result<Inspection, StepError> {
    let spec = spec(world, name)?;
    let (manifest, values) = inputs(world, name, spec).await?;
    let (seen, record) = match world.cluster_uid() {
        Known::After(because) => (Seen::nothing(Effect::Unknown { because }), None),
        Known::Yes(_) => observe(world, name, spec).await?,
    };
    let last = record
        .as_ref()
        .filter(|record| record.in_doubt.is_none())
        .and_then(|record| serde_json::from_value::<Content>(record.content.clone()).ok())
        .map(|content| content.manifest);
    let decision = decide(&manifest, last.as_ref(), &seen);
    let only_wait = seen.only_unready
        && by_record(&manifest, last.as_ref(), &Effect::Intact(String::new())).action == crate::plan::Action::Skip;
    let output = match seen.revision {
        Some(revision) => Known::Yes(Output::Release { revision }),
        None => Known::After(StepId::new(StepKind::Chart, name)),
    };
    let work = Work { name: name.to_owned(), values, only_wait, record };
    Ok(Inspection { decision, manifest, output, work: super::Work::Chart(Box::new(work)) })
}

/// See [`super::Sources`].
pub(super) async fn sources(world: &World, name: &str, folders: &mut Vec<PathBuf>) -> Result<Manifest, StepError> {
    let spec = spec(world, name)?;
    if let Source::Path(path) = &spec.source {
        whole_tree(&path.absolute, folders);
    }
    for source in &spec.values {
        if let ValuesSource::File(path) = source {
            folder_of(&path.absolute, folders);
        }
    }
    spec.set_file.values().for_each(|path| folder_of(&path.absolute, folders));
    Ok(inputs(world, name, spec).await?.0)
}

fn decide(manifest: &Manifest, last: Option<&RecordedManifest>, seen: &Seen) -> Decision {
    by_record(manifest, last, &seen.effect)
}

/// Lists the inputs, and merges the values that Helm gets.
async fn inputs(world: &World, name: &str, spec: &Spec) -> Result<(Manifest, Option<HelmValues>), StepError> {
    let mut manifest = Manifest::new("chart");
    match world.cluster_uid() {
        Known::Yes(uid) => manifest.text(Group::Target, "cluster", uid),
        Known::After(step) => manifest.unknown(Group::Target, "cluster", step),
    }
    manifest.text(Group::Target, "namespace", &spec.namespace);
    manifest.text(Group::Target, "release", &spec.release);
    manifest.text(Group::Setting, "helm", world.helm().await?.major().to_string());

    let unreadable = |error: files::FilesError| StepError::of(&error, error.class(), None);
    match &spec.source {
        Source::Path(path) => {
            for file in files::chart(&path.absolute).map_err(unreadable)? {
                manifest.digest(Group::File, format!("{}/{}", path.text, file.path), file.digest);
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
    if !spec.post_render.is_empty() {
        for (place, argument) in spec.post_render.iter().enumerate() {
            values::add_template(world, &mut manifest, Group::Setting, &format!("post-render[{place}]"), argument);
        }
    }
    let values = merged(world, name, spec, &mut manifest)?;
    Ok((manifest, values))
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
        let text = std::fs::read_to_string(&path.absolute).map_err(|error| {
            StepError::new(Class::Input, format!("can't read {} for the value {key}: {error}", path.text))
        })?;
        manifest.digest(Group::File, &path.text, files::digest_bytes(text.as_bytes()));
        put(key, Json::from(text))?;
    }
    Ok(complete.then_some(HelmValues(tree)))
}

/// What was found of the release.
#[derive(Debug)]
struct Seen {
    effect: Effect,
    revision: Option<u64>,
    /// Nothing is wrong but that it is not ready.
    only_unready: bool,
}

impl Seen {
    fn nothing(effect: Effect) -> Self {
        Self { effect, revision: None, only_unready: false }
    }

    fn wrong(sentence: impl Into<String>, revision: Option<u64>) -> Self {
        Self { effect: Effect::wrong(sentence), revision, only_unready: false }
    }
}

/// Looks at the record, the release and its objects.
async fn observe(world: &World, name: &str, spec: &Spec) -> Result<(Seen, Option<Record>), StepError> {
    let cluster = world.cluster().await?;
    let id = record_id(world, name, spec);
    let (record, release) =
        tokio::join!(records::read(cluster, &id), releases::latest(cluster, &spec.namespace, &spec.release));
    let (record, release) = (record.map_err(of_kube)?, release.map_err(of_helm)?);
    let seen = match release {
        None => Seen::wrong(format!("release {} is not installed", spec.release), None),
        Some(release) => condition(world, cluster, spec, &release, record.as_ref()).await?,
    };
    Ok((seen, record))
}

async fn condition(
    world: &World,
    cluster: &Arc<Cluster>,
    spec: &Spec,
    release: &Release,
    record: Option<&Record>,
) -> Result<Seen, StepError> {
    let revision = Some(release.revision);
    if release.status != ReleaseStatus::Deployed {
        let since = release.updated.map(|since| format!(" since {since:.0}")).unwrap_or_default();
        return Ok(Seen::wrong(format!("release is {}{since}", release.status), revision));
    }
    let Some(record) = record else {
        return Ok(Seen::wrong("there is no record of how the release was made", revision));
    };
    if let Some(holder) = &record.in_doubt {
        let Holder { host, pid, since } = holder;
        return Ok(Seen::wrong(format!("process {pid} on {host} began at {since:.0} and did not finish"), revision));
    }
    let Ok(content) = serde_json::from_value::<Content>(record.content.clone()) else {
        return Ok(Seen::wrong("its record is damaged, or of another version of stack", revision));
    };
    if content.revision != release.revision {
        let how = if release.description.starts_with("Rollback") { "rolled back" } else { "changed" };
        let sentence = format!("release was {how} by hand: revision {} became {}", content.revision, release.revision);
        return Ok(Seen::wrong(sentence, revision));
    }
    let objects = objects(release)?;
    let seen = kube::observe(cluster, &objects, &rules(world, spec), &spec.namespace).await.map_err(of_kube)?;
    let edited = seen.drift.iter().map(ToString::to_string).collect::<Vec<_>>();
    let unready = seen.unready().filter(|_| spec.wait);
    let unready = unready.map(|one| format!("{} is not ready: {}", one.object, one.detail)).collect::<Vec<_>>();
    // What was edited is repaired by an upgrade; what is only not ready is waited for.
    let only_unready = edited.is_empty() && !unready.is_empty();
    let effect = match (edited.is_empty(), unready.is_empty()) {
        (false, _) => Effect::Wrong(edited),
        (true, false) => Effect::Wrong(unready),
        (true, true) => Effect::Intact(format!("revision {} is deployed and ready", release.revision)),
    };
    Ok(Seen { effect, revision, only_unready })
}

fn objects(release: &Release) -> Result<Vec<Object>, StepError> {
    manifest::objects(&release.manifest, &release.namespace).map_err(|error| StepError::of(&error, error.class(), None))
}

pub(super) fn rules(world: &World, spec: &Spec) -> Rules {
    Rules {
        grace: spec.patience.grace,
        max_restarts: spec.patience.max_restarts.into(),
        own_images: world.stack().images.values().map(|image| image.repository.value.clone()).collect(),
        ..Rules::default()
    }
}

/// Waits until everything in the release is ready.
async fn wait(
    world: &World,
    cluster: &Cluster,
    spec: &Spec,
    release: &Release,
    speaker: &Speaker,
    cancel: &Cancel,
) -> Result<(), StepError> {
    let objects = objects(release)?;
    let options = ReadyOptions {
        rules: rules(world, spec),
        timeout: spec.options.timeout.unwrap_or(TIMEOUT),
        namespace: spec.namespace.clone(),
    };
    let report = wait_ready(cluster, &objects, &options, cancel, |event| watching::tell(speaker, event)).await;
    let report = report.map_err(watching::not_ready)?;
    for warning in &report.warnings {
        speaker.warn(warning);
    }
    if let Some(expected) = spec.workloads.filter(|&expected| report.workloads < expected as usize) {
        let found = report.workloads;
        let reason = format!("release {} has {found} workloads, and {expected} were expected", release.name);
        return Err(StepError::new(Class::Input, reason)
            .with_diagnosis("try to see which values switch them off; or correct `workloads` in the stack file"));
    }
    Ok(())
}

pub(super) async fn execute(
    world: &World,
    work: Work,
    manifest: Manifest,
    speaker: &Speaker,
    cancel: &Cancel,
) -> Result<Finished, StepError> {
    let spec = spec(world, &work.name)?;
    let id = record_id(world, &work.name, spec);
    let cluster = world.cluster().await?;
    let recorded = manifest
        .recorded()
        .ok_or_else(|| StepError::new(Class::Internal, "a chart was started before its inputs were known"))?;

    if !work.only_wait {
        if spec.create_namespace {
            cluster.ensure_namespace(&spec.namespace, world.stack_name(), PATIENCE).await.map_err(of_kube)?;
        }
        let holder = Holder { host: host(world), pid: std::process::id(), since: Timestamp::now() };
        records::withdraw(cluster, &id, &holder).await.map_err(of_kube)?;
        upgrade(world, spec, &work, cluster, speaker, cancel).await?;
    }
    let release = releases::latest(cluster, &spec.namespace, &spec.release).await.map_err(of_helm)?;
    let release = release.filter(|release| release.status == ReleaseStatus::Deployed).ok_or_else(|| {
        StepError::new(
            Class::Environment,
            format!("helm said that {} is installed, but it is not deployed", spec.release),
        )
    })?;
    if cancel.level() > CancelLevel::None {
        return Err(stopped());
    }
    if spec.wait {
        wait(world, cluster, spec, &release, speaker, cancel).await?;
    }
    let content =
        Content { manifest: recorded, release: release.name.clone(), revision: release.revision, objects: Json::Null };
    let content = serde_json::to_value(&content)
        .map_err(|error| StepError::new(Class::Internal, format!("a record can't be written as JSON: {error}")))?;
    records::write(cluster, &id, &content).await.map_err(of_kube)?;
    let note = format!("{} revision {} is ready", release.name, release.revision);
    Ok(Finished { output: Output::Release { revision: release.revision }, note: Some(note) })
}

/// Has Helm install or upgrade the release, after one that was left half done has been recovered.
async fn upgrade(
    world: &World,
    spec: &Spec,
    work: &Work,
    cluster: &Cluster,
    speaker: &Speaker,
    cancel: &Cancel,
) -> Result<(), StepError> {
    let session = Session {
        helm: world.helm().await?,
        context: cluster.context(),
        kubeconfig: cluster.kubeconfig(),
        namespace: &spec.namespace,
        cancel,
        redactor: speaker.redactor(),
    };
    let holder = work.record.as_ref().and_then(|record| record.in_doubt.as_ref());
    match helm::recover(&session, cluster, &spec.release, holder, &host(world), PATIENCE).await.map_err(of_helm)? {
        Recovered::Nothing | Recovered::Waited => {}
        Recovered::Failed { status, .. } => {
            speaker.warn(&format!(
                "release {} was left {status} by somebody who is gone; going on from there",
                spec.release
            ));
        }
        Recovered::Removed => {
            speaker.warn(&format!("the removal of release {} was left half done; it is done now", spec.release))
        }
    }
    let values = work.values.as_ref().map_or(Json::Object(Map::new()), |HelmValues(values)| values.clone());
    let upgrade = Upgrade {
        release: spec.release.clone(),
        chart: source(spec),
        values_files: values_files(spec),
        values,
        timeout: spec.options.timeout.unwrap_or(TIMEOUT),
        post_renderer: post_renderer(world, spec)?,
        adopt: spec.adopt,
        description: Some(format!("applied by stack {}", env!("CARGO_PKG_VERSION"))),
    };
    session.upgrade(&upgrade, |stream, line| speaker.output(stream, line)).await.map_err(of_helm)
}

fn source(spec: &Spec) -> ChartSource {
    match &spec.source {
        Source::Path(path) => ChartSource::Path(path.absolute.clone()),
        Source::Published { chart, version, .. } => {
            ChartSource::Remote { name: chart.value.clone(), version: version.clone() }
        }
    }
}

fn values_files(spec: &Spec) -> Vec<PathBuf> {
    spec.values
        .iter()
        .map(|source| match source {
            ValuesSource::File(path) => path.absolute.clone(),
            ValuesSource::Url(url) => PathBuf::from(url),
        })
        .collect()
}

fn post_renderer(world: &World, spec: &Spec) -> Result<Option<Vec<String>>, StepError> {
    if spec.post_render.is_empty() {
        return Ok(None);
    }
    let known = spec.post_render.iter().map(|argument| values::text(world, argument));
    let known = known.collect::<Result<Vec<_>, _>>();
    known.map(Some).map_err(|step| StepError::new(Class::Internal, format!("post-render waits for {step}")))
}

/// The name of this machine, to tell whose half-done work it is.
fn host(world: &World) -> String {
    let known = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    known.map(|name| name.trim().to_owned()).or_else(|| world.environment().get("HOSTNAME")).unwrap_or_default()
}
