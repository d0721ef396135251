//! Whoever the steps talk to: the engine, the cluster and its nodes, the registry, Helm. Each is connected when it is first
//! needed, and then shared.

use std::collections::HashMap;
use std::ffi::OsString;
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

use super::super::nodes::Nodes;
use super::super::registry::Hosting;
use super::super::{StepError, cluster, of_kube};
use super::{CROWD, SNAPSHOT_LIFE, World};
use crate::config::LoadMode;
use crate::error::Class;
use crate::process::Cancel;
use crate::tools::docker::{Engine, has_host};
use crate::tools::driver::ClusterState;
use crate::tools::helm::Helm;
use crate::tools::kube::{Cluster, Node, Snapshot};

/// An API server that has not answered by then may be one that can't: its tool is asked as well.
const TOOL_AFTER: Duration = Duration::from_millis(250);

/// How long the first answer of an API server is waited for after that. Connecting alone takes at most five seconds.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

impl World {
    /// The Docker engine that builds.
    pub async fn engine(&self) -> Result<&Engine, StepError> {
        let connect = || async {
            let _awaited = self.await_for("the Docker Engine");
            Engine::local(|name| self.environment.get(name)).await
        };
        self.engine.get_or_try_init(connect).await.map_err(|error| StepError::of(&error, error.class(), error.help()))
    }

    /// The engine that builds an image which is loaded so.
    pub(in crate::step) async fn builder(&self, load: LoadMode) -> Result<&Engine, StepError> {
        match load {
            LoadMode::Direct => self.nodes().await?.direct(),
            LoadMode::Auto | LoadMode::Layers | LoadMode::Archive | LoadMode::Registry | LoadMode::None => {
                self.engine().await
            }
        }
    }

    /// The cluster, which has to answer. The first request is bounded: once it takes long, the cluster's own tool is asked
    /// beside it, and the first answer decides.
    pub async fn cluster(&self) -> Result<&Arc<Cluster>, StepError> {
        let connect = || async {
            if let Some(refusal) = self.refusal() {
                return Err(refusal);
            }
            let _awaited = self.await_for(cluster::awaited(self));
            let cluster = self.connect_cluster().await?;
            self.first_request(&cluster).await?;
            Ok(cluster)
        };
        self.cluster.get_or_try_init(connect).await
    }

    /// The cluster, asked once and without its tool: for one that was just started.
    pub(in crate::step) async fn ask_cluster(&self) -> Result<&Arc<Cluster>, StepError> {
        let connect = || async {
            let cluster = self.connect_cluster().await?;
            self.uid.get_or_try_init(|| cluster.identity()).await.map_err(of_kube)?;
            Ok(cluster)
        };
        self.cluster.get_or_try_init(connect).await
    }

    /// The first request to a cluster.
    async fn first_request(&self, cluster: &Cluster) -> Result<(), StepError> {
        let mut answer = pin!(self.uid.get_or_try_init(|| cluster.identity()));
        if let Ok(answer) = timeout(TOOL_AFTER, &mut answer).await {
            return answer.map(drop).map_err(of_kube);
        }
        let bounded = async {
            match timeout(FIRST_ANSWER, answer).await {
                Ok(answer) => answer.map(drop).map_err(of_kube),
                Err(_) => Err(of_kube(cluster.silent(TOOL_AFTER + FIRST_ANSWER))),
            }
        };
        let by_tool = async {
            match self.cluster_state().await {
                // These may come from a busy machine: the API server may still answer.
                Some(ClusterState::Running | ClusterState::NoApiServer) | None => std::future::pending().await,
                Some(state) => cluster::down(self, &state),
            }
        };
        tokio::select! {
            biased;
            answer = bounded => answer,
            error = by_tool => {
                *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Why the cluster need not be asked again: its tool has said that it can't answer.
    fn refusal(&self) -> Option<StepError> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The state of the cluster by its own tool, asked once until `forget_cluster`. Nothing for a
    /// cluster that is only known by its context, and where the tool does not answer.
    pub async fn cluster_state(&self) -> Option<ClusterState> {
        let driver = cluster::driver(self.stack.cluster.as_ref()?).ok()?;
        let mut known = self.cluster_state.lock().await;
        if let Some(known) = known.as_ref() {
            return known.clone();
        }
        let _awaited = self.await_for(cluster::awaited_state(self));
        let state = driver.state(&Cancel::never()).await;
        *known = Some(state.clone());
        state
    }

    /// Forgets what was seen of a cluster that is about to be changed.
    pub(in crate::step) async fn forget_cluster(&self) {
        *self.cluster_state.lock().await = None;
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.node_list.lock().await = None;
    }

    /// Whether the cluster answered when it was first tried, and its start was finished. For those who come before their
    /// turn: a cluster that is not there is not tried again by each of them, and nothing is remembered of the nodes of one
    /// that is going to be started.
    pub(in crate::step) async fn answered(&self) -> bool {
        let ask = || async { self.cluster().await.is_ok() && cluster::shortfall(self).await.is_none() };
        *self.first_answer.get_or_init(ask).await
    }

    /// The uid of the cluster, which has to answer; asked once in a run.
    pub(in crate::step) async fn uid(&self) -> Result<&str, StepError> {
        let cluster = self.cluster().await?;
        self.uid.get_or_try_init(|| cluster.identity()).await.map(String::as_str).map_err(of_kube)
    }

    /// The cluster's nodes; asked once in a run, and again after the cluster was started.
    pub(in crate::step) async fn node_list(&self) -> Result<Arc<Vec<Node>>, StepError> {
        let cluster = self.cluster().await?;
        let mut known = self.node_list.lock().await;
        if let Some(known) = known.as_ref() {
            return Ok(Arc::clone(known));
        }
        let nodes = Arc::new(cluster.nodes().await.map_err(of_kube)?);
        *known = Some(Arc::clone(&nodes));
        Ok(nodes)
    }

    /// The cluster as it was read a moment ago, shared by all that look at the same time. Nothing that this run has done
    /// is newer than it.
    pub(in crate::step) async fn snapshot(&self) -> Result<Arc<Snapshot>, StepError> {
        let cluster = self.cluster().await?;
        let mut known = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((begun, snapshot)) = known.as_ref()
            && begun.elapsed() < SNAPSHOT_LIFE
        {
            return Ok(Arc::clone(snapshot));
        }
        let mut counts: HashMap<&str, usize> = HashMap::new();
        self.stack.charts.values().for_each(|chart| *counts.entry(&chart.namespace).or_default() += 1);
        let crowded = counts.into_iter().filter(|(_, count)| *count >= CROWD).map(|(name, _)| name.to_owned());
        let snapshot = Arc::new(Snapshot::new(Cluster::clone(cluster), crowded.collect()));
        *known = Some((Instant::now(), Arc::clone(&snapshot)));
        Ok(snapshot)
    }

    /// Reads the kubeconfig anew and prepares a connection; nothing is sent.
    pub(in crate::step) async fn connect_cluster(&self) -> Result<Arc<Cluster>, StepError> {
        let spec =
            self.stack.cluster.as_ref().ok_or_else(|| {
                StepError::new(Class::Input, "the stack file has no [cluster], and this step needs one")
            })?;
        let kubeconfig: Option<OsString> = match &spec.kubeconfig {
            Some(path) => Some(path.absolute.clone().into_os_string()),
            None => self.environment.get_os("KUBECONFIG").cloned(),
        };
        match Cluster::connect(Some(&spec.context), kubeconfig.as_deref()).await {
            Ok(cluster) => Ok(Arc::new(cluster)),
            Err(error) => Err(StepError::of(&error, error.class(), error.help())),
        }
    }

    /// The nodes' image stores.
    pub(in crate::step) async fn nodes(&self) -> Result<&Nodes, StepError> {
        self.nodes.get_or_try_init(|| Nodes::find(self)).await
    }

    /// The registry that images go to which are loaded by one.
    pub(in crate::step) async fn registry(&self) -> Result<&Hosting, StepError> {
        self.registry.get_or_try_init(|| Hosting::find(self)).await
    }

    /// An image's repository as pods have to name it; not known while the cluster has not said which registry it has.
    pub(super) fn deployed_repository(&self, image: &str) -> Option<String> {
        let spec = self.stack.images.get(image)?;
        let repository = &spec.repository.value;
        if spec.load != LoadMode::Registry || has_host(repository) {
            return Some(repository.clone());
        }
        let hosting = self.registry.get().cloned().or_else(|| Hosting::written(self))?;
        Some(hosting.pulled(repository))
    }

    /// The repositories under which an image has names on this machine.
    pub(in crate::step) async fn repositories(&self, image: &str) -> Vec<String> {
        let Some(spec) = self.stack.images.get(image) else { return Vec::new() };
        let mut names = vec![spec.repository.value.clone()];
        if spec.load == LoadMode::Registry && !has_host(&names[0]) {
            // Without a registry there is nothing that was named after it.
            names.extend(self.registry().await.ok().map(|hosting| hosting.pushed(&names[0])));
        }
        names
    }

    /// Whether images are brought to nodes by this stack, and not by the nodes themselves.
    pub(in crate::step) fn loads_onto_nodes(&self) -> bool {
        self.stack.cluster.is_some()
            && self.stack.images.values().any(|image| !matches!(image.load, LoadMode::Registry | LoadMode::None))
    }

    /// The user's `helm`. Its version is asked once and then kept until the program changes.
    pub async fn helm(&self) -> Result<&Helm, StepError> {
        let find = || async {
            let path = Helm::locate(self.environment.get_os("PATH").map(OsString::as_os_str))?;
            let name = format!("helm {}", path.display());
            let known = self.state().tools.get(&name).and_then(|json| serde_json::from_value(json.clone()).ok());
            if let Some(helm) = known.filter(Helm::is_still) {
                return Ok(helm);
            }
            let _awaited = self.await_for("`helm version`");
            let helm = Helm::ask(&path, &Cancel::never()).await?;
            if let Ok(json) = serde_json::to_value(&helm) {
                self.learn(|state| state.tools.insert(name, json));
            }
            Ok(helm)
        };
        let found = self.helm.get_or_try_init(find).await;
        found.map_err(|error: crate::tools::helm::HelmError| StepError::of(&error, error.class(), error.help()))
    }

    /// The digest that the registry of a base image has for it; asked once in a run. When the registry does not answer,
    /// what was last seen of it: being offline is no change.
    pub(in crate::step) async fn resolve_base(&self, engine: &Engine, reference: &str) -> Option<String> {
        let mut asked = self.bases.lock().await;
        if let Some(known) = asked.get(reference) {
            return known.clone();
        }
        let digest = match engine.resolve(reference).await {
            Ok(digest) => {
                self.remember_base(reference, &digest);
                Some(digest)
            }
            Err(error) => {
                tracing::debug!(%error, "a base image could not be resolved");
                self.remembered_base(reference)
            }
        };
        asked.insert(reference.to_owned(), digest.clone());
        digest
    }

    /// Keeps what stands for a base image now, for a time when neither engine nor registry has it to tell: a base that is
    /// removed from the engine while its registry can't be asked is no change.
    pub(in crate::step) fn remember_base(&self, reference: &str, digest: &str) {
        if self.remembered_base(reference).as_deref() != Some(digest) {
            self.learn(|state| state.tools.insert(slot_of_base(reference), Json::from(digest)));
        }
    }

    fn remembered_base(&self, reference: &str) -> Option<String> {
        self.state().tools.get(&slot_of_base(reference)).and_then(Json::as_str).map(str::to_owned)
    }

    /// A place to render a chart in, as soon as there is one.
    pub(in crate::step) async fn render_place(&self) -> Option<SemaphorePermit<'_>> {
        self.renders.acquire().await.ok()
    }
}

/// Where the state keeps what was last seen of a base image.
fn slot_of_base(reference: &str) -> String {
    format!("base {reference}")
}
