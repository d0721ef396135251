//! A small stack that has one of everything: an image, one on top of it, their loads, two charts and a task. Builds take a
//! fraction of a second, and nothing has to become ready, so it can be applied many times.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Bed, Project, host_docker, succeed, with_outcome};

const STACK: &str = r#"[stack]
name = "@name@"

[vars]
colour = "red"
token = { env = "TOKEN", default = "nothing", secret = true }

[cluster]
@cluster@
namespace = "@name@"

[image.base]
context = "base"
args = { FLAVOUR = "plain" }

[image.top]
context = "top"
args = { BASE = "${image.base.ref}" }

[chart.one]
path = "chart"
values = ["one.yaml"]
[chart.one.set]
image = "${image.base.ref}"
colour = "${var.colour}"
token = "${var.token}"

[chart.two]
path = "chart"
[chart.two.set]
image = "${image.top.ref}"

[task.list]
run = "mkdir -p out && cat names/* > out/names"
inputs = ["names/*"]
outputs = ["out/names"]
"#;

const CONFIG_MAP: &str = r#"apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
data:
  image: {{ .Values.image | quote }}
  colour: {{ .Values.colour | quote }}
  text: {{ .Files.Get "files/text" | quote }}
---
apiVersion: v1
kind: Secret
metadata:
  name: {{ .Release.Name }}
stringData:
  token: {{ .Values.token | quote }}
"#;

/// All its steps.
pub const STEPS: [&str; 8] =
    ["build:base", "build:top", "chart:one", "chart:two", "cluster", "load:base", "load:top", "task:list"];

/// The stack in a folder of its own.
pub fn project(bed: &Bed, tag: &str) -> Project {
    let project = Project::on_the_bed(tag);
    write(bed, &project);
    project
}

/// The stack in a folder of its own, for another tool that knows the bed's cluster.
pub fn project_with(bed: &Bed, tag: &str, driver: &str) -> Project {
    let project = project(bed, tag);
    project.edit("stack.toml", &bed.cluster(), &bed.cluster_of(driver));
    project
}

/// Writes all its files.
pub fn write(bed: &Bed, project: &Project) {
    project.write("stack.toml", &STACK.replace("@cluster@\n", &bed.cluster()));
    project.write(
        "base/Dockerfile",
        "FROM busybox:stable\nARG FLAVOUR\nRUN echo $FLAVOUR > /flavour\nCOPY app /app\nCOPY run.sh /run.sh\n",
    );
    project.write("base/app/a", "a\n");
    project.write("base/app/b", "b\n");
    // Other stacks shall not have images of the same ID.
    project.write("base/app/name", "@name@\n");
    project.write("base/run.sh", "#!/bin/sh\n");
    project.write("base/README.md", "Nobody copies this.\n");
    project.write("top/Dockerfile", "ARG BASE\nFROM ${BASE}\nCOPY . /top\n");
    project.write("top/.dockerignore", "*.tmp\nskipped\n");
    project.write("top/one", "1\n");
    project.write("chart/Chart.yaml", "apiVersion: v2\nname: small\nversion: 0.1.0\n");
    project.write("chart/values.yaml", "image: none\ncolour: none\ntoken: none\n");
    project.write("chart/templates/all.yaml", CONFIG_MAP);
    project.write("chart/files/text", "text\n");
    project.write("chart/.helmignore", "*.bak\n");
    project.write("one.yaml", "unused: 1\n");
    project.write("names/a", "ada\n");
}

/// What is in a folder: for each path its kind, executable bit, target and content.
const LISTING: &str = r#"find . | sort | while read -r p; do
  if [ -L "$p" ]; then echo "$p -> $(readlink "$p")"
  elif [ -d "$p" ]; then echo "$p/"
  elif [ -x "$p" ]; then echo "$p*"; cat "$p"
  else echo "$p"; cat "$p"; fi; done"#;

/// What is in a folder of the project.
pub fn listing_here(folder: &Path) -> String {
    let output = succeed(Command::new("sh").current_dir(folder).env("LC_ALL", "C").args(["-c", LISTING]));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What is in a folder of an image.
pub fn listing_in(image: &str, folder: &str) -> String {
    let script = format!("cd {folder} && {LISTING}");
    let output = host_docker(&["run", "--rm", "--network", "none", image, "sh", "-c", &script]);
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A field of a release's ConfigMap.
pub fn field(bed: &Bed, project: &Project, release: &str, field: &str) -> String {
    let jsonpath = format!("jsonpath={{.data.{field}}}");
    bed.kubectl(&["-n", &project.name, "get", "configmap", release, "-o", &jsonpath])
}

/// Fails the test unless the world is what the files say.
#[track_caller]
pub fn assert_right(bed: &Bed, project: &Project, after: &str) {
    let image = field(bed, project, "one", "image");
    assert!(image.starts_with(&format!("{}-base:", project.name)), "after {after}: chart:one has {image}");
    assert_eq!(listing_in(&image, "/app"), listing_here(&project.path().join("base/app")), "after {after}");
    let stack = fs::read_to_string(project.path().join("stack.toml")).expect("the stack file");
    let colour = stack.split("colour = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a colour");
    assert_eq!(field(bed, project, "one", "colour"), colour, "after {after}");
    let text = fs::read_to_string(project.path().join("chart/files/text")).expect("a file of the chart");
    assert_eq!(field(bed, project, "two", "text"), text, "after {after}");
    let top = field(bed, project, "two", "image");
    assert_eq!(listing_in(&top, "/app"), listing_here(&project.path().join("base/app")), "after {after}");
    for image in [image, top] {
        assert_eq!(bed.nodes_with(&image), bed.nodes(), "after {after}: {image}");
    }
    let names = succeed(Command::new("sh").current_dir(project.path()).args(["-c", "cat names/*"]));
    let list = fs::read(project.path().join("out/names")).expect("the task's output");
    assert_eq!(list, names.stdout, "after {after}");
}

/// Plans, applies, and fails unless the one did what the other said. Gives the plan, and the steps that ran.
#[track_caller]
pub fn agree(project: &Project, after: &str) -> (BTreeMap<String, (String, String)>, Vec<String>) {
    let plan = project.plan();
    let outcomes = project.apply();
    for (step, (action, reason)) in &plan {
        let outcome = outcomes[step].as_str();
        let agrees = match action.as_str() {
            "run" => outcome == "done",
            "skip" => outcome == "skipped",
            "unknown" => matches!(outcome, "done" | "skipped"),
            _ => false,
        };
        assert!(agrees, "after {after}: plan called {step} {action} ({reason}), and it was {outcome}");
    }
    (plan, with_outcome(&outcomes, "done").into_iter().map(str::to_owned).collect())
}

/// What ran after an edit, and what plan had given as the reason of a step.
#[track_caller]
pub fn expect(project: &Project, after: &str, step: &str, reason: &str, ran: &[&str]) {
    let (plan, done) = agree(project, after);
    assert!(plan[step].1.contains(reason), "after {after}: {step} is {:?}", plan[step]);
    assert_eq!(done, ran, "after {after}");
}

/// Fails unless plan and apply find nothing to do.
#[track_caller]
pub fn expect_nothing(project: &Project, after: &str) {
    let (plan, done) = agree(project, after);
    assert_eq!(done, [""; 0], "after {after}: {plan:?}");
    assert!(plan.values().all(|(action, _)| action == "skip"), "after {after}: {plan:?}");
}

/// Runs a line of shell in the project's folder.
pub fn shell(project: &Project, script: &str) {
    succeed(Command::new("sh").current_dir(project.path()).args(["-c", script]));
}

/// Numbers that look random and are the same for the same seed.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that fall as this seed has it.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    /// One of several.
    pub fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.roll(choices.len() as u64) as usize]
    }
}
