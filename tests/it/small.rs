//! A small stack that has one of everything: an image, one on top of it, their loads, two charts and a task. Builds take a
//! fraction of a second, and nothing has to become ready, so it can be applied many times.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Bed, Project, host_docker, succeed};

const STACK: &str = r#"[stack]
name = "@name@"

[vars]
colour = "red"
token = { env = "TOKEN", default = "nothing", secret = true }

[cluster]
driver = "minikube"
profile = "@profile@"
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

/// Writes all its files.
pub fn write(bed: &Bed, project: &Project) {
    project.write("stack.toml", &STACK.replace("@profile@", &bed.profile));
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
        bed.node_docker(&["image", "inspect", &image]);
    }
    let names = succeed(Command::new("sh").current_dir(project.path()).args(["-c", "cat names/*"]));
    let list = fs::read(project.path().join("out/names")).expect("the task's output");
    assert_eq!(list, names.stdout, "after {after}");
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
