//! Taking away what a step made. What this stack did not make stays.

use std::time::Duration;

use super::{Speaker, StepError, World, chart, of_helm, of_kube, prune};
use crate::config::LoadMode;
use crate::error::Class;
use crate::graph::{StepId, StepIndex, StepKind};
use crate::process::Cancel;
use crate::step::cluster;
use crate::tools::docker::{DockerError, Engine};
use crate::tools::helm::releases;
use crate::tools::kube::manifest;
use crate::tools::kube::records::{self, RecordId};
use crate::tools::node::Store;

/// How long the removal of a release, or of a namespace, may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// How much goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Removal {
    /// Images, on the nodes and in the local engine.
    pub images: bool,
    /// The cluster.
    pub cluster: bool,
    /// Everything of this stack, so also the namespaces that it made and releases that have left the file.
    pub everything: bool,
}

/// Takes away what a step made; says what went, or nothing when there was nothing.
///
/// # Errors
/// When something is there that can't be taken away.
pub async fn remove(
    world: &World,
    step: StepIndex,
    removal: Removal,
    speaker: &Speaker,
    cancel: &Cancel,
) -> Result<Option<String>, StepError> {
    let id = world.graph().id(step).clone();
    match id.kind() {
        StepKind::Cluster => remove_cluster(world, removal, speaker, cancel).await,
        StepKind::Build if removal.images => {
            let direct = world.stack().images.get(id.name()).is_some_and(|spec| spec.load == LoadMode::Direct);
            // Built in the node: what goes there goes with the load, or with the cluster.
            if direct { Ok(None) } else { images(world, id.name(), world.engine().await?).await }
        }
        StepKind::Load if removal.images && !removal.cluster => loaded(world, id.name()).await,
        StepKind::Chart if !removal.cluster => {
            let Some(spec) = world.stack().charts.get(id.name()) else { return Ok(None) };
            let record = chart::record_id(world, id.name(), &spec.namespace);
            release(world, &record, &spec.release, speaker, cancel).await
        }
        StepKind::Build | StepKind::Load | StepKind::Chart | StepKind::Ready | StepKind::Task => Ok(None),
    }
}

fn of_docker(error: DockerError) -> StepError {
    StepError::of(&error, error.class(), error.help())
}

/// What runs an image may be on its way out: a pod ends some time after its release is gone.
fn in_use(error: DockerError) -> StepError {
    const CONFLICT: u16 = 409;
    let conflict = matches!(error, DockerError::Refused { status: Some(CONFLICT), .. });
    let error = of_docker(error);
    StepError { class: if conflict { Class::Transient } else { error.class }, ..error }
}

/// Uninstalls a release, if this stack has installed it.
pub(super) async fn release(
    world: &World,
    record: &RecordId,
    name: &str,
    speaker: &Speaker,
    cancel: &Cancel,
) -> Result<Option<String>, StepError> {
    let cluster = world.cluster().await?;
    if records::read(cluster, record).await.map_err(of_kube)?.is_none() {
        return Ok(None);
    }
    let found = releases::latest(cluster, &record.namespace, name).await.map_err(of_helm)?;
    let owner = found.and_then(|release| release.stack);
    if owner.is_some_and(|owner| owner != world.stack_name()) {
        // Another stack has taken it over since.
        records::delete(cluster, record).await.map_err(of_kube)?;
        return Ok(None);
    }
    let session = chart::session(world, cluster, &record.namespace, speaker.redactor(), cancel).await?;
    speaker.started(1, &format!("uninstalling release {name} from namespace {}", record.namespace));
    session.uninstall(name, PATIENCE, |stream, line| speaker.output(stream, line)).await.map_err(of_helm)?;
    records::delete(cluster, record).await.map_err(of_kube)?;
    Ok(Some(format!("release {name} in namespace {}", record.namespace)))
}

/// What is left when the charts of the file are gone: releases that have left the file, and namespaces; then the cluster.
async fn remove_cluster(
    world: &World,
    removal: Removal,
    speaker: &Speaker,
    cancel: &Cancel,
) -> Result<Option<String>, StepError> {
    if removal.cluster {
        speaker.started(1, "deleting the cluster");
        return cluster::delete(world, speaker, cancel).await.map(Some);
    }
    if !removal.everything {
        return Ok(None);
    }
    let cluster = world.cluster().await?;
    let mut gone = Vec::new();
    for leftover in prune::all(world).await? {
        gone.extend(prune::remove_leftover(world, &leftover, speaker, cancel).await?);
    }
    for namespace in cluster.own_namespaces(world.stack_name()).await.map_err(of_kube)? {
        speaker.started(1, &format!("deleting namespace {namespace}"));
        if cluster.delete_namespace(&namespace, world.stack_name()).await.map_err(of_kube)? {
            cluster.wait_namespace_gone(&namespace, PATIENCE).await.map_err(of_kube)?;
            gone.push(format!("namespace {namespace}"));
        }
    }
    Ok((!gone.is_empty()).then(|| gone.join(", ")))
}

/// Takes an image's names away from the nodes. What they have pulled by themselves they also drop by themselves.
async fn loaded(world: &World, name: &str) -> Result<Option<String>, StepError> {
    let spec = world.stack().images.get(name);
    let Some(spec) = spec.filter(|spec| spec.load != LoadMode::Registry) else { return Ok(None) };
    let repository = &spec.repository.value;
    let mut count = 0;
    for node in &world.nodes().await?.stores {
        let store = node.store.as_ref().map_err(Clone::clone)?;
        for image in store.tags(repository).await.map_err(of_docker)? {
            store.untag_ended(&image.name).await.map_err(in_use)?;
            count += 1;
        }
    }
    Ok(went(repository, count))
}

/// Takes all names of an image of the stack away from the engine that builds, and with them the image itself.
async fn images(world: &World, name: &str, engine: &Engine) -> Result<Option<String>, StepError> {
    let store = Store::Docker(engine.clone(), None);
    let repositories = world.repositories(name).await;
    let mut count = 0;
    for repository in &repositories {
        for image in store.tags(repository).await.map_err(of_docker)? {
            store.untag(&image.name).await.map_err(in_use)?;
            count += 1;
        }
    }
    Ok(went(&repositories.join(" and "), count))
}

fn went(repository: &str, count: usize) -> Option<String> {
    (count > 0).then(|| format!("{count} {} of {repository}", if count == 1 { "tag" } else { "tags" }))
}

/// What would go, for the question before it does: the steps' own words are told while they go.
pub async fn preview(world: &World, steps: &[StepId], removal: Removal) -> Vec<String> {
    let mut lines = Vec::new();
    let stack = world.stack();
    if removal.cluster {
        lines
            .extend(stack.cluster.as_ref().map(|cluster| format!("cluster {} with everything in it", cluster.context)));
    }
    for id in steps {
        match id.kind() {
            StepKind::Chart if !removal.cluster => {
                // What can't be looked at is said all the same.
                let line = stack.charts.get(id.name()).map(|chart| (chart.namespace.as_str(), chart.release.as_str()));
                if let Some((namespace, release)) = line {
                    let record = chart::record_id(world, id.name(), namespace);
                    lines.extend(release_line(world, &record, release).await);
                }
            }
            StepKind::Build if removal.images => {
                let image = stack.images.get(id.name());
                lines.extend(image.map(|image| format!("images {} on the host and the nodes", image.repository.value)));
            }
            StepKind::Cluster if removal.everything && !removal.cluster => lines.extend(rest_of_cluster(world).await),
            StepKind::Cluster
            | StepKind::Build
            | StepKind::Load
            | StepKind::Chart
            | StepKind::Ready
            | StepKind::Task => {}
        }
    }
    lines
}

/// A release with what is in it; nothing when this stack has none of this name.
async fn release_line(world: &World, record: &RecordId, release: &str) -> Option<String> {
    let shown = format!("release {release} in namespace {}", record.namespace);
    let Ok(cluster) = world.cluster().await else { return Some(shown) };
    match records::read(cluster, record).await {
        Ok(None) => return None,
        Ok(Some(_)) => {}
        Err(_) => return Some(shown),
    }
    let found = releases::latest(cluster, &record.namespace, release).await;
    let Ok(found) = found else { return Some(shown) };
    let objects = manifest::objects(&found?.manifest, &record.namespace).unwrap_or_default();
    let names = objects.iter().map(|object| object.reference().to_string()).collect::<Vec<_>>();
    Some(format!("{shown}: {}", names.join(", ")))
}

/// What this stack has in the cluster beside the releases of its file.
async fn rest_of_cluster(world: &World) -> Vec<String> {
    let Ok(cluster) = world.cluster().await else { return Vec::new() };
    let left = prune::all(world).await.unwrap_or_default();
    let left = left.iter().filter(|leftover| leftover.is_release());
    let left = left.map(|leftover| format!("{}, whose chart has left the file", leftover.shown()));
    let namespaces = cluster.own_namespaces(world.stack_name()).await.unwrap_or_default();
    left.chain(namespaces.iter().map(|name| format!("namespace {name} with everything in it"))).collect()
}
