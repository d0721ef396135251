//! What a step depends on: manifests, digests, walking files, explaining a difference. Knows no tool.

pub mod context;
mod course;
mod explain;
pub mod files;
mod helmignore;
mod links;
mod manifest;
pub mod patterns;
mod recorded;

pub use explain::{CLUSTER, Change, changes};
pub use manifest::{Group, Input, Key, Manifest, Record, SecretDigest, Value};
pub use recorded::{RecordedInputs, RecordedManifest, TooMany};

/// The name of the folder in which `stack` keeps what it knows, beside a stack file. It changes with every run and is no
/// input of any step, wherever it is met.
pub const OWN_FOLDER: &str = ".stack";
