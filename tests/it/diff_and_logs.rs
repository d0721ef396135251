//! What a person sees of charts before and after: what an apply would change, what is wrong, and what the pods say.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::chart_support::{project, use_helm};
use crate::support::{Bed, Project};

const MORE: &str = r#"
---
apiVersion: v1
kind: Secret
metadata: {name: {{ .Release.Name }}}
stringData: {token: {{ .Values.token }}, fixed: always-the-same}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-file}
data:
  app.conf: |
    one
    two
    token={{ .Values.token }}
    mode={{ .Values.mode }}
"#;

fn with_secret(bed: &Bed, tag: &str) -> Project {
    let project = project(bed, tag);
    project.append("web/templates/all.yaml", MORE);
    project.append("web/values.yaml", "token: none\nmode: slow\n");
    project.append("stack.toml", "set = { maps = [\"one\"], token = \"${var.token}\", mode = \"slow\" }\n");
    project.append("stack.toml", "[vars]\ntoken = { default = \"first-hidden-value\", secret = true }\n");
    project
}

fn diff(project: &Project) -> Vec<Value> {
    let run = project.stack(&["diff", "--format", "json"]).expect_code(0);
    let parsed: Value = serde_json::from_str(&run.stdout).expect("JSON, alone");
    let charts = parsed["charts"].as_array().expect("charts").iter();
    charts.flat_map(|chart| chart["objects"].as_array().expect("objects").clone()).collect()
}

#[test]
fn a_difference_is_shown_by_object_without_secrets_and_noise() {
    let bed = Bed::get();
    for major in [3, 4] {
        let mut project = with_secret(&bed, "diff");
        use_helm(&mut project, major);
        let new = project.stack(&["plan", "--diff"]).expect_code(0);
        assert!(
            new.stdout.contains("adds Deployment web") && new.stdout.contains("+ kind: Deployment"),
            "{}",
            new.stdout
        );
        assert!(!new.stdout.contains("hidden-value"), "{}", new.stdout);
        project.apply();
        assert_eq!(diff(&project), [json!(null); 0], "what was applied is no difference");

        project.edit("stack.toml", "first-hidden-value", "other-hidden-value");
        project.edit("stack.toml", "maps = [\"one\"]", "maps = [\"two\"], replicas = 0");
        project.edit("stack.toml", "mode = \"slow\"", "mode = \"fast\"");
        // By hand, and by others: the one is taken back, the other let be.
        bed.kubectl(&["-n", &project.name, "set", "image", "deployment/web", "main=busybox:edited"]);
        bed.kubectl(&["-n", &project.name, "annotate", "deployment/web", "note=mine"]);
        let found = diff(&project);
        let of = |kind: &str, name: &str| {
            let object = found.iter().find(|object| object["kind"] == kind && object["name"] == name);
            object.unwrap_or_else(|| panic!("no {kind} {name} in {found:#?}"))
        };
        assert_eq!(found.len(), 5, "Helm {major}: {found:#?}");
        assert_eq!(
            (of("ConfigMap", "web-two")["change"].as_str(), of("ConfigMap", "web-one")["change"].as_str()),
            (Some("add"), Some("remove"))
        );
        assert_eq!(
            of("Deployment", "web")["fields"],
            json!([
                {"path": "spec.replicas", "from": 1, "to": 0},
                {"path": "spec.template.spec.containers[0].image", "from": "busybox:edited", "to": "busybox:stable"},
            ])
        );
        assert_eq!(
            of("Secret", "web")["fields"],
            json!([{"path": "data.token", "from": "[secret of 18 bytes]", "to": "[secret of 18 bytes, changed]"}])
        );

        let text = project.stack(&["diff", "--color", "always"]).expect_code(0).stdout;
        let plain = text.replace("\u{1b}[0m", "");
        assert!(plain.len() < text.len(), "it is coloured");
        for part in
            ["-     mode=slow", "+     mode=fast", "-         image: busybox:edited", "removes", "ConfigMap web-one"]
        {
            assert!(plain.contains(part), "{part:?} is not in\n{plain}");
        }
        assert!(!plain.contains("hidden-value") && !plain.contains("uid") && !plain.contains("note"), "{plain}");
        assert!(project.stack(&["diff", "--exit-code"]).code == 5);
        project.apply();
        assert_eq!(diff(&project), [json!(null); 0]);

        project.edit("stack.toml", "other-hidden-value", "third-hidden-value");
        let text = project.stack(&["plan", "--diff"]).expect_code(0).stdout;
        assert!(text.contains("changes ConfigMap web-file") && text.contains("a secret value changes"), "{text}");
        assert!(!text.contains("hidden-value"), "{text}");

        // What somebody put in the place of a secret is one as well, though nobody else knows it.
        let patch = json!({"data": {"app.conf": "one\ntwo\ntoken=by-hand-hidden-value\nmode=fast\n"}}).to_string();
        bed.kubectl(&["-n", &project.name, "patch", "configmap/web-file", "-p", &patch]);
        let text = project.stack(&["plan", "--diff"]).expect_code(0).stdout;
        let why = project.stack(&["why", "chart:web"]).expect_code(0).stdout;
        let json = project.stack(&["diff", "--format", "json"]).expect_code(0).stdout;
        assert!(
            why.contains("ConfigMap web-file was edited in the cluster: data[app.conf] line 3 token=*** -> ***"),
            "{why}"
        );
        assert!(text.contains("changes ConfigMap web-file"), "{text}");
        assert!(!format!("{text}{why}{json}").contains("hidden-value"), "{text}{why}{json}");
    }
}

#[test]
fn status_says_what_is_wrong_and_logs_what_was_printed() {
    let bed = Bed::get();
    let project = project(&bed, "logs");
    project.append("stack.toml", "set = { replicas = 2, run = \"echo hello from $HOSTNAME; sleep 3600\" }\n");
    project.apply();
    let lines = |args: &[&str]| {
        let run = project.stack(&[&["logs", "--format", "json"], args].concat()).expect_code(0);
        run.events().iter().map(|line| line["line"].as_str().expect("a line").to_owned()).collect::<Vec<_>>()
    };
    for name in [&[][..], &["chart:web"], &["web"], &["deployment/web"], &["web", "-c", "main"]] {
        let lines = lines(name);
        assert!(
            lines.len() == 2 && lines.iter().all(|line| line.starts_with("hello from web-")),
            "{name:?}: {lines:?}"
        );
    }
    assert_eq!(lines(&["web", "-c", "other"]), [""; 0]);
    let unknown = project.stack(&["logs", "nothing"]).expect_code(2);
    assert!(unknown.stderr.contains("what runs: Deployment web"), "{}", unknown.stderr);

    // Followed, what comes later is told too: the pods of the next version, and their last words.
    let mut follower = project.command(&["logs", "--follow"]).stdout(Stdio::piped()).spawn().expect("stack starts");
    let mut printed = BufReader::new(follower.stdout.take().expect("a pipe")).lines();
    let mut wait_for = |words: &str| {
        printed
            .by_ref()
            .map_while(Result::ok)
            .find(|line| line.contains(words))
            .unwrap_or_else(|| panic!("no {words:?}"))
    };
    wait_for("hello from");
    project.edit("stack.toml", "echo hello from $HOSTNAME; sleep 3600", "echo no such table; exit 5");
    let failed = project.stack(&["apply"]).expect_code(1);
    assert!(failed.stdout.contains("no such table"), "{}", failed.stdout);
    wait_for("no such table");
    let interrupt = rustix::process::Pid::from_child(&follower);
    rustix::process::kill_process(interrupt, rustix::process::Signal::INT).expect("a signal");
    assert_eq!(follower.wait().expect("it ends").code(), Some(0), "following ends when it is told to");

    let status = project.stack(&["status"]).expect_code(0).stdout;
    for words in ["web is not ready", "exit code 5", "no such table", "try:"] {
        assert!(status.contains(words), "{words:?} is not in\n{status}");
    }
    let status: Value = serde_json::from_str(&project.stack(&["status", "--format", "json"]).stdout).expect("JSON");
    let finding = &status["releases"][0]["diagnosis"]["findings"][0];
    assert_eq!(
        (finding["cause"].as_str(), finding["log"][0].as_str()),
        (Some("crash"), Some("no such table")),
        "{status}"
    );
}
