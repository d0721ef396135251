//! What can keep an object from becoming ready, and how long it may.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

/// How patient to be, and with what.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How long a trouble that may pass by itself may last.
    pub grace: Duration,
    /// After how many restarts a container counts as failing, whatever the grace.
    pub max_restarts: i64,
    /// How long no node may have room.
    pub unschedulable: Duration,
    /// How long a container without a readiness probe has to run to count as ready: one that ends at once looks ready
    /// for a moment.
    pub settle: Duration,
    /// A service has to have pods behind it, wherever they come from.
    pub needs_endpoints: bool,
    /// Images that the stack itself brings to the nodes, as repository names: no registry will ever have them, so that
    /// a failed pull is final.
    pub own_images: Vec<String>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(30),
            max_restarts: 3,
            unschedulable: Duration::from_secs(30),
            settle: Duration::from_secs(2),
            needs_endpoints: false,
            own_images: Vec::new(),
        }
    }
}

impl Rules {
    /// Whether the stack brings this image to the nodes itself.
    pub(super) fn owns(&self, image: &str) -> bool {
        let repository = repository(image);
        self.own_images.iter().any(|own| own == repository || own == image)
    }
}

/// The repository of an image reference: without its tag and digest.
fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        // A colon before a slash belongs to a registry's port.
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => image,
    }
}

/// Whether a trouble passes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It never does.
    AtOnce,
    /// It may: it counts after the grace, or after too many restarts.
    AfterGrace,
    /// A node may get room: it counts after a while of its own.
    AfterRoom,
    /// It is what being on the way looks like; it only explains why that takes so long.
    Slow,
}

/// What is wrong, as far as it can be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The image reference is not valid.
    ImageName,
    /// The image is not on the node and may not be pulled.
    ImageMissing,
    /// The image cannot be pulled.
    ImagePull,
    /// A ConfigMap, a Secret or a key of one is missing, or the container's settings contradict each other.
    Config,
    /// The container cannot be created or started.
    Start,
    /// The container keeps ending.
    Crash,
    /// The container used more memory than it may.
    OutOfMemory,
    /// An init container ends with an error.
    Init,
    /// The readiness or startup probe does not pass.
    Probe,
    /// The liveness probe fails and the container is started again and again.
    Liveness,
    /// No node takes the pod.
    Unschedulable,
    /// A volume cannot be mounted, or a claim is not bound.
    Volume,
    /// The pod's sandbox or network cannot be made.
    Sandbox,
    /// The pod was evicted or its node is gone.
    Evicted,
    /// The API server refuses the pods: a quota is used up.
    Quota,
    /// The API server refuses the pods: an admission webhook or policy.
    Admission,
    /// The API server refuses the pods for another reason.
    Create,
    /// The rollout was given up by Kubernetes itself.
    Deadline,
    /// A job has failed.
    Job,
    /// No pod is behind a service.
    NoEndpoints,
    /// The names of a custom kind are taken or not valid.
    Names,
    /// A custom object says that it is stalled.
    Stalled,
    /// The object is not there.
    Missing,
    /// The object or its namespace is being deleted.
    Terminating,
}

/// Something that keeps an object from becoming ready.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trouble {
    /// What it is.
    pub cause: Cause,
    /// Whether it passes by itself.
    pub severity: Severity,
    /// The pod, when it is about one.
    pub pod: Option<String>,
    /// The container, when it is about one.
    pub container: Option<String>,
    /// Whether that container is one of those that run before the others.
    #[serde(skip)]
    pub init: bool,
    /// The cluster's own words.
    pub message: String,
    /// How often the container was started again.
    pub restarts: i64,
    /// How the container ended last.
    pub last_end: Option<End>,
    /// Since when, where the cluster says so.
    pub since: Option<Timestamp>,
}

impl Trouble {
    /// A trouble of the object itself.
    pub(super) fn new(cause: Cause, severity: Severity, message: impl Into<String>) -> Self {
        Self {
            cause,
            severity,
            pod: None,
            container: None,
            init: false,
            message: message.into(),
            restarts: 0,
            last_end: None,
            since: None,
        }
    }

    /// Two troubles with the same key are the same one, seen twice.
    pub(super) fn key(&self) -> (Cause, Option<&str>, Option<&str>) {
        // A container that crashes is seen waiting, ended and running in turn, and its causes vary with that.
        let cause = match self.cause {
            Cause::OutOfMemory | Cause::Liveness | Cause::Init | Cause::Start => Cause::Crash,
            cause => cause,
        };
        (cause, self.pod.as_deref(), self.container.as_deref())
    }
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// The runtime's word: `Error`, `OOMKilled`, `Completed`, …
    pub reason: String,
    /// Its exit code.
    pub exit_code: i64,
    /// The signal that ended it, when one did.
    pub signal: Option<i64>,
    /// What the container left as its termination message.
    pub message: String,
    /// When it ended.
    pub finished: Option<Timestamp>,
}

impl End {
    /// The kernel killed it for using more memory than it may, and the runtime saw that.
    pub(super) fn out_of_memory(&self) -> bool {
        self.reason == "OOMKilled"
    }

    /// The runtime could not even start it: containerd's word for that is `StartError`, Docker's `ContainerCannotRun`.
    pub(super) fn never_ran(&self) -> bool {
        matches!(self.reason.as_str(), "StartError" | "ContainerCannotRun")
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.reason.as_str(), self.signal, self.exit_code) {
            ("OOMKilled", ..) => f.write_str("killed for using more memory than it may (OOMKilled)"),
            (_, Some(signal), _) => write!(f, "ended by signal {signal}"),
            (_, None, code @ 129..=159) => write!(f, "exit code {code} (signal {})", code - 128),
            (_, None, 0) => f.write_str("exit code 0"),
            (_, None, 126) => f.write_str("exit code 126 (its command cannot be executed)"),
            (_, None, 127) => f.write_str("exit code 127 (its command was not found)"),
            (reason, None, code) if reason.is_empty() || reason == "Error" => write!(f, "exit code {code}"),
            (reason, None, code) => write!(f, "{reason}, exit code {code}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_images_are_known_by_their_repository() {
        let rules = Rules { own_images: vec!["todo-backend".into(), "localhost:5000/x".into()], ..Rules::default() };
        assert!(rules.owns("todo-backend:abc") && rules.owns("todo-backend@sha256:12") && rules.owns("todo-backend"));
        assert!(rules.owns("localhost:5000/x:1") && rules.owns("localhost:5000/x"));
        assert!(!rules.owns("todo-backend-2:abc") && !rules.owns("busybox"));
    }

    #[test]
    fn ends_in_words() {
        let end = |reason: &str, exit_code, signal| {
            End { reason: reason.into(), exit_code, signal, message: String::new(), finished: None }.to_string()
        };
        assert_eq!(end("Error", 1, None), "exit code 1");
        assert_eq!(end("Error", 137, None), "exit code 137 (signal 9)");
        assert_eq!(end("ContainerCannotRun", 127, None), "exit code 127 (its command was not found)");
        assert_eq!(end("OOMKilled", 137, None), "killed for using more memory than it may (OOMKilled)");
        assert_eq!(end("StartError", 128, None), "StartError, exit code 128");
    }
}
