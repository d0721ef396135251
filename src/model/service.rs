//! Services and their states.

use std::fmt;

use serde::Serialize;

use super::machine::Machine;

/// The state of a service: *Available <-> Unavailable*, by its endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum ServiceState {
    /// At least one pod behind it is ready, or it needs none.
    Available,
    /// No pod behind it is ready.
    Unavailable,
}

impl Machine for ServiceState {
    const EDGES: &'static [(Self, Self)] = {
        use ServiceState::{Available, Unavailable};
        &[(Available, Unavailable), (Unavailable, Available)]
    };
}

impl fmt::Display for ServiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// Its name, when it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The port of the service.
    pub port: i64,
    /// The port of the pods: a number or the name of a container's port.
    pub target: String,
    /// The port of the nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_port: Option<i64>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// A service as `status` shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The labels by which it knows its pods.
    pub selector: String,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Its address within the cluster: `None` for a headless one.
    pub cluster_ip: String,
    /// How many pods behind it are ready.
    pub endpoints: usize,
    /// Its state.
    pub state: ServiceState,
}
