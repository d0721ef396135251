//! Every node of a cluster gets every image, whatever its runtime, and what did not arrive is said of the node that lacks it.

use std::process::Command;

use serde_json::Value;

use crate::node_support::{Cluster, OwnNode, Runtime};
use crate::support::{Bed, Project, Run, host_docker, succeed, wrap_ctr};

/// A stack of one image: a layer that stays and one that is as `content` says.
fn one_image(bed: &Bed, tag: &str, extra: &str) -> Project {
    let project = Project::on_the_bed(tag);
    project.write(
        "stack.toml",
        &format!(
            "[stack]\nname = \"@name@\"\n[cluster]\n{}start = false\n[image.app]\ncontext = \"app\"\nretries = 0\n{extra}",
            bed.cluster()
        ),
    );
    project.write(
        "app/Dockerfile",
        "FROM busybox:stable\nARG T=@name@\nRUN head -c 3000000 /dev/urandom >/ballast; echo $T\nCOPY content /\n",
    );
    project.write("app/content", "one");
    project
}

/// The image that the last apply deployed, as the node's Docker or containerd names it, and its ID.
fn image(project: &Project) -> (String, String) {
    let repository = format!("{}-app", project.name);
    let format = "{{.Repository}}:{{.Tag}} {{.ID}}";
    let listed = host_docker(&["images", "--no-trunc", "--format", format, &repository]);
    let text = String::from_utf8(listed.stdout).expect("UTF-8");
    let newest = text.lines().find(|line| !line.contains(":k-")).expect("an image");
    let (name, id) = newest.split_once(' ').expect("two words");
    (name.to_owned(), id.to_owned())
}

/// The digest of an image's configuration.
fn configuration(name: &str) -> String {
    let saved = succeed(Command::new("sh").args(["-c", "docker save \"$0\" | tar -xO manifest.json", name])).stdout;
    let manifest: Value = serde_json::from_slice(&saved).expect("JSON");
    let path = manifest[0]["Config"].as_str().expect("a path");
    format!("sha256:{}", path.rsplit('/').next().expect("a name").trim_end_matches(".json"))
}

/// What was sent to each node: its name, the bytes, and whether layers were left out.
fn arrivals(run: &Run) -> Vec<(String, u64, bool)> {
    let arrived =
        run.events().into_iter().filter(|event| event["event"] == "step-transfer" && event["arrived"] == true);
    let mut found: Vec<_> = arrived
        .map(|event| {
            let number = |field: &str| event[field].as_u64().expect("a number");
            assert!(event["rate"].as_f64().is_some_and(|rate| rate >= 0.0) && number("total") > 3_000_000);
            (event["node"].as_str().expect("a name").to_owned(), number("sent"), number("layers_skipped") > 0)
        })
        .collect();
    found.sort();
    found
}

fn note(run: &Run) -> String {
    let load = |event: &Value| event["event"] == "step-finished" && event["step"] == "load:app";
    let event = run.events().into_iter().find(load).expect("the load ended");
    format!("{}{}", event["note"].as_str().unwrap_or_default(), event["reason"].as_str().unwrap_or_default())
}

const APPLY: [&str; 3] = ["apply", "--format", "json"];

#[test]
fn all_nodes_get_every_image_and_only_what_they_lack() {
    let bed = Bed::get();
    let docker = OwnNode::start(&bed, "x1", Runtime::Docker);
    let containerd = OwnNode::start(&bed, "x2", Runtime::Containerd);
    let crio = OwnNode::start(&bed, "x3", Runtime::Podman);
    let cluster = Cluster::with(&bed, &[&docker, &containerd, &crio]);
    let mut project = one_image(&bed, "nodes", "");
    cluster.show(&mut project);
    let mut nodes = bed.nodes();
    nodes.extend([docker.name.clone(), containerd.name.clone(), crio.name.clone()]);
    // A store that is not containerd's knows an image by its configuration.
    let there = |name: &str, id: &str| {
        let configuration = configuration(name);
        assert_eq!(bed.nodes_with(name), bed.nodes());
        assert_eq!(docker.ask(&format!("docker image inspect --format '{{{{.Id}}}}' {name}")), configuration);
        let state = containerd.ask(&format!("ctr -n k8s.io images check name==docker.io/library/{name}"));
        assert!(state.contains("complete (4/4)") || state.contains("complete (5/5)"), "{state}");
        let content = containerd.ask("ctr -n k8s.io content ls -q");
        assert!(content.contains(id), "{content}");
        let name = format!("docker.io/library/{name}");
        let on_crio = crio.ask(&format!("podman image inspect --format 'sha256:{{{{.Id}}}}' {name}"));
        assert_eq!(on_crio, configuration);
    };

    let run = project.stack(&APPLY).expect_code(0);
    let (first, first_id) = image(&project);
    there(&first, &first_id);
    let arrived = arrivals(&run);
    assert_eq!(arrived.iter().map(|(node, ..)| node).collect::<Vec<_>>(), nodes.iter().collect::<Vec<_>>());
    assert!(arrived.iter().all(|(_, sent, _)| *sent > 3_000_000), "{arrived:?}");

    // A small change: a small load, for each of them.
    project.write("app/content", "two");
    let run = project.stack(&APPLY).expect_code(0);
    let (second, second_id) = image(&project);
    assert_ne!(first_id, second_id);
    there(&second, &second_id);
    let arrived = arrivals(&run);
    assert_eq!(arrived.len(), nodes.len());
    // podman takes only whole images.
    let small = |(node, sent, partial): &(String, u64, bool)| (*sent < 20_000 && *partial) != (*node == crio.name);
    assert!(arrived.iter().all(small), "{arrived:?}");
    assert!(note(&run).contains("to 5 nodes; 8 of 15 layers were there"), "{}", note(&run));

    // Nothing to do, and a name that was moved by hand is put right without sending anything.
    assert_eq!(project.apply()["load:app"], "skipped");
    docker.ask(&format!("docker tag {first} {second}"));
    containerd.ask(&format!("ctr -n k8s.io images tag --force docker.io/library/{first} docker.io/library/{second}"));
    let plan = project.plan();
    let (action, reason) = &plan["load:app"];
    assert!(action == "run" && reason.contains("another image on node"), "{reason}");
    docker.ask(&format!("docker tag {} {}-app:other", configuration(&second), project.name));
    crio.ask(&format!("podman tag docker.io/library/{first} docker.io/library/{second}"));
    let run = project.stack(&APPLY).expect_code(0);
    there(&second, &second_id);
    // What lost its last name on containerd is there no more, but its layers are.
    assert!(arrivals(&run).iter().all(|(_, sent, _)| *sent < 20_000), "{:?}", arrivals(&run));

    // All of it goes with the stack.
    project.stack(&["destroy", "--yes", "--images"]).expect_code(0);
    let listed = containerd.ask("ctr -n k8s.io images ls -q")
        + &docker.ask("docker images --format '{{.Repository}}'")
        + &crio.ask("podman images");
    assert!(!listed.contains(&project.name), "{listed}");
}

#[test]
fn a_node_that_is_down_fails_the_load_by_name_and_the_others_have_theirs() {
    let bed = Bed::get();
    let docker = OwnNode::start(&bed, "x1", Runtime::Docker);
    let cluster = Cluster::with(&bed, &[&docker]);
    let mut project = one_image(&bed, "down", "");
    cluster.show(&mut project);
    docker.kill();
    // All that is wrong is the machine: that has an exit code of its own.
    let run = project.stack(&APPLY).expect_code(3);
    assert!(
        note(&run).contains(&docker.name)
            && !bed.nodes().iter().any(|node| note(&run).contains(&format!("node {node}:"))),
        "{}",
        note(&run)
    );
    let (name, _) = image(&project);
    assert_eq!(bed.nodes_with(&name), bed.nodes());
    assert_eq!(arrivals(&run).len(), bed.nodes().len());

    // Once it is back, it alone is sent to.
    docker.run();
    let run = project.stack(&APPLY).expect_code(0);
    assert_eq!(
        arrivals(&run).into_iter().map(|(node, ..)| node).collect::<Vec<_>>(),
        std::slice::from_ref(&docker.name)
    );
    assert_eq!(docker.ask(&format!("docker image inspect --format '{{{{.Id}}}}' {name}")), configuration(&name));
}

#[test]
fn containerd_that_gets_half_an_image_or_does_nothing_is_found_out() {
    let bed = Bed::get();
    let containerd = OwnNode::start(&bed, "x2", Runtime::Containerd);
    let cluster = Cluster::with(&bed, &[&containerd]);
    let mut project = one_image(&bed, "half", "");
    cluster.show(&mut project);
    let is_import = |command: &str| format!("case $* in *import*) {command}; exit;; esac");
    let fails = |cut: &str, import: &str| {
        wrap_ctr(&containerd.name, &is_import(&format!("head -c {cut} | {import}")));
        let run = project.stack(&APPLY);
        assert_ne!(run.code, 0, "{cut}: {}", run.stdout);
        assert!(note(&run).contains(&format!("node {}", containerd.name)), "{cut}: {}", note(&run));
        note(&run)
    };
    for cut in ["0", "513", "70000", "1500000", "3000000"] {
        fails(cut, "$ctr \"$@\"");
    }
    // The command is fine, and nothing has happened.
    let said = fails("100000000", "cat >/dev/null");
    assert!(said.contains("without a complaint, but does not have it"), "{said}");
    wrap_ctr(&containerd.name, "");
    project.stack(&APPLY).expect_code(0);
    let (name, id) = image(&project);
    assert!(containerd.ask("ctr -n k8s.io images check").contains(&format!("docker.io/library/{name}")));

    // A blob that is gone is no image, though its name is there; sending what is missing mends it.
    let blob = containerd.ask("ctr -n k8s.io content ls").lines().find(|line| line.contains("3.0")).map(str::to_owned);
    let blob = blob.expect("the large layer").split_whitespace().next().expect("a digest").to_owned();
    containerd.ask(&format!("ctr -n k8s.io content rm {blob} >/dev/null"));
    let (action, reason) = &project.plan()["load:app"];
    assert!(action == "run" && reason.contains("gone from node"), "{reason}");
    project.stack(&APPLY).expect_code(0);
    let state = containerd.ask(&format!("ctr -n k8s.io images check name==docker.io/library/{name}"));
    assert!(state.contains(" complete "), "{state}");
    assert!(containerd.ask("ctr -n k8s.io content ls -q").contains(&id));
}

#[test]
fn what_is_built_in_the_node_is_there_without_being_sent() {
    let bed = Bed::get();
    let docker = OwnNode::start(&bed, "x1", Runtime::Docker);
    docker.give("busybox:stable");
    let cluster = Cluster::of(&bed, &[&docker]);
    let mut project = one_image(&bed, "direct", "load = \"direct\"\n");
    // Only minikube's nodes can have an engine.
    project.edit("stack.toml", &bed.cluster(), &bed.cluster_of("minikube"));
    cluster.show(&mut project);
    for content in ["one", "two"] {
        project.write("app/content", content);
        let run = project.stack(&APPLY).expect_code(0);
        assert_eq!(run.outcomes()["build:app"], "done");
        assert!(arrivals(&run).is_empty());
    }
    let repository = format!("{}-app", project.name);
    let images = |text: &str| text.lines().collect::<std::collections::BTreeSet<_>>().len();
    let on_node = || images(&docker.ask(&format!("docker images -q {repository}")));
    assert_eq!(on_node(), 2);
    let on_host = host_docker(&["images", "-q", &repository]).stdout;
    assert_eq!(images(&String::from_utf8(on_host).expect("UTF-8")), 0);
    assert!(project.apply().values().all(|outcome| outcome == "skipped"));
    project.stack(&["destroy", "--yes", "--images"]).expect_code(0);
    assert_eq!(on_node(), 0);
}

#[test]
fn an_image_for_another_kind_of_machine_is_refused_for_the_node() {
    let bed = Bed::get();
    let project = one_image(&bed, "arch", "platform = \"linux/arm64\"\n");
    // Nothing of it runs, so that it can be built anywhere.
    project.write("app/Dockerfile", "FROM scratch\nCOPY content /\n");
    let run = project.stack(&APPLY).expect_code(1);
    for node in bed.nodes() {
        assert!(note(&run).contains(&format!("node {node}")) && note(&run).contains("linux/arm64"), "{}", note(&run));
        assert_eq!(bed.images_on(&node, &format!("{}-app", project.name)), Vec::<String>::new());
    }
}

/// The bed's registry, which this machine and the nodes know by the same name, as the one that the cluster names.
struct ClusterRegistry {
    name: String,
    bed: Bed,
}

impl ClusterRegistry {
    fn announce() -> Self {
        let bed = Bed::get();
        let name = crate::kube_support::env("STACK_TESTBED_REGISTRY");
        let hosting = format!("--from-literal=localRegistryHosting.v1=host: \"{name}\"");
        bed.kubectl(&["-n", "kube-public", "create", "configmap", "local-registry-hosting", &hosting]);
        Self { name, bed }
    }
}

impl Drop for ClusterRegistry {
    fn drop(&mut self) {
        self.bed.kubectl(&["-n", "kube-public", "delete", "configmap", "local-registry-hosting"]);
    }
}

#[test]
fn an_image_goes_through_the_registry_that_the_cluster_names() {
    let registry = ClusterRegistry::announce();
    let project = one_image(
        &registry.bed,
        "registry",
        "load = \"registry\"\n[chart.app]\npath = \"chart\"\nset = { image = \"${image.app.ref}\" }\n",
    );
    let pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: app\nspec:\n  terminationGracePeriodSeconds: 0\n  containers:\n    - name: app\n      image: {{ .Values.image }}\n      command: [sleep, \"1000\"]\n";
    project.write("chart/Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0\n");
    project.write("chart/values.yaml", "image: none\n");
    project.write("chart/templates/app.yaml", pod);
    project.edit(
        "stack.toml",
        "start = false\n",
        "start = false\nnamespace = \"@name@\"\n".replace("@name@", &project.name).as_str(),
    );
    let run = project.stack(&APPLY).expect_code(0);
    let name = note(&run);
    assert!(name.contains(&format!("{}/{}-app:", registry.name, project.name)), "{name}");
    let image = ["-n", &project.name, "get", "pod", "app", "-o", "jsonpath={.spec.containers[0].image}"];
    assert!(registry.bed.kubectl(&image).starts_with(&format!("{}/{}-app:", registry.name, project.name)));
    assert!(project.apply().values().all(|outcome| outcome == "skipped"));
    project.stack(&["destroy", "--yes", "--images"]).expect_code(0);
    // What the kubelet has pulled is the kubelet's to drop; the bed does not wait for that.
    let pulled = name.split(' ').next().expect("a name");
    for node in registry.bed.nodes() {
        registry.bed.on_node(&node, &format!("ctr -n k8s.io images rm {pulled} 2>/dev/null"));
    }
    let left = host_docker(&["images", "--format", "{{.Repository}}"]);
    assert!(!String::from_utf8(left.stdout).unwrap().contains(&project.name));
}
