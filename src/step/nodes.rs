//! The image stores of the cluster's nodes, and how each is reached.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{StepError, World};
use crate::config::{Cluster as Spec, Driver};
use crate::error::Class;
use crate::process::Cancel;
use crate::tools::docker::{DockerError, Endpoint, Engine, RunningContainer};
use crate::tools::driver::NodeDocker;
use crate::tools::kube::Node;
use crate::tools::node::{Containerd, Machine, NodeShell, Podman, Store, Tunnel};

/// How long a node's engine may take to answer for the first time.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long an address that was not told by minikube may take: a machine behind another network swallows what is sent.
const GUESS_WITHIN: Duration = Duration::from_secs(1);

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
        let seeker = Seeker { world, spec, known, alone: nodes.len() == 1, engines: OnceCell::new() };
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
    /// The engines among whose containers nodes are looked for.
    engines: OnceCell<Vec<Engine>>,
}

impl Seeker<'_> {
    /// Finds a node's store, and the address of its engine where it has one.
    async fn reach(&self, node: &Node) -> Result<(Store, Option<NodeDocker>), StepError> {
        let runtime = Runtime::of(node)?;
        if runtime == Runtime::Docker && self.spec.driver.value == Driver::Minikube {
            return self.docker(node).await;
        }
        // Docker Desktop's node runs in the very engine that builds.
        if runtime == Runtime::Docker
            && self.spec.driver.value == Driver::Context
            && let Ok(engine) = self.world.engine().await
            && engine.about().await.map_err(of_docker)?.name == node.name
        {
            return Ok((Store::Docker(engine.clone(), None), None));
        }
        let shell = self.shell(node).await?;
        match runtime {
            Runtime::Docker => self.docker_within(node, shell).await.map(|store| (store, None)),
            Runtime::Containerd => Ok((Store::Containerd(Containerd::new(shell, self.repositories().await)), None)),
            Runtime::CriO => Ok((Store::Podman(Podman::new(shell)), None)),
        }
    }

    /// The repositories of all images that are brought to nodes.
    async fn repositories(&self) -> Vec<String> {
        let mut all = Vec::new();
        for name in self.world.stack().images.keys() {
            all.extend(self.world.repositories(name).await);
        }
        all
    }

    /// The way to run commands on a node: in the container that it is, by `ssh` on the machine that it is, or as the last
    /// resort through the cluster's own tool.
    async fn shell(&self, node: &Node) -> Result<NodeShell, StepError> {
        if let Some(shell) = self.container(node).await {
            return Ok(shell);
        }
        match self.spec.driver.value {
            Driver::Minikube => {
                let machine = self.minikube_home().and_then(|home| Machine::of_minikube(&home, &node.name));
                Ok(match machine {
                    Some(machine) => NodeShell::machine(&machine, &node.name),
                    None => NodeShell::minikube(&self.spec.name, &node.name),
                })
            }
            Driver::Kind | Driver::K3d => {
                let reason = format!("it is no running container of {}", self.engine_names().await);
                Err(StepError::new(Class::Environment, reason)
                    .with_diagnosis("try to set DOCKER_HOST to the engine that runs the cluster's nodes"))
            }
            Driver::Context => {
                Err(StepError::new(Class::Input, "there is no way to the nodes of a cluster that is only known by its context")
                    .with_diagnosis(
                        "try `load = \"registry\"` with a registry that the nodes pull from, or `load = \"none\"` with images that they can pull",
                    ))
            }
        }
    }

    /// The container that a node is: one that runs, has the node's name, and either the label by which the cluster's tool
    /// marks its containers or the node's address. kind, k3d, and minikube's docker and podman drivers name containers after
    /// nodes. After a cluster was stopped and started, its containers may have other addresses than Kubernetes knows yet.
    async fn container(&self, node: &Node) -> Option<NodeShell> {
        for engine in self.engines().await {
            let found = engine.running_container(&node.name).await;
            let found = found.inspect_err(|error| tracing::debug!(%error, "no container is looked for"));
            if let Ok(Some(container)) = found
                && self.is_node(&container, node)
            {
                return Some(NodeShell::container(engine.clone(), container.id, &node.name));
            }
        }
        None
    }

    fn is_node(&self, container: &RunningContainer, node: &Node) -> bool {
        let label = match self.spec.driver.value {
            Driver::Minikube => Some("name.minikube.sigs.k8s.io"),
            Driver::Kind => Some("io.x-k8s.kind.cluster"),
            Driver::K3d => Some("k3d.cluster"),
            Driver::Context => None,
        };
        label.is_some_and(|label| container.labels.get(label) == Some(&self.spec.name))
            || node.internal_ip.as_ref().is_none_or(|address| container.addresses.contains(address))
    }

    /// The engine that builds; the one behind `eval "$(minikube docker-env)"`, which makes a node's own engine the one that
    /// builds; and Podman's, where it has a socket.
    async fn engines(&self) -> &[Engine] {
        let find = || async {
            let mut engines: Vec<Engine> = self.world.engine().await.ok().cloned().into_iter().collect();
            let get = |name: &str| self.world.environment().get(name).filter(|value| !value.is_empty());
            let mut others = Vec::new();
            if get("MINIKUBE_ACTIVE_DOCKERD").is_some() {
                others
                    .push(get("MINIKUBE_EXISTING_DOCKER_HOST").unwrap_or_else(|| "unix:///var/run/docker.sock".into()));
            }
            others.extend(get("CONTAINER_HOST"));
            others.extend(get("XDG_RUNTIME_DIR").map(|folder| format!("unix://{folder}/podman/podman.sock")));
            others.push("unix:///run/podman/podman.sock".to_owned());
            for address in others {
                let Ok(endpoint) = Endpoint::parse(&address, None) else { continue };
                if matches!(&endpoint, Endpoint::Unix(path) if !path.exists()) {
                    continue;
                }
                engines.extend(within(Engine::connect(endpoint)).await.ok());
            }
            engines
        };
        self.engines.get_or_init(find).await
    }

    async fn engine_names(&self) -> String {
        let names: Vec<_> = self.engines().await.iter().map(|engine| engine.endpoint().to_string()).collect();
        if names.is_empty() { "an engine that answers".to_owned() } else { names.join(" or ") }
    }

    /// On its address if it can be reached there, which is fast; else through a command on the node.
    async fn docker(&self, node: &Node) -> Result<(Store, Option<NodeDocker>), StepError> {
        if let Some(address) = self.known.docker.get(&node.name) {
            let engine = match self.world.early().engine(address).await {
                Some(engine) => Some(engine),
                None => connect(address).await.ok(),
            };
            if let Some(engine) = engine {
                return Ok((Store::Docker(engine, None), Some(address.clone())));
            }
        }
        // The node's own address comes first: `minikube docker-env` takes its time, and restarts the node's engine when it
        // can't connect to it.
        if let Some(address) = self.guessed(node)
            && let Ok(Ok(engine)) = timeout(GUESS_WITHIN, connect(&address)).await
        {
            return Ok((Store::Docker(engine, None), Some(address)));
        }
        if self.alone
            && let Some(address) = self.told().await
            && let Ok(engine) = connect(&address).await
        {
            return Ok((Store::Docker(engine, None), Some(address)));
        }
        let shell = self.shell(node).await?;
        self.docker_within(node, shell).await.map(|store| (store, None))
    }

    /// The engine on a node that has no address here.
    async fn docker_within(&self, node: &Node, shell: NodeShell) -> Result<Store, StepError> {
        let tunnel = Tunnel::open(shell).map_err(of_docker)?;
        match within(Engine::connect(tunnel.endpoint())).await {
            Ok(engine) => Ok(Store::Docker(engine, Some(tunnel))),
            Err(error) => {
                tracing::debug!(node = node.name, %error, "no way to the node's engine");
                let reason = "its Docker Engine answers neither on an address nor through a command on the node";
                let error = StepError::new(Class::Environment, reason);
                Err(match self.spec.driver.value {
                    Driver::Minikube => {
                        error.with_diagnosis(format!("try `minikube status --profile {}`", self.spec.name))
                    }
                    Driver::Kind | Driver::K3d | Driver::Context => error,
                })
            }
        }
    }

    /// What minikube says, which it does for a cluster of one node.
    async fn told(&self) -> Option<NodeDocker> {
        let driver = super::cluster::driver(self.spec).ok()?;
        let told = driver.node_docker(&Cancel::never()).await;
        told.inspect_err(|error| tracing::debug!(%error, "no address of the node's engine")).ok()
    }

    /// Where the engine of a node listens: all have certificates of minikube's own authority.
    fn guessed(&self, node: &Node) -> Option<NodeDocker> {
        let certificates = self.minikube_home()?.join("certs");
        let host = node.internal_ip.as_ref().map(|address| format!("tcp://{address}:2376"))?;
        is_there(&certificates).then_some(NodeDocker { host, cert_path: Some(certificates) })
    }

    /// The folder in which minikube keeps profiles, machines and certificates.
    fn minikube_home(&self) -> Option<PathBuf> {
        let home = match self.world.environment().get("MINIKUBE_HOME").filter(|home| !home.is_empty()) {
            Some(home) => PathBuf::from(home),
            None => PathBuf::from(self.world.environment().get("HOME")?),
        };
        Some(if home.ends_with(".minikube") { home } else { home.join(".minikube") })
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
