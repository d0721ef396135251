//! What runs now, in the words of the model: what `status` shows.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::cluster::Cluster;
use super::drift::not_expired;
use super::error::KubeError;
use super::nodes::Node;
use super::object::{Object, ObjectRef};
use super::ready::{
    Assessment, Rules, World, all_pods, endpoints, pod_containers, pod_state, pod_trouble, running_together,
    selector_text,
};
use super::ready::{Diagnosis, Progress, diagnose, observe_world};
use crate::model::deployment::{Deployment, DeploymentState, Replicas, Workload};
use crate::model::pod::Pod;
use crate::model::service::{Service, ServicePort, ServiceState};

/// The cluster as `status` shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterView {
    /// The kubeconfig context.
    pub context: String,
    /// The address of its API server.
    pub address: String,
    /// The version of Kubernetes.
    pub version: String,
    /// Its nodes.
    pub nodes: Vec<Node>,
}

/// What runs of a release's manifest.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Deployments.
    pub deployments: Vec<Deployment>,
    /// Everything else that takes time to become ready, services and pods apart.
    pub workloads: Vec<Workload>,
    /// Services.
    pub services: Vec<Service>,
    /// The pods of all workloads.
    pub pods: Vec<Pod>,
    /// Why something is not ready, when something is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<Diagnosis>,
}

impl Cluster {
    /// The cluster as `status` shows it.
    pub async fn view(&self) -> Result<ClusterView, KubeError> {
        let (version, nodes) = tokio::try_join!(self.server_version(), self.nodes())?;
        Ok(ClusterView { context: self.context().to_owned(), address: self.address().to_owned(), version, nodes })
    }
}

/// What runs of a manifest.
pub async fn view(cluster: &Cluster, manifest: &[Object], rules: &Rules, namespace: &str) -> Result<View, KubeError> {
    let manifest = not_expired(cluster, manifest.to_vec(), namespace).await?;
    let (world, assessments) = observe_world(cluster, &manifest, rules, namespace).await?;
    let mut view = View::default();
    for assessment in &assessments {
        let Some(object) = world.find(&assessment.object) else {
            view.workloads.push(workload(None, assessment));
            continue;
        };
        match assessment.object.kind.as_str() {
            "Deployment" => view.deployments.push(deployment(object, assessment)),
            "Service" => view.services.push(service(object, &world, assessment)),
            "Pod" => {}
            _ => view.workloads.push(workload(Some(object), assessment)),
        }
        let pods = all_pods(&assessment.object, &world).into_iter();
        view.pods.extend(pods.map(|pod| self::pod(pod, &assessment.object, &world, rules)));
    }
    if assessments.iter().any(|assessment| assessment.progress != Progress::Ready) {
        view.diagnosis = Some(diagnose(cluster, &world, assessments).await);
    }
    Ok(view)
}

fn deployment(object: &Arc<Object>, assessment: &Assessment) -> Deployment {
    let count = |name: &str| object.number(&format!("/status/{name}")).unwrap_or(0);
    let strategy = object.text("/spec/strategy/type");
    Deployment {
        name: object.name().to_owned(),
        namespace: object.namespace().to_owned(),
        replicas: object.number("/spec/replicas").unwrap_or(1),
        ready: count("readyReplicas"),
        updated: count("updatedReplicas"),
        available: count("availableReplicas"),
        selector: object.at("/spec/selector/matchLabels").map(selector_text).unwrap_or_default(),
        images: images(object.list("/spec/template/spec/containers")),
        strategy: if strategy.is_empty() { "RollingUpdate" } else { strategy }.to_owned(),
        min_ready_seconds: object.number("/spec/minReadySeconds").unwrap_or(0),
        state: match (object.at("/spec/paused"), assessment.progress) {
            (Some(Value::Bool(true)), _) => DeploymentState::Paused,
            (_, Progress::Ready) => DeploymentState::Active,
            (_, Progress::Progressing) => DeploymentState::Updating,
            (_, Progress::Failed) => DeploymentState::Failed,
        },
        detail: assessment.detail.clone(),
    }
}

fn service(object: &Arc<Object>, world: &World, assessment: &Assessment) -> Service {
    let cluster_ip = object.text("/spec/clusterIP");
    let kind = object.text("/spec/type");
    let ports = object.list("/spec/ports").iter().map(|port| {
        let text = |key: &str| port.get(key).and_then(Value::as_str).map(str::to_owned);
        let number = |key: &str| port.get(key).and_then(Value::as_i64);
        let target =
            port.get("targetPort").map(|target| target.as_str().map_or_else(|| target.to_string(), str::to_owned));
        ServicePort {
            name: text("name"),
            port: number("port").unwrap_or(0),
            target: target.unwrap_or_default(),
            node_port: number("nodePort"),
            protocol: text("protocol").unwrap_or_else(|| "TCP".to_owned()),
        }
    });
    Service {
        name: object.name().to_owned(),
        namespace: object.namespace().to_owned(),
        kind: if kind.is_empty() { "ClusterIP" } else { kind }.to_owned(),
        selector: object.at("/spec/selector").map(selector_text).unwrap_or_default(),
        ports: ports.collect(),
        cluster_ip: cluster_ip.to_owned(),
        endpoints: usize::try_from(endpoints(world, object.namespace(), object.name())).unwrap_or(0),
        state: match assessment.progress {
            Progress::Ready => ServiceState::Available,
            Progress::Progressing | Progress::Failed => ServiceState::Unavailable,
        },
    }
}

fn workload(object: Option<&Arc<Object>>, assessment: &Assessment) -> Workload {
    Workload {
        kind: assessment.object.kind.clone(),
        name: assessment.object.name.clone(),
        namespace: assessment.object.namespace.clone(),
        ready: object.and_then(|object| replicas(object, &assessment.object.kind)),
        state: assessment.state.clone(),
        detail: assessment.detail.clone(),
    }
}

/// The pods of a workload, for the kinds that count them.
fn replicas(object: &Object, kind: &str) -> Option<Replicas> {
    let count = |pointer: &str| object.number(pointer);
    let (ready, asked) = match kind {
        "StatefulSet" | "ReplicaSet" | "ReplicationController" => {
            (count("/status/readyReplicas"), count("/spec/replicas").unwrap_or(1))
        }
        "DaemonSet" => (count("/status/numberReady"), count("/status/desiredNumberScheduled").unwrap_or(0)),
        "Job" => (count("/status/succeeded"), count("/spec/completions").unwrap_or(1)),
        _ => return None,
    };
    Some(Replicas { ready: ready.unwrap_or(0), asked })
}

fn pod(pod: &Object, owner: &ObjectRef, world: &World, rules: &Rules) -> Pod {
    let own = pod_containers(pod).filter(|container| !container.is_init()).collect::<Vec<_>>();
    Pod {
        name: pod.name().to_owned(),
        namespace: pod.namespace().to_owned(),
        owner: owner.to_string(),
        state: pod_state(pod),
        ready: own.iter().filter(|container| container.json.get("ready") == Some(&Value::Bool(true))).count(),
        containers: running_together(pod),
        restarts: pod_containers(pod).map(|container| container.restarts()).sum(),
        node: pod.text("/spec/nodeName").to_owned(),
        ip: pod.text("/status/podIP").to_owned(),
        images: images(pod.list("/spec/containers")),
        created: pod.created(),
        trouble: pod_trouble(pod, world, rules, Timestamp::now()),
    }
}

fn images(containers: &[Value]) -> Vec<String> {
    containers.iter().filter_map(|container| container.get("image")?.as_str()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn workloads_show_how_many_of_their_pods_are_ready() {
        let shown = |kind: &str, object: serde_json::Value| {
            replicas(&Object::new(object), kind).map_or_else(|| "-".to_owned(), |replicas| replicas.to_string())
        };
        let set = json!({"spec": {"replicas": 3}, "status": {"readyReplicas": 2}});
        assert_eq!(shown("StatefulSet", set), "2/3");
        assert_eq!(shown("StatefulSet", json!({"spec": {}, "status": {}})), "0/1");
        let daemon = json!({"status": {"numberReady": 1, "desiredNumberScheduled": 2}});
        assert_eq!(shown("DaemonSet", daemon), "1/2");
        assert_eq!(shown("Job", json!({"spec": {}, "status": {"succeeded": 1}})), "1/1");
        assert_eq!(shown("PersistentVolumeClaim", json!({"status": {"phase": "Bound"}})), "-");
    }
}
