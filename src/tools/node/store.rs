//! The image store of a node, of whichever kind.

use super::containerd::{Containerd, of_repository};
use super::podman::Podman;
use super::tunnel::Tunnel;
use crate::tools::docker::target::Target as _;
use crate::tools::docker::{
    DockerError, Engine, Held, ImageFilter, LoadProgress, LoadWay, Loaded, Wanted, familiar, split_tag,
};

/// The image store of a node.
#[derive(Debug, Clone)]
pub enum Store {
    /// Docker's, with the way to it where it is not spoken to directly.
    Docker(Engine, Option<Tunnel>),
    /// containerd's.
    Containerd(Containerd),
    /// CRI-O's.
    Podman(Podman),
}

/// A name of an image in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// The name, in full where the store has it so.
    pub name: String,
    /// The tag.
    pub tag: String,
    /// The digest of the configuration: the image ID as a Docker Engine counts.
    pub id: String,
    /// Its size on disk in bytes, where the store tells.
    pub size: Option<u64>,
    /// When it was made, where the store tells.
    pub created: Option<jiff::Timestamp>,
}

impl Store {
    /// What the node has under the name of an image.
    pub async fn held(&self, wanted: &Wanted) -> Result<Option<Held>, DockerError> {
        match self {
            Self::Docker(engine, _) => engine.held(wanted).await,
            Self::Containerd(store) => store.held(wanted).await,
            Self::Podman(store) => store.held(wanted).await,
        }
    }

    /// Brings an image of the host's engine to the node and proves that it is there.
    pub async fn load(
        &self,
        host: &Engine,
        wanted: &Wanted,
        way: LoadWay,
        on_progress: impl FnMut(LoadProgress) + Send,
    ) -> Result<Loaded, DockerError> {
        match self {
            Self::Docker(engine, _) => host.load_into(wanted, engine, way, on_progress).await,
            Self::Containerd(store) => host.load_into(wanted, store, way, on_progress).await,
            Self::Podman(store) => host.load_into(wanted, store, way, on_progress).await,
        }
    }

    /// All names of a repository.
    pub async fn tags(&self, repository: &str) -> Result<Vec<StoredImage>, DockerError> {
        let stored = |name: String, id: String, size, created| {
            let tag = split_tag(&name).1.to_owned();
            StoredImage { name, tag, id, size, created }
        };
        Ok(match self {
            Self::Docker(engine, _) => {
                let filter = ImageFilter { references: vec![repository.to_owned()], ..ImageFilter::default() };
                let images = engine.images(&filter).await?.into_iter();
                let names = images.flat_map(|image| {
                    let of_it = image.tags.clone().into_iter().filter(|tag| split_tag(tag).0 == familiar(repository));
                    of_it
                        .map(move |tag| stored(tag, image.id.clone(), Some(image.size), image.created))
                        .collect::<Vec<_>>()
                });
                names.collect()
            }
            Self::Containerd(store) => {
                let entries = store.list(&[of_repository(repository)]).await?.into_iter();
                entries.map(|entry| stored(entry.name, entry.config, None, None)).collect()
            }
            Self::Podman(store) => {
                store.tags(repository).await?.into_iter().map(|(name, id)| stored(name, id, None, None)).collect()
            }
        })
    }

    /// Takes a name away, as [`tags`](Self::tags) gave it, and with the last name the image.
    pub async fn untag(&self, name: &str) -> Result<(), DockerError> {
        match self {
            Self::Docker(engine, _) => engine.untag(name).await,
            Self::Containerd(store) => store.untag(name).await,
            Self::Podman(store) => store.untag(name).await,
        }
    }

    /// As [`untag`](Self::untag), also where a container that has ended still holds the image: a kubelet keeps those for a
    /// minute or more after their pods are gone. A container that runs is respected.
    pub async fn untag_ended(&self, name: &str) -> Result<(), DockerError> {
        match self {
            // Docker's "force" is about containers that have ended; with one that runs it refuses all the same.
            Self::Docker(engine, _) => engine.remove(name, true).await,
            Self::Containerd(_) | Self::Podman(_) => self.untag(name).await,
        }
    }
}
