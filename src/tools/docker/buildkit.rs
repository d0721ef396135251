//! The ways to BuildKit's services in an engine.
//!
//! An engine since 28.4 answers gRPC on its own socket. Older ones turn a request to `/grpc` or `/session` into such a
//! connection, which newer ones deprecate (moby pull request 50744).

use std::io;
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::buildkit::v1::{BytesMessage, ListWorkersRequest};
use futures::{StreamExt, stream};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};
use tonic::transport::{Channel, Endpoint as GrpcEndpoint};
use tonic::{Request, Streaming};

use super::dial::{self, ApiVersion};
use super::engine::Engine;
use super::error::DockerError;

/// Engines whose API is older than this do not answer gRPC on their socket; they are not asked.
const FIRST_WITH_GRPC: ApiVersion = ApiVersion { major: 1, minor: 50 };
/// How long an engine may take to show that it answers gRPC.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of a stream, and of a connection, that may be under way: layers are large.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Bytes of a session in one message.
const PIECE: usize = 32 << 10;
/// Messages of a session that wait to be sent.
const WAITING: usize = 16;

/// How BuildKit's services are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildkitWay {
    /// gRPC on the engine's own address.
    Grpc,
    /// A connection that a request to `/grpc` or `/session` is turned into.
    Upgrade,
}

impl BuildkitWay {
    /// Its name in `stack status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Upgrade => "upgrade",
        }
    }
}

/// The connection on which the engine asks for files and secrets.
pub(super) enum SessionConnection {
    /// A connection of its own.
    Upgraded(Upgraded),
    /// Messages in both directions; the session is served at the near end of a pipe.
    Messages(Box<Messages>),
}

/// A session whose bytes travel in messages.
pub(super) struct Messages {
    near: DuplexStream,
    far: DuplexStream,
    out: mpsc::Sender<BytesMessage>,
    back: Streaming<BytesMessage>,
}

impl Messages {
    /// The end at which the session is served, and the future that has to run for bytes to travel.
    pub(super) fn split(self) -> (DuplexStream, impl Future<Output = ()> + Send) {
        let Self { near, far, out, back } = self;
        (near, carry(far, out, back))
    }
}

impl Engine {
    /// How BuildKit's services are reached on this engine; found out once.
    pub async fn buildkit_way(&self) -> BuildkitWay {
        let find = || async {
            if self.dialer().offered().is_some_and(|offered| offered < FIRST_WITH_GRPC) {
                return BuildkitWay::Upgrade;
            }
            let asking = async {
                let mut control = ControlClient::new(self.grpc().await.ok()?);
                control.list_workers(ListWorkersRequest::default()).await.ok()
            };
            match timeout(ANSWER_WITHIN, asking).await {
                Ok(Some(_)) => BuildkitWay::Grpc,
                Ok(None) | Err(_) => BuildkitWay::Upgrade,
            }
        };
        *self.buildkit_way_cell().get_or_init(find).await
    }

    /// A connection to BuildKit's services.
    pub(super) async fn buildkit(&self) -> Result<Channel, DockerError> {
        match self.buildkit_way().await {
            BuildkitWay::Grpc => self.grpc().await,
            BuildkitWay::Upgrade => {
                let mut connection = Some(dial::upgrade(self.dialer(), "/grpc", &[]).await?);
                // The address is never looked up: the one connection we have is handed over.
                let connector = tower::service_fn(move |_| {
                    let connection = connection.take().ok_or_else(|| io::Error::other("the connection is closed"));
                    async move { connection }
                });
                let channel = endpoint().connect_with_connector(connector).await;
                channel.map_err(|error| self.broken("asking for a build", &error))
            }
        }
    }

    /// gRPC from the first byte of a connection.
    async fn grpc(&self) -> Result<Channel, DockerError> {
        let dialer = self.dialer().clone();
        let connector = tower::service_fn(move |_| {
            let dialer = dialer.clone();
            async move { dialer.connect_http2().await.map(TokioIo::new) }
        });
        let channel = endpoint().connect_with_connector(connector).await;
        channel.map_err(|error| self.broken("connecting to BuildKit", &error))
    }

    /// Opens the session of a build. `headers` name the session and what the engine finds on it.
    pub(super) async fn session(&self, headers: &[(&str, String)]) -> Result<SessionConnection, DockerError> {
        if self.buildkit_way().await == BuildkitWay::Upgrade {
            return dial::upgrade(self.dialer(), "/session", headers).await.map(SessionConnection::Upgraded);
        }
        let mut control = ControlClient::new(self.grpc().await?);
        let (out, mut messages) = mpsc::channel(WAITING);
        let mut request = Request::new(stream::poll_fn(move |context| messages.poll_recv(context)));
        for (name, value) in headers {
            let key: Result<MetadataKey<Ascii>, _> = name.to_ascii_lowercase().parse();
            let value: Result<MetadataValue<Ascii>, _> = value.parse();
            if let (Ok(key), Ok(value)) = (key, value) {
                request.metadata_mut().append(key, value);
            }
        }
        let back = control.session(request).await.map_err(|status| DockerError::Broken {
            endpoint: self.endpoint().clone(),
            doing: "opening the session of a build".to_owned(),
            reason: status.message().to_owned(),
        })?;
        let (near, far) = tokio::io::duplex(2 * PIECE);
        Ok(SessionConnection::Messages(Box::new(Messages { near, far, out, back: back.into_inner() })))
    }

    fn broken(&self, doing: &str, error: &tonic::transport::Error) -> DockerError {
        DockerError::Broken {
            endpoint: self.endpoint().clone(),
            doing: doing.to_owned(),
            reason: std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string),
        }
    }
}

fn endpoint() -> GrpcEndpoint {
    GrpcEndpoint::from_static("http://docker")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
}

/// Carries the bytes of a session in messages, both ways, until either side ends.
async fn carry(far: DuplexStream, out: mpsc::Sender<BytesMessage>, mut back: Streaming<BytesMessage>) {
    let (mut read, mut write) = tokio::io::split(far);
    let sending = async {
        let mut buffer = vec![0; PIECE];
        while let Ok(count @ 1..) = read.read(&mut buffer).await {
            if out.send(BytesMessage { data: buffer[..count].to_vec() }).await.is_err() {
                return;
            }
        }
    };
    let receiving = async {
        while let Some(Ok(message)) = back.next().await {
            if write.write_all(&message.data).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = sending => {}
        () = receiving => {}
    }
}
