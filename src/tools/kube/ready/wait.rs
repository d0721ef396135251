//! Waiting until the objects of a release are ready, by watches.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{FutureExt, select_all};
use jiff::Timestamp;
use serde::Serialize;
use thiserror::Error;
use tokio::time::Instant;

use super::assess::{Assessment, Progress, assess, is_workload, takes_time};
use super::diagnose::{Diagnosis, diagnose};
use super::judge::{Judge, Sighting, Verdict};
use super::trouble::Rules;
use super::world::World;
use crate::error::Class;
use crate::model::deployment::DeploymentState;
use crate::model::machine::{Machine, Tracker};
use crate::model::pod::PodState;
use crate::model::service::ServiceState;
use crate::process::{Cancel, CancelLevel};
use crate::tools::kube::cluster::Cluster;
use crate::tools::kube::error::KubeError;
use crate::tools::kube::kinds::Kind;
use crate::tools::kube::object::{Object, ObjectRef};
use crate::tools::kube::slices;
use crate::tools::kube::watch::{Feed, FeedKey, version};

// Changes come in bursts; what belongs together is judged together.
const BURST: Duration = Duration::from_millis(15);
// A custom kind whose definition was installed a moment ago is not served yet.
const KIND_PATIENCE: Duration = Duration::from_secs(10);

/// How to wait.
#[derive(Debug, Clone)]
pub struct ReadyOptions {
    /// What counts as failing, and when.
    pub rules: Rules,
    /// How long at most.
    pub timeout: Duration,
    /// The namespace of objects that name none.
    pub namespace: String,
}

/// What happens while waiting.
#[derive(Debug, Clone, PartialEq)]
pub enum ReadyEvent {
    /// An object changed its state.
    Transition {
        /// Which object.
        object: ObjectRef,
        /// The state before.
        from: String,
        /// The state now.
        to: String,
        /// `1 of 2 new pods ready`.
        detail: String,
    },
    /// An object came further within its state.
    Progress {
        /// Which object.
        object: ObjectRef,
        /// `1 of 2 new pods ready`.
        detail: String,
    },
    /// Something is wrong that may still pass.
    Trouble(Sighting),
    /// The API server cannot be heard for now.
    Note(String),
}

/// Everything is ready.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadyReport {
    /// What the rules say of each object that takes time.
    pub assessments: Vec<Assessment>,
    /// How many of the objects run pods. Zero where some were expected is worth a word.
    pub workloads: usize,
    /// Things to know that are no failure.
    pub warnings: Vec<String>,
}

/// Why waiting ended before everything was ready.
#[derive(Debug, Error)]
pub enum NotReady {
    /// Something will not become ready by itself.
    #[error("{}", .0.headline())]
    Failed(Box<Diagnosis>),
    /// It took longer than it may.
    #[error("not ready after {} s: {}", timeout.as_secs(), diagnosis.headline())]
    TimedOut {
        /// How long was waited.
        timeout: Duration,
        /// What is in the way.
        diagnosis: Box<Diagnosis>,
    },
    /// The run was cancelled.
    #[error("waiting was stopped because the run was cancelled")]
    Cancelled,
    /// The cluster could not be asked.
    #[error(transparent)]
    Kube(#[from] KubeError),
}

impl NotReady {
    /// What the caller can do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Failed(diagnosis) | Self::TimedOut { diagnosis, .. } => diagnosis.class(),
            Self::Cancelled => Class::Input,
            Self::Kube(error) => error.class(),
        }
    }

    /// What was found, when something was.
    pub fn diagnosis(&self) -> Option<&Diagnosis> {
        match self {
            Self::Failed(diagnosis) | Self::TimedOut { diagnosis, .. } => Some(diagnosis),
            Self::Cancelled | Self::Kube(_) => None,
        }
    }

    /// What to try.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Failed(diagnosis) | Self::TimedOut { diagnosis, .. } => diagnosis.suggestion(),
            Self::Cancelled => None,
            Self::Kube(error) => error.help(),
        }
    }
}

/// Waits until the objects of a manifest are ready, telling what happens meanwhile.
pub async fn wait_ready(
    cluster: &Cluster,
    objects: &[Object],
    options: &ReadyOptions,
    cancel: &Cancel,
    mut on_event: impl FnMut(ReadyEvent) + Send,
) -> Result<ReadyReport, NotReady> {
    let deadline = Instant::now() + options.timeout;
    let subjects = subjects(cluster, objects, &options.namespace, deadline).await?;
    if subjects.is_empty() {
        return Ok(report(Vec::new()));
    }
    let feeds = feeds(cluster, &subjects).await?;
    let mut changes = feeds.iter().map(|followed| followed.feed.changes()).collect::<Vec<_>>();
    let mut judge = Judge::new(options.rules.clone());
    let mut followers = Followers::default();
    let mut silent: Option<Instant> = None;
    let mut finished = HashMap::new();
    loop {
        for receiver in &mut changes {
            receiver.mark_unchanged();
        }
        let mut look_again = None;
        let behind = feeds.iter().filter_map(|followed| Some((followed, followed.feed.trouble()?)));
        if let Some((followed, trouble)) = behind.clone().find(|(followed, trouble)| trouble.refused && followed.needed)
        {
            let action = format!("watch {}", followed.key.kind.plural);
            return Err(KubeError::Forbidden { action, message: trouble.message }.into());
        }
        let outage = behind.map(|(_, trouble)| trouble).find(|trouble| !trouble.refused);
        match (&outage, silent) {
            (Some(trouble), None) if trouble.since.elapsed() > Duration::from_secs(2) => {
                silent = Some(trouble.since);
                on_event(ReadyEvent::Note(format!("{}; still trying", trouble.message)));
            }
            (None, Some(since)) => {
                silent = None;
                on_event(ReadyEvent::Note(format!("the API answers again after {} s", since.elapsed().as_secs())));
            }
            (Some(_) | None, _) => {}
        }
        let current = feeds.iter().all(Followed::is_current);
        let mut last = None;
        if current {
            let now = Timestamp::now();
            let world = world(&feeds, objects);
            let mut assessments = judged(&subjects, &world, &options.rules, now);
            keep_finished(&mut assessments, &world, &mut finished);
            followers.follow(&assessments, &world, &mut on_event);
            let (verdict, sightings) = judge.judge(&assessments, now);
            sightings.into_iter().for_each(|sighting| on_event(ReadyEvent::Trouble(sighting)));
            match verdict {
                Verdict::Ready => return Ok(report(assessments)),
                Verdict::Failed => {
                    return Err(NotReady::Failed(Box::new(diagnose(cluster, &world, assessments).await)));
                }
                Verdict::Wait(at) => look_again = at,
            }
            last = Some((world, assessments));
        }
        let wake = look_again.map_or(deadline, |at| {
            let left = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
            (Instant::now() + left + Duration::from_millis(1)).min(deadline)
        });
        let changed = select_all(changes.iter_mut().map(|receiver| receiver.changed().boxed()));
        tokio::select! {
            _ = cancel.raised(CancelLevel::Terminate) => return Err(NotReady::Cancelled),
            () = tokio::time::sleep_until(wake) => {}
            _ = changed => tokio::time::sleep(BURST).await,
        }
        if Instant::now() >= deadline {
            let diagnosis = match last {
                Some((world, assessments)) => diagnose(cluster, &world, assessments).await,
                None => Diagnosis::of_silence(cluster, outage.map(|trouble| trouble.message)),
            };
            return Err(NotReady::TimedOut { timeout: options.timeout, diagnosis: Box::new(diagnosis) });
        }
    }
}

/// Whether the objects of a manifest are ready now, by lists alone: no watch, no wait.
pub async fn observe_ready(
    cluster: &Cluster,
    objects: &[Object],
    rules: &Rules,
    namespace: &str,
) -> Result<Vec<Assessment>, KubeError> {
    Ok(observe_world(cluster, objects, rules, namespace).await?.1)
}

/// The same, with all that it was judged by.
pub(crate) async fn observe_world(
    cluster: &Cluster,
    objects: &[Object],
    rules: &Rules,
    namespace: &str,
) -> Result<(World, Vec<Assessment>), KubeError> {
    let subjects = subjects(cluster, objects, namespace, Instant::now()).await?;
    let world = world_now(cluster, &subjects, objects).await?;
    let assessments = judged(&subjects, &world, rules, Timestamp::now());
    Ok((world, assessments))
}

/// What is wrong with the objects of a manifest now, in words.
pub async fn diagnose_now(
    cluster: &Cluster,
    objects: &[Object],
    rules: &Rules,
    namespace: &str,
) -> Result<Diagnosis, KubeError> {
    let (world, assessments) = observe_world(cluster, objects, rules, namespace).await?;
    Ok(diagnose(cluster, &world, assessments).await)
}

/// An object that takes time, and where the API keeps its kind.
struct Subject {
    reference: ObjectRef,
    kind: Kind,
}

/// The objects of a manifest that take time.
async fn subjects(
    cluster: &Cluster,
    objects: &[Object],
    namespace: &str,
    deadline: Instant,
) -> Result<Vec<Subject>, KubeError> {
    let patience = deadline.min(Instant::now() + KIND_PATIENCE);
    let mut subjects = Vec::new();
    for object in objects {
        let mut reference = object.reference();
        if !takes_time(&reference) {
            continue;
        }
        let kind = loop {
            match cluster.kind(&reference.api_version, &reference.kind).await {
                Err(KubeError::UnknownKind { .. }) if Instant::now() < patience => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                result => break result?,
            }
        };
        match (kind.namespaced, reference.namespace.is_empty()) {
            (true, true) => reference.namespace = namespace.to_owned(),
            (false, false) => reference.namespace.clear(),
            (true, false) | (false, true) => {}
        }
        subjects.push(Subject { reference, kind });
    }
    Ok(subjects)
}

/// What has to be known to judge the subjects.
fn keys(subjects: &[Subject]) -> Result<Vec<FeedKey>, KubeError> {
    let mut keys = BTreeSet::new();
    let key = |kind: Kind, namespace: &str, fields: Option<&str>| {
        (kind, Some(namespace).filter(|n| !n.is_empty()).map(str::to_owned), fields.map(str::to_owned))
    };
    for Subject { reference, kind } in subjects {
        let namespace = reference.namespace.as_str();
        keys.insert(key(kind.clone(), namespace, None));
        let mut beside = Vec::new();
        if is_workload(reference) {
            beside.extend([("v1", "Pod"), ("v1", "Event")]);
        }
        match reference.kind.as_str() {
            "Deployment" => beside.push(("apps/v1", "ReplicaSet")),
            "Service" => {
                beside.push(("v1", "Pod"));
                keys.insert(key(slices::kind(), namespace, None));
            }
            "PersistentVolumeClaim" => beside.extend([("v1", "Event"), ("storage.k8s.io/v1", "StorageClass")]),
            _ => {}
        }
        for (api_version, name) in beside {
            if let Some(kind) = Kind::known(api_version, name) {
                let namespace = if kind.namespaced { namespace } else { "" };
                // Normal events are many and say nothing about what is wrong.
                let fields = (name == "Event").then_some("type!=Normal");
                keys.insert(key(kind, namespace, fields));
            }
        }
    }
    Ok(keys.into_iter().map(|(kind, namespace, fields)| FeedKey { kind, namespace, fields }).collect())
}

/// Whether nothing can be said without this: what only explains may be forbidden to us.
fn needed(key: &FeedKey, subjects: &[Subject]) -> bool {
    key.kind.kind != "Event" && key.kind.kind != "StorageClass"
        || subjects.iter().any(|subject| subject.kind == key.kind)
}

/// The feeds, each with the version that it has to reach before it counts. A feed that others began before us may not have
/// seen yet what was done a moment ago.
async fn feeds(cluster: &Cluster, subjects: &[Subject]) -> Result<Vec<Followed>, KubeError> {
    let begun = keys(subjects)?.into_iter().map(|key| async {
        let (feed, fresh) = cluster.feed(key.clone());
        let is_subject = subjects.iter().any(|subject| subject.kind == key.kind);
        let mut floor = 0;
        if !fresh && is_subject {
            let now = cluster.list(&key.kind, key.namespace.as_deref(), None, key.fields.as_deref()).await?;
            floor = now.iter().map(version).max().unwrap_or(0);
        }
        Ok(Followed { needed: needed(&key, subjects), key, feed, floor })
    });
    futures::future::try_join_all(begun).await
}

/// A feed that is followed.
struct Followed {
    key: FeedKey,
    feed: Arc<Feed>,
    floor: u64,
    needed: bool,
}

impl Followed {
    fn is_current(&self) -> bool {
        !self.needed || (self.feed.is_synced() && self.feed.has_reached(self.floor))
    }
}

fn world(feeds: &[Followed], manifest: &[Object]) -> World {
    let mut world = World::new(feeds.iter().flat_map(|followed| followed.feed.objects()));
    world.expect(manifest);
    world
}

async fn world_now(cluster: &Cluster, subjects: &[Subject], manifest: &[Object]) -> Result<World, KubeError> {
    let lists = keys(subjects)?.into_iter().map(|key| async move {
        let found = cluster.list(&key.kind, key.namespace.as_deref(), None, key.fields.as_deref()).await;
        match found {
            Err(KubeError::Forbidden { .. }) if !needed(&key, subjects) => Ok(Vec::new()),
            found => found,
        }
    });
    let found = futures::future::try_join_all(lists).await?;
    let mut world = World::new(found.into_iter().flatten().map(Arc::new));
    world.expect(manifest);
    Ok(world)
}

fn judged(subjects: &[Subject], world: &World, rules: &Rules, now: Timestamp) -> Vec<Assessment> {
    subjects.iter().map(|subject| assess(&subject.reference, world, rules, now)).collect()
}

/// A job that has succeeded once has done so for good: it may be gone long before everything else is ready.
fn keep_finished(assessments: &mut [Assessment], world: &World, finished: &mut HashMap<ObjectRef, Assessment>) {
    for assessment in assessments.iter_mut().filter(|assessment| assessment.object.kind == "Job") {
        if assessment.progress == Progress::Ready {
            finished.insert(assessment.object.clone(), assessment.clone());
        } else if let Some(before) =
            finished.get(&assessment.object).filter(|_| world.find(&assessment.object).is_none())
        {
            *assessment = before.clone();
        }
    }
}

fn report(assessments: Vec<Assessment>) -> ReadyReport {
    ReadyReport {
        workloads: assessments.iter().filter(|assessment| is_workload(&assessment.object)).count(),
        warnings: assessments.iter().filter_map(|assessment| assessment.warning.clone()).collect(),
        assessments,
    }
}

/// Turns what is seen into transitions.
#[derive(Default)]
struct Followers {
    deployments: HashMap<ObjectRef, Tracker<DeploymentState>>,
    services: HashMap<ObjectRef, Tracker<ServiceState>>,
    pods: HashMap<ObjectRef, Tracker<PodState>>,
    others: HashMap<ObjectRef, Progress>,
    details: HashMap<ObjectRef, String>,
}

impl Followers {
    fn follow(&mut self, assessments: &[Assessment], world: &World, on_event: &mut (impl FnMut(ReadyEvent) + Send)) {
        for assessment in assessments {
            let object = &assessment.object;
            let detail = assessment.detail.as_str();
            let before = self.details.insert(object.clone(), detail.to_owned());
            let moved = match (object.kind.as_str(), world.find(object)) {
                ("Deployment", Some(_)) => {
                    let to = deployment_state(&assessment.state);
                    // What is seen for the first time on its way was at rest before.
                    let start = if to == DeploymentState::Paused { to } else { DeploymentState::Active };
                    step(&mut self.deployments, object, start, to, detail, on_event)
                }
                ("Service", Some(_)) => {
                    let to = if assessment.state == ServiceState::Available.to_string() {
                        ServiceState::Available
                    } else {
                        ServiceState::Unavailable
                    };
                    step(&mut self.services, object, to, to, detail, on_event)
                }
                _ => {
                    let before = self.others.insert(object.clone(), assessment.progress);
                    let moved = before.is_some_and(|before| before != assessment.progress);
                    if let Some(before) = before.filter(|_| moved) {
                        on_event(ReadyEvent::Transition {
                            object: object.clone(),
                            from: format!("{before:?}"),
                            to: format!("{:?}", assessment.progress),
                            detail: detail.to_owned(),
                        });
                    }
                    moved
                }
            };
            if !moved && before.as_deref() != Some(detail) {
                on_event(ReadyEvent::Progress { object: object.clone(), detail: detail.to_owned() });
            }
            for pod in super::diagnose::all_pods(object, world) {
                let to = super::pods::state(pod);
                let reference = pod.reference();
                step(&mut self.pods, &reference, to, to, "", on_event);
            }
        }
        let gone = self.pods.keys().filter(|pod| world.find(pod).is_none()).cloned().collect::<Vec<_>>();
        for pod in gone {
            step(&mut self.pods, &pod, PodState::Deleted, PodState::Deleted, "", on_event);
            self.pods.remove(&pod);
        }
    }
}

/// Moves one object's machine; whether it moved.
fn step<S: Machine + Send>(
    trackers: &mut HashMap<ObjectRef, Tracker<S>>,
    object: &ObjectRef,
    start: S,
    to: S,
    detail: &str,
    on_event: &mut (impl FnMut(ReadyEvent) + Send),
) -> bool {
    let tracker = trackers.entry(object.clone()).or_insert_with(|| Tracker::new(start));
    let steps = tracker.see(to);
    for step in &steps {
        on_event(ReadyEvent::Transition {
            object: object.clone(),
            from: step.from.to_string(),
            to: step.to.to_string(),
            detail: detail.to_owned(),
        });
    }
    !steps.is_empty()
}

fn deployment_state(word: &str) -> DeploymentState {
    let all = [DeploymentState::Active, DeploymentState::Updating, DeploymentState::Paused, DeploymentState::Failed];
    all.into_iter().find(|state| state.to_string() == word).unwrap_or(DeploymentState::Updating)
}

impl fmt::Display for ReadyEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transition { object, from, to, detail } if detail.is_empty() => write!(f, "{object}: {from} -> {to}"),
            Self::Transition { object, from, to, detail } => write!(f, "{object}: {from} -> {to} ({detail})"),
            Self::Progress { object, detail } => write!(f, "{object}: {detail}"),
            Self::Trouble(sighting) => f.write_str(&super::words::short(&sighting.object, &sighting.trouble)),
            Self::Note(note) => f.write_str(note),
        }
    }
}
