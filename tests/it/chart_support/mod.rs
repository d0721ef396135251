//! What the tests of charts share: a project with one small chart, and a Helm of either major for it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Bed, Project, Run};

/// A project whose chart `web` is a deployment; its values say what the container does and whether there is a hook.
pub fn project(bed: &Bed, tag: &str) -> Project {
    let project = Project::on_the_bed(tag);
    project.write(
        "stack.toml",
        &file(bed, "[chart.web]\npath = \"web\"\ngrace = \"2s\"\nmax-restarts = 1\ntimeout = \"90s\"\n"),
    );
    write_chart(&project, "web");
    project
}

/// A stack file with the bed's cluster, a namespace of its own, and `more`.
pub fn file(bed: &Bed, more: &str) -> String {
    format!(
        "[stack]\nname = \"@name@\"\n\
         [cluster]\n{}start = false\nnamespace = \"@name@\"\n{more}",
        bed.cluster()
    )
}

/// A chart: a deployment that runs `run`, a config map of each of `maps`, and a job as the hook `hook` that lasts.
pub fn write_chart(project: &Project, folder: &str) {
    project.write(&format!("{folder}/Chart.yaml"), &format!("apiVersion: v2\nname: {folder}\nversion: 0.1.0\n"));
    project.write(&format!("{folder}/values.yaml"), "run: sleep 3600\nreplicas: 1\nhook: ''\nmaps: []\nnotes: ''\n");
    project.write(&format!("{folder}/templates/NOTES.txt"), "{{ .Values.notes }}");
    project.write(&format!("{folder}/templates/all.yaml"), CHART);
}

const CHART: &str = r#"
{{- range .Values.maps }}
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ $.Release.Name }}-{{ . }}}
data: {a: b}
---
{{- end }}
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: main
          image: busybox:stable
          imagePullPolicy: Never
          command: [busybox, sh, -c, {{ .Values.run | quote }}]
{{- if .Values.hook }}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-hook
  annotations: {helm.sh/hook: {{ .Values.hook }}, helm.sh/hook-delete-policy: before-hook-creation}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers:
        - {name: hook, image: "busybox:stable", imagePullPolicy: Never, command: [busybox, sh, -c, {{ .Values.hookRun | default "sleep 600" | quote }}]}
{{- end }}
"#;

/// The test bed's Helm of a major version.
pub fn helm(major: u64) -> PathBuf {
    crate::kube_support::env(&format!("STACK_TESTBED_HELM{major}")).into()
}

/// Lets a project run with that Helm: a folder with it comes first in `$PATH`.
pub fn use_helm(project: &mut Project, major: u64) {
    let folder = project.path().join(format!(".helm{major}"));
    if !folder.exists() {
        std::fs::create_dir(&folder).expect("a folder");
        std::os::unix::fs::symlink(helm(major), folder.join("helm")).expect("a link");
    }
    let path = std::env::var("PATH").expect("PATH");
    project.set_env("PATH", format!("{}:{path}", folder.display()));
}

/// The revision and the status of a release.
pub fn release(bed: &Bed, project: &Project, release: &str) -> Option<(u64, String)> {
    let selector = format!("owner=helm,name={release}");
    let listed = bed.kubectl(&["-n", &project.name, "get", "secrets", "-l", &selector, "-o", "json"]);
    let listed: Value = serde_json::from_str(&listed).expect("kubectl prints JSON");
    let labels = listed["items"].as_array().expect("items").iter().map(|item| &item["metadata"]["labels"]);
    let text = |labels: &Value, name: &str| labels[name].as_str().expect("a label").to_owned();
    let known =
        labels.map(|labels| (text(labels, "version").parse::<u64>().expect("a number"), text(labels, "status")));
    known.max_by_key(|(revision, _)| *revision)
}

/// The reason with which a step ended in a run with `--format json`.
pub fn reason(run: &Run, step: &str) -> String {
    let finished = run.events().into_iter().rfind(|event| event["event"] == "step-finished" && event["step"] == step);
    finished.and_then(|event| event["reason"].as_str().map(str::to_owned)).unwrap_or_default()
}

/// All processes of this machine: their ids and arguments.
pub fn processes() -> Vec<(u32, Vec<String>)> {
    let entries = std::fs::read_dir(Path::new("/proc")).expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
    let with_args = |pid: u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some((pid, line.split(|byte| *byte == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()))
    };
    pids.filter_map(with_args).collect()
}
