//! What Helm can't take back of what was done by hand: it merges, and so leaves what was added beside what the chart says.
//! In a list of ports that makes two of one name, which the API refuses; in a service's selector one label too many.
//! This is taken back before Helm is called.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::Live;
use super::compare::{ROLLOUT_LABEL, is_known_to_helm, join};
use super::lists::merge_key;
use crate::tools::kube::cluster::Cluster;
use crate::tools::kube::error::KubeError;
use crate::tools::kube::object::{Object, group_of};
use crate::tools::kube::snapshot::Snapshot;

/// Takes back what was added by hand to the ports and selectors of a release's objects. `manifest` is what was applied last.
///
/// # Errors
/// When the cluster can't be asked. What it refuses to take back, Helm finds in its turn, and says so.
pub async fn undo(cluster: &Cluster, manifest: &[Object], namespace: &str) -> Result<(), KubeError> {
    let has_ports = |object: &&Object| is_known_to_helm(object) && object.json().get("spec").is_some_and(names_ports);
    let manifest = manifest.iter().filter(has_ports).cloned().collect::<Vec<_>>();
    let live = Live::read(&Snapshot::new(cluster.clone(), HashSet::new()), &manifest, namespace).await?;
    for pair in live.pairs(&manifest) {
        let Some(patch) = pair.live.and_then(|live| patch(pair.wanted, live)) else { continue };
        let kind = cluster.kind(&pair.object.api_version, &pair.object.kind).await?;
        if let Err(error) = cluster.merge(&kind, &pair.object.namespace, &pair.object.name, &patch).await {
            tracing::debug!(%error, object = %pair.object, "what was added by hand stays");
        }
    }
    Ok(())
}

/// Whether there is a list of ports in it.
fn names_ports(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(key, value)| (key == "ports" && value.is_array()) || names_ports(value)),
        Value::Array(items) => items.iter().any(names_ports),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// What has to be merged into a live object; nothing when there is nothing to take back.
fn patch(manifest: &Object, live: &Object) -> Option<Value> {
    let (wanted, found) = (manifest.at("/spec")?, live.at("/spec")?);
    let is_service = manifest.kind() == "Service" && group_of(manifest.api_version()).is_empty();
    let mut spec = Map::new();
    for (key, wanted) in wanted.as_object()? {
        let Some(found) = found.get(key) else { continue };
        if is_service && key == "selector" {
            let wanted = wanted.as_object()?;
            let labels =
                found.as_object()?.keys().filter(|label| !wanted.contains_key(*label) && *label != ROLLOUT_LABEL);
            let gone = labels.map(|label| (label.clone(), Value::Null)).collect::<Map<_, _>>();
            spec.extend((!gone.is_empty()).then(|| (key.clone(), Value::Object(gone))));
        } else {
            let mut mended = found.clone();
            if mend(wanted, &mut mended, &join("spec", key), is_service) {
                spec.insert(key.clone(), mended);
            }
        }
    }
    // Whoever changes it meanwhile changes something that this has not seen.
    (!spec.is_empty()).then(|| json!({ "metadata": { "resourceVersion": live.resource_version() }, "spec": spec }))
}

/// Mends the lists of ports within a live value; whether there was anything to mend. `all` takes away every port that was
/// added, else only those go that have the name of another.
fn mend(wanted: &Value, live: &mut Value, path: &str, all: bool) -> bool {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            let mut mended = false;
            for (key, wanted) in wanted {
                if let Some(live) = live.get_mut(key) {
                    mended |= mend(wanted, live, &join(path, key), all);
                }
            }
            mended
        }
        (Value::Array(wanted), Value::Array(live)) => {
            let Some(key) = merge_key(path).filter(|key| key.tells_apart(wanted) && key.tells_apart(live)) else {
                return false;
            };
            if path.ends_with("ports") {
                let has = |items: &[Value], item: &Value| items.iter().any(|other| key.of(other) == key.of(item));
                let missing = wanted.iter().filter(|item| !has(live, item)).cloned().collect::<Vec<_>>();
                let before = live.len();
                live.retain(|item| {
                    let is_taken = || missing.iter().any(|missing| missing.get("name") == item.get("name"));
                    has(wanted, item) || !(all || is_taken())
                });
                let mended = live.len() < before;
                // Alone they would be too few: a service has to have one.
                live.extend(missing.into_iter().filter(|_| mended));
                return mended;
            }
            let mut mended = false;
            for item in wanted {
                if let Some(found) = live.iter_mut().find(|live| key.of(live) == key.of(item)) {
                    mended |= mend(item, found, &format!("{path}[{}]", key.of(item).unwrap_or_default()), all);
                }
            }
            mended
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: &str, spec: &Value) -> Object {
        let version = if kind == "Service" { "v1" } else { "apps/v1" };
        let metadata = json!({"name": "o", "resourceVersion": "7"});
        Object::new(json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}))
    }

    fn patched(kind: &str, wanted: &Value, live: &Value) -> Option<Value> {
        patch(&object(kind, wanted), &object(kind, live)).map(|patch| patch["spec"].clone())
    }

    #[test]
    fn what_was_added_to_a_service_goes_and_what_it_was_given_stays() {
        let wanted =
            json!({"selector": {"a": "b"}, "ports": [{"port": 80, "name": "http"}, {"port": 81, "name": "b"}]});
        let live = json!({"clusterIP": "10.96.0.1", "selector": {"a": "b", "x": "y", "rollouts-pod-template-hash": "h"},
            "ports": [{"port": 8080, "name": "http", "nodePort": 30080}, {"port": 81, "name": "b", "nodePort": 30081}]});
        let expected = json!({"selector": {"x": null},
            "ports": [{"port": 81, "name": "b", "nodePort": 30081}, {"port": 80, "name": "http"}]});
        assert_eq!(patched("Service", &wanted, &live), Some(expected));
        assert_eq!(patched("Service", &wanted, &wanted), None);
        let fewer = json!({"selector": {"a": "c"}, "ports": [{"port": 81, "name": "b"}]});
        assert_eq!(patched("Service", &wanted, &fewer), None, "what is missing Helm adds itself");
    }

    #[test]
    fn of_a_container_only_a_port_goes_that_has_the_name_of_another() {
        let pods = |ports: Value| json!({"template": {"spec": {"containers": [{"name": "side"}, {"name": "web", "image": "i", "ports": ports}]}}});
        let wanted = pods(json!([{"containerPort": 80, "name": "http"}]));
        let live = pods(
            json!([{"containerPort": 8080, "name": "http", "protocol": "TCP"}, {"containerPort": 9, "name": "own"}]),
        );
        let expected = pods(json!([{"containerPort": 9, "name": "own"}, {"containerPort": 80, "name": "http"}]));
        assert_eq!(patched("Deployment", &wanted, &live), Some(expected));
        let added = pods(json!([{"containerPort": 80, "name": "http"}, {"containerPort": 9, "name": "own"}]));
        assert_eq!(patched("Deployment", &wanted, &added), None);
    }
}
