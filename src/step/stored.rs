//! The images of this stack wherever they are kept, and who uses them.

use serde_json::Value as Json;

use super::{Known, StepError, World};
use crate::error::Class;
use crate::tools::docker::DockerError;
use crate::tools::helm::releases;
use crate::tools::kube::KubeError;
use crate::tools::node::Store;

/// The place of the engine that builds.
const HOST: &str = "host";

/// What runs pods, or will. Not the ReplicaSets that a Deployment has left behind: what can be rolled back to is what Helm
/// keeps.
const WORKLOADS: [(&str, &str); 7] = [
    ("v1", "Pod"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "Job"),
    ("batch/v1", "CronJob"),
    ("batch/v1beta1", "CronJob"),
];

/// A name of an image in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// `host`, or the name of a node.
    pub place: String,
    /// The name, as the store has it.
    pub name: String,
    /// The name as a pod gives it.
    pub short: String,
    /// The image ID, as the store counts.
    pub id: String,
    /// The digest of the configuration, by which all stores mean the same image.
    pub config: String,
    /// Its size there in bytes.
    pub size: Option<u64>,
}

/// Somebody who names images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Who it is, for people.
    pub name: String,
    /// The text that names them.
    pub text: String,
}

impl User {
    /// Whether it names this image, by the name or by an ID: container runtimes name images by configurations or manifests.
    pub fn uses(&self, image: &Stored) -> bool {
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || "_.-".contains(c));
        let named = |word: &str| self.text.match_indices(word).any(|(at, _)| ends(&self.text[at + word.len()..]));
        named(&image.short) || named(&image.id) || named(&image.config)
    }
}

fn of_docker(error: DockerError) -> StepError {
    StepError::of(&error, error.class(), error.help())
}

fn of_kube(error: KubeError) -> StepError {
    StepError::of(&error, error.class(), error.help())
}

/// All images of the stack, on the host and on every node.
///
/// # Errors
/// When a store can't be asked.
pub async fn images(world: &World) -> Result<Vec<Stored>, StepError> {
    let mut found = Vec::new();
    for (place, store) in stores(world).await? {
        for name in world.stack().images.keys() {
            for repository in world.repositories(name).await {
                let tags = store.tags(&repository).await.map_err(of_docker)?;
                found.extend(tags.into_iter().map(|image| Stored {
                    place: place.clone(),
                    short: format!("{repository}:{}", image.tag),
                    name: image.name,
                    id: image.id,
                    config: image.config,
                    size: image.size,
                }));
            }
        }
    }
    Ok(found)
}

async fn host(world: &World) -> Result<Store, StepError> {
    Ok(Store::Docker(world.engine().await?.clone(), None))
}

/// The engine that builds, and all nodes.
async fn stores(world: &World) -> Result<Vec<(String, Store)>, StepError> {
    let mut stores = vec![(HOST.to_owned(), host(world).await?)];
    if world.loads_onto_nodes() {
        for node in &world.nodes().await?.stores {
            stores.push((node.name.clone(), node.store.clone()?));
        }
    }
    Ok(stores)
}

/// Everybody in the cluster who names images, the releases that can be rolled back to, and the stack itself, which deploys
/// what it has built from the files as they are.
///
/// # Errors
/// When the cluster can't be asked.
pub async fn users(world: &World) -> Result<Vec<User>, StepError> {
    let mut users = Vec::new();
    for (name, spec) in &world.stack().images {
        // Not built from the files as they are now: then the newest is what they were last.
        let id = match world.image(name) {
            Known::Yes((_, id)) => Some(id),
            Known::After(_) => {
                let tags = host(world).await?.tags(&spec.repository.value).await.map_err(of_docker)?;
                tags.into_iter().max_by_key(|image| image.created).map(|image| image.id)
            }
        };
        users.extend(id.map(|id| User { name: format!("the stack file, as image {name}"), text: id }));
    }
    if world.stack().cluster.is_none() {
        return Ok(users);
    }
    let cluster = world.cluster().await?;
    for (version, kind) in WORKLOADS {
        let listed = async { cluster.list(&cluster.kind(version, kind).await?, None, None, None).await };
        let objects = match listed.await {
            Ok(objects) => objects,
            // Another version of Kubernetes has it under another name.
            Err(KubeError::UnknownKind { .. }) => continue,
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(of_kube(error)),
        };
        for object in objects {
            let mut text = String::new();
            ["/spec", "/status"]
                .iter()
                .filter_map(|part| object.at(part))
                .for_each(|part| image_names(part, &mut text));
            let name = format!("{} {} in namespace {}", object.kind(), object.name(), object.namespace());
            users.push(User { name, text });
        }
    }
    let kept = releases::kept(cluster).await;
    for (name, text) in kept.map_err(|error| StepError::of(&error, error.class(), error.help()))? {
        users.push(User { name, text });
    }
    Ok(users)
}

/// Collects everything that an object calls an image.
fn image_names(value: &Json, text: &mut String) {
    match value {
        Json::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Json::String(image) if name == "image" || name == "imageID" => {
                        text.push_str(image);
                        text.push('\n');
                    }
                    other => image_names(other, text),
                }
            }
        }
        Json::Array(items) => items.iter().for_each(|item| image_names(item, text)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

/// Takes a name away.
///
/// # Errors
/// When the store refuses, since a container uses the image, say.
pub async fn untag(world: &World, place: &str, name: &str) -> Result<(), StepError> {
    let stores = stores(world).await?;
    let store = stores.iter().find(|(known, _)| known == place).map(|(_, store)| store);
    let store = store.ok_or_else(|| StepError::new(Class::Internal, format!("there is no place {place}")))?;
    // On a node a container that has ended is a kubelet's, and no use.
    let removed = if place == HOST { store.untag(name).await } else { store.untag_ended(name).await };
    removed.map_err(of_docker)
}
