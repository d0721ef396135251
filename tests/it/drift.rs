//! What was changed by hand in the cluster is named, and what changes by itself is not.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use crate::kube_support::{Owned, Space, helms, upgrade};
use serde_json::json;
use stack::process::Cancel;
use stack::tools::helm::releases;
use stack::tools::kube::drift::observe_drift;
use stack::tools::kube::ready::{ReadyOptions, Rules, wait_ready};
use stack::tools::kube::{Object, manifest, observe};

async fn objects(space: &Space) -> Vec<Object> {
    let release = releases::latest(&space.cluster, &space.name, "web").await.unwrap().unwrap();
    manifest::objects(&release.manifest, &space.name).unwrap()
}

async fn drift(space: &Space) -> Vec<String> {
    let found = observe_drift(&space.cluster, &objects(space).await, &space.name).await.unwrap();
    found.iter().map(ToString::to_string).collect()
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
        assert_eq!(drift(&space).await, [""; 0], "Helm {major}: nothing was edited");

        // None of this is anybody's edit.
        space.kubectl(&["rollout", "restart", "deployment/web"]);
        space.kubectl(&["annotate", "deployment/web", "note=hello"]);
        assert_eq!(drift(&space).await, [""; 0], "Helm {major}: a restart is no drift");

        space.kubectl(&["scale", "deployment/web", "--replicas=3"]);
        space.kubectl(&["set", "image", "deployment/web", "web=busybox:other"]);
        space.kubectl(&["patch", "configmap/web", "-p", r#"{"data": {"enabled": "no"}}"#]);
        space.kubectl(&["patch", "secret/web", "-p", r#"{"stringData": {"password": "guessed"}}"#]);
        space.kubectl(&["patch", "service/web", "-p", r#"{"spec": {"ports": [{"port": 80, "targetPort": 9}]}}"#]);
        space.kubectl(&["delete", "configmap/web-extra"]);
        let found = drift(&space).await;
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
        assert_eq!(drift(&space).await, [""; 0], "Helm {major}: the upgrade repaired everything");
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
    space.kubectl(&["scale", "deployment/web", "--replicas=2"]);
    assert_eq!(drift(&space).await, [""; 0]);
    space.kubectl(&["delete", "hpa/web"]);
    assert_eq!(drift(&space).await, ["Deployment web was edited in the cluster: spec.replicas 1 -> 2"]);
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
    let begun = Instant::now();
    let seen = observe(&space.cluster, &objects, &Rules::default(), &space.name).await.unwrap();
    println!("observed {} objects in {:?}", objects.len(), begun.elapsed());
    assert!(seen.is_settled(), "{seen:#?}");
    space.kubectl(&["delete", "pod", "--all", "--wait=false"]);
    let unready = async {
        loop {
            let seen = observe(&space.cluster, &objects, &Rules::default(), &space.name).await.unwrap();
            if seen.unready().any(|assessment| assessment.object.kind == "Deployment") {
                assert_eq!(seen.drift, []);
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), unready).await.expect("a deployment without its pods is not ready");
}
