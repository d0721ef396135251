//! Which images run on which nodes, by what the cluster says of pods. A container that runs proves that its node has its
//! image, so that the node itself need not be asked.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value as Json;

use super::World;
use crate::tools::docker::{DockerError, Wanted, familiar};
use crate::tools::kube::Object;

/// A container that runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Container {
    node: String,
    /// The image as the pod names it.
    image: String,
    /// The image as the container runtime names it: a digest, with what comes before it.
    id: String,
}

/// The nodes on which a container of the stack's namespaces runs this image under this name.
///
/// A cluster that does not say which pods run proves nothing, and that is no error.
///
/// # Errors
/// When the engine that has the image can't be asked what it is.
pub(super) async fn nodes_that_run(world: &World, wanted: &Wanted) -> Result<HashSet<String>, DockerError> {
    let named: Vec<_> = containers(world)
        .await
        .into_iter()
        .filter(|container| familiar(&container.image) == familiar(&wanted.reference))
        .collect();
    if named.is_empty() {
        return Ok(HashSet::new());
    }
    let config = wanted.config().await?;
    let mut nodes = HashSet::new();
    for container in named {
        let digest = container.id.rsplit_once("sha256:").map(|(_, digits)| format!("sha256:{digits}"));
        let Some(digest) = digest else { continue };
        if digest == config || wanted.is_numbered(&digest).await? {
            nodes.insert(container.node);
        }
    }
    Ok(nodes)
}

/// The containers that run in the namespaces of the stack's charts.
async fn containers(world: &World) -> Vec<Container> {
    let namespaces: BTreeSet<&str> = world.stack().charts.values().map(|chart| &*chart.namespace).collect();
    let Ok(snapshot) = world.snapshot().await else { return Vec::new() };
    let Ok(kind) = snapshot.cluster().kind("v1", "Pod").await else { return Vec::new() };
    let lists = namespaces.into_iter().map(|namespace| snapshot.list(&kind, Some(namespace), None, None));
    let lists = futures::future::join_all(lists).await;
    let read = lists.iter().filter_map(|list| list.as_ref().ok());
    read.flat_map(|list| list.values()).flat_map(|pod| running(pod)).collect()
}

/// The containers of a pod that run.
fn running(pod: &Object) -> Vec<Container> {
    let node = pod.text("/spec/nodeName");
    if node.is_empty() || pod.is_terminating() {
        return Vec::new();
    }
    let text = |value: &Json, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let image_of = |name: &str| {
        let specs = ["/spec/containers", "/spec/initContainers"].into_iter().flat_map(|place| pod.list(place));
        specs.into_iter().find(|spec| spec["name"] == name).map(|spec| text(spec, "image"))
    };
    let statuses = ["/status/containerStatuses", "/status/initContainerStatuses"];
    let statuses = statuses.into_iter().flat_map(|place| pod.list(place));
    let runs = |status: &&Json| status["state"]["running"].is_object();
    statuses
        .filter(runs)
        .filter_map(|status| {
            let image = image_of(status["name"].as_str()?)?;
            Some(Container { node: node.to_owned(), image, id: text(status, "imageID") })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_containers_that_run_prove_something() {
        let pod = |state: Json, node: &str| {
            Object::new(json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "n"},
                "spec": {"nodeName": node, "containers": [{"name": "api", "image": "todo:1"}]},
                "status": {"containerStatuses": [
                    {"name": "api", "image": "docker.io/library/other:2", "imageID": "sha256:ab", "state": state}
                ]},
            }))
        };
        let expected = Container { node: "m02".into(), image: "todo:1".into(), id: "sha256:ab".into() };
        assert_eq!(running(&pod(json!({"running": {"startedAt": "2026-11-30T10:00:00Z"}}), "m02")), [expected]);
        assert!(running(&pod(json!({"waiting": {"reason": "CrashLoopBackOff"}}), "m02")).is_empty());
        assert!(running(&pod(json!({"running": {}}), "")).is_empty());
        let mut going = pod(json!({"running": {}}), "m02").json().clone();
        going["metadata"]["deletionTimestamp"] = json!("2026-11-30T10:00:00Z");
        assert!(running(&Object::new(going)).is_empty());
    }
}
