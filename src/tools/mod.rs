//! Typed clients of the tools we drive. They know nothing of steps, graphs and keys.

pub mod changes;
pub mod docker;
pub mod driver;
pub mod helm;
pub mod kube;
pub mod node;
pub mod redact;
