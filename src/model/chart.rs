//! Charts.

use serde::{Deserialize, Serialize};

/// A chart, by what its `Chart.yaml` says of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Chart {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it is for.
    pub description: String,
    /// The version of the chart format: `v1` or `v2`.
    pub api_version: String,
    /// The version of what it installs.
    pub app_version: String,
    /// Who keeps it.
    pub maintainers: Vec<Maintainer>,
    /// The charts within it.
    #[serde(rename = "dependencies")]
    pub sub_charts: Vec<SubChart>,
}

/// Somebody who keeps a chart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Maintainer {
    /// Their name.
    pub name: String,
    /// Their address.
    pub email: String,
}

/// A chart within a chart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubChart {
    /// Its name.
    pub name: String,
    /// Its version, or the range that it must be in.
    pub version: String,
    /// Where it comes from; empty for one that lies in `charts/`.
    pub repository: String,
}
