//! What scripts, CI jobs and editors rely on: the shape of the JSON, and that stdout carries nothing else.

use crate::support::{Bed, Project};
use serde_json::{Value, json};

/// Two images, of which one is built on the other, two charts in a row, and a check.
fn project(bed: &Bed) -> Project {
    let project = Project::on_the_bed("json");
    project.write(
        "stack.toml",
        &format!(
            "[stack]\nname = \"@name@\"\n\
             [vars]\ntoken = {{ default = \"a-secret-nobody-may-see\", secret = true }}\n\
             [cluster]\n{}start = false\nnamespace = \"@name@\"\n\
             [image.base]\ncontext = \"base\"\nload = \"none\"\n\
             [image.app]\ncontext = \"app\"\nargs = {{ BASE = \"${{image.base.ref}}\" }}\n\
             [chart.config]\npath = \"chart\"\nset = {{ token = \"${{var.token}}\" }}\n\
             [chart.app]\npath = \"chart\"\nset = {{ tag = \"${{image.app.tag}}\", after = \"${{chart.config.release}}\" }}\n\
             [ready.app]\nservice = \"app\"\nneeds = [\"chart.app\"]\n",
            bed.cluster()
        ),
    );
    project.write("base/Dockerfile", "FROM busybox:stable\nCOPY Dockerfile /@name@\n");
    project.write("app/Dockerfile", "ARG BASE\nFROM ${BASE}\nCOPY Dockerfile /app\n");
    project.write("chart/Chart.yaml", "apiVersion: v2\nname: app\nversion: 0.1.0\n");
    project.write("chart/values.yaml", "tag: none\ntoken: none\nafter: none\n");
    project.write(
        "chart/templates/all.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: '{{ .Release.Name }}'}\nstringData: {token: '{{ .Values.token }}'}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {name: '{{ .Release.Name }}'}\n\
         spec: {type: ExternalName, externalName: '{{ .Values.tag }}.example'}\n",
    );
    project
}

fn fields(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn json_keeps_its_shape_from_the_graph_to_the_last_event() {
    let bed = Bed::get();
    let project = project(&bed);

    let graph = project.stack(&["graph", "--format", "json"]).expect_code(0);
    let graph: Value = serde_json::from_str(&graph.stdout).expect("the graph is JSON");
    assert_eq!(graph["stack"], json!(project.name));
    let step = |id: &str| {
        let steps = graph["steps"].as_array().expect("steps");
        steps.iter().find(|step| step["id"] == id).unwrap_or_else(|| panic!("no {id} in {graph}")).clone()
    };
    assert_eq!(step("cluster"), json!({"id": "cluster", "kind": "cluster", "needs": []}));
    assert_eq!(step("build:app"), json!({"id": "build:app", "kind": "build", "needs": ["build:base"]}));
    assert_eq!(step("load:app")["needs"], json!(["build:app", "cluster"]));
    assert!(step("chart:app")["needs"].as_array().expect("needs").contains(&json!("chart:config")));
    assert_eq!(graph["steps"].as_array().map(Vec::len), Some(7), "load:base is not there: load = none");

    let plan = project.stack(&["plan", "--format", "json", "--exit-code"]).expect_code(5);
    let plan: Value = serde_json::from_str(&plan.stdout).expect("the plan is JSON");
    assert_eq!(fields(&plan), ["stack", "steps", "summary"]);
    assert_eq!(plan["summary"], json!({"run": 3, "skip": 1, "unknown": 3, "blocked": 0}));

    let applied = project.stack(&["apply", "--format", "json"]).expect_code(0);
    let events = applied.events();
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
    assert_eq!(fields(of("step-started")[0]), ["time", "event", "step", "attempt", "reason"]);
    let finished = of("step-finished");
    assert_eq!(finished.len(), 7);
    for event in &finished {
        for field in ["time", "event", "step", "outcome", "reason", "seconds"] {
            assert!(!event[field].is_null(), "{field} is missing in {event}");
        }
    }
    let last = events.last().expect("events");
    assert_eq!((last["event"].as_str(), last["outcome"].as_str()), (Some("run-finished"), Some("done")));
    for field in ["done", "skipped", "failed", "blocked", "seconds"] {
        assert!(last[field].is_number(), "{field} is missing in {last}");
    }
    assert!(last["time"].as_str().is_some_and(|time| time.ends_with('Z') && time.contains('T')), "{last}");

    // What changed is told with its values, and a secret without them.
    project.edit("stack.toml", "${chart.config.release}", "x${chart.config.release}");
    project.edit("stack.toml", "a-secret-nobody-may-see", "another-secret-nobody-may-see");
    let plan = project.stack(&["plan", "--format", "json"]).expect_code(0);
    assert!(!plan.stdout.contains("nobody-may-see"), "{}", plan.stdout);
    let plan: Value = serde_json::from_str(&plan.stdout).expect("the plan is JSON");
    let chart =
        plan["steps"].as_array().expect("steps").iter().find(|step| step["id"] == "chart:app").expect("chart:app");
    assert_eq!(chart["action"], "run");
    assert_eq!(chart["changes"], json!([{"input": "value.after", "from": "config", "to": "xconfig"}]));

    let status = project.stack(&["status", "--format", "json"]).expect_code(0);
    let status: Value = serde_json::from_str(&status.stdout).expect("the status is JSON");
    assert_eq!(fields(&status), ["stack", "cluster", "builder", "images", "releases"]);
    assert_eq!(status["releases"][0]["status"], "deployed");
    assert_eq!(status["builder"]["buildkit"], "grpc", "{}", status["builder"]);

    // And all commands that end well say so with 0, also the one that has nothing to do.
    let again = project.stack(&["apply", "chart:app", "--no-deps"]).expect_code(0);
    assert!(again.stderr.is_empty(), "{}", again.stderr);
}

#[test]
fn the_schema_is_a_schema_and_knows_the_keys() {
    let run = Project::empty("schema").stack(&["schema"]).expect_code(0);
    let schema: Value = serde_json::from_str(&run.stdout).expect("the schema is JSON");
    assert!(schema["$schema"].as_str().is_some_and(|uri| uri.contains("json-schema.org")));
    assert!(schema.pointer("/properties/image").is_some() && schema.pointer("/properties/chart").is_some());
}

#[test]
fn what_cannot_be_known_of_a_build_is_said_in_plan_and_why() {
    let project = Project::on_the_bed("unknowable");
    project.write("stack.toml", "[stack]\nname = \"@name@\"\n[image.app]\ncontext = \"app\"\n");
    project.write("app/Dockerfile", "FROM busybox:stable\nADD http://127.0.0.1:9/file /file\n");
    let sentence = "line 2: `ADD http://127.0.0.1:9/file` has no checksum: a change of what it fetches goes unseen";
    for command in [&["plan"][..], &["why", "app"]] {
        let text = project.stack(command).expect_code(0).stdout;
        assert!(text.contains(sentence), "{text}");
    }
    let plan: Value = serde_json::from_str(&project.stack(&["plan", "--format", "json"]).stdout).expect("JSON");
    assert_eq!(plan["steps"][0]["unknowable"], json!([sentence]));
    project.write("app/Dockerfile", "FROM busybox:stable\nADD --checksum=sha256:0123 http://127.0.0.1:9/file /file\n");
    let plan: Value = serde_json::from_str(&project.stack(&["plan", "--format", "json"]).stdout).expect("JSON");
    assert_eq!(plan["steps"][0].get("unknowable"), None);
}

#[test]
fn the_status_without_an_engine_does_not_say_that_nothing_is_built() {
    let mut project = Project::empty("blind");
    project.write("app/Dockerfile", "FROM busybox:stable\n");
    project.write("stack.toml", "[stack]\nname = \"@name@\"\n[image.app]\ncontext = \"app\"\nload = \"none\"\n");
    project.set_env("DOCKER_HOST", "unix:///nowhere/docker.sock");
    let run = project.stack(&["status"]).expect_code(3);
    assert!(run.stdout.contains("the socket does not exist") && run.stdout.contains("unknown"), "{}", run.stdout);
    let status: Value = serde_json::from_str(&project.stack(&["status", "--format", "json"]).stdout).expect("JSON");
    assert!(status["engine"].as_str().is_some_and(|why| why.contains("does not exist")), "{status}");
}

#[test]
fn names_at_the_default_registry_are_the_same_with_and_without_it() {
    let project = Project::empty("hub");
    project.write("app/Dockerfile", "FROM busybox:stable\nCOPY . /app\n");
    let names = ["docker.io/@name@/app", "index.docker.io/@name@/web", "library/@name@-lib"];
    let tables = names.iter().enumerate().map(|(number, name)| {
        format!("[image.i{number}]\ncontext = \"app\"\nload = \"none\"\nrepository = \"{name}\"\n")
    });
    project.write("stack.toml", &format!("[stack]\nname = \"@name@\"\n{}", tables.collect::<String>()));
    project.stack(&["apply"]).expect_code(0);
    let plan = project.plan();
    assert!(plan.values().all(|(action, _)| action == "skip"), "{plan:?}");
    let status: Value = serde_json::from_str(&project.stack(&["status", "--format", "json"]).stdout).expect("JSON");
    assert!(status["images"].as_array().unwrap().iter().all(|image| image["id"].is_string()), "{status}");
    let gone = project.stack(&["destroy", "--images", "--yes"]).expect_code(0);
    assert_eq!(gone.stdout.matches("3 tags of").count(), 3, "{}", gone.stdout);
}

#[test]
fn a_ci_system_sees_what_failed_and_why() {
    let mut project = Project::empty("ci");
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[vars]\ntoken = { env = \"TOKEN\", secret = true }\n\
         [task.good]\nrun = \"true\"\n\
         [task.bad]\nrun = \"echo 100% of $TOKEN >&2; exit 3\"\nenv = { TOKEN = \"${var.token}\" }\nneeds = [\"task.good\"]\n\
         [task.after]\nrun = \"true\"\nneeds = [\"task.bad\"]\n",
    );
    project.write(".stack/state.json", "noise");
    project.set_env("TOKEN", "hunter2-secret");
    project.set_env("GITHUB_ACTIONS", "true");
    project.set_env("GITHUB_STEP_SUMMARY", "summary.md");
    let run = project.stack(&["apply", "--junit", "junit.xml"]).expect_code(1);
    let error = run.stdout.lines().find(|line| line.starts_with("::error")).expect("an annotation");
    assert_eq!(error, "::error title=task%3Abad::`sh` ended with exit code 3%0A100%25 of ***");
    let warning = run.stdout.lines().find(|line| line.starts_with("::warning")).expect("another");
    assert!(
        warning.starts_with("::warning title=stack::") && warning.contains("is ignored: it is damaged"),
        "{warning}"
    );
    let read = |name: &str| std::fs::read_to_string(project.path().join(name)).expect("a report");
    let (summary, junit) = (read("summary.md"), read("junit.xml"));
    assert!(summary.contains("| `task:good` | done |") && summary.contains("| `task:after` | blocked |"), "{summary}");
    assert!(junit.contains("tests=\"3\" failures=\"1\" skipped=\"1\""), "{junit}");
    assert!(!format!("{summary}{junit}{}", run.stdout).contains("hunter2"));
}
