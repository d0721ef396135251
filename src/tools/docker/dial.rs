//! Connections of our own to an engine, for the two endpoints that turn an HTTP request into a raw connection.
//!
//! Everything else goes through bollard, which keeps these upgraded connections to itself.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::header::{CONNECTION, HOST, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::endpoint::Endpoint;
use super::error::DockerError;

/// A byte stream in both directions.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Opens a connection that speaks HTTP/2 after an upgrade of a POST request to `path`.
pub(super) async fn upgrade(
    endpoint: &Endpoint,
    path: &str,
    headers: &[(&str, String)],
) -> Result<Upgraded, DockerError> {
    let doing = || format!("opening {path}");
    let broken = |reason: String| DockerError::Broken { endpoint: endpoint.clone(), doing: doing(), reason };
    let stream = connect(endpoint).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(error.to_string()))?;
    // Ends by itself: with the upgrade, or when the request below is dropped.
    tokio::spawn(connection.with_upgrades());

    let mut request =
        Request::post(path).header(HOST, endpoint.host_header()).header(CONNECTION, "Upgrade").header(UPGRADE, "h2c");
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

async fn connect(endpoint: &Endpoint) -> Result<Box<dyn Duplex>, DockerError> {
    let unreachable = |error: std::io::Error| DockerError::Unreachable {
        endpoint: endpoint.clone(),
        denied: error.kind() == std::io::ErrorKind::PermissionDenied,
        reason: error.to_string(),
    };
    match endpoint {
        Endpoint::Unix(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(unreachable)?)),
        Endpoint::Tcp { host, port } => Ok(Box::new(tcp(host, *port).await.map_err(unreachable)?)),
        Endpoint::Tls { host, port, certificates } => {
            let config = Arc::new(tls_config(certificates)?);
            let name = ServerName::try_from(host.clone())
                .map_err(|error| DockerError::Address { address: endpoint.to_string(), reason: error.to_string() })?;
            let stream = tcp(host, *port).await.map_err(unreachable)?;
            Ok(Box::new(TlsConnector::from(config).connect(name, stream).await.map_err(unreachable)?))
        }
    }
}

async fn tcp(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
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
