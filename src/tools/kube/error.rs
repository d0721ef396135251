//! What can go wrong between us and the Kubernetes API, and what to try then.

use thiserror::Error;

use crate::error::Class;

/// A failed conversation with the Kubernetes API.
#[derive(Debug, Error)]
pub enum KubeError {
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig {path} cannot be used: {reason}")]
    Kubeconfig {
        /// The files that were read.
        path: String,
        /// What is wrong with them.
        reason: String,
    },
    /// The context that was asked for is in no kubeconfig.
    #[error("there is no context {context:?} in {path}")]
    NoContext {
        /// The context asked for; empty when none was and no current context is set.
        context: String,
        /// The files that were read.
        path: String,
        /// The contexts there are.
        known: Vec<String>,
    },
    /// Nothing answers at the address of the API server.
    #[error("the Kubernetes API of context {context:?} at {address} cannot be reached: {reason}")]
    Unreachable {
        /// The kubeconfig context.
        context: String,
        /// The address from the kubeconfig.
        address: String,
        /// The transport's own words.
        reason: String,
    },
    /// The API server does not accept who we are (401).
    #[error("the Kubernetes API of context {context:?} does not accept our credentials: {message}")]
    Unauthorized {
        /// The kubeconfig context.
        context: String,
        /// The server's words.
        message: String,
    },
    /// The API server knows who we are and says no (403).
    #[error("not allowed to {action}: {message}")]
    Forbidden {
        /// What was being done.
        action: String,
        /// The server's words.
        message: String,
    },
    /// The cluster has no such kind of object.
    #[error("the cluster does not know the kind {kind} of {api_version}")]
    UnknownKind {
        /// `apiVersion` of the kind.
        api_version: String,
        /// The kind.
        kind: String,
        /// The `apiVersion` under which the cluster has the kind.
        served_as: Option<String>,
    },
    /// The API server refused a request for another reason.
    #[error("could not {action}: {message}")]
    Api {
        /// What was being done.
        action: String,
        /// HTTP status code.
        code: u16,
        /// Machine-readable reason such as `Conflict`.
        reason: String,
        /// The server's words.
        message: String,
    },
    /// A request was sent and no whole answer came back.
    #[error("could not {action}: the connection to {address} broke: {reason}")]
    Broken {
        /// What was being done.
        action: String,
        /// The address of the API server.
        address: String,
        /// The transport's own words.
        reason: String,
    },
    /// The answer makes no sense to us.
    #[error("could not {action}: the answer is not understood: {reason}")]
    Answer {
        /// What was being done.
        action: String,
        /// Why not.
        reason: String,
    },
    /// A record is larger than what the cluster takes.
    #[error("the record of {name} is {size} bytes when packed; the cluster takes at most {limit}")]
    RecordTooLarge {
        /// Whose record.
        name: String,
        /// Its packed size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

impl KubeError {
    /// What the caller can do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Kubeconfig { .. }
            | Self::NoContext { .. }
            | Self::Unreachable { .. }
            | Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::UnknownKind { .. } => Class::Environment,
            Self::Api { code, .. } => match code {
                408 | 409 | 410 | 429 | 500..=599 => Class::Transient,
                _ => Class::Input,
            },
            Self::Broken { .. } => Class::Transient,
            Self::Answer { .. } | Self::RecordTooLarge { .. } => Class::Internal,
        }
    }

    /// What to try.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Kubeconfig { .. } => Some(
                "set KUBECONFIG to a kubeconfig that can be read, or let `[cluster] start = true` make a cluster"
                    .to_owned(),
            ),
            Self::NoContext { known, .. } if known.is_empty() => {
                Some("no context is known at all: is KUBECONFIG set as it should be?".to_owned())
            }
            Self::NoContext { known, .. } => Some(format!("known contexts: {}", known.join(", "))),
            Self::Unreachable { context, address, .. } => Some(format!(
                "is the cluster of context {context:?} running, and is {address} its address? Try `kubectl --context {context} get --raw /readyz`"
            )),
            Self::Unauthorized { context, .. } => {
                Some(format!("sign in again, or renew the credentials of context {context:?} in the kubeconfig"))
            }
            Self::Forbidden { .. } => Some("ask for a role that allows it, or use another context".to_owned()),
            Self::UnknownKind { served_as: Some(api_version), .. } => {
                Some(format!("`apiVersion: {api_version}`: the kind is there as {api_version}"))
            }
            Self::UnknownKind { served_as: None, .. } => Some("install its CustomResourceDefinition first".to_owned()),
            Self::Api { .. } | Self::Broken { .. } | Self::Answer { .. } | Self::RecordTooLarge { .. } => None,
        }
    }

    /// Whether the object asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Api { code: 404, .. })
    }

    /// Whether somebody else changed the object, or it is there already.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { code: 409, .. })
    }
}
