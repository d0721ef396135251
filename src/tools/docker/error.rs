//! What can go wrong between us and a Docker Engine, told so that a person can act on it.

use std::path::PathBuf;

use thiserror::Error;

use super::endpoint::Endpoint;
use super::exec::ExecError;
use crate::error::Class;
use crate::process::ProcessError;

/// A failure of the Docker Engine, or on the way to it.
#[derive(Debug, Error)]
pub enum DockerError {
    /// The address of the engine cannot be understood.
    #[error("`{address}` is no address of a Docker Engine: {reason}")]
    Address {
        /// The address as given.
        address: String,
        /// Why not.
        reason: String,
    },
    /// A file that the connection needs cannot be read or used.
    #[error("cannot use {}: {reason}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Nothing answers at the endpoint.
    #[error("no Docker Engine answers at {endpoint}: {reason}")]
    Unreachable {
        /// Where it was looked for.
        endpoint: Endpoint,
        /// What the system said.
        reason: String,
        /// Whether it is there, but we may not speak to it.
        denied: bool,
    },
    /// The connection broke while something was under way.
    #[error("the connection to the Docker Engine at {endpoint} broke while {doing}: {reason}")]
    Broken {
        /// The engine.
        endpoint: Endpoint,
        /// What was under way.
        doing: String,
        /// What was seen.
        reason: String,
    },
    /// The engine refused or failed a request.
    #[error("the Docker Engine could not {doing}: {message}")]
    Refused {
        /// What was asked.
        doing: String,
        /// The HTTP status, where there is one.
        status: Option<u16>,
        /// What the engine said.
        message: String,
    },
    /// An image that should be there is not.
    #[error("there is no image `{reference}` on {endpoint}")]
    NoImage {
        /// The image.
        reference: String,
        /// The engine that was asked.
        endpoint: Endpoint,
    },
    /// A build failed.
    #[error(transparent)]
    Build(#[from] Box<BuildFailure>),
    /// The build reaches more of the context than it was said to; build again with the whole context.
    #[error("the build takes `{path}` from its context, which was not expected from its Dockerfile")]
    Outgrown {
        /// What it takes.
        path: String,
    },
    /// A file of the context was gone when the build took it.
    #[error("{path} went while the image was being built")]
    Gone {
        /// The file, below the context.
        path: String,
    },
    /// A file of the context can't be read any more.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// An image did not arrive at a node as it is on the host.
    #[error(transparent)]
    Load(#[from] Box<LoadFailure>),
    /// A command on a node failed.
    #[error("{place} could not {doing}{}", said(.source))]
    Node {
        /// The node.
        place: String,
        /// What it was asked.
        doing: String,
        /// How the command ended.
        source: Box<ProcessError>,
    },
    /// The engine that runs a node could not run a command there.
    #[error("{place} could not {doing}: {source}")]
    NodeEngine {
        /// The node.
        place: String,
        /// What it was asked.
        doing: String,
        /// What the engine said.
        source: Box<DockerError>,
    },
    /// A node said something that makes no sense to us.
    #[error("{place} said something unexpected: {reason}")]
    Unexpected {
        /// The node.
        place: String,
        /// Why it makes no sense.
        reason: String,
    },
    /// A secret file cannot be read.
    #[error("cannot read the build secret `{id}` from {}: {reason}", path.display())]
    Secret {
        /// The id of the secret.
        id: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// Why a build failed.
#[derive(Debug, Clone, Error)]
#[error("{}", self.summary())]
pub struct BuildFailure {
    /// The step that failed, as BuildKit names it: `[runtime 3/5] RUN pip install …`.
    pub step: Option<String>,
    /// The line of the Dockerfile, counted from 1.
    pub line: Option<u32>,
    /// The exit code of the command, if a command failed.
    pub exit_code: Option<i32>,
    /// What BuildKit said.
    pub message: String,
    /// The last lines that the failing step printed, without secret values.
    pub tail: Vec<String>,
    /// What the caller can do about it.
    pub class: Class,
}

impl BuildFailure {
    fn summary(&self) -> String {
        let place = match (&self.step, self.line) {
            (Some(step), Some(line)) => format!("Dockerfile line {line}, `{step}`"),
            (Some(step), None) => format!("`{step}`"),
            (None, Some(line)) => format!("Dockerfile line {line}"),
            (None, None) => return format!("the build failed: {}", self.message),
        };
        match self.exit_code {
            Some(code) => format!("the build failed at {place}: exit code {code}"),
            None => format!("the build failed at {place}: {}", self.message),
        }
    }
}

/// What went wrong when a command on a node took an image in.
pub(in crate::tools) fn fault_of(error: &ExecError) -> LoadFault {
    let said = match error {
        ExecError::Ended(ended) => said(ended),
        ExecError::Engine(refused) => refused.to_string(),
    };
    let said = said.trim_start_matches(": ").to_owned();
    match error {
        _ if is_disk_full(&said) => LoadFault::DiskFull(said),
        ExecError::Ended(ProcessError::Exit { .. }) => LoadFault::Refused(said),
        ExecError::Ended(_) | ExecError::Engine(_) => LoadFault::NodeGone(said),
    }
}

/// The last words of a command.
fn said(error: &ProcessError) -> String {
    let output = match error {
        ProcessError::Exit { output, .. } | ProcessError::Signal { output, .. } => output,
        other => return format!(": {other}"),
    };
    let text = output.stderr_text();
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(5)..];
    if last.is_empty() { format!(": {error}") } else { format!(": {}", last.join("\n")) }
}

/// Why an image did not arrive at a node.
#[derive(Debug, Clone, Error)]
#[error("image `{reference}` did not reach {to}: {reason}")]
pub struct LoadFailure {
    /// The image.
    pub reference: String,
    /// Where it was sent: the address of an engine, or a node and its runtime.
    pub to: String,
    /// What went wrong.
    pub reason: LoadFault,
    /// Bytes that were sent.
    pub sent: u64,
}

/// What went wrong with a load.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LoadFault {
    /// The host stopped sending before the end of the image.
    #[error("the host's engine stopped sending it: {0}")]
    Source(String),
    /// The node went away.
    #[error("the connection to the node broke: {0}")]
    NodeGone(String),
    /// The node has no space left.
    #[error("the node's disk is full: {0}")]
    DiskFull(String),
    /// The node refused the archive.
    #[error("the node refused it: {0}")]
    Refused(String),
    /// The node said nothing of a failure, but does not have the image.
    #[error("the node took it without a complaint, but does not have it")]
    Missing,
    /// The image is for another kind of machine.
    #[error("it is for {image}, and the node is {node}")]
    Platform {
        /// The platform of the image, such as `linux/arm64`.
        image: String,
        /// The platform of the node.
        node: String,
    },
    /// The node has another image under that name.
    #[error("the node has {found} under that name, not {expected}")]
    Differs {
        /// The image ID on the host.
        expected: String,
        /// The image ID on the node.
        found: String,
    },
}

impl DockerError {
    /// A command on a node that gave no answer.
    pub(in crate::tools) fn of_node(place: String, doing: &str, error: ExecError) -> Self {
        let doing = doing.to_owned();
        match error {
            ExecError::Ended(source) => Self::Node { place, doing, source: Box::new(source) },
            ExecError::Engine(source) => Self::NodeEngine { place, doing, source: Box::new(source) },
        }
    }

    /// What the caller can do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Address { .. } | Self::Certificate { .. } | Self::Unreachable { .. } => Class::Environment,
            Self::Broken { .. } => Class::Transient,
            Self::Refused { status, message, .. } => refusal_class(*status, message),
            Self::NoImage { .. } => Class::Environment,
            Self::Build(failure) => failure.class,
            Self::Outgrown { .. } => Class::Internal,
            Self::Load(failure) => match failure.reason {
                LoadFault::DiskFull(_) => Class::Environment,
                LoadFault::Source(_) | LoadFault::NodeGone(_) | LoadFault::Missing => Class::Transient,
                LoadFault::Refused(_) | LoadFault::Differs { .. } => Class::Environment,
                LoadFault::Platform { .. } => Class::Input,
            },
            Self::Node { source, .. } => source.class(),
            Self::NodeEngine { source, .. } => source.class(),
            Self::Unexpected { .. } => Class::Environment,
            Self::Secret { .. } | Self::Gone { .. } => Class::Input,
            Self::Unreadable { .. } => Class::Environment,
        }
    }

    /// Whether another way of loading the image may do what this one could not: the node answers and has space, but did
    /// not take what it was sent.
    pub fn another_way_may_help(&self) -> bool {
        let Self::Load(failure) = self else { return false };
        match failure.reason {
            LoadFault::Refused(_) | LoadFault::Missing | LoadFault::Differs { .. } => true,
            LoadFault::Source(_) | LoadFault::NodeGone(_) | LoadFault::DiskFull(_) | LoadFault::Platform { .. } => {
                false
            }
        }
    }

    /// What to try, where something can be tried.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Address { .. } => {
                "give it as unix:///path/to/docker.sock or tcp://host:port in DOCKER_HOST or in a docker context".into()
            }
            Self::Certificate { .. } => "ca.pem, cert.pem and key.pem are expected in the folder that \
                                         DOCKER_CERT_PATH names; `minikube docker-env` prints the right one"
                .into(),
            Self::Unreachable { denied: true, .. } => {
                "add yourself to the group `docker` and log in again, or run as a user who may use it".into()
            }
            Self::Unreachable { endpoint, .. } => match endpoint {
                Endpoint::Unix(_) => {
                    "start Docker (`systemctl start docker`, or Docker Desktop), or set DOCKER_HOST".into()
                }
                Endpoint::Tcp { .. } | Endpoint::Tls { .. } => {
                    "check that the machine is up and that DOCKER_HOST is right; after a restart of minikube its \
                     address and certificates change"
                        .into()
                }
            },
            Self::Load(failure) => match failure.reason {
                LoadFault::DiskFull(_) => "free space on the node: `stack gc`, or `docker system prune` there".into(),
                LoadFault::Platform { ref node, .. } => {
                    format!("build it for the node: `platform = \"{node}\"`, and a base image for that")
                }
                LoadFault::Source(_)
                | LoadFault::NodeGone(_)
                | LoadFault::Refused(_)
                | LoadFault::Missing
                | LoadFault::Differs { .. } => return None,
            },
            Self::Node { source, .. } => match &**source {
                ProcessError::NotFound { program } => format!("install {program}: it is how the node is reached"),
                _ => return None,
            },
            Self::NodeEngine { source, .. } => return source.help(),
            Self::Secret { .. } => "create the file, or mark the secret `optional = true`".into(),
            Self::Broken { .. }
            | Self::Refused { .. }
            | Self::NoImage { .. }
            | Self::Unexpected { .. }
            | Self::Build(_)
            | Self::Outgrown { .. }
            | Self::Gone { .. }
            | Self::Unreadable { .. } => {
                return None;
            }
        })
    }
}

/// The engine tells the kind of a failure by its text more often than by its status.
pub(super) fn refusal_class(status: Option<u16>, message: &str) -> Class {
    if is_disk_full(message) {
        Class::Environment
    } else if is_network(message) {
        Class::Transient
    } else {
        match status {
            Some(400..=499) => Class::Input,
            Some(_) | None => Class::Environment,
        }
    }
}

pub(super) fn is_disk_full(message: &str) -> bool {
    message.contains("no space left on device") || message.contains("disk quota exceeded")
}

/// Failures on the way to a registry or another host that may well be gone the next time.
pub(super) fn is_network(message: &str) -> bool {
    const SIGNS: [&str; 12] = [
        "i/o timeout",
        "TLS handshake timeout",
        "connection refused",
        "connection reset by peer",
        "no such host",
        "Temporary failure in name resolution",
        "temporary failure in name resolution",
        "network is unreachable",
        "unexpected EOF",
        "503 Service Unavailable",
        "502 Bad Gateway",
        "toomanyrequests",
    ];
    SIGNS.iter().any(|sign| message.contains(sign))
}
