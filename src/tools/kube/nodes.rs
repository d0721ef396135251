//! The cluster's nodes, as far as loading images onto them and scheduling pods there is concerned.

use serde::Serialize;
use serde_json::Value;

use super::cluster::Cluster;
use super::error::KubeError;
use super::kinds::Kind;
use super::object::Object;

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its address within the cluster's network.
    pub internal_ip: Option<String>,
    /// The container runtime with its version, such as `docker://20.10.24`.
    pub runtime: String,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// The version of its kubelet.
    pub kubelet: String,
    /// Whether it takes pods: its `Ready` condition holds.
    pub ready: bool,
    /// Whether it was cordoned.
    pub unschedulable: bool,
    /// The other conditions that hold, such as `DiskPressure`.
    pub pressures: Vec<String>,
    /// What its `Ready` condition says when it does not hold.
    pub message: String,
}

impl Node {
    fn of(object: &Object) -> Self {
        let info = |key: &str| object.text(&format!("/status/nodeInfo/{key}")).to_owned();
        let ready = object.condition("Ready");
        let internal_ip = object.list("/status/addresses").iter().find_map(|address| {
            (address.get("type")? == "InternalIP").then(|| address.get("address")?.as_str().map(str::to_owned))?
        });
        Self {
            name: object.name().to_owned(),
            internal_ip,
            runtime: info("containerRuntimeVersion"),
            architecture: info("architecture"),
            kubelet: info("kubeletVersion"),
            ready: ready.is_some_and(|ready| ready.is_true()),
            unschedulable: object.at("/spec/unschedulable").and_then(Value::as_bool).unwrap_or(false),
            pressures: object
                .conditions()
                .filter(|condition| condition.kind != "Ready" && condition.is_true())
                .map(|condition| condition.kind.to_owned())
                .collect(),
            message: ready.filter(|ready| !ready.is_true()).map(|ready| ready.message.to_owned()).unwrap_or_default(),
        }
    }
}

impl Cluster {
    /// The cluster's nodes, by name.
    pub async fn nodes(&self) -> Result<Vec<Node>, KubeError> {
        let kind = self.kind("v1", "Node").await?;
        let mut nodes = self.list(&kind, None, None, None).await?.iter().map(Node::of).collect::<Vec<_>>();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(nodes)
    }

    pub(super) async fn kind_namespace(&self) -> Result<Kind, KubeError> {
        self.kind("v1", "Namespace").await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_is_read() {
        let node = Node::of(&Object::new(json!({
            "metadata": {"name": "minikube"},
            "spec": {"unschedulable": true},
            "status": {
                "addresses": [{"type": "Hostname", "address": "minikube"}, {"type": "InternalIP", "address": "192.168.49.2"}],
                "conditions": [
                    {"type": "MemoryPressure", "status": "False"},
                    {"type": "DiskPressure", "status": "True"},
                    {"type": "Ready", "status": "False", "message": "runtime network not ready"}
                ],
                "nodeInfo": {"architecture": "amd64", "containerRuntimeVersion": "docker://20.10.24", "kubeletVersion": "v1.20.2"}
            }
        })));
        assert_eq!(node.internal_ip.as_deref(), Some("192.168.49.2"));
        assert_eq!(node.pressures, ["DiskPressure"]);
        assert!(!node.ready && node.unschedulable);
        assert_eq!(node.message, "runtime network not ready");
    }
}
