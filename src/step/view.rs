//! What `status` asks of the things that steps make.

use std::collections::{BTreeMap, BTreeSet};

use super::{StepError, World, of_helm};
use crate::error::Class;
use crate::model::release::Release;
use crate::tools::docker::{DockerError, Engine, ImageFilter, ImageLine};
use crate::tools::helm::releases;
use crate::tools::kube::{Object, View, manifest, view};

/// A chart's release and what runs of it; nothing when it is not installed.
///
/// # Errors
/// When the cluster can't be asked, or its answer makes no sense.
pub async fn release_view(world: &World, chart: &str) -> Result<Option<(Release, View)>, StepError> {
    let spec = world.stack().charts.get(chart);
    let spec = spec.ok_or_else(|| StepError::new(Class::Internal, format!("there is no chart {chart}")))?;
    let cluster = world.cluster().await?;
    let release = releases::latest(cluster, &spec.namespace, &spec.release).await;
    let Some(release) = release.map_err(|error| StepError::of(&error, error.class(), error.help()))? else {
        return Ok(None);
    };
    let objects = manifest::objects(&release.manifest, &release.namespace)
        .map_err(|error| StepError::of(&error, error.class(), None))?;
    let rules = super::chart::rules(world, spec);
    let view = view(cluster, &objects, &rules, &spec.namespace).await;
    let view = view.map_err(|error| StepError::of(&error, error.class(), error.help()))?;
    Ok(Some((release, view)))
}

/// The objects of a chart's release; none when it is not installed.
///
/// # Errors
/// When the cluster can't be asked, or its answer makes no sense.
pub async fn release_objects(world: &World, chart: &str) -> Result<Vec<Object>, StepError> {
    let spec = world.stack().charts.get(chart);
    let spec = spec.ok_or_else(|| StepError::new(Class::Internal, format!("there is no chart {chart}")))?;
    let found = releases::latest(world.cluster().await?, &spec.namespace, &spec.release).await.map_err(of_helm)?;
    found.as_ref().map_or_else(|| Ok(Vec::new()), super::chart::objects)
}

/// For each image ID, the nodes that have it.
///
/// # Errors
/// When a node's image store can't be asked.
pub async fn images_on_nodes(world: &World) -> Result<BTreeMap<String, Vec<String>>, StepError> {
    let of = |error: DockerError| StepError::of(&error, error.class(), error.help());
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in &world.nodes().await?.stores {
        let store = node.store.as_ref().map_err(Clone::clone)?;
        for spec in world.stack().images.values() {
            let ids: BTreeSet<_> =
                store.tags(&spec.repository.value).await.map_err(of)?.into_iter().map(|image| image.id).collect();
            ids.into_iter().for_each(|id| found.entry(id).or_default().push(node.name.clone()));
        }
    }
    Ok(found)
}

/// The images of a repository.
///
/// # Errors
/// When the engine can't be asked.
pub async fn images_of(engine: &Engine, repository: &str) -> Result<Vec<ImageLine>, StepError> {
    let filter = ImageFilter { references: vec![repository.to_owned()], ..ImageFilter::default() };
    let images = engine.images(&filter).await;
    images.map_err(|error| StepError::of(&error, error.class(), error.help()))
}
