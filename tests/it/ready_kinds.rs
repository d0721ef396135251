//! `[ready.NAME]` of every kind on the real cluster: what passes, and what is said of what does not.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;
use stack::tools::kube::probe::ServicePort;

use crate::chart_support::{file, reason};
use crate::kube_support::Space;
use crate::support::{Bed, Project, with_outcome};

const SERVER: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080, protocol: TCP}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: web
          image: busybox:stable
          imagePullPolicy: Never
          command: [busybox, sh, -c, "echo all is well > /tmp/health; exec busybox httpd -f -p 8080 -h /tmp"]
          readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: batch/v1
kind: Job
metadata: {name: seed}
spec:
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers: [{name: seed, image: "busybox:stable", imagePullPolicy: Never, command: [busybox, sh, -c, "{{ .Values.seed }}"]}]
  backoffLimit: 0
"#;

/// A chart that is installed and not waited for, so that the checks have something to wait for.
fn with_checks(bed: &Bed, tag: &str, seed: &str, checks: &str) -> Project {
    let project = Project::on_the_bed(tag);
    let chart = format!("[chart.web]\npath = \"web\"\nwait = false\nset = {{ seed = \"{seed}\" }}\n");
    let needs = |line: &str| if line.starts_with("[ready.") { "needs = [\"chart.web\"]\n" } else { "" };
    let checks = checks.lines().map(|line| format!("{line}\n{}", needs(line))).collect::<String>();
    project.write("stack.toml", &file(bed, &format!("{chart}{checks}")));
    project.write("web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 0.1.0\n");
    project.write("web/templates/all.yaml", SERVER);
    project
}

#[test]
fn every_kind_of_check_waits_until_it_passes() {
    let bed = Bed::get();
    let checks = "[ready.workload]\nworkload = \"deployment/web\"\n\
        [ready.job]\njob = \"seed\"\n\
        [ready.service]\nservice = \"web\"\n\
        [ready.http]\nhttp = { service = \"web\", port = 80, path = \"/health\", contains = \"all is well\" }\n\
        [ready.status]\nhttp = { service = \"web\", port = 80, path = \"/absent\", status = 404 }\n\
        [ready.tcp]\ntcp = { service = \"web\", port = 80 }\n\
        [ready.condition]\ncondition = { resource = \"deployment/web\", type = \"Available\" }\ninterval = \"10m\"\n\
        [ready.field]\ncondition = { resource = \"deployments.apps/web\", path = \".status.readyReplicas\", value = 1 }\n\
        [ready.run]\nrun = \"test -e passed || { touch passed; exit 1; }\"\ninterval = \"100ms\"\n";
    let project = with_checks(&bed, "kinds", "busybox sleep 2", checks);
    let outcomes = project.apply();
    assert_eq!(with_outcome(&outcomes, "done").len(), 10, "{outcomes:?}");
    // What passes has nothing to do; only a command is run to know.
    let again = project.apply();
    assert_eq!(with_outcome(&again, "done"), ["ready:run"], "{again:?}");
}

/// What has no Deployment around it, and what has no pods at all.
const KINDS: &str = r#"
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: ingress}
spec: {defaultBackend: {service: {name: daemon, port: {number: 80}}}}
---
apiVersion: v1
kind: Service
metadata: {name: daemon}
spec: {selector: {app: daemon}, ports: [{port: 80}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: cron}
spec:
  schedule: "0 0 1 1 *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: m, image: "busybox:stable", imagePullPolicy: Never}]}}}}
---
apiVersion: v1
kind: Pod
metadata: {name: pod}
spec: {terminationGracePeriodSeconds: 0, containers: [{name: m, image: "busybox:stable", imagePullPolicy: Never, command: [busybox, sleep, "3600"]}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: daemon}
spec:
  selector: {matchLabels: {app: daemon}}
  template: {metadata: {labels: {app: daemon}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: m, image: "busybox:stable", imagePullPolicy: Never, command: [busybox, sleep, "3600"]}]}}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: replica}
spec:
  selector: {matchLabels: {app: replica}}
  template: {metadata: {labels: {app: replica}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: m, image: "busybox:stable", imagePullPolicy: Never, command: [busybox, sleep, "3600"]}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: stateful}
spec:
  selector: {matchLabels: {app: stateful}}
  serviceName: daemon
  template: {metadata: {labels: {app: stateful}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: m, image: "busybox:stable", imagePullPolicy: Never, command: [busybox, sleep, "3600"]}]}}
"#;

#[test]
fn a_chart_of_every_kind_becomes_ready_and_rests() {
    let bed = Bed::get();
    let project = Project::on_the_bed("objects");
    project.write("stack.toml", &file(&bed, "[chart.web]\npath = \"web\"\nworkloads = 5\n"));
    project.write("web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 0.1.0\n");
    project.write("web/templates/all.yaml", KINDS);
    let run = project.stack(&["apply", "--format", "json"]).expect_code(0);
    for ready in ["DaemonSet daemon", "ReplicaSet replica", "StatefulSet stateful", "Pod pod"] {
        let told =
            run.stdout.lines().any(|line| line.contains(&format!("\"{ready}\"")) && line.contains("\"to\":\"Ready\""));
        assert!(told, "{ready}: {}", run.stdout);
    }
    assert_eq!(with_outcome(&project.apply(), "skipped").len(), 2, "at rest");
    // More are expected: that is seen with nothing else changed.
    project.edit("stack.toml", "workloads = 5", "workloads = 6");
    let too_few = "release web has 5 workloads, and 6 were expected";
    assert_eq!(project.plan()["chart:web"], ("run".into(), too_few.into()));
    let run = project.stack(&["apply", "--format", "json"]).expect_code(1);
    assert_eq!(reason(&run, "chart:web"), too_few);
}

/// A check is looked at before its turn. What was seen then is worth nothing once its chart has changed.
#[test]
fn what_passed_before_a_change_is_looked_at_again_after_it() {
    let bed = Bed::get();
    let check = "[ready.health]\nhttp = { service = \"web\", port = 80, path = \"/health\" }\n\
        timeout = \"3s\"\ninterval = \"300ms\"\n";
    let project = with_checks(&bed, "glance", "true", check);
    project.edit("stack.toml", "wait = false", "wait = true");
    project.apply();
    assert_eq!(with_outcome(&project.apply(), "skipped").len(), 3, "at rest");
    project.edit("web/templates/all.yaml", "echo all is well > /tmp/health; ", "");
    let run = project.stack(&["apply", "--format", "json"]).expect_code(1);
    let reason = reason(&run, "ready:health");
    assert!(reason.contains("answers 404, not 200"), "{reason}");
}

#[tokio::test]
async fn a_glance_believes_only_what_is_good() {
    let space = Space::new("glance").await;
    space.apply(&SERVER[..SERVER.find("---\napiVersion: batch/v1").unwrap()]);
    space.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    let glance = async |service: &str, port, path: &str| {
        let to = ServicePort { service: service.into(), namespace: space.name.clone(), port };
        space.cluster.http_glance(&to, path, false).await
    };
    // A busy machine may take longer than a glance does.
    let mut seen = None;
    for _ in 0..20 {
        seen = seen.or(glance("web", 80, "/health").await);
    }
    assert_eq!(seen, Some(200));
    // The server's own word, and the API server's: what either means takes a proper look.
    assert_eq!(glance("web", 80, "/absent").await, None);
    assert_eq!(glance("web", 81, "/health").await, None);
    assert_eq!(glance("absent", 80, "/health").await, None);
}

#[test]
fn every_kind_of_check_says_what_it_still_waits_for() {
    let bed = Bed::get();
    let wrong = [
        ("workload", "workload = \"deployment/absent\"", "Deployment absent"),
        ("job", "job = \"seed\"", "exit code 3"),
        ("service", "service = \"absent\"", "Service absent"),
        ("http", "http = { service = \"web\", port = 80, path = \"/absent\" }", "answers 404, not 200"),
        (
            "contains",
            "http = { service = \"web\", port = 80, path = \"/health\", contains = \"a pony\" }",
            "does not hold \"a pony\"",
        ),
        ("port", "tcp = { service = \"web\", port = 81 }", "81"),
        ("condition", "condition = { resource = \"deployment/web\", type = \"Amazing\" }", "web has no Amazing"),
        (
            "field",
            "condition = { resource = \"deployment/web\", path = \".spec.replicas\", value = 7 }",
            ".spec.replicas of web is 1, not 7",
        ),
        ("kind", "condition = { resource = \"unicorn/web\", type = \"Ready\" }", "unicorn"),
        ("run", "run = [\"sh\", \"-c\", \"echo not yet >&2; exit 9\"]", "9"),
    ];
    let checks = wrong.iter().map(|(name, check, _)| {
        format!("[ready.{name}]\n{check}\ntimeout = \"6s\"\ngrace = \"2s\"\ninterval = \"500ms\"\n")
    });
    let project = with_checks(&bed, "unready", "echo no seed; exit 3", &checks.collect::<String>());
    let run = project.stack(&["apply", "--keep-going", "--format", "json"]);
    assert_eq!(run.code, 1, "what was deployed is at fault: {}", run.stderr);
    for (name, _, words) in wrong {
        let reason = reason(&run, &format!("ready:{name}"));
        assert!(reason.contains(words), "ready:{name} says {reason:?} and not {words:?}");
    }
}

#[test]
fn a_check_that_nobody_answers_says_what_is_wrong_behind_the_service() {
    let bed = Bed::get();
    let check = "[ready.http]\nhttp = { service = \"web\", port = 80, path = \"/health\" }\ntimeout = \"8s\"\n";
    let project = with_checks(&bed, "behind", "true", check);
    let serves = "echo all is well > /tmp/health; exec busybox httpd -f -p 8080 -h /tmp";
    project.edit("web/templates/all.yaml", serves, "echo no such key; exit 4");
    let run = project.stack(&["apply", "--format", "json"]).expect_code(1);
    let ended =
        run.events().into_iter().find(|event| event["event"] == "step-finished" && event["step"] == "ready:http");
    let diagnosis = ended.unwrap()["diagnosis"].as_str().unwrap_or_default().to_owned();
    assert!(diagnosis.contains("exit code 4") && diagnosis.contains("no such key"), "{diagnosis}");
    assert!(!diagnosis.contains(", pod web-"), "the pod is named once: {diagnosis}");
}

/// A server that says that all is well, once.
fn well() -> std::net::SocketAddr {
    use std::io::{Read, Write};
    let server = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = server.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut client, _) = server.accept().unwrap();
        let _ = client.read(&mut [0; 4096]).unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\nconnection: close\r\n\r\nall is well").unwrap();
    });
    address
}

#[test]
fn a_command_is_looked_at_to_the_end_of_its_time_and_what_it_said_is_told() {
    let project = Project::empty("ready");
    let check = |name: &str, options: &str, line: &str| format!("[ready.{name}]\nrun = \"{line}\"\n{options}\n");
    let brief = "interval = \"100ms\"\ntimeout = \"300ms\"";
    let checks = [
        // A second look is taken only when the time is over.
        check("late", "interval = \"10m\"\ntimeout = \"500ms\"", "test -e one || { touch one; exit 1; }"),
        check("refused", brief, "echo 'connection refused' >&2; exit 1"),
        check("hangs", brief, "trap 'echo t > cleaned; exit 1' TERM; echo begun; sleep 100 & wait"),
        // Nor does an address ask for a cluster.
        format!("[ready.url]\nhttp = {{ url = \"http://{}/\", contains = \"well\" }}\n", well()),
    ];
    project.write("stack.toml", &format!("[stack]\nname = \"@name@\"\n{}", checks.concat()));
    let run = project.stack(&["apply", "--keep-going", "--format", "json"]).expect_code(1);
    let of = |step: &str| {
        let ended = |event: &&Value| event["event"] == "step-finished" && event["step"] == step;
        run.events().iter().find(ended).unwrap().clone()
    };
    assert_eq!(of("ready:late")["outcome"], "done");
    assert_eq!(of("ready:url")["outcome"], "skipped");
    let refused = of("ready:refused");
    assert_eq!(refused["reason"], "not ready after 0.3 s: `sh` ended with exit code 1");
    assert_eq!(refused["diagnosis"], "connection refused");
    let hangs = of("ready:hangs");
    assert_eq!(hangs["reason"], "not ready after 0.3 s: it did not answer in time");
    assert_eq!(hangs["diagnosis"], "begun");
    assert!(project.path().join("cleaned").exists(), "it had no grace");
}

/// The cluster removes such a job by itself.
#[test]
fn a_job_that_goes_when_it_is_done_stays_done() {
    let bed = Bed::get();
    let project = Project::on_the_bed("ttl");
    project.write("stack.toml", &file(&bed, "[chart.web]\npath = \"web\"\ngrace = \"1s\"\n"));
    project.write("web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 0.1.0\n");
    let slow = "readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, initialDelaySeconds: 8}";
    let chart = SERVER.replace("readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}", slow);
    let chart = chart.replace("name: seed}\nspec:", "name: seed}\nspec:\n  ttlSecondsAfterFinished: 0");
    project.write("web/templates/all.yaml", &chart.replace("{{ .Values.seed }}", "true"));

    let mut apply = project.command(&["apply"]);
    let mut apply = apply.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(apply.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line.contains("Job seed: Progressing -> Ready")));
    crate::support::wait_until("the cluster removes the job", || !bed.has(&["-n", &project.name, "job/seed"]));
    let said = said.collect::<Vec<_>>();
    assert!(apply.wait().unwrap().success(), "{said:#?}");
    assert_eq!(project.plan()["chart:web"].0, "skip");
    assert!(!project.stack(&["status"]).expect_code(0).stdout.contains("seed"));
    // What else is not ready is waited for without it.
    bed.kubectl(&["-n", &project.name, "delete", "pod", "--all", "--wait=false"]);
    assert_eq!(project.apply()["chart:web"], "done");
    assert_eq!(project.plan()["chart:web"].0, "skip");
    assert!(!bed.has(&["-n", &project.name, "job/seed"]), "it was not run again");
}
