//! The rules: whether one object is ready, failed, or still on its way. Pure: what is known goes in, an assessment
//! comes out. What runs pods is in `workloads`, everything else in `others`.

mod others;
mod workloads;

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::trouble::{Cause, Rules, Severity, Trouble};
use super::world::World;
use crate::tools::kube::object::{Object, ObjectRef};

pub(crate) use others::{endpoints, selector_text};

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
