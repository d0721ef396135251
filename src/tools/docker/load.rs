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

use super::archive::{Archive, Blob, Part, Parts, Source};
use super::engine::{Engine, ImageFilter, ImageInfo, split_tag};
use super::error::{DockerError, LoadFailure, LoadFault, is_disk_full};
use super::image_manifest::ImageManifest;
use super::in_flight::{Claim, InFlight};
use super::layers::{MOST_SENT, WholeInstead};
use super::receiver::sha256;

/// Bytes from which on two images wait for each other instead of both bringing a layer.
const LARGE: u64 = 1 << 20;

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
    /// Bytes of the whole image, counted as `sent` is.
    pub total: u64,
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
    /// Bytes of the whole image, counted as `sent` is: packed where packed layers were sent.
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
    /// See [`manifest`](Self::manifest).
    manifest: OnceCell<Option<ImageManifest>>,
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
}

impl Wanted {
    /// Whether what a node has is this image: the same ID, or, where stores number differently, the same configuration. A
    /// configuration names the layers by their content.
    ///
    /// # Errors
    /// When the engine that has it can't be asked for the configuration.
    pub async fn is(&self, held: &Held) -> Result<bool, DockerError> {
        Ok(held.id == self.image.id || held.config.as_deref() == Some(self.config().await?))
    }

    /// Whether a store that numbers by manifests means this image by a digest.
    ///
    /// # Errors
    /// When the engine that has it can't be asked for the manifest.
    pub async fn is_numbered(&self, digest: &str) -> Result<bool, DockerError> {
        Ok(digest == self.image.id || self.manifest().await?.is_some_and(|manifest| manifest.digest == digest))
    }

    /// Its manifest for the platform of its engine; `None` where the engine has the classic store, or does not give it.
    pub(in crate::tools) async fn manifest(&self) -> Result<Option<&ImageManifest>, DockerError> {
        let read = || async {
            if self.host.is_numbered_by_manifest(&self.image).await? {
                self.host.image_manifest(&self.image).await
            } else {
                Ok(None)
            }
        };
        self.manifest.get_or_try_init(read).await.map(Option::as_ref)
    }

    /// The digest of its configuration: its ID, but in containerd's store, which numbers by manifests. Asked once, and only
    /// when it is needed.
    ///
    /// # Errors
    /// When the engine that has it can't be asked.
    pub async fn config(&self) -> Result<&str, DockerError> {
        let ask = || async {
            if let Some(manifest) = self.manifest().await? {
                return Ok(manifest.config_digest.clone());
            }
            if self.host.is_numbered_by_manifest(&self.image).await? {
                return Ok(sha256(&self.host.raw_config(&self.reference).await?));
            }
            Ok(self.image.id.clone())
        };
        self.config.get_or_try_init(ask).await.map(String::as_str)
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

    /// The layers that are on their way to it.
    fn in_flight(&self) -> &Arc<InFlight>;

    /// For each layer of a manifest, whether the store lacks it.
    fn lacks(
        &self,
        manifest: &ImageManifest,
        wanted: &Wanted,
    ) -> impl Future<Output = Result<Vec<bool>, WholeInstead>> + Send;

    /// How many layers of an image without a manifest are there, looking among images of the same repository or among all.
    fn known(&self, wanted: &Wanted, all: bool) -> impl Future<Output = Result<Known, WholeInstead>> + Send;

    /// The archive of an image, in the form that [`receive`](Self::receive) takes.
    fn pack(&self, parts: Parts, wanted: &Wanted) -> Archive;

    /// Takes the archive of an image in.
    fn receive(
        &self,
        wanted: &Wanted,
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
        let (manifest, config) = (OnceCell::new(), OnceCell::new());
        Ok(Wanted { reference: reference.to_owned(), image, host: self.clone(), manifest, config })
    }

    /// The digest of the configuration of an image that is not the one its name leads to elsewhere.
    async fn config_digest(&self, image: &ImageInfo, reference: &str) -> Result<String, DockerError> {
        if !self.is_numbered_by_manifest(image).await? {
            return Ok(image.id.clone());
        }
        match self.image_manifest(image).await? {
            Some(manifest) => Ok(manifest.config_digest),
            None => Ok(sha256(&self.raw_config(reference).await?)),
        }
    }

    /// The digest of the configuration of an image of this engine, by which all stores mean the same image.
    ///
    /// # Errors
    /// When the engine can't be asked.
    pub async fn config_of(&self, id: &str) -> Result<String, DockerError> {
        match self.image(id).await? {
            Some(image) => self.config_digest(&image, id).await,
            None => Ok(id.to_owned()),
        }
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
        if to.adopt(wanted).await? {
            prove(wanted, to, 0).await?;
            return Ok(Loaded {
                way: LoadWay::Layers,
                why_whole: None,
                layers_skipped: layers,
                layers,
                sent: 0,
                total: wanted.image.size,
            });
        }
        let mut why_whole = None;
        let mut tries = vec![LoadWay::Archive];
        if way == LoadWay::Layers {
            tries.insert(0, LoadWay::Layers);
        }
        for way in tries {
            match self.archive(wanted, to, way).await {
                Ok(Prepared { archive, skipped, total, claim }) => {
                    let expected = archive.size;
                    let tell =
                        |sent| on_progress(LoadProgress { sent, expected, layers_skipped: skipped, layers, total });
                    let sent = send(wanted, to, archive.stream(), tell).await;
                    drop(claim);
                    match sent {
                        Ok(sent) => {
                            return Ok(Loaded { way, why_whole, layers_skipped: skipped, layers, sent, total });
                        }
                        // Nothing was left out: sending it once more would fail in the same way.
                        Err(error) if skipped == 0 => return Err(error),
                        Err(error) => why_whole = Some(error.to_string()),
                    }
                }
                Err(why) if way == LoadWay::Layers => why_whole = Some(why.0),
                Err(_) => {}
            }
        }
        let archive = self.docker().export_image(&wanted.reference).map(|piece| piece.map_err(std::io::Error::other));
        let total = wanted.image.size;
        let tell = |sent| on_progress(LoadProgress { sent, expected: total, layers_skipped: 0, layers, total });
        let sent = send(wanted, to, archive, tell).await?;
        // How large an exported archive is shows when it ends.
        Ok(Loaded { way: LoadWay::Archive, why_whole, layers_skipped: 0, layers, sent, total: sent })
    }

    /// The archive of what a store lacks of an image, or of all of it.
    async fn archive(&self, wanted: &Wanted, to: &impl Target, way: LoadWay) -> Result<Prepared, WholeInstead> {
        if let Some(manifest) = wanted.manifest().await? {
            let (lacks, claim) = loop {
                let lacks = match way {
                    LoadWay::Layers => to.lacks(manifest, wanted).await?,
                    LoadWay::Archive => vec![true; manifest.layers.len()],
                };
                let large = manifest.layers.iter().zip(&lacks);
                let large = large.filter(|(layer, is_missing)| **is_missing && layer.blob.size >= LARGE);
                let large = large.map(|(layer, _)| layer.diff_id.clone()).collect();
                if let Some(claim) = to.in_flight().claim(large).await {
                    break (lacks, claim);
                }
            };
            let content = self.content().await?;
            let layers = manifest.layers.iter().zip(lacks).map(|(layer, is_missing)| Part {
                diff_id: layer.diff_id.clone(),
                blob: Some(layer.blob.clone()),
                source: is_missing.then(|| Source::Store(content.clone())),
            });
            let parts = Parts {
                manifest: Some((manifest.bytes.clone(), manifest.media_type.clone())),
                config: manifest.config.clone(),
                layers: layers.collect(),
            };
            let skipped = parts.skipped();
            let (archive, total) = (to.pack(parts, wanted), manifest.size());
            return Ok(Prepared { archive, skipped, total, claim: Some(claim) });
        }
        if way == LoadWay::Archive {
            return Err(WholeInstead("the host's engine exports it".to_owned()));
        }
        let layers = &wanted.image.layers;
        // An older image of the same repository is the one to have most in common with, and quickly asked for.
        let mut known = to.known(wanted, false).await?;
        if self.share_of_top(&wanted.reference, layers.len() - known.count).await? > MOST_SENT {
            known = to.known(wanted, true).await?;
        }
        let parts = self.parts(&wanted.reference, &wanted.image, known).await?;
        let skipped = parts.skipped();
        Ok(Prepared { archive: to.pack(parts, wanted), skipped, total: wanted.image.size, claim: None })
    }
}

/// An archive that is about to be sent.
struct Prepared {
    archive: Archive,
    /// Layers that are left out.
    skipped: usize,
    /// Bytes of the whole image.
    total: u64,
    /// The large layers that it brings.
    claim: Option<Claim>,
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
    let receiving = to.receive(wanted, body);
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

    fn in_flight(&self) -> &Arc<InFlight> {
        self.in_flight_layers()
    }

    async fn held(&self, wanted: &Wanted) -> Result<Option<Held>, DockerError> {
        let Some(image) = self.image(&wanted.reference).await? else { return Ok(None) };
        let config = match image.id == wanted.image.id {
            true => None,
            false => Some(self.config_digest(&image, &wanted.reference).await?),
        };
        Ok(Some(Held { id: image.id, config }))
    }

    async fn adopt(&self, wanted: &Wanted) -> Result<bool, DockerError> {
        // A store that numbers like the host's knows the image by its ID, the classic one by its configuration.
        let config = wanted.config().await?;
        let ids = [wanted.image.id.as_str(), config];
        for id in ids.iter().take(if ids[0] == ids[1] { 1 } else { 2 }) {
            if self.image(id).await?.is_some() {
                self.tag(id, &wanted.reference).await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn lacks(&self, manifest: &ImageManifest, wanted: &Wanted) -> Result<Vec<bool>, WholeInstead> {
        if self.about().await?.containerd_store {
            let content = self.content().await?;
            let asked = manifest.layers.iter().map(async |layer| content.has(&layer.blob.digest).await.map(|has| !has));
            return Ok(futures::future::try_join_all(asked).await?);
        }
        let count = self.shared_with_any(wanted).await?;
        Ok((0..manifest.layers.len()).map(|index| index >= count).collect())
    }

    async fn known(&self, wanted: &Wanted, all: bool) -> Result<Known, WholeInstead> {
        if self.about().await?.containerd_store {
            return Err(WholeInstead(
                "the node's engine keeps its images in containerd's store, and the host's does not".into(),
            ));
        }
        let repository = split_tag(&wanted.reference).0.to_owned();
        let among =
            ImageFilter { references: if all { Vec::new() } else { vec![repository] }, ..ImageFilter::default() };
        let count = self.shared_layers(&wanted.image.layers, &among).await?;
        Ok(Known { count, blobs: Vec::new() })
    }

    fn pack(&self, parts: Parts, wanted: &Wanted) -> Archive {
        // An engine with containerd's store takes an OCI layout, the classic one what `docker save` writes.
        match (self.known_store(), parts.manifest.is_some()) {
            (Some(true), true) => Archive::oci(parts, &wanted.reference),
            (Some(true) | Some(false) | None, _) => Archive::docker(parts, wanted.reference.clone()),
        }
    }

    async fn receive(
        &self,
        _: &Wanted,
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
