//! Releases on the real cluster with both majors of Helm: installed, read back, recovered, removed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use crate::kube_support::{Owned, Space, fixture, helms, upgrade};
use serde_json::{Value, json};
use stack::model::release::ReleaseStatus;
use stack::tools::helm::{Recovered, recover, releases};
use stack::tools::kube::manifest;
use stack::tools::kube::records::{self, Holder, RecordId};
use stack::tools::redact::Redactor;

#[tokio::test]
async fn a_chart_is_installed_read_back_and_removed_by_both_majors() {
    for helm in helms().await {
        let space = Space::new("rel").await;
        let major = helm.major();
        let mut owned = Owned::new(helm);
        owned.redactor = Redactor::new(["hunter2-secret"]);
        let session = owned.session(&space);
        let mut lines = Vec::new();
        let first = upgrade("web", json!({"greeting": "hunter2-secret", "password": "x", "extra": true}));
        session.upgrade(&first, |_, line| lines.push(line.to_owned())).await.unwrap();
        let printed = lines.join("\n");
        assert!(printed.contains("web says ***"), "Helm {major} printed {printed}");

        let release = releases::latest(&space.cluster, &space.name, "web").await.unwrap().unwrap();
        assert_eq!((release.revision, release.status), (1, ReleaseStatus::Deployed));
        assert_eq!((release.chart.name.as_str(), release.chart.app_version.as_str()), ("web", "1.0"));
        assert_eq!(release.notes.trim(), "web says hunter2-secret.");
        assert_eq!(release.values["extra"], json!(true));
        let objects = manifest::objects(&release.manifest, &space.name).unwrap();
        let mut kinds = objects.iter().map(|object| object.kind().to_owned()).collect::<Vec<_>>();
        kinds.sort();
        assert_eq!(kinds, ["ConfigMap", "ConfigMap", "Deployment", "Secret", "Service"]);
        let rendered = session.template(&first, false).await.unwrap();
        let rendered = manifest::objects(&rendered, &space.name).unwrap();
        let json = |objects: &[stack::tools::kube::Object]| {
            let mut all = objects.iter().map(|o| o.json().to_string()).collect::<Vec<_>>();
            all.sort();
            all
        };
        assert_eq!(json(&rendered), json(&objects), "template and release differ under Helm {major}");

        // Values that are no longer given are gone, not carried over.
        session.upgrade(&upgrade("web", json!({})), |_, _| {}).await.unwrap();
        let release = releases::latest(&space.cluster, &space.name, "web").await.unwrap().unwrap();
        assert_eq!((release.revision, release.notes.trim()), (2, "web says hello."));
        let history = releases::history(&space.cluster, &space.name, "web").await.unwrap();
        let history = history.iter().map(|r| (r.revision, r.status)).collect::<Vec<_>>();
        assert_eq!(history, [(1, ReleaseStatus::Superseded), (2, ReleaseStatus::Deployed)]);
        session.rollback("web", 1, Duration::from_secs(60), |_, _| {}).await.unwrap();
        let all = releases::list(&space.cluster, Some(&space.name)).await.unwrap();
        assert_eq!(all.iter().map(|r| (r.name.as_str(), r.revision)).collect::<Vec<_>>(), [("web", 3)]);

        assert!(session.uninstall("web", Duration::from_secs(60), |_, _| {}).await.unwrap());
        assert!(!session.uninstall("web", Duration::from_secs(60), |_, _| {}).await.unwrap());
        assert_eq!(releases::latest(&space.cluster, &space.name, "web").await.unwrap(), None);
    }
}

#[tokio::test]
async fn what_helm_says_of_a_bad_chart_is_passed_on() {
    for helm in helms().await {
        let space = Space::new("bad").await;
        let owned = Owned::new(helm);
        let session = owned.session(&space);
        let error = session.upgrade(&upgrade("web", json!({"replicas": "many"})), |_, _| {}).await.unwrap_err();
        assert!(error.to_string().contains("helm upgrade of web failed"), "{error}");
        assert_eq!(error.class(), stack::error::Class::Input, "{error}");
        session.lint(&upgrade("web", json!({})), |_, _| {}).await.unwrap_or_else(|e| panic!("{e}"));
        // A first install that failed leaves a state from which the next one works.
        session.upgrade(&upgrade("web", json!({})), |_, _| {}).await.unwrap();
    }
}

#[tokio::test]
async fn an_operation_cut_short_is_recovered() {
    for helm in helms().await {
        let space = Space::new("cut").await;
        let owned = Owned::new(helm);
        let major = owned.helm.major();
        let session = owned.session(&space);
        let slow = json!({"hook": true, "hookSeconds": 600});
        let here = Holder { host: "here".into(), pid: 1, since: jiff::Timestamp::now() };
        let patience = Duration::from_millis(1);
        for (before, expected) in
            [(None, ReleaseStatus::PendingInstall), (Some(json!({})), ReleaseStatus::PendingUpgrade)]
        {
            if let Some(values) = before {
                session.upgrade(&upgrade("web", values), |_, _| {}).await.unwrap();
            }
            cut_short(&owned, &space, slow.clone()).await;
            let release = releases::latest(&space.cluster, &space.name, "web").await.unwrap().unwrap();
            assert_eq!(release.status, expected);
            // Nobody knows whose it is: it may be alive on another machine.
            let error = recover(&session, &space.cluster, "web", None, "here", patience).await.unwrap_err();
            assert_eq!(error.class(), stack::error::Class::Transient, "{error}");
            let done = recover(&session, &space.cluster, "web", Some(&here), "here", patience).await.unwrap();
            assert!(matches!(done, Recovered::Failed { status, .. } if status == expected), "{done:?}");
            session.upgrade(&upgrade("web", json!({"greeting": "back"})), |_, _| {}).await.unwrap_or_else(|e| {
                panic!("Helm {major} after {expected}: {e}");
            });
            let release = releases::latest(&space.cluster, &space.name, "web").await.unwrap().unwrap();
            assert_eq!(release.status, ReleaseStatus::Deployed);
            let again = recover(&session, &space.cluster, "web", Some(&here), "here", patience).await.unwrap();
            assert_eq!(again, Recovered::Nothing);
        }
    }
}

/// Begins an upgrade whose hook lasts, and kills Helm when the release is pending.
async fn cut_short(owned: &Owned, space: &Space, values: serde_json::Value) {
    let values_file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(values_file.path(), values.to_string()).unwrap();
    let mut child = std::process::Command::new(&owned.helm.path)
        .args(["upgrade", "--install", "web", fixture("web").to_str().unwrap(), "--namespace", &space.name])
        .args(["--kube-context", space.cluster.context(), "-f", values_file.path().to_str().unwrap()])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pending = async {
        loop {
            let latest = releases::latest(&space.cluster, &space.name, "web").await.unwrap();
            if latest.is_some_and(|release| release.status.is_pending()) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), pending).await.expect("a pending release");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn records_live_beside_what_they_speak_of() {
    let space = Space::new("rec").await;
    let id =
        RecordId { stack: "t-kube".into(), kind: "chart".into(), name: "web".into(), namespace: space.name.clone() };
    assert_eq!(records::read(&space.cluster, &id).await.unwrap(), None);
    let holder = Holder { host: "here".into(), pid: 7, since: "2026-11-23T10:00:00Z".parse().unwrap() };
    records::withdraw(&space.cluster, &id, &holder, &json!({"release": "web"})).await.unwrap();
    let record = records::read(&space.cluster, &id).await.unwrap().unwrap();
    assert_eq!((record.in_doubt, record.content), (Some(holder.clone()), json!({"release": "web"})));
    let content = json!({"key": "abc", "revision": 3});
    let beside = json!({"api": "what it was built from"});
    records::write(&space.cluster, &id, &content, Some(&beside)).await.unwrap();
    let record = records::read(&space.cluster, &id).await.unwrap().unwrap();
    assert_eq!((record.in_doubt, &record.content), (None, &content));
    // In doubt again: what was recorded stays readable.
    records::withdraw(&space.cluster, &id, &holder, &json!({"release": "web"})).await.unwrap();
    let listed = records::list(&space.cluster, Some(&space.name), "t-kube").await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].in_doubt.as_ref(), &listed[0].content), (Some(&holder), &content));
    // What is beside it stays until there is something new, and is not there at all when it would be too much.
    assert_eq!(records::list_beside::<Value>(&space.cluster, "t-kube").await.unwrap(), std::slice::from_ref(&beside));
    records::write(&space.cluster, &id, &content, None::<&Value>).await.unwrap();
    assert_eq!(records::list_beside::<Value>(&space.cluster, "t-kube").await.unwrap(), [beside]);
    let digests: Vec<String> = (0_u32..40_000).map(|n| blake3::hash(&n.to_le_bytes()).to_string()).collect();
    records::write(&space.cluster, &id, &content, Some(&json!(digests))).await.unwrap();
    assert_eq!(records::list_beside::<Value>(&space.cluster, "t-kube").await.unwrap(), [json!(null); 0]);
    assert_eq!(records::read(&space.cluster, &id).await.unwrap().map(|record| record.content), Some(content));
    assert!(records::delete(&space.cluster, &id).await.unwrap());
    assert!(!records::delete(&space.cluster, &id).await.unwrap());
}

#[tokio::test]
async fn only_namespaces_that_this_stack_made_are_removed() {
    let space = Space::new("own").await;
    assert!(space.cluster.own_namespaces(crate::kube_support::STACK).await.unwrap().contains(&space.name));
    assert!(!space.cluster.delete_namespace("default", crate::kube_support::STACK).await.unwrap());
    assert!(!space.cluster.delete_namespace(&space.name, "another").await.unwrap());
    assert!(space.cluster.delete_namespace(&space.name, crate::kube_support::STACK).await.unwrap());
    space.cluster.wait_namespace_gone(&space.name, Duration::from_secs(60)).await.unwrap();
    assert!(
        space
            .cluster
            .ensure_namespace(&space.name, crate::kube_support::STACK, &BTreeMap::new(), Duration::from_secs(60))
            .await
            .unwrap()
    );
    assert!(space.cluster.ready().await.unwrap());
    assert_eq!(space.cluster.identity().await.unwrap().len(), 36);
    assert!(space.cluster.server_version().await.unwrap().starts_with("v1."));
    assert!(space.cluster.nodes().await.unwrap().iter().all(|node| node.ready && node.internal_ip.is_some()));
}

#[tokio::test]
async fn yaml_means_to_us_what_it_means_to_helm_and_kubernetes() {
    let tricky = std::fs::read_to_string(fixture("yaml").join("files/tricky.yaml")).unwrap();
    let ours = stack::tools::kube::yaml::parse(&tricky).unwrap();
    for helm in helms().await {
        let output = std::process::Command::new(&helm.path).arg("template").arg(fixture("yaml")).output().unwrap();
        let rendered = String::from_utf8(output.stdout).unwrap();
        let objects = manifest::objects(&rendered, "default").unwrap_or_else(|error| panic!("{error}\n{rendered}"));
        let theirs: serde_json::Value = serde_json::from_str(objects[0].text("/data/json")).unwrap();
        let (ours, theirs) = (ours.as_object().unwrap(), theirs.as_object().unwrap());
        let mut differ = Vec::new();
        for (key, theirs) in theirs {
            if ours.get(key).map(rounded) != Some(rounded(theirs)) {
                differ.push(format!(
                    "{key}:\n  ours   {}\n  theirs {theirs}",
                    ours.get(key).unwrap_or(&json!("nothing"))
                ));
            }
        }
        assert!(differ.is_empty() && ours.len() == theirs.len(), "Helm {}\n{}", helm.major(), differ.join("\n"));
    }
}

/// Helm's templates know only floating numbers; what they print of large ones is rounded.
fn rounded(value: &serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Number(number) => json!(number.as_f64()),
        serde_json::Value::Array(items) => items.iter().map(rounded).collect(),
        serde_json::Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), rounded(value))).collect(),
        value => value.clone(),
    }
}
