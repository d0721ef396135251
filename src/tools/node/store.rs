//! The image store of a node, of whichever kind.

use super::containerd::Containerd;
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
    /// The image ID, as the store counts.
    pub id: String,
    /// The digest of the configuration, by which all stores mean the same image.
    pub config: String,
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

    /// Has the node asked again for what it said before: another program may have changed its images.
    pub async fn forget(&self) {
        match self {
            Self::Containerd(store) => store.forget().await,
            Self::Docker(..) | Self::Podman(_) => {}
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
        let stored = |name: String, id: String, config: String, size, created| {
            let tag = split_tag(&name).1.to_owned();
            StoredImage { name, tag, id, config, size, created }
        };
        Ok(match self {
            Self::Docker(engine, _) => {
                let filter = ImageFilter { references: vec![repository.to_owned()], ..ImageFilter::default() };
                let mut found = Vec::new();
                for image in engine.images(&filter).await? {
                    let config = engine.config_of(&image.id).await?;
                    let of_it = image.tags.into_iter().filter(|tag| split_tag(tag).0 == familiar(repository));
                    found.extend(
                        of_it.map(|tag| stored(tag, image.id.clone(), config.clone(), Some(image.size), image.created)),
                    );
                }
                found
            }
            Self::Containerd(store) => {
                let entries = store.of_repository(repository).await?;
                let configs = store.configs(&entries).await?;
                let ids = entries.into_iter().zip(configs);
                ids.map(|(entry, config)| {
                    let config = config.unwrap_or_else(|| entry.digest.clone());
                    stored(entry.name, entry.digest, config, None, None)
                })
                .collect()
            }
            Self::Podman(store) => {
                let tags = store.tags(repository).await?.into_iter();
                tags.map(|(name, id)| stored(name, id.clone(), id, None, None)).collect()
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
