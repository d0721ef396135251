//! CRI-O's images, through `podman` on the node, which keeps its images in the same storage.

use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use serde::Deserialize;

use super::containerd::full_name;
use super::shell::NodeShell;
use crate::tools::docker::target::{
    Archive, Held, ImageManifest, InFlight, Known, Parts, Target, Wanted, WholeInstead, fault_of,
};
use crate::tools::docker::{DockerError, ExecError, LoadFault, split_tag};

/// Prints what is known of an image, and nothing when there is none. Not by the exit code: `minikube ssh` makes every other
/// one a 1.
const INSPECT: &str = r#"
podman image exists "$1"
case $? in 0) podman image inspect "$1" ;; 1) ;; *) exit 1 ;; esac
"#;

/// The image store of a node that runs CRI-O.
#[derive(Debug, Clone)]
pub struct Podman {
    shell: NodeShell,
    in_flight: Arc<InFlight>,
}

/// What `podman image inspect` says of an image.
#[derive(Deserialize)]
struct Inspected {
    /// The digest of its configuration.
    #[serde(rename = "Id")]
    id: String,
}

impl Podman {
    /// The store of the node that this shell leads to.
    pub fn new(shell: NodeShell) -> Self {
        Self { shell, in_flight: Arc::default() }
    }

    fn failed(&self, doing: &str, error: ExecError) -> DockerError {
        DockerError::of_node(self.place(), doing, error)
    }

    async fn inspect(&self, reference: &str) -> Result<Option<Inspected>, DockerError> {
        let asked = self.shell.ask(&["sh", "-c", INSPECT, "inspect", reference]).await;
        let output = asked.map_err(|error| self.failed(&format!("inspect the image `{reference}`"), error))?;
        if output.stdout.is_empty() {
            return Ok(None);
        }
        let found: Vec<Inspected> = serde_json::from_slice(&output.stdout).map_err(|error| {
            DockerError::Unexpected { place: self.place(), reason: format!("`podman image inspect` gave {error}") }
        })?;
        Ok(found.into_iter().next())
    }

    /// The names of a repository's images, each with the image's ID.
    pub(super) async fn tags(&self, repository: &str) -> Result<Vec<(String, String)>, DockerError> {
        let words = ["podman", "images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"];
        let output = self.shell.ask(&words).await.map_err(|error| self.failed("list its images", error))?;
        let names = [full_name(repository), format!("localhost/{repository}")];
        let text = output.stdout_text();
        let images = text.lines().filter_map(|line| line.split_once(' '));
        let own = images.filter(|(name, _)| names.iter().any(|own| split_tag(name).0 == own));
        Ok(own.map(|(name, id)| (name.to_owned(), id.to_owned())).collect())
    }

    /// Removes a name.
    pub(super) async fn untag(&self, name: &str) -> Result<(), DockerError> {
        let removed = self.shell.ask(&["podman", "rmi", name]).await;
        removed.map(|_| ()).map_err(|error| self.failed(&format!("remove the image `{name}`"), error))
    }
}

impl Target for Podman {
    fn place(&self) -> String {
        format!("CRI-O on node {}", self.shell.node())
    }

    fn in_flight(&self) -> &Arc<InFlight> {
        &self.in_flight
    }

    async fn held(&self, wanted: &Wanted) -> Result<Option<Held>, DockerError> {
        Ok(self.inspect(&full_name(&wanted.reference)).await?.map(|image| {
            let id = format!("sha256:{}", image.id);
            Held { config: Some(id.clone()), id }
        }))
    }

    async fn adopt(&self, wanted: &Wanted) -> Result<bool, DockerError> {
        let config = wanted.config().await?;
        if self.inspect(config).await?.is_none() {
            return Ok(false);
        }
        let name = full_name(&wanted.reference);
        let tagged = self.shell.ask(&["podman", "tag", config, &name]).await;
        tagged.map(|_| true).map_err(|error| self.failed(&format!("tag an image as `{name}`"), error))
    }

    async fn lacks(&self, manifest: &ImageManifest, _: &Wanted) -> Result<Vec<bool>, WholeInstead> {
        // podman reads every layer that a manifest names out of the archive.
        Ok(vec![true; manifest.layers.len()])
    }

    async fn known(&self, _: &Wanted, _: bool) -> Result<Known, WholeInstead> {
        Err(WholeInstead("podman takes only whole images".into()))
    }

    fn pack(&self, parts: Parts, wanted: &Wanted) -> Archive {
        Archive::oci(parts, &full_name(&wanted.reference))
    }

    async fn receive(
        &self,
        _: &Wanted,
        archive: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
    ) -> Result<(), LoadFault> {
        let fed = self.shell.feed(&["podman", "load"], archive).await;
        fed.map(|_| ()).map_err(|error| fault_of(&error))
    }

    /// What comes in under a short name is `localhost/NAME` here; pods ask for the full one.
    async fn settle(&self, wanted: &Wanted) -> Result<(), DockerError> {
        self.adopt(wanted).await.map(|_| ())
    }
}
