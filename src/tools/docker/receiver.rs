//! A registry that only receives: the host's engine pushes into it, and it keeps the layers that are wanted.
//!
//! A push is the one way to get single layers out of an engine: `docker save` always writes the whole image. The engine
//! starts with the topmost layers, which are the new ones; when all that are wanted have arrived, the push is dropped.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue, LOCATION, RANGE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ring::digest::{Context, Digest, SHA256, digest};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

/// Pieces of a layer that wait to be unpacked; with their size (about 64 KiB) this bounds the memory of a layer.
const WAITING: usize = 16;

/// A layer that has arrived.
#[derive(Debug)]
pub(in crate::tools) struct Received {
    /// Its diff ID, `sha256:…` of the unpacked layer.
    pub(in crate::tools) diff_id: String,
    /// `sha256:…` of the layer as it was sent.
    pub(in crate::tools) digest: String,
    /// The layer as it was sent, compressed, in a file without a name.
    pub(in crate::tools) file: File,
    /// Its size in bytes, compressed.
    pub(in crate::tools) size: u64,
}

/// A registry on this machine that is being pushed to.
pub(super) struct Receiver {
    listener: TcpListener,
    /// Its address.
    pub(super) address: SocketAddr,
    arrived: mpsc::UnboundedSender<Received>,
    /// Layers as they arrive.
    pub(super) layers: mpsc::UnboundedReceiver<Received>,
    /// Told when the first layer is announced: from then on the engine no longer looks at the name it pushes.
    pub(super) begun: Arc<Notify>,
}

struct Uploads {
    arrived: mpsc::UnboundedSender<Received>,
    begun: Arc<Notify>,
    next: AtomicU64,
}

impl Receiver {
    /// Listens on a free port of the loopback address, for which engines need no TLS.
    pub(super) async fn open() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (arrived, layers) = mpsc::unbounded_channel();
        Ok(Self { listener, address, arrived, layers, begun: Arc::default() })
    }

    /// Takes the registry apart: what arrives, and the future that has to run for anything to arrive. Dropping the
    /// future closes the registry and all its connections.
    pub(super) fn serve(self) -> (mpsc::UnboundedReceiver<Received>, impl Future<Output = Infallible> + Send) {
        let Self { listener, arrived, layers, begun, .. } = self;
        let uploads = Arc::new(Uploads { arrived, begun, next: AtomicU64::new(0) });
        let serving = async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let uploads = Arc::clone(&uploads);
                let answer = service_fn(move |request| {
                    let uploads = Arc::clone(&uploads);
                    async move { Ok::<_, Infallible>(uploads.answer(request).await) }
                });
                // The engine tries TLS first; what is no HTTP is closed, and it goes on without.
                connections
                    .spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
                while connections.try_join_next().is_some() {}
            }
        };
        (layers, serving)
    }
}

impl Uploads {
    /// The part of the registry protocol that a push uses before its first layers are there.
    async fn answer(&self, request: Request<Incoming>) -> Response<Empty<Bytes>> {
        let path = request.uri().path().to_owned();
        let is_upload = path.contains("/blobs/uploads/");
        match *request.method() {
            Method::GET if path == "/v2/" => answer(StatusCode::OK, &[]),
            Method::POST if is_upload => {
                self.begun.notify_one();
                let number = self.next.fetch_add(1, Ordering::Relaxed).to_string();
                let location = format!("{}{number}", &path);
                answer(StatusCode::ACCEPTED, &[(LOCATION, location), (UPLOAD, number)])
            }
            Method::PATCH if is_upload => match receive(request.into_body()).await {
                Ok(layer) => {
                    let range = format!("0-{}", layer.size.saturating_sub(1));
                    let _ = self.arrived.send(layer);
                    answer(StatusCode::ACCEPTED, &[(LOCATION, path), (RANGE, range)])
                }
                Err(error) => {
                    tracing::debug!(%error, "a layer did not arrive");
                    answer(StatusCode::INTERNAL_SERVER_ERROR, &[])
                }
            },
            Method::PUT if is_upload => {
                let digest = request.uri().query().and_then(|query| query.split("digest=").nth(1)).unwrap_or_default();
                let digest = digest.replace("%3A", ":");
                answer(StatusCode::CREATED, &[(LOCATION, path), (CONTENT_DIGEST, digest)])
            }
            _ => answer(StatusCode::NOT_FOUND, &[]),
        }
    }
}

const UPLOAD: HeaderName = HeaderName::from_static("docker-upload-uuid");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

fn answer(status: StatusCode, headers: &[(HeaderName, String)]) -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

/// Takes a layer in, unpacking it on the way to learn which one it is.
async fn receive(mut body: Incoming) -> io::Result<Received> {
    let (pieces, mut waiting) = mpsc::channel::<Bytes>(WAITING);
    let unpacking = tokio::task::spawn_blocking(move || {
        let mut file = tempfile::tempfile()?;
        let mut size = 0;
        let mut packed = Context::new(&SHA256);
        let mut decoder = MultiGzDecoder::new(Sha256(Context::new(&SHA256)));
        while let Some(piece) = waiting.blocking_recv() {
            file.write_all(&piece)?;
            packed.update(&piece);
            decoder.write_all(&piece)?;
            size += piece.len() as u64;
        }
        let diff_id = sha256_name(&decoder.finish()?.0.finish());
        Ok(Received { diff_id, digest: sha256_name(&packed.finish()), file, size })
    });
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(io::Error::other)?;
        if let Ok(piece) = frame.into_data()
            && pieces.send(piece).await.is_err()
        {
            break;
        }
    }
    drop(pieces);
    unpacking.await.map_err(io::Error::other)?
}

struct Sha256(Context);

impl Write for Sha256 {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `sha256:` and the digest.
fn sha256_name(digest: &Digest) -> String {
    let digits: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

/// The digest by which images and their parts are named.
pub(in crate::tools) fn sha256(bytes: &[u8]) -> String {
    sha256_name(&digest(&SHA256, bytes))
}
