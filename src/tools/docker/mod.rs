//! The Docker Engine: images, builds through BuildKit, and moving images.
//!
//! Knows nothing of steps and keys. Requests and answers go through bollard; a build opens the engine's two raw
//! connections itself, see `docs/decisions/build-session.md`.

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
mod session;

pub use build::{Build, BuildSecret, Built};
pub use endpoint::Endpoint;
pub use engine::{About, Engine, ImageFilter, ImageInfo, ImageLine, split_tag};
pub use error::{BuildFailure, DockerError, LoadFailure, LoadFault};
pub use load::{LoadProgress, LoadWay, Loaded};
pub use progress::BuildEvent;
