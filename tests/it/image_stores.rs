//! Images in containerd's store, as Docker 29 keeps them: numbered by manifests, in indexes with provenance, reached by
//! gRPC.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use stack::model::tree::{About, FileKind, FileTree};
use stack::tools::docker::{Build, BuildkitWay, Endpoint, Engine, LoadWay};
use stack::tools::node::{Containerd, NodeShell, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::support::{Bed, Project, host_docker, succeed};

async fn host() -> Engine {
    let engine = Engine::local(|name| std::env::var(name).ok()).await;
    engine.expect("these tests need a Docker Engine: run them with `make test`, which brings one up")
}

/// The store of a node of the bed's kind cluster.
async fn kind_node(repository: &str) -> Store {
    let bed = Bed::get();
    let name = bed.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    let engine = host().await;
    let container = engine.running_container(&name).await.unwrap().expect("the node is a container of this engine");
    Store::Containerd(Containerd::new(NodeShell::container(engine, container.id, &name), [repository.to_owned()]))
}

/// A layout of an image in the engine, wrapped into an index with provenance of this time, and taken in under a name.
fn wrap_with_provenance(image: &str, name: &str, time: &str) {
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path();
    let saved = layout.join("saved.tar");
    host_docker(&["save", "--output", saved.to_str().unwrap(), image]);
    succeed(Command::new("tar").arg("-xf").arg(&saved).arg("-C").arg(layout));
    fs::remove_file(&saved).unwrap();
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let blob = |content: &Value| -> Value {
        let content = content.to_string();
        let digest = sha256(content.as_bytes());
        fs::write(layout.join("blobs/sha256").join(&digest), &content).unwrap();
        json!({"digest": format!("sha256:{digest}"), "size": content.len()})
    };
    let with = |mut descriptor: Value, more: Value| -> Value {
        descriptor.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        descriptor
    };
    let saved = read(&layout.join("index.json"))["manifests"][0].clone();
    let manifest = json!({"mediaType": saved["mediaType"], "digest": saved["digest"], "size": saved["size"]});
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let statement = with(blob(&json!({"time": time})), json!({"mediaType": "application/vnd.in-toto+json"}));
    let config = json!({"architecture": "unknown", "os": "unknown", "rootfs": {"type": "layers", "diff_ids": [statement["digest"]]}});
    let config = with(blob(&config), json!({"mediaType": "application/vnd.oci.image.config.v1+json"}));
    let provenance =
        blob(&json!({"schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": [statement]}));
    let subject =
        json!({"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": saved["digest"]});
    let index_type = "application/vnd.oci.image.index.v1+json";
    let index = blob(&json!({"schemaVersion": 2, "mediaType": index_type, "manifests": [
        with(manifest, json!({"platform": {"os": "linux", "architecture": "amd64"}})),
        with(provenance, json!({"mediaType": manifest_type, "annotations": subject,
            "platform": {"os": "unknown", "architecture": "unknown"}})),
    ]}));
    let names = json!({"io.containerd.image.name": format!("docker.io/library/{name}"),
        "org.opencontainers.image.ref.name": name.split(':').nth(1)});
    let top = json!({"schemaVersion": 2, "mediaType": index_type,
        "manifests": [with(index, json!({"mediaType": index_type, "annotations": names}))]});
    fs::write(layout.join("index.json"), top.to_string()).unwrap();
    let _ = fs::remove_file(layout.join("manifest.json"));
    let packed = succeed(Command::new("tar").args(["-C"]).arg(layout).args(["-cf", "-", "."])).stdout;
    let mut load =
        Command::new("docker").arg("load").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("docker");
    load.stdin.take().unwrap().write_all(&packed).unwrap();
    assert!(load.wait().unwrap().success());
}

fn sha256(bytes: &[u8]) -> String {
    let mut child = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sha256sum");
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()[..64].to_owned()
}

/// An image with a large layer that stays and a small one.
async fn image(engine: &Engine, tag: &str, content: &str) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("content"), content).unwrap();
    let about = About { mode: 0o644, size: content.len() as u64, modified_ns: 1, digest: None };
    let tree = FileTree::of(folder.path(), [("content", FileKind::File, about)]).unwrap();
    let text =
        "FROM busybox:stable\nARG TAG\nRUN head -c 5000000 /dev/urandom > /ballast && echo $TAG\nCOPY content /\n";
    let mut build = Build::new(Arc::new(tree), text);
    build.args = vec![("TAG".into(), format!("image-stores {}", std::process::id()))];
    build.tags = vec![tag.to_owned()];
    engine.build(&build, |_| {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn image_in_an_index_with_provenance_reaches_a_node_by_its_missing_blobs() {
    let host = host().await;
    let (plain, one, two) = ("t-index-plain:1", "t-index:one", "t-index:two");
    let store = kind_node("t-index").await;
    for (tag, content, most) in [(one, "first", 6_000_000), (two, "second", 20_000)] {
        image(&host, plain, content).await;
        wrap_with_provenance(plain, tag, "2026-11-30T10:00:00Z");
        let wanted = host.wanted(tag).await.unwrap();
        assert_ne!(wanted.image.id, host.image(plain).await.unwrap().unwrap().id, "the name leads to the index");
        let loaded = store.load(&host, &wanted, LoadWay::Layers, |_| {}).await.unwrap();
        assert_eq!(loaded.why_whole, None);
        assert!(loaded.sent < most && loaded.sent <= loaded.total + 20_000, "{loaded:?}");
        let held = store.held(&wanted).await.unwrap().unwrap();
        assert!(wanted.is(&held).await.unwrap());
        // Asked by another program's eyes as well.
        store.forget().await;
        assert!(wanted.is(&store.held(&wanted).await.unwrap().unwrap()).await.unwrap());
    }
    let tags = store.tags("t-index").await.unwrap();
    assert_eq!(tags.len(), 2);
    assert_eq!(tags[0].config, host.config_of(&host.image(one).await.unwrap().unwrap().id).await.unwrap());
    for tag in tags {
        store.untag(&tag.name).await.unwrap();
    }
    assert!(store.tags("t-index").await.unwrap().is_empty());
    for tag in [plain, one, two] {
        host.untag(tag).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn base_image_counts_by_its_manifest_and_not_by_its_provenance() {
    let host = host().await;
    let (plain, tag) = ("t-base-plain:1", "t-base-wrapped:1");
    image(&host, plain, "base").await;
    let mut seen = Vec::new();
    for time in ["2026-11-30T10:00:00Z", "2026-11-30T11:11:11Z"] {
        wrap_with_provenance(plain, tag, time);
        let image = host.image(tag).await.unwrap().unwrap();
        seen.push((host.local_manifest_digest(&image).await.unwrap().unwrap(), image.id));
    }
    assert_ne!(seen[0].1, seen[1].1, "the index has changed");
    assert_eq!(seen[0].0, seen[1].0);
    assert_eq!(seen[0].0, host.image(plain).await.unwrap().unwrap().id);
    for tag in [plain, tag] {
        host.untag(tag).await.unwrap();
    }
}

/// A socket in front of the engine that answers 404 to the two paths which newer engines deprecate.
async fn without_upgrades(folder: &Path) -> Engine {
    let Endpoint::Unix(engine) = host().await.endpoint().clone() else { panic!("the engine is elsewhere") };
    let path = folder.join("engine.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let engine = engine.clone();
            tokio::spawn(async move {
                let mut start = vec![0; 4096];
                let count = client.read(&mut start).await.unwrap_or(0);
                let line = String::from_utf8_lossy(&start[..count]).lines().next().unwrap_or_default().to_owned();
                if line.contains("/grpc ") || line.contains("/session ") {
                    let _ = client.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
                    return;
                }
                let mut engine = UnixStream::connect(engine).await.unwrap();
                engine.write_all(&start[..count]).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut engine).await;
            });
        }
    });
    Engine::connect(Endpoint::Unix(path)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn build_needs_neither_of_the_deprecated_paths() {
    let folder = tempfile::tempdir().unwrap();
    let engine = without_upgrades(folder.path()).await;
    assert_eq!(engine.buildkit_way().await, BuildkitWay::Grpc);
    image(&engine, "t-native:1", "by gRPC").await;
    engine.untag("t-native:1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn engine_without_grpc_on_its_socket_is_reached_by_upgraded_requests() {
    let bed = |name| std::env::var(name).expect("run `make test`, which brings the test bed up");
    let (address, certificates) = (bed("STACK_TESTBED_NODE_DOCKER"), bed("STACK_TESTBED_NODE_CERTS"));
    let endpoint = Endpoint::parse(&address, Some(Path::new(&certificates))).unwrap();
    let engine = Engine::connect(endpoint).await.unwrap();
    assert_eq!(engine.buildkit_way().await, BuildkitWay::Upgrade);
    image(&engine, "t-upgraded:1", "by an upgrade").await;
    engine.untag("t-upgraded:1").await.unwrap();
}

const PODS: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - {name: one, image: {{ .Values.one }}, command: [sleep, '1000']}
        - {name: two, image: {{ .Values.two }}, command: [sleep, '1000']}
";

/// Hears of the commands that are run in a node's container. The engine remembers only its last 256 events, which are soon
/// pushed out by those of other tests.
struct CommandsOn {
    node: String,
    events: std::process::Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl CommandsOn {
    fn hear(node: &str) -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let mut events = Command::new("docker")
            .args(["events", "--since", &format!("{:.9}", since.as_secs_f64()), "--filter", "event=exec_start"])
            .args(["--filter", &format!("container={node}")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(events.stdout.take().unwrap()).lines();
        Self { node: node.to_owned(), events, lines }
    }

    /// Those until now that name something of the project.
    fn of(mut self, project: &Project) -> Vec<String> {
        let mark = format!("end of {}", project.name);
        host_docker(&["exec", &self.node, "true", &mark]);
        let heard: Vec<_> = self.lines.by_ref().map(Result::unwrap).take_while(|line| !line.contains(&mark)).collect();
        self.events.kill().unwrap();
        self.events.wait().unwrap();
        heard.into_iter().filter(|line| line.contains(&project.name)).collect()
    }
}

#[test]
fn pods_that_run_prove_images_and_other_nodes_are_asked_once() {
    let bed = Bed::get();
    let project = Project::on_the_bed("proof");
    project.write("chart/Chart.yaml", "apiVersion: v2\nname: pods\nversion: 0.1.0\n");
    project.write("chart/templates/all.yaml", PODS);
    let mut file = format!("[stack]\nname = \"@name@\"\n[cluster]\n{}namespace = \"@name@\"\n", bed.cluster());
    for image in ["one", "two"] {
        project.write(&format!("{image}/Dockerfile"), &format!("FROM busybox:stable\nRUN echo @name@ {image} > /x\n"));
        file += &format!("[image.{image}]\ncontext = \"{image}\"\n");
    }
    file += "[chart.web]\npath = \"chart\"\n[chart.web.set]\none = \"${image.one.ref}\"\ntwo = \"${image.two.ref}\"\n";
    project.write("stack.toml", &file);
    project.apply();

    let pod = bed.kubectl(&["-n", &project.name, "get", "pods", "-o", "jsonpath={.items[0].spec.nodeName}"]);
    let heard: Vec<_> = bed.nodes().into_iter().map(|node| (CommandsOn::hear(&node), node)).collect();
    let plan = project.plan();
    assert!(plan.values().all(|(action, _)| action == "skip"), "{plan:?}");
    for (commands, node) in heard {
        let commands = commands.of(&project);
        let expected = usize::from(node != pod);
        assert_eq!(commands.len(), expected, "{node}, the pod is on {pod}: {commands:?}");
    }
    // What does not run proves nothing: without the pod its node is asked, and lacks what was removed there.
    bed.kubectl(&["-n", &project.name, "delete", "deployment", "web", "--cascade=foreground", "--wait"]);
    let remove = format!("ctr -n k8s.io images ls -q | grep {}-one | xargs ctr -n k8s.io images rm", project.name);
    bed.on_node(&pod, &remove);
    let (action, reason) = project.plan()["load:one"].clone();
    assert_eq!((action.as_str(), reason), ("run", format!("image is gone from node {pod}")));
}
