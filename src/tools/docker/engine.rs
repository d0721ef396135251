//! A connected engine and what can be asked of its images.

use std::collections::HashMap;
use std::sync::Arc;

use bollard::Docker;
use bollard::errors::Error as BollardError;
use bollard::models::{ImageInspect, ImageSummary};
use bollard::query_parameters::{ListImagesOptions, RemoveImageOptions, TagImageOptions};
use jiff::Timestamp;
use tokio::sync::OnceCell;
use tonic::transport::Channel;

use super::buildkit::BuildkitWay;
use super::dial::{ApiVersion, Dialer};
use super::endpoint::Endpoint;
use super::error::DockerError;
use super::in_flight::InFlight;

/// Loading an image of several gigabytes onto a slow disk may take this long until the engine answers (seconds).
const ANSWER_WITHIN: u64 = 3600;

/// From this version of the API on an image that is numbered by its manifest has a descriptor.
const FIRST_WITH_DESCRIPTOR: ApiVersion = ApiVersion { major: 1, minor: 48 };

/// A Docker Engine that answered. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    docker: Docker,
    dialer: Dialer,
    about: OnceCell<About>,
    buildkit_way: OnceCell<BuildkitWay>,
    /// The connection to the content store, kept where it can be kept.
    content: OnceCell<Channel>,
    in_flight: Arc<InFlight>,
}

/// What an engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The engine's version, such as `28.2.2`.
    pub version: String,
    /// The newest API version that it speaks.
    pub api_version: String,
    /// Its operating system, such as `linux`.
    pub os: String,
    /// The architecture that it runs on, in Go's words, such as `amd64`.
    pub architecture: String,
    /// The name of the machine that it runs on.
    pub name: String,
    /// An id that stays with the engine's data.
    pub id: String,
    /// Its storage driver, such as `overlay2`.
    pub storage_driver: String,
    /// Whether it keeps images in containerd's store, which numbers them differently.
    pub containerd_store: bool,
}

/// An image on an engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageInfo {
    /// The image ID, `sha256:…`: the digest of its configuration in the classic store, of its manifest or index in
    /// containerd's.
    pub id: String,
    /// Whether the engine says that the ID is the digest of a manifest or an index. Engines before 28 say nothing.
    pub has_descriptor: bool,
    /// Its names, `repository:tag`, as [`familiar`] has them.
    pub tags: Vec<String>,
    /// The digests under which registries know it, `repository@sha256:…`, as [`familiar`] has them.
    pub repo_digests: Vec<String>,
    /// Its size on disk in bytes, layers shared with other images included.
    pub size: u64,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// The diff IDs of its layers, lowest first.
    pub layers: Vec<String>,
    /// The architecture, in Go's words.
    pub architecture: String,
    /// The variant of the architecture, such as `v7`; mostly empty.
    pub variant: String,
    /// The operating system.
    pub os: String,
    /// Its labels.
    pub labels: HashMap<String, String>,
    /// Instructions that a build which starts from it carries out first.
    pub on_build: Vec<String>,
}

impl ImageInfo {
    /// Whether this is one of its names, `repository:tag`.
    pub fn has_name(&self, name: &str) -> bool {
        self.tags.iter().any(|tag| tag == familiar(name))
    }

    /// The digests under which the registry of this repository knows it, `sha256:…`.
    pub fn digests_in<'i>(&'i self, repository: &'i str) -> impl Iterator<Item = &'i str> {
        let known = self.repo_digests.iter().filter_map(|known| known.split_once('@'));
        known.filter(move |(name, _)| *name == familiar(repository)).map(|(_, digest)| digest)
    }
}

/// A line of the engine's list of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLine {
    /// The image ID.
    pub id: String,
    /// Its names, `repository:tag`, as [`familiar`] has them.
    pub tags: Vec<String>,
    /// Its size on disk in bytes.
    pub size: u64,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Its labels.
    pub labels: HashMap<String, String>,
}

/// Which images to list. An empty filter lists all that have a name.
#[derive(Debug, Clone, Default)]
pub struct ImageFilter {
    /// Only images with one of these names; `*` stands for anything but a slash: `todo-backend`, `todo-backend:k-*`.
    pub references: Vec<String>,
    /// Only images with all of these labels, `name` or `name=value`.
    pub labels: Vec<String>,
}

impl Engine {
    /// Connects to an engine, which has to answer. Its answer says which version of the API it offers; all later requests
    /// name that version.
    pub async fn connect(endpoint: Endpoint) -> Result<Self, DockerError> {
        let dialer = Dialer::new(endpoint)?;
        let docker = dialer.client(ANSWER_WITHIN).map_err(|error| not_reached(dialer.endpoint(), &error))?;
        docker.ping().await.map_err(|error| not_reached(dialer.endpoint(), &error))?;
        let (about, buildkit_way, content) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Ok(Self { inner: Arc::new(Inner { docker, dialer, about, buildkit_way, content, in_flight: Arc::default() }) })
    }

    /// Connects to the engine that the `docker` command would use.
    pub async fn local(env: impl Fn(&str) -> Option<String>) -> Result<Self, DockerError> {
        Self::connect(Endpoint::discover(env)?).await
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &Endpoint {
        self.inner.dialer.endpoint()
    }

    /// What it says of itself; asked once.
    pub async fn about(&self) -> Result<&About, DockerError> {
        self.inner
            .about
            .get_or_try_init(|| async {
                let (version, info) = tokio::try_join!(self.docker().version(), self.docker().info())
                    .map_err(|error| self.error("tell about itself", error))?;
                let driver_status = info.driver_status.unwrap_or_default();
                Ok(About {
                    version: version.version.unwrap_or_default(),
                    api_version: version.api_version.unwrap_or_default(),
                    os: version.os.unwrap_or_default(),
                    architecture: version.arch.unwrap_or_default(),
                    name: info.name.unwrap_or_default(),
                    id: info.id.unwrap_or_default(),
                    storage_driver: info.driver.unwrap_or_default(),
                    containerd_store: driver_status.iter().flatten().any(|part| part.starts_with("io.containerd.")),
                })
            })
            .await
    }

    /// Whether the engine has containerd's store, if it was asked before.
    pub(super) fn known_store(&self) -> Option<bool> {
        self.inner.about.get().map(|about| about.containerd_store)
    }

    /// The image of this name or ID; `None` when the engine has none.
    pub async fn image(&self, reference: &str) -> Result<Option<ImageInfo>, DockerError> {
        match self.docker().inspect_image(reference).await {
            Ok(image) => Ok(Some(image_info(image))),
            Err(BollardError::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(self.error(&format!("inspect the image `{reference}`"), error)),
        }
    }

    /// The images that match.
    pub async fn images(&self, filter: &ImageFilter) -> Result<Vec<ImageLine>, DockerError> {
        let mut filters = HashMap::new();
        if !filter.references.is_empty() {
            let references = filter.references.iter().map(|name| familiar(name).to_owned());
            filters.insert("reference".to_owned(), references.collect());
        }
        if !filter.labels.is_empty() {
            filters.insert("label".to_owned(), filter.labels.clone());
        }
        let options = ListImagesOptions { filters: Some(filters), ..Default::default() };
        let images = self.docker().list_images(Some(options)).await;
        Ok(images.map_err(|error| self.error("list its images", error))?.into_iter().map(image_line).collect())
    }

    /// Gives an image another name, `repository:tag`. A name that another image had is taken from it.
    pub async fn tag(&self, image: &str, name: &str) -> Result<(), DockerError> {
        let (repository, tag) = split_tag(name);
        let options = TagImageOptions { repo: Some(repository.to_owned()), tag: Some(tag.to_owned()) };
        let done = self.docker().tag_image(image, Some(options)).await;
        done.map_err(|error| self.error(&format!("tag `{image}` as `{name}`"), error))
    }

    /// Takes a name from an image; the image goes when it was its last name. A name that is not there is no error.
    pub async fn untag(&self, name: &str) -> Result<(), DockerError> {
        self.remove(name, false).await
    }

    /// Removes an image with all its names (by ID), or one of its names. Not being there is no error; being used by a
    /// container is, unless forced.
    pub async fn remove(&self, reference: &str, force: bool) -> Result<(), DockerError> {
        let options = RemoveImageOptions { force, ..Default::default() };
        let error = match self.docker().remove_image(reference, Some(options), None).await {
            Ok(_) | Err(BollardError::DockerResponseServerError { status_code: 404, .. }) => return Ok(()),
            Err(error) => self.error(&format!("remove the image `{reference}`"), error),
        };
        // Names of one image that are taken away at the same moment may each be its last: one of them finds it gone.
        let is_gone =
            matches!(&error, DockerError::Refused { message, .. } if message.contains("unrecognized image ID"));
        if is_gone && self.image(reference).await?.is_none() { Ok(()) } else { Err(error) }
    }

    /// Whether the ID of an image of this engine is the digest of a manifest or an index, as in containerd's store.
    pub(super) async fn is_numbered_by_manifest(&self, image: &ImageInfo) -> Result<bool, DockerError> {
        let tells = self.dialer().offered().is_some_and(|offered| offered >= FIRST_WITH_DESCRIPTOR);
        Ok(image.has_descriptor || (!tells && self.about().await?.containerd_store))
    }

    /// What BuildKit's part of the engine refused.
    pub(super) fn refused(&self, doing: &str, status: &tonic::Status) -> DockerError {
        DockerError::Refused { doing: doing.to_owned(), status: None, message: status.message().to_owned() }
    }

    pub(super) fn docker(&self) -> &Docker {
        &self.inner.docker
    }

    pub(super) fn buildkit_way_cell(&self) -> &OnceCell<BuildkitWay> {
        &self.inner.buildkit_way
    }

    pub(super) fn content_channel(&self) -> &OnceCell<Channel> {
        &self.inner.content
    }

    pub(super) fn in_flight_layers(&self) -> &Arc<InFlight> {
        &self.inner.in_flight
    }

    pub(super) fn dialer(&self) -> &Dialer {
        &self.inner.dialer
    }

    pub(super) fn error(&self, doing: &str, error: BollardError) -> DockerError {
        match error {
            BollardError::DockerResponseServerError { status_code, message } => {
                DockerError::Refused { doing: doing.to_owned(), status: Some(status_code), message }
            }
            BollardError::DockerStreamError { error } => {
                DockerError::Refused { doing: doing.to_owned(), status: None, message: error }
            }
            other => not_reached(self.endpoint(), &other),
        }
    }
}

/// Any failure that is no answer of the engine means that the engine could not be spoken to.
fn not_reached(endpoint: &Endpoint, error: &BollardError) -> DockerError {
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        // What the dialer has found out, or else the innermost cause: that is the one that says something.
        if let Some(DockerError::Unreachable { reason, denied, .. }) = inner.downcast_ref() {
            return DockerError::Unreachable { endpoint: endpoint.clone(), reason: reason.clone(), denied: *denied };
        }
        reason = inner.to_string();
        cause = inner.source();
    }
    DockerError::Unreachable { endpoint: endpoint.clone(), reason, denied: false }
}

fn image_info(image: ImageInspect) -> ImageInfo {
    let config = image.config.unwrap_or_default();
    ImageInfo {
        id: image.id.unwrap_or_default(),
        has_descriptor: image.descriptor.is_some(),
        tags: image.repo_tags.unwrap_or_default(),
        repo_digests: image.repo_digests.unwrap_or_default(),
        size: image.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
        created: image.created.and_then(|time| Timestamp::from_nanosecond(time.unix_timestamp_nanos()).ok()),
        layers: image.root_fs.and_then(|root| root.layers).unwrap_or_default(),
        architecture: image.architecture.unwrap_or_default(),
        variant: image.variant.unwrap_or_default(),
        os: image.os.unwrap_or_default(),
        labels: config.labels.unwrap_or_default(),
        on_build: config.on_build.unwrap_or_default(),
    }
}

fn image_line(image: ImageSummary) -> ImageLine {
    ImageLine {
        id: image.id,
        tags: image.repo_tags.into_iter().filter(|tag| tag != "<none>:<none>").collect(),
        size: u64::try_from(image.size).unwrap_or_default(),
        created: Timestamp::from_second(image.created).ok(),
        labels: image.labels,
    }
}

/// `host:5000/name:tag` into repository and tag; a colon of the host's port is no tag.
pub fn split_tag(name: &str) -> (&str, &str) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        Some(_) | None => (name, "latest"),
    }
}

/// A name as the engine tells it: without the registry that is meant where none is named.
pub fn familiar(name: &str) -> &str {
    let path = ["docker.io/", "index.docker.io/"].iter().find_map(|hub| name.strip_prefix(hub)).unwrap_or(name);
    path.strip_prefix("library/").filter(|rest| !rest.contains('/')).unwrap_or(path)
}

/// Whether a repository names its registry: `localhost/todo`, `ghcr.io/acme/todo`, `host:5000/todo`.
pub fn has_host(repository: &str) -> bool {
    let first = repository.split_once('/').map(|(first, _)| first);
    first.is_some_and(|first| first == "localhost" || first.contains(['.', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Class;

    #[test]
    fn names_are_split_at_the_tag_and_not_at_the_port() {
        assert_eq!(split_tag("todo:v1"), ("todo", "v1"));
        assert_eq!(split_tag("localhost:5000/todo"), ("localhost:5000/todo", "latest"));
        assert_eq!(split_tag("localhost:5000/todo:v1"), ("localhost:5000/todo", "v1"));
    }

    #[test]
    fn names_at_the_default_registry_are_told_without_it() {
        for (written, told) in [
            ("todo:v1", "todo:v1"),
            ("docker.io/library/todo", "todo"),
            ("docker.io/todo", "todo"),
            ("library/todo", "todo"),
            ("index.docker.io/acme/todo@sha256:0", "acme/todo@sha256:0"),
            ("docker.io/library/a/todo", "library/a/todo"),
            ("ghcr.io/library/todo", "ghcr.io/library/todo"),
        ] {
            assert_eq!(familiar(written), told);
        }
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_said_to_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::Unix(folder.path().join("none.sock"));
        let error = Engine::connect(endpoint).await.unwrap_err();
        assert_eq!(error.class(), Class::Environment);
        assert!(error.to_string().contains("the socket does not exist"), "{error}");
        assert!(error.help().unwrap().contains("start Docker"));
    }
}
