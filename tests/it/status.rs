//! What `stack status` shows: what runs, not what was built last; and with `--watch`, each change of it.
//!
//! Needs the test bed.

use std::io::{BufRead, BufReader, Lines};
use std::process::{ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::support::{Bed, Project, succeed};

const WEB: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: web, image: '{{ .Values.image }}', command: [busybox, sleep, '3600']}]
";

fn project(bed: &Bed) -> Project {
    let project = Project::on_the_bed("status");
    project.write(
        "stack.toml",
        &format!(
            "[stack]\nname = \"@name@\"\n\
             [cluster]\n{}namespace = \"@name@\"\n\
             [image.web]\ncontext = \"web\"\n\
             [chart.web]\npath = \"chart\"\nset = {{ image = \"${{image.web.ref}}\" }}\n",
            bed.cluster()
        ),
    );
    project.write("web/Dockerfile", "FROM busybox:stable\nCOPY page /\n");
    project.write("web/page", "@name@ 1\n");
    project.write("chart/Chart.yaml", "apiVersion: v2\nname: web\nversion: 0.1.0\n");
    project.write("chart/values.yaml", "image: none\n");
    project.write("chart/templates/all.yaml", WEB);
    project
}

fn version(status: &Value) -> String {
    status["images"][0]["version"].as_str().expect("a version").to_owned()
}

fn status(project: &Project) -> Value {
    serde_json::from_str(&project.stack(&["status", "--format", "json"]).expect_code(0).stdout).expect("JSON")
}

/// The next state for which something holds.
fn until(lines: &mut Lines<BufReader<ChildStdout>>, holds: impl Fn(&Value) -> bool) -> Value {
    loop {
        let line = lines.next().expect("the watch goes on").expect("UTF-8");
        let status = serde_json::from_str(&line).expect("JSON");
        if holds(&status) {
            return status;
        }
    }
}

#[test]
fn status_shows_what_runs_and_each_change_of_it() {
    let bed = Bed::get();
    let project = project(&bed);
    let nothing = status(&project);
    assert_eq!(nothing["releases"][0]["status"], "not installed");
    assert_eq!(nothing["images"][0].get("version"), None);
    project.apply();
    let first = status(&project);
    assert_eq!(first["images"][0]["running"], true);
    assert_eq!(first["images"][0]["nodes"], serde_json::json!(bed.nodes()));
    assert_eq!(first["releases"][0]["deployments"][0]["state"], "Active");

    // A newer build that nobody deployed is not what there is.
    project.append("web/page", "2\n");
    project.stack(&["apply", "build:web"]).expect_code(0);
    assert_eq!(version(&status(&project)), version(&first));
    let text = project.stack(&["status"]).expect_code(0).stdout;
    assert!(text.contains(&version(&first)), "{text}");

    let mut watch = project
        .command(&["status", "--watch", "--format", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("stack starts");
    let mut lines = BufReader::new(watch.stdout.take().expect("a pipe")).lines();
    assert_eq!(version(&until(&mut lines, |_| true)), version(&first));
    project.apply();
    let second = until(&mut lines, |status| version(status) != version(&first));
    assert_eq!(second["images"][0]["running"], true);
    succeed(Command::new("kill").args(["-INT", &watch.id().to_string()]));
    assert_eq!(watch.wait().expect("it ended").code(), Some(130));
}

const SPEAKER: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: bad}
spec:
  selector: {matchLabels: {app: bad}}
  template:
    metadata: {labels: {app: bad}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: c
          image: busybox:stable
          imagePullPolicy: Never
          terminationMessagePolicy: FallbackToLogsOnError
          env: [{name: TOKEN, value: {{ .Values.token | quote }}}]
          command: [busybox, sh, -c, 'echo tok=$TOKEN; exit 1']
";

#[test]
fn no_secret_is_shown_of_what_pods_say_nor_of_what_was_edited() {
    let bed = Bed::get();
    let mut project = Project::on_the_bed("status");
    project.write(
        "stack.toml",
        &format!(
            "[stack]\nname = \"@name@\"\n[vars]\ntoken = {{ env = \"TOKEN\", secret = true }}\n\
             [cluster]\n{}namespace = \"@name@\"\n\
             [chart.map]\npath = \"map\"\nset = {{ token = \"${{var.token}}\" }}\n\
             [chart.bad]\npath = \"bad\"\ngrace = \"2s\"\nmax-restarts = 1\nset = {{ token = \"${{var.token}}\" }}\n",
            bed.cluster()
        ),
    );
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\ndata: {plain: {{ .Values.token | quote }}}\n";
    for (chart, template) in [("map", map), ("bad", SPEAKER)] {
        project.write(&format!("{chart}/Chart.yaml"), &format!("apiVersion: v2\nname: {chart}\nversion: 0.1.0\n"));
        project.write(&format!("{chart}/values.yaml"), "token: none\n");
        project.write(&format!("{chart}/templates/all.yaml"), template);
    }
    project.set_env("TOKEN", format!("hunter2{}", "-and-so-on".repeat(7)));
    project.stack(&["apply", "chart:map"]).expect_code(0);
    let run = project.stack(&["apply", "chart:bad"]).expect_code(1);
    assert!(run.stdout.contains("tok=***") && !run.stdout.contains("hunter2"), "{}", run.stdout);
    for args in [&["status"][..], &["status", "--format", "json"]] {
        let run = project.stack(args).expect_code(0);
        assert!(run.stdout.contains("tok=***") && !run.stdout.contains("hunter2"), "{}", run.stdout);
    }

    bed.kubectl(&["-n", &project.name, "patch", "configmap/map", "-p", r#"{"data": {"plain": "by-hand-and-secret"}}"#]);
    for args in [&["plan"][..], &["why", "chart:map"], &["apply", "chart:map", "--format", "json"]] {
        let run = project.stack(args).expect_code(0);
        let shown = run.stdout.contains("hunter2") || run.stdout.contains("by-hand");
        assert!(run.stdout.contains("data.plain *** -> ***") && !shown, "{}", run.stdout);
    }
}
