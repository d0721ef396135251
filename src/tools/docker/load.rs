//! Brings an image from an engine to the store of a node, with no more sent than it lacks, and proves that it is there.
//!
//! What the stores of nodes have in common is [`Target`]; an [`Engine`] is one of them.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bollard::query_parameters::ImportImageOptions;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::OnceCell;

use super::archive::{Archive, Blob};
use super::engine::{Engine, ImageFilter, ImageInfo, split_tag};
use super::error::{DockerError, LoadFailure, LoadFault, is_disk_full};
use super::layers::{Cut, MOST_SENT, WholeInstead};
use super::receiver::sha256;

/// How far a load has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadProgress {
    /// Bytes handed to the node so far.
    pub sent: u64,
    /// Bytes that will be sent; of a whole image its size on the host, which the archive comes close to.
    pub expected: u64,
    /// Layers that the node had already.
    pub layers_skipped: usize,
    /// Layers of the image.
    pub layers: usize,
}

/// How an image is brought to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadWay {
    /// Only the layers that the node lacks, where that can be done; else the whole image.
    Layers,
    /// The whole image.
    Archive,
}

/// An image that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// How it came.
    pub way: LoadWay,
    /// Why the whole image was sent although only some layers were asked for.
    pub why_whole: Option<String>,
    /// Layers that the node had already.
    pub layers_skipped: usize,
    /// Layers of the image.
    pub layers: usize,
    /// Bytes that were sent.
    pub sent: u64,
    /// The size of the image on the host in bytes.
    pub total: u64,
}

/// An image that a node is to have.
#[derive(Debug)]
pub struct Wanted {
    /// The name that it is to have there.
    pub reference: String,
    /// The image on the host.
    pub image: ImageInfo,
    /// The engine that has it.
    host: Engine,
    /// See [`config`](Self::config).
    config: OnceCell<String>,
}

/// An image as a node has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its ID in that store.
    pub id: String,
    /// The digest of its configuration; absent where the ID says enough.
    pub config: Option<String>,
    /// The diff IDs of its layers, lowest first.
    pub layers: Vec<String>,
}

impl Wanted {
    /// Whether what a node has is this image: the same ID, or, where stores number differently, the same configuration
    /// and the same layers.
    ///
    /// # Errors
    /// When the engine that has it can't be asked for the configuration.
    pub async fn is(&self, held: &Held) -> Result<bool, DockerError> {
        Ok(held.layers == self.image.layers
            && (held.id == self.image.id || held.config.as_deref() == Some(self.config().await?)))
    }

    /// The digest of its configuration: its ID, but in containerd's store, which numbers by manifests. Asked once, and only
    /// if somebody needs it: an engine takes its time to tell which store it has.
    pub(in crate::tools) async fn config(&self) -> Result<&str, DockerError> {
        let digest = self.config.get_or_try_init(|| self.host.config_digest(&self.reference, &self.image.id)).await;
        digest.map(String::as_str)
    }

    /// Refuses the image for a node of another platform, such as `linux/arm64`.
    pub fn fits(&self, platform: &str) -> Result<(), DockerError> {
        let image = format!("{}/{}", self.image.os, self.image.architecture);
        if image == platform {
            return Ok(());
        }
        let reason = LoadFault::Platform { image, node: platform.to_owned() };
        Err(Box::new(LoadFailure { reference: self.reference.clone(), to: "it".to_owned(), reason, sent: 0 }).into())
    }
}

/// The lowest layers of an image that a store has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::tools) struct Known {
    /// How many.
    pub(in crate::tools) count: usize,
    /// How they are stored, where the archive has to say so.
    pub(in crate::tools) blobs: Vec<Blob>,
}

/// A store of images that images can be brought to.
pub(in crate::tools) trait Target: Sync {
    /// What it is called in errors.
    fn place(&self) -> String;

    /// What it has under the name of an image; `None` when there is nothing, or not all of it.
    fn held(&self, wanted: &Wanted) -> impl Future<Output = Result<Option<Held>, DockerError>> + Send;

    /// Gives the image its name if it is there under another one; whether it was.
    fn adopt(&self, wanted: &Wanted) -> impl Future<Output = Result<bool, DockerError>> + Send;

    /// How many layers of an image are there, looking among images of the same repository or among all.
    fn known(&self, wanted: &Wanted, all: bool) -> impl Future<Output = Result<Known, WholeInstead>> + Send;

    /// The archive of some layers, in the form that [`receive`](Self::receive) takes.
    fn pack(&self, cut: Cut, known: &Known, wanted: &Wanted) -> Archive;

    /// Takes an archive in.
    fn receive(
        &self,
        archive: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
    ) -> impl Future<Output = Result<(), LoadFault>> + Send;

    /// Gives an image that has just come in the name that it is to have, where an archive can't.
    fn settle(&self, _wanted: &Wanted) -> impl Future<Output = Result<(), DockerError>> + Send {
        std::future::ready(Ok(()))
    }
}

impl Engine {
    /// An image of this engine, as a node is to have it.
    pub async fn wanted(&self, reference: &str) -> Result<Wanted, DockerError> {
        let image = self.image(reference).await?.ok_or_else(|| DockerError::NoImage {
            reference: reference.to_owned(),
            endpoint: self.endpoint().clone(),
        })?;
        Ok(Wanted { reference: reference.to_owned(), image, host: self.clone(), config: OnceCell::new() })
    }

    /// The digest of an image's configuration: its ID, but in containerd's store, which numbers by manifests.
    async fn config_digest(&self, reference: &str, id: &str) -> Result<String, DockerError> {
        if self.about().await?.containerd_store {
            return Ok(sha256(&self.raw_config(reference).await?));
        }
        Ok(id.to_owned())
    }

    /// Brings an image to a store under its name, and reads it back there. One that is there under another name only
    /// gets this name.
    pub(in crate::tools) async fn load_into(
        &self,
        wanted: &Wanted,
        to: &impl Target,
        way: LoadWay,
        mut on_progress: impl FnMut(LoadProgress) + Send,
    ) -> Result<Loaded, DockerError> {
        let layers = wanted.image.layers.len();
        let total = wanted.image.size;
        if to.adopt(wanted).await? {
            prove(wanted, to, 0).await?;
            return Ok(Loaded {
                way: LoadWay::Layers,
                why_whole: None,
                layers_skipped: layers,
                layers,
                sent: 0,
                total,
            });
        }
        let mut why_whole = None;
        if way == LoadWay::Layers {
            match self.missing(wanted, to).await {
                Ok((archive, layers_skipped)) => {
                    let expected = archive.size;
                    let tell = |sent| on_progress(LoadProgress { sent, expected, layers_skipped, layers });
                    match send(wanted, to, archive.stream(), tell).await {
                        Ok(sent) => {
                            let way = LoadWay::Layers;
                            return Ok(Loaded { way, why_whole: None, layers_skipped, layers, sent, total });
                        }
                        Err(error) => why_whole = Some(error.to_string()),
                    }
                }
                Err(why) => why_whole = Some(why.0),
            }
        }
        let archive = self.docker().export_image(&wanted.reference).map(|piece| piece.map_err(std::io::Error::other));
        let tell = |sent| on_progress(LoadProgress { sent, expected: total, layers_skipped: 0, layers });
        let sent = send(wanted, to, archive, tell).await?;
        Ok(Loaded { way: LoadWay::Archive, why_whole, layers_skipped: 0, layers, sent, total })
    }

    /// The archive of what a store lacks, and how many layers it has.
    async fn missing(&self, wanted: &Wanted, to: &impl Target) -> Result<(Archive, usize), WholeInstead> {
        let layers = &wanted.image.layers;
        // An older image of the same repository is the one to have most in common with, and quickly asked for.
        let mut known = to.known(wanted, false).await?;
        if self.share_of_top(&wanted.reference, layers.len() - known.count).await? > MOST_SENT {
            known = to.known(wanted, true).await?;
        }
        let cut = self.cut(&wanted.reference, &wanted.image, known.count).await?;
        let skipped = layers.len() - cut.missing.len();
        Ok((to.pack(cut, &known, wanted), skipped))
    }
}

/// Sends an archive, which must bring the image along; gives the number of bytes.
async fn send(
    wanted: &Wanted,
    to: &impl Target,
    archive: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
    mut on_sent: impl FnMut(u64) + Send,
) -> Result<u64, DockerError> {
    let count = Arc::new(AtomicU64::new(0));
    let broken = Arc::new(Mutex::new(None));
    let (counted, failed) = (Arc::clone(&count), Arc::clone(&broken));
    let (tell, mut told) = tokio::sync::watch::channel(0_u64);
    let body = archive.inspect(move |piece| match piece {
        Ok(piece) => {
            let size = piece.len() as u64;
            tell.send_replace(counted.fetch_add(size, Ordering::Relaxed) + size);
        }
        Err(error) => {
            if let Ok(mut failed) = failed.lock() {
                *failed = Some(error.to_string());
            }
        }
    });
    let mut telling = true;
    let receiving = to.receive(body);
    tokio::pin!(receiving);
    let ended = loop {
        tokio::select! {
            ended = &mut receiving => break ended,
            changed = told.changed(), if telling => match changed {
                Ok(()) => {
                    let sent = *told.borrow_and_update();
                    on_sent(sent);
                }
                Err(_) => telling = false,
            },
        }
    };
    let sent = count.load(Ordering::Relaxed);
    on_sent(sent);
    // An archive that broke off is the cause, whatever the store says of it.
    let source = broken.lock().ok().and_then(|mut broken| broken.take());
    match source.map_or(ended, |reason| Err(LoadFault::Source(reason))) {
        Ok(()) => {
            to.settle(wanted).await?;
            prove(wanted, to, sent).await
        }
        Err(fault) => Err(failure(wanted, to, fault, sent)),
    }
}

/// Reads the image back: a store may say that all is well and have nothing, or something else.
async fn prove(wanted: &Wanted, to: &impl Target, sent: u64) -> Result<u64, DockerError> {
    match to.held(wanted).await? {
        Some(held) if wanted.is(&held).await? => Ok(sent),
        Some(held) => {
            let fault = LoadFault::Differs { expected: wanted.image.id.clone(), found: held.id };
            Err(failure(wanted, to, fault, sent))
        }
        None => Err(failure(wanted, to, LoadFault::Missing, sent)),
    }
}

fn failure(wanted: &Wanted, to: &impl Target, reason: LoadFault, sent: u64) -> DockerError {
    Box::new(LoadFailure { reference: wanted.reference.clone(), to: to.place(), reason, sent }).into()
}

impl Target for Engine {
    fn place(&self) -> String {
        self.endpoint().to_string()
    }

    async fn held(&self, wanted: &Wanted) -> Result<Option<Held>, DockerError> {
        let Some(image) = self.image(&wanted.reference).await? else { return Ok(None) };
        let config = match image.id == wanted.image.id {
            true => None,
            false => Some(self.config_digest(&wanted.reference, &image.id).await?),
        };
        Ok(Some(Held { id: image.id, config, layers: image.layers }))
    }

    async fn adopt(&self, wanted: &Wanted) -> Result<bool, DockerError> {
        let id = &wanted.image.id;
        let found = self.image(id).await?.is_some();
        if found {
            self.tag(id, &wanted.reference).await?;
        }
        Ok(found)
    }

    async fn known(&self, wanted: &Wanted, all: bool) -> Result<Known, WholeInstead> {
        if self.about().await?.containerd_store {
            return Err(WholeInstead("the node's engine keeps its images in containerd's store".into()));
        }
        let repository = split_tag(&wanted.reference).0.to_owned();
        let among =
            ImageFilter { references: if all { Vec::new() } else { vec![repository] }, ..ImageFilter::default() };
        let count = self.shared_layers(&wanted.image.layers, &among).await?;
        Ok(Known { count, blobs: Vec::new() })
    }

    fn pack(&self, cut: Cut, _: &Known, wanted: &Wanted) -> Archive {
        Archive::docker(cut, wanted.reference.clone())
    }

    async fn receive(
        &self,
        archive: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
    ) -> Result<(), LoadFault> {
        let options = ImportImageOptions { quiet: true, ..Default::default() };
        let answers = self.docker().import_image_stream(options, archive, None);
        tokio::pin!(answers);
        while let Some(answer) = answers.next().await {
            let Err(error) = answer else { continue };
            return Err(match self.error("load the image", error) {
                DockerError::Refused { message, .. } if is_disk_full(&message) => LoadFault::DiskFull(message),
                DockerError::Refused { message, .. } => LoadFault::Refused(message),
                other => LoadFault::NodeGone(other.to_string()),
            });
        }
        Ok(())
    }
}
