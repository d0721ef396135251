//! What there is of a stack now: cluster, images, releases and what runs of them. Looks only.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::config::Driver;
use crate::model::chart::Chart;
use crate::model::release::ReleaseStatus;
use crate::step::{self, StepError, World};
use crate::tools::docker::split_tag;
use crate::tools::kube::{ClusterView, View};

/// A stack as it is now. Its JSON form is a contract.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The stack's name.
    pub stack: String,
    /// The cluster, unless the stack has none.
    pub cluster: Option<ClusterStatus>,
    /// The images, in the order of the file.
    pub images: Vec<ImageStatus>,
    /// The releases, in the order of the file.
    pub releases: Vec<ReleaseStatusView>,
}

/// The cluster.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Its name for the tool that runs it.
    pub name: String,
    /// What runs it.
    pub driver: &'static str,
    /// `Running`, or why it can't be asked.
    pub status: String,
    /// What it says of itself.
    #[serde(flatten)]
    pub view: Option<ClusterView>,
}

/// An image of the stack.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageStatus {
    /// Its name in the stack file.
    pub name: String,
    /// Its name without a tag.
    pub repository: String,
    /// The images that it is built on.
    pub base_images: Vec<String>,
    /// Its newest build in the engine, if there is one.
    #[serde(flatten)]
    pub newest: Option<BuiltImage>,
    /// The nodes that have it.
    pub nodes: Vec<String>,
}

/// An image in the engine.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuiltImage {
    /// The image ID.
    pub id: String,
    /// Its tag.
    pub version: String,
    /// Bytes.
    pub size: u64,
    /// When it was made.
    pub created_at: Option<Timestamp>,
}

/// A release.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatusView {
    /// The chart's name in the stack file.
    pub name: String,
    /// The name of the release.
    pub release: String,
    /// Its namespace.
    pub namespace: String,
    /// `deployed`, `not installed`, …
    pub status: String,
    /// Its revision.
    pub revision: Option<u64>,
    /// When that was made.
    pub updated: Option<Timestamp>,
    /// The chart that it was made from.
    pub chart: Option<Chart>,
    /// What runs of it.
    #[serde(flatten)]
    pub view: View,
}

/// Looks at everything that the stack speaks of. What can't be asked is said in its place.
///
/// # Errors
/// When what answers makes no sense.
pub async fn status(world: &Arc<World>) -> Result<Status, StepError> {
    let stack = world.stack();
    let mut cluster = None;
    let mut connected = false;
    if let Some(spec) = &stack.cluster {
        let view = match world.cluster().await {
            Ok(cluster) => cluster.view().await.map_err(|error| StepError::of(&error, error.class(), error.help())),
            Err(error) => Err(error),
        };
        connected = view.is_ok();
        let driver = match spec.driver.value {
            Driver::Minikube => "minikube",
            Driver::Kind => "kind",
            Driver::K3d => "k3d",
            Driver::Context => "context",
        };
        let (status, view) = match view {
            Ok(view) => ("Running".to_owned(), Some(view)),
            Err(error) => (error.reason, None),
        };
        cluster = Some(ClusterStatus { name: spec.name.clone(), driver, status, view });
    }
    let images = images(world, connected).await?;
    let mut releases = Vec::new();
    for (name, spec) in &stack.charts {
        let found = if connected { step::release_view(world, name).await? } else { None };
        let unknown = if connected { "not installed" } else { "unknown" };
        let mut status = ReleaseStatusView {
            name: name.to_string(),
            release: spec.release.clone(),
            namespace: spec.namespace.clone(),
            status: unknown.to_owned(),
            revision: None,
            updated: None,
            chart: None,
            view: View::default(),
        };
        if let Some((release, view)) = found {
            status.status = match release.status {
                ReleaseStatus::Deployed => "deployed".to_owned(),
                other => other.to_string(),
            };
            status.revision = Some(release.revision);
            status.updated = release.updated;
            status.chart = Some(release.chart);
            status.view = view;
        }
        releases.push(status);
    }
    Ok(Status { stack: world.stack_name().to_owned(), cluster, images, releases })
}

async fn images(world: &Arc<World>, connected: bool) -> Result<Vec<ImageStatus>, StepError> {
    let mut on_nodes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    if connected && !world.stack().images.is_empty() {
        on_nodes = step::images_on_nodes(world).await.unwrap_or_default();
    }
    let engine = world.engine().await.ok();
    let mut images = Vec::new();
    for (name, spec) in &world.stack().images {
        let repository = spec.repository.value.clone();
        let newest = match engine {
            Some(engine) => step::newest_image(engine, &repository).await?,
            None => None,
        };
        let newest = newest.map(|image| {
            let deployed = image.tags.iter().find(|tag| !split_tag(tag).1.starts_with("k-"));
            BuiltImage {
                version: deployed.map(|tag| split_tag(tag).1.to_owned()).unwrap_or_default(),
                id: image.id,
                size: image.size,
                created_at: image.created,
            }
        });
        let nodes = newest.as_ref().and_then(|image| on_nodes.get(&image.id)).cloned().unwrap_or_default();
        images.push(ImageStatus {
            name: name.to_string(),
            repository,
            base_images: world.bases(name).to_vec(),
            newest,
            nodes,
        });
    }
    Ok(images)
}
