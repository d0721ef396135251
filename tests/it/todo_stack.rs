//! The Todo Chatbot, from nothing to an app that answers, and then through the life of a developer's day.
//!
//! Needs the test bed: real images are built, loaded into a real node, and installed with a real Helm.

use std::process::Command;

use crate::support::{Bed, Project, checkout, host_docker, succeed, with_outcome};

/// The real input in a folder of its own, under names of its own.
fn todo(bed: &Bed, tag: &str) -> Project {
    let mut project = Project::on_the_bed(tag);
    for part in ["app", "dockerfiles", "charts", "todo-stack.toml"] {
        project.copy(part, part);
    }
    project.edit("todo-stack.toml", "name = \"todo\"", &format!("name = \"{}\"", project.name));
    project.edit("todo-stack.toml", "namespace = \"todo\"", &format!("namespace = \"{}\"", project.name));
    project.use_cluster("todo-stack.toml", bed);
    project
}

/// The address at which the frontend answers from outside the cluster.
fn frontend(bed: &Bed, project: &Project) -> String {
    let jsonpath = "jsonpath={.spec.ports[0].nodePort}";
    let port = bed.kubectl(&["-n", &project.name, "get", "service", "todo-frontend", "-o", jsonpath]);
    let jsonpath = "jsonpath={.items[0].status.addresses[?(@.type=='InternalIP')].address}";
    let address = bed.kubectl(&["get", "nodes", "-o", jsonpath]);
    format!("http://{address}:{port}")
}

fn curl(args: &[&str]) -> String {
    let output = succeed(Command::new("curl").args(["-sS", "--fail", "--max-time", "10", "--noproxy", "*"]).args(args));
    String::from_utf8(output.stdout).expect("the app answers in UTF-8")
}

fn assert_all_skipped(project: &Project, after: &str) {
    let run = project.stack(&["apply", "--format", "json"]).expect_code(0);
    let outcomes = run.outcomes();
    assert_eq!(with_outcome(&outcomes, "skipped").len(), outcomes.len(), "after {after}: {}", run.stdout);
}

#[test]
fn the_todo_stack_comes_up_stays_put_and_goes() {
    let bed = Bed::get();
    let project = todo(&bed, "todo");
    let steps: Vec<&str> = vec![
        "build:backend",
        "build:database",
        "build:frontend",
        "chart:todo",
        "chart:todo-db",
        "cluster",
        "load:backend",
        "load:database",
        "load:frontend",
        "ready:api",
        "ready:web",
    ];

    // From nothing to ready.
    let outcomes = project.apply();
    assert_eq!(outcomes.keys().map(String::as_str).collect::<Vec<_>>(), steps);
    assert_eq!(with_outcome(&outcomes, "failed"), Vec::<&str>::new());
    // The cluster was running, and the checks pass as soon as the charts are ready; nothing else was there.
    assert_eq!(with_outcome(&outcomes, "skipped"), ["cluster", "ready:api", "ready:web"]);

    // A todo that came in through the frontend outlives the pods.
    let address = frontend(&bed, &project);
    let json = "Content-Type: application/json";
    curl(&["-X", "POST", "-H", json, "-d", r#"{"title":"outlive the pods"}"#, &format!("{address}/api/todos")]);
    bed.kubectl(&["-n", &project.name, "delete", "pods", "--all", "--wait=true"]);
    for workload in ["statefulset/todo-db", "deployment/todo-backend", "deployment/todo-frontend"] {
        bed.kubectl(&["-n", &project.name, "rollout", "status", workload, "--timeout=120s"]);
    }
    assert!(curl(&[&format!("{address}/api/todos")]).contains("outlive the pods"));

    // A person at a browser gets along with it.
    succeed(Command::new(checkout().join("tests/browser/run.sh")).arg(&address));

    // Nothing to do: at once, after touching every file, and without the local folder.
    let text = project.stack(&["apply"]).expect_code(0);
    assert!(text.stdout.contains("done:0 ") && text.stdout.contains("failed:0"), "{}", text.stdout);
    succeed(
        Command::new("sh").current_dir(project.path()).args(["-c", "find . -not -path './.stack*' -exec touch {} +"]),
    );
    assert_all_skipped(&project, "touch");
    std::fs::remove_dir_all(project.path().join(".stack")).expect("apply left a .stack folder");
    assert_all_skipped(&project, "removing .stack");

    // One byte of one source.
    project.append("app/backend/todo_backend/app.py", "\n");
    let plan = project.plan();
    assert_eq!(plan["build:backend"], ("run".to_owned(), "~ todo_backend/app.py".to_owned()));
    assert_eq!(plan["load:backend"].0, "unknown");
    assert_eq!(plan["chart:todo"].0, "unknown");
    let ran = project.apply();
    assert_eq!(with_outcome(&ran, "done"), ["build:backend", "chart:todo", "load:backend"]);
    assert_eq!(with_outcome(&ran, "failed"), Vec::<&str>::new());

    // The image goes from the nodes. On the node of the pod that runs it, the pod proves it; a cluster of one node has no other.
    let nodes = bed.nodes();
    let names = bed.images_on(&nodes[0], &format!("{}-frontend", project.name));
    assert!(!names.is_empty(), "the node has the frontend");
    names.iter().for_each(|name| bed.remove_from_nodes(name));
    let plan = project.plan();
    let (action, reason) = &plan["load:frontend"];
    let expected = if nodes.len() > 1 { ("run", "gone from node") } else { ("skip", "is on") };
    assert!(action == expected.0 && reason.contains(expected.1), "{plan:?}");
    let loaded: &[&str] = if nodes.len() > 1 { &["load:frontend"] } else { &[] };
    assert_eq!(with_outcome(&project.apply(), "done"), loaded);

    // And all of it goes.
    let destroyed = project.stack(&["destroy", "--yes", "--images"]).expect_code(0);
    assert!(!bed.has(&["namespace", &project.name]), "{}{}", destroyed.stdout, destroyed.stderr);
    let left = host_docker(&["image", "ls", "--quiet", "--filter", &format!("reference={}-*", project.name)]);
    assert_eq!(String::from_utf8_lossy(&left.stdout), "", "no image is left on the host");
}
