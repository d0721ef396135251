//! containerd's images, through `ctr` on the node.
//!
//! Kubernetes sees the namespace `k8s.io`. `ctr images import` is content with an archive that names blobs which
//! containerd has and leaves them out. It ends well even if a blob is nowhere: only `ctr images check` tells.

use std::collections::HashSet;

use bytes::Bytes;
use futures::Stream;
use serde::Deserialize;

use super::shell::NodeShell;
use crate::tools::docker::target::{
    Archive, Blob, Held, ImageManifest, Known, Parts, Target, Wanted, WholeInstead, fault_of, shared,
};
use crate::tools::docker::{DockerError, ExecError, LoadFault, familiar, has_host, split_tag};

/// Prints for each image that the filters match its name, digest and state, its manifest, and its configuration, a line
/// each. Runs in the shell of the node.
const LIST: &str = r#"
one() { ctr -n k8s.io content get "$1" 2>/dev/null | tr -d '\n'; echo; }
ctr -n k8s.io images check "$@" | while read -r name type digest state rest; do
  case $digest in sha256:*) ;; *) continue ;; esac
  echo "$name $digest $state"
  manifest=$(one "$digest")
  echo "$manifest"
  one "$(echo "$manifest" | sed -n 's/.*"config": *{[^}]*"digest": *"\([^"]*\)".*/\1/p')"
done
"#;

/// How names begin that `ctr images import --digests` makes up: `import-2026-11-23@sha256:…`.
const BY_IMPORT: &str = "import-";

/// The image store of a node that runs containerd.
#[derive(Debug, Clone)]
pub struct Containerd {
    shell: NodeShell,
}

/// An image with all that tells what it is.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its name, in full: `docker.io/library/todo:v1`.
    pub(super) name: String,
    digest: String,
    /// Whether all its blobs are there.
    complete: bool,
    pub(super) config: String,
    blobs: Vec<Blob>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    size: u64,
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

impl Containerd {
    /// The store of the node that this shell leads to.
    pub fn new(shell: NodeShell) -> Self {
        Self { shell }
    }

    fn failed(&self, doing: &str, error: ExecError) -> DockerError {
        DockerError::of_node(self.place(), doing, error)
    }

    /// The images of these filters; without any, all.
    pub(super) async fn list(&self, filters: &[String]) -> Result<Vec<Entry>, DockerError> {
        let mut words = vec!["sh", "-c", LIST, "list"];
        words.extend(filters.iter().map(String::as_str));
        let output = self.shell.ask(&words).await.map_err(|error| self.failed("list its images", error))?;
        let text = output.stdout_text();
        let mut entries: Vec<Entry> = Vec::new();
        let mut lines = text.lines();
        while let (Some(head), Some(manifest), Some(config)) = (lines.next(), lines.next(), lines.next()) {
            entries.extend(entry(head, manifest, config));
        }
        Ok(entries)
    }

    /// Removes a name, and with the last one of its repository the names that nobody gave: Kubernetes' part of containerd
    /// adds the digest of the configuration, and an import may add one of its own. As long as these are there, nothing is
    /// freed.
    pub(super) async fn untag(&self, name: &str) -> Result<(), DockerError> {
        let entries = self.list(&[format!("name=={name}")]).await?;
        self.remove(name).await?;
        let Some(config) = entries.into_iter().find(|entry| entry.name == name).map(|entry| entry.config) else {
            return Ok(());
        };
        let given = |name: &str| name != config && !name.starts_with(BY_IMPORT);
        let filters = [of_repository(split_tag(name).0), format!("name=={config}"), format!("name~=^{BY_IMPORT}")];
        let mut same = self.list(&filters).await?;
        same.retain(|entry| entry.config == config);
        if same.iter().any(|entry| given(&entry.name)) {
            return Ok(());
        }
        for entry in &same {
            self.remove(&entry.name).await?;
        }
        Ok(())
    }

    async fn remove(&self, name: &str) -> Result<(), DockerError> {
        let removed = self.shell.ask(&["ctr", "-n", "k8s.io", "images", "rm", name]).await;
        removed.map(|_| ()).map_err(|error| self.failed(&format!("remove the image `{name}`"), error))
    }
}

/// What was printed of an image; nothing for what is no image of a single platform.
fn entry(head: &str, manifest: &str, config: &str) -> Option<Entry> {
    let [name, digest, state] = head.split(' ').collect::<Vec<_>>()[..] else { return None };
    let manifest: Manifest = serde_json::from_str(manifest).ok()?;
    let layers = serde_json::from_str::<Config>(config).ok()?.rootfs.diff_ids;
    let blob = |layer: Descriptor| Blob { digest: layer.digest, size: layer.size };
    Some(Entry {
        name: name.to_owned(),
        digest: digest.to_owned(),
        complete: state == "complete",
        config: manifest.config.digest,
        blobs: manifest.layers.into_iter().map(blob).collect(),
        layers,
    })
}

/// The name by which containerd knows what Docker calls so.
pub(super) fn full_name(reference: &str) -> String {
    let reference = familiar(reference);
    match reference {
        _ if has_host(reference) => reference.to_owned(),
        _ if reference.contains('/') => format!("docker.io/{reference}"),
        _ => format!("docker.io/library/{reference}"),
    }
}

/// Finds all images of a repository.
pub(super) fn of_repository(repository: &str) -> String {
    let full = full_name(repository).replace('.', r"\.");
    format!("name~=^{full}:")
}

impl Target for Containerd {
    fn place(&self) -> String {
        format!("containerd on node {}", self.shell.node())
    }

    async fn held(&self, wanted: &Wanted) -> Result<Option<Held>, DockerError> {
        let name = full_name(&wanted.reference);
        let entries = self.list(&[format!("name=={name}")]).await?;
        let found = entries.into_iter().find(|entry| entry.name == name && entry.complete);
        Ok(found.map(|entry| Held { id: entry.digest, config: Some(entry.config) }))
    }

    async fn adopt(&self, wanted: &Wanted) -> Result<bool, DockerError> {
        // Kubernetes names images by the digests of their configurations, too.
        let family = of_repository(split_tag(&wanted.reference).0);
        let config = wanted.config().await?;
        let entries = self.list(&[family, format!("name=={config}")]).await?;
        let same = |entry: &&Entry| entry.complete && entry.config == config;
        let Some(entry) = entries.iter().find(same) else { return Ok(false) };
        let name = full_name(&wanted.reference);
        if entry.name != name {
            let tagged = self.shell.ask(&["ctr", "-n", "k8s.io", "images", "tag", "--force", &entry.name, &name]).await;
            tagged.map_err(|error| self.failed(&format!("tag `{}` as `{name}`", entry.name), error))?;
        }
        Ok(true)
    }

    async fn lacks(&self, manifest: &ImageManifest, _: &Wanted) -> Result<Vec<bool>, WholeInstead> {
        let asked = self.shell.ask(&["ctr", "-n", "k8s.io", "content", "ls", "--quiet"]).await;
        let output = asked.map_err(|error| self.failed("list its content", error))?;
        let text = output.stdout_text();
        let there: HashSet<&str> = text.lines().collect();
        Ok(manifest.layers.iter().map(|layer| !there.contains(layer.blob.digest.as_str())).collect())
    }

    async fn known(&self, wanted: &Wanted, all: bool) -> Result<Known, WholeInstead> {
        let filters = if all { Vec::new() } else { vec![of_repository(split_tag(&wanted.reference).0)] };
        let layers = &wanted.image.layers;
        let entries = self.list(&filters).await?;
        let complete = entries.into_iter().filter(|entry| entry.complete && entry.blobs.len() == entry.layers.len());
        let most = complete.max_by_key(|entry| shared(&entry.layers, layers));
        Ok(most.map_or_else(Known::default, |mut entry| {
            let count = shared(&entry.layers, layers);
            entry.blobs.truncate(count);
            Known { count, blobs: entry.blobs }
        }))
    }

    fn pack(&self, parts: Parts, wanted: &Wanted) -> Archive {
        Archive::oci(parts, &full_name(&wanted.reference))
    }

    async fn receive(
        &self,
        archive: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
    ) -> Result<(), LoadFault> {
        let words = ["ctr", "-n", "k8s.io", "images", "import", "-"];
        self.shell.feed(&words, archive).await.map(|_| ()).map_err(|error| fault_of(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_as_docker_does() {
        for (short, full) in [
            ("todo:v1", "docker.io/library/todo:v1"),
            ("acme/todo:v1", "docker.io/acme/todo:v1"),
            ("index.docker.io/todo:v1", "docker.io/library/todo:v1"),
            ("localhost/todo:v1", "localhost/todo:v1"),
            ("localhost:5000/todo:v1", "localhost:5000/todo:v1"),
            ("ghcr.io/acme/todo:v1", "ghcr.io/acme/todo:v1"),
        ] {
            assert_eq!(full_name(short), full);
        }
        assert_eq!(of_repository("todo"), r"name~=^docker\.io/library/todo:");
    }
}
