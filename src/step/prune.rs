//! What this stack installed and whose charts have left the file. What it did not make is never among it.

use super::output::Known;
use super::{Speaker, StepError, World, of_kube, remove};
use crate::error::Class;
use crate::graph::{StepId, StepKind};
use crate::process::Cancel;
use crate::tools::kube::records::{self, Record, RecordId};

/// A release whose chart has left the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    pub(super) record: RecordId,
    pub(super) release: String,
    /// Another chart of the file has the release now: only the record is left over.
    pub(super) taken: bool,
    /// It was said that it stays.
    kept: bool,
}

impl Leftover {
    fn new(world: &World, record: Record) -> Self {
        let text = |key: &str| record.content.get(key).and_then(serde_json::Value::as_str).map(str::to_owned);
        let release = text("release").unwrap_or_else(|| record.id.name.clone());
        let namespace = &record.id.namespace;
        let taken =
            world.stack().charts.values().any(|chart| chart.release == release && chart.namespace == *namespace);
        let flag = record.content.get("prune").and_then(serde_json::Value::as_bool);
        let kept = flag == Some(false) || !world.stack().prune;
        Self { record: record.id, release, taken, kept }
    }

    /// The step that made it.
    pub fn step(&self) -> StepId {
        StepId::new(StepKind::Chart, self.record.name.as_str())
    }

    /// The release and its namespace.
    pub fn shown(&self) -> String {
        format!("release {} in namespace {}", self.release, self.record.namespace)
    }

    /// Why it goes.
    pub fn reason(&self) -> String {
        format!("its chart has left the stack file: {} is removed", self.shown())
    }

    /// Whether there is a release to remove, and not only a record of one.
    pub fn is_release(&self) -> bool {
        !self.taken
    }
}

/// All that is left over, also what is said to stay.
pub(super) async fn all(world: &World) -> Result<Vec<Leftover>, StepError> {
    let cluster = world.cluster().await?;
    let records = records::list(cluster, None, world.stack_name()).await.map_err(of_kube)?;
    let in_file = |id: &RecordId| {
        let chart = world.stack().charts.get(id.name.as_str());
        chart.is_some_and(|chart| chart.namespace == id.namespace)
    };
    let left = records.into_iter().filter(|record| record.id.kind == StepKind::Chart.as_str() && !in_file(&record.id));
    Ok(left.map(|record| Leftover::new(world, record)).collect())
}

/// What is left over and goes with the next apply. Nothing while there is no cluster.
///
/// # Errors
/// When the cluster can't be asked.
pub async fn leftovers(world: &World) -> Result<Vec<Leftover>, StepError> {
    if world.stack().cluster.is_none() || !matches!(world.cluster_uid(), Known::Yes(_)) {
        return Ok(Vec::new());
    }
    to_remove(world).await
}

/// The same, before anybody knows whether there is a cluster.
///
/// # Errors
/// When there is none, or it can't be asked.
pub async fn leftovers_early(world: &World) -> Result<Vec<Leftover>, StepError> {
    if !world.answered().await {
        return Err(StepError::new(Class::Environment, "the cluster does not answer"));
    }
    to_remove(world).await
}

async fn to_remove(world: &World) -> Result<Vec<Leftover>, StepError> {
    Ok(all(world).await?.into_iter().filter(|leftover| !leftover.kept).collect())
}

/// Removes what is left over; says what went.
///
/// # Errors
/// When it is there and can't be removed.
pub async fn remove_leftover(
    world: &World,
    leftover: &Leftover,
    speaker: &Speaker,
    cancel: &Cancel,
) -> Result<Option<String>, StepError> {
    if leftover.taken {
        records::delete(world.cluster().await?, &leftover.record).await.map_err(of_kube)?;
        return Ok(None);
    }
    remove::release(world, &leftover.record, &leftover.release, speaker, cancel).await
}
