//! Deployments on the real cluster that have trouble and get over it by themselves: told of, and not given up.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use stack::process::Cancel;
use stack::tools::kube::manifest;
use stack::tools::kube::ready::{ReadyEvent, wait_ready};
use tokio::task::spawn_blocking;

use crate::diagnosis::{SERVE, deployment, options};
use crate::kube_support::Space;

/// A deployment that has trouble first, and what makes the trouble pass.
struct Passing {
    name: &'static str,
    yaml: String,
    /// Applied some seconds later.
    later: &'static str,
}

fn passing() -> Vec<Passing> {
    let flag = "volumes: [{name: flag, emptyDir: {}}]";
    let stumbles = |times: u32| {
        format!(
            "image: busybox:stable\nvolumeMounts: [{{name: flag, mountPath: /flag}}]\ncommand: [busybox, sh, -c, \"echo x >> /flag/n; [ $(busybox wc -l < /flag/n) -gt {times} ] || exit 1; busybox sleep 3600\"]"
        )
    };
    let case = |name: &'static str, container: &str, pod: &str, later: &'static str| Passing {
        name,
        yaml: deployment(name, container, pod),
        later,
    };
    vec![
        case("once", &stumbles(1), flag, ""),
        case("twice", &stumbles(2), flag, ""),
        case(
            "late-map",
            &format!("{SERVE}\nenvFrom: [{{configMapRef: {{name: late-map}}}}]"),
            "",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: late-map}\ndata: {A: b}\n",
        ),
        case(
            "late-key",
            &format!("{SERVE}\nenv: [{{name: A, valueFrom: {{secretKeyRef: {{name: late-key, key: a}}}}}}]"),
            "",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: late-key}\nstringData: {a: b}\n",
        ),
        case(
            "late-volume",
            &format!("{SERVE}\nvolumeMounts: [{{name: v, mountPath: /v}}]"),
            "volumes: [{name: v, secret: {secretName: late-volume}}]",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: late-volume}\nstringData: {a: b}\n",
        ),
        case(
            "late-claim",
            &format!("{SERVE}\nvolumeMounts: [{{name: v, mountPath: /v}}]"),
            "volumes: [{name: v, persistentVolumeClaim: {claimName: late-claim}}]",
            "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: late-claim}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}\n",
        ),
        // Twice, since kubelet may tell of a first failure only when the second try has begun.
        case(
            "init-twice",
            SERVE,
            "volumes: [{name: flag, emptyDir: {}}]\ninitContainers: [{name: migrate, image: \"busybox:stable\", volumeMounts: [{name: flag, mountPath: /flag}], command: [busybox, sh, -c, \"[ -e /flag/two ] || { [ ! -e /flag/one ] || busybox touch /flag/two; busybox touch /flag/one; exit 1; }\"]}]",
            "",
        ),
        case(
            "late-probe",
            "image: busybox:stable\ncommand: [busybox, sh, -c, \"busybox sleep 8; busybox touch /tmp/up; busybox sleep 3600\"]\nreadinessProbe: {exec: {command: [busybox, test, -e, /tmp/up]}, periodSeconds: 1}",
            "",
            "",
        ),
        Passing {
            name: "second-try",
            yaml: "
apiVersion: batch/v1
kind: Job
metadata: {name: second-try}
spec:
  backoffLimit: 3
  template:
    spec:
      restartPolicy: OnFailure
      volumes: [{name: flag, emptyDir: {}}]
      containers:
        - name: work
          image: busybox:stable
          volumeMounts: [{name: flag, mountPath: /flag}]
          command: [busybox, sh, -c, \"[ -e /flag/n ] || { busybox touch /flag/n; exit 1; }\"]
"
            .into(),
            later: "",
        },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_recovers_by_itself_is_let_be() {
    let space = Arc::new(Space::new("passing").await);
    let cases = passing();
    assert!(cases.len() >= 8);
    // All at once, and those of later beside the waits: nobody watches while this thread waits for kubectl.
    space.apply(&cases.iter().map(|case| case.yaml.as_str()).collect::<Vec<_>>().join("\n---\n"));
    let space = &space;
    let runs = cases.iter().map(|case| async move {
        let objects = manifest::objects(&case.yaml, &space.name).unwrap();
        let mut options = options(&space.name, Duration::from_secs(150));
        options.rules.grace = Duration::from_secs(100);
        options.rules.unschedulable = Duration::from_secs(100);
        options.rules.max_restarts = 4;
        let mut told = Vec::new();
        let mut troubled = false;
        let mut applied = Vec::new();
        let result = wait_ready(&space.cluster, &objects, &options, &Cancel::never(), |event| {
            let trouble = matches!(event, ReadyEvent::Trouble(_));
            if trouble && !troubled && !case.later.is_empty() {
                let (space, later) = (Arc::clone(space), case.later);
                applied.push(spawn_blocking(move || space.apply(later)));
            }
            troubled |= trouble;
            told.push(event.to_string());
        })
        .await;
        for apply in applied {
            apply.await.unwrap();
        }
        (case, result, told, troubled)
    });
    let mut failures = Vec::new();
    for (case, result, told, troubled) in join_all(runs).await {
        // Jobs try again by themselves, and slow probes are no trouble: neither is worth a word.
        let quiet = matches!(case.name, "late-probe" | "second-try");
        if let Err(error) = result {
            failures.push(format!("{}: {error}\n{:?}\n{told:#?}", case.name, error.diagnosis()));
        } else if troubled == quiet {
            failures.push(format!(
                "{}: the trouble was {}told\n{told:#?}",
                case.name,
                if troubled { "" } else { "not " }
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
