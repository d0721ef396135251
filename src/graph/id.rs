//! The name of a step: its kind and the name of the thing it works on, `build:backend`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// The kinds of steps. A new kind does not compile until every room has dealt with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StepKind {
    /// The cluster exists, runs, and answers.
    Cluster,
    /// An image exists in the daemon that builds it.
    Build,
    /// An image is on every node.
    Load,
    /// A release is installed, and its workloads are ready.
    Chart,
    /// A check of its own passes.
    Ready,
    /// A command of the user's ran.
    Task,
}

impl StepKind {
    /// All kinds, in the order in which they are listed to people.
    pub const ALL: [Self; 6] = [Self::Cluster, Self::Build, Self::Load, Self::Chart, Self::Ready, Self::Task];

    /// The kind as it stands in ids and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Build => "build",
            Self::Load => "load",
            Self::Chart => "chart",
            Self::Ready => "ready",
            Self::Task => "task",
        }
    }
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The id of a step: `cluster`, or kind and name with a colon. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId {
    kind: StepKind,
    name: Arc<str>,
}

impl StepId {
    /// The id of a step of `kind` for the thing called `name`. The one cluster has no name.
    pub fn new(kind: StepKind, name: impl Into<Arc<str>>) -> Self {
        Self { kind, name: name.into() }
    }

    /// The cluster's step.
    pub fn cluster() -> Self {
        Self::new(StepKind::Cluster, "")
    }

    /// The kind.
    pub fn kind(&self) -> StepKind {
        self.kind
    }

    /// The name of the thing, as in the stack file; empty for the cluster.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            StepKind::Cluster => f.pad(self.kind.as_str()),
            kind if f.width().is_none() && f.precision().is_none() => {
                f.write_str(kind.as_str())?;
                f.write_str(":")?;
                f.write_str(&self.name)
            }
            kind => f.pad(&format!("{kind}:{}", self.name)),
        }
    }
}

impl Serialize for StepId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The text is not the id of a step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no step id: expected `cluster` or KIND:NAME with one of the kinds build, load, chart, ready, task")]
pub struct ParseStepIdError(pub String);

impl FromStr for StepId {
    type Err = ParseStepIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == StepKind::Cluster.as_str() {
            return Ok(Self::cluster());
        }
        let unknown = || ParseStepIdError(text.to_owned());
        let (kind, name) = text.split_once(':').ok_or_else(unknown)?;
        let kind = StepKind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or_else(unknown)?;
        if kind == StepKind::Cluster || name.is_empty() {
            return Err(unknown());
        }
        Ok(Self::new(kind, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_being_written_and_read() {
        for text in ["cluster", "build:backend", "chart:todo", "task:a-b"] {
            assert_eq!(text.parse::<StepId>().unwrap().to_string(), text);
        }
        for text in ["", "backend", "image:backend", "build:", "cluster:x"] {
            assert!(text.parse::<StepId>().is_err(), "{text}");
        }
    }
}
