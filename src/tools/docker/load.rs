//! Brings an image from one engine to another, and proves that it is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bollard::query_parameters::ImportImageOptions;
use bytes::Bytes;
use futures::{Stream, StreamExt};

use super::engine::{Engine, ImageInfo};
use super::error::{DockerError, LoadFailure, LoadFault, is_disk_full};

/// How far a load has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadProgress {
    /// Bytes handed to the node's engine so far.
    pub sent: u64,
    /// The size of the image on the host in bytes, which the archive comes close to.
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
    /// The image as the node has it.
    pub image: ImageInfo,
    /// How it came.
    pub way: LoadWay,
    /// Why the whole image was sent although only some layers were asked for.
    pub why_whole: Option<String>,
    /// Layers that the node had already.
    pub layers_skipped: usize,
    /// Bytes that were sent.
    pub sent: u64,
    /// The size of the image on the host in bytes.
    pub total: u64,
}

impl Engine {
    /// Whether this engine has the image of that ID under that name.
    pub async fn has(&self, reference: &str, id: &str) -> Result<bool, DockerError> {
        Ok(self.image(reference).await?.is_some_and(|image| image.id == id))
    }

    /// Brings an image to another engine under the same name, and reads it back there. One that is there under another
    /// name only gets this name.
    pub async fn load(
        &self,
        reference: &str,
        to: &Engine,
        way: LoadWay,
        mut on_progress: impl FnMut(LoadProgress) + Send,
    ) -> Result<Loaded, DockerError> {
        let image = self.own_image(reference).await?;
        let total = image.size;
        if to.image(&image.id).await?.is_some() {
            to.tag(&image.id, reference).await?;
            let layers_skipped = image.layers.len();
            let image = to.prove(reference, &image.id, 0).await?;
            return Ok(Loaded { image, way: LoadWay::Layers, why_whole: None, layers_skipped, sent: 0, total });
        }
        let mut why_whole = None;
        if way == LoadWay::Layers {
            match self.missing_layers(reference, &image, to).await {
                Ok(partial) => {
                    let layers_skipped = partial.skipped();
                    let total_sent = partial.size();
                    let tell = |sent| on_progress(LoadProgress { sent, total: total_sent });
                    let loading = async {
                        let sent = to.receive(reference, partial.archive(), tell).await?;
                        Ok::<_, DockerError>((to.prove(reference, &image.id, sent).await?, sent))
                    };
                    match loading.await {
                        Ok((image, sent)) => {
                            let way = LoadWay::Layers;
                            return Ok(Loaded { image, way, why_whole: None, layers_skipped, sent, total });
                        }
                        Err(error) => why_whole = Some(error.to_string()),
                    }
                }
                Err(why) => why_whole = Some(why.0),
            }
        }
        let loaded = self.load_archive(reference, to, on_progress).await?;
        Ok(Loaded { why_whole, ..loaded })
    }

    async fn own_image(&self, reference: &str) -> Result<ImageInfo, DockerError> {
        self.image(reference)
            .await?
            .ok_or_else(|| DockerError::NoImage { reference: reference.to_owned(), endpoint: self.endpoint().clone() })
    }

    /// Sends the whole image to another engine as a stream, never through a file, and reads it back there.
    pub async fn load_archive(
        &self,
        reference: &str,
        to: &Engine,
        mut on_progress: impl FnMut(LoadProgress) + Send,
    ) -> Result<Loaded, DockerError> {
        let image = self.own_image(reference).await?;
        let total = image.size;
        let archive = self.docker().export_image(reference).map(|piece| piece.map_err(std::io::Error::other));
        let sent = to.receive(reference, archive, |sent| on_progress(LoadProgress { sent, total })).await?;
        let image = to.prove(reference, &image.id, sent).await?;
        Ok(Loaded { image, way: LoadWay::Archive, why_whole: None, layers_skipped: 0, sent, total })
    }

    /// Hands an archive of images to this engine; gives the number of bytes it took.
    pub(super) async fn receive(
        &self,
        reference: &str,
        archive: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
        mut on_sent: impl FnMut(u64) + Send,
    ) -> Result<u64, DockerError> {
        let sent = Arc::new(AtomicU64::new(0));
        let source_failed = Arc::new(std::sync::Mutex::new(None));
        let (counted, failed) = (Arc::clone(&sent), Arc::clone(&source_failed));
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
        let options = ImportImageOptions { quiet: true, ..Default::default() };
        let answers = self.docker().import_image_stream(options, body, None);
        tokio::pin!(answers);
        let mut telling = true;
        let failed = loop {
            tokio::select! {
                answer = answers.next() => match answer {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break Some(error),
                    None => break None,
                },
                changed = told.changed(), if telling => match changed {
                    Ok(()) => {
                        let sent = *told.borrow_and_update();
                        on_sent(sent);
                    }
                    Err(_) => telling = false,
                },
            }
        };
        let sent = sent.load(Ordering::Relaxed);
        on_sent(sent);
        let source = source_failed.lock().ok().and_then(|mut failed| failed.take());
        let fault = match (source, failed) {
            (Some(reason), _) => LoadFault::Source(reason),
            (None, None) => return Ok(sent),
            (None, Some(error)) => match self.error("load the image", error) {
                DockerError::Refused { message, .. } if is_disk_full(&message) => LoadFault::DiskFull(message),
                DockerError::Refused { message, .. } => LoadFault::Refused(message),
                other => LoadFault::NodeGone(other.to_string()),
            },
        };
        Err(self.load_failure(reference, fault, sent))
    }

    /// Reads the image back: an engine may say that all is well and have nothing, or something else.
    pub(super) async fn prove(&self, reference: &str, id: &str, sent: u64) -> Result<ImageInfo, DockerError> {
        match self.image(reference).await? {
            Some(image) if image.id == id => Ok(image),
            Some(image) => {
                let fault = LoadFault::Differs { expected: id.to_owned(), found: image.id };
                Err(self.load_failure(reference, fault, sent))
            }
            None => Err(self.load_failure(reference, LoadFault::Missing, sent)),
        }
    }

    pub(super) fn load_failure(&self, reference: &str, reason: LoadFault, sent: u64) -> DockerError {
        let (reference, to) = (reference.to_owned(), self.endpoint().clone());
        Box::new(LoadFailure { reference, to, reason, sent }).into()
    }
}
