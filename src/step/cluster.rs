//! `cluster`: it exists, runs, and answers. Nothing is recorded: the API server itself is asked, and the cluster's own tool
//! where that does not answer at once.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::output::{Known, Output};
use super::{Finished, Inspection, Speaker, StepError, World, of_kube};
use crate::config::{Cluster as Spec, Driver};
use crate::error::Class;
use crate::event::Stream;
use crate::graph::StepId;
use crate::key::{Group, Manifest};
use crate::plan::{Effect, by_effect};
use crate::process::{Cancel, CancelLevel};
use crate::tools::driver::{ClusterDriver, ClusterState, DriverError, Kind, NewCluster};
use crate::tools::kube::{Cluster, CurrentContext};

/// How long a cluster may take to answer once its tool has started it: `docker start`, which is how kind's clusters are
/// started, does not wait, and a control plane takes its time.
const ANSWERS_WITHIN: Duration = Duration::from_secs(180);

/// How long the API server of a cluster may take that runs, after its context was written to the kubeconfig.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);

/// How long another process of the tool is waited for.
const BUSY_WITHIN: Duration = Duration::from_secs(600);

/// How long the nodes of a cluster that was started may take to join it.
const JOIN_WITHIN: Duration = Duration::from_secs(60);

/// How often it is asked meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// How long one question may take while a cluster is waited for.
const ASK_WITHIN: Duration = Duration::from_secs(5);

/// What `inspect` leaves to `execute`: the state that was found, where the tool had one.
#[derive(Debug)]
pub(super) struct Work {
    state: Option<ClusterState>,
}

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

/// What is waited for while the cluster is asked.
pub(super) fn awaited(world: &World) -> String {
    spec(world).map_or_else(|_| "the cluster".to_owned(), |spec| format!("the API server of {}", title(spec)))
}

/// The same while its tool is asked.
pub(super) fn awaited_state(world: &World) -> String {
    spec(world).map_or_else(|_| "the cluster's tool".to_owned(), |spec| format!("the state of {}", title(spec)))
}

/// The error of a cluster that can't answer, by its state. Whether `stack` may start it decides what helps.
pub(super) fn down(world: &World, state: &ClusterState) -> StepError {
    let Ok(spec) = spec(world) else { return StepError::new(Class::Internal, "there is no [cluster]") };
    let Ok(driver) = driver(spec) else { return StepError::new(Class::Environment, "the cluster does not answer") };
    let error = StepError::new(Class::Environment, state.sentence(&title(spec), driver.kind));
    match remedy(spec, &driver, state) {
        Some(help) => error.with_diagnosis(format!("try {help}")),
        None => error,
    }
}

/// The command that brings a cluster from this state to one in which it answers: ``stack apply cluster``, or the tool's own.
fn remedy(spec: &Spec, driver: &ClusterDriver, state: &ClusterState) -> Option<String> {
    let own = state.command(driver.kind, &driver.name).map(|command| format!("`{command}`"));
    match spec.start {
        true if own.is_some() => own.map(|own| format!("`stack apply cluster`, or {own}")),
        true => Some("`stack apply cluster`, which waits for it".to_owned()),
        false => own,
    }
}

/// The state of a cluster that does not answer, with what changes it, for `status`.
pub fn state_and_help(world: &World, state: &ClusterState) -> Option<(String, Option<String>)> {
    let spec = spec(world).ok()?;
    let driver = driver(spec).ok()?;
    Some((state.word(), remedy(spec, &driver, state)))
}

/// What a cluster that answers still lacks, by the tool's own files and the nodes that Kubernetes has.
pub async fn shortfall(world: &World) -> Option<ClusterState> {
    let spec = spec(world).ok()?;
    let driver = driver(spec).ok()?;
    let nodes = world.node_list().await.ok()?;
    let nodes: Vec<_> = nodes.iter().map(|node| (node.name.as_str(), node.ready)).collect();
    driver.shortfall(&nodes, &Cancel::never()).await
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
    let may_start = spec.start && spec.driver.value != Driver::Context;
    let mut state = None;
    let (effect, output) = match answer {
        Ok((version, output)) => {
            if may_start {
                state = shortfall(world).await;
            }
            let effect = match &state {
                Some(state) => Effect::wrong(what_apply_does(spec, state)),
                None => Effect::Intact(format!("{} answers ({version}){}", title(spec), unready(world).await)),
            };
            (effect, Known::Yes(output))
        }
        Err(error) if spec.driver.value == Driver::Context => return Err(error),
        Err(error) => {
            state = world.cluster_state().await;
            if !may_start {
                return Err(state.map_or(error, |state| down(world, &state)));
            }
            let sentence = match &state {
                // minikube's files and containers are all well: so it is the kubeconfig that does not know the cluster.
                Some(ClusterState::Running) if world.connect_cluster().await.is_err() => {
                    format!("{} runs, but the kubeconfig has no context for it: apply adds it", title(spec))
                }
                Some(state) => what_apply_does(spec, state),
                None => format!("{} does not answer: apply starts it", title(spec)),
            };
            (Effect::wrong(sentence), Known::After(StepId::cluster()))
        }
    };
    let decision = by_effect(&manifest, None, &effect);
    Ok(Inspection { decision, manifest, output, work: super::Work::Cluster(Work { state }) })
}

/// The nodes that take no pods, with what Kubernetes says of them: charts that wait for them would wait in vain.
async fn unready(world: &World) -> String {
    let Ok(nodes) = world.node_list().await else { return String::new() };
    let unready = nodes.iter().filter(|node| !node.ready);
    unready.map(|node| format!("; node {} is not ready: {}", node.name, node.message)).collect()
}

fn what_apply_does(spec: &Spec, state: &ClusterState) -> String {
    let kind = driver(spec).map_or(Kind::Minikube, |driver| driver.kind);
    format!("{}: {}", state.sentence(&title(spec), kind), state.remedy())
}

async fn describe(world: &World, cluster: &Cluster) -> Result<(String, Output), StepError> {
    let version = async { cluster.server_version().await.map_err(of_kube) };
    let (uid, version, nodes) = tokio::try_join!(world.uid(), version, world.node_list())?;
    let ip = nodes.first().and_then(|node| node.internal_ip.clone());
    Ok((version, Output::Cluster { uid: uid.to_owned(), ip }))
}

pub(super) async fn execute(
    world: &World,
    work: Work,
    speaker: &Speaker,
    cancel: &Cancel,
) -> Result<Finished, StepError> {
    let spec = spec(world)?;
    let driver = driver(spec)?;
    let starter = Starter { world, spec, driver: &driver, speaker, cancel };
    world.forget_cluster().await;
    // A tool that starts a cluster makes it the current one for every other program, too.
    let current = CurrentContext::read(starter.kubeconfig().as_deref());
    let started = starter.start(work.state).await;
    match current.restore() {
        Ok(true) => tracing::debug!("the current context of the kubeconfig was restored"),
        Ok(false) => {}
        Err(error) => speaker.warn(&format!("the kubeconfig's current context could not be restored: {error}")),
    }
    let cluster = started?;
    starter.joined(cluster).await?;
    world.forget_cluster().await;
    let (version, output) = describe(world, cluster).await?;
    Ok(Finished { output, note: Some(format!("{} answers ({version})", title(spec))) })
}

/// Brings a cluster from the state in which it is to one in which it answers.
struct Starter<'w> {
    world: &'w World,
    spec: &'w Spec,
    driver: &'w ClusterDriver,
    speaker: &'w Speaker,
    cancel: &'w Cancel,
}

impl<'w> Starter<'w> {
    /// Does the least that this state needs, and waits for the answer.
    async fn start(&self, mut state: Option<ClusterState>) -> Result<&'w Arc<Cluster>, StepError> {
        if let Some(ClusterState::Busy(_)) = state {
            state = match self.idle().await? {
                Some(state) => Some(state),
                None => return self.answered(ANSWERS_WITHIN).await,
            };
        }
        let mut lines = |stream: Stream, line: &str| self.speaker.output(stream, line);
        match &state {
            Some(ClusterState::Paused) => self.driver.unpause(self.cancel, &mut lines).await.map_err(of_driver)?,
            Some(ClusterState::NodesDown(nodes)) => {
                let started = self.driver.start_nodes(nodes, &self.new_cluster(), self.cancel, &mut lines).await;
                started.map_err(of_driver)?;
            }
            Some(ClusterState::Running) => {
                self.driver.write_context(self.cancel, &mut lines).await.map_err(of_driver)?;
                match self.answered(KNOWN_WITHIN).await {
                    Err(error) if error.class == Class::Environment && !self.cancel.is_raised() => {
                        self.driver.start(&self.new_cluster(), self.cancel, &mut lines).await.map_err(of_driver)?;
                    }
                    answered => return answered,
                }
            }
            Some(
                ClusterState::Absent
                | ClusterState::Stopped
                | ClusterState::Busy(_)
                | ClusterState::Unfinished
                | ClusterState::NodesMissing(_)
                | ClusterState::NoApiServer,
            )
            | None => self.driver.start(&self.new_cluster(), self.cancel, &mut lines).await.map_err(of_driver)?,
        }
        if self.world.connect_cluster().await.is_err() {
            self.driver.write_context(self.cancel, &mut lines).await.map_err(of_driver)?;
        }
        self.answered(ANSWERS_WITHIN).await
    }

    /// Waits until no other process of the tool is at work; the state that it left, or nothing when the cluster answers and
    /// lacks nothing.
    async fn idle(&self) -> Result<Option<ClusterState>, StepError> {
        let begun = Instant::now();
        let mut named = None;
        while let Some(activity) = self.driver.activity() {
            let program = self.driver.kind.program();
            let what = format!("waiting for another `{program} {}` of {}", activity.command(), title(self.spec));
            if begun.elapsed() > BUSY_WITHIN {
                return Err(StepError::new(Class::Environment, format!("{what} took too long")));
            }
            if named != Some(activity) {
                self.speaker.waiting(&what);
                named = Some(activity);
            }
            self.pause().await?;
        }
        self.world.forget_cluster().await;
        if self.world.cluster().await.is_ok() {
            return Ok(shortfall(self.world).await);
        }
        Ok(Some(self.world.cluster_state().await.unwrap_or(ClusterState::Stopped)))
    }

    /// Waits until Kubernetes knows as many nodes as the file asks for: a tool may end before the kubelet of the last node
    /// has said that it is there. Nodes that never come fail nothing here; they are named where they matter.
    async fn joined(&self, cluster: &Cluster) -> Result<(), StepError> {
        let begun = Instant::now();
        let mut is_named = false;
        loop {
            let count = cluster.nodes().await.map_or(0, |nodes| nodes.len());
            if count >= self.spec.nodes as usize || begun.elapsed() > JOIN_WITHIN {
                return Ok(());
            }
            if !std::mem::replace(&mut is_named, true) {
                self.speaker.waiting(&format!("waiting for {} nodes of {}", self.spec.nodes, title(self.spec)));
            }
            self.pause().await?;
        }
    }

    /// The cluster, as soon as it answers.
    async fn answered(&self, within: Duration) -> Result<&'w Arc<Cluster>, StepError> {
        let begun = Instant::now();
        let mut is_named = false;
        loop {
            let asked = match timeout(ASK_WITHIN, self.world.ask_cluster()).await {
                Ok(asked) => asked,
                Err(_) => Err(StepError::new(Class::Environment, format!("{} does not answer", awaited(self.world)))),
            };
            match asked {
                Ok(cluster) => return Ok(cluster),
                Err(error) if matches!(error.class, Class::Input | Class::Internal) => return Err(error),
                Err(error) if begun.elapsed() > within => return Err(error),
                Err(error) => tracing::debug!(%error, "the cluster was started and does not answer yet"),
            }
            if !std::mem::replace(&mut is_named, true) {
                self.speaker.waiting(&format!("waiting for {}", awaited(self.world)));
            }
            self.pause().await?;
        }
    }

    async fn pause(&self) -> Result<(), StepError> {
        tokio::select! {
            () = sleep(ASK_EVERY) => Ok(()),
            _ = self.cancel.raised(CancelLevel::Terminate) => Err(super::stopped()),
        }
    }

    fn new_cluster(&self) -> NewCluster {
        let spec = self.spec;
        NewCluster {
            node_driver: spec.node_driver.clone(),
            nodes: spec.nodes,
            container_runtime: spec.container_runtime.clone(),
            cpus: spec.cpus,
            memory: spec.memory,
            disk: spec.disk,
            kubernetes_version: spec.kubernetes_version.clone(),
            addons: spec.addons.clone(),
            args: spec.start_args.clone(),
        }
    }

    /// The value of `$KUBECONFIG` that the tool gets.
    fn kubeconfig(&self) -> Option<OsString> {
        match &self.spec.kubeconfig {
            Some(path) => Some(path.absolute.clone().into_os_string()),
            None => self.world.environment().get_os("KUBECONFIG").cloned(),
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
