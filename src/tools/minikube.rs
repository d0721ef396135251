//! The tools that run local clusters, by their command lines: minikube, kind, k3d.
//!
//! They are asked as little as possible: whether a cluster runs, the cluster itself is asked. What they print is matched by
//! exit code and JSON, never by text.

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
}

/// The Docker daemon of a node, as `minikube docker-env` describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
            Kind::Minikube => self.run(self.minikube_start(new), cancel, on_line).await,
            Kind::Kind | Kind::K3d => {
                // Both tools create only; k3d can also start what it has stopped.
                if self.kind == Kind::K3d && self.knows(cancel).await? {
                    return self.run(vec!["cluster".into(), "start".into(), self.name.clone()], cancel, on_line).await;
                }
                self.run(self.create(new), cancel, on_line).await
            }
        }
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
        let args: Vec<String> = match self.kind {
            Kind::Minikube => vec!["delete".into(), "--profile".into(), self.name.clone()],
            Kind::Kind => vec!["delete".into(), "cluster".into(), "--name".into(), self.name.clone()],
            Kind::K3d => vec!["cluster".into(), "delete".into(), self.name.clone()],
        };
        self.run(args, cancel, on_line).await
    }

    /// The Docker daemon in the node, for images.
    ///
    /// # Errors
    /// When there is none, or the tool fails.
    pub async fn node_docker(&self, cancel: &Cancel) -> Result<NodeDocker, DriverError> {
        let args = ["docker-env", "--profile", &self.name, "--shell", "none", "-o", "json"].map(str::to_owned);
        let output = self.ask(args.to_vec(), cancel).await;
        let no_docker = |reason| DriverError::NoDocker { profile: self.name.clone(), reason };
        let output = match output {
            Ok(output) => output,
            // minikube's own exit codes; see the facts about minikube in the decisions.
            Err(DriverError::Failed { source: ProcessError::Exit { code: 51, .. }, .. }) => {
                return Err(no_docker("its driver is none"));
            }
            Err(DriverError::Failed { source: ProcessError::Exit { code: 81, .. }, .. }) => {
                return Err(no_docker("it has several nodes"));
            }
            Err(DriverError::Failed { source: ProcessError::Exit { code: 14, .. }, .. }) => {
                return Err(no_docker("its container runtime is not docker"));
            }
            Err(error) => return Err(error),
        };
        let bytes = output.stdout;
        let answer: DockerEnv = serde_json::from_slice(&bytes)
            .map_err(|source| DriverError::Output { command: self.shown(&args), source })?;
        let tls = !answer.tls_verify.is_empty() && answer.tls_verify != "0";
        let cert_path = (tls && !answer.cert_path.is_empty()).then(|| PathBuf::from(answer.cert_path));
        Ok(NodeDocker { host: answer.host, cert_path })
    }

    /// Brings an image of the local Docker Engine to all nodes, the way the tool does: slowly, and by its exit code never
    /// known to have worked.
    ///
    /// # Errors
    /// When the tool is not there, or says that it failed.
    pub async fn load_image(&self, reference: &str, cancel: &Cancel) -> Result<(), DriverError> {
        let words: &[&str] = match self.kind {
            Kind::Minikube => &["image", "load", "--profile", &self.name, reference],
            Kind::Kind => &["load", "docker-image", "--name", &self.name, reference],
            Kind::K3d => &["image", "import", "--cluster", &self.name, reference],
        };
        self.run(words.iter().map(|&word| word.to_owned()).collect(), cancel, &mut |_, _| {}).await
    }

    fn minikube_start(&self, new: &NewCluster) -> Vec<String> {
        let mut args = vec!["start".to_owned(), "--profile".to_owned(), self.name.clone()];
        let mut flag = |name: &str, value: Option<String>| args.extend(value.map(|value| format!("--{name}={value}")));
        flag("driver", new.node_driver.clone());
        flag("nodes", (new.nodes > 1).then(|| new.nodes.to_string()));
        flag("container-runtime", new.container_runtime.clone());
        flag("cpus", new.cpus.map(|count| count.to_string()));
        flag("memory", new.memory.map(mebibytes));
        flag("disk-size", new.disk.map(mebibytes));
        flag("kubernetes-version", new.kubernetes_version.clone());
        flag("addons", (!new.addons.is_empty()).then(|| new.addons.join(",")));
        args.extend(new.args.iter().cloned());
        args
    }

    fn create(&self, new: &NewCluster) -> Vec<String> {
        let mut args: Vec<String> = match self.kind {
            Kind::Minikube => return self.minikube_start(new),
            Kind::Kind => vec!["create".into(), "cluster".into(), "--name".into(), self.name.clone()],
            Kind::K3d => vec!["cluster".into(), "create".into(), self.name.clone()],
        };
        if let Some(version) = &new.kubernetes_version {
            args.extend(match self.kind {
                Kind::Minikube => None,
                Kind::Kind => Some(format!("--image=kindest/node:{version}")),
                Kind::K3d => Some(format!("--image=rancher/k3s:{version}-k3s1")),
            });
        }
        if self.kind == Kind::K3d && new.nodes > 1 {
            args.push(format!("--agents={}", new.nodes - 1));
        }
        args.extend(new.args.iter().cloned());
        args
    }

    /// Whether k3d knows a cluster of this name, running or not.
    async fn knows(&self, cancel: &Cancel) -> Result<bool, DriverError> {
        #[derive(Deserialize)]
        struct Listed {
            name: String,
        }
        let args = ["cluster", "list", "-o", "json"].map(str::to_owned);
        let output = self.ask(args.to_vec(), cancel).await?;
        let listed: Vec<Listed> = serde_json::from_slice(&output.stdout)
            .map_err(|source| DriverError::Output { command: self.shown(&args), source })?;
        Ok(listed.iter().any(|cluster| cluster.name == self.name))
    }

    async fn run(
        &self,
        args: Vec<String>,
        cancel: &Cancel,
        on_line: &mut (dyn FnMut(Stream, &str) + Send),
    ) -> Result<(), DriverError> {
        let shown = self.shown(&args);
        let command = Command::new(self.kind.program()).args(args).grace(GRACE);
        let ended = run(&command, cancel, on_line).await;
        ended.map(|_| ()).map_err(|source| DriverError::Failed { command: shown, source })
    }

    async fn ask(&self, args: Vec<String>, cancel: &Cancel) -> Result<Output, DriverError> {
        let shown = self.shown(&args);
        let command = Command::new(self.kind.program()).args(args);
        let limits = Capture { timeout: ANSWER_WITHIN, ..Capture::default() };
        capture(&command, cancel, limits).await.map_err(|source| DriverError::Failed { command: shown, source })
    }

    fn shown(&self, args: &[String]) -> String {
        format!("{} {}", self.kind.program(), args.join(" "))
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{}mb", bytes >> 20)
}

#[derive(Debug, Deserialize)]
struct DockerEnv {
    #[serde(rename = "DOCKER_TLS_VERIFY", default)]
    tls_verify: String,
    #[serde(rename = "DOCKER_HOST")]
    host: String,
    #[serde(rename = "DOCKER_CERT_PATH", default)]
    cert_path: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver(kind: Kind) -> ClusterDriver {
        ClusterDriver { kind, name: "todo".into() }
    }

    #[test]
    fn only_what_was_said_is_passed_on() {
        let new = NewCluster { nodes: 1, ..NewCluster::default() };
        assert_eq!(driver(Kind::Minikube).minikube_start(&new), ["start", "--profile", "todo"]);
        let new = NewCluster {
            nodes: 2,
            cpus: Some(2),
            memory: Some(4 << 30),
            kubernetes_version: Some("v1.32.0".into()),
            args: vec!["--wait=all".into()],
            ..NewCluster::default()
        };
        let expected = [
            "start",
            "--profile",
            "todo",
            "--nodes=2",
            "--cpus=2",
            "--memory=4096mb",
            "--kubernetes-version=v1.32.0",
            "--wait=all",
        ];
        assert_eq!(driver(Kind::Minikube).minikube_start(&new), expected);
        let expected = ["create", "cluster", "--name", "todo", "--image=kindest/node:v1.32.0", "--wait=all"];
        assert_eq!(driver(Kind::Kind).create(&new), expected);
        let expected = ["cluster", "create", "todo", "--image=rancher/k3s:v1.32.0-k3s1", "--agents=1", "--wait=all"];
        assert_eq!(driver(Kind::K3d).create(&new), expected);
    }

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
