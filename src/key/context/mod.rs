//! The files that an image is built from: which of them the build can see, and what is in them.
//!
//! [`ContextReader::read`] applies the ignore file, narrows the context to what the Dockerfile can reach where that is
//! certain, and digests what is left. The same list of files is then sent to the engine, so that what was digested is
//! what is built; read again afterwards, it shows whether something changed in between.

mod cache;
mod dockerfile;
mod error;
mod ignore;
mod names;
mod narrow;
mod read;
mod walk;

pub use cache::{Digest, DigestCache};
pub use dockerfile::{DockerfileOptions, DockerfileReading, Unpinned, pin_bases, read_dockerfile};
pub use error::ContextError;
pub use ignore::{BadPattern, Ignore, Matched};
pub use narrow::Narrow;
pub use read::{Context, ContextReader, ContextSpec, InputFile, Scope};
pub use walk::{FileStat, Walked};
