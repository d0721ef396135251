//! Releases: charts that were installed.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::chart::Chart;
use super::machine::Machine;

/// The state of a release, in Helm's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseStatus {
    /// Its objects are in the cluster.
    Deployed,
    /// Its last operation failed.
    Failed,
    /// A later revision took its place.
    Superseded,
    /// Its first install was begun and not finished.
    PendingInstall,
    /// An upgrade was begun and not finished.
    PendingUpgrade,
    /// A rollback was begun and not finished.
    PendingRollback,
    /// Its removal was begun and not finished.
    Uninstalling,
    /// It was removed, and its history kept.
    Uninstalled,
    /// Helm says something that we do not know.
    Unknown,
}

impl ReleaseStatus {
    /// From Helm's word.
    pub fn parse(word: &str) -> Self {
        match word {
            "deployed" => Self::Deployed,
            "failed" => Self::Failed,
            "superseded" => Self::Superseded,
            "pending-install" => Self::PendingInstall,
            "pending-upgrade" => Self::PendingUpgrade,
            "pending-rollback" => Self::PendingRollback,
            "uninstalling" => Self::Uninstalling,
            "uninstalled" => Self::Uninstalled,
            _ => Self::Unknown,
        }
    }

    /// Helm's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Deployed => "deployed",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
            Self::PendingInstall => "pending-install",
            Self::PendingUpgrade => "pending-upgrade",
            Self::PendingRollback => "pending-rollback",
            Self::Uninstalling => "uninstalling",
            Self::Uninstalled => "uninstalled",
            Self::Unknown => "unknown",
        }
    }

    /// Whether an operation was begun and not finished, so that Helm refuses the next one.
    pub fn is_pending(self) -> bool {
        matches!(self, Self::PendingInstall | Self::PendingUpgrade | Self::PendingRollback)
    }
}

impl fmt::Display for ReleaseStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Machine for ReleaseStatus {
    const EDGES: &'static [(Self, Self)] = {
        use ReleaseStatus::{
            Deployed, Failed, PendingInstall, PendingRollback, PendingUpgrade, Superseded, Uninstalled, Uninstalling,
        };
        &[
            (PendingInstall, Deployed),
            (PendingInstall, Failed),
            (Deployed, PendingUpgrade),
            (Failed, PendingUpgrade),
            (PendingUpgrade, Deployed),
            (PendingUpgrade, Failed),
            (Deployed, PendingRollback),
            (Failed, PendingRollback),
            (PendingRollback, Deployed),
            (PendingRollback, Failed),
            (Deployed, Superseded),
            (Deployed, Uninstalling),
            (Failed, Uninstalling),
            (PendingInstall, Uninstalling),
            (Uninstalling, Uninstalled),
            (Uninstalled, PendingUpgrade),
        ]
    };
}

/// A revision of a release, as Helm recorded it. Values and manifest may hold secrets: neither is shown by `Debug`.
#[derive(Clone, PartialEq)]
pub struct Release {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The revision, counted from 1.
    pub revision: u64,
    /// Of what holds this revision in the cluster. No other revision ever has it, not even one of the same number after
    /// the release was removed and installed again.
    pub uid: String,
    /// Its state.
    pub status: ReleaseStatus,
    /// When its first revision was installed.
    pub first_deployed: Option<Timestamp>,
    /// When this revision was.
    pub updated: Option<Timestamp>,
    /// What Helm says of the operation: `Upgrade complete`, or why it failed.
    pub description: String,
    /// The chart.
    pub chart: Chart,
    /// The values given by the user, without the chart's defaults.
    pub values: Value,
    /// All objects except hooks, as YAML.
    pub manifest: String,
    /// What the chart tells its user.
    pub notes: String,
    /// The stack that made this revision, when one did.
    pub stack: Option<String>,
    /// The manifests of its hooks whose last run has failed.
    pub failed_hooks: Vec<String>,
}

impl fmt::Debug for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Release")
            .field("name", &self.name)
            .field("namespace", &self.namespace)
            .field("revision", &self.revision)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back() {
        use ReleaseStatus::{Deployed, Failed, PendingInstall, PendingRollback, PendingUpgrade, Superseded, Unknown};
        for status in [Deployed, Failed, Superseded, PendingInstall, PendingUpgrade, PendingRollback, Unknown] {
            assert_eq!(ReleaseStatus::parse(status.word()), status);
        }
        assert!(PendingRollback.is_pending() && !Failed.is_pending());
    }
}
