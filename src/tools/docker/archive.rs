//! Archives of images of which some layers are left out, written while they are sent.

use std::io::{self, Seek, Write as _};

use bytes::Bytes;
use futures::{Stream, stream};
use serde_json::json;
use tokio::sync::mpsc;

use super::layers::Cut;
use super::receiver::{Received, sha256};

/// Pieces of an archive that wait to be sent.
const WAITING: usize = 16;
/// Bytes in a piece.
const PIECE: usize = 64 * 1024;
/// Types of what is in an OCI layout. Whoever reads a layer of this type finds out how it is packed.
const MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG_TYPE: &str = "application/vnd.docker.container.image.v1+json";
const LAYER_TYPE: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// An archive that is made while it is sent.
pub(in crate::tools) struct Archive {
    /// Bytes that it has, but for its padding.
    pub(in crate::tools) size: u64,
    write: Box<Write>,
}

type Writer = tar::Builder<Pieces>;
type Write = dyn FnOnce(&mut Writer) -> io::Result<()> + Send;

/// A layer that the receiver has, as it is stored there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tools) struct Blob {
    /// `sha256:…` of its bytes.
    pub(in crate::tools) digest: String,
    /// How many.
    pub(in crate::tools) size: u64,
}

impl Archive {
    /// As `docker save` writes it.
    pub(in crate::tools) fn docker(mut cut: Cut, reference: String) -> Self {
        Self {
            size: cut.size(),
            write: Box::new(move |archive| {
                let config_name = format!("{}.json", plain(&sha256(&cut.config)));
                append(archive, &config_name, &cut.config)?;
                let names: Vec<_> = cut.layers.iter().map(|layer| format!("{}/layer.tar", plain(layer))).collect();
                for (layer, name) in cut.layers.iter().zip(&names) {
                    if let Some(received) = cut.missing.remove(layer) {
                        append_layer(archive, name, received)?;
                    }
                }
                let manifest = json!([{ "Config": config_name, "RepoTags": [reference], "Layers": names }]);
                append(archive, "manifest.json", manifest.to_string().as_bytes())
            }),
        }
    }

    /// As an OCI layout, with `known` for the lowest layers. A layer is named by its packed bytes there, so the
    /// receiver has to say how it stores those that are left out.
    pub(in crate::tools) fn oci(mut cut: Cut, known: &[Blob], name: String) -> Self {
        let sent = |diff_id: &String| cut.missing.get(diff_id).map(|layer| (layer.digest.clone(), layer.size));
        let blobs = known.iter().map(|blob| (blob.digest.clone(), blob.size));
        let layers: Vec<_> = blobs
            .chain(cut.layers.iter().skip(known.len()).filter_map(sent))
            .map(|(digest, size)| json!({ "mediaType": LAYER_TYPE, "digest": digest, "size": size }))
            .collect();
        let config = json!({ "mediaType": CONFIG_TYPE, "digest": sha256(&cut.config), "size": cut.config.len() });
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers }).to_string();
        let index = json!({ "schemaVersion": 2, "manifests": [{
            "mediaType": MANIFEST_TYPE, "digest": sha256(manifest.as_bytes()), "size": manifest.len(),
            "annotations": { "io.containerd.image.name": name, "org.opencontainers.image.ref.name": name },
        }] });
        Self {
            size: cut.size() + manifest.len() as u64,
            write: Box::new(move |archive| {
                let blob = |digest: &str| format!("blobs/sha256/{}", plain(digest));
                append(archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
                append(archive, &blob(&sha256(&cut.config)), &cut.config)?;
                for (_, received) in cut.missing.drain() {
                    append_layer(archive, &blob(&received.digest.clone()), received)?;
                }
                append(archive, &blob(&sha256(manifest.as_bytes())), manifest.as_bytes())?;
                append(archive, "index.json", index.to_string().as_bytes())
            }),
        }
    }

    /// Its bytes.
    pub(in crate::tools) fn stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let (sender, mut receiver) = mpsc::channel(WAITING);
        tokio::task::spawn_blocking(move || {
            let failed = sender.clone();
            let mut archive = tar::Builder::new(Pieces { sender, buffer: Vec::with_capacity(PIECE) });
            let written = (self.write)(&mut archive).and_then(|()| archive.into_inner()?.flush());
            // Nobody listens any more when the load has ended before the archive.
            if let Err(error) = written {
                let _ = failed.blocking_send(Err(error));
            }
        });
        stream::poll_fn(move |context| receiver.poll_recv(context))
    }
}

/// A digest without its algorithm.
fn plain(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

fn append(archive: &mut Writer, name: &str, content: &[u8]) -> io::Result<()> {
    append_sized(archive, name, content.len() as u64, content)
}

fn append_layer(archive: &mut Writer, name: &str, layer: Received) -> io::Result<()> {
    let Received { mut file, size, .. } = layer;
    file.rewind()?;
    append_sized(archive, name, size, &file)
}

fn append_sized(archive: &mut Writer, name: &str, size: u64, content: impl io::Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, content)
}

/// Hands what is written to a channel, in pieces.
struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl io::Write for Pieces {
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
