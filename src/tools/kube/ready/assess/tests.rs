//! Every rule, on objects as the API gives them.

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
    let endpoints = |ready: bool| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "web-x2x4k", "namespace": "a", "labels": {"kubernetes.io/service-name": "web"}},
            "endpoints": [{"addresses": ["10.244.0.1"], "conditions": {"ready": ready}}]})
    };
    let some = endpoints(true);
    let none = endpoints(false);
    assert_eq!(judge(vec![selecting(), some]).progress, Progress::Ready);
    let workload =
        Object::new(json!({"kind": "Deployment", "spec": {"template": {"metadata": {"labels": {"app": "web"}}}}}));
    let idle = Object::new(
        json!({"kind": "Deployment", "spec": {"replicas": 0, "template": {"metadata": {"labels": {"app": "web"}}}}}),
    );
    let other =
        Object::new(json!({"kind": "Deployment", "spec": {"template": {"metadata": {"labels": {"app": "other"}}}}}));
    let waiting = judge_in(vec![selecting(), none.clone()], |world| world.expect([&workload]));
    assert_eq!(
        (waiting.progress, waiting.state.as_str(), waiting.troubles[0].severity),
        (Progress::Progressing, "Unavailable", Severity::Slow)
    );
    assert_eq!(judge_in(vec![selecting(), none.clone()], |world| world.expect([&idle])).progress, Progress::Ready);
    let mistaken = judge_in(vec![selecting(), none.clone()], |world| world.expect([&other]));
    assert_eq!((mistaken.troubles[0].cause, mistaken.troubles[0].severity), (Cause::NoEndpoints, Severity::AfterGrace));
    let asked = Rules { needs_endpoints: true, ..Rules::default() };
    let objects = [selecting(), none.clone()].map(|json| Arc::new(Object::new(json)));
    let reference = objects[0].reference();
    let checked = assess(&reference, &World::new(objects), &asked, "2026-11-23T10:00:00Z".parse().unwrap());
    assert_eq!((checked.progress, checked.troubles[0].severity), (Progress::Progressing, Severity::Slow));
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
