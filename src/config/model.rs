//! The stack file, read: typed, defaults filled in, every value with its place.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use secrecy::SecretString;

use super::error::{ConfigError, Source};
use super::span::{Span, Spanned};
use super::template::{Template, Value};
use crate::graph::StepId;

/// Things by name, in the order of the file.
pub type Named<T> = IndexMap<Arc<str>, T, foldhash::fast::RandomState>;

/// A whole stack file.
#[derive(Debug, Clone)]
pub struct StackFile {
    /// The file itself, absolute.
    pub path: PathBuf,
    /// Its folder, absolute: what all paths in it are relative to.
    pub root: PathBuf,
    /// Its text, for errors that are found later and point into it.
    pub source: Source,
    /// The profiles that were merged, in order.
    pub profiles: Vec<String>,
    /// `[stack] name`.
    pub name: Spanned<String>,
    /// Paths may leave the folder.
    pub allow_outside: bool,
    /// Releases that left the file are removed.
    pub prune: bool,
    /// The cluster, if the file speaks of one.
    pub cluster: Option<Cluster>,
    /// The images.
    pub images: Named<Image>,
    /// The charts.
    pub charts: Named<Chart>,
    /// The checks.
    pub ready: Named<Ready>,
    /// The tasks.
    pub tasks: Named<Task>,
    /// `[limits]`.
    pub limits: Limits,
    /// `[cache]`.
    pub cache: Option<Cache>,
    /// The values of all secret variables, to be kept out of whatever is shown.
    pub secrets: Vec<SecretString>,
    /// What is not wrong, but worth knowing.
    pub warnings: Vec<ConfigError>,
}

impl StackFile {
    /// The name by which the file is shown: relative to where the user stands, if that is how it was found.
    pub fn shown(&self) -> &str {
        self.source.name()
    }

    /// The namespace of what names none.
    pub fn namespace(&self) -> &str {
        self.cluster.as_ref().map_or("default", |cluster| &cluster.namespace)
    }
}

/// A path in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePath {
    /// As it was written.
    pub text: String,
    /// Absolute, without `.` and `..`; nothing is followed and nothing has to be there.
    pub absolute: PathBuf,
    /// Where it was written; empty for a default.
    pub span: Span,
}

/// A step that has to be done first, by `needs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The step.
    pub id: StepId,
    /// Where it was written.
    pub span: Span,
}

/// What every kind of step has: what it needs, and how its attempts go.
#[derive(Debug, Clone, Default)]
pub struct StepOptions {
    /// Where the thing stands: its header, or its key.
    pub span: Span,
    /// `needs`.
    pub needs: Vec<Need>,
    /// How often to try again.
    pub retries: u32,
    /// The pause before the first retry, doubled for each further one.
    pub backoff: Duration,
    /// How long one attempt may take; nothing for no limit.
    pub timeout: Option<Duration>,
}

/// What runs the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Driver {
    /// A minikube profile.
    Minikube,
    /// A kind cluster.
    Kind,
    /// A k3d cluster.
    K3d,
    /// An existing cluster, by its kubeconfig context.
    Context,
}

impl Driver {
    /// The word for it in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minikube => "minikube",
            Self::Kind => "kind",
            Self::K3d => "k3d",
            Self::Context => "context",
        }
    }
}

/// `[cluster]`.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// What runs it.
    pub driver: Spanned<Driver>,
    /// The minikube profile, or the name of the kind or k3d cluster. For a context: the context.
    pub name: String,
    /// The kubeconfig context, written or by the rule of the driver: `todo`, `kind-todo`, `k3d-todo`.
    pub context: String,
    /// The kubeconfig file; nothing for `$KUBECONFIG` or the usual place.
    pub kubeconfig: Option<FilePath>,
    /// Contexts, or patterns with `*`, that may be changed although they look remote.
    pub allow_contexts: Vec<Spanned<String>>,
    /// Create or start it when it is not running.
    pub start: bool,
    /// What the nodes run in.
    pub node_driver: Option<String>,
    /// Nodes of a new cluster.
    pub nodes: u32,
    /// Container runtime of a new cluster.
    pub container_runtime: Option<String>,
    /// CPUs of a new cluster's node.
    pub cpus: Option<u32>,
    /// Memory of a new cluster's node, bytes.
    pub memory: Option<u64>,
    /// Disk of a new cluster's node, bytes.
    pub disk: Option<u64>,
    /// Kubernetes version of a new cluster, with its `v`.
    pub kubernetes_version: Option<String>,
    /// minikube addons of a new cluster.
    pub addons: Vec<String>,
    /// Further arguments for creating it.
    pub start_args: Vec<String>,
    /// The namespace of what names none.
    pub namespace: String,
    /// The registry that the nodes pull from.
    pub registry: Option<String>,
    /// Attempts.
    pub options: StepOptions,
}

/// How an image gets to the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LoadMode {
    /// `layers` where it applies, else `archive`.
    Auto,
    /// Built in the node's own Docker daemon.
    Direct,
    /// Only the layers that a node lacks.
    Layers,
    /// The whole image.
    Archive,
    /// Through a registry.
    Registry,
    /// Not at all: there is no load step.
    None,
}

impl LoadMode {
    /// The word for it in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Direct => "direct",
            Self::Layers => "layers",
            Self::Archive => "archive",
            Self::Registry => "registry",
            Self::None => "none",
        }
    }
}

/// `[image.NAME]`.
#[derive(Debug, Clone)]
pub struct Image {
    /// The folder that the build sees.
    pub context: FilePath,
    /// The Dockerfile, by default the one in the context.
    pub dockerfile: FilePath,
    /// The stage to build.
    pub target: Option<String>,
    /// Build arguments.
    pub args: IndexMap<String, Value>,
    /// Build secrets.
    pub secrets: Vec<BuildSecret>,
    /// Labels of the image.
    pub labels: IndexMap<String, Value>,
    /// The platform, such as `linux/amd64`; nothing for that of the node.
    pub platform: Option<String>,
    /// The image's name without a tag.
    pub repository: Spanned<String>,
    /// How it gets to the nodes. Without a cluster: [`LoadMode::None`].
    pub load: LoadMode,
    /// Attempts and needs, of the build; a load has the same attempts.
    pub options: StepOptions,
}

/// Something that a build may read and that does not end up in the image.
#[derive(Debug, Clone)]
pub struct BuildSecret {
    /// The id that the Dockerfile mounts it by.
    pub id: String,
    /// Where it comes from.
    pub source: SecretSource,
    /// Build without it when it is not there.
    pub optional: bool,
}

/// Where a build secret comes from.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// A file, anywhere.
    File(FilePath),
    /// A variable of the environment.
    Env(String),
    /// A value of the file, most likely a secret variable.
    Value(Template),
}

/// Where the files of a chart come from.
#[derive(Debug, Clone)]
pub enum ChartSource {
    /// A folder of this project.
    Path(FilePath),
    /// Published: `oci://…`, `REPO/NAME`, or `NAME` with the address of its repository.
    Published {
        /// The reference, as `helm` takes it.
        chart: Spanned<String>,
        /// The version.
        version: Option<String>,
        /// The address of the repository.
        repo: Option<String>,
    },
}

/// A values file.
#[derive(Debug, Clone)]
pub enum ValuesSource {
    /// A file of this project.
    File(FilePath),
    /// An address that Helm fetches it from.
    Url(String),
}

/// What to do when a release does not become ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Leave it as it is.
    Keep,
    /// Back to the last revision that was ready.
    Rollback,
}

/// How long errors that may pass by themselves are tolerated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long they are watched before they count.
    pub grace: Duration,
    /// How many restarts of a container are tolerated.
    pub max_restarts: u32,
}

/// `[chart.NAME]`.
#[derive(Debug, Clone)]
pub struct Chart {
    /// Where its files come from.
    pub source: ChartSource,
    /// The name of the release.
    pub release: String,
    /// The namespace of the release.
    pub namespace: String,
    /// Create the namespace when it is not there.
    pub create_namespace: bool,
    /// Labels of a namespace that is created.
    pub namespace_labels: IndexMap<String, Value>,
    /// Values files, in order; later ones win.
    pub values: Vec<ValuesSource>,
    /// Values by dotted path, or as nested tables; they win over the files.
    pub set: IndexMap<String, Value>,
    /// Values by dotted path that are text whatever they look like.
    pub set_string: IndexMap<String, Value>,
    /// Values by dotted path that are the contents of a file.
    pub set_file: IndexMap<String, FilePath>,
    /// What to do when it does not become ready.
    pub on_failure: OnFailure,
    /// Take over a release that something else installed.
    pub adopt: bool,
    /// Remove it when it has left the file.
    pub prune: bool,
    /// A command that changes the rendered manifest; empty for none.
    pub post_render: Vec<Template>,
    /// Wait until everything in it is ready.
    pub wait: bool,
    /// How many workloads it should have at least.
    pub workloads: Option<u32>,
    /// Patience with errors that may pass.
    pub patience: Patience,
    /// Attempts and needs.
    pub options: StepOptions,
}

/// `[ready.NAME]`.
#[derive(Debug, Clone)]
pub struct Ready {
    /// What is checked.
    pub check: Check,
    /// The namespace of what is checked.
    pub namespace: Template,
    /// The pause between two tries.
    pub interval: Duration,
    /// Patience with errors that may pass.
    pub patience: Patience,
    /// Attempts and needs.
    pub options: StepOptions,
}

/// What a check looks at.
#[derive(Debug, Clone)]
pub enum Check {
    /// A workload, `KIND/NAME`, whose rollout is complete.
    Workload(Template),
    /// A Job that has completed.
    Job(Template),
    /// A Service that has ready endpoints.
    Service(Template),
    /// An HTTP request.
    Http(HttpCheck),
    /// A connection to a port of a Service.
    Tcp {
        /// The Service.
        service: Template,
        /// Its port.
        port: u16,
    },
    /// A condition, or a field, of an object.
    Condition(ConditionCheck),
    /// A command that exits with 0.
    Run {
        /// The command.
        run: Run,
        /// Variables of its environment.
        env: IndexMap<String, Value>,
    },
}

impl Check {
    /// Whether it is the cluster that is asked.
    pub fn is_of_cluster(&self) -> bool {
        match self {
            Self::Http(HttpCheck { target: HttpTarget::Url(_), .. }) | Self::Run { .. } => false,
            Self::Http(HttpCheck { target: HttpTarget::Service { .. }, .. })
            | Self::Workload(_)
            | Self::Job(_)
            | Self::Service(_)
            | Self::Tcp { .. }
            | Self::Condition(_) => true,
        }
    }
}

/// An HTTP request that is answered as it should be.
#[derive(Debug, Clone)]
pub struct HttpCheck {
    /// Whom to ask.
    pub target: HttpTarget,
    /// Speak TLS (without verifying, as it is a check of a cluster of one's own).
    pub tls: bool,
    /// The status that is expected.
    pub status: u16,
    /// Text that the answer has to hold.
    pub contains: Option<Template>,
    /// Headers to send.
    pub headers: IndexMap<String, Template>,
}

/// Whom an HTTP check asks.
#[derive(Debug, Clone)]
pub enum HttpTarget {
    /// A Service, reached from the host whatever its type.
    Service {
        /// The Service.
        service: Template,
        /// Its port.
        port: u16,
        /// The path.
        path: Template,
    },
    /// Any address.
    Url(Template),
}

/// A condition, or a field, of an object.
#[derive(Debug, Clone)]
pub struct ConditionCheck {
    /// `KIND/NAME`, or `KIND.GROUP/NAME`.
    pub resource: Template,
    /// What is looked at.
    pub field: ConditionField,
    /// The value that is waited for.
    pub value: Value,
}

/// What a condition check looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConditionField {
    /// The condition of this type in the object's status.
    Type(String),
    /// The field at this path, such as `.status.phase`.
    Path(String),
}

/// A command.
#[derive(Debug, Clone)]
pub enum Run {
    /// A program and its arguments.
    Argv(Vec<Template>),
    /// A line for `sh -c`.
    Shell(Template),
}

/// `[task.NAME]`.
#[derive(Debug, Clone)]
pub struct Task {
    /// The command.
    pub run: Run,
    /// Where it runs; nothing for the folder of the stack file.
    pub cwd: Option<FilePath>,
    /// Variables of its environment.
    pub env: IndexMap<String, Value>,
    /// Patterns, relative to the stack file, of the files it depends on.
    pub inputs: Vec<Spanned<String>>,
    /// Patterns, relative to the stack file, of the files it makes.
    pub outputs: Vec<Spanned<String>>,
    /// `false`: run in every apply.
    pub cache: bool,
    /// The pool of [`Limits::pools`] that it takes a place in.
    pub pool: Option<String>,
    /// Attempts and needs.
    pub options: StepOptions,
}

/// `[limits]`: nothing means no limit of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Steps in all.
    pub jobs: Option<u32>,
    /// Builds.
    pub builds: Option<u32>,
    /// Loads.
    pub loads: Option<u32>,
    /// Charts.
    pub charts: Option<u32>,
    /// Tasks.
    pub tasks: Option<u32>,
    /// The user's own pools.
    pub pools: IndexMap<String, u32>,
    /// How long a whole run may take.
    pub deadline: Option<Duration>,
    /// How long a command that was told to end may take before it is killed.
    pub grace: Duration,
}

/// `[cache]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// Where the images are kept: `host:5000/todo`.
    pub registry: String,
    /// Whether this machine adds to it.
    pub mode: CacheMode,
    /// How long one transfer may stall.
    pub timeout: Duration,
}

impl Default for Cache {
    /// What an absent key means.
    fn default() -> Self {
        Self { registry: String::new(), mode: CacheMode::ReadWrite, timeout: Duration::from_secs(60) }
    }
}

/// Whether this machine adds to a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheMode {
    /// It does.
    ReadWrite,
    /// It only uses it.
    ReadOnly,
}
