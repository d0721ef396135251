//! Steps follow what they stand on: when that is another one, they run again, and else they don't; and plan says so before.
//!
//! Needs the test bed.

use std::process::Command;

use crate::small::{agree, expect, expect_nothing};
use crate::support::{Bed, Project, host_docker, succeed};

const STACK: &str = r#"[stack]
name = "@name@"

[cluster]
@cluster@
namespace = "@name@"

[image.app]
context = "app"

[chart.db]
path = "chart"

[ready.db]
condition = { resource = "configmap/db", path = ".metadata.name", value = "db" }
needs = ["chart.db"]

[task.migrate]
run = "true"
needs = ["ready.db"]

[task.scan]
run = "true"
needs = ["load:app"]

[task.count]
run = "true"
needs = ["task.scan"]
"#;

#[test]
fn a_task_runs_again_when_what_it_stands_on_is_another_one() {
    let bed = Bed::get();
    let project = Project::on_the_bed("stands");
    project.write("stack.toml", &STACK.replace("@cluster@\n", &bed.cluster()));
    project.write("app/Dockerfile", "FROM busybox:stable\nCOPY name /name\n");
    project.write("app/name", "@name@\n");
    project.write("chart/Chart.yaml", "apiVersion: v2\nname: db\nversion: 0.1.0\n");
    project.write(
        "chart/templates/all.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\ndata:\n  a: b\n",
    );
    let all = ["build:app", "chart:db", "load:app", "task:count", "task:migrate", "task:scan"];
    assert_eq!(agree(&project, "nothing yet").1, all);
    expect_nothing(&project, "the first apply");

    // The database is a new one, though its revision has the number of the old one.
    succeed(Command::new("helm").args(["--kube-context", &bed.profile, "-n", &project.name, "uninstall", "db"]));
    expect(&project, "helm uninstall", "task:migrate", "depends on chart:db", &["chart:db", "task:migrate"]);
    project.edit("chart/templates/all.yaml", "a: b", "a: c");
    expect(&project, "an upgrade", "task:migrate", "depends on chart:db", &["chart:db", "task:migrate"]);

    // The image is the same wherever it is, and whatever it was built from.
    let names = host_docker(&["image", "ls", "--format", "{{.Repository}}:{{.Tag}}", &format!("{}-app", project.name)]);
    let names = String::from_utf8(names.stdout).expect("UTF-8");
    let deployed = names.lines().find(|name| !name.contains(":k-")).expect("the name by its ID");
    bed.remove_from_nodes(deployed);
    expect(&project, "an image gone from the node", "task:scan", "it ran with these inputs", &["load:app"]);
    project.append("app/Dockerfile", "# a remark\n");
    expect(&project, "the same image", "task:scan", "depends on build:app", &["build:app"]);
    project.append("app/name", "and more\n");
    let ran = ["build:app", "load:app", "task:count", "task:scan"];
    expect(&project, "another image", "task:count", "depends on task:scan", &ran);
    expect_nothing(&project, "all of it");
}

/// A task makes sources of an image, of a chart, and of another task.
const MADE: &str = r#"[stack]
name = "@name@"

[cluster]
@cluster@
namespace = "@name@"

[task.generate]
run = "mkdir -p out && tr a-z A-Z < words | tee app/made chart/made.txt out/made.py > made.yaml"
inputs = ["words"]
outputs = ["app/made", "chart/*.txt", "made.yaml", "out"]

[image.app]
context = "app"
load = "none"
needs = ["task.generate"]

[image.other]
context = "other"
load = "none"
needs = ["task.generate"]

[chart.made]
path = "chart"
values = ["./made.yaml"]
needs = ["task.generate"]

[task.count]
run = "wc -c out/made.py > count"
inputs = ["out/**/*.py"]
outputs = ["count"]
needs = ["task.generate"]
"#;

#[test]
fn what_a_task_makes_is_not_known_before_it_has_run() {
    let bed = Bed::get();
    let project = Project::on_the_bed("made");
    project.write("stack.toml", &MADE.replace("@cluster@\n", &bed.cluster()));
    project.write("words", "name: one\n");
    project.write("app/Dockerfile", "FROM scratch\nCOPY made /made\nCOPY name /name\n");
    project.write("app/name", "@name@\n");
    project.write("other/Dockerfile", "FROM scratch\nLABEL name=@name@\n");
    project.write("chart/Chart.yaml", "apiVersion: v2\nname: made\nversion: 0.1.0\n");
    project.write(
        "chart/templates/all.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\ndata:\n  \
         a: {{ .Files.Get \"made.txt\" | quote }}\n  b: {{ .Values.NAME | quote }}\n",
    );
    // Without what is made, neither the image nor the chart can be read.
    let (plan, ran) = agree(&project, "nothing yet");
    assert_eq!(ran, ["build:app", "build:other", "chart:made", "task:count", "task:generate"]);
    let waits = ("unknown".to_owned(), "depends on task:generate, which has not run yet".to_owned());
    for step in ["build:app", "chart:made", "task:count"] {
        assert_eq!(plan[step], waits, "{step}");
    }
    assert_eq!(plan["build:other"].0, "run", "nobody makes anything of it");
    expect_nothing(&project, "the first apply");

    project.write("words", "name: two\n");
    let all = ["build:app", "chart:made", "task:count", "task:generate"];
    expect(&project, "other words", "build:app", &waits.1, &all);

    // What is made again as it was is no change, whatever it is now.
    for made in ["app/made", "chart/made.txt", "made.yaml", "out/made.py"] {
        project.write(made, "name: nobody\n");
    }
    expect(&project, "edits of what is made", "task:count", &waits.1, &["task:generate"]);
    // What somebody else has changed is.
    project.write("words", "name: three\n");
    project.append("chart/Chart.yaml", "description: other\n");
    expect(&project, "another edit", "chart:made", "~ chart/Chart.yaml", &all);
    expect_nothing(&project, "all of it");
}
