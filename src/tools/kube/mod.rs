//! The Kubernetes API: connection, reading a release's objects, watching them until they are ready.

mod cluster;
mod current_context;
mod diff;
pub mod drift;
mod error;
mod find;
mod kinds;
mod locality;
mod logs;
pub mod manifest;
mod namespaces;
mod nodes;
mod object;
mod observe;
pub mod probe;
pub mod ready;
pub mod records;
mod slices;
mod snapshot;
mod to_yaml;
mod transport;
mod view;
mod watch;
pub mod yaml;

pub use cluster::Cluster;
pub use current_context::CurrentContext;
pub use diff::{ChangeKind, FieldChange, ObjectChange, diff};
pub use error::KubeError;
pub use kinds::Kind;
pub use locality::looks_local;
pub use logs::{LogLine, LogOptions, PodSelector, logs};
pub use namespaces::{NamespaceState, namespace_goes};
pub use nodes::Node;
pub use object::{Condition, Object, ObjectRef};
pub use observe::{Observation, observe, observe_in};
pub use snapshot::Snapshot;
pub use view::{ClusterView, View, view};

/// The label that names who made an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The label that names the stack to which an object belongs.
pub const STACK_LABEL: &str = "stack.dev/stack";
