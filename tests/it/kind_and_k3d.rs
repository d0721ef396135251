//! Clusters of kind and k3d: created, started, loaded and deleted, and the tools' own commands as the last resort of a load.
//!
//! Needs the test bed. k3d itself can't be had there: see `tests/testbed/clusters/`.

use serde_json::Value;

use crate::local_cluster::{LocalCluster, Tool};
use crate::support::{Run, host_docker, wrap_ctr};

const APPLY: [&str; 3] = ["apply", "--format", "json"];

/// The image that the last apply deployed, and its ID.
fn image(cluster: &LocalCluster) -> (String, String) {
    let repository = format!("{}-app", cluster.project.name);
    let listed = host_docker(&["images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}", &repository]);
    let text = String::from_utf8(listed.stdout).expect("UTF-8");
    let newest = text.lines().find(|line| !line.contains(":k-")).expect("an image");
    let (name, id) = newest.split_once(' ').expect("two words");
    (name.to_owned(), id.to_owned())
}

/// Makes sure that a node has that image, with all that belongs to it.
#[track_caller]
fn assert_there(cluster: &LocalCluster, node: &str, (name, id): &(String, String)) {
    let full = format!("docker.io/library/{name}");
    let line = format!("ctr -n k8s.io images check name=={full}; ctr -n k8s.io content ls -q");
    let state = cluster.ask(node, &["sh", "-c", &line]);
    assert!(state.contains(&full) && state.contains(" complete ") && state.contains(id.as_str()), "{node}: {state}");
}

/// The last event of a step of this kind.
fn event(run: &Run, kind: &str, step: &str) -> Value {
    let found = run.events().into_iter().rfind(|event| event["event"] == kind && event["step"] == step);
    found.unwrap_or_else(|| panic!("no {kind} of {step}:\n{}{}", run.stdout, run.stderr))
}

/// What arrived where: the node, the bytes, and why all of it was sent.
fn arrivals(run: &Run) -> Vec<(String, u64, String)> {
    let arrived =
        run.events().into_iter().filter(|event| event["event"] == "step-transfer" && event["arrived"] == true);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found: Vec<_> = arrived
        .map(|event| (text(&event["node"]), event["sent"].as_u64().expect("a number"), text(&event["why_whole"])))
        .collect();
    found.sort();
    found
}

/// The end of a failed load, in all its words.
fn failure(run: &Run) -> String {
    let end = event(run, "step-finished", "load:app");
    assert_eq!(end["outcome"], "failed", "{end}");
    format!("{}\n{}", end["reason"].as_str().unwrap_or_default(), end["diagnosis"].as_str().unwrap_or_default())
}

fn comes_and_goes(tool: Tool) {
    let cluster = LocalCluster::new(tool);
    let (project, name) = (&cluster.project, cluster.project.name.clone());
    let expected: Vec<String> = match tool {
        Tool::Kind => vec![
            format!("kind get nodes --name {name}"),
            format!("kind create cluster --name {name} --image=kindest/node:v1.36.3 --config=-"),
            "kind: Cluster".into(),
            "apiVersion: kind.x-k8s.io/v1alpha4".into(),
            "nodes:".into(),
            "- role: control-plane".into(),
            "- role: worker".into(),
        ],
        Tool::K3d => vec![
            "k3d cluster list -o json".into(),
            format!("k3d cluster create {name} --image=rancher/k3s:v1.36.3-k3s1 --agents=1"),
        ],
    };
    let run = project.stack(&APPLY).expect_code(0);
    assert_eq!(cluster.commands(), expected);
    assert!(cluster.kubeconfig().contains(&format!("{}-{name}", tool.name())), "{}", cluster.kubeconfig());
    let first = image(&cluster);
    let arrived = arrivals(&run);
    assert_eq!(arrived.iter().map(|(node, ..)| node).collect::<Vec<_>>(), cluster.nodes().iter().collect::<Vec<_>>());
    cluster.nodes().iter().for_each(|node| assert_there(&cluster, node, &first));

    // Nothing to do; then a small change, which is a small load for both.
    assert!(project.apply().values().all(|outcome| outcome == "skipped"));
    project.write("app/content", "two");
    let run = project.stack(&APPLY).expect_code(0);
    let second = image(&cluster);
    assert_ne!(first, second);
    cluster.nodes().iter().for_each(|node| assert_there(&cluster, node, &second));
    let arrived = arrivals(&run);
    assert!(arrived.len() == 2 && arrived.iter().all(|(_, sent, why)| *sent < 20_000 && why.is_empty()), "{arrived:?}");
    assert_eq!(cluster.commands(), Vec::<String>::new(), "what runs needs no tool");

    // Stopped, it is started and not created; it has what it had, and answers only after a while. A kubeconfig that knows
    // nothing of it gets its context.
    cluster.stop();
    cluster.forget_context();
    let plan = project.plan();
    assert!(plan["cluster"].0 == "run" && plan["cluster"].1.ends_with("is stopped: apply starts it"), "{plan:?}");
    let outcomes = project.apply();
    assert_eq!((outcomes["cluster"].as_str(), outcomes["load:app"].as_str()), ("done", "skipped"), "{outcomes:?}");
    let expected: &[String] = match tool {
        Tool::Kind => &[format!("kind get nodes --name {name}"), format!("kind export kubeconfig --name {name}")],
        Tool::K3d => &[
            "k3d cluster list -o json".into(),
            format!("k3d cluster start {name}"),
            format!("k3d kubeconfig merge {name} --kubeconfig-merge-default"),
        ],
    };
    assert_eq!(cluster.commands(), expected);
    assert!(cluster.kubeconfig().contains(&format!("{}-{name}", tool.name())), "{}", cluster.kubeconfig());

    // The images go from the nodes as from the host, and leave nothing of themselves there.
    project.stack(&["destroy", "--yes", "--images"]).expect_code(0);
    for node in &cluster.nodes() {
        // The images of the control plane have names by import as well, beside their own.
        let listed = cluster.ask(node, &["ctr", "-n", "k8s.io", "images", "ls"]);
        let names: Vec<(&str, &str)> = listed
            .lines()
            .skip(1)
            .filter_map(|line| Some((line.split_whitespace().next()?, line.split_whitespace().nth(2)?)))
            .collect();
        let by_import = |name: &str| name.starts_with("import-");
        for (name, digest) in &names {
            assert!(!name.contains(project.name.as_str()), "{node}: {listed}");
            let named = names.iter().any(|(other, known)| known == digest && !by_import(other));
            assert!(!by_import(name) || named, "{node}: {name} in\n{listed}");
        }
    }
    project.stack(&["destroy", "--yes", "--cluster"]).expect_code(0);
    assert_eq!(cluster.containers(), Vec::<String>::new());
    assert!(!cluster.kubeconfig().contains(&name), "{}", cluster.kubeconfig());
}

#[test]
fn a_cluster_of_kind_is_created_loaded_started_and_deleted() {
    comes_and_goes(Tool::Kind);
}

#[test]
fn a_cluster_of_k3d_is_created_loaded_started_and_deleted() {
    comes_and_goes(Tool::K3d);
}

/// What `stack` itself sends is swallowed.
const REFUSE: &str = r#"case $* in "-n k8s.io "*import*) cat >/dev/null; exit 0;; esac"#;

/// Of what kind sends only the beginning comes through.
const CUT: &str = r#"case $* in *import*--all-platforms*) head -c 70000 | $ctr "$@"; exit;; esac"#;

fn is_the_last_resort(tool: Tool) {
    let mut cluster = LocalCluster::new(tool);
    let [first, second] = cluster.nodes();
    // What `stack` itself sends is swallowed by both nodes: the tool brings it, once for both.
    cluster.project.stack(&["apply", "cluster"]).expect_code(0);
    cluster.nodes().iter().for_each(|node| wrap_ctr(node, REFUSE));
    let run = cluster.project.stack(&APPLY).expect_code(0);
    let loaded = |cluster: &LocalCluster| {
        let (name, reference) = (&cluster.project.name, image(cluster).0);
        match tool {
            Tool::Kind => format!("kind load docker-image --name {name} {reference}"),
            Tool::K3d => format!("k3d image import --cluster {name} {reference}"),
        }
    };
    let imports = |cluster: &LocalCluster| {
        let tried = |line: &String| line.starts_with("kind load ") || line.starts_with("k3d image ");
        cluster.commands().into_iter().filter(tried).collect::<Vec<_>>()
    };
    let by_tool = |(_, _, why): &(String, u64, String)| why.contains("own tool brought it");
    assert_eq!(imports(&cluster), [loaded(&cluster)]);
    assert!(arrivals(&run).len() == 2 && arrivals(&run).iter().all(by_tool), "{:?}", arrivals(&run));
    cluster.nodes().iter().for_each(|node| assert_there(&cluster, node, &image(&cluster)));

    // One that does nothing and ends with 0 is found out, by each node.
    if tool == Tool::Kind {
        cluster.project.set_env("STAND_IN_IDLE", "yes");
        cluster.project.write("app/content", "idle");
        let said = failure(&cluster.project.stack(&APPLY).expect_code(1));
        for node in [&first, &second] {
            assert!(said.contains(&format!("node {node}: ")), "{said}");
        }
        let command = format!("`{}`, said nothing of a failure", loaded(&cluster));
        assert_eq!(said.matches(&command).count(), 1, "{said}");
        cluster.project.set_env("STAND_IN_IDLE", "");
    }

    // One that fails for one of the nodes. k3d ends with 0, and the load fails for that node alone. kind ends with 1 at the first
    // failure and leaves the imports of the other nodes unfinished, so that nothing can be said of those.
    match tool {
        Tool::Kind => wrap_ctr(&second, &format!("{REFUSE}\n{CUT}")),
        Tool::K3d => cluster.project.set_env("STAND_IN_CUT", second.clone()),
    }
    cluster.project.write("app/content", "cut");
    let run = cluster.project.stack(&APPLY).expect_code(1);
    let said = failure(&run);
    assert!(said.contains(&format!("node {second}: ")) && said.contains(&loaded(&cluster)), "{said}");
    if tool == Tool::Kind {
        assert!(said.contains("ERROR: failed to load image: command") && said.contains("ctr: failed to"), "{said}");
        assert!(!arrivals(&run).iter().any(|(node, ..)| *node == second), "{:?}", arrivals(&run));
        return;
    }
    assert!(!said.contains(&format!("node {first}: ")), "{said}");
    let arrived = arrivals(&run);
    assert!(arrived.len() == 1 && arrived[0].0 == first && by_tool(&arrived[0]), "{arrived:?}");
    assert_there(&cluster, &first, &image(&cluster));

    // Two images at once: k3d has one helper for all that it is asked for, so it is asked for one after the other.
    cluster.commands();
    cluster.project.set_env("STAND_IN_CUT", "");
    cluster.project.append("stack.toml", "[image.two]\ncontext = \"app\"\nargs = { T = \"two\" }\n");
    cluster.project.stack(&["apply", "build:*"]).expect_code(0);
    let outcomes = cluster.project.apply();
    assert!(outcomes["load:app"] == "done" && outcomes["load:two"] == "done", "{outcomes:?}");
    let found: Vec<_> = cluster.commands().iter().map(|line| line.contains("end of image import")).collect();
    assert_eq!(found, [false, true, false, true]);
    cluster.nodes().iter().for_each(|node| assert_there(&cluster, node, &image(&cluster)));
}

#[test]
fn the_command_of_kind_is_the_last_resort_and_not_believed() {
    is_the_last_resort(Tool::Kind);
}

#[test]
fn the_command_of_k3d_is_the_last_resort_and_not_believed() {
    is_the_last_resort(Tool::K3d);
}
