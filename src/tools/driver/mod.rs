//! The tools that run local clusters, by their command lines: minikube, kind, k3d.
//!
//! They are asked as little as possible: whether a cluster runs, the cluster itself is asked. What they print is matched by
//! exit code and JSON, never by text. What is particular to one of them is in a file of its own.

mod k3d;
mod kind;
mod minikube;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Class;
use crate::event::Stream;
use crate::process::{Cancel, Capture, Command, Output, ProcessError, capture, run};

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

/// The last words of a tool.
fn said(error: &ProcessError) -> String {
    let ProcessError::Exit { output, .. } = error else { return String::new() };
    let text = output.stderr_text();
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

    /// Writes the context of a cluster that runs to the kubeconfig, as creating it did: it may have been another file, or
    /// somebody else's machine.
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
