//! What was changed by hand in the cluster is named, and what changes by itself is not.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use crate::kube_support::{Owned, Space, helms, kubectl, upgrade};
use serde_json::json;
use stack::process::Cancel;
use stack::tools::helm::{Upgrade, releases};
use stack::tools::kube::drift::{Change, Settled, observe_drift, settle};
use stack::tools::kube::ready::{ReadyOptions, Rules, wait_ready};
use stack::tools::kube::{Object, manifest, observe};

async fn objects(space: &Space) -> Vec<Object> {
    let release = releases::latest(&space.cluster, &space.name, "web").await.unwrap().unwrap();
    manifest::objects(&release.manifest, &space.name).unwrap()
}

/// What is not as it was when the last upgrade had settled.
async fn drift(space: &Space, settled: &Settled) -> Vec<String> {
    let found = observe_drift(&space.cluster, &objects(space).await, settled, &space.name).await.unwrap();
    found.iter().map(ToString::to_string).collect()
}

/// Has it settled after an upgrade, about which nothing is to be told.
async fn settled(space: &Space, before: &Settled) -> Settled {
    let settlement = settle(&space.cluster, &objects(space).await, before, &space.name).await.unwrap();
    assert_eq!(settlement.warnings, []);
    settlement.settled
}

/// A definition in a group of its own, which knows some fields and fills one in.
fn definition(group: &str) -> String {
    format!(
        r#"{{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {{"name": "things.{group}"}},
            "spec": {{"group": "{group}", "scope": "Namespaced", "names": {{"plural": "things", "kind": "Thing"}},
                "versions": [{{"name": "v1", "served": true, "storage": true, "schema": {{"openAPIV3Schema":
                    {{"type": "object", "properties": {{"spec": {{"type": "object", "properties": {{
                        "mode": {{"type": "string"}}, "enabled": {{"type": "boolean"}}, "count": {{"type": "integer"}},
                        "limits": {{"type": "string"}}, "list": {{"type": "array", "items": {{"type": "string"}}}},
                        "kept": {{"type": "string", "default": "so"}},
                        "env": {{"type": "array", "items": {{"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}
                    }}}}}}}}}}}}]}}}}"#
    )
}

/// What is cluster-wide goes with the test as well.
struct ClusterWide(Vec<String>);

impl Drop for ClusterWide {
    fn drop(&mut self) {
        self.0.iter().for_each(|name| drop(kubectl(&["delete", name, "--ignore-not-found", "--wait=false"], None)));
    }
}

#[tokio::test]
async fn edits_of_what_is_empty_or_replaced_as_a_whole_are_seen_and_repaired() {
    // One kind of edit each: of what, by which patch, and which field it is.
    let edits = [
        (
            "deployment/web",
            r#"[{"op": "replace", "path": "/spec/template/spec/volumes/0", "value": {"name": "scratch", "hostPath": {"path": "/", "type": ""}}}]"#,
            "spec.template.spec.volumes[scratch].emptyDir",
        ),
        (
            "deployment/web",
            r#"[{"op": "remove", "path": "/spec/template/spec/automountServiceAccountToken"}]"#,
            "spec.template.spec.automountServiceAccountToken",
        ),
        (
            "deployment/web",
            r#"[{"op": "add", "path": "/spec/template/spec/hostNetwork", "value": true}]"#,
            "spec.template.spec.hostNetwork",
        ),
        (
            "deployment/web",
            r#"[{"op": "remove", "path": "/spec/template/spec/securityContext/runAsUser"}]"#,
            "spec.template.spec.securityContext.runAsUser",
        ),
        (
            "deployment/web",
            r#"[{"op": "remove", "path": "/spec/template/spec/containers/0/securityContext/allowPrivilegeEscalation"}]"#,
            "containers[main].securityContext.allowPrivilegeEscalation",
        ),
        (
            "deployment/web",
            r#"[{"op": "add", "path": "/spec/template/spec/containers/0/args", "value": ["evil"]}]"#,
            "spec.template.spec.containers[main].args",
        ),
        (
            "deployment/web",
            r#"[{"op": "replace", "path": "/spec/template/spec/containers/0/env/1/value", "value": "1"}]"#,
            "containers[main].env[max].value",
        ),
        ("pdb/web", r#"[{"op": "remove", "path": "/spec/maxUnavailable"}]"#, "spec.maxUnavailable"),
        ("configmap/web", r#"[{"op": "remove", "path": "/data/empty"}]"#, "data.empty"),
        ("configmap/web", r#"[{"op": "replace", "path": "/data/caBundle", "value": "b"}]"#, "data.caBundle"),
        ("configmap/web", r#"[{"op": "replace", "path": "/data/type", "value": "b"}]"#, "data.type"),
        ("configmap/web", r#"[{"op": "replace", "path": "/data/max", "value": "1"}]"#, "data.max"),
        ("configmap/web", r#"[{"op": "replace", "path": "/data/memory.max", "value": "1Gi"}]"#, "data[memory.max]"),
        (
            "service/web",
            r#"[{"op": "add", "path": "/spec/publishNotReadyAddresses", "value": true}]"#,
            "spec.publishNotReadyAddresses",
        ),
        (
            "networkpolicy/web",
            r#"[{"op": "add", "path": "/spec/ingress/0/ports/1", "value": {"port": 22}}]"#,
            "spec.ingress[0].ports",
        ),
        (
            "networkpolicy/web",
            r#"[{"op": "add", "path": "/spec/ingress/0/from/0/namespaceSelector", "value": {}}]"#,
            "spec.ingress[0].from[0].namespaceSelector",
        ),
        (
            "rolebinding/web",
            r#"[{"op": "add", "path": "/subjects/0/namespace", "value": "kube-system"}]"#,
            "subjects[0].namespace",
        ),
        ("thing/web", r#"[{"op": "replace", "path": "/spec/mode", "value": "slow"}]"#, "spec.mode"),
        ("thing/web", r#"[{"op": "replace", "path": "/spec/enabled", "value": true}]"#, "spec.enabled"),
        ("thing/web", r#"[{"op": "replace", "path": "/spec/limits", "value": "1"}]"#, "spec.limits"),
        ("thing/web", r#"[{"op": "add", "path": "/spec/list/0", "value": "a"}]"#, "spec.list"),
    ];
    for helm in helms().await {
        let space = Space::new("kinds").await;
        let major = helm.major();
        let group = format!("{}.example", space.name);
        let _wide = ClusterWide(vec![format!("crd/things.{group}"), format!("clusterrole/{}", space.name)]);
        kubectl(&["apply", "-f", "-"], Some(&definition(&group)));
        kubectl(&["wait", "--for=condition=Established", &format!("crd/things.{group}")], None);
        let owned = Owned::new(helm);
        let session = owned.session(&space);
        let kinds = Upgrade { release: "web".into(), ..upgrade("kinds", json!({"group": group})) };
        session.upgrade(&kinds, |_, _| {}).await.unwrap();
        let first = settled(&space, &Settled::default()).await;
        assert_eq!(drift(&space, &first).await, [""; 0], "Helm {major}: nothing was edited");

        let mut patches: Vec<(&str, Vec<&str>)> = Vec::new();
        for (object, patch, _) in &edits {
            let operation = patch.trim_start_matches('[').trim_end_matches(']');
            match patches.iter_mut().find(|(other, _)| other == object) {
                Some((_, operations)) => operations.push(operation),
                None => patches.push((object, vec![operation])),
            }
        }
        for (object, operations) in patches {
            space.kubectl(&["patch", object, "--type=json", "-p", &format!("[{}]", operations.join(","))]);
        }
        let found = observe_drift(&space.cluster, &objects(&space).await, &first, &space.name).await.unwrap();
        let fields = found.iter().flat_map(|drift| match &drift.change {
            Change::Edited(fields) => {
                fields.iter().map(|field| (drift.object.kind.clone(), field.path.clone())).collect()
            }
            other => vec![(drift.object.kind.clone(), format!("{other:?}"))],
        });
        let fields = fields.collect::<Vec<_>>();
        for (object, _, field) in &edits {
            let kind = object.split('/').next().unwrap().replace("pdb", "poddisruptionbudget");
            let seen = fields.iter().any(|(k, path)| k.to_lowercase() == kind && path.ends_with(field));
            assert!(seen, "Helm {major}: {object} {field} is not among {fields:#?}");
        }
        assert_eq!(fields.len(), edits.len(), "Helm {major}: {fields:#?}");

        session.upgrade(&kinds, |_, _| {}).await.unwrap();
        let second = settled(&space, &first).await;
        assert_eq!(drift(&space, &first).await, [""; 0], "Helm {major}: all was repaired");
        assert_eq!(drift(&space, &second).await, [""; 0], "Helm {major}: and settled again");
    }
}

#[tokio::test]
async fn edits_by_hand_are_seen_and_the_next_upgrade_repairs_them() {
    for helm in helms().await {
        let space = Space::new("drift").await;
        let major = helm.major();
        let owned = Owned::new(helm);
        let session = owned.session(&space);
        let values = json!({"extra": true, "greeting": "true"});
        session.upgrade(&upgrade("web", values.clone()), |_, _| {}).await.unwrap();
        let options =
            ReadyOptions { rules: Rules::default(), timeout: Duration::from_secs(90), namespace: space.name.clone() };
        wait_ready(&space.cluster, &objects(&space).await, &options, &Cancel::never(), |_| {}).await.unwrap();
        let first = settled(&space, &Settled::default()).await;

        // None of this is anybody's edit.
        space.kubectl(&["rollout", "restart", "deployment/web"]);
        space.kubectl(&["annotate", "deployment/web", "note=hello"]);
        assert_eq!(drift(&space, &first).await, [""; 0], "Helm {major}: a restart is no drift");

        space.kubectl(&["scale", "deployment/web", "--replicas=3"]);
        space.kubectl(&["set", "image", "deployment/web", "web=busybox:other"]);
        space.kubectl(&["patch", "configmap/web", "-p", r#"{"data": {"enabled": "no"}}"#]);
        space.kubectl(&["patch", "secret/web", "-p", r#"{"stringData": {"password": "guessed"}}"#]);
        space.kubectl(&["patch", "service/web", "-p", r#"{"spec": {"ports": [{"port": 80, "targetPort": 9}]}}"#]);
        space.kubectl(&["delete", "configmap/web-extra"]);
        let found = drift(&space, &first).await;
        let expected = [
            "ConfigMap web was edited in the cluster: data.enabled yes -> no",
            "ConfigMap web-extra is gone from the cluster",
            "Deployment web was edited in the cluster: spec.replicas 1 -> 3, spec.template.spec.containers[web].image busybox:stable -> busybox:other",
            "Secret web was edited in the cluster: data.password [secret] -> [secret]",
            "Service web was edited in the cluster: spec.ports[80].targetPort http -> 9",
        ];
        let mut sorted = found.clone();
        sorted.sort();
        assert_eq!(sorted, expected, "Helm {major}");

        session.upgrade(&upgrade("web", values), |_, _| {}).await.unwrap();
        assert_eq!(drift(&space, &first).await, [""; 0], "Helm {major}: the upgrade repaired everything");
    }
}

#[tokio::test]
async fn what_an_autoscaler_does_is_no_drift() {
    let space = Space::new("hpa").await;
    let owned = Owned::new(helms().await.remove(0));
    owned.session(&space).upgrade(&upgrade("web", json!({})), |_, _| {}).await.unwrap();
    space.apply(
        "
apiVersion: autoscaling/v1
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec: {minReplicas: 2, maxReplicas: 4, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}
",
    );
    let first = settled(&space, &Settled::default()).await;
    space.kubectl(&["scale", "deployment/web", "--replicas=2"]);
    assert_eq!(drift(&space, &first).await, [""; 0]);
    // It never comes back from nothing by itself.
    space.kubectl(&["scale", "deployment/web", "--replicas=0"]);
    assert_eq!(drift(&space, &first).await, ["Deployment web was edited in the cluster: spec.replicas 1 -> 0"]);
    space.kubectl(&["scale", "deployment/web", "--replicas=2"]);
    space.kubectl(&["delete", "hpa/web"]);
    assert_eq!(drift(&space, &first).await, ["Deployment web was edited in the cluster: spec.replicas 1 -> 2"]);
}

#[tokio::test]
async fn a_settled_release_is_found_so_in_a_handful_of_requests() {
    let space = Space::new("settled").await;
    let owned = Owned::new(helms().await.remove(0));
    owned.session(&space).upgrade(&upgrade("web", json!({"extra": true})), |_, _| {}).await.unwrap();
    let objects = objects(&space).await;
    let options =
        ReadyOptions { rules: Rules::default(), timeout: Duration::from_secs(90), namespace: space.name.clone() };
    wait_ready(&space.cluster, &objects, &options, &Cancel::never(), |_| {}).await.unwrap();
    let first = settled(&space, &Settled::default()).await;
    let begun = Instant::now();
    let seen = observe(&space.cluster, &objects, &first, &Rules::default(), &space.name).await.unwrap();
    println!("observed {} objects in {:?}", objects.len(), begun.elapsed());
    assert!(seen.is_settled(), "{seen:#?}");
    space.kubectl(&["delete", "pod", "--all", "--wait=false"]);
    let unready = async {
        loop {
            let seen = observe(&space.cluster, &objects, &first, &Rules::default(), &space.name).await.unwrap();
            if seen.unready().any(|assessment| assessment.object.kind == "Deployment") {
                assert_eq!(seen.drift, []);
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), unready).await.expect("a deployment without its pods is not ready");
}
