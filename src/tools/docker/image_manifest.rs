//! The manifest of an image for one platform, as containerd's store has it.
//!
//! What has a name there may be an index: of several platforms, or of one with its provenance. Only one of its manifests is
//! the image that runs.

use bytes::Bytes;
use serde::Deserialize;

use super::archive::Blob;
use super::engine::{Engine, ImageInfo};
use super::error::DockerError;

/// The annotation of a manifest that describes another one: provenance, or a list of packages.
const ATTESTATION: &str = "vnd.docker.reference.type";
/// The media type of a manifest that names none.
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// The manifest of an image for one platform, with its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tools) struct ImageManifest {
    /// The digest of the manifest.
    pub(in crate::tools) digest: String,
    /// Its media type.
    pub(in crate::tools) media_type: String,
    /// Its bytes.
    pub(in crate::tools) bytes: Bytes,
    /// The digest of the configuration.
    pub(in crate::tools) config_digest: String,
    /// The bytes of the configuration.
    pub(in crate::tools) config: Bytes,
    /// The layers, lowest first.
    pub(in crate::tools) layers: Vec<Layer>,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tools) struct Layer {
    /// The digest of the unpacked layer.
    pub(in crate::tools) diff_id: String,
    /// The layer as it is stored.
    pub(in crate::tools) blob: Blob,
}

impl ImageManifest {
    /// Bytes of the layers as they are stored.
    pub(in crate::tools) fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.blob.size).sum()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    media_type: String,
    #[serde(default, deserialize_with = "or_empty")]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default, deserialize_with = "or_empty")]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    size: u64,
    platform: Option<Platform>,
    #[serde(default, deserialize_with = "or_empty")]
    annotations: std::collections::HashMap<String, String>,
}

#[derive(Deserialize)]
struct Platform {
    os: String,
    architecture: String,
    #[serde(default)]
    variant: String,
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default, deserialize_with = "or_empty")]
    diff_ids: Vec<String>,
}

/// A list of nothing may be written as `null`: Go does so for an image without layers.
pub(in crate::tools) fn or_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Document {
    /// The digests of the manifests that may be the image, the likeliest first. The engine tells which layers the image
    /// has: of manifests of the same platform in several variants, only one has those.
    fn candidates(&self, image: &ImageInfo) -> Vec<&str> {
        let runs = |descriptor: &&Descriptor| !descriptor.annotations.contains_key(ATTESTATION);
        let fits = |descriptor: &&Descriptor| {
            descriptor.platform.as_ref().is_none_or(|platform| {
                platform.os == image.os
                    && platform.architecture == image.architecture
                    && (image.variant.is_empty() || platform.variant.is_empty() || platform.variant == image.variant)
            })
        };
        self.manifests.iter().filter(runs).filter(fits).map(|descriptor| descriptor.digest.as_str()).collect()
    }
}

impl Engine {
    /// The manifest of an image for the platform that runs on this engine. `None` when the engine's content store does not
    /// have it: the engine has the classic store, or BuildKit does not serve the store.
    pub(in crate::tools) async fn image_manifest(
        &self,
        image: &ImageInfo,
    ) -> Result<Option<ImageManifest>, DockerError> {
        let content = self.content().await?;
        let unexpected = |reason: String| DockerError::Unexpected {
            place: self.endpoint().to_string(),
            reason: format!("the manifest of {}: {reason}", image.id),
        };
        let Some(bytes) = content.document(&image.id).await? else { return Ok(None) };
        let top: Document = serde_json::from_slice(&bytes).map_err(|error| unexpected(error.to_string()))?;
        if top.manifests.is_empty() {
            return assemble(&content, image.id.clone(), bytes, top).await?.map_or_else(
                || Err(unexpected("it is no manifest of an image".to_owned())),
                |manifest| Ok(Some(manifest)),
            );
        }
        for digest in top.candidates(image) {
            // An index may name platforms whose content was never fetched.
            let Some(bytes) = content.document(digest).await? else { continue };
            let document = serde_json::from_slice(&bytes).map_err(|error| unexpected(error.to_string()))?;
            let found = assemble(&content, digest.to_owned(), bytes, document).await?;
            let has_its_layers =
                |manifest: &ImageManifest| manifest.layers.iter().map(|layer| &layer.diff_id).eq(image.layers.iter());
            if let Some(manifest) = found.filter(has_its_layers) {
                return Ok(Some(manifest));
            }
        }
        Err(unexpected(format!("it has none for {}/{}", image.os, image.architecture)))
    }
}

impl Engine {
    /// What stands for an image that no registry knows, in a store that numbers by manifests: the digest of the manifest
    /// that runs. An index around it may change with every build, since provenance holds times. `None` for all other
    /// images.
    ///
    /// # Errors
    /// When the engine can't be asked.
    pub async fn local_manifest_digest(&self, image: &ImageInfo) -> Result<Option<String>, DockerError> {
        if !self.is_numbered_by_manifest(image).await? || self.content().await?.is_of_registry(&image.id).await? {
            return Ok(None);
        }
        Ok(self.image_manifest(image).await?.map(|manifest| manifest.digest))
    }
}

/// A manifest with its configuration; `None` when it is of something else, or not all there.
async fn assemble(
    content: &super::content::Content,
    digest: String,
    bytes: Bytes,
    document: Document,
) -> Result<Option<ImageManifest>, DockerError> {
    let Some(config_digest) = document.config.map(|config| config.digest) else { return Ok(None) };
    let Some(config) = content.document(&config_digest).await? else { return Ok(None) };
    let Ok(Config { rootfs }) = serde_json::from_slice(&config) else { return Ok(None) };
    if rootfs.diff_ids.len() != document.layers.len() {
        return Ok(None);
    }
    let layers = rootfs.diff_ids.into_iter().zip(document.layers);
    let layers = layers
        .map(|(diff_id, layer)| Layer { diff_id, blob: Blob { digest: layer.digest, size: layer.size } })
        .collect();
    let media_type = if document.media_type.is_empty() { MANIFEST_TYPE.to_owned() } else { document.media_type };
    Ok(Some(ImageManifest { digest, media_type, bytes, config_digest, config, layers }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(os: &str, architecture: &str, variant: &str) -> ImageInfo {
        ImageInfo { os: os.into(), architecture: architecture.into(), variant: variant.into(), ..ImageInfo::default() }
    }

    #[test]
    fn image_without_layers_is_read() {
        let document: Document =
            serde_json::from_str(r#"{"config":{"digest":"sha256:c"},"layers":null,"manifests":null}"#).unwrap();
        assert!(document.layers.is_empty() && document.manifests.is_empty());
        let config: Config = serde_json::from_str(r#"{"rootfs":{"type":"layers","diff_ids":null}}"#).unwrap();
        assert!(config.rootfs.diff_ids.is_empty());
    }

    #[test]
    fn attestations_and_other_platforms_are_not_the_image() {
        let index: Document = serde_json::from_str(
            r#"{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[
                {"digest":"sha256:a","size":1,"platform":{"os":"linux","architecture":"amd64"}},
                {"digest":"sha256:p","size":1,"platform":{"os":"unknown","architecture":"unknown"},
                 "annotations":{"vnd.docker.reference.type":"attestation-manifest"}},
                {"digest":"sha256:b","size":1,"platform":{"os":"linux","architecture":"arm","variant":"v6"}},
                {"digest":"sha256:c","size":1,"platform":{"os":"linux","architecture":"arm","variant":"v7"}}]}"#,
        )
        .unwrap();
        assert_eq!(index.candidates(&image("linux", "amd64", "")), ["sha256:a"]);
        assert_eq!(index.candidates(&image("linux", "arm", "v7")), ["sha256:c"]);
        assert_eq!(index.candidates(&image("linux", "arm", "")), ["sha256:b", "sha256:c"]);
        assert!(index.candidates(&image("linux", "s390x", "")).is_empty());
    }
}
