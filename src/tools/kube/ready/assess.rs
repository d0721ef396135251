//! The rules: whether one object is ready, failed, or still on its way. Pure: what is known goes in, an assessment
//! comes out.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::pods;
use super::trouble::{Cause, Rules, Severity, Trouble};
use super::world::World;
use crate::model::deployment::DeploymentState;
use crate::model::service::ServiceState;
use crate::tools::kube::object::{Object, ObjectRef};

/// How far an object has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// It is what it was asked to be.
    Ready,
    /// It is on its way there.
    Progressing,
    /// It will not get there by itself.
    Failed,
}

/// What the rules say of one object.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Assessment {
    /// Which object.
    pub object: ObjectRef,
    /// How far it has come.
    pub progress: Progress,
    /// The state in the model's words, for kinds that have one there, else `Ready`, `Progressing` or `Failed`.
    pub state: String,
    /// In words: `1 of 2 new pods ready`.
    pub detail: String,
    /// What keeps it from becoming ready.
    pub troubles: Vec<Trouble>,
    /// When to look again although nothing changed.
    pub look_again: Option<Timestamp>,
    /// Something to know that is no failure.
    pub warning: Option<String>,
}

impl Assessment {
    fn of(object: &ObjectRef, progress: Progress, detail: impl Into<String>) -> Self {
        Self {
            object: object.clone(),
            progress,
            state: format!("{progress:?}"),
            detail: detail.into(),
            troubles: Vec::new(),
            look_again: None,
            warning: None,
        }
    }

    fn with(mut self, troubles: Vec<Trouble>) -> Self {
        self.troubles = troubles;
        self
    }
}

/// Whether objects of a kind take time to become ready. Of others, it is enough that they exist.
pub fn takes_time(object: &ObjectRef) -> bool {
    match (object.group(), object.kind.as_str()) {
        ("apps" | "batch", _)
        | ("", "Pod" | "PersistentVolumeClaim" | "Service" | "ReplicationController" | "Namespace")
        | ("apiextensions.k8s.io", "CustomResourceDefinition")
        | ("apiregistration.k8s.io", "APIService") => true,
        ("", _) => false,
        // A custom kind may have conditions; what ships with Kubernetes in groups of its own has none that count.
        (group, _) => group.contains('.') && !group.ends_with(".k8s.io"),
    }
}

/// Whether an object runs pods.
pub fn is_workload(object: &ObjectRef) -> bool {
    matches!(
        (object.group(), object.kind.as_str()),
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
            | ("batch", "Job" | "CronJob")
            | ("", "Pod" | "ReplicationController")
    )
}

/// Judges one object of a manifest by what is known now.
pub fn assess(reference: &ObjectRef, world: &World, rules: &Rules, now: Timestamp) -> Assessment {
    let Some(object) = world.find(reference) else {
        let trouble = Trouble::new(Cause::Missing, Severity::AfterGrace, "it is not in the cluster");
        return Assessment::of(reference, Progress::Progressing, "not there yet").with(vec![trouble]);
    };
    let observed = object.number("/status/observedGeneration");
    let generation = object.number("/metadata/generation");
    let unseen = matches!((generation, observed), (Some(generation), Some(observed)) if generation > observed)
        || (observed.is_none() && generation.is_some() && reports_generation(reference));
    if object.is_terminating() {
        let trouble = Trouble::new(Cause::Terminating, Severity::Slow, finalizers(object));
        return Assessment::of(reference, Progress::Progressing, "being deleted").with(vec![trouble]);
    }
    let case = Case { reference, object, world, rules, now, unseen };
    match (reference.group(), reference.kind.as_str()) {
        ("apps", "Deployment") => case.deployment(),
        ("apps", "StatefulSet") => case.stateful_set(),
        ("apps", "DaemonSet") => case.daemon_set(),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => case.replica_set(),
        ("batch", "Job") => case.job(),
        ("", "Pod") => case.pod(),
        ("", "PersistentVolumeClaim") => case.claim(),
        ("", "Service") => case.service(),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => case.definition(),
        ("apiregistration.k8s.io", "APIService") => case.by_condition("Available"),
        _ => case.by_conditions(),
    }
}

/// Kinds whose controllers always say which generation they speak of.
fn reports_generation(object: &ObjectRef) -> bool {
    matches!(
        (object.group(), object.kind.as_str()),
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
    )
}

fn finalizers(object: &Object) -> String {
    let names = object.list("/metadata/finalizers").iter().filter_map(Value::as_str).collect::<Vec<_>>();
    if names.is_empty() { String::new() } else { format!("held by the finalizers {}", names.join(", ")) }
}

struct Case<'a> {
    reference: &'a ObjectRef,
    object: &'a Object,
    world: &'a World,
    rules: &'a Rules,
    now: Timestamp,
    /// Its controller has not seen its newest form yet.
    unseen: bool,
}

impl Case<'_> {
    fn ready(&self, detail: impl Into<String>) -> Assessment {
        Assessment::of(self.reference, Progress::Ready, detail)
    }

    fn on_the_way(&self, detail: impl Into<String>) -> Assessment {
        Assessment::of(self.reference, Progress::Progressing, detail)
    }

    fn failed(&self, cause: Cause, message: impl Into<String>) -> Assessment {
        let message = message.into();
        let trouble = Trouble::new(cause, Severity::AtOnce, message.clone());
        Assessment::of(self.reference, Progress::Failed, message).with(vec![trouble])
    }

    fn count(&self, name: &str) -> i64 {
        self.object.number(&format!("/status/{name}")).unwrap_or(0)
    }

    fn asked(&self) -> i64 {
        self.object.number("/spec/replicas").unwrap_or(1)
    }

    fn deployment(&self) -> Assessment {
        let newest = self.newest_set().map(|set| set.uid().to_owned());
        let mut assessment = self.rollout_of_deployment();
        let paused = self.object.at("/spec/paused") == Some(&Value::Bool(true));
        if !self.unseen {
            if let Some(set) = &newest {
                self.judge_pods(&mut assessment, |world| world.pods_of(set).map(AsRef::as_ref).collect());
            }
            if let Some(failure) = self.object.condition("ReplicaFailure").filter(|failure| failure.is_true()) {
                assessment.troubles.push(refused(failure.message));
            }
            let given_up = self.object.condition("Progressing").filter(|c| c.reason == "ProgressDeadlineExceeded");
            if let Some(given_up) = given_up {
                assessment.progress = Progress::Failed;
                assessment.troubles.push(Trouble::new(Cause::Deadline, Severity::AtOnce, given_up.message));
            }
        }
        assessment.state = match assessment.progress {
            _ if paused => DeploymentState::Paused,
            Progress::Ready => DeploymentState::Active,
            Progress::Progressing => DeploymentState::Updating,
            Progress::Failed => DeploymentState::Failed,
        }
        .to_string();
        assessment
    }

    /// The newest replica set; none while it has not been seen yet. What is seen of deployments and of replica sets comes by
    /// two watches, and the pods of an older set must not be judged for the newest.
    fn newest_set(&self) -> Option<&Object> {
        let revision = |object: &Object| object.annotation("deployment.kubernetes.io/revision").map(str::to_owned);
        let newest = *self.world.replica_sets_of(self.object.uid()).first()?;
        (revision(newest) == revision(self.object)).then_some(newest)
    }

    /// The order of kstatus: the first counter that is behind says what is awaited.
    fn rollout_of_deployment(&self) -> Assessment {
        let asked = self.asked();
        let (all, updated) = (self.count("replicas"), self.count("updatedReplicas"));
        let (ready, available) = (self.count("readyReplicas"), self.count("availableReplicas"));
        if self.unseen {
            return self.on_the_way("its controller has not seen the change yet");
        }
        if self.object.at("/spec/paused") == Some(&Value::Bool(true)) {
            return self.ready("paused");
        }
        if asked > all || asked > updated {
            return self.on_the_way(format!("{updated} of {asked} new pods made, {ready} ready"));
        }
        if all > asked {
            return self.on_the_way(format!("{} old {} still there", all - asked, pods_word(all - asked)));
        }
        if updated > available || asked > ready {
            return self.on_the_way(format!("{} of {asked} new pods ready", ready.min(available)));
        }
        self.ready(of_pods(asked))
    }

    fn stateful_set(&self) -> Assessment {
        if self.unseen {
            return self.on_the_way("its controller has not seen the change yet");
        }
        let asked = self.asked();
        let (ready, updated) = (self.count("readyReplicas"), self.count("updatedReplicas"));
        let revision = self.object.text("/status/updateRevision");
        let on_delete = self.object.text("/spec/updateStrategy/type") == "OnDelete";
        let partition = self.object.number("/spec/updateStrategy/rollingUpdate/partition").unwrap_or(0);
        let mut assessment = if asked > ready {
            self.on_the_way(format!("{ready} of {asked} pods ready"))
        } else if self.count("replicas") > asked {
            self.on_the_way(format!("{} pods to go", self.count("replicas") - asked))
        } else if !on_delete && (asked - partition).max(0) > updated {
            self.on_the_way(format!("{updated} of {} pods updated", (asked - partition).max(0)))
        } else if !on_delete && partition == 0 && self.object.text("/status/currentRevision") != revision {
            self.on_the_way("waiting for its controller to finish the rollout")
        } else {
            self.ready(of_pods(asked))
        };
        let newest = |pod: &&Object| on_delete || pod.label("controller-revision-hash") == Some(revision);
        self.judge_pods(&mut assessment, |world| {
            world.pods_of(self.object.uid()).map(AsRef::as_ref).filter(newest).collect()
        });
        assessment.troubles.extend(self.refused_pods());
        assessment
    }

    fn daemon_set(&self) -> Assessment {
        if self.unseen {
            return self.on_the_way("its controller has not seen the change yet");
        }
        let asked = self.count("desiredNumberScheduled");
        let (updated, ready) = (self.count("updatedNumberScheduled"), self.count("numberReady"));
        let on_delete = self.object.text("/spec/updateStrategy/type") == "OnDelete";
        let mut assessment = if self.count("currentNumberScheduled") < asked {
            self.on_the_way(format!("{} of {asked} nodes have a pod", self.count("currentNumberScheduled")))
        } else if !on_delete && updated < asked {
            self.on_the_way(format!("{updated} of {asked} pods updated"))
        } else if self.count("numberAvailable") < asked || ready < asked {
            self.on_the_way(format!("{ready} of {asked} pods ready"))
        } else {
            self.ready(of_pods(asked))
        };
        let generation = self.object.annotation("deprecated.daemonset.template.generation");
        let newest = |pod: &&Object| match (generation, pod.label("pod-template-generation")) {
            (Some(newest), Some(its)) => newest == its,
            (None, _) | (_, None) => true,
        };
        self.judge_pods(&mut assessment, |world| {
            world.pods_of(self.object.uid()).map(AsRef::as_ref).filter(newest).collect()
        });
        assessment.troubles.extend(self.refused_pods());
        assessment
    }

    fn replica_set(&self) -> Assessment {
        let asked = self.asked();
        let ready = self.count("readyReplicas").min(self.count("availableReplicas"));
        let mut assessment = if self.unseen {
            self.on_the_way("its controller has not seen the change yet")
        } else if ready < asked {
            self.on_the_way(format!("{ready} of {asked} pods ready"))
        } else if self.count("replicas") > asked {
            self.on_the_way(format!("{} pods to go", self.count("replicas") - asked))
        } else {
            self.ready(of_pods(asked))
        };
        self.judge_pods(&mut assessment, |world| world.pods_of(self.object.uid()).map(AsRef::as_ref).collect());
        if let Some(failure) = self.object.condition("ReplicaFailure").filter(|failure| failure.is_true()) {
            assessment.troubles.push(refused(failure.message));
        }
        assessment
    }

    fn job(&self) -> Assessment {
        if self.object.condition("Complete").is_some_and(|complete| complete.is_true()) {
            return self.ready("complete");
        }
        if let Some(failed) = self.object.condition("Failed").filter(|failed| failed.is_true()) {
            let mut assessment = self.failed(Cause::Job, failed.message);
            // The pod that failed last tells more than the job.
            let mut pods = self.world.pods_of(self.object.uid()).collect::<Vec<_>>();
            pods.sort_by_key(|pod| pod.created());
            if let (Some(pod), Some(trouble)) = (pods.last(), assessment.troubles.first_mut()) {
                trouble.pod = Some(pod.name().to_owned());
                let ended = pods::containers(pod).find_map(|container| {
                    let end = container.last_end().filter(|end| end.exit_code != 0)?;
                    Some((container.name().to_owned(), end))
                });
                if let Some((container, end)) = ended {
                    trouble.container = Some(container);
                    trouble.last_end = Some(end);
                }
            }
            return assessment;
        }
        if self.object.at("/spec/suspend") == Some(&Value::Bool(true)) {
            return self.ready("suspended");
        }
        let (done, failed) = (self.count("succeeded"), self.count("failed"));
        let wanted = self.object.number("/spec/completions").unwrap_or(1);
        let tries = if failed > 0 { format!(", {failed} failed") } else { String::new() };
        let mut assessment = self.on_the_way(format!("{done} of {wanted} done{tries}"));
        self.judge_pods(&mut assessment, |world| {
            let pods = world.pods_of(self.object.uid()).map(AsRef::as_ref);
            pods.filter(|pod: &&Object| !matches!(pod.text("/status/phase"), "Failed" | "Succeeded")).collect()
        });
        for trouble in &mut assessment.troubles {
            // How often to try again is the job's own affair: it will say when it has failed.
            if matches!(trouble.cause, Cause::Crash | Cause::OutOfMemory | Cause::Init | Cause::Probe | Cause::Liveness)
            {
                trouble.severity = Severity::Slow;
            }
        }
        assessment.troubles.extend(self.refused_pods());
        assessment
    }

    fn pod(&self) -> Assessment {
        let phase = self.object.text("/status/phase");
        let mut assessment = match phase {
            "Succeeded" => self.ready("has ended well"),
            "Failed" => self.on_the_way("has failed"),
            _ if pods::is_ready(self.object) => self.ready("running"),
            phase => self.on_the_way(if phase.is_empty() { "accepted" } else { phase }.to_lowercase()),
        };
        self.judge_pods(&mut assessment, |_| vec![self.object]);
        if phase == "Failed" {
            // Nobody makes another one.
            assessment.progress = Progress::Failed;
            assessment.troubles.iter_mut().for_each(|trouble| trouble.severity = Severity::AtOnce);
        }
        assessment.state = pods::state(self.object).to_string();
        assessment
    }

    fn claim(&self) -> Assessment {
        match self.object.text("/status/phase") {
            "Bound" => self.ready("bound"),
            "Lost" => self.failed(Cause::Volume, "its volume is gone"),
            _ => {
                let events = self.world.events_of(self.object);
                if events.iter().any(|event| event.text("/reason") == "WaitForFirstConsumer") || self.waits_for_pod() {
                    return self.ready("will be bound when a pod uses it");
                }
                let reasons = ["ProvisioningFailed", "FailedBinding", "VolumeFailedDelete"];
                let told = events.into_iter().find(|event| reasons.contains(&event.text("/reason")));
                let message = told.map_or("no volume is bound to it", |event| event.text("/message"));
                let trouble = Trouble::new(Cause::Volume, Severity::AfterGrace, message);
                self.on_the_way("not bound yet").with(vec![trouble])
            }
        }
    }

    /// Whether the claim's class waits for a pod before it makes a volume.
    fn waits_for_pod(&self) -> bool {
        let class = self.object.text("/spec/storageClassName");
        self.world
            .named("StorageClass", "", class)
            .is_some_and(|class| class.text("/volumeBindingMode") == "WaitForFirstConsumer")
    }

    fn service(&self) -> Assessment {
        let kind = self.object.text("/spec/type");
        let selector =
            self.object.at("/spec/selector").filter(|selector| selector.as_object().is_some_and(|s| !s.is_empty()));
        let available = |mut assessment: Assessment, state: ServiceState| {
            assessment.state = state.to_string();
            assessment
        };
        let (Some(selector), false, false) =
            (selector, kind == "ExternalName", self.object.text("/spec/clusterIP") == "None")
        else {
            return available(self.ready("needs no pods of its own"), ServiceState::Available);
        };
        let count = endpoints(self.world, self.object.namespace(), self.object.name());
        if count > 0 {
            return available(self.ready(format!("{count} {} behind it", pods_word(count))), ServiceState::Available);
        }
        let expected = self.world.expected_behind(selector);
        let mut assessment = match expected {
            Some(0) => self.ready("its workload is scaled to nothing"),
            None if !self.world.has_workloads() => {
                let mut assessment = self.ready("no pod behind it");
                assessment.warning = Some(format!("no pod is behind Service {}", self.reference.name));
                assessment
            }
            None | Some(_) => {
                let any = self.world.pods_with(self.object.namespace(), selector).next().is_some();
                let (severity, message) = if any || expected.is_some() {
                    (Severity::Slow, "no pod behind it is ready")
                } else {
                    (Severity::AfterGrace, "its selector matches no pod")
                };
                let shown = selector_text(selector);
                let trouble = Trouble::new(Cause::NoEndpoints, severity, format!("{message} (selector {shown})"));
                self.on_the_way("no pod behind it is ready").with(vec![trouble])
            }
        };
        let unavailable = !matches!(expected, Some(0));
        assessment.state = if unavailable { ServiceState::Unavailable } else { ServiceState::Available }.to_string();
        assessment
    }

    fn definition(&self) -> Assessment {
        let names = self.object.condition("NamesAccepted").filter(|names| names.is_false());
        if let Some(names) = names {
            return self.failed(Cause::Names, names.message);
        }
        self.by_condition("Established")
    }

    fn by_condition(&self, kind: &str) -> Assessment {
        match self.object.condition(kind) {
            Some(condition) if condition.is_true() => self.ready(kind.to_lowercase()),
            Some(condition) => self.on_the_way(or(condition.message, condition.reason)),
            None => self.on_the_way(format!("not {} yet", kind.to_lowercase())),
        }
    }

    /// Custom kinds, by the conditions that are customary.
    fn by_conditions(&self) -> Assessment {
        if self.unseen {
            return self.on_the_way("its controller has not seen the change yet");
        }
        if let Some(stalled) = self.object.condition("Stalled").filter(|stalled| stalled.is_true()) {
            return self.failed(Cause::Stalled, or(stalled.message, stalled.reason));
        }
        if let Some(busy) = self.object.condition("Reconciling").filter(|busy| busy.is_true()) {
            return self.on_the_way(or(busy.message, busy.reason));
        }
        match self.object.condition("Ready") {
            Some(ready) if !ready.is_true() => self.on_the_way(or(ready.message, ready.reason)),
            Some(_) => self.ready("ready"),
            None => self.ready("exists"),
        }
    }

    /// Adds what is wrong with a workload's newest pods, and lets those that have just started settle.
    fn judge_pods<'w>(&'w self, assessment: &mut Assessment, pods: impl FnOnce(&'w World) -> Vec<&'w Object>) {
        let pods = pods(self.world);
        let current = pods.iter().filter(|pod| !pod.is_terminating());
        for pod in current.clone() {
            assessment.troubles.extend(pods::troubles(pod, self.world, self.rules, self.now));
        }
        if assessment.progress == Progress::Ready {
            let settled_at = current.filter_map(|pod| pods::settles_at(pod, self.rules, self.now)).max();
            let crashing = assessment.troubles.iter().any(|trouble| trouble.severity != Severity::Slow);
            if settled_at.is_some() || crashing {
                assessment.progress = Progress::Progressing;
                assessment.state = format!("{:?}", Progress::Progressing);
                if !crashing {
                    assessment.detail.push_str(", just started");
                }
                assessment.look_again = settled_at;
            }
        }
    }

    /// The pods that the API server would not take, for controllers that tell it by events alone.
    fn refused_pods(&self) -> Option<Trouble> {
        let event = self.world.event(self.object, &["FailedCreate"])?;
        // The event stays for an hour; only one that is newer than the last change counts.
        let fresh = super::world::event_time(event) >= self.object.created();
        let asked = self.count("desiredNumberScheduled").max(self.object.number("/spec/replicas").unwrap_or(1));
        let there = self.world.pods_of(self.object.uid()).count();
        (fresh && i64::try_from(there).unwrap_or(i64::MAX) < asked).then(|| refused(event.text("/message")))
    }
}

/// Pods that the API server will not take.
fn refused(message: &str) -> Trouble {
    let (cause, severity) = if message.contains("exceeded quota") {
        (Cause::Quota, Severity::AtOnce)
    } else if message.contains("denied the request") || message.contains("admission webhook") {
        (Cause::Admission, Severity::AtOnce)
    } else if message.contains("failed calling webhook") || message.contains("being terminated") {
        // The webhook's own pods may still be on their way.
        (Cause::Admission, Severity::AfterGrace)
    } else {
        (Cause::Create, Severity::AtOnce)
    };
    Trouble::new(cause, severity, message)
}

/// How many addresses are ready behind a service.
pub(crate) fn endpoints(world: &World, namespace: &str, service: &str) -> i64 {
    world.named("Endpoints", namespace, service).map_or(0, |endpoints| {
        let subsets = endpoints.list("/subsets").iter();
        let addresses = subsets.map(|subset| subset.get("addresses").and_then(Value::as_array).map_or(0, Vec::len));
        i64::try_from(addresses.sum::<usize>()).unwrap_or(i64::MAX)
    })
}

/// A selector as people write it.
pub(crate) fn selector_text(selector: &Value) -> String {
    let pairs = selector.as_object().into_iter().flatten();
    pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect::<Vec<_>>().join(",")
}

fn or(message: &str, reason: &str) -> String {
    if message.is_empty() { reason } else { message }.to_owned()
}

fn pods_word(count: i64) -> &'static str {
    if count == 1 { "pod" } else { "pods" }
}

fn of_pods(asked: i64) -> String {
    match asked {
        0 => "scaled to nothing".to_owned(),
        1 => "1 pod ready".to_owned(),
        asked => format!("all {asked} pods ready"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn judge(objects: Vec<Value>) -> Assessment {
        judge_in(objects, |_| {})
    }

    /// Judges the first of the objects.
    fn judge_in(objects: Vec<Value>, prepare: impl FnOnce(&mut World)) -> Assessment {
        let objects = objects.into_iter().map(|json| Arc::new(Object::new(json))).collect::<Vec<_>>();
        let reference = objects[0].reference();
        let mut world = World::new(objects);
        prepare(&mut world);
        assess(&reference, &world, &Rules::default(), "2026-11-23T10:00:00Z".parse().unwrap())
    }

    fn deployment(spec: &Value, status: &Value) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "a", "uid": "d", "generation": 2,
                "annotations": {"deployment.kubernetes.io/revision": "2"}},
            "spec": spec, "status": status,
        })
    }

    fn set(uid: &str, revision: &str) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": uid, "namespace": "a", "uid": uid,
                "annotations": {"deployment.kubernetes.io/revision": revision},
                "ownerReferences": [{"kind": "Deployment", "uid": "d", "controller": true}]},
        })
    }

    fn broken_pod(owner: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("{owner}-1"), "namespace": "a", "uid": format!("{owner}-1"), "labels": {"app": "web"},
                "ownerReferences": [{"kind": "ReplicaSet", "uid": owner, "controller": true}]},
            "spec": {"containers": [{"name": "web"}]},
            "status": {"phase": "Pending", "containerStatuses": [
                {"name": "web", "restartCount": 0, "state": {"waiting": {"reason": "ErrImageNeverPull"}}}]},
        })
    }

    #[test]
    fn a_deployment_in_the_order_of_its_counters() {
        let judged = |status: &Value| {
            let assessment = judge(vec![deployment(&json!({"replicas": 2}), status)]);
            (assessment.progress, assessment.state, assessment.detail)
        };
        let updating = |detail: &str| (Progress::Progressing, "Updating".to_owned(), detail.to_owned());
        let counts = |all: i64, updated: i64, ready: i64, available: i64| json!({"observedGeneration": 2, "replicas": all, "updatedReplicas": updated, "readyReplicas": ready, "availableReplicas": available});
        assert_eq!(judged(&json!({})), updating("its controller has not seen the change yet"));
        assert_eq!(judged(&json!({"observedGeneration": 1})), updating("its controller has not seen the change yet"));
        assert_eq!(judged(&counts(3, 1, 2, 2)), updating("1 of 2 new pods made, 2 ready"));
        assert_eq!(judged(&counts(3, 2, 2, 2)), updating("1 old pod still there"));
        assert_eq!(judged(&counts(2, 2, 2, 1)), updating("1 of 2 new pods ready"));
        assert_eq!(judged(&counts(2, 2, 2, 2)), (Progress::Ready, "Active".into(), "all 2 pods ready".into()));
    }

    #[test]
    fn only_pods_of_the_newest_set_count_and_only_when_it_is_the_newest() {
        let status = json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1});
        let web = || deployment(&json!({"replicas": 1}), &status);
        let old = judge(vec![web(), set("one", "1"), broken_pod("one"), set("two", "2")]);
        assert_eq!(old.troubles, []);
        let new = judge(vec![web(), set("one", "1"), set("two", "2"), broken_pod("two")]);
        assert_eq!(new.troubles.iter().map(|t| t.cause).collect::<Vec<_>>(), [Cause::ImageMissing]);
        let unseen = judge(vec![web(), set("one", "1"), broken_pod("one")]);
        assert_eq!(unseen.troubles, [], "the set of revision 2 has not been seen yet");
    }

    #[test]
    fn a_rollout_that_was_given_up_or_refused() {
        let with = |condition: Value| {
            judge(vec![deployment(&json!({}), &json!({"observedGeneration": 2, "conditions": [condition]}))])
        };
        let given_up = with(json!({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}));
        assert_eq!((given_up.progress, given_up.state.as_str()), (Progress::Failed, "Failed"));
        let refused = with(json!({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
            "message": "pods \"web\" is forbidden: exceeded quota: small"}));
        let trouble = &refused.troubles[0];
        assert_eq!((trouble.cause, trouble.severity), (Cause::Quota, Severity::AtOnce));
        let paused = judge(vec![deployment(&json!({"paused": true}), &json!({"observedGeneration": 2}))]);
        assert_eq!((paused.progress, paused.state.as_str()), (Progress::Ready, "Paused"));
    }

    fn service(spec: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "a"}, "spec": spec})
    }

    #[test]
    fn a_service_by_what_is_behind_it() {
        let selecting = || service(&json!({"selector": {"app": "web"}, "clusterIP": "10.96.0.1"}));
        let endpoints = |subsets: Value| json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web", "namespace": "a"}, "subsets": subsets});
        let some = endpoints(json!([{"addresses": [{"ip": "10.244.0.1"}]}]));
        let none = endpoints(json!([{"notReadyAddresses": [{"ip": "10.244.0.1"}]}]));
        assert_eq!(judge(vec![selecting(), some]).progress, Progress::Ready);
        let workload =
            Object::new(json!({"kind": "Deployment", "spec": {"template": {"metadata": {"labels": {"app": "web"}}}}}));
        let idle = Object::new(
            json!({"kind": "Deployment", "spec": {"replicas": 0, "template": {"metadata": {"labels": {"app": "web"}}}}}),
        );
        let other = Object::new(
            json!({"kind": "Deployment", "spec": {"template": {"metadata": {"labels": {"app": "other"}}}}}),
        );
        let waiting = judge_in(vec![selecting(), none.clone()], |world| world.expect([&workload]));
        assert_eq!(
            (waiting.progress, waiting.state.as_str(), waiting.troubles[0].severity),
            (Progress::Progressing, "Unavailable", Severity::Slow)
        );
        assert_eq!(judge_in(vec![selecting(), none.clone()], |world| world.expect([&idle])).progress, Progress::Ready);
        let mistaken = judge_in(vec![selecting(), none.clone()], |world| world.expect([&other]));
        assert_eq!(
            (mistaken.troubles[0].cause, mistaken.troubles[0].severity),
            (Cause::NoEndpoints, Severity::AfterGrace)
        );
        let alone = judge(vec![selecting(), none]);
        assert_eq!((alone.progress, alone.warning.is_some()), (Progress::Ready, true));
        for spec in [json!({"type": "ExternalName"}), json!({"selector": {"a": "b"}, "clusterIP": "None"}), json!({})] {
            assert_eq!(judge(vec![service(&spec)]).progress, Progress::Ready);
        }
    }

    #[test]
    fn jobs_and_claims() {
        let job = |status: Value| {
            judge(vec![
                json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "a"}, "spec": {}, "status": status}),
            ])
        };
        assert_eq!(job(json!({"conditions": [{"type": "Complete", "status": "True"}]})).progress, Progress::Ready);
        assert_eq!(job(json!({"active": 1})).progress, Progress::Progressing, "a job that runs is not done");
        assert_eq!(
            job(json!({"conditions": [{"type": "Failed", "status": "True", "message": "m"}]})).progress,
            Progress::Failed
        );
        let claim = |phase: &str, more: Vec<Value>| {
            let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c", "namespace": "a", "uid": "c"},
                "spec": {"storageClassName": "late"}, "status": {"phase": phase}});
            judge([vec![claim], more].concat()).progress
        };
        assert_eq!(claim("Bound", vec![]), Progress::Ready);
        assert_eq!(claim("Pending", vec![]), Progress::Progressing);
        assert_eq!(claim("Lost", vec![]), Progress::Failed);
        let late = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "late"}, "volumeBindingMode": "WaitForFirstConsumer"});
        assert_eq!(claim("Pending", vec![late]), Progress::Ready);
    }

    #[test]
    fn custom_kinds_by_their_conditions() {
        let widget = |status: Value| {
            judge(vec![json!({"apiVersion": "acme.io/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "a", "generation": 2}, "status": status})]).progress
        };
        let condition = |kind: &str, status: &str| json!({"conditions": [{"type": kind, "status": status}]});
        assert_eq!(widget(json!({})), Progress::Ready);
        assert_eq!(widget(condition("Ready", "True")), Progress::Ready);
        assert_eq!(widget(condition("Ready", "False")), Progress::Progressing);
        assert_eq!(widget(condition("Ready", "Unknown")), Progress::Progressing);
        assert_eq!(widget(condition("Reconciling", "True")), Progress::Progressing);
        assert_eq!(widget(condition("Stalled", "True")), Progress::Failed);
        assert_eq!(
            widget(json!({"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True"}]})),
            Progress::Progressing
        );
    }

    #[test]
    fn stateful_and_daemon_sets() {
        let stateful = |spec: Value, status: Value| {
            judge(vec![
                json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "s", "namespace": "a", "uid": "s", "generation": 1}, "spec": spec, "status": status}),
            ])
        };
        let status = |ready: i64, updated: i64, current: &str| json!({"observedGeneration": 1, "replicas": 2, "readyReplicas": ready, "updatedReplicas": updated, "currentRevision": current, "updateRevision": "new"});
        assert_eq!(stateful(json!({"replicas": 2}), status(1, 2, "new")).detail, "1 of 2 pods ready");
        assert_eq!(stateful(json!({"replicas": 2}), status(2, 1, "old")).detail, "1 of 2 pods updated");
        assert_eq!(stateful(json!({"replicas": 2}), status(2, 2, "old")).progress, Progress::Progressing);
        assert_eq!(stateful(json!({"replicas": 2}), status(2, 2, "new")).progress, Progress::Ready);
        let by_hand = json!({"replicas": 2, "updateStrategy": {"type": "OnDelete"}});
        assert_eq!(stateful(by_hand, status(2, 0, "old")).progress, Progress::Ready);
        let daemon = |status: Value| {
            judge(vec![json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "s", "namespace": "a", "uid": "s", "generation": 1}, "spec": {}, "status": status})]).detail
        };
        let base = json!({"observedGeneration": 1, "desiredNumberScheduled": 2, "currentNumberScheduled": 2, "updatedNumberScheduled": 2, "numberReady": 1, "numberAvailable": 1});
        assert_eq!(daemon(base), "1 of 2 pods ready");
    }
}
