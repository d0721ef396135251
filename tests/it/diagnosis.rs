//! Broken deployments on the real cluster: each is named by its cause, and soon; those that recover are let be.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::kube_support::{Space, kubectl};
use futures::future::join_all;
use stack::process::Cancel;
use stack::tools::kube::manifest;
use stack::tools::kube::ready::{Cause, NotReady, ReadyOptions, ReadyReport, Rules, wait_ready};

/// How long a case may take once the cluster knows: the grace of these tests, and 5 s.
const GRACE: Duration = Duration::from_secs(6);

pub(crate) fn options(namespace: &str, timeout: Duration) -> ReadyOptions {
    let rules = Rules {
        grace: GRACE,
        max_restarts: 3,
        unschedulable: GRACE,
        own_images: vec!["t-kube-own".into()],
        // With some forty pods at once a kubelet reports ends that late.
        settle: Duration::from_secs(6),
        ..Rules::default()
    };
    ReadyOptions { rules, timeout, namespace: namespace.to_owned() }
}

/// A deployment `name` whose only container has these settings.
pub(crate) fn deployment(name: &str, container: &str, pod: &str) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: 1
  progressDeadlineSeconds: 600
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 0
{}
      containers:
        - name: main
          imagePullPolicy: IfNotPresent
{}
---
",
        indent(pod, 6),
        indent(container, 10)
    )
}

fn indent(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{:by$}{line}", "")).collect::<Vec<_>>().join("\n")
}

pub(crate) const SERVE: &str = "image: busybox:stable\ncommand: [busybox, sleep, \"3600\"]";

async fn wait(space: &Space, yaml: &str, timeout: Duration) -> (Result<ReadyReport, NotReady>, Vec<String>, Duration) {
    space.apply(yaml);
    let objects = manifest::objects(yaml, &space.name).unwrap();
    let mut told = Vec::new();
    let begun = Instant::now();
    let result = wait_ready(&space.cluster, &objects, &options(&space.name, timeout), &Cancel::never(), |event| {
        told.push(event.to_string());
    })
    .await;
    (result, told, begun.elapsed())
}

struct Broken {
    name: &'static str,
    yaml: String,
    cause: Cause,
    /// What the headline has to say.
    says: &'static [&'static str],
    /// What the whole text has to say.
    shows: &'static [&'static str],
}

fn broken() -> Vec<Broken> {
    let case = |name: &'static str, container: &str, cause, says, shows| Broken {
        name,
        yaml: deployment(name, container, ""),
        cause,
        says,
        shows,
    };
    vec![
        case("bad-name", "image: \"Upper:1\"", Cause::ImageName, &["Upper:1", "not valid"], &["try:"]),
        case(
            "never",
            "image: t-kube-none:1\nimagePullPolicy: Never",
            Cause::ImageMissing,
            &["t-kube-none:1", "not on the node"],
            &[],
        ),
        case(
            "own",
            "image: t-kube-own:9",
            Cause::ImageMissing,
            &["t-kube-own:9", "not on the node"],
            &["${image.NAME.tag}"],
        ),
        case(
            "pull",
            "image: 127.0.0.1:1/none:1",
            Cause::ImagePull,
            &["127.0.0.1:1/none:1", "cannot be pulled"],
            &["registry"],
        ),
        case(
            "no-map",
            "image: busybox:stable\nenvFrom: [{configMapRef: {name: absent}}]",
            Cause::Config,
            &["ConfigMap absent does not exist"],
            &[],
        ),
        case(
            "no-key",
            "image: busybox:stable\nenv: [{name: A, valueFrom: {configMapKeyRef: {name: present, key: COLOR}}}]",
            Cause::Config,
            &["ConfigMap present has no key \"COLOR\""],
            &[],
        ),
        case(
            "no-secret",
            "image: busybox:stable\nenv: [{name: A, valueFrom: {secretKeyRef: {name: absent, key: x}}}]",
            Cause::Config,
            &["Secret absent does not exist"],
            &[],
        ),
        case(
            "root",
            "image: busybox:stable\ncommand: [busybox, sleep, \"60\"]\nsecurityContext: {runAsNonRoot: true}",
            Cause::Config,
            &["may not run as root"],
            &[],
        ),
        case(
            "no-command",
            "image: busybox:stable\ncommand: [nope]",
            Cause::Start,
            &["\"nope\" is not in the image"],
            &[],
        ),
        case(
            "exit-1",
            "image: busybox:stable\ncommand: [busybox, sh, -c, \"echo the database is not there; exit 1\"]",
            Cause::Crash,
            &["exit code 1"],
            &["the database is not there"],
        ),
        case(
            "exit-0",
            "image: busybox:stable\ncommand: [busybox, sh, -c, \"echo all done\"]",
            Cause::Crash,
            &["exit code 0"],
            &["all done", "stay in the foreground"],
        ),
        case(
            "shell-127",
            "image: busybox:stable\ncommand: [busybox, sh, -c, \"exit 127\"]",
            Cause::Crash,
            &["exit code 127", "not found"],
            &[],
        ),
        case(
            "signal",
            "image: busybox:stable\ncommand: [busybox, sh, -c, \"sh -c 'kill -11 $$$$'; exit 139\"]",
            Cause::Crash,
            &["exit code 139 (signal 11)"],
            &[],
        ),
        case(
            "memory",
            "image: busybox:stable\ncommand: [busybox, dd, \"if=/dev/zero\", \"of=/dev/null\", \"bs=200M\", \"count=1\"]\nresources: {limits: {memory: 16Mi}}",
            Cause::OutOfMemory,
            &["out of memory at 16Mi"],
            &["resources.limits.memory"],
        ),
        case(
            "working-dir",
            "image: busybox:stable\nworkingDir: relative/path",
            Cause::Start,
            &["cannot be started", "absolute path"],
            &[],
        ),
        case(
            "readiness",
            &format!("{SERVE}\nreadinessProbe: {{tcpSocket: {{port: 8000}}, periodSeconds: 1}}"),
            Cause::Probe,
            &["readiness probe", "refused on port 8000"],
            &[],
        ),
        case(
            "http-503",
            "image: busybox:stable\ncommand: [busybox, httpd, -f, -p, \"8000\", -h, /tmp]\nreadinessProbe: {httpGet: {path: /health, port: 8000}, periodSeconds: 1}",
            Cause::Probe,
            &["GET /health on port 8000", "HTTP status 404"],
            &[],
        ),
        case(
            "liveness",
            &format!(
                "{SERVE}\nlivenessProbe: {{exec: {{command: [busybox, \"false\"]}}, periodSeconds: 1, failureThreshold: 1}}"
            ),
            Cause::Liveness,
            &["liveness probe"],
            &["liveness probe fail"],
        ),
        case(
            "no-cpu",
            &format!("{SERVE}\nresources: {{requests: {{cpu: \"400\"}}}}"),
            Cause::Unschedulable,
            &["no node has 400 CPUs free"],
            &["resources.requests"],
        ),
        case(
            "no-memory",
            &format!("{SERVE}\nresources: {{requests: {{memory: 900Gi}}}}"),
            Cause::Unschedulable,
            &["no node has 900Gi memory free"],
            &[],
        ),
        Broken {
            name: "selector",
            yaml: deployment("selector", SERVE, "nodeSelector: {disk: ssd-of-nobody}"),
            cause: Cause::Unschedulable,
            says: &["no node takes the pod"],
            shows: &[],
        },
        Broken {
            name: "init",
            yaml: deployment(
                "init",
                SERVE,
                "initContainers: [{name: migrate, image: \"busybox:stable\", command: [busybox, sh, -c, \"echo no table; exit 3\"]}]",
            ),
            cause: Cause::Init,
            says: &["init container migrate", "exit code 3"],
            shows: &["no table"],
        },
        Broken {
            name: "init-image",
            yaml: deployment("init-image", SERVE, "initContainers: [{name: migrate, image: \"t-kube-own:8\"}]"),
            cause: Cause::ImageMissing,
            says: &["init container migrate", "t-kube-own:8"],
            shows: &[],
        },
        Broken {
            name: "volume",
            yaml: deployment(
                "volume",
                &format!("{SERVE}\nvolumeMounts: [{{name: v, mountPath: /v}}]"),
                "volumes: [{name: v, secret: {secretName: absent}}]",
            ),
            cause: Cause::Volume,
            says: &["Secret absent, which a volume of it needs, does not exist"],
            shows: &[],
        },
        Broken {
            name: "claim",
            yaml: deployment(
                "claim",
                &format!("{SERVE}\nvolumeMounts: [{{name: v, mountPath: /v}}]"),
                "volumes: [{name: v, persistentVolumeClaim: {claimName: absent}}]",
            ),
            cause: Cause::Volume,
            says: &["PersistentVolumeClaim absent, which a volume of it needs, does not exist"],
            shows: &[],
        },
        Broken {
            name: "pvc",
            yaml: "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: pvc}
spec: {accessModes: [ReadWriteOnce], storageClassName: class-of-nobody, resources: {requests: {storage: 1Mi}}}
"
            .into(),
            cause: Cause::Volume,
            says: &["PersistentVolumeClaim pvc", "class-of-nobody"],
            shows: &["storageclass"],
        },
        Broken {
            name: "job",
            yaml: "
apiVersion: batch/v1
kind: Job
metadata: {name: job}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers: [{name: work, image: \"busybox:stable\", command: [busybox, sh, -c, \"echo cannot work; exit 4\"]}]
"
            .into(),
            cause: Cause::Job,
            says: &["Job job", "exit code 4"],
            shows: &["cannot work"],
        },
        Broken {
            name: "job-deadline",
            yaml: "
apiVersion: batch/v1
kind: Job
metadata: {name: job-deadline}
spec:
  activeDeadlineSeconds: 1
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers: [{name: work, image: \"busybox:stable\", command: [busybox, sleep, \"3600\"]}]
"
            .into(),
            cause: Cause::Job,
            says: &["Job job-deadline", "longer than specified deadline"],
            shows: &[],
        },
        Broken {
            name: "pod",
            yaml: "
apiVersion: v1
kind: Pod
metadata: {name: pod}
spec:
  restartPolicy: Never
  containers: [{name: main, image: \"busybox:stable\", command: [busybox, sh, -c, \"echo gone; exit 5\"]}]
"
            .into(),
            cause: Cause::Crash,
            says: &["Pod pod", "exit code 5"],
            shows: &["gone"],
        },
        Broken {
            name: "stateful",
            yaml: deployment("stateful", "image: busybox:stable\ncommand: [busybox, sh, -c, \"exit 6\"]", "")
                .replace("kind: Deployment", "kind: StatefulSet")
                .replace("  progressDeadlineSeconds: 600\n", "  serviceName: stateful\n"),
            cause: Cause::Crash,
            says: &["StatefulSet stateful", "pod stateful-0", "exit code 6"],
            shows: &[],
        },
        Broken {
            name: "daemon",
            yaml: deployment("daemon", "image: busybox:stable\ncommand: [busybox, sh, -c, \"exit 7\"]", "")
                .replace("kind: Deployment", "kind: DaemonSet")
                .replace("  replicas: 1\n  progressDeadlineSeconds: 600\n", ""),
            cause: Cause::Crash,
            says: &["DaemonSet daemon", "exit code 7"],
            shows: &[],
        },
        Broken {
            name: "deadline",
            yaml: deployment(
                "deadline",
                &format!("{SERVE}\nreadinessProbe: {{exec: {{command: [busybox, \"false\"]}}}}"),
                "",
            )
            .replace("progressDeadlineSeconds: 600", "progressDeadlineSeconds: 15"),
            cause: Cause::Probe,
            says: &["readiness probe"],
            shows: &[],
        },
        Broken {
            name: "service",
            yaml: format!(
                "{}
apiVersion: v1
kind: Service
metadata: {{name: service}}
spec: {{selector: {{app: typing-mistake}}, ports: [{{port: 80}}]}}
",
                deployment("service", SERVE, "")
            ),
            cause: Cause::NoEndpoints,
            says: &["Service service", "matches no pod", "app=typing-mistake"],
            shows: &["labels"],
        },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_broken_object_is_named_by_its_cause() {
    let space = Space::new("broken").await;
    space.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: present}\ndata: {A: b}\n");
    let cases = broken();
    assert!(cases.len() >= 25);
    let mut failures = Vec::new();
    // A node with two cores starts only so many containers at a time: what is measured is ours, not its queue.
    for group in cases.chunks(8) {
        let space = &space;
        let runs = group.iter().map(|case| async move {
            let (result, told, took) = wait(space, &case.yaml, Duration::from_secs(45)).await;
            (case, result, told, took)
        });
        for (case, result, told, took) in join_all(runs).await {
            let diagnosis = match result {
                Err(NotReady::Failed(diagnosis)) => diagnosis,
                // A probe that does not pass may pass in an hour: only the timeout ends that.
                Err(NotReady::TimedOut { diagnosis, .. }) if case.cause == Cause::Probe => diagnosis,
                other => {
                    failures.push(format!("{}: {other:?}\n{told:#?}", case.name));
                    continue;
                }
            };
            let (headline, text) = (diagnosis.headline(), diagnosis.to_string());
            println!("--- {} after {:.1} s\n{text}", case.name, took.as_secs_f64());
            let found = diagnosis.findings.first().map(|finding| finding.cause);
            let silent = case.says.iter().filter(|words| !headline.contains(**words));
            let unshown = case.shows.iter().filter(|words| !text.contains(**words));
            let missing = silent.chain(unshown).collect::<Vec<_>>();
            if found != Some(case.cause) || !missing.is_empty() {
                failures.push(format!("{}: {found:?} lacks {missing:?}\n{text}\n{told:#?}", case.name));
            }
        }
        space.kubectl(&["delete", "deploy,sts,ds,job,pod,svc,pvc", "--all", "--wait=false"]);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// What the cluster itself refuses: each in a namespace of its own, since it is the namespace that refuses.
#[tokio::test]
async fn what_the_cluster_refuses_is_said_with_its_reason() {
    let quota = "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: small}\nspec: {hard: {pods: \"0\"}}\n";
    let range = "apiVersion: v1\nkind: LimitRange\nmetadata: {name: range}\nspec: {limits: [{type: Container, max: {memory: 1Mi}, default: {memory: 1Mi}}]}\n";
    let account = deployment("refused", SERVE, "serviceAccountName: absent");
    let asks = format!("{SERVE}\nresources: {{requests: {{memory: 2Mi}}, limits: {{memory: 2Mi}}}}");
    let cases = [
        ("quota", quota, deployment("refused", SERVE, ""), Cause::Quota, "the quota small"),
        ("range", range, deployment("refused", &asks, ""), Cause::Create, "maximum memory usage per Container is 1Mi"),
        ("account", "", account, Cause::Create, "serviceaccount \"absent\" not found"),
    ];
    for (name, before, yaml, cause, words) in cases {
        let space = Space::new(name).await;
        if !before.is_empty() {
            space.apply(before);
        }
        let (result, told, took) = wait(&space, &yaml, Duration::from_secs(60)).await;
        let Err(NotReady::Failed(diagnosis)) = result else { panic!("{name}: {result:?}\n{told:#?}") };
        println!("--- {name} after {:.1} s\n{diagnosis}", took.as_secs_f64());
        assert_eq!(diagnosis.findings.first().map(|finding| finding.cause), Some(cause), "{diagnosis}");
        assert!(diagnosis.headline().contains(words), "{diagnosis}");
        assert!(took < Duration::from_secs(15), "{name} took {took:?}");
    }
}

#[tokio::test]
async fn an_admission_webhook_that_refuses_and_a_kind_whose_names_are_taken() {
    let space = Space::new("admit").await;
    let webhook = format!(
        "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {{name: {name}}}
webhooks:
  - name: guard.t-kube.dev
    admissionReviewVersions: [v1]
    sideEffects: None
    failurePolicy: Fail
    timeoutSeconds: 1
    clientConfig: {{url: \"https://127.0.0.1:1/\"}}
    namespaceSelector: {{matchLabels: {{t-kube: {name}}}}}
    rules: [{{apiGroups: [\"\"], apiVersions: [v1], operations: [CREATE], resources: [pods]}}]
",
        name = space.name
    );
    let kinds = |plural: &str, kind: &str| {
        format!(
            "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: {plural}.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{plural: {plural}, singular: {singular}, kind: {kind}}}
  versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}}}]
---
",
            group = space.name.replace("t-kube-", "") + ".t-kube.dev",
            singular = plural.trim_end_matches('s')
        )
    };
    let _cleaner = Cleaner(space.name.clone());
    space.kubectl(&["label", "namespace", &space.name, &format!("t-kube={}", space.name)]);
    space.apply(&webhook);
    let (result, told, _) = wait(&space, &deployment("guarded", SERVE, ""), Duration::from_secs(60)).await;
    let Err(NotReady::Failed(diagnosis)) = result else { panic!("{result:?}\n{told:#?}") };
    assert_eq!(diagnosis.findings[0].cause, Cause::Admission, "{diagnosis}");
    assert!(diagnosis.headline().contains("guard.t-kube.dev"), "{diagnosis}");

    let (result, ..) = wait(&space, &kinds("widgets", "Widget"), Duration::from_secs(30)).await;
    assert_eq!(result.unwrap().assessments[0].detail, "established");
    let (result, told, took) = wait(&space, &kinds("gadgets", "Widget"), Duration::from_secs(30)).await;
    let Err(NotReady::Failed(diagnosis)) = result else { panic!("{result:?}\n{told:#?}") };
    assert_eq!(diagnosis.findings[0].cause, Cause::Names, "{diagnosis}");
    assert!(took < Duration::from_secs(5) && diagnosis.headline().contains("Widget"), "{took:?} {diagnosis}");
    // Objects of the new kind: ready by their conditions.
    let widget = format!(
        "apiVersion: {}.t-kube.dev/v1\nkind: Widget\nmetadata: {{name: one}}\nstatus: {{conditions: [{{type: Stalled, status: \"True\", message: no wood left}}]}}\n",
        space.name.replace("t-kube-", "")
    );
    let (result, ..) = wait(&space, &widget, Duration::from_secs(30)).await;
    let error = result.unwrap_err();
    assert!(error.to_string().contains("stalled: no wood left"), "{error}");
}

/// Removes what lives in no namespace.
struct Cleaner(String);

impl Drop for Cleaner {
    fn drop(&mut self) {
        let group = format!("{}.t-kube.dev", self.0.replace("t-kube-", ""));
        kubectl(&["delete", "validatingwebhookconfiguration", &self.0, "--ignore-not-found"], None);
        for plural in ["widgets", "gadgets"] {
            kubectl(&["delete", "crd", &format!("{plural}.{group}"), "--ignore-not-found", "--wait=false"], None);
        }
    }
}

#[tokio::test]
async fn a_namespace_that_does_not_go_says_what_holds_it() {
    let space = Space::new("stuck").await;
    space.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: held, finalizers: [t-kube.dev/hold]}\n");
    assert!(space.cluster.delete_namespace(&space.name, crate::kube_support::STACK).await.unwrap());
    let patience = Duration::from_secs(6);
    let error = space
        .cluster
        .ensure_namespace(&space.name, crate::kube_support::STACK, &BTreeMap::new(), patience)
        .await
        .unwrap_err();
    let text = error.to_string();
    space.kubectl(&["patch", "configmap/held", "--type=merge", "-p", r#"{"metadata": {"finalizers": []}}"#]);
    assert!(text.contains("still terminating") && text.contains("t-kube.dev/hold"), "{text}");
    assert!(
        space
            .cluster
            .ensure_namespace(&space.name, crate::kube_support::STACK, &BTreeMap::new(), Duration::from_secs(60))
            .await
            .unwrap()
    );
}
