//! Nodes beside the bed's: containers of the host's engine, each with an image store of its own, and a cluster that names
//! them.
//!
//! The API server is the bed's, seen through a proxy that adds these nodes to its list, so that other tests do not see them.
//! No kubelet runs on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use stack::tools::node::NodeShell;

use crate::api_faults::{Fault, Proxy};
use crate::support::{Bed, Project, host_docker, succeed};

/// What a node keeps its images with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// Docker 20.10, which has the classic store.
    Docker,
    Containerd,
    /// CRI-O keeps its images where podman does; there is no daemon to run for that.
    Podman,
}

/// A node of the test's own.
pub struct OwnNode {
    /// Its name in the cluster, which is that of its container.
    pub name: String,
    pub runtime: Runtime,
    /// What the container has as `/node`: its settings, its socket, and the disk with its data.
    folder: tempfile::TempDir,
    has_disk: bool,
}

impl OwnNode {
    /// A node whose daemon runs.
    pub fn start(bed: &Bed, suffix: &str, runtime: Runtime) -> Self {
        Self::on_disk(bed, suffix, runtime, None)
    }

    /// A node whose disk has so many MB.
    pub fn with_disk(bed: &Bed, suffix: &str, runtime: Runtime, megabytes: u32) -> Self {
        Self::on_disk(bed, suffix, runtime, Some(megabytes))
    }

    fn on_disk(bed: &Bed, suffix: &str, runtime: Runtime, megabytes: Option<u32>) -> Self {
        let folder = tempfile::Builder::new().prefix("stack-own-node-").tempdir().expect("a temporary folder");
        let data = folder.path().join("data");
        fs::create_dir(&data).expect("a folder");
        if let Some(megabytes) = megabytes {
            let disk = folder.path().join("disk");
            succeed(Command::new("truncate").arg(format!("--size={megabytes}M")).arg(&disk));
            succeed(Command::new("mkfs.ext4").arg("-q").arg(&disk));
            succeed(Command::new("mount").args(["-o", "loop"]).arg(&disk).arg(&data));
        }
        let unique = folder.path().file_name().expect("a name").to_string_lossy().to_lowercase();
        let name =
            format!("{}-{suffix}-{}", bed.profile, unique.trim_start_matches("stack-own-node-").replace('.', ""));
        let node = Self { name, runtime, folder, has_disk: megabytes.is_some() };
        node.create();
        node.until_it_answers();
        node
    }

    /// Its socket on this machine.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("node.sock")
    }

    /// The container: the image of the bed's own nodes without systemd, with one daemon.
    fn create(&self) {
        let (daemon, mounts) = match self.runtime {
            Runtime::Docker => {
                fs::write(self.folder.path().join("daemon.json"), "{}").expect("a file");
                let docker = which("docker").canonicalize().expect("a file");
                (
                    "export PATH=/docker20/bin:$PATH LD_LIBRARY_PATH=/docker20/lib
                    exec dockerd --config-file /node/daemon.json --data-root /node/data \
                        --host unix:///node/node.sock --host unix:///var/run/docker.sock",
                    vec![
                        format!("{}:/docker20:ro", variable("STACK_TESTBED_DOCKER20")),
                        format!("{}:/usr/local/bin/docker:ro", docker.display()),
                    ],
                )
            }
            Runtime::Containerd => {
                let config = "version = 3\nroot = \"/node/data\"\n\
                     disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.cri.v1.runtime\", \"io.containerd.cri.v1.images\"]\n";
                fs::write(self.folder.path().join("config.toml"), config).expect("a file");
                ("exec containerd --config /node/config.toml", Vec::new())
            }
            Runtime::Podman => {
                let podman = "#!/bin/sh\nPODMAN_ROOT=/node/data exec /podman/podman \"$@\"\n";
                fs::write(self.folder.path().join("podman"), podman).expect("a file");
                (
                    "install -m 755 /node/podman /usr/local/bin/podman; exec sleep 1000000",
                    vec![format!("{}:/podman:ro", variable("STACK_TESTBED_PODMAN"))],
                )
            }
        };
        let image = node_image();
        let folder = format!("{}:/node", self.folder.path().display());
        let mut args = vec!["run", "--detach", "--privileged", "--cgroupns=private", "--name", &self.name];
        args.extend(["--hostname", &self.name, "--tmpfs", "/run", "--tmpfs", "/tmp", "--volume", &folder]);
        args.extend(mounts.iter().flat_map(|mount| ["--volume", mount]));
        args.extend(["--entrypoint", "sh", &image, "-c", daemon]);
        host_docker(&args);
    }

    /// Starts its daemon again and waits until it answers.
    pub fn run(&self) {
        host_docker(&["start", &self.name]);
        self.until_it_answers();
    }

    fn until_it_answers(&self) {
        let question = match self.runtime {
            Runtime::Docker => "docker version",
            Runtime::Containerd => "ctr version",
            Runtime::Podman => "command -v podman",
        };
        let begun = Instant::now();
        while !self.command(question).output().is_ok_and(|output| output.status.success()) {
            let log = || Command::new("docker").args(["logs", &self.name]).output().expect("docker is on PATH");
            assert!(begun.elapsed() < Duration::from_secs(60), "node {} does not answer:\n{:?}", self.name, log());
        }
    }

    /// A line for the shell of this node.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new("docker");
        command.args(["exec", &self.name, "sh", "-c", line]).stdin(Stdio::null());
        command
    }

    /// What a line prints there.
    pub fn ask(&self, line: &str) -> String {
        String::from_utf8(succeed(&mut self.command(line)).stdout).expect("UTF-8").trim().to_owned()
    }

    /// Brings it an image of the host's engine, as the base of what it builds.
    pub fn give(&self, image: &str) {
        let line = format!("docker save {image} | docker exec --interactive {} docker load", self.name);
        succeed(Command::new("sh").args(["-c", &line]));
    }

    /// The way to it without a cluster.
    pub fn shell(&self) -> NodeShell {
        NodeShell::through("docker", &["exec", "--interactive", &self.name], &self.name)
    }

    /// Ends the daemon as a power cut does, and what it has started.
    pub fn kill(&self) {
        let _ = Command::new("docker").args(["kill", &self.name]).output();
    }

    /// As the API server lists it.
    fn object(name: &str, runtime: Runtime) -> Value {
        let version = match runtime {
            Runtime::Docker => "docker://20.10.24",
            Runtime::Containerd => "containerd://2.4.2",
            Runtime::Podman => "cri-o://1.36.0",
        };
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let address =
            Command::new("docker").args(["inspect", "--format", format, name]).output().expect("docker is on PATH");
        let address = String::from_utf8(address.stdout).expect("UTF-8").trim().to_owned();
        // One that is stopped has none; what Kubernetes has seen last stays in its list.
        let address = if address.is_empty() { "127.0.0.9".to_owned() } else { address };
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": name}, "status": {
            "addresses": [{"type": "InternalIP", "address": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"architecture": "amd64", "operatingSystem": "linux", "containerRuntimeVersion": version,
                "kubeletVersion": "v1.36.3"}}})
    }
}

impl Drop for OwnNode {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "--force", "--volumes", &self.name]).output();
        if self.has_disk {
            let _ = Command::new("umount").arg("-l").arg(self.folder.path().join("data")).status();
        }
    }
}

/// The bed's cluster with more nodes, for one project.
pub struct Cluster {
    _runtime: tokio::runtime::Runtime,
    _proxy: Proxy,
    folder: tempfile::TempDir,
}

impl Cluster {
    /// The cluster with these nodes besides its own.
    pub fn with(bed: &Bed, nodes: &[&OwnNode]) -> Self {
        Self::listed(bed, nodes, Fault::Extend)
    }

    /// The cluster with these nodes in place of its own.
    pub fn of(bed: &Bed, nodes: &[&OwnNode]) -> Self {
        Self::listed(bed, nodes, Fault::Replace)
    }

    fn listed(bed: &Bed, nodes: &[&OwnNode], fault: fn(Vec<Value>) -> Fault) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let nodes: Vec<_> = nodes.iter().map(|node| (node.name.clone(), node.runtime)).collect();
        let proxy = runtime.block_on(async {
            let proxy = Proxy::start().await;
            let is_list = |path: &str| path.split('?').next() == Some("/api/v1/nodes");
            let objects = move || nodes.iter().map(|(name, runtime)| OwnNode::object(name, *runtime)).collect();
            proxy.connect(move |_, path| is_list(path).then(|| fault(objects()))).await;
            proxy
        });
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (context, profile, address) = (bed.context(), &bed.profile, proxy.address);
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {context}\nclusters: [{{name: c, cluster: {{server: \"http://{address}\"}}}}]\nusers: [{{name: u, user: {{}}}}]\ncontexts: [{{name: {context}, context: {{cluster: c, user: u}}}}, {{name: {profile}, context: {{cluster: c, user: u}}}}]\n"
        );
        fs::write(folder.path().join("kubeconfig"), text).expect("a file");
        Self { _runtime: runtime, _proxy: proxy, folder }
    }

    /// Makes it the one that a project sees. The project has to go first, since it cleans up behind itself.
    pub fn show(&self, project: &mut Project) {
        project.set_env("KUBECONFIG", self.folder.path().join("kubeconfig").display().to_string());
    }
}

/// The image of the bed's nodes.
fn node_image() -> String {
    let output = host_docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", "kindest/node"]);
    let names = String::from_utf8(output.stdout).expect("UTF-8");
    names.lines().next().expect("the image of the bed's nodes").to_owned()
}

/// An environment variable of the test bed.
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `make test`, which brings the test bed up"))
}

/// A program on PATH.
fn which(name: &str) -> PathBuf {
    let path = std::env::var("PATH").expect("PATH");
    let found = path.split(':').map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not on PATH"))
}
