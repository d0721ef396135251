//! The tools that run local clusters, by their command lines: minikube, kind, k3d.
//!
//! They are asked as little as possible: whether a cluster runs, the cluster itself is asked. What they print is matched by
//! exit code and JSON, never by text. What is particular to one of them is in a file of its own.

mod containers;
mod k3d;
mod kind;
mod minikube;
mod profile;
mod state;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Class;
use crate::event::Stream;
use crate::process::{Cancel, Capture, Command, Output, ProcessError, capture, run};

pub use state::{Activity, ClusterState};

/// How long a question may take; starting a cluster has its own limit, the step's.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// How long a tool that is asked to stop may take: it is changing machines.
const GRACE: Duration = Duration::from_secs(10);

/// What runs a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// minikube.
    Minikube,
    /// kind.
    Kind,
    /// k3d.
    K3d,
}

impl Kind {
    /// The program.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Minikube => "minikube",
            Self::Kind => "kind",
            Self::K3d => "k3d",
        }
    }
}

/// What a new cluster is like. Everything that is absent is left to the tool.
#[derive(Debug, Clone, Default)]
pub struct NewCluster {
    /// What the nodes run in: minikube's `--driver`.
    pub node_driver: Option<String>,
    /// How many nodes.
    pub nodes: u32,
    /// The container runtime.
    pub container_runtime: Option<String>,
    /// CPUs of a node.
    pub cpus: Option<u32>,
    /// Memory of a node, bytes.
    pub memory: Option<u64>,
    /// Disk of a node, bytes.
    pub disk: Option<u64>,
    /// The Kubernetes version, with its `v`.
    pub kubernetes_version: Option<String>,
    /// minikube's addons.
    pub addons: Vec<String>,
    /// Further arguments.
    pub args: Vec<String>,
}

/// A cluster by its tool and its name there.
#[derive(Debug, Clone)]
pub struct ClusterDriver {
    /// The tool.
    pub kind: Kind,
    /// minikube's profile, or the name of the kind or k3d cluster.
    pub name: String,
    /// The kubeconfig file that it writes its context to; nothing for `$KUBECONFIG` or the usual place.
    pub kubeconfig: Option<PathBuf>,
}

/// The Docker daemon of a node, as `minikube docker-env` describes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeDocker {
    /// Such as `tcp://192.168.49.2:2376`.
    pub host: String,
    /// The folder of the client's certificates; absent for a daemon without TLS.
    pub cert_path: Option<PathBuf>,
}

/// A tool that could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// It failed, or could not be run.
    #[error("`{command}` failed{}", said(.source))]
    Failed {
        /// The command.
        command: String,
        /// How it ended.
        source: ProcessError,
    },
    /// The node has no Docker daemon that could be reached.
    #[error("minikube profile {profile} has no Docker daemon to load images into: {reason}")]
    NoDocker {
        /// The profile.
        profile: String,
        /// Why not.
        reason: &'static str,
    },
    /// It printed something that makes no sense to us.
    #[error("`{command}` printed something unexpected")]
    Output {
        /// The command.
        command: String,
        /// Why it makes no sense.
        source: serde_json::Error,
    },
}

/// The reason that a tool gives for its failure, as it follows the name of the command.
fn said(error: &ProcessError) -> String {
    let ProcessError::Exit { output, .. } = error else { return String::new() };
    let text = output.stderr_text();
    if let Some(reason) = minikube::reason(&text) {
        return format!(": {reason}");
    }
    let last: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &last[last.len().saturating_sub(5)..];
    if last.is_empty() { String::new() } else { format!(": {}", last.join("\n")) }
}

impl DriverError {
    /// What the caller can do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Failed { source, .. } => source.class(),
            Self::NoDocker { .. } => Class::Environment,
            Self::Output { .. } => Class::Environment,
        }
    }

    /// What to try.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Failed { source: ProcessError::NotFound { program, .. }, .. } => {
                Some(format!("install {program}, or use a cluster that is there with `driver = \"context\"`"))
            }
            Self::Failed { source: ProcessError::Exit { output, .. }, .. }
                if minikube::refuses_root(&output.stderr_text()) =>
            {
                Some(
                    "set start-args = [\"--force\"], or MINIKUBE_FORCE=true: minikube's docker driver refuses root"
                        .to_owned(),
                )
            }
            Self::Failed { command, .. } => Some(format!("run `{command}` to see what it has to say")),
            Self::NoDocker { .. } => Some("use a profile with the container runtime docker".to_owned()),
            Self::Output { command, .. } => Some(format!("run `{command}` to see what it prints")),
        }
    }
}

impl ClusterDriver {
    /// Creates the cluster, or starts it when it is there and stopped.
    ///
    /// # Errors
    /// When the tool is not there, or fails.
    pub async fn start(
        &self,
        new: &NewCluster,
        cancel: &Cancel,
        on_line: &mut (dyn FnMut(Stream, &str) + Send),
    ) -> Result<(), DriverError> {
        match self.kind {
            Kind::Minikube => self.run(minikube::start(&self.name, new), cancel, on_line).await,
            Kind::Kind => self.kind_start(new, cancel, on_line).await,
            Kind::K3d if self.is_known_to_k3d(cancel).await? => self.run(k3d::start(&self.name), cancel, on_line).await,
            Kind::K3d => self.run(k3d::create(&self.name, new), cancel, on_line).await,
        }
    }

    /// The state of the cluster by the tool's own answer; nothing where that can't be had within a few seconds.
    ///
    /// minikube is asked by its own files, by its node containers and by `minikube status`; kind and k3d by their node
    /// containers.
    pub async fn state(&self, cancel: &Cancel) -> Option<ClusterState> {
        match self.kind {
            Kind::Minikube => self.minikube_state(cancel).await,
            Kind::Kind | Kind::K3d => Some(containers::state(&self.node_containers(cancel).await?)),
        }
    }

    /// What a cluster that answers still lacks: a start of it that did not finish or goes on, nodes that are down, and nodes
    /// that Kubernetes does not have. `nodes` are those that Kubernetes has, each with whether it is ready. While all is well
    /// this reads two small files at most.
    pub async fn shortfall(&self, nodes: &[(&str, bool)], cancel: &Cancel) -> Option<ClusterState> {
        if self.kind == Kind::Minikube
            && let Some(state) = self.profile().and_then(|profile| minikube::shortfall(&profile, nodes))
        {
            return Some(state);
        }
        if nodes.iter().all(|(_, ready)| *ready) {
            return None;
        }
        match containers::state(&self.node_containers(cancel).await?) {
            state @ ClusterState::NodesDown(_) => Some(state),
            _ => None,
        }
    }

    /// What another process of the tool does with the cluster now. Only minikube lets it be seen.
    pub fn activity(&self) -> Option<Activity> {
        match self.kind {
            Kind::Minikube => self.profile()?.activity(),
            Kind::Kind | Kind::K3d => None,
        }
    }

    /// Makes frozen nodes go on.
    ///
    /// # Errors
    /// When the tool is not there, or fails.
    pub async fn unpause(
        &self,
        cancel: &Cancel,
        on_line: &mut (dyn FnMut(Stream, &str) + Send),
    ) -> Result<(), DriverError> {
        match self.kind {
            Kind::Minikube => {
                let words = ["unpause", "--profile", &self.name, "--all-namespaces"];
                self.run(owned(&words), cancel, on_line).await
            }
            Kind::Kind | Kind::K3d => {
                let nodes = self.node_containers(cancel).await.unwrap_or_default();
                let paused = nodes.into_iter().filter(|node| node.state == "paused").map(|node| node.name);
                docker("unpause", paused.collect(), cancel, on_line).await
            }
        }
    }

    /// Starts nodes that are down, of a cluster whose other nodes run.
    ///
    /// # Errors
    /// When the tool is not there, or fails.
    pub async fn start_nodes(
        &self,
        nodes: &[String],
        new: &NewCluster,
        cancel: &Cancel,
        on_line: &mut (dyn FnMut(Stream, &str) + Send),
    ) -> Result<(), DriverError> {
        match self.kind {
            // minikube's first node has the name of the profile. Without it the whole cluster has to be started.
            Kind::Minikube if nodes.contains(&self.name) => self.start(new, cancel, on_line).await,
            Kind::Minikube => {
                for node in nodes {
                    let name = node.strip_prefix(&format!("{}-", self.name)).unwrap_or(node);
                    self.run(owned(&["node", "start", name, "--profile", &self.name]), cancel, on_line).await?;
                }
                Ok(())
            }
            Kind::Kind | Kind::K3d => docker("start", nodes.to_vec(), cancel, on_line).await,
        }
    }

    /// The containers that are its nodes. Nothing where the engine can't be asked.
    async fn node_containers(&self, cancel: &Cancel) -> Option<Vec<containers::Container>> {
        let label = match self.kind {
            Kind::Minikube => return self.minikube_containers(&self.profile()?.config()?, cancel).await,
            // kind's nodes may also be podman's or nerdctl's.
            Kind::Kind if std::env::var_os("KIND_EXPERIMENTAL_PROVIDER").is_some_and(|name| name != "docker") => {
                return None;
            }
            Kind::Kind => "io.x-k8s.kind.cluster",
            Kind::K3d => "k3d.cluster",
        };
        let mut nodes = containers::list(&[format!("label={label}={}", self.name)], cancel).await?;
        // k3d's helper for images is no node, and comes and goes.
        nodes.retain(|node| !(self.kind == Kind::K3d && node.name.ends_with("-tools")));
        Some(nodes)
    }

    /// minikube's folder of the profile.
    fn profile(&self) -> Option<profile::Profile> {
        let home = std::env::var_os("MINIKUBE_HOME");
        let user_home = std::env::home_dir();
        profile::Profile::find(home.as_deref().map(Path::new), user_home.as_deref(), &self.name)
    }

    /// Writes the context of a cluster that runs to the kubeconfig, as creating it did: it may have been another file, or
    /// another machine.
    ///
    /// # Errors
    /// When the tool is not there, or fails.
    pub async fn write_context(
        &self,
        cancel: &Cancel,
        on_line: &mut (dyn FnMut(Stream, &str) + Send),
    ) -> Result<(), DriverError> {
        let words: &[&str] = match self.kind {
            Kind::Minikube => &["update-context", "--profile", &self.name],
            Kind::Kind => &["export", "kubeconfig", "--name", &self.name],
            Kind::K3d => &["kubeconfig", "merge", &self.name, "--kubeconfig-merge-default"],
        };
        self.run(owned(words), cancel, on_line).await
    }

    /// Deletes the cluster with all that is in it.
    ///
    /// # Errors
    /// When the tool is not there, or fails.
    pub async fn delete(
        &self,
        cancel: &Cancel,
        on_line: &mut (dyn FnMut(Stream, &str) + Send),
    ) -> Result<(), DriverError> {
        let words: &[&str] = match self.kind {
            Kind::Minikube => &["delete", "--profile", &self.name],
            Kind::Kind => &["delete", "cluster", "--name", &self.name],
            Kind::K3d => &["cluster", "delete", &self.name],
        };
        self.run(owned(words), cancel, on_line).await
    }

    /// Brings an image of the local Docker Engine to all nodes, the way the tool does: slowly, and by its exit code never
    /// known to have worked.
    ///
    /// # Errors
    /// When the tool is not there, or says that it failed.
    pub async fn load_image(&self, reference: &str, cancel: &Cancel) -> Result<(), DriverError> {
        self.run(self.load_args(reference), cancel, &mut |_, _| {}).await
    }

    /// The command of [`load_image`](Self::load_image), as a person would type it.
    pub fn load_command(&self, reference: &str) -> String {
        self.shown(&self.load_args(reference))
    }

    fn load_args(&self, reference: &str) -> Vec<String> {
        match self.kind {
            Kind::Minikube => owned(&["image", "load", "--profile", &self.name, reference]),
            Kind::Kind => owned(&["load", "docker-image", "--name", &self.name, reference]),
            Kind::K3d => owned(&["image", "import", "--cluster", &self.name, reference]),
        }
    }

    async fn run(
        &self,
        args: Vec<String>,
        cancel: &Cancel,
        on_line: &mut (dyn FnMut(Stream, &str) + Send),
    ) -> Result<(), DriverError> {
        self.run_with(args, "", cancel, on_line).await
    }

    /// Runs the tool with this text as its standard input.
    async fn run_with(
        &self,
        args: Vec<String>,
        input: &str,
        cancel: &Cancel,
        on_line: &mut (dyn FnMut(Stream, &str) + Send),
    ) -> Result<(), DriverError> {
        let shown = self.shown(&args);
        let command = self.command(args).grace(GRACE);
        let command = if input.is_empty() { command } else { command.stdin(input.to_owned()) };
        let ended = run(&command, cancel, on_line).await;
        ended.map(|_| ()).map_err(|source| DriverError::Failed { command: shown, source })
    }

    async fn ask(&self, args: Vec<String>, cancel: &Cancel) -> Result<Output, DriverError> {
        let shown = self.shown(&args);
        let command = self.command(args);
        let limits = Capture { timeout: ANSWER_WITHIN, ..Capture::default() };
        capture(&command, cancel, limits).await.map_err(|source| DriverError::Failed { command: shown, source })
    }

    fn command(&self, args: Vec<String>) -> Command {
        let command = Command::new(self.kind.program()).args(args);
        match &self.kubeconfig {
            Some(path) => command.env("KUBECONFIG", path),
            None => command,
        }
    }

    fn shown(&self, args: &[String]) -> String {
        format!("{} {}", self.kind.program(), args.join(" "))
    }
}

/// Runs a command of Docker's on containers.
async fn docker(
    verb: &str,
    containers: Vec<String>,
    cancel: &Cancel,
    on_line: &mut (dyn FnMut(Stream, &str) + Send),
) -> Result<(), DriverError> {
    if containers.is_empty() {
        return Ok(());
    }
    let ended = run(&Command::new("docker").arg(verb).args(&containers).grace(GRACE), cancel, on_line).await;
    let failed = |source| DriverError::Failed { command: format!("docker {verb} {}", containers.join(" ")), source };
    ended.map(|_| ()).map_err(failed)
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tool_that_is_not_there_is_named_with_the_way_out() {
        let error = DriverError::Failed {
            command: "kind create cluster".into(),
            source: capture(&Command::new("no-such-kind"), &Cancel::never(), Capture::default()).await.unwrap_err(),
        };
        assert_eq!(error.class(), Class::Environment);
        assert!(error.help().unwrap().contains("install no-such-kind"));
    }
}
