//! Every node of a cluster gets every image, whatever its runtime, and what did not arrive is said of the node that lacks it.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::node_support::{Cluster, OwnNode, Runtime};
use crate::support::{Bed, Project, Run, host_docker};

/// A stack of one image: a layer that stays and one that is as `content` says.
fn one_image(bed: &Bed, tag: &str, extra: &str) -> Project {
    let project = Project::on_the_bed(tag);
    project.write(
        "stack.toml",
        &format!(
            "[stack]\nname = \"@name@\"\n[cluster]\ndriver = \"minikube\"\nprofile = \"{}\"\nstart = false\n[image.app]\ncontext = \"app\"\nretries = 0\n{extra}",
            bed.profile
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
    let docker = OwnNode::start(&bed, "m02", Runtime::Docker);
    let containerd = OwnNode::start(&bed, "m03", Runtime::Containerd);
    let crio = OwnNode::start(&bed, "m04", Runtime::Podman);
    let cluster = Cluster::with(&bed, &[&docker, &containerd, &crio]);
    let mut project = one_image(&bed, "nodes", "");
    cluster.show(&mut project);
    let nodes = [bed.profile.clone(), docker.name.clone(), containerd.name.clone(), crio.name.clone()];
    let there = |name: &str, id: &str| {
        let inspect = format!("docker image inspect --format '{{{{.Id}}}}' {name}");
        let on_bed = bed.node_docker(&["image", "inspect", "--format", "{{.Id}}", name]);
        assert_eq!(String::from_utf8(on_bed.stdout).unwrap().trim(), id);
        assert_eq!(docker.ask(&inspect), id);
        let state = containerd.ask(&format!("ctr -n k8s.io images check name==docker.io/library/{name}"));
        assert!(state.contains("complete (4/4)") || state.contains("complete (5/5)"), "{state}");
        let content = containerd.ask("ctr -n k8s.io content ls -q");
        assert!(content.contains(id), "{content}");
        let name = format!("docker.io/library/{name}");
        let on_crio = crio.ask(&format!("node-podman image inspect --format 'sha256:{{{{.Id}}}}' {name}"));
        assert_eq!(on_crio, id);
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
    assert_eq!(arrived.len(), 4);
    // podman takes only whole images.
    let small = |(node, sent, partial): &(String, u64, bool)| (*sent < 20_000 && *partial) != (*node == crio.name);
    assert!(arrived.iter().all(small), "{arrived:?}");
    assert!(note(&run).contains("to 4 nodes; 6 of 12 layers were there"), "{}", note(&run));

    // Nothing to do, and a name that was moved by hand is put right without sending anything.
    assert_eq!(project.apply()["load:app"], "skipped");
    docker.ask(&format!("docker tag {first} {second}"));
    containerd.ask(&format!("ctr -n k8s.io images tag --force docker.io/library/{first} docker.io/library/{second}"));
    let plan = project.plan();
    let (action, reason) = &plan["load:app"];
    assert!(action == "run" && reason.contains("another image on node"), "{reason}");
    docker.ask(&format!("docker tag {second_id} {}-app:other", project.name));
    crio.ask(&format!("node-podman tag docker.io/library/{first} docker.io/library/{second}"));
    let run = project.stack(&APPLY).expect_code(0);
    there(&second, &second_id);
    // What lost its last name on containerd is there no more, but its layers are.
    assert!(arrivals(&run).iter().all(|(_, sent, _)| *sent < 20_000), "{:?}", arrivals(&run));

    // All of it goes with the stack.
    project.stack(&["destroy", "--yes", "--images"]).expect_code(0);
    let listed = containerd.ask("ctr -n k8s.io images ls -q")
        + &docker.ask("docker images --format '{{.Repository}}'")
        + &crio.ask("node-podman images");
    assert!(!listed.contains(&project.name), "{listed}");
}

#[test]
fn a_node_that_is_down_fails_the_load_by_name_and_the_others_have_theirs() {
    let bed = Bed::get();
    let mut docker = OwnNode::start(&bed, "m02", Runtime::Docker);
    let cluster = Cluster::with(&bed, &[&docker]);
    let mut project = one_image(&bed, "down", "");
    cluster.show(&mut project);
    docker.kill();
    // All that is wrong is the machine: that has an exit code of its own.
    let run = project.stack(&APPLY).expect_code(3);
    assert!(
        note(&run).contains(&docker.name) && !note(&run).contains(&format!("node {}:", bed.profile)),
        "{}",
        note(&run)
    );
    let (name, id) = image(&project);
    let on_bed = bed.node_docker(&["image", "inspect", "--format", "{{.Id}}", &name]);
    assert_eq!(String::from_utf8(on_bed.stdout).unwrap().trim(), id);
    assert_eq!(arrivals(&run).len(), 1);

    // Once it is back, it alone is sent to.
    docker.run();
    let run = project.stack(&APPLY).expect_code(0);
    assert_eq!(arrivals(&run).into_iter().map(|(node, ..)| node).collect::<Vec<_>>(), [docker.name.clone()]);
    assert_eq!(docker.ask(&format!("docker image inspect --format '{{{{.Id}}}}' {name}")), id);
}

#[test]
fn containerd_that_gets_half_an_image_or_does_nothing_is_found_out() {
    let bed = Bed::get();
    let containerd = OwnNode::start(&bed, "m03", Runtime::Containerd);
    let cluster = Cluster::with(&bed, &[&containerd]);
    let mut project = one_image(&bed, "half", "");
    cluster.show(&mut project);
    let mut fails = |cut: &str, import: &str| {
        project.set_env("STACK_TEST_CUT", cut);
        project.set_env("STACK_TEST_IMPORT", import);
        let run = project.stack(&APPLY);
        assert_ne!(run.code, 0, "{cut}: {}", run.stdout);
        assert!(note(&run).contains(&format!("node {}", containerd.name)), "{cut}: {}", note(&run));
        note(&run)
    };
    for cut in ["0", "513", "70000", "1500000", "3000000"] {
        fails(cut, "");
    }
    // The command is fine, and nothing has happened.
    let said = fails("100000000", "cat >/dev/null; true ");
    assert!(said.contains("without a complaint, but does not have it"), "{said}");
    // What minikube can do besides is the last resort.
    project.set_env("STACK_TEST_TOOL", "load");
    let run = project.stack(&APPLY).expect_code(0);
    let by_tool = |event: &Value| event["why_whole"].as_str().is_some_and(|why| why.contains("own tool"));
    assert!(run.events().iter().any(by_tool), "{}", run.stdout);
    let (name, _) = image(&project);
    containerd.ask(&format!("ctr -n k8s.io images rm --sync docker.io/library/{name}"));
    project.set_env("STACK_TEST_TOOL", "");
    project.set_env("STACK_TEST_CUT", "");
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
    let project = one_image(&bed, "direct", "load = \"direct\"\n");
    for content in ["one", "two"] {
        project.write("app/content", content);
        let run = project.stack(&APPLY).expect_code(0);
        assert_eq!(run.outcomes()["build:app"], "done");
        assert!(arrivals(&run).is_empty());
    }
    let repository = format!("{}-app", project.name);
    let images = |output: std::process::Output| {
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!(images(bed.node_docker(&["images", "-q", &repository])), 2);
    assert_eq!(images(host_docker(&["images", "-q", &repository])), 0);
    assert!(project.apply().values().all(|outcome| outcome == "skipped"));
    project.stack(&["destroy", "--yes", "--images"]).expect_code(0);
    assert_eq!(images(bed.node_docker(&["images", "-q", &repository])), 0);
}

#[test]
fn an_image_for_another_kind_of_machine_is_refused_for_the_node() {
    let bed = Bed::get();
    let project = one_image(&bed, "arch", "platform = \"linux/arm64\"\n");
    // Nothing of it runs, so that it can be built anywhere.
    project.write("app/Dockerfile", "FROM scratch\nCOPY content /\n");
    let run = project.stack(&APPLY).expect_code(1);
    let expected = format!("node {}", bed.profile);
    assert!(note(&run).contains(&expected) && note(&run).contains("linux/arm64"), "{}", note(&run));
    let (name, _) = image(&project);
    assert!(bed.node_docker(&["images", "-q", &name]).stdout.is_empty());
}

/// A registry that this machine and the node both call `localhost:5055`, as the local clusters of kind have it.
struct LocalRegistry {
    serving: Vec<Child>,
    _folder: tempfile::TempDir,
    bed: Bed,
}

const REGISTRY: &str = "localhost:5055";

impl LocalRegistry {
    fn start() -> Self {
        let bed = Bed::get();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {:?}}}}}\nhttp: {{addr: \"0.0.0.0:5055\"}}\n",
            folder.path()
        );
        let file = folder.path().join("config.yml");
        std::fs::write(&file, config).expect("a file");
        let spawn = |command: &mut Command| {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
        };
        let registry = spawn(Command::new("docker-registry").arg("serve").arg(&file));
        let mut way = Command::new("nsenter");
        way.arg(format!("--net=/run/netns/{}", bed.profile));
        way.args(["socat", "TCP-LISTEN:5055,bind=127.0.0.1,fork,reuseaddr", "TCP:10.123.0.1:5055"]);
        let way = spawn(&mut way);
        let begun = Instant::now();
        while TcpStream::connect("127.0.0.1:5055").is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the registry does not answer");
        }
        let hosting = format!("--from-literal=localRegistryHosting.v1=host: \"{REGISTRY}\"");
        bed.kubectl(&["-n", "kube-public", "create", "configmap", "local-registry-hosting", &hosting]);
        Self { serving: vec![registry, way], _folder: folder, bed }
    }
}

impl Drop for LocalRegistry {
    fn drop(&mut self) {
        self.bed.kubectl(&["-n", "kube-public", "delete", "configmap", "local-registry-hosting"]);
        for child in &mut self.serving {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn an_image_goes_through_the_registry_that_the_cluster_names() {
    let registry = LocalRegistry::start();
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
    assert!(name.contains(&format!("{REGISTRY}/{}-app:", project.name)), "{name}");
    let image = ["-n", &project.name, "get", "pod", "app", "-o", "jsonpath={.spec.containers[0].image}"];
    assert!(registry.bed.kubectl(&image).starts_with(&format!("{REGISTRY}/{}-app:", project.name)));
    assert!(project.apply().values().all(|outcome| outcome == "skipped"));
    project.stack(&["destroy", "--yes", "--images"]).expect_code(0);
    // What the kubelet has pulled is the kubelet's to drop; this bed does not wait for that.
    registry.bed.node_docker(&["rmi", "--force", name.split(' ').next().expect("a name")]);
    let left = host_docker(&["images", "--format", "{{.Repository}}"]);
    assert!(!String::from_utf8(left.stdout).unwrap().contains(&project.name));
}
