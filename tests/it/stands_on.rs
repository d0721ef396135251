//! Tasks follow what they stand on: when that is another one, they run again, and else they don't.
//!
//! Needs the test bed.

use std::process::Command;

use crate::small::{agree, expect, expect_nothing};
use crate::support::{Bed, Project, host_docker, succeed};

const STACK: &str = r#"[stack]
name = "@name@"

[cluster]
driver = "minikube"
profile = "@profile@"
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
    project.write("stack.toml", &STACK.replace("@profile@", &bed.profile));
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
    bed.node_docker(&["image", "rm", "--force", deployed]);
    expect(&project, "an image gone from the node", "task:scan", "it ran with these inputs", &["load:app"]);
    project.append("app/Dockerfile", "# a remark\n");
    expect(&project, "the same image", "task:scan", "depends on build:app", &["build:app"]);
    project.append("app/name", "and more\n");
    let ran = ["build:app", "load:app", "task:count", "task:scan"];
    expect(&project, "another image", "task:count", "depends on task:scan", &ran);
    expect_nothing(&project, "all of it");
}
