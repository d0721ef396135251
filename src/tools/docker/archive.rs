//! Archives of images of which some layers are left out, made while they are sent.

use std::fs::File;
use std::io::{self, Seek};

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use serde_json::json;
use tokio::io::AsyncReadExt;

use super::content::Content;
use super::receiver::sha256;

/// Bytes of a file that are read at once.
const PIECE: usize = 64 * 1024;
/// Bytes of a block of a tar archive.
const BLOCK: usize = 512;
/// Types of what is in an OCI layout that is written here. A reader of a layer of this type finds out how it is packed.
const MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG_TYPE: &str = "application/vnd.docker.container.image.v1+json";
const LAYER_TYPE: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// A blob, as a store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tools) struct Blob {
    /// `sha256:…` of its bytes.
    pub(in crate::tools) digest: String,
    /// How many.
    pub(in crate::tools) size: u64,
}

/// An image on its way: all that describes it, and those of its layers that the receiver lacks.
pub(in crate::tools) struct Parts {
    /// The manifest as the host has it, with its media type; a host with the classic store has none.
    pub(in crate::tools) manifest: Option<(Bytes, String)>,
    /// The configuration, byte for byte.
    pub(in crate::tools) config: Bytes,
    /// The layers, lowest first.
    pub(in crate::tools) layers: Vec<Part>,
}

/// A layer of an image on its way.
pub(in crate::tools) struct Part {
    /// The digest of the unpacked layer.
    pub(in crate::tools) diff_id: String,
    /// The layer as it is sent, or as the receiver stores it. Absent where the receiver knows layers by their diff IDs.
    pub(in crate::tools) blob: Option<Blob>,
    /// Where its bytes come from; absent when the receiver has it.
    pub(in crate::tools) source: Option<Source>,
}

/// Where the bytes of a layer come from.
pub(in crate::tools) enum Source {
    /// A file without a name, which is read from its start.
    File(File),
    /// The content store of the host's engine, where the layer has the digest of its blob.
    Store(Content),
}

impl Parts {
    /// How many layers the receiver has.
    pub(super) fn skipped(&self) -> usize {
        self.layers.iter().filter(|layer| layer.source.is_none()).count()
    }
}

/// An archive that is made while it is sent.
pub(in crate::tools) struct Archive {
    /// Bytes of what is in it, without headers and padding.
    pub(in crate::tools) size: u64,
    entries: Vec<Entry>,
}

struct Entry {
    name: String,
    size: u64,
    content: EntryContent,
}

enum EntryContent {
    Bytes(Bytes),
    File(File),
    Blob(Content, String),
}

impl Archive {
    fn of(entries: Vec<Entry>) -> Self {
        Self { size: entries.iter().map(|entry| entry.size).sum(), entries }
    }

    /// As `docker save` writes it.
    pub(in crate::tools) fn docker(parts: Parts, reference: String) -> Self {
        let config = format!("{}.json", plain(&sha256(&parts.config)));
        let mut entries = vec![Entry::document(config.clone(), parts.config)];
        let mut names = Vec::new();
        for layer in parts.layers {
            let name = format!("{}/layer.tar", plain(&layer.diff_id));
            entries.extend(Entry::layer(name.clone(), layer.blob, layer.source));
            names.push(name);
        }
        let manifest = json!([{ "Config": config, "RepoTags": [reference], "Layers": names }]);
        entries.push(Entry::document("manifest.json".to_owned(), manifest.to_string()));
        Self::of(entries)
    }

    /// As an OCI layout with one image of this name. Layers are named by their packed bytes there, so every one of them has
    /// to have a blob.
    pub(in crate::tools) fn oci(parts: Parts, name: &str) -> Self {
        let blob = |digest: &str| format!("blobs/sha256/{}", plain(digest));
        let config = sha256(&parts.config);
        let (manifest, media_type) = parts.manifest.unwrap_or_else(|| {
            let layers: Vec<_> = parts
                .layers
                .iter()
                .filter_map(|layer| layer.blob.as_ref())
                .map(|blob| json!({ "mediaType": LAYER_TYPE, "digest": blob.digest, "size": blob.size }))
                .collect();
            let config = json!({ "mediaType": CONFIG_TYPE, "digest": config, "size": parts.config.len() });
            let manifest =
                json!({ "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers });
            (Bytes::from(manifest.to_string()), MANIFEST_TYPE.to_owned())
        });
        let digest = sha256(&manifest);
        let index = json!({ "schemaVersion": 2, "manifests": [{
            "mediaType": media_type, "digest": digest, "size": manifest.len(),
            "annotations": { "io.containerd.image.name": name, "org.opencontainers.image.ref.name": name },
        }] });
        let mut entries = vec![
            Entry::document("oci-layout".to_owned(), r#"{"imageLayoutVersion":"1.0.0"}"#),
            Entry::document(blob(&config), parts.config),
        ];
        // One blob may be several layers: an empty one, for example.
        let mut written = std::collections::HashSet::new();
        for layer in parts.layers {
            let Some(digest) = layer.blob.as_ref().map(|blob| blob.digest.clone()) else { continue };
            if written.insert(digest.clone()) {
                entries.extend(Entry::layer(blob(&digest), layer.blob, layer.source));
            }
        }
        entries.push(Entry::document(blob(&digest), manifest));
        entries.push(Entry::document("index.json".to_owned(), index.to_string()));
        Self::of(entries)
    }

    /// Its bytes.
    pub(in crate::tools) fn stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let end = stream::once(async { Ok(Bytes::from(vec![0; 2 * BLOCK])) });
        stream::iter(self.entries).flat_map(Entry::stream).chain(end)
    }
}

impl Entry {
    fn document(name: String, content: impl Into<Bytes>) -> Self {
        let content = content.into();
        Self { name, size: content.len() as u64, content: EntryContent::Bytes(content) }
    }

    /// A layer that is sent; nothing for one that the receiver has.
    fn layer(name: String, blob: Option<Blob>, source: Option<Source>) -> Option<Self> {
        let (Blob { digest, size }, source) = (blob?, source?);
        let content = match source {
            Source::File(file) => EntryContent::File(file),
            Source::Store(store) => EntryContent::Blob(store, digest),
        };
        Some(Self { name, size, content })
    }

    /// Header, content and padding. A content of another length than the header says is an error: what follows would be
    /// read as something else.
    fn stream(self) -> BoxStream<'static, io::Result<Bytes>> {
        let Self { name, size, content } = self;
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        if let Err(error) = header.set_path(&name) {
            return stream::once(async move { Err(error) }).boxed();
        }
        header.set_cksum();
        let header = Bytes::copy_from_slice(header.as_bytes());
        let content = match content {
            EntryContent::Bytes(bytes) => stream::once(async move { Ok(bytes) }).boxed(),
            EntryContent::File(file) => pieces(file).boxed(),
            EntryContent::Blob(store, digest) => store.stream(digest).boxed(),
        };
        let mut left = size;
        let counted = content.map_ok(Some).chain(stream::once(async { Ok(None) })).and_then(move |piece| {
            let checked = match piece {
                Some(piece) => left.checked_sub(piece.len() as u64).map(|rest| {
                    left = rest;
                    piece
                }),
                None => (left == 0).then(Bytes::new),
            };
            let wrong =
                || io::Error::new(io::ErrorKind::InvalidData, "a layer has another size than its manifest says");
            std::future::ready(checked.ok_or_else(wrong))
        });
        let padding = usize::try_from(size % BLOCK as u64).map_or(0, |over| (BLOCK - over) % BLOCK);
        let padding = Bytes::from(vec![0; padding]);
        stream::once(async move { Ok(header) }).chain(counted).chain(stream::once(async move { Ok(padding) })).boxed()
    }
}

/// The pieces of a file, from its start.
fn pieces(mut file: File) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let rewound = file.rewind().map(|()| tokio::fs::File::from_std(file));
    stream::try_unfold(Some(rewound), |state| async move {
        let Some(file) = state else { return Ok(None) };
        let mut file = file?;
        let mut piece = vec![0; PIECE];
        let count = file.read(&mut piece).await?;
        piece.truncate(count);
        Ok((count > 0).then(|| (Bytes::from(piece), Some(Ok(file)))))
    })
}

/// A digest without its algorithm.
fn plain(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{Read as _, Write as _};

    use super::*;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn part(content: &[u8], size: u64, sent: bool) -> Part {
        Part {
            diff_id: format!("sha256:d{}", content.len()),
            blob: Some(Blob { digest: sha256(content), size }),
            source: sent.then(|| Source::File(file(content))),
        }
    }

    async fn read(archive: Archive) -> io::Result<BTreeMap<String, Vec<u8>>> {
        let pieces: Vec<Bytes> = archive.stream().try_collect().await?;
        let mut archive = tar::Archive::new(io::Cursor::new(pieces.concat()));
        let mut files = BTreeMap::new();
        for entry in archive.entries()? {
            let mut entry = entry?;
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            files.insert(entry.path()?.display().to_string(), content);
        }
        Ok(files)
    }

    #[tokio::test]
    async fn layers_that_the_receiver_has_are_named_and_left_out() {
        let (large, small) = (vec![7; 100_000], vec![1; 512]);
        let layers = vec![part(b"known", 5, false), part(&large, 100_000, true), part(&small, 512, true)];
        let parts = Parts { manifest: None, config: Bytes::from_static(b"{}"), layers };
        assert_eq!(parts.skipped(), 1);
        let files = read(Archive::oci(parts, "docker.io/library/a:b")).await.unwrap();
        let blob = |content: &[u8]| format!("blobs/sha256/{}", plain(&sha256(content)));
        assert_eq!(files[&blob(&large)], large);
        assert_eq!(files[&blob(&small)], small);
        assert!(!files.contains_key(&blob(b"known")));
        let index: serde_json::Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let digest = index["manifests"][0]["digest"].as_str().unwrap();
        let manifest: serde_json::Value =
            serde_json::from_slice(&files[&format!("blobs/sha256/{}", plain(digest))]).unwrap();
        assert_eq!(manifest["layers"][0]["digest"], sha256(b"known"));
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 3);
    }

    #[tokio::test]
    async fn manifest_of_the_host_is_sent_as_it_is() {
        let manifest = Bytes::from_static(b"{ \"as\": \"it is\" }");
        let parts = Parts {
            manifest: Some((manifest.clone(), "application/vnd.oci.image.manifest.v1+json".into())),
            config: Bytes::from_static(b"{}"),
            layers: Vec::new(),
        };
        let files = read(Archive::oci(parts, "a:b")).await.unwrap();
        assert_eq!(files[&format!("blobs/sha256/{}", plain(&sha256(&manifest)))], manifest);
    }

    #[tokio::test]
    async fn layer_of_another_size_breaks_the_archive() {
        for size in [99, 101] {
            let parts =
                Parts { manifest: None, config: Bytes::from_static(b"{}"), layers: vec![part(&[7; 100], size, true)] };
            let error = read(Archive::docker(parts, "a:b".into())).await.unwrap_err();
            assert!(error.to_string().contains("another size"), "{error}");
        }
    }
}
