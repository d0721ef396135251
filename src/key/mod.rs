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
