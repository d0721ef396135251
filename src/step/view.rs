//! What `status` asks of the things that steps make.

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

/// The names of the nodes that have an image of this engine, under this name.
///
/// # Errors
/// When a node's image store, or the engine, can't be asked.
pub async fn nodes_with(world: &World, engine: &Engine, reference: &str) -> Result<Vec<String>, StepError> {
    let of = |error: DockerError| StepError::of(&error, error.class(), error.help());
    let wanted = engine.wanted(reference).await.map_err(of)?;
    let asked = world.nodes().await?.stores.iter().map(async |node| {
        let store = node.store.as_ref().map_err(Clone::clone)?;
        let Some(held) = store.held(&wanted).await.map_err(of)? else { return Ok(None) };
        Ok(wanted.is(&held).await.map_err(of)?.then(|| node.name.clone()))
    });
    let found = futures::future::try_join_all(asked).await?;
    Ok(found.into_iter().flatten().collect())
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
