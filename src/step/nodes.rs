//! The image stores of the cluster's nodes, and how each is reached.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{StepError, World};
use crate::config::{Cluster as Spec, Driver};
use crate::error::Class;
use crate::process::Cancel;
use crate::tools::docker::{DockerError, Endpoint, Engine};
use crate::tools::driver::NodeDocker;
use crate::tools::kube::Node;
use crate::tools::node::{Containerd, NodeShell, Podman, Store, Tunnel};

/// How long a node's engine may take to answer for the first time.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The image stores of all nodes.
#[derive(Debug)]
pub(super) struct Nodes {
    /// One for each node, by name.
    pub(super) stores: Vec<NodeStore>,
}

/// The image store of one node.
#[derive(Debug)]
pub(super) struct NodeStore {
    /// The node's name.
    pub(super) name: String,
    /// The platform of its images, such as `linux/amd64`.
    pub(super) platform: String,
    /// Its images, or why they can't be reached: one node that is down must not keep the others from theirs.
    pub(super) store: Result<Store, StepError>,
}

/// What is kept in `.stack/` so that the next run need not ask the cluster's tool.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    /// The cluster that it was asked of.
    uid: String,
    /// For each node whose Docker Engine has an address here, that address.
    docker: BTreeMap<String, NodeDocker>,
}

/// What a node's images are kept by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runtime {
    Docker,
    Containerd,
    CriO,
}

impl Runtime {
    /// By what the node says of itself: `containerd://1.7.2`.
    fn of(node: &Node) -> Result<Self, StepError> {
        match node.runtime.split("://").next() {
            Some("docker") => Ok(Self::Docker),
            Some("containerd") => Ok(Self::Containerd),
            Some("cri-o") => Ok(Self::CriO),
            _ => Err(StepError::new(Class::Input, format!("its container runtime {} is not known", node.runtime))),
        }
    }
}

impl Nodes {
    /// Finds the image stores: as remembered if that still answers, else by asking the cluster's tool.
    pub(super) async fn find(world: &World) -> Result<Self, StepError> {
        let spec = world
            .stack()
            .cluster
            .as_ref()
            .ok_or_else(|| StepError::new(Class::Internal, "an image is loaded without a cluster"))?;
        let (nodes, uid) = tokio::try_join!(world.node_list(), world.uid())?;
        let slot = slot(spec);
        let known = remembered(world, &slot).filter(|known| known.uid == uid).unwrap_or_default();
        let seeker = Seeker { world, spec, known, alone: nodes.len() == 1 };
        let found = futures::future::join_all(nodes.iter().map(|node| seeker.reach(node))).await;

        let mut docker = BTreeMap::new();
        let mut stores = Vec::new();
        for (node, found) in nodes.iter().zip(found) {
            let store = found.map(|(store, address)| {
                docker.extend(address.map(|address| (node.name.clone(), address)));
                store
            });
            let store = store.map_err(|error| StepError {
                reason: format!("the images of node {} can't be reached: {}", node.name, error.reason),
                ..error
            });
            stores.push(NodeStore { name: node.name.clone(), platform: format!("linux/{}", node.architecture), store });
        }
        let now = Remembered { uid: uid.to_owned(), docker };
        if now != seeker.known
            && let Ok(json) = serde_json::to_value(&now)
        {
            world.learn(|state| state.tools.insert(slot, json));
        }
        Ok(Self { stores })
    }

    /// The engine of the only node, to build in.
    pub(super) fn direct(&self) -> Result<&Engine, StepError> {
        let refused = |why: String| {
            Err(StepError::new(
                Class::Input,
                format!("`load = \"direct\"` builds in the node's own Docker Engine, but {why}"),
            )
            .with_diagnosis("try `load = \"layers\"`, which sends only what a node lacks"))
        };
        let [node] = &self.stores[..] else { return refused(format!("the cluster has {} nodes", self.stores.len())) };
        match &node.store {
            Ok(Store::Docker(engine, _)) => Ok(engine),
            Ok(Store::Containerd(_) | Store::Podman(_)) => refused(format!("node {} has none", node.name)),
            Err(error) => Err(error.clone()),
        }
    }
}

/// Where it is kept in the state.
fn slot(spec: &Spec) -> String {
    format!("node docker of {}", spec.context)
}

fn remembered(world: &World, slot: &str) -> Option<Remembered> {
    let json = world.state().tools.get(slot).cloned()?;
    serde_json::from_value(json).ok()
}

/// Begins to connect to the engines that the nodes had, while the cluster is asked whether it still is the same.
pub(super) fn connect_remembered(world: &World) -> Vec<(NodeDocker, JoinHandle<Option<Engine>>)> {
    let known = world.stack().cluster.as_ref().and_then(|spec| remembered(world, &slot(spec)));
    let addresses: HashSet<NodeDocker> = known.into_iter().flat_map(|known| known.docker.into_values()).collect();
    let connecting = |address: NodeDocker| {
        let to = address.clone();
        (address, tokio::spawn(async move { connect(&to).await.ok() }))
    };
    addresses.into_iter().map(connecting).collect()
}

struct Seeker<'w> {
    world: &'w World,
    spec: &'w Spec,
    known: Remembered,
    /// Whether the cluster has one node.
    alone: bool,
}

impl Seeker<'_> {
    /// Finds a node's store, and the address of its engine where it has one.
    async fn reach(&self, node: &Node) -> Result<(Store, Option<NodeDocker>), StepError> {
        let runtime = Runtime::of(node)?;
        let shell = match self.spec.driver.value {
            Driver::Minikube => NodeShell::minikube(&self.spec.name, &node.name),
            Driver::Kind | Driver::K3d => NodeShell::container(&node.name),
            Driver::Context => return self.own_engine(node).await.map(|store| (store, None)),
        };
        match runtime {
            Runtime::Docker => self.docker(node, shell).await,
            Runtime::Containerd => Ok((Store::Containerd(Containerd::new(shell)), None)),
            Runtime::CriO => Ok((Store::Podman(Podman::new(shell)), None)),
        }
    }

    /// Of an existing cluster nothing is known but that its node may run in this machine's engine, as Docker Desktop's does.
    async fn own_engine(&self, node: &Node) -> Result<Store, StepError> {
        let engine = self.world.engine().await?;
        if engine.about().await.map_err(of_docker)?.name == node.name {
            return Ok(Store::Docker(engine.clone(), None));
        }
        Err(StepError::new(Class::Input, "there is no way to the nodes of a cluster that is only known by its context")
            .with_diagnosis(
                "try `load = \"registry\"` with a registry that the nodes pull from, or `load = \"none\"` with images that they can pull",
            ))
    }

    /// On its address if it can be reached there, which is fast; else through a command on the node.
    async fn docker(&self, node: &Node, shell: NodeShell) -> Result<(Store, Option<NodeDocker>), StepError> {
        if let Some(address) = self.known.docker.get(&node.name) {
            let engine = match self.world.early().engine(address).await {
                Some(engine) => Some(engine),
                None => connect(address).await.ok(),
            };
            if let Some(engine) = engine {
                return Ok((Store::Docker(engine, None), Some(address.clone())));
            }
        }
        let address = if self.alone { self.told().await } else { self.guessed(node) };
        if let Some(address) = address
            && let Ok(engine) = connect(&address).await
        {
            return Ok((Store::Docker(engine, None), Some(address)));
        }
        let tunnel = Tunnel::open(shell).map_err(of_docker)?;
        match within(Engine::connect(tunnel.endpoint())).await {
            Ok(engine) => Ok((Store::Docker(engine, Some(tunnel)), None)),
            Err(error) => {
                tracing::debug!(node = node.name, %error, "no way to the node's engine");
                let reason = "its Docker Engine answers neither on an address nor through a command on the node";
                Err(StepError::new(Class::Environment, reason)
                    .with_diagnosis(format!("try `minikube status --profile {}`", self.spec.name)))
            }
        }
    }

    /// What minikube says, which it does for a cluster of one node.
    async fn told(&self) -> Option<NodeDocker> {
        let driver = super::cluster::driver(self.spec).ok()?;
        let told = driver.node_docker(&Cancel::never()).await;
        told.inspect_err(|error| tracing::debug!(%error, "no address of the node's engine")).ok()
    }

    /// Where the engine of one of several nodes listens: all have the certificates of minikube's own authority.
    fn guessed(&self, node: &Node) -> Option<NodeDocker> {
        let home = match self.world.environment().get("MINIKUBE_HOME").filter(|home| !home.is_empty()) {
            Some(home) => PathBuf::from(home),
            None => PathBuf::from(self.world.environment().get("HOME")?),
        };
        let home = if home.ends_with(".minikube") { home } else { home.join(".minikube") };
        let certificates = home.join("certs");
        let host = node.internal_ip.as_ref().map(|address| format!("tcp://{address}:2376"))?;
        is_there(&certificates).then_some(NodeDocker { host, cert_path: Some(certificates) })
    }
}

fn is_there(certificates: &Path) -> bool {
    ["ca.pem", "cert.pem", "key.pem"].iter().all(|file| certificates.join(file).is_file())
}

fn of_docker(error: DockerError) -> StepError {
    StepError::of(&error, error.class(), error.help())
}

async fn connect(docker: &NodeDocker) -> Result<Engine, StepError> {
    let endpoint = Endpoint::parse(&docker.host, docker.cert_path.as_deref()).map_err(of_docker)?;
    within(Engine::connect(endpoint)).await
}

/// A machine that is gone may swallow what is sent to it.
async fn within(connecting: impl Future<Output = Result<Engine, DockerError>>) -> Result<Engine, StepError> {
    match timeout(ANSWER_WITHIN, connecting).await {
        Ok(connected) => connected.map_err(of_docker),
        Err(_) => Err(StepError::new(Class::Environment, "its Docker Engine does not answer")),
    }
}
