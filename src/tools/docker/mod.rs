//! The Docker Engine: images, builds through BuildKit, and moving images.
//!
//! Knows nothing of steps and keys. Requests and answers go through bollard; a build opens its two connections to BuildKit
//! itself, see `docs/decisions/build-session.md`.

mod archive;
mod build;
mod buildkit;
mod content;
mod credentials;
mod dial;
mod endpoint;
mod engine;
mod error;
mod exec;
mod filesync;
mod follow;
mod gateway;
mod image_manifest;
mod in_flight;
mod layers;
mod load;
mod progress;
mod receiver;
mod registry;
mod session;

pub use build::{Build, BuildSecret, Built};
pub use buildkit::BuildkitWay;
pub use endpoint::Endpoint;
pub use engine::{About, Engine, ImageFilter, ImageInfo, ImageLine, familiar, has_host, split_tag};
pub use error::{BuildFailure, DockerError, LoadFailure, LoadFault};
pub use exec::{ExecError, ExecStreams, RunningContainer};
pub use load::{Held, LoadProgress, LoadWay, Loaded, Wanted};
pub use progress::BuildEvent;
pub use registry::Patience;

/// What the stores of other runtimes need to be loaded into as an engine is.
pub(in crate::tools) mod target {
    pub(in crate::tools) use super::archive::{Archive, Blob, Parts};
    pub(in crate::tools) use super::error::fault_of;
    pub(in crate::tools) use super::image_manifest::{ImageManifest, or_empty};
    pub(in crate::tools) use super::in_flight::InFlight;
    pub(in crate::tools) use super::layers::{WholeInstead, shared};
    pub(in crate::tools) use super::load::{Held, Known, Target, Wanted};
}
