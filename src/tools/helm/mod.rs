//! The user's own `helm`, version 3 or 4, and the release records that it keeps in the cluster.

mod binary;
mod dependencies;
mod error;
mod post_render;
mod recover;
pub mod releases;
mod run;
mod templates;
pub mod values;

pub use binary::Helm;
pub use dependencies::{LocalDependency, lacks_dependencies, local_dependencies, needs_dependencies};
pub use error::HelmError;
pub use post_render::PostRenderer;
pub use recover::{Recovered, recover};
pub use releases::owns;
pub use run::{ChartSource, Session, Upgrade};
pub use templates::asks_the_cluster;
