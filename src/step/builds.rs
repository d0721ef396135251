//! What images were built from, told to other machines: beside the record of a release stands what its images were made
//! of. It explains a difference on a machine that never built them, and decides nothing.

use std::time::Duration;

use indexmap::IndexMap;

use super::World;
use crate::graph::{StepId, StepKind};
use crate::key::{Group, Manifest, RecordedManifest};
use crate::tools::kube::records;

/// How long a cluster may take to say it. A reason is not worth more.
const PATIENCE: Duration = Duration::from_secs(2);

/// By the names of images, what each was last built from.
pub(super) type Builds = IndexMap<String, RecordedManifest>;

/// What the images were built from that a chart's manifest names, and the images that these are built on: as it is kept
/// beside the chart's record.
pub(super) fn of_images_in(world: &World, chart: &Manifest) -> Builds {
    let named = chart.inputs().filter(|input| input.group == Group::Image);
    let mut open: Vec<String> = named.map(|input| input.name.clone()).collect();
    let mut built = Builds::new();
    while let Some(image) = open.pop() {
        let manifest = world.last_manifest(&StepId::new(StepKind::Build, &*image));
        if built.contains_key(&image) {
            continue;
        }
        open.extend(world.bases(&image).iter().cloned());
        if let Some(manifest) = manifest {
            built.insert(image, manifest);
        }
    }
    built
}

/// What an image was last built from: on this machine, else by whoever deployed it last.
pub(super) async fn last(world: &World, image: &str) -> Option<RecordedManifest> {
    match world.last_manifest(&StepId::new(StepKind::Build, image)) {
        Some(here) => Some(here),
        None => world.deployed_builds().await.get(image).cloned(),
    }
}

/// What the cluster knows of it; nothing when it does not answer.
pub(super) async fn deployed(world: &World) -> Builds {
    if world.stack().cluster.is_none() {
        return Builds::new();
    }
    let ask = async {
        let cluster = if world.answered().await { world.cluster().await.ok()? } else { return None };
        records::list_beside::<Builds>(cluster, world.stack_name()).await.ok()
    };
    let told = tokio::time::timeout(PATIENCE, ask).await.ok().flatten().unwrap_or_default();
    told.into_iter().flatten().collect()
}
