//! Nodes beside the bed's: a Docker daemon and a containerd of the test's own, and a cluster that names them.
//!
//! The daemons are real and each is in a network namespace of its own; the API server is the bed's, seen through a proxy
//! that adds their nodes to its list, so that other tests see nothing of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use stack::tools::node::NodeShell;

use crate::api_faults::{Fault, Proxy};
use crate::support::{Bed, Project, succeed};

/// What a node keeps its images with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    Docker,
    Containerd,
    /// CRI-O keeps its images where podman does; there is no daemon to run for that.
    Podman,
}

/// A node of the test's own.
pub struct OwnNode {
    /// Its name in the cluster.
    pub name: String,
    pub runtime: Runtime,
    /// Where its data is.
    pub data: PathBuf,
    folder: tempfile::TempDir,
    daemon: Option<Child>,
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
        let mut node = Self { name: format!("{}-{suffix}", bed.profile), runtime, data, folder, daemon: None };
        node.run();
        node
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("node.sock")
    }

    /// Starts its daemon and waits until it answers.
    pub fn run(&mut self) {
        let (folder, socket) = (self.folder.path(), self.socket());
        let mut command = Command::new("unshare");
        command.args(["--net", "--"]);
        match self.runtime {
            Runtime::Docker => {
                fs::write(folder.join("daemon.json"), "{}").expect("a file");
                command
                    .args(["dockerd", "--bridge=none", "--iptables=false", "--config-file"])
                    .arg(folder.join("daemon.json"))
                    .arg("--data-root")
                    .arg(&self.data)
                    .arg("--exec-root")
                    .arg(folder.join("exec"))
                    .arg("--pidfile")
                    .arg(folder.join("pid"))
                    .arg(format!("--host=unix://{}", socket.display()));
            }
            Runtime::Containerd => {
                let config = format!(
                    "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n",
                    self.data,
                    folder.join("state"),
                    socket
                );
                fs::write(folder.join("config.toml"), config).expect("a file");
                command.arg("containerd").arg("--config").arg(folder.join("config.toml"));
            }
            Runtime::Podman => return,
        }
        let log = fs::File::create(folder.join("log")).expect("a file");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        self.daemon = Some(command.spawn().expect("the daemon starts"));
        let begun = Instant::now();
        while !self.answers() {
            let log = || fs::read_to_string(folder.join("log")).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(60), "node {} does not answer:\n{}", self.name, log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn answers(&self) -> bool {
        let question = match self.runtime {
            Runtime::Docker => "docker version",
            Runtime::Containerd => "ctr version",
            Runtime::Podman => return true,
        };
        self.command(question).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// A line for the shell of this node.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]).env("DOCKER_HOST", format!("unix://{}", self.socket().display()));
        command
            .env_remove("DOCKER_TLS_VERIFY")
            .env("CONTAINERD_ADDRESS", self.socket())
            .env("PODMAN_ROOT", &self.data)
            .stdin(Stdio::null());
        command
    }

    /// What a line prints there.
    pub fn ask(&self, line: &str) -> String {
        String::from_utf8(succeed(&mut self.command(line)).stdout).expect("UTF-8").trim().to_owned()
    }

    /// The way to it without a cluster.
    pub fn shell(&self) -> NodeShell {
        let socket = self.socket().display().to_string();
        NodeShell::through(
            "env",
            &[&format!("DOCKER_HOST=unix://{socket}"), &format!("CONTAINERD_ADDRESS={socket}")],
            &self.name,
        )
    }

    /// Asks the daemon to end and waits for it.
    pub fn stop(&mut self) {
        self.end("-TERM");
    }

    /// Ends the daemon as a power cut does, and what it has started.
    pub fn kill(&mut self) {
        self.end("-KILL");
        // dockerd's own containerd goes when nobody speaks to it; it must not be found by the next daemon.
        if let Ok(pid) = fs::read_to_string(self.folder.path().join("exec/containerd/containerd.pid")) {
            let _ = Command::new("kill").args(["-KILL", pid.trim()]).status();
        }
        // Dead processes keep their numbers until somebody waits for them: no daemon must read them in its files.
        let _ = fs::remove_dir_all(self.folder.path().join("exec"));
        let _ = fs::remove_file(self.folder.path().join("pid"));
    }

    fn end(&mut self, signal: &str) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = Command::new("kill").arg(signal).arg(daemon.id().to_string()).status();
            let _ = daemon.wait();
        }
    }

    /// As the API server lists it.
    fn object(&self) -> Value {
        let runtime = match self.runtime {
            Runtime::Docker => "docker://20.10.24",
            Runtime::Containerd => "containerd://1.6.20",
            Runtime::Podman => "cri-o://1.24.0",
        };
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name, "uid": self.name}, "status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.9"}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"architecture": "amd64", "operatingSystem": "linux", "containerRuntimeVersion": runtime,
                "kubeletVersion": "v1.20.2"}}})
    }
}

impl Drop for OwnNode {
    fn drop(&mut self) {
        self.stop();
        // overlayfs leaves its mounts behind where a daemon was killed.
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let below = self.folder.path().display().to_string();
        let mounted = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        // The deepest first.
        for mount in mounted.filter(|mount| mount.starts_with(&below)).collect::<Vec<_>>().into_iter().rev() {
            let _ = Command::new("umount").args(["-l", mount]).status();
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
    /// The cluster with these nodes.
    pub fn with(bed: &Bed, nodes: &[&OwnNode]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let items: Vec<_> = nodes.iter().map(|node| node.object()).collect();
        let proxy = runtime.block_on(async {
            let proxy = Proxy::start().await;
            let is_list = |path: &str| path.split('?').next() == Some("/api/v1/nodes");
            proxy.connect(move |_, path| is_list(path).then(|| Fault::Extend(items.clone()))).await;
            proxy
        });
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (profile, address) = (&bed.profile, proxy.address);
        let kubeconfig = folder.path().join("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {profile}\nclusters: [{{name: c, cluster: {{server: \"http://{address}\"}}}}]\nusers: [{{name: u, user: {{}}}}]\ncontexts: [{{name: {profile}, context: {{cluster: c, user: u}}}}]\n"
        );
        fs::write(&kubeconfig, text).expect("a file");
        let cluster = Self { _runtime: runtime, _proxy: proxy, folder };
        cluster.minikube(bed, nodes);
        // minikube's certificates, by which the engines of several nodes are reached on their addresses.
        let home = cluster.folder.path().join(".minikube");
        fs::create_dir(&home).expect("a folder");
        std::os::unix::fs::symlink(&bed.node_certs, home.join("certs")).expect("a link");
        cluster
    }

    /// Makes it the one that a project sees. The project has to go first, since it cleans up behind itself.
    pub fn show(&self, project: &mut Project) {
        let path = std::env::var("PATH").expect("PATH");
        project.set_env("PATH", format!("{}:{path}", self.bin().display()));
        project.set_env("KUBECONFIG", self.folder.path().join("kubeconfig").display().to_string());
        project.set_env("MINIKUBE_HOME", self.folder.path().display().to_string());
    }

    fn bin(&self) -> PathBuf {
        self.folder.path().join("bin")
    }

    /// `minikube ssh` to the test's own nodes; all else is answered by the bed's. With `STACK_TEST_CUT` an import gets only
    /// so many bytes, and `STACK_TEST_IMPORT` stands before it; with `STACK_TEST_TOOL=load`, `minikube image load` is for the
    /// containerd node.
    fn minikube(&self, bed: &Bed, nodes: &[&OwnNode]) {
        let branches: String = nodes
            .iter()
            .map(|node| {
                let socket = node.socket().display().to_string();
                let root = node.data.display();
                format!(
                    "  {}) export DOCKER_HOST=unix://{socket} CONTAINERD_ADDRESS={socket} PODMAN_ROOT={root};;\n",
                    node.name
                )
            })
            .collect();
        let script = format!(
            "#!/bin/sh\n# minikube ssh --profile P --node N -- sudo COMMAND\nif [ \"$1\" = ssh ]; then\n  [ \"$3\" = {} ] || exit 85\n  node=$5\n  shift 7\n  unset DOCKER_TLS_VERIFY DOCKER_CERT_PATH\n  case $node in\n{branches}  *) exit 80;;\n  esac\n  case $*/$STACK_TEST_CUT in *import*/?*) exec sh -c \"head -c $STACK_TEST_CUT | {{ $STACK_TEST_IMPORT $*; }}\";; esac\n  # As minikube, which knows one exit code.\n  sh -c \"$*\" || exit 1\n  exit 0\nfi\nif [ \"$1 $STACK_TEST_TOOL\" = \"image $2\" ]; then docker save \"$5\" | CONTAINERD_ADDRESS={} ctr -n k8s.io images import - >&2; exit 0; fi\nexec {} \"$@\"\n",
            bed.profile,
            nodes
                .iter()
                .find(|node| node.runtime == Runtime::Containerd)
                .map(|node| node.socket())
                .unwrap_or_default()
                .display(),
            which("minikube").display()
        );
        let path = self.bin().join("minikube");
        fs::create_dir_all(self.bin()).expect("a folder");
        fs::write(&path, script).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
        std::os::unix::fs::symlink(which("node-podman"), self.bin().join("podman")).expect("a link");
    }
}

/// A program on PATH.
fn which(name: &str) -> PathBuf {
    let path = std::env::var("PATH").expect("PATH");
    let found = path.split(':').map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not on PATH"))
}
