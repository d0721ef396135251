//! Connections to an engine: a pool of them for bollard, single ones that speak HTTP/2 from the first byte, and single ones
//! that turn an HTTP request into a raw connection, which bollard keeps to itself.
//!
//! Requests name the version of the API that the engine offers, as its first answer says.
//!
//! bollard's own clients open a connection for each request. Over TLS with client certificates that costs both sides more
//! than most requests do.

use std::fs;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bollard::errors::Error as BollardError;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::header::{CONNECTION, HOST, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::endpoint::Endpoint;
use super::error::DockerError;

/// A byte stream in both directions.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection to an engine, whatever it goes over.
pub(super) struct Stream(Box<dyn Duplex>);

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

/// Opens connections to one engine. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Dialer {
    endpoint: Arc<Endpoint>,
    /// Shared, so that a later connection resumes the session of an earlier one.
    tls: Option<Arc<rustls::ClientConfig>>,
    /// The newest version of the API that the engine offers, from the header of its first answer.
    offered: Arc<OnceLock<ApiVersion>>,
}

/// A version of the engine's API, such as 1.53.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ApiVersion {
    pub(super) major: usize,
    pub(super) minor: usize,
}

impl ApiVersion {
    /// Reads `1.53`.
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }

    /// The one to speak with an engine that offers this: no newer than the requests were written for.
    fn spoken(self) -> Self {
        let newest = Self { major: API_DEFAULT_VERSION.major_version, minor: API_DEFAULT_VERSION.minor_version };
        self.min(newest)
    }

    /// A path of the API in this version.
    fn path(self, path: &str) -> String {
        format!("/v{}.{}{path}", self.major, self.minor)
    }
}

impl Dialer {
    /// Reads the certificates if there are to be any; nothing is connected yet.
    pub(super) fn new(endpoint: Endpoint) -> Result<Self, DockerError> {
        let tls = match &endpoint {
            Endpoint::Tls { certificates, .. } => Some(Arc::new(tls_config(certificates)?)),
            Endpoint::Unix(_) | Endpoint::Tcp { .. } => None,
        };
        Ok(Self { endpoint: Arc::new(endpoint), tls, offered: Arc::default() })
    }

    /// The newest version of the API that the engine offers; `None` before its first answer.
    pub(super) fn offered(&self) -> Option<ApiVersion> {
        self.offered.get().copied()
    }

    /// A path of the API in the version that is spoken.
    fn versioned(&self, path: &str) -> String {
        self.offered().map_or_else(|| path.to_owned(), |offered| offered.spoken().path(path))
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// A connection that speaks HTTP/2 from its first byte. Over TLS the engine has to agree to that.
    pub(super) async fn connect_http2(&self) -> Result<Stream, DockerError> {
        let Some(config) = &self.tls else { return self.connect().await };
        let mut config = rustls::ClientConfig::clone(config);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let dialer = Self { tls: Some(Arc::new(config)), ..self.clone() };
        dialer.connect().await
    }

    async fn connect(&self) -> Result<Stream, DockerError> {
        let unreachable = |error: std::io::Error| DockerError::Unreachable {
            endpoint: Endpoint::clone(&self.endpoint),
            denied: error.kind() == std::io::ErrorKind::PermissionDenied,
            reason: match (&*self.endpoint, error.kind()) {
                (Endpoint::Unix(_), std::io::ErrorKind::NotFound) => "the socket does not exist".to_owned(),
                _ => error.to_string(),
            },
        };
        Ok(Stream(match &*self.endpoint {
            Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(unreachable)?),
            Endpoint::Tcp { host, port } | Endpoint::Tls { host, port, .. } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
                stream.set_nodelay(true).map_err(unreachable)?;
                match &self.tls {
                    None => Box::new(stream),
                    Some(config) => {
                        let name = ServerName::try_from(host.clone()).map_err(|error| DockerError::Address {
                            address: self.endpoint.to_string(),
                            reason: error.to_string(),
                        })?;
                        let connecting = TlsConnector::from(Arc::clone(config)).connect(name, stream);
                        let connected = connecting.await.map_err(unreachable)?;
                        if !config.alpn_protocols.is_empty() && connected.get_ref().1.alpn_protocol().is_none() {
                            return Err(unreachable(std::io::Error::other("the engine does not speak HTTP/2")));
                        }
                        Box::new(connected)
                    }
                }
            }
        }))
    }

    /// A client over connections that are used again. An answer to one request may take up to `seconds`.
    pub(super) fn client(&self, seconds: u64) -> Result<Docker, BollardError> {
        let client = Client::builder(TokioExecutor::new()).build(self.clone());
        let dialer = self.clone();
        let transport = move |mut request: BollardRequest| {
            let (client, dialer) = (client.clone(), dialer.clone());
            async move {
                if let Some(path) = request.uri().path_and_query().map(|path| dialer.versioned(path.as_str())) {
                    let mut parts = request.uri().clone().into_parts();
                    parts.path_and_query = Some(path.parse().map_err(http::Error::from)?);
                    *request.uri_mut() = Uri::from_parts(parts).map_err(http::Error::from)?;
                }
                let response = client.request(request).await?;
                if let Some(offered) = response.headers().get("api-version").and_then(|value| value.to_str().ok())
                    && let Some(offered) = ApiVersion::parse(offered)
                {
                    dialer.offered.get_or_init(|| offered);
                }
                Ok(response)
            }
        };
        let address = format!("http://{}", self.endpoint.host_header());
        Docker::connect_with_custom_transport(transport, Some(address), seconds, API_DEFAULT_VERSION)
    }
}

impl tower::Service<Uri> for Dialer {
    type Response = TokioIo<Stream>;
    type Error = DockerError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move { dialer.connect().await.map(TokioIo::new) })
    }
}

/// Opens a connection that speaks HTTP/2 after an upgrade of a POST request to `path`.
pub(super) async fn upgrade(dialer: &Dialer, path: &str, headers: &[(&str, String)]) -> Result<Upgraded, DockerError> {
    let endpoint = dialer.endpoint();
    let path = dialer.versioned(path);
    let doing = || format!("opening {path}");
    let broken = |reason: String| DockerError::Broken { endpoint: endpoint.clone(), doing: doing(), reason };
    let stream = dialer.connect().await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(error.to_string()))?;
    // Ends by itself: with the upgrade, or when the request below is dropped.
    tokio::spawn(connection.with_upgrades());

    let mut request =
        Request::post(&path).header(HOST, endpoint.host_header()).header(CONNECTION, "Upgrade").header(UPGRADE, "h2c");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| broken(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(|error| broken(error.to_string()))?;
    let status = response.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let body = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let message = String::from_utf8_lossy(&body).trim().to_owned();
        return Err(DockerError::Refused { doing: doing(), status: Some(status.as_u16()), message });
    }
    hyper::upgrade::on(response).await.map_err(|error| broken(error.to_string()))
}

/// The engine's own authority only: an engine's certificate is never signed by a public one.
fn tls_config(folder: &Path) -> Result<rustls::ClientConfig, DockerError> {
    let unusable = |file: &str, reason: String| DockerError::Certificate { path: folder.join(file), reason };
    let read = |file: &str| fs::read(folder.join(file)).map_err(|error| unusable(file, error.to_string()));
    let chain = |file: &str| -> Result<Vec<CertificateDer<'static>>, DockerError> {
        CertificateDer::pem_slice_iter(&read(file)?)
            .collect::<Result<_, _>>()
            .map_err(|error| unusable(file, error.to_string()))
    };
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(chain("ca.pem")?);
    let key =
        PrivateKeyDer::from_pem_slice(&read("key.pem")?).map_err(|error| unusable("key.pem", error.to_string()))?;
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable("ca.pem", error.to_string()))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain("cert.pem")?, key)
        .map_err(|error| unusable("cert.pem", error.to_string()))
}
