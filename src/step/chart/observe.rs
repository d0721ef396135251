//! What there is of a chart's release: whose it is, what state it is in, what was edited, and whether it is ready.

use super::differences::{redactor, told};
use super::{Content, objects, record_id, rules};
use crate::config::{Chart as Spec, ChartSource as Source};
use crate::error::Class;
use crate::model::release::{Release, ReleaseStatus};
use crate::plan::Effect;
use crate::step::{StepError, World, of_helm, of_kube};
use crate::tools::helm::releases;
use crate::tools::kube::records::{self, Holder, Record};
use crate::tools::kube::{self, KubeError, Snapshot, yaml};

/// What was found of the release.
#[derive(Debug)]
pub(in crate::step) struct Seen {
    pub(super) effect: Effect,
    /// The release as it is now.
    pub(super) release: Option<Release>,
    /// Nothing is wrong but that it is not ready.
    pub(super) only_unready: bool,
}

impl Seen {
    pub(super) fn nothing(effect: Effect) -> Self {
        Self { effect, release: None, only_unready: false }
    }
}

/// A release and the record of how it was made.
pub(in crate::step) type Observed = (Seen, Option<Record>);

/// Looks at the record, the release and its objects.
pub(in crate::step) async fn observe(world: &World, name: &str, spec: &Spec) -> Result<Observed, StepError> {
    let snapshot = world.snapshot().await?;
    let id = record_id(world, name, &spec.namespace);
    let (record, release, goes) = tokio::join!(
        records::read_in(&snapshot, &id),
        releases::latest_in(&snapshot, &spec.namespace, &spec.release),
        kube::namespace_goes(&snapshot, &spec.namespace),
    );
    let (record, release) = (record.map_err(of_kube)?, release.map_err(of_helm)?);
    let (effect, only_unready) = match &release {
        // All that is in it is still there, and will be gone in a moment.
        Some(_) if goes => (Effect::wrong(format!("namespace {} is being deleted", spec.namespace)), false),
        None => (Effect::wrong(format!("release {} is not installed", spec.release)), false),
        Some(release) => condition(world, &snapshot, spec, release, record.as_ref()).await?,
    };
    Ok((Seen { effect, release, only_unready }, record))
}

async fn condition(
    world: &World,
    snapshot: &Snapshot,
    spec: &Spec,
    release: &Release,
    record: Option<&Record>,
) -> Result<(Effect, bool), StepError> {
    let wrong = |sentence: String| Ok((Effect::wrong(sentence), false));
    if record.is_none() && !is_ours(world, release) {
        if !spec.adopt {
            return Err(foreign(release));
        }
        return wrong(format!("release {} was installed by somebody else and is taken over", release.name));
    }
    if release.status != ReleaseStatus::Deployed {
        let since = release.updated.map(|since| format!(" since {since:.0}")).unwrap_or_default();
        return wrong(format!("release is {}{since}", release.status));
    }
    let Some(record) = record else {
        return wrong("there is no record of how the release was made".to_owned());
    };
    if let Some(Holder { host, pid, since }) = &record.in_doubt {
        return wrong(format!(
            "the last apply of it (process {pid} on {host}, since {since:.0}) failed or was cut off"
        ));
    }
    let Some(content) = Content::of(record) else {
        return wrong("its record is damaged, or of another version of stack".to_owned());
    };
    if content.revision != release.revision {
        let how = if release.description.starts_with("Rollback") { "rolled back" } else { "changed" };
        return wrong(format!("release was {how} by hand: revision {} became {}", content.revision, release.revision));
    }
    if content.uid.is_empty() {
        return wrong("its record was made by an older version of stack".to_owned());
    }
    if content.uid != release.uid {
        return wrong(format!(
            "release was removed, and installed by hand up to the same revision {}",
            release.revision
        ));
    }
    if content.unsure {
        return wrong("its files changed while Helm read them".to_owned());
    }
    let objects = objects(release)?;
    let seen = kube::observe_in(snapshot, &objects, &content.settled, &rules(world, spec), &spec.namespace).await;
    let seen = seen.map_err(|error| lost_definition(spec, &error).unwrap_or_else(|| of_kube(error)))?;
    let redactor = redactor(world, spec, Some(release));
    let edited = seen.drift.iter().map(|drift| told(drift, &redactor)).collect::<Vec<_>>();
    let unready = seen.unready().filter(|_| spec.wait);
    let unready = unready.map(|one| format!("{} is not ready: {}", one.object, one.detail));
    let unready = unready.chain(too_few(spec, &release.name, seen.workloads())).collect::<Vec<_>>();
    // What was edited is repaired by an upgrade; what is only not ready is waited for.
    Ok(match (edited.is_empty(), unready.is_empty()) {
        (false, _) => (Effect::Wrong(edited), false),
        (true, false) => (Effect::Wrong(unready), true),
        (true, true) => (Effect::Intact(format!("revision {} is deployed and ready", release.revision)), false),
    })
}

/// Told when a release that is waited for has fewer workloads than the stack file expects.
pub(super) fn too_few(spec: &Spec, release: &str, found: usize) -> Option<String> {
    let expected = spec.workloads.filter(|&expected| spec.wait && found < expected as usize)?;
    let workloads = if found == 1 { "workload" } else { "workloads" };
    Some(format!("release {release} has {found} {workloads}, and {expected} were expected"))
}

/// Whether the release says itself that this stack installed it, which it does even when the record is lost.
pub(super) fn is_ours(world: &World, release: &Release) -> bool {
    release.stack.as_deref() == Some(world.stack_name())
}

/// A definition that the chart has brought itself, and that has gone since: an upgrade does not bring it again.
fn lost_definition(spec: &Spec, error: &KubeError) -> Option<StepError> {
    let (KubeError::UnknownKind { kind, .. }, Source::Path(path)) = (error, &spec.source) else { return None };
    let definitions = std::fs::read_dir(path.absolute.join("crds")).ok()?.flatten();
    let texts = definitions.filter_map(|file| std::fs::read_to_string(file.path()).ok());
    let objects = texts.filter_map(|text| yaml::parse_all(&text).ok()).flatten();
    let mut kinds = objects.filter_map(|object| Some(object.value.pointer("/spec/names/kind")?.as_str()?.to_owned()));
    if !kinds.any(|named| named == *kind) {
        return None;
    }
    let folder = format!("{}/crds", path.text.trim_end_matches('/'));
    let say = format!(
        "the chart has its definition in crds/, which Helm installs with the first install only; try `kubectl apply -f {folder}`"
    );
    Some(StepError::of(error, error.class(), Some(say)))
}

fn foreign(release: &Release) -> StepError {
    let Release { name, namespace, .. } = release;
    let by = match &release.stack {
        Some(other) => format!("the stack {other} installed it"),
        None => "this stack did not install it".to_owned(),
    };
    StepError::new(Class::Input, format!("there is a release {name} in namespace {namespace} already, and {by}"))
        .with_diagnosis(
            "try `adopt = true` in its table, which takes it over; or give this one another name by `release`",
        )
}
