//! Reaching a Service from the host, whatever its type: through the API server's port-forward to one of its ready pods.
//!
//! Such a connection takes the node tens of milliseconds to make. Whoever only wants to see that all is still well can have
//! the API server ask instead ([`Cluster::http_glance`]); what that says is believed only when it is good.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::cluster::Cluster;
use super::error::KubeError;
use super::object::Object;
use super::slices;

/// The most of an answer's body that is looked at.
const BODY_LIMIT: usize = 1 << 20;

/// How long a port that accepts a forwarded connection and closes it again may take to do so.
const REFUSAL: Duration = Duration::from_millis(200);

/// How long a glance may take. Whoever gets no answer looks properly.
const GLANCE: Duration = Duration::from_millis(500);

/// Why a Service could not be reached, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// There is no such Service.
    #[error("there is no Service {service} in namespace {namespace}")]
    NoService {
        /// The Service.
        service: String,
        /// Its namespace.
        namespace: String,
    },
    /// The Service does not have the port.
    #[error("Service {service} has no port {port}, only {known}")]
    NoPort {
        /// The Service.
        service: String,
        /// The port that was asked for.
        port: u16,
        /// The ports that it has.
        known: String,
    },
    /// No pod behind it is ready.
    #[error("no pod behind Service {service} is ready")]
    NoPod {
        /// The Service.
        service: String,
    },
    /// The pod does not accept the connection, or breaks it off.
    #[error("pod {pod} does not answer on port {port}: {reason}")]
    NoAnswer {
        /// The pod.
        pod: String,
        /// Its port.
        port: u16,
        /// Why.
        reason: String,
    },
    /// Nothing answers at an address.
    #[error("{url} does not answer: {reason}")]
    NoServer {
        /// The address.
        url: String,
        /// Why.
        reason: String,
    },
    /// The request itself can't be sent.
    #[error("that is no HTTP request: {0}")]
    Request(#[from] http::Error),
    /// The cluster could not be asked.
    #[error(transparent)]
    Kube(#[from] KubeError),
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// The Service.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// The port of the Service, not of the pod.
    pub port: u16,
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// The beginning of the body, as text.
    pub body: String,
}

/// A pod and the port on it behind a Service.
struct Backend {
    pod: String,
    port: u16,
}

impl Cluster {
    /// Sends a GET request to a Service and reads the answer; with `tls`, through TLS whose certificate is not verified.
    ///
    /// # Errors
    /// When there is no such Service, no ready pod behind it, or no answer.
    pub async fn http_get(
        &self,
        to: &ServicePort,
        path: &str,
        headers: &[(String, String)],
        tls: bool,
    ) -> Result<HttpAnswer, ProbeError> {
        let backend = self.backend(to).await?;
        let stream = self.forward(to, &backend).await?;
        let request = request(&format!("{}:{}", to.service, to.port), path, headers)?;
        let answer = match tls {
            true => match unverified(&to.service, stream).await {
                Ok(stream) => ask(stream, request).await,
                Err(reason) => Err(reason),
            },
            false => ask(stream, request).await,
        };
        let no_answer = |reason| ProbeError::NoAnswer { pod: backend.pod.clone(), port: backend.port, reason };
        answer.map_err(no_answer)
    }

    /// The status with which a Service answers a GET request that the API server passes on, if that is a success. What is
    /// none may be the API server's own word, or that of something between it and the pods, and is not told.
    pub async fn http_glance(&self, to: &ServicePort, path: &str, tls: bool) -> Option<u16> {
        let scheme = if tls { "https:" } else { "" };
        let ServicePort { service, namespace, port } = to;
        let path = path.trim_start_matches('/');
        let path = format!("/api/v1/namespaces/{namespace}/services/{scheme}{service}:{port}/proxy/{path}");
        let request = http::Request::get(path).body(kube::client::Body::empty()).ok()?;
        let answer = tokio::time::timeout(GLANCE, self.client().send(request)).await.ok()?.ok()?;
        Some(answer.status()).filter(http::StatusCode::is_success).map(|status| status.as_u16())
    }

    /// Connects to a port of a Service.
    ///
    /// # Errors
    /// When there is no such Service, no ready pod behind it, or the pod refuses the connection.
    pub async fn tcp_connect(&self, to: &ServicePort) -> Result<(), ProbeError> {
        let backend = self.backend(to).await?;
        let mut stream = self.forward(to, &backend).await?;
        // The API server accepts first and connects then: a port that refuses closes the stream at once.
        let mut first = [0];
        match tokio::time::timeout(REFUSAL, stream.read(&mut first)).await {
            Err(_) | Ok(Ok(1..)) => Ok(()),
            Ok(Ok(0)) => {
                let reason = "the connection is refused".to_owned();
                Err(ProbeError::NoAnswer { pod: backend.pod, port: backend.port, reason })
            }
            Ok(Err(error)) => {
                Err(ProbeError::NoAnswer { pod: backend.pod, port: backend.port, reason: error.to_string() })
            }
        }
    }

    /// A ready pod behind a port of a Service.
    async fn backend(&self, to: &ServicePort) -> Result<Backend, ProbeError> {
        let ServicePort { service, namespace, port } = to;
        let services = self.kind("v1", "Service").await?;
        let (found, slices) =
            tokio::try_join!(self.get(&services, namespace, service), self.slices(namespace, service))?;
        let found =
            found.ok_or_else(|| ProbeError::NoService { service: service.clone(), namespace: namespace.clone() })?;
        let ports = found.list("/spec/ports");
        let number = |port: &serde_json::Value| port.get("port").and_then(serde_json::Value::as_u64);
        let Some(wanted) = ports.iter().find(|known| number(known) == Some((*port).into())) else {
            let known: Vec<_> = ports.iter().filter_map(number).map(|port| port.to_string()).collect();
            return Err(ProbeError::NoPort { service: service.clone(), port: *port, known: known.join(", ") });
        };
        let name = wanted.get("name").and_then(serde_json::Value::as_str).unwrap_or_default();
        slices
            .iter()
            .find_map(|slice| ready_backend(slice, name))
            .ok_or_else(|| ProbeError::NoPod { service: service.clone() })
    }

    async fn forward(
        &self,
        to: &ServicePort,
        backend: &Backend,
    ) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<> + 'static, ProbeError> {
        let no_answer = |reason: String| ProbeError::NoAnswer { pod: backend.pod.clone(), port: backend.port, reason };
        let pods: Api<Pod> = Api::namespaced(self.upgrading_client()?, &to.namespace);
        let mut forwarder =
            pods.portforward(&backend.pod, &[backend.port]).await.map_err(|error| no_answer(innermost(&error)))?;
        forwarder.take_stream(backend.port).ok_or_else(|| no_answer("the API server gave no connection".to_owned()))
    }
}

/// Sends a GET request to any address and reads the answer. The certificate of an `https` address is not verified: what
/// is asked is whether something answers, and it is one's own.
///
/// # Errors
/// When the address makes no sense, or nothing answers there.
pub async fn get(url: &str, headers: &[(String, String)]) -> Result<HttpAnswer, ProbeError> {
    let uri: http::Uri = url.parse().map_err(http::Error::from)?;
    let host = uri.host().unwrap_or_default();
    let tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let request = request(&format!("{host}:{port}"), path, headers)?;
    let no_answer = |reason| ProbeError::NoServer { url: url.to_owned(), reason };
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let stream = tokio::net::TcpStream::connect((name, port)).await.map_err(|error| no_answer(error.to_string()))?;
    let answer = match tls {
        true => match unverified(name, stream).await {
            Ok(stream) => ask(stream, request).await,
            Err(reason) => Err(reason),
        },
        false => ask(stream, request).await,
    };
    answer.map_err(no_answer)
}

type Request = hyper::Request<Empty<Bytes>>;

fn request(host: &str, path: &str, headers: &[(String, String)]) -> Result<Request, http::Error> {
    let own_host = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    let mut request = hyper::Request::get(path);
    if !own_host {
        request = request.header(http::header::HOST, host);
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(Empty::new())
}

/// Sends one request over a fresh connection; says why there was no answer.
async fn ask(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request,
) -> Result<HttpAnswer, String> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| innermost(&error))?;
    // Driven here and not on a task of its own, so that nothing of it outlives the question.
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| innermost(&error))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), BODY_LIMIT).collect().await;
        // A body that is too large, or cut off, is as good as none: the status counts.
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Ok(HttpAnswer { status, body: String::from_utf8_lossy(&body).into_owned() })
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection is closed by then; what it brought is in the answer.
        _ = &mut connection => answer.await,
    }
}

/// Speaks TLS to whoever is at the other end, whatever certificate they show.
async fn unverified<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    name: &str,
    stream: S,
) -> Result<TlsStream<S>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| error.to_string())
}

/// Accepts every certificate, but not a handshake that is not signed with it.
#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The first ready pod in a slice, with the port of that name on it.
fn ready_backend(slice: &Object, port_name: &str) -> Option<Backend> {
    let named =
        |port: &&serde_json::Value| port.get("name").and_then(|name| name.as_str()).unwrap_or_default() == port_name;
    let port = slice.list("/ports").iter().find(named)?.get("port")?.as_u64()?;
    let pod = slices::ready(slice).find_map(|endpoint| {
        let target = endpoint.get("targetRef")?;
        (target.get("kind")? == "Pod").then(|| target.get("name")?.as_str().map(str::to_owned))?
    })?;
    Some(Backend { pod, port: u16::try_from(port).ok()? })
}

/// The last of an error's causes, which is the one that says something.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_port_is_found_by_its_name_and_only_ready_pods_count() {
        let slice = |ready: bool, ports: &serde_json::Value| {
            let target = json!({"kind": "Pod", "name": "a-1"});
            let pod = json!({"addresses": ["10.0.0.1"], "conditions": {"ready": ready}, "targetRef": target});
            Object::new(json!({"endpoints": [pod], "ports": ports}))
        };
        let ports = json!([{"name": "metrics", "port": 9000}, {"name": "http", "port": 8000}]);
        let ready = slice(true, &ports);
        let found = ready_backend(&ready, "http").unwrap();
        assert_eq!((found.pod.as_str(), found.port), ("a-1", 8000));
        assert!(ready_backend(&ready, "grpc").is_none());
        let starting = slice(false, &ports);
        assert!(ready_backend(&starting, "http").is_none());
        let unnamed = slice(true, &json!([{"name": "", "port": 80}]));
        assert_eq!(ready_backend(&unnamed, "").unwrap().port, 80);
    }
}
