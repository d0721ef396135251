//! What is wrong is said before anything is done: the exit code, the place, what was meant, and no trace left behind.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{Bed, Project, with_outcome};

/// A stack that is right, to be made wrong.
const STACK: &str = r#"[stack]
name = "@name@"

[cluster]
driver = "context"
context = "somewhere"

[image.app]
context = "app"
dockerfile = "app/Dockerfile"

[chart.app]
path = "chart"
set = { "image.tag" = "${image.app.tag}" }
"#;

fn project(stack: &str) -> Project {
    let project = Project::empty("wrong");
    project.write("stack.toml", stack);
    project.write("app/Dockerfile", "FROM busybox:stable\nCOPY file /file\n");
    project.write("app/file", "content");
    project.write("chart/Chart.yaml", "apiVersion: v2\nname: app\nversion: 0.1.0\n");
    project.write("chart/templates/config.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\n");
    project
}

/// Validates a stack file that has to be refused with all of these texts, and nothing left behind.
#[track_caller]
fn refused(stack: &str, texts: &[&str]) {
    let project = project(stack);
    for command in ["validate", "apply", "plan", "graph"] {
        let run = project.stack(&[command]).expect_code(2);
        for text in texts {
            assert!(run.stderr.contains(text), "stack {command} did not say {text:?}:\n{}", run.stderr);
        }
    }
    assert!(!project.path().join(".stack").exists(), "a refused file leaves nothing behind");
}

#[test]
fn a_right_file_is_accepted() {
    project(STACK).stack(&["validate"]).expect_code(0);
}

#[test]
fn a_file_that_another_task_makes_has_to_be_needed() {
    let project = Project::empty("wrong");
    let stack = "[stack]\nname = \"@name@\"\n[task.make]\nrun = \"true\"\noutputs = [\"gen/a\"]\n\
                 [task.between]\nrun = \"true\"\n[task.read]\nrun = \"true\"\ninputs = [\"./gen/a\"]\n";
    project.write("stack.toml", stack);
    let told = "task `read` reads `gen/a`, which task `make` makes, and may run before it: \
                add `needs = [\"task.make\"]` to `[task.read]`";
    project.stack(&["validate"]).expect_code(0).expect_stderr(told);
    let is_told =
        || String::from_utf8_lossy(&project.command(&["validate"]).output().unwrap().stderr).contains("reads");
    project.append("stack.toml", "needs = [\"task.between\"]\n");
    assert!(is_told());
    // Through another one, or the other way round on purpose.
    project.edit("stack.toml", "[task.between]\n", "[task.between]\nneeds = [\"task.make\"]\n");
    assert!(!is_told());
    project.write("stack.toml", &stack.replace("outputs", "needs = [\"task.read\"]\noutputs"));
    assert!(!is_told());
    // A folder and what is in it, either way.
    project.write("stack.toml", &stack.replace("./gen/a", "gen/"));
    let validate = || project.stack(&["validate"]).expect_code(0);
    validate().expect_stderr("task `read` reads `gen`, where task `make` makes `gen/a`, and may run before it");
    project.write("stack.toml", &stack.replace("./gen/a", "gen/a/b/c"));
    validate().expect_stderr("task `read` reads `gen/a/b/c`, where task `make` makes `gen/a`, and may run before it");
    project.write("stack.toml", &stack.replace("./gen/a", "gen/ab"));
    assert!(!is_told());
    project.write(
        "stack.toml",
        &stack.replace("[task.read]\nrun = \"true\"\ninputs = [\"./gen/a\"]", "[image.i]\ncontext = \"gen\""),
    );
    project.write("gen/Dockerfile", "FROM scratch\n");
    let told = "image `i` is built from `gen`, where task `make` makes `gen/a`, and may run before it: \
                add `needs = [\"task.make\"]` to `[image.i]`";
    validate().expect_stderr(told);
    project.write("gen/.dockerignore", "a\n");
    let said = validate().stderr;
    assert!(!said.contains("is built from"), "{said}");
}

#[test]
fn unknown_keys_name_the_nearest_known_one() {
    refused(&STACK.replace("dockerfile =", "dockerfle ="), &["stack.toml:10", "dockerfle", "dockerfile"]);
}

#[test]
fn wrong_types_say_what_was_expected() {
    refused(&STACK.replace("\"app\"\ndockerfile", "7\ndockerfile"), &["stack.toml:9", "string"]);
}

#[test]
fn missing_files_are_named() {
    refused(&STACK.replace("app/Dockerfile", "app/Dockerfil"), &["stack.toml:10", "app/Dockerfil"]);
    refused(&STACK.replace("path = \"chart\"", "path = \"chrt\""), &["chrt"]);
}

#[test]
fn a_pipe_is_no_file() {
    let project = project(&STACK.replace("app/Dockerfile", "pipe"));
    crate::support::succeed(std::process::Command::new("mkfifo").arg(project.path().join("pipe")));
    for command in ["validate", "plan"] {
        project.stack(&[command]).expect_code(2).expect_stderr("this is a pipe; a file is needed");
    }
}

#[test]
fn paths_stay_inside_the_folder() {
    refused(&STACK.replace("context = \"app\"", "context = \"../app\""), &["../app", "allow-outside"]);
    refused(&STACK.replace("context = \"app\"", "context = \"/etc\""), &["/etc", "allow-outside"]);
}

#[test]
fn references_to_nothing_name_the_nearest_thing() {
    refused(&STACK.replace("${image.app.tag}", "${image.ap.tag}"), &["image.ap", "image.app"]);
    refused(&STACK.replace("${image.app.tag}", "${image.app.tga}"), &["tga", "tag"]);
    refused(&STACK.replace("${image.app.tag}", "${var.nothing}"), &["var.nothing"]);
}

#[test]
fn a_cycle_is_shown_as_the_path_that_closes_it() {
    let cycle = "\n[ready.one]\nneeds = [\"ready.two\"]\nrun = [\"true\"]\n\n[ready.two]\nneeds = [\"ready.one\"]\nrun = [\"true\"]\n";
    refused(&format!("{STACK}{cycle}"), &["ready:one -> ready:two -> ready:one"]);
}

#[test]
fn two_steps_of_one_name_are_refused() {
    refused(
        &format!("{STACK}\n[image.app]\ncontext = \"app\"\n"),
        &["`app`", "stack.toml:8", "first here", "again here"],
    );
}

#[test]
fn all_errors_are_told_at_once() {
    let stack = STACK
        .replace("dockerfile =", "dockerfle =")
        .replace("path =", "pth =")
        .replace("driver = \"context\"", "driver = \"kontext\"");
    refused(&stack, &["dockerfle", "pth", "kontext"]);
}

#[test]
fn a_file_that_is_no_toml_shows_the_place() {
    refused(&STACK.replace("[image.app]", "[image.app"), &["stack.toml:8"]);
}

#[test]
fn no_stack_file_says_where_it_was_looked_for() {
    let project = Project::empty("nofile");
    let run = project.stack(&["plan"]).expect_code(2);
    assert!(run.stderr.contains("stack.toml"), "{}", run.stderr);
    project.stack(&["-f", "nowhere.toml", "plan"]).expect_code(2).expect_stderr("nowhere.toml");
}

#[test]
fn a_wrong_command_line_has_the_code_of_wrong_input() {
    Project::empty("usage").stack(&["aply"]).expect_code(2).expect_stderr("apply");
    let project = project(STACK);
    project.stack(&["plan", "build:ap"]).expect_code(2).expect_stderr("build:app");
}

#[test]
fn docker_that_does_not_answer_is_missing() {
    let mut project = project(STACK);
    project.set_env("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    let run = project.stack(&["apply", "build:app"]).expect_code(3).expect_stderr("Docker");
    assert!(run.stderr.contains("/nonexistent/docker.sock"), "{}", run.stderr);
}

/// An engine that takes its time to fail, and a context that is known at once not to be there.
#[test]
fn of_two_things_that_are_missing_the_same_is_said_whichever_is_seen_first() {
    Bed::get();
    let mut project = project(STACK);
    let socket = project.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    // Ends with the process of the test.
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            std::thread::sleep(Duration::from_millis(200));
            drop(connection);
        }
    });
    project.set_env("DOCKER_HOST", format!("unix://{}", socket.display()));
    let run = project.stack(&["apply"]).expect_code(3).expect_stderr("Docker");
    assert!(!run.stderr.contains("somewhere"), "{}", run.stderr);
}

#[test]
fn a_cluster_that_does_not_answer_is_missing_and_nothing_is_built() {
    Bed::get();
    let mut project = project(STACK);
    project.write(
        "kubeconfig",
        "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n\
         contexts: [{name: somewhere, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {token: t}}]\n",
    );
    project.set_env("KUBECONFIG", project.path().join("kubeconfig").to_str().expect("UTF-8"));
    let run = project.stack(&["apply"]).expect_code(3).expect_stderr("127.0.0.1:1");
    assert!(run.stderr.contains("somewhere"), "{}", run.stderr);
    let images = crate::support::host_docker(&["image", "ls", "--quiet", &format!("{}-app", project.name)]);
    assert!(images.stdout.is_empty(), "an image was built");
}

#[test]
fn a_context_that_is_not_there_names_those_that_are() {
    let bed = Bed::get();
    project(STACK).stack(&["apply"]).expect_code(3).expect_stderr(&bed.profile);
}

/// Much is looked at before its turn; a cluster that is not there must not be tried by each of them.
#[test]
fn a_cluster_that_is_down_is_tried_as_often_with_many_charts_as_with_one() {
    Bed::get();
    let tried = |charts: usize| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        // Ends with the process of the test; it only takes and drops.
        std::thread::spawn(move || {
            for _ in listener.incoming() {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        });
        let charts = (0..charts).map(|n| {
            format!(
                "[chart.c{n}]\npath = \"chart\"\n\
                 [ready.c{n}]\nhttp = {{ service = \"c{n}\" }}\nneeds = [\"chart.c{n}\"]\n"
            )
        });
        let cluster = "[stack]\nname = \"@name@\"\n[cluster]\ndriver = \"minikube\"\nprofile = \"down\"\n";
        let mut project = project(&format!("{cluster}{}", charts.collect::<String>()));
        project.write("chart/Chart.yaml", "apiVersion: v2\nname: c\nversion: 0.1.0\n");
        project.write(
            "kubeconfig",
            &format!(
                "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: 'https://{address}'}}}}]\n\
                 contexts: [{{name: down, context: {{cluster: c, user: u}}}}]\nusers: [{{name: u, user: {{token: t}}}}]\n"
            ),
        );
        project.write("bin/minikube", "#!/bin/sh\necho it does not start >&2\nexit 80\n");
        fs::set_permissions(project.path().join("bin/minikube"), fs::Permissions::from_mode(0o755)).expect("a script");
        let path = std::env::var("PATH").expect("PATH");
        project.set_env("PATH", format!("{}:{path}", project.path().join("bin").display()));
        project.set_env("KUBECONFIG", project.path().join("kubeconfig").to_str().expect("UTF-8"));
        let run = project.stack(&["apply", "--format", "json"]);
        assert!(run.stdout.contains("it does not start"), "{}{}", run.stdout, run.stderr);
        count.load(Ordering::SeqCst)
    };
    let one = tried(1);
    assert!(one > 0, "nobody has tried");
    assert_eq!(tried(12), one);
}

/// Nobody is asked at an address of documentation: the refusal comes first.
#[test]
fn a_cluster_that_looks_remote_has_to_be_named() {
    Bed::get();
    let mut project = project(&STACK.replace("somewhere", "production"));
    project.write(
        "kubeconfig",
        "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'https://198.51.100.1:6443'}}]\n\
         contexts: [{name: production, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {token: t}}]\n",
    );
    project.set_env("KUBECONFIG", project.path().join("kubeconfig").to_str().expect("UTF-8"));
    for command in [&["apply"][..], &["destroy", "--yes"], &["gc", "--yes"]] {
        let run = project.stack(command).expect_code(2).expect_stderr("context production looks remote");
        assert!(run.stderr.contains("--allow-context production"), "{}", run.stderr);
        assert!(run.stderr.contains("allow-contexts = [\"production\"]"), "{}", run.stderr);
    }
    let images = crate::support::host_docker(&["image", "ls", "--quiet", &format!("{}-app", project.name)]);
    assert!(images.stdout.is_empty(), "an image was built");
    // Named, it is asked; here by the address of nobody on this machine.
    project.edit("kubeconfig", "https://198.51.100.1:6443", "https://127.0.0.1:1");
    project.stack(&["apply", "--allow-context", "prod*"]).expect_code(3).expect_stderr("127.0.0.1:1");
}

#[test]
fn helm_that_is_not_there_is_missing() {
    let bed = Bed::get();
    let stack = STACK.replace("somewhere", &bed.profile);
    let mut project = project(&stack);
    project.set_env("PATH", "/nonexistent");
    project.stack(&["apply"]).expect_code(3).expect_stderr("helm");
}

#[test]
fn a_dockerfile_that_fails_blocks_what_needs_it_and_nothing_else() {
    let bed = Bed::get();
    let stack = format!(
        "[stack]\nname = \"@name@\"\n[cluster]\n{}start = false\nnamespace = \"@name@\"\n\
         [image.broken]\ncontext = \"broken\"\n[image.good]\ncontext = \"app\"\n\
         [chart.app]\npath = \"chart\"\nset = {{ \"image.tag\" = \"${{image.broken.tag}}\" }}\n",
        bed.cluster()
    );
    let project = Project::on_the_bed("broken");
    project.write("stack.toml", &stack);
    project.write("broken/Dockerfile", "FROM busybox:stable\nRUN echo before the end; echo it is over >&2; exit 7\n");
    project.write("app/Dockerfile", "FROM busybox:stable\nRUN sleep 1\nCOPY file /file\n");
    project.write("app/file", &project.name);
    project.write("chart/Chart.yaml", "apiVersion: v2\nname: app\nversion: 0.1.0\n");
    project.write("chart/templates/config.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\n");

    let run = project.stack(&["apply", "--keep-going", "--format", "json"]).expect_code(1);
    let outcomes = run.outcomes();
    assert_eq!(with_outcome(&outcomes, "failed"), ["build:broken"]);
    assert_eq!(with_outcome(&outcomes, "blocked"), ["chart:app", "load:broken"]);
    assert_eq!(with_outcome(&outcomes, "done"), ["build:good", "load:good"]);

    let run = project.stack(&["apply"]).expect_code(1);
    for text in ["it is over", "exit 7", "blocked", "build:broken"] {
        assert!(run.stdout.contains(text), "no {text:?} in:\n{}", run.stdout);
    }
    assert!(!bed.has(&["namespace", &project.name]), "nothing was installed");
}

#[test]
fn what_would_be_ignored_is_refused() {
    let project = Project::empty("wrong");
    project.write("stack.toml", "[stack]\nname = \"@name@\"\n[task.a]\nrun = \"true\"\n[task.b]\nrun = \"true\"\n");
    project.stack(&["apply", "a", "--force=b"]).expect_code(2).expect_stderr("`--force=b` forces nothing");
    project.stack(&["apply", "--dry-run", "--force=b", "a"]).expect_code(2).expect_stderr("`--force=b` forces nothing");
    project.stack(&["apply", "--dry-run", "--junit", "x.xml"]).expect_code(2).expect_stderr("--junit");
    project.stack(&["apply", "a", "b", "--force=b"]).expect_code(0);
}
