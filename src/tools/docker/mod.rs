//! The Docker Engine: images, builds through BuildKit, and moving images.
//!
//! Knows nothing of steps and keys. Requests and answers go through bollard; a build opens the engine's two raw
//! connections itself, see `docs/decisions/build-session.md`.

mod archive;
mod build;
mod credentials;
mod dial;
mod endpoint;
mod engine;
mod error;
mod filesync;
mod follow;
mod gateway;
mod layers;
mod load;
mod progress;
mod receiver;
mod registry;
mod session;

pub use build::{Build, BuildSecret, Built};
pub use endpoint::Endpoint;
pub use engine::{About, Engine, ImageFilter, ImageInfo, ImageLine, familiar, has_host, split_tag};
pub use error::{BuildFailure, DockerError, LoadFailure, LoadFault};
pub use load::{Held, LoadProgress, LoadWay, Loaded, Wanted};
pub use progress::BuildEvent;
pub use registry::Patience;

/// What the stores of other runtimes need to be loaded into as an engine is.
pub(in crate::tools) mod target {
    pub(in crate::tools) use super::archive::{Archive, Blob};
    pub(in crate::tools) use super::error::{fault_of, said};
    pub(in crate::tools) use super::layers::{Cut, WholeInstead, shared};
    pub(in crate::tools) use super::load::{Held, Known, Target, Wanted};
}
