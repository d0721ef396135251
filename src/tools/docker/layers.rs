//! Brings only the missing layers of an image to a node.
//!
//! The node's engine takes an archive that leaves out layers which it has, as long as they are named. What it has is
//! found by comparing diff IDs: a layer counts as there when it and all layers below it are those of an image on the node.
//! The missing ones, always the topmost, come out of the host's engine by a push into a registry of our own, which is
//! dropped as soon as they have arrived. When anything about this does not work, the whole image is sent instead.

use std::collections::HashMap;
use std::io::{self, Seek, Write};
use std::sync::Arc;

use bollard::auth::DockerCredentials;
use bollard::query_parameters::PushImageOptions;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use ring::digest::{SHA256, digest};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::endpoint::Endpoint;
use super::engine::{Engine, ImageFilter, ImageInfo, split_tag};
use super::error::DockerError;
use super::receiver::{Received, Receiver, hex};

/// Images of a node that are asked for at the same time.
const AT_ONCE: usize = 16;
/// Pieces of an archive that wait to be sent.
const WAITING: usize = 16;
/// When more of an image than this is missing, sending all of it is as fast: single layers come compressed out of the
/// engine.
const MOST_SENT: f64 = 0.5;
/// The name that an image has for the time of a push: `127.0.0.1:PORT/stack/load:layers`.
const PUSHED: &str = "stack/load";
const PUSHED_TAG: &str = "layers";
/// Bytes in a piece.
const PIECE: usize = 64 * 1024;

/// Why only some layers cannot be sent. It is never an error: the whole image can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WholeInstead(pub(super) String);

impl From<DockerError> for WholeInstead {
    fn from(error: DockerError) -> Self {
        Self(error.to_string())
    }
}

/// What has to be sent for an image to be complete on a node.
pub(super) struct Partial {
    config: Vec<u8>,
    reference: String,
    layers: Vec<String>,
    missing: HashMap<String, Received>,
}

impl Partial {
    /// How many layers are left out.
    pub(super) fn skipped(&self) -> usize {
        self.layers.len() - self.missing.len()
    }

    /// Bytes that the archive has, but for its padding.
    pub(super) fn size(&self) -> u64 {
        self.config.len() as u64 + self.missing.values().map(|layer| layer.size).sum::<u64>()
    }

    /// The archive, made while it is sent.
    pub(super) fn archive(self) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + 'static {
        let (sender, mut receiver) = mpsc::channel(WAITING);
        tokio::task::spawn_blocking(move || {
            let failed = sender.clone();
            // Nobody listens any more when the load has ended before the archive.
            if let Err(error) = self.write(Pieces { sender, buffer: Vec::with_capacity(PIECE) }) {
                let _ = failed.blocking_send(Err(error));
            }
        });
        stream::poll_fn(move |context| receiver.poll_recv(context))
    }

    fn write(mut self, out: Pieces) -> io::Result<()> {
        let mut archive = tar::Builder::new(out);
        let config_name = format!("{}.json", hex(digest(&SHA256, &self.config).as_ref()));
        append(&mut archive, &config_name, self.config.len() as u64, self.config.as_slice())?;
        let names: Vec<String> =
            self.layers.iter().map(|layer| format!("{}/layer.tar", layer.replace(':', "-"))).collect();
        for (layer, name) in self.layers.iter().zip(&names) {
            if let Some(Received { mut file, size, .. }) = self.missing.remove(layer) {
                file.rewind()?;
                append(&mut archive, name, size, &file)?;
            }
        }
        let manifest =
            serde_json::json!([{ "Config": config_name, "RepoTags": [self.reference], "Layers": names }]).to_string();
        append(&mut archive, "manifest.json", manifest.len() as u64, manifest.as_bytes())?;
        let mut out = archive.into_inner()?;
        out.flush()
    }
}

fn append(archive: &mut tar::Builder<Pieces>, name: &str, size: u64, content: impl io::Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, content)
}

/// Hands what is written to a channel, in pieces.
struct Pieces {
    sender: mpsc::Sender<Result<Bytes, io::Error>>,
    buffer: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = Bytes::from(std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE)));
        self.sender.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Engine {
    /// Gets what the node lacks of an image out of this engine.
    pub(super) async fn missing_layers(
        &self,
        reference: &str,
        image: &ImageInfo,
        to: &Engine,
    ) -> Result<Partial, WholeInstead> {
        if !matches!(self.endpoint(), Endpoint::Unix(_)) {
            return Err(WholeInstead("the host's engine is not on this machine".into()));
        }
        if self.about().await?.containerd_store || to.about().await?.containerd_store {
            return Err(WholeInstead("an engine keeps its images in containerd's store".into()));
        }
        // An older image of the same repository is the one to have most in common with, and quickly asked for.
        let family = ImageFilter { references: vec![split_tag(reference).0.to_owned()], ..Default::default() };
        let mut known = to.known_layers(&image.layers, &family).await?;
        if self.share_of_top(reference, image.layers.len() - known).await? > MOST_SENT {
            known = to.known_layers(&image.layers, &ImageFilter::default()).await?;
        }
        if known == 0 && !image.layers.is_empty() {
            return Err(WholeInstead("the node has none of its layers".into()));
        }
        let wanted = &image.layers[known..];
        if self.share_of_top(reference, wanted.len()).await? > MOST_SENT {
            return Err(WholeInstead("most of it is missing".into()));
        }
        let config = self.raw_config(reference).await?;
        if format!("sha256:{}", hex(digest(&SHA256, &config).as_ref())) != image.id {
            return Err(WholeInstead("its configuration is not what its ID says".into()));
        }
        let missing = if wanted.is_empty() { HashMap::new() } else { self.push_out(&image.id, wanted).await? };
        Ok(Partial { config, reference: reference.to_owned(), layers: image.layers.clone(), missing })
    }

    /// How many of these layers, counted from the lowest, some image on this engine has.
    async fn known_layers(&self, layers: &[String], among: &ImageFilter) -> Result<usize, DockerError> {
        let images = self.images(among).await?;
        let prefixes = stream::iter(images)
            .map(async |line| {
                let image = self.image(&line.id).await?;
                let shared = |image: ImageInfo| image.layers.iter().zip(layers).take_while(|(a, b)| a == b).count();
                Ok::<_, DockerError>(image.map_or(0, shared))
            })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        prefixes.into_iter().try_fold(0, |most, count| Ok(most.max(count?)))
    }

    /// The share of an image's bytes that is in its topmost layers.
    async fn share_of_top(&self, reference: &str, layers: usize) -> Result<f64, DockerError> {
        if layers == 0 {
            return Ok(0.0);
        }
        let history = self.docker().image_history(reference).await;
        let history = history.map_err(|error| self.error("tell an image's history", error))?;
        let sizes: Vec<f64> = history.iter().map(|line| line.size as f64).filter(|size| *size > 0.0).collect();
        let all: f64 = sizes.iter().sum();
        let top: f64 = sizes.iter().take(layers).sum();
        Ok(if all > 0.0 { top / all } else { 0.0 })
    }

    /// Pushes an image into a registry of our own until these layers have arrived.
    async fn push_out(&self, id: &str, wanted: &[String]) -> Result<HashMap<String, Received>, WholeInstead> {
        self.sweep().await?;
        let receiver = Receiver::open().await.map_err(|error| WholeInstead(error.to_string()))?;
        let repository = format!("127.0.0.1:{}/{PUSHED}", receiver.address.port());
        let name = format!("{repository}:{PUSHED_TAG}");
        let begun = Arc::clone(&receiver.begun);
        let (mut arriving, serving) = receiver.serve();
        self.tag(id, &name).await?;
        let options = PushImageOptions { tag: Some(PUSHED_TAG.to_owned()), ..Default::default() };
        let pushing = self.docker().push_image(&repository, Some(options), Some(DockerCredentials::default()));
        let mut tagged = true;
        let collecting = async {
            let mut found = HashMap::new();
            tokio::pin!(pushing, serving);
            while wanted.iter().any(|layer| !found.contains_key(layer)) {
                tokio::select! {
                    () = begun.notified(), if tagged => {
                        tagged = false;
                        self.untag(&name).await?;
                    }
                    layer = arriving.recv() => {
                        let layer = layer.ok_or_else(|| WholeInstead("the registry closed".into()))?;
                        if wanted.contains(&layer.diff_id) {
                            found.insert(layer.diff_id.clone(), layer);
                        }
                    }
                    told = pushing.next() => match told {
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return Err(self.error("push its layers", error).into()),
                        None => return Err(WholeInstead("the push ended without all layers".into())),
                    },
                    never = &mut serving => match never {},
                }
            }
            Ok(found)
        };
        let found = collecting.await;
        if tagged {
            self.untag(&name).await?;
        }
        found
    }

    /// Takes away names that a run left behind which was killed between giving one and taking it back. A name whose
    /// registry still listens is in use.
    async fn sweep(&self) -> Result<(), DockerError> {
        let filter =
            ImageFilter { references: vec![format!("127.0.0.1:*/{PUSHED}:{PUSHED_TAG}")], ..Default::default() };
        for tag in self.images(&filter).await?.into_iter().flat_map(|image| image.tags) {
            let address = tag.split('/').next().unwrap_or_default();
            if address.starts_with("127.0.0.1:") && TcpStream::connect(address).await.is_err() {
                self.untag(&tag).await?;
            }
        }
        Ok(())
    }
}
