//! Waiting for real objects on the real cluster: what is ready is seen at once, what is on its way is followed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use crate::kube_support::{Owned, Space, helms, upgrade};
use serde_json::json;
use stack::process::Cancel;
use stack::tools::helm::releases;
use stack::tools::kube::manifest;
use stack::tools::kube::ready::{Progress, ReadyEvent, ReadyOptions, Rules, observe_ready, wait_ready};

fn options(space: &Space) -> ReadyOptions {
    ReadyOptions { rules: Rules::default(), timeout: Duration::from_secs(90), namespace: space.name.clone() }
}

#[tokio::test]
async fn a_release_is_followed_until_it_is_ready_and_then_found_so_at_once() {
    let space = Space::new("ready").await;
    let owned = Owned::new(helms().await.remove(0));
    let session = owned.session(&space);
    session.upgrade(&upgrade("web", json!({})), |_, _| {}).await.unwrap();
    let release = releases::latest(&space.cluster, &space.name, "web").await.unwrap().unwrap();
    let objects = manifest::objects(&release.manifest, &space.name).unwrap();
    let mut told = Vec::new();
    let report =
        wait_ready(&space.cluster, &objects, &options(&space), &Cancel::never(), |event| told.push(event.to_string()))
            .await
            .unwrap_or_else(|error| {
                panic!("{error}\n{}", error.diagnosis().map(ToString::to_string).unwrap_or_default())
            });
    assert_eq!((report.workloads, report.assessments.len()), (1, 2), "{told:#?}");
    for expected in
        ["Deployment web: Updating -> Active (1 pod ready)", "Service web: Unavailable -> Available (1 pod behind it)"]
    {
        assert!(told.iter().any(|line| line == expected), "{expected} is not among {told:#?}");
    }
    assert!(told.iter().any(|line| line.starts_with("Pod web-") && line.ends_with("Pending -> Running")), "{told:#?}");

    let seen = observe_ready(&space.cluster, &objects, &Rules::default(), &space.name).await.unwrap();
    assert!(seen.iter().all(|assessment| assessment.progress == Progress::Ready), "{seen:#?}");

    // A change of the template: new pods take the place of the old ones, each step told.
    session.upgrade(&upgrade("web", json!({"replicas": 2, "password": "other"})), |_, _| {}).await.unwrap();
    let release = releases::latest(&space.cluster, &space.name, "web").await.unwrap().unwrap();
    let objects = manifest::objects(&release.manifest, &space.name).unwrap();
    let mut told = Vec::new();
    wait_ready(&space.cluster, &objects, &options(&space), &Cancel::never(), |event| told.push(event)).await.unwrap();
    let moves = told.iter().filter_map(|event| match event {
        ReadyEvent::Transition { object, from, to, .. } if object.kind == "Deployment" => {
            Some((from.as_str(), to.as_str()))
        }
        _ => None,
    });
    assert_eq!(moves.collect::<Vec<_>>(), [("Active", "Updating"), ("Updating", "Active")]);
    let seen = observe_ready(&space.cluster, &objects, &Rules::default(), &space.name).await.unwrap();
    assert!(seen.iter().any(|assessment| assessment.detail == "all 2 pods ready"), "{seen:#?}");
}
