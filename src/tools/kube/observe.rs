//! Everything about a release's objects that decides whether an apply has something to do, read in one go.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::cluster::Cluster;
use super::drift::{Drift, Live, Settled};
use super::error::KubeError;
use super::object::Object;
use super::ready::{Assessment, Progress, Rules, World, assess, is_workload, observe_ready, takes_time};
use super::slices;
use super::snapshot::Snapshot;

/// What there is of a release's objects.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// What is not as it was applied.
    pub drift: Vec<Drift>,
    /// How far each object that takes time has come.
    pub assessments: Vec<Assessment>,
}

impl Observation {
    /// Whether there is nothing to do: all objects are as applied, and ready.
    pub fn is_settled(&self) -> bool {
        self.drift.is_empty() && self.unready().next().is_none()
    }

    /// What is not ready.
    pub fn unready(&self) -> impl Iterator<Item = &Assessment> {
        self.assessments.iter().filter(|assessment| assessment.progress != Progress::Ready)
    }

    /// How many of the objects run pods.
    pub fn workloads(&self) -> usize {
        self.assessments.iter().filter(|assessment| is_workload(&assessment.object)).count()
    }
}

/// Compares the objects of a manifest with the live ones, and says whether those are ready. The manifest is what the
/// release's record says, and `settled` what the cluster made of it; `namespace` is the release's. When all is well this is a handful of requests at the same time.
pub async fn observe(
    cluster: &Cluster,
    manifest: &[Object],
    settled: &Settled,
    rules: &Rules,
    namespace: &str,
) -> Result<Observation, KubeError> {
    observe_in(&Snapshot::new(cluster.clone(), HashSet::new()), manifest, settled, rules, namespace).await
}

/// The same by what a snapshot holds; what is not ready there is looked at anew.
pub async fn observe_in(
    snapshot: &Snapshot,
    manifest: &[Object],
    settled: &Settled,
    rules: &Rules,
    namespace: &str,
) -> Result<Observation, KubeError> {
    let (live, endpoints) = tokio::join!(Live::read(snapshot, manifest, namespace), endpoints(snapshot, manifest));
    let live = live?;
    let drift = live.drift(manifest, settled);
    // Counters alone say whether workloads are ready; pods and events only matter when they are not.
    let mut world = World::new(live.objects().map(Arc::clone).chain(endpoints?));
    world.expect(manifest);
    let now = Timestamp::now();
    let (references, there): (Vec<_>, Vec<_>) = live.not_expired(manifest).unzip();
    let subjects = references.into_iter().filter(|reference| takes_time(reference));
    let assessments = subjects.map(|reference| assess(reference, &world, rules, now)).collect::<Vec<_>>();
    let settled = assessments.iter().all(|assessment| assessment.progress == Progress::Ready);
    let assessments = match settled {
        true => assessments,
        false => {
            let there = there.into_iter().cloned().collect::<Vec<_>>();
            observe_ready(snapshot.cluster(), &there, rules, namespace).await?
        }
    };
    Ok(Observation { drift, assessments })
}

/// The endpoint slices of the manifest's services.
async fn endpoints(snapshot: &Snapshot, manifest: &[Object]) -> Result<Vec<Arc<Object>>, KubeError> {
    let mut services: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for object in manifest.iter().filter(|object| object.kind() == "Service" && object.at("/spec/selector").is_some()) {
        services.entry(object.namespace()).or_default().push(object.name());
    }
    if services.is_empty() {
        return Ok(Vec::new());
    }
    let kind = &slices::kind();
    let reads = services.iter().map(|(namespace, names)| async move {
        // Where many releases share a namespace, all of them share one list.
        let labels = (!snapshot.is_crowded(namespace)).then(|| slices::selector(names));
        snapshot.list(kind, Some(namespace), labels.as_deref(), None).await
    });
    let lists = futures::future::try_join_all(reads).await?;
    Ok(lists.iter().flat_map(|list| list.values()).map(Arc::clone).collect())
}
