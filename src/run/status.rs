//! What there is of a stack now: cluster, images, releases and what runs of them. Looks only.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::config::Driver;
use crate::model::chart::Chart;
use crate::model::release::ReleaseStatus;
use crate::step::{self, StepError, World};
use crate::tools::docker::{Engine, ImageLine, split_tag};
use crate::tools::driver::ClusterState;
use crate::tools::kube::{ClusterView, View};
use crate::tools::redact::Redactor;

/// A stack as it is now. Its JSON form is a contract.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The stack's name.
    pub stack: String,
    /// The cluster, unless the stack has none.
    pub cluster: Option<ClusterStatus>,
    /// Why the engine that builds the images can't be asked, if it can't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// The engine that builds the images, when the stack has images and it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builder: Option<BuilderStatus>,
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
    /// `Running`, `Stopped`, `Paused`, …, or why it can't be asked.
    pub status: String,
    /// What makes it answer, when it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// What it says of itself.
    #[serde(flatten)]
    pub view: Option<ClusterView>,
}

/// The engine that builds, and the ways in which it is used.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuilderStatus {
    /// Its version.
    pub version: String,
    /// The newest version of its API.
    pub api_version: String,
    /// How it keeps images: `containerd` or `classic`.
    pub image_store: &'static str,
    /// How BuildKit is reached: `grpc` on the engine's socket, or `upgrade` of a request to `/grpc` and `/session`.
    pub buildkit: &'static str,
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
    /// The build that runs, or else the newest one, where the engine has any.
    #[serde(flatten)]
    pub build: Option<BuiltImage>,
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
    /// Whether a pod of the stack runs it.
    pub running: bool,
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

impl Status {
    /// Hides secrets in everything that the cluster says in words of its own, or quotes from pods.
    fn redact(&mut self, redactor: &Redactor) {
        let hide = |text: &mut String| *text = redactor.brief(text);
        self.cluster.iter_mut().for_each(|cluster| hide(&mut cluster.status));
        for release in &mut self.releases {
            let View { deployments, workloads, services: _, pods, diagnosis } = &mut release.view;
            deployments.iter_mut().for_each(|one| hide(&mut one.detail));
            workloads.iter_mut().flat_map(|one| [&mut one.state, &mut one.detail]).for_each(hide);
            pods.iter_mut().filter_map(|pod| pod.trouble.as_mut()).for_each(hide);
            diagnosis.iter_mut().for_each(|diagnosis| diagnosis.rewrite(|text| redactor.brief(text)));
        }
    }

    /// Whether all of it could be asked.
    pub fn is_whole(&self) -> bool {
        self.engine.is_none() && self.cluster.as_ref().is_none_or(|cluster| cluster.view.is_some())
    }
}

/// Looks at everything that the stack speaks of. What can't be asked is said in its place.
///
/// # Errors
/// When what answers makes no sense.
pub async fn status(world: &Arc<World>) -> Result<Status, StepError> {
    let redactor = world.redactor();
    let mut status = look(world).await.map_err(|error| error.redacted(redactor))?;
    status.redact(redactor);
    Ok(status)
}

async fn look(world: &Arc<World>) -> Result<Status, StepError> {
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
        let (status, help, view) = match view {
            Ok(view) => {
                let shortfall = step::shortfall(world).await;
                match shortfall.and_then(|state| step::state_and_help(world, &state)) {
                    Some((word, help)) => (word, help, Some(view)),
                    None => ("Running".to_owned(), None, Some(view)),
                }
            }
            Err(error) => {
                // The tool knows better why it does not answer: a stopped profile has no context, which says nothing.
                let state = world.cluster_state().await.filter(|state| *state != ClusterState::Running);
                match state.and_then(|state| step::state_and_help(world, &state)) {
                    Some((word, help)) => (word, help, None),
                    None => (error.reason, None, None),
                }
            }
        };
        cluster = Some(ClusterStatus { name: spec.name.clone(), driver, status, help, view });
    }
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
    let running = releases.iter().flat_map(|release| &release.view.pods).flat_map(|pod| &pod.images);
    let engine = if stack.images.is_empty() { None } else { Some(world.engine().await) };
    let (engine, unasked) = match engine {
        Some(Ok(engine)) => (Some(engine), None),
        Some(Err(error)) => (None, Some(error.reason)),
        None => (None, None),
    };
    let builder = match engine {
        Some(engine) => engine.about().await.ok().map(|about| (about, engine.buildkit_way())),
        None => None,
    };
    let builder = match builder {
        Some((about, way)) => Some(BuilderStatus {
            version: about.version.clone(),
            api_version: about.api_version.clone(),
            image_store: if about.containerd_store { "containerd" } else { "classic" },
            buildkit: way.await.as_str(),
        }),
        None => None,
    };
    let images = images(world, engine, connected, &running.map(String::as_str).collect()).await?;
    Ok(Status { stack: world.stack_name().to_owned(), cluster, engine: unasked, builder, images, releases })
}

async fn images(
    world: &Arc<World>,
    engine: Option<&Engine>,
    connected: bool,
    running: &BTreeSet<&str>,
) -> Result<Vec<ImageStatus>, StepError> {
    let mut images = Vec::new();
    for (name, spec) in &world.stack().images {
        let repository = spec.repository.value.clone();
        let builds = match engine {
            Some(engine) => step::images_of(engine, &repository).await?,
            None => Vec::new(),
        };
        let runs = |image: &ImageLine| image.tags.iter().any(|tag| running.contains(tag.as_str()));
        let shown = builds.into_iter().max_by_key(|image| (runs(image), image.created));
        let build = shown.map(|image| {
            let version = image.tags.iter().map(|tag| split_tag(tag).1).find(|tag| !tag.starts_with("k-"));
            BuiltImage {
                version: version.unwrap_or_default().to_owned(),
                running: runs(&image),
                id: image.id,
                size: image.size,
                created_at: image.created,
            }
        });
        let nodes = match (engine, &build) {
            (Some(engine), Some(image)) if connected => {
                let reference = format!("{repository}:{}", image.version);
                step::nodes_with(world, engine, &reference).await.unwrap_or_default()
            }
            _ => Vec::new(),
        };
        images.push(ImageStatus {
            name: name.to_string(),
            repository,
            base_images: world.bases(name).to_vec(),
            build,
            nodes,
        });
    }
    Ok(images)
}
