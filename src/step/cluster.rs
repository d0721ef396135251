//! `cluster`: it exists, runs, and answers. Nothing is recorded: the API server itself is asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::output::{Known, Output};
use super::{Finished, Inspection, Speaker, StepError, World, of_kube};
use crate::config::{Cluster as Spec, Driver};
use crate::error::Class;
use crate::event::Stream;
use crate::graph::StepId;
use crate::key::{Group, Manifest};
use crate::plan::{Effect, by_effect};
use crate::process::{Cancel, CancelLevel};
use crate::tools::driver::{ClusterDriver, DriverError, Kind, NewCluster};
use crate::tools::kube::Cluster;

/// How long a cluster may take to answer once its tool has started it: `docker start`, which is how kind's clusters are
/// started, does not wait, and a control plane takes its time.
const ANSWERS_WITHIN: Duration = Duration::from_secs(180);

/// How often it is asked meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// What `inspect` leaves to `execute`.
#[derive(Debug)]
pub(super) struct Work;

fn spec(world: &World) -> Result<&Spec, StepError> {
    world.stack().cluster.as_ref().ok_or_else(|| StepError::new(Class::Internal, "there is no [cluster]"))
}

/// The tool that runs the cluster. A context alone has none.
pub(super) fn driver(spec: &Spec) -> Result<ClusterDriver, StepError> {
    let kind = match spec.driver.value {
        Driver::Minikube => Kind::Minikube,
        Driver::Kind => Kind::Kind,
        Driver::K3d => Kind::K3d,
        Driver::Context => {
            let reason = format!("context {} is only used, never started or deleted", spec.context);
            return Err(StepError::new(Class::Input, reason));
        }
    };
    let kubeconfig = spec.kubeconfig.as_ref().map(|path| path.absolute.clone());
    Ok(ClusterDriver { kind, name: spec.name.clone(), kubeconfig })
}

/// `minikube profile todo`: how the cluster is called towards people.
fn title(spec: &Spec) -> String {
    match spec.driver.value {
        Driver::Minikube => format!("minikube profile {}", spec.name),
        Driver::Kind => format!("kind cluster {}", spec.name),
        Driver::K3d => format!("k3d cluster {}", spec.name),
        Driver::Context => format!("context {}", spec.context),
    }
}

pub(super) async fn inspect(world: &World) -> Result<Inspection, StepError> {
    let spec = spec(world)?;
    let mut manifest = Manifest::new("cluster");
    manifest.text(Group::Target, "driver", spec.driver.value.as_str());
    manifest.text(Group::Target, "context", &spec.context);
    let answer = match world.cluster().await {
        Ok(cluster) => describe(world, cluster).await,
        Err(error) => Err(error),
    };
    let (effect, output) = match answer {
        Ok((version, output)) => (Effect::Intact(format!("{} answers ({version})", title(spec))), Known::Yes(output)),
        Err(error) if !spec.start || spec.driver.value == Driver::Context => return Err(error),
        Err(_) => (Effect::wrong(format!("{} is not running", title(spec))), Known::After(StepId::cluster())),
    };
    let decision = by_effect(&manifest, None, &effect);
    Ok(Inspection { decision, manifest, output, work: super::Work::Cluster(Work) })
}

async fn describe(world: &World, cluster: &Cluster) -> Result<(String, Output), StepError> {
    let version = async { cluster.server_version().await.map_err(of_kube) };
    let (uid, version, nodes) = tokio::try_join!(world.uid(), version, world.node_list())?;
    let ip = nodes.first().and_then(|node| node.internal_ip.clone());
    Ok((version, Output::Cluster { uid: uid.to_owned(), ip }))
}

pub(super) async fn execute(
    world: &World,
    _work: Work,
    speaker: &Speaker,
    cancel: &Cancel,
) -> Result<Finished, StepError> {
    let spec = spec(world)?;
    let driver = driver(spec)?;
    let new = NewCluster {
        node_driver: spec.node_driver.clone(),
        nodes: spec.nodes,
        container_runtime: spec.container_runtime.clone(),
        cpus: spec.cpus,
        memory: spec.memory,
        disk: spec.disk,
        kubernetes_version: spec.kubernetes_version.clone(),
        addons: spec.addons.clone(),
        args: spec.start_args.clone(),
    };
    let start = driver.start(&new, cancel, &mut |stream: Stream, line: &str| speaker.output(stream, line)).await;
    start.map_err(of_driver)?;
    let cluster = started(world, &driver, speaker, cancel).await?;
    let (version, output) = describe(world, cluster).await?;
    Ok(Finished { output, note: Some(format!("{} answers ({version})", title(spec))) })
}

/// The cluster, as soon as it answers. A kubeconfig that has no context for it gets one.
async fn started<'w>(
    world: &'w World,
    driver: &ClusterDriver,
    speaker: &Speaker,
    cancel: &Cancel,
) -> Result<&'w Arc<Cluster>, StepError> {
    let begun = Instant::now();
    if world.connect_cluster().await.is_err() {
        let written = driver.write_context(cancel, &mut |stream, line| speaker.output(stream, line)).await;
        written.map_err(of_driver)?;
        world.connect_cluster().await?;
    }
    loop {
        match world.cluster().await {
            Ok(cluster) => return Ok(cluster),
            Err(error) if matches!(error.class, Class::Input | Class::Internal) => return Err(error),
            Err(error) if begun.elapsed() > ANSWERS_WITHIN => return Err(error),
            Err(error) => tracing::debug!(%error, "the cluster was started and does not answer yet"),
        }
        tokio::select! {
            () = sleep(ASK_EVERY) => {}
            _ = cancel.raised(CancelLevel::Terminate) => return Err(super::stopped()),
        }
    }
}

fn of_driver(error: DriverError) -> StepError {
    StepError::of(&error, error.class(), error.help())
}

/// Deletes the cluster; says what went.
pub(super) async fn delete(world: &World, speaker: &Speaker, cancel: &Cancel) -> Result<String, StepError> {
    let spec = spec(world)?;
    let driver = driver(spec)?;
    let delete = driver.delete(cancel, &mut |stream: Stream, line: &str| speaker.output(stream, line)).await;
    delete.map_err(of_driver)?;
    Ok(title(spec))
}
