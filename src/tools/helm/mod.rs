//! The user's own `helm`, version 3 or 4, and the release records that it keeps in the cluster.

mod binary;
mod error;
mod recover;
pub mod releases;
mod run;
pub mod values;

pub use binary::Helm;
pub use error::HelmError;
pub use recover::{Recovered, recover};
pub use run::{ChartSource, Session, Upgrade};
