//! Gets only the topmost layers of an image out of an engine with the classic store.
//!
//! `docker save` always writes the whole image. A push sends single layers, the topmost first: it goes into a registry of
//! our own, which is dropped as soon as what is wanted has arrived. When anything about this does not work, the whole
//! image is sent instead.

use std::collections::HashMap;

use bollard::auth::DockerCredentials;
use bollard::query_parameters::PushImageOptions;
use futures::{StreamExt, stream};
use tokio::net::TcpStream;

use super::archive::{Blob, Part, Parts, Source};
use super::endpoint::Endpoint;
use super::engine::{Engine, ImageFilter, ImageInfo, split_tag};
use super::error::DockerError;
use super::load::{Known, Wanted};
use super::receiver::{Received, Receiver, sha256};

/// Images of a node that are asked for at the same time.
const AT_ONCE: usize = 16;
/// When more of an image than this is missing, sending all of it is as fast: single layers come compressed out of the
/// engine.
pub(super) const MOST_SENT: f64 = 0.5;
/// The name that an image has for the time of a push: `127.0.0.1:PORT/stack/load:layers`.
const PUSHED: &str = "stack/load";
const PUSHED_TAG: &str = "layers";

/// Why only some layers cannot be sent. It is never an error: the whole image can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tools) struct WholeInstead(pub(in crate::tools) String);

impl From<DockerError> for WholeInstead {
    fn from(error: DockerError) -> Self {
        Self(error.to_string())
    }
}

/// How many of these layers, counted from the lowest, the images with those layers share with it.
pub(in crate::tools) fn shared(image: &[String], layers: &[String]) -> usize {
    image.iter().zip(layers).take_while(|(one, other)| one == other).count()
}

impl Engine {
    /// Gets all but the lowest layers, which are known, of an image out of an engine with the classic store.
    pub(super) async fn parts(&self, reference: &str, image: &ImageInfo, known: Known) -> Result<Parts, WholeInstead> {
        let Known { count: known, blobs } = known;
        if !matches!(self.endpoint(), Endpoint::Unix(_)) {
            return Err(WholeInstead("the host's engine is not on this machine".into()));
        }
        if known == 0 && !image.layers.is_empty() {
            return Err(WholeInstead("the node has none of its layers".into()));
        }
        let wanted = &image.layers[known..];
        if self.share_of_top(reference, wanted.len()).await? > MOST_SENT {
            return Err(WholeInstead("most of it is missing".into()));
        }
        let config = self.raw_config(reference).await?;
        if sha256(&config) != image.id {
            return Err(WholeInstead("its configuration is not what its ID says".into()));
        }
        let mut missing = if wanted.is_empty() { HashMap::new() } else { self.push_out(&image.id, wanted).await? };
        let mut blobs = blobs.into_iter();
        let layers = image.layers.iter().map(|diff_id| {
            let (blob, source) = match missing.remove(diff_id) {
                Some(Received { digest, size, file, .. }) => (Some(Blob { digest, size }), Some(Source::File(file))),
                None => (blobs.next(), None),
            };
            Part { diff_id: diff_id.clone(), blob, source }
        });
        let layers = layers.collect();
        Ok(Parts { manifest: None, config: config.into(), layers })
    }

    /// How many of these layers, counted from the lowest, some image on this engine has.
    pub(super) async fn shared_layers(&self, layers: &[String], among: &ImageFilter) -> Result<usize, DockerError> {
        let images = self.images(among).await?;
        let prefixes = stream::iter(images)
            .map(async |line| {
                let image = self.image(&line.id).await?;
                Ok::<_, DockerError>(image.map_or(0, |image| shared(&image.layers, layers)))
            })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        prefixes.into_iter().try_fold(0, |most, count| Ok(most.max(count?)))
    }

    /// How many layers of an image, counted from the lowest, this engine has: looked for among the images of the same
    /// repository first, which is quick, and then among all.
    pub(super) async fn shared_with_any(&self, wanted: &Wanted) -> Result<usize, DockerError> {
        let layers = &wanted.image.layers;
        let same = vec![split_tag(&wanted.reference).0.to_owned()];
        let count = self.shared_layers(layers, &ImageFilter { references: same, ..ImageFilter::default() }).await?;
        // All but the topmost layer: nothing is to be found that saves much more.
        if count + 1 >= layers.len() { Ok(count) } else { self.shared_layers(layers, &ImageFilter::default()).await }
    }

    /// The share of an image's bytes that is in its topmost layers.
    pub(super) async fn share_of_top(&self, reference: &str, layers: usize) -> Result<f64, DockerError> {
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
        let begun = std::sync::Arc::clone(&receiver.begun);
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
