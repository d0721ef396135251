//! A cluster of kind's or k3d's for one project. kind is the real one.
//!
//! k3d is the stand-in in `tests/testbed/clusters/`: its nodes are containers of the host's engine, each with a real
//! containerd. Its API server is the bed's, seen through a proxy whose list of nodes is those containers, and reached through
//! one of them: a cluster whose containers are stopped does not answer.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::{Value, json};

use crate::api_faults::{Fault, Proxy};
use crate::support::{Bed, Project, checkout, host_docker, succeed};

/// Which tool.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    Kind,
    K3d,
}

impl Tool {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::K3d => "k3d",
        }
    }

    /// The label that says of which cluster a container is.
    const fn label(self) -> &'static str {
        match self {
            Self::Kind => "io.x-k8s.kind.cluster",
            Self::K3d => "k3d.cluster",
        }
    }
}

/// The cluster, which is not there until `stack` creates it, and the project that uses it.
pub struct LocalCluster {
    pub tool: Tool,
    pub project: Project,
    folder: tempfile::TempDir,
    _api: Option<(tokio::runtime::Runtime, Proxy)>,
}

/// As the API server lists a node of k3d's.
fn node(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": name}, "status": {
        "conditions": [{"type": "Ready", "status": "True"}],
        "nodeInfo": {"architecture": "amd64", "operatingSystem": "linux",
            "containerRuntimeVersion": "containerd://2.4.2", "kubeletVersion": "v1.36.3"}}})
}

/// All containers of a cluster, running or not.
fn containers(label: &str, cluster: &str) -> Vec<String> {
    let filter = format!("label={label}={cluster}");
    let listed = host_docker(&["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"]);
    let mut names: Vec<_> = String::from_utf8(listed.stdout).expect("UTF-8").lines().map(str::to_owned).collect();
    names.sort();
    names
}

impl LocalCluster {
    /// A project with a cluster of two nodes and one image: a layer that stays, and one that is as `app/content` says.
    pub fn new(tool: Tool) -> Self {
        Bed::get();
        let mut project = Project::empty(tool.name());
        let driver = tool.name();
        project.write(
            "stack.toml",
            &format!(
                "[stack]\nname = \"@name@\"\n[cluster]\ndriver = \"{driver}\"\nnodes = 2\nkubernetes-version = \"v1.36.3\"\n[image.app]\ncontext = \"app\"\nretries = 0\n"
            ),
        );
        project.write(
            "app/Dockerfile",
            "FROM busybox:stable\nARG T=@name@\nRUN head -c 300000 /dev/urandom >/ballast; echo $T\nCOPY content /\n",
        );
        project.write("app/content", "one");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).expect("a folder");
        let path = std::env::var("PATH").expect("PATH");
        let api = match tool {
            Tool::Kind => {
                let script = bin.join("kind");
                fs::write(&script, KIND.replace("@path@", &path)).expect("a file");
                fs::set_permissions(script, fs::Permissions::from_mode(0o755)).expect("a mode");
                None
            }
            Tool::K3d => {
                let api = api_of(tool, project.name.clone());
                project.set_env("STAND_IN_API", api.1.address.to_string());
                let k3d = checkout().join("tests/testbed/clusters/k3d");
                std::os::unix::fs::symlink(k3d, bin.join("k3d")).expect("a link");
                Some(api)
            }
        };
        project.set_env("PATH", format!("{}:{path}", bin.display()));
        let kubeconfig = folder.path().join("kubeconfig").display().to_string();
        // Named by the file for the one, by the environment for the other.
        if tool == Tool::Kind {
            project.edit("stack.toml", "nodes = 2\n", &format!("nodes = 2\nkubeconfig = \"{kubeconfig}\"\n"));
            project.set_env("KUBECONFIG", folder.path().join("another").display().to_string());
        } else {
            project.set_env("KUBECONFIG", kubeconfig);
        }
        project.set_env("STAND_IN_LOG", folder.path().join("log").display().to_string());
        Self { tool, project, folder, _api: api }
    }

    /// The commands that the tool has got since this was asked last.
    pub fn commands(&self) -> Vec<String> {
        let log = self.folder.path().join("log");
        let text = fs::read_to_string(&log).unwrap_or_default();
        let _ = fs::remove_file(log);
        text.lines().map(str::to_owned).collect()
    }

    /// What the kubeconfig holds.
    pub fn kubeconfig(&self) -> String {
        fs::read_to_string(self.folder.path().join("kubeconfig")).unwrap_or_default()
    }

    /// Takes the kubeconfig away.
    pub fn forget_context(&self) {
        fs::remove_file(self.folder.path().join("kubeconfig")).expect("it was there");
    }

    /// The names of its nodes.
    pub fn nodes(&self) -> [String; 2] {
        let name = &self.project.name;
        match self.tool {
            Tool::Kind => [format!("{name}-control-plane"), format!("{name}-worker")],
            Tool::K3d => [format!("k3d-{name}-agent-0"), format!("k3d-{name}-server-0")],
        }
    }

    /// All its containers.
    pub fn containers(&self) -> Vec<String> {
        containers(self.tool.label(), &self.project.name)
    }

    /// Stops the containers, as the end of the machine's day does.
    pub fn stop(&self) {
        succeed(Command::new("docker").arg("stop").args(self.containers()));
    }

    /// What a command prints on a node.
    pub fn ask(&self, node: &str, words: &[&str]) -> String {
        let output = host_docker(&[&["exec", node], words].concat());
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

/// Notes what kind is asked for and what it reads, and asks it. With `STAND_IN_IDLE` a load does nothing, and ends well.
const KIND: &str = r#"#!/bin/sh
printf '%s\n' "kind $*" >>"$STAND_IN_LOG"
PATH='@path@'
case "$1/$STAND_IN_IDLE" in load/?*) exit 0;; esac
case $* in *--config=-*) tee -a "$STAND_IN_LOG" | kind "$@"; exit;; esac
exec kind "$@"
"#;

/// The bed's API server with the containers of a cluster as its nodes.
fn api_of(tool: Tool, cluster: String) -> (tokio::runtime::Runtime, Proxy) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let proxy = runtime.block_on(async {
        let proxy = Proxy::start().await;
        let is_node = |name: &String| !name.ends_with("-serverlb") && !name.ends_with("-tools");
        let script = move |_: usize, path: &str| {
            let is_list = path.split('?').next() == Some("/api/v1/nodes");
            is_list.then(|| {
                let names = containers(tool.label(), &cluster);
                Fault::Replace(names.iter().filter(|name| is_node(name)).map(|name| node(name)).collect())
            })
        };
        proxy.connect(script).await;
        proxy
    });
    (runtime, proxy)
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        let containers = self.containers();
        if !containers.is_empty() {
            let _ = Command::new("docker").args(["rm", "--force", "--volumes"]).args(containers).output();
        }
        let volume = format!("k3d-{}-images", self.project.name);
        let _ = Command::new("docker").args(["volume", "rm", "--force", &volume]).output();
        let filter = format!("reference={}-*", self.project.name);
        let format = "{{.Repository}}:{{.Tag}}";
        let images = host_docker(&["images", "--filter", &filter, "--format", format]).stdout;
        let images = String::from_utf8(images).unwrap_or_default();
        if !images.is_empty() {
            let _ = Command::new("docker").args(["rmi", "--force"]).args(images.lines()).output();
        }
    }
}
