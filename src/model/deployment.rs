//! Deployments and their states.

use std::fmt;

use serde::Serialize;

use super::machine::Machine;

/// The state of a deployment: *Active -> Updating -> Active*, *Active -> Paused*, *Active -> Failed*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum DeploymentState {
    /// What runs is what was asked for.
    Active,
    /// It is being brought to what was asked for.
    Updating,
    /// Its rollout was paused.
    Paused,
    /// Its rollout has failed.
    Failed,
}

impl Machine for DeploymentState {
    const EDGES: &'static [(Self, Self)] = {
        use DeploymentState::{Active, Failed, Paused, Updating};
        &[
            (Active, Updating),
            (Active, Paused),
            (Active, Failed),
            (Updating, Active),
            (Updating, Paused),
            (Updating, Failed),
            (Paused, Updating),
            (Paused, Active),
            (Failed, Updating),
            // A rollout that was given up may still come through by itself.
            (Failed, Active),
        ]
    };
}

impl fmt::Display for DeploymentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A deployment as `status` shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// How many pods are asked for.
    pub replicas: i64,
    /// How many of the newest template are ready.
    pub ready: i64,
    /// How many are of the newest template.
    pub updated: i64,
    /// How many are available.
    pub available: i64,
    /// The labels by which it knows its pods: `app=todo,tier=web`.
    pub selector: String,
    /// The images of its template.
    pub images: Vec<String>,
    /// `RollingUpdate` or `Recreate`.
    pub strategy: String,
    /// How long a pod has to be ready to count as available, in seconds.
    pub min_ready_seconds: i64,
    /// Its state.
    pub state: DeploymentState,
    /// The state in words: `1 of 2 new pods ready`.
    pub detail: String,
}

/// How many pods of a workload are ready, of those that it is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Replicas {
    /// Ready.
    pub ready: i64,
    /// Asked for.
    pub asked: i64,
}

impl fmt::Display for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ready, self.asked)
    }
}

/// Another object that takes time to become ready, as `status` shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// `StatefulSet`, `Job`, `PersistentVolumeClaim`, …
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// How many of its pods are ready, for a kind that has pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<Replicas>,
    /// `Ready`, `Progressing` or `Failed`.
    pub state: String,
    /// The state in words.
    pub detail: String,
}
