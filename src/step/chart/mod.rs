//! `chart:NAME`: a release is installed from exactly these inputs, nobody has changed it since, and it is ready.
//!
//! A release does not show what it was made from, so a record beside it does: the manifest and the revision that it led
//! to. The record is withdrawn before Helm is called and written when the release has been read back and is ready; whoever
//! dies in between leaves a record in doubt, which counts as none.

mod differences;
mod inputs;
mod install;
mod observe;
mod rollback;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use self::inputs::{HelmValues, Inputs};
use self::observe::Seen;
use self::rollback::Failed;
use super::output::{Known, Output};
use super::{Finished, Inspection, Speaker, StepError, World, builds, of_helm, of_kube, stopped, values, watching};
use crate::config::{Chart as Spec, OnFailure};
use crate::error::Class;
use crate::graph::{StepId, StepKind};
use crate::key::files::Looked;
use crate::key::{Manifest, RecordedManifest, changes};
use crate::model::release::{Release, ReleaseStatus};
use crate::plan::{Action, Effect, by_record};
use crate::process::{Cancel, CancelLevel};
use crate::tools::helm::{Session, releases};
use crate::tools::kube::drift::{self, Settled, Settlement};
use crate::tools::kube::ready::{ReadyOptions, Rules, diagnose_now, wait_ready};
use crate::tools::kube::records::{self, Holder, Record, RecordId};
use crate::tools::kube::{Cluster, Object, manifest};

pub use differences::ChartChanges;
pub(super) use differences::differences;
pub(super) use inputs::sources;
pub(super) use install::session;
pub(super) use observe::{Observed, observe};

/// How long a namespace that is being deleted, a helm that is at the release, or a removal is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long installing, and becoming ready, may take when the stack file says nothing.
pub(super) const TIMEOUT: Duration = Duration::from_secs(300);

/// What `inspect` leaves to `execute`.
#[derive(Debug)]
pub(super) struct Work {
    name: String,
    /// The values of `set` and its kin, merged; absent while some are unknown.
    values: Option<HelmValues>,
    /// The files that its manifest was made from.
    looked: Looked,
    /// Helm has nothing to do: only what it made is not ready yet.
    only_wait: bool,
    record: Option<Record>,
    /// The release before this step.
    release: Option<Release>,
}

/// What a chart's record says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Content {
    manifest: RecordedManifest,
    /// The release's name, for when its chart has left the file.
    pub(super) release: String,
    /// The last revision that was ready.
    revision: u64,
    /// Its uid; empty in records of older versions.
    #[serde(default)]
    uid: String,
    /// What the cluster made of its manifest.
    #[serde(default)]
    settled: Settled,
    /// Its files changed while Helm read them, so that it was made from nobody knows what.
    #[serde(default)]
    unsure: bool,
    /// Whether it is removed when its chart has left the file.
    #[serde(default = "yes")]
    pub(super) prune: bool,
}

const fn yes() -> bool {
    true
}

impl Content {
    /// What a record says; none when it was never ready, or says what we do not understand.
    pub(super) fn of(record: &Record) -> Option<Self> {
        serde_json::from_value(record.content.clone()).ok()
    }

    /// Writes it as what holds now; beside it, when that is new, what the release's images were built from.
    async fn write(&self, cluster: &Cluster, id: &RecordId, images: Option<builds::Builds>) -> Result<(), StepError> {
        let json = serde_json::to_value(self)
            .map_err(|error| StepError::new(Class::Internal, format!("a record can't be written as JSON: {error}")))?;
        records::write(cluster, id, &json, images.as_ref()).await.map_err(of_kube)
    }
}

fn spec<'w>(world: &'w World, name: &str) -> Result<&'w Spec, StepError> {
    let found = world.stack().charts.get(name);
    found.ok_or_else(|| StepError::new(Class::Internal, format!("there is no chart {name}")))
}

/// Where the record of a chart is.
pub(super) fn record_id(world: &World, name: &str, namespace: &str) -> RecordId {
    RecordId {
        stack: world.stack_name().to_owned(),
        kind: StepKind::Chart.as_str().to_owned(),
        name: name.to_owned(),
        namespace: namespace.to_owned(),
    }
}

pub(super) async fn inspect(world: &World, name: &str) -> Result<Inspection, StepError> {
    let spec = spec(world, name)?;
    let Inputs { manifest, values, looked } = inputs::collect(world, name, spec).await?;
    let (seen, record) = match world.cluster_uid() {
        Known::After(because) => (Seen::nothing(Effect::Unknown { because }), None),
        Known::Yes(_) => match world.early().chart(name).await {
            Some(observed) => observed,
            None => observe(world, name, spec).await?,
        },
    };
    let last = record.as_ref().filter(|record| record.in_doubt.is_none()).and_then(Content::of);
    let last = last.map(|content| content.manifest);
    let mut decision = by_record(&manifest, last.as_ref(), &seen.effect);
    if decision.action == Action::Run {
        // What was edited by hand is told with its values.
        let redactor = differences::redactor(world, spec, seen.release.as_ref());
        decision.reason = redactor.text(&decision.reason);
    }
    let only_wait =
        seen.only_unready && by_record(&manifest, last.as_ref(), &Effect::Intact(String::new())).action == Action::Skip;
    let output = match &seen.release {
        Some(release) => Known::Yes(output(release)),
        None => Known::After(StepId::new(StepKind::Chart, name)),
    };
    let work = Work { name: name.to_owned(), values, looked, only_wait, record, release: seen.release };
    Ok(Inspection { decision, manifest, output, work: super::Work::Chart(Box::new(work)) })
}

/// A chart of which nothing can be said before another step has run.
pub(super) fn unknown(name: &str, manifest: Manifest, because: StepId) -> Inspection {
    let decision = by_record(&manifest, None, &Effect::Unknown { because });
    let (name, output) = (name.to_owned(), Known::After(StepId::new(StepKind::Chart, name)));
    let work = Work { name, values: None, looked: Looked::default(), only_wait: false, record: None, release: None };
    Inspection { decision, manifest, output, work: super::Work::Chart(Box::new(work)) }
}

fn output(release: &Release) -> Output {
    Output::Release { revision: release.revision, uid: release.uid.clone() }
}

pub(super) fn objects(release: &Release) -> Result<Vec<Object>, StepError> {
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
    (release, objects): (&Release, &[Object]),
    deadline: Instant,
    speaker: &Speaker,
    cancel: &Cancel,
) -> Result<(), StepError> {
    let options = ReadyOptions {
        rules: rules(world, spec),
        timeout: deadline.saturating_duration_since(Instant::now()),
        namespace: spec.namespace.clone(),
    };
    let report = wait_ready(cluster, objects, &options, cancel, |event| watching::tell(speaker, event)).await;
    let report = report.map_err(watching::not_ready)?;
    for warning in &report.warnings {
        speaker.warn(warning);
    }
    if let Some(reason) = observe::too_few(spec, &release.name, report.workloads) {
        return Err(StepError::new(Class::Input, reason)
            .with_diagnosis("try to see which values switch them off; or correct `workloads` in the stack file"));
    }
    Ok(())
}

pub(super) async fn execute(
    world: &World,
    mut work: Work,
    manifest: Manifest,
    speaker: &Speaker,
    cancel: &Cancel,
) -> Result<Finished, StepError> {
    let spec = spec(world, &work.name)?;
    let cluster = world.cluster().await?;
    let id = record_id(world, &work.name, &spec.namespace);
    let session = session(world, cluster, &spec.namespace, speaker.redactor(), cancel).await?;
    let holder = Holder { host: host(world), pid: std::process::id(), since: Timestamp::now() };
    let deadline = Instant::now() + spec.options.timeout.unwrap_or(TIMEOUT);
    let run = Run { world, spec, cluster, session, id, holder, deadline, speaker, cancel };
    if work.only_wait {
        let release = run.deployed().await?;
        if work.release.as_ref().is_some_and(|seen| seen.uid == release.uid) {
            let settled = work.record.as_ref().and_then(Content::of).map(|content| content.settled);
            let made = Made { settled: settled.unwrap_or_default(), unsure: false };
            return run.finish(&work, &manifest, &release, made).await;
        }
        // Somebody has changed it since it was looked at.
    }
    let manifest = run.prepare(&mut work, manifest).await?;
    match run.install(&work, &manifest).await {
        Ok(finished) => Ok(finished),
        Err(error) if cancel.level() > CancelLevel::None || spec.on_failure == OnFailure::Keep => Err(error),
        Err(error) => Err(run.failed(&work).go_back(error).await),
    }
}

/// What is known of a release beside what it says itself.
struct Made {
    settled: Settled,
    unsure: bool,
}

/// A chart step at work.
struct Run<'a> {
    world: &'a World,
    spec: &'a Spec,
    cluster: &'a Cluster,
    session: Session<'a>,
    id: RecordId,
    holder: Holder,
    /// When installing and becoming ready have to be over.
    deadline: Instant,
    speaker: &'a Speaker,
    cancel: &'a Cancel,
}

impl Run<'_> {
    /// Sees to all that Helm needs, and marks the record as in doubt. The inputs change when dependencies were fetched.
    async fn prepare(&self, work: &mut Work, mut manifest: Manifest) -> Result<Manifest, StepError> {
        let Self { world, spec, cluster, .. } = self;
        if install::dependencies(&self.session, spec, self.speaker).await? {
            let inputs = inputs::collect(world, &work.name, spec).await?;
            (manifest, work.values, work.looked) = (inputs.manifest, inputs.values, inputs.looked);
        }
        if spec.create_namespace {
            let labels = values::texts(world, &spec.namespace_labels)?;
            let made = cluster.ensure_namespace(&spec.namespace, world.stack_name(), &labels, PATIENCE).await;
            made.map_err(of_kube)?;
        }
        self.remove_former(work).await?;
        // Until it is ready, the record says no more than what has to be removed when its chart leaves the file.
        let first = serde_json::json!({ "release": spec.release, "prune": spec.prune });
        records::withdraw(cluster, &self.id, &self.holder, &first).await.map_err(of_kube)?;
        Ok(manifest)
    }

    /// A release that the chart had under another name goes first: both may make objects of the same names.
    async fn remove_former(&self, work: &Work) -> Result<(), StepError> {
        let former = work.record.as_ref().and_then(|record| record.content.get("release")?.as_str());
        let Some(former) = former.filter(|former| *former != self.spec.release) else { return Ok(()) };
        if !self.spec.prune {
            self.speaker.warn(&format!("release {former}, as this chart was called before, stays: prune = false"));
            return Ok(());
        }
        self.speaker.warn(&format!("removing release {former}, as this chart was called before"));
        let said = |stream, line: &str| self.speaker.output(stream, line);
        self.session.uninstall(former, PATIENCE, said).await.map(|_| ()).map_err(of_helm)
    }

    /// Installs or upgrades, and waits.
    async fn install(&self, work: &Work, manifest: &Manifest) -> Result<Finished, StepError> {
        let Self { world, spec, cluster, session, speaker, .. } = self;
        let holder = work.record.as_ref().and_then(|record| record.in_doubt.as_ref());
        install::recover(world, session, cluster, &spec.release, holder, speaker).await?;
        let wanted = install::wanted(world, spec, work.values.as_ref())?;
        if let Some(before) = &work.release {
            drift::undo(cluster, &objects(before)?, &spec.namespace).await.map_err(of_kube)?;
        }
        if let Err(error) = install::upgrade(session, cluster, &wanted, speaker).await {
            return Err(self.explain_hooks(error).await);
        }
        let unsure = self.has_changed(work, manifest).await;
        let release = self.deployed().await?;
        install::sweep(cluster, &release, speaker).await?;
        let settled = self.settle(work, &release).await?;
        self.finish(work, manifest, &release, Made { settled, unsure }).await
    }

    /// Whether what Helm has read may be something else than what was looked at before.
    async fn has_changed(&self, work: &Work, manifest: &Manifest) -> bool {
        let changed = work.looked.changed().map(|path| path.display().to_string());
        // Of a change within a tick of the clock the system says nothing, but it shows.
        let again = match inputs::collect(self.world, &work.name, self.spec).await {
            Ok(again) if again.manifest.key() == manifest.key() => None,
            Ok(_) | Err(_) => Some("what it is made from".to_owned()),
        };
        let Some(what) = changed.or(again) else { return false };
        self.speaker.warn(&format!("{what} changed while Helm was at it, so it will run again the next time"));
        true
    }

    /// Sees to what Helm does not repair, and to what the cluster has made of the release.
    async fn settle(&self, work: &Work, release: &Release) -> Result<Settled, StepError> {
        let before = work.record.as_ref().and_then(Content::of).map(|content| content.settled).unwrap_or_default();
        let settlement = drift::settle(self.cluster, &objects(release)?, &before, &self.spec.namespace).await;
        let Settlement { settled, warnings } = settlement.map_err(of_kube)?;
        let redactor = differences::redactor(self.world, self.spec, Some(release));
        warnings.iter().for_each(|warning| self.speaker.warn(&differences::warned(warning, &redactor)));
        Ok(settled)
    }

    /// The release, which has to be deployed now.
    async fn deployed(&self) -> Result<Release, StepError> {
        let release =
            releases::latest(self.cluster, &self.spec.namespace, &self.spec.release).await.map_err(of_helm)?;
        release.filter(|release| release.status == ReleaseStatus::Deployed).ok_or_else(|| {
            let reason = format!("helm said that {} is installed, but it is not deployed", self.spec.release);
            StepError::new(Class::Environment, reason)
        })
    }

    /// Helm says of a hook that failed only that it has; its pods say why.
    async fn explain_hooks(&self, error: StepError) -> StepError {
        let Self { world, spec, cluster, .. } = self;
        let found = releases::latest(cluster, &spec.namespace, &spec.release).await;
        let Ok(Some(release)) = found else { return error };
        let hooks = manifest::hooks(&release.failed_hooks.join("\n---\n"), &spec.namespace).unwrap_or_default();
        if hooks.is_empty() {
            return error;
        }
        match diagnose_now(cluster, &hooks, &rules(world, spec), &spec.namespace).await {
            Ok(diagnosis) if !diagnosis.findings.is_empty() => error.with_diagnosis(diagnosis.to_string().trim_end()),
            Ok(_) | Err(_) => error,
        }
    }

    /// Waits until it is ready, and records that.
    async fn finish(
        &self,
        work: &Work,
        manifest: &Manifest,
        release: &Release,
        made: Made,
    ) -> Result<Finished, StepError> {
        let Self { world, spec, cluster, speaker, cancel, .. } = self;
        if cancel.level() > CancelLevel::None {
            return Err(stopped());
        }
        if spec.wait {
            let mut objects = objects(release)?;
            if work.only_wait {
                objects = drift::not_expired(cluster, objects, &spec.namespace).await.map_err(of_kube)?;
            }
            wait(world, cluster, spec, (release, &objects), self.deadline, speaker, cancel).await?;
        }
        let recorded = manifest
            .recorded()
            .ok_or_else(|| StepError::new(Class::Internal, "a chart was started before its inputs were known"))?;
        let last = work.record.as_ref().and_then(Content::of).map(|content| content.manifest);
        let content = Content {
            manifest: recorded,
            release: release.name.clone(),
            revision: release.revision,
            uid: release.uid.clone(),
            settled: made.settled,
            unsure: made.unsure,
            prune: spec.prune,
        };
        content.write(cluster, &self.id, Some(builds::of_images_in(world, manifest))).await?;
        if release.revision > 1 && last.is_some_and(|last| definitions_changed(&last, manifest)) {
            speaker.warn("definitions in crds/ have changed, and Helm never upgrades those: `kubectl apply -f` does");
        }
        if work.release.as_ref().is_none_or(|before| before.notes != release.notes) {
            speaker.notes(&release.notes);
        }
        let note = format!("{} revision {} is ready", release.name, release.revision);
        Ok(Finished { output: output(release), note: Some(note) })
    }

    fn failed<'s>(&'s self, work: &Work) -> Failed<'s> {
        Failed {
            world: self.world,
            spec: self.spec,
            cluster: self.cluster,
            session: &self.session,
            record: &self.id,
            holder: &self.holder,
            ready: work.record.as_ref().and_then(Content::of),
            speaker: self.speaker,
            cancel: self.cancel,
        }
    }
}

fn definitions_changed(last: &RecordedManifest, now: &Manifest) -> bool {
    changes(last, now).iter().any(|change| change.input.starts_with("file.") && change.input.contains("/crds/"))
}

/// The name of this machine, to tell whose half-done work it is.
fn host(world: &World) -> String {
    let known = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    known.map(|name| name.trim().to_owned()).or_else(|| world.environment().get("HOSTNAME")).unwrap_or_default()
}
