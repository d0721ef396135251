//! The image stores of the cluster's nodes, and how each is reached.

use serde::{Deserialize, Serialize};

use super::{StepError, World};
use crate::config::Driver;
use crate::error::Class;
use crate::process::Cancel;
use crate::tools::docker::{Endpoint, Engine};
use crate::tools::minikube::NodeDocker;

/// The image stores of all nodes.
#[derive(Debug)]
pub(super) struct Nodes {
    /// One for each node.
    pub(super) stores: Vec<NodeStore>,
}

/// The image store of one node.
#[derive(Debug)]
pub(super) struct NodeStore {
    /// The node's name, for people.
    pub(super) name: String,
    /// Its Docker daemon.
    pub(super) engine: Engine,
}

/// What is kept in `.stack/` so that the next run need not ask the cluster's tool.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    /// The cluster that it was asked of.
    uid: String,
    docker: NodeDocker,
}

impl Nodes {
    /// Finds the image stores: as remembered if that still answers, else by asking the cluster's tool.
    pub(super) async fn find(world: &World) -> Result<Self, StepError> {
        let spec = world
            .stack()
            .cluster
            .as_ref()
            .ok_or_else(|| StepError::new(Class::Internal, "an image is loaded without a cluster"))?;
        if spec.driver.value != Driver::Minikube {
            return Err(StepError::new(
                Class::Input,
                format!("images can't be loaded into a cluster of driver {} yet", spec.driver.value.as_str()),
            )
            .with_diagnosis("try `load = \"none\"` with images that the nodes can pull"));
        }
        let cluster = world.cluster().await?;
        let of = |error: crate::tools::kube::KubeError| StepError::of(&error, error.class(), error.help());
        let (nodes, uid) = tokio::try_join!(cluster.nodes(), cluster.identity()).map_err(of)?;
        let slot = format!("node docker of {}", spec.context);
        let known =
            world.state().tools.get(&slot).and_then(|json| serde_json::from_value::<Remembered>(json.clone()).ok());
        if let Some(known) = known.filter(|known| known.uid == uid)
            && let Ok(engine) = connect(&known.docker).await
        {
            return Ok(Self::single(nodes.first().map(|node| node.name.as_str()), engine));
        }
        let docker = super::cluster::driver(spec)?
            .node_docker(&Cancel::never())
            .await
            .map_err(|error| StepError::of(&error, error.class(), error.help()))?;
        let engine = connect(&docker).await?;
        if let Ok(json) = serde_json::to_value(Remembered { uid, docker }) {
            world.state().tools.insert(slot, json);
        }
        Ok(Self::single(nodes.first().map(|node| node.name.as_str()), engine))
    }

    fn single(name: Option<&str>, engine: Engine) -> Self {
        Self { stores: vec![NodeStore { name: name.unwrap_or("minikube").to_owned(), engine }] }
    }
}

async fn connect(docker: &NodeDocker) -> Result<Engine, StepError> {
    let of = |error: crate::tools::docker::DockerError| StepError::of(&error, error.class(), error.help());
    let endpoint = Endpoint::parse(&docker.host, docker.cert_path.as_deref()).map_err(of)?;
    Engine::connect(endpoint).await.map_err(of)
}
