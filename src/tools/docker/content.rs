//! Single blobs out of an engine that keeps its images in containerd's store.
//!
//! BuildKit serves the engine's content store, read only, beside its own services (buildkit, control/control.go). So a
//! manifest, a configuration or one layer is read by its digest, as it is stored: nothing is exported, pushed or packed
//! again.

use std::io;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::buildkit::BuildkitWay;
use super::engine::Engine;
use super::error::DockerError;

const READ: &str = "/containerd.services.content.v1.Content/Read";
const INFO: &str = "/containerd.services.content.v1.Content/Info";
/// The largest manifest or configuration that is read, in bytes.
const LARGEST_DOCUMENT: usize = 8 << 20;
/// The largest piece of a blob, in bytes; the service sends 1 MiB.
const LARGEST_MESSAGE: usize = 16 << 20;

/// `ReadContentRequest` of containerd's content service; all that is absent means "the whole blob".
#[derive(Clone, PartialEq, prost::Message)]
struct ReadRequest {
    #[prost(string, tag = "1")]
    digest: String,
}

/// `ReadContentResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct ReadResponse {
    #[prost(bytes = "bytes", tag = "2")]
    data: Bytes,
}

/// `InfoRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct InfoRequest {
    #[prost(string, tag = "1")]
    digest: String,
}

/// `InfoResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct InfoResponse {
    #[prost(message, optional, tag = "1")]
    info: Option<Info>,
}

/// `Info` of a blob, as far as it is needed.
#[derive(Clone, PartialEq, prost::Message)]
struct Info {
    #[prost(map = "string, string", tag = "5")]
    labels: std::collections::HashMap<String, String>,
}

/// How labels begin that name a registry which a blob came from or went to.
const OF_REGISTRY: &str = "containerd.io/distribution.source.";

/// Whether there is no such blob, or no such service: BuildKit before 0.11 does not serve the store.
fn is_absent(status: &Status) -> bool {
    matches!(status.code(), Code::NotFound | Code::Unimplemented)
}

/// The content store of an engine.
#[derive(Debug, Clone)]
pub(in crate::tools) struct Content {
    channel: Channel,
    engine: Engine,
}

impl Engine {
    /// Connects to the engine's content store. An engine with the classic store has one as well, without its images.
    pub(in crate::tools) async fn content(&self) -> Result<Content, DockerError> {
        if self.buildkit_way().await == BuildkitWay::Upgrade {
            return Ok(Content { channel: self.buildkit().await?, engine: self.clone() });
        }
        // Only a connection of this kind is opened anew by itself when it breaks, so only this one is kept.
        let channel = self.content_channel().get_or_try_init(|| self.buildkit()).await?.clone();
        Ok(Content { channel, engine: self.clone() })
    }
}

impl Content {
    /// A manifest or a configuration; `None` when the store does not have it.
    pub(super) async fn document(&self, digest: &str) -> Result<Option<Bytes>, DockerError> {
        let mut pieces = match self.read(digest).await {
            Ok(pieces) => pieces,
            Err(status) if is_absent(&status) => return Ok(None),
            Err(status) => return Err(self.refused(digest, &status)),
        };
        let mut document = BytesMut::new();
        loop {
            match pieces.next().await {
                Some(Ok(piece)) if document.len() + piece.data.len() <= LARGEST_DOCUMENT => {
                    document.extend_from_slice(&piece.data);
                }
                Some(Ok(_)) => return Err(self.refused(digest, &Status::out_of_range("it is too large"))),
                Some(Err(status)) if is_absent(&status) => return Ok(None),
                Some(Err(status)) => return Err(self.refused(digest, &status)),
                None => return Ok(Some(document.freeze())),
            }
        }
    }

    /// Whether the store has a blob.
    pub(super) async fn has(&self, digest: &str) -> Result<bool, DockerError> {
        Ok(self.info(digest).await?.is_some())
    }

    /// Whether a registry knows a blob of the store.
    pub(super) async fn is_of_registry(&self, digest: &str) -> Result<bool, DockerError> {
        let info = self.info(digest).await?;
        Ok(info.is_some_and(|info| info.labels.keys().any(|label| label.starts_with(OF_REGISTRY))))
    }

    async fn info(&self, digest: &str) -> Result<Option<Info>, DockerError> {
        let mut grpc = Grpc::new(self.channel.clone());
        let asked = async {
            grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let codec = ProstCodec::<InfoRequest, InfoResponse>::default();
            let question = Request::new(InfoRequest { digest: digest.to_owned() });
            grpc.unary(question, PathAndQuery::from_static(INFO), codec).await
        };
        match asked.await {
            Ok(answer) => Ok(Some(answer.into_inner().info.unwrap_or_default())),
            Err(status) if is_absent(&status) => Ok(None),
            Err(status) => Err(self.refused(digest, &status)),
        }
    }

    /// The bytes of a blob, from the moment when the stream is first polled.
    pub(super) fn stream(self, digest: String) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let failed = |status: Status| io::Error::other(status.message().to_owned());
        let opening = async move { self.read(&digest).await };
        futures::stream::once(opening).flat_map(move |opened| match opened {
            Ok(pieces) => pieces.map(move |piece| piece.map(|piece| piece.data).map_err(failed)).boxed(),
            Err(status) => futures::stream::once(async move { Err(failed(status)) }).boxed(),
        })
    }

    async fn read(&self, digest: &str) -> Result<Streaming<ReadResponse>, Status> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(LARGEST_MESSAGE);
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = ProstCodec::<ReadRequest, ReadResponse>::default();
        let question = Request::new(ReadRequest { digest: digest.to_owned() });
        let answer = grpc.server_streaming(question, PathAndQuery::from_static(READ), codec).await?;
        Ok(answer.into_inner())
    }

    fn refused(&self, digest: &str, status: &Status) -> DockerError {
        self.engine.refused(&format!("give the blob `{digest}`"), status)
    }
}
