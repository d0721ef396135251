//! The image store of a node, whatever its runtime is, and the ways to it.
//!
//! Docker is spoken to through its API, on the node's own address or through a command on the node; containerd and CRI-O
//! through the commands `ctr` and `podman` on the node. Knows nothing of clusters and steps: who the nodes are, and how
//! commands are run on them, is said by the rooms above.

mod containerd;
mod machine;
mod podman;
mod shell;
mod store;
mod tunnel;

pub use containerd::Containerd;
pub use machine::Machine;
pub use podman::Podman;
pub use shell::NodeShell;
pub use store::{Store, StoredImage};
pub use tunnel::Tunnel;
