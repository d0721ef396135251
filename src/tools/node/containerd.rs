//! containerd's images, through `ctr` on the node.
//!
//! Kubernetes sees the namespace `k8s.io`. `ctr images import` takes an archive that names blobs which containerd has and
//! leaves them out. It ends with exit code 0 even if a blob is missing: only `ctr images check` tells. Each command on a node
//! costs about a tenth of a second, so one command asks for all images of the stack, and one both imports and checks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::shell::NodeShell;
use crate::tools::docker::target::{
    Archive, Blob, Held, ImageManifest, InFlight, Known, Parts, Target, Wanted, WholeInstead, fault_of, or_empty,
    shared,
};
use crate::tools::docker::{DockerError, ExecError, LoadFault, familiar, has_host, split_tag};

/// Prints the images that the filters match with their states, a line with a dash, and the digests of all blobs. One image
/// that is not all there, or goes at this moment, fails the check of the whole list: then each is checked by itself.
const INVENTORY: &str = r#"
if listed=$(ctr -n k8s.io images check "$@"); then
  echo "$listed"
else
  names=$(ctr -n k8s.io images ls --quiet "$@") || exit
  for name in $names; do ctr -n k8s.io images check "name==$name" || true; done
fi
echo -
ctr -n k8s.io content ls --quiet
"#;

/// Imports an archive from standard input, and prints the state of the image that it should have brought.
const IMPORT: &str = r#"
ctr -n k8s.io images import - >&2 || exit
ctr -n k8s.io images check "name==$1"
"#;

/// Prints for each digest of a manifest two lines: the manifest for this node's platform, and its configuration. What has
/// a name may be an index; then the first of its manifests whose configuration is there counts, and provenance has none
/// that names layers.
const DETAILS: &str = r#"
blob() { ctr -n k8s.io content get "$1" 2>/dev/null | tr -d '\n'; }
config_of() { echo "$1" | sed -n 's/.*"config": *{[^}]*"digest": *"\([^"]*\)".*/\1/p'; }
for digest; do
  manifest=$(blob "$digest")
  config=$(blob "$(config_of "$manifest")")
  if [ -z "$config" ]; then
    for inner in $(echo "$manifest" | grep -o '"digest": *"[^"]*"' | sed 's/.*"\(sha256:[^"]*\)"/\1/'); do
      manifest=$(blob "$inner")
      config=$(blob "$(config_of "$manifest")")
      case $config in *diff_ids*) break ;; esac
    done
  fi
  echo "$manifest"
  echo "$config"
done
"#;

/// How names begin that `ctr images import --digests` makes up: `import-2026-11-23@sha256:…`.
const BY_IMPORT: &str = "import-";

/// The image store of a node that runs containerd.
#[derive(Debug, Clone)]
pub struct Containerd {
    shell: NodeShell,
    /// The repositories whose images are asked for together.
    repositories: Arc<[String]>,
    /// What the node said last; absent before it was asked.
    inventory: Arc<Mutex<Option<Arc<Inventory>>>>,
    /// By the digests of manifests, what is in them. It never changes.
    details: Arc<Mutex<HashMap<String, Details>>>,
    in_flight: Arc<InFlight>,
}

/// What a node has.
#[derive(Debug, Clone, Default)]
struct Inventory {
    entries: Vec<Entry>,
    blobs: HashSet<String>,
}

/// A name of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The name, in full: `docker.io/library/todo:v1`.
    pub(super) name: String,
    /// The digest of the manifest or the index that it leads to.
    pub(super) digest: String,
    /// Whether all its blobs are there.
    complete: bool,
}

/// What is in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Details {
    config: String,
    blobs: Vec<Blob>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    #[serde(default, deserialize_with = "or_empty")]
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
    #[serde(default, deserialize_with = "or_empty")]
    diff_ids: Vec<String>,
}

impl Containerd {
    /// The store of the node that this shell leads to. The images of these repositories are asked for together.
    pub fn new(shell: NodeShell, repositories: impl IntoIterator<Item = String>) -> Self {
        let repositories = repositories.into_iter().collect();
        Self { shell, repositories, inventory: Arc::default(), details: Arc::default(), in_flight: Arc::default() }
    }

    fn failed(&self, doing: &str, error: ExecError) -> DockerError {
        DockerError::of_node(self.place(), doing, error)
    }

    /// What the node has of the repositories; asked once, and then kept up to date with what is done here.
    async fn inventory(&self) -> Result<Arc<Inventory>, DockerError> {
        let mut known = self.inventory.lock().await;
        if let Some(inventory) = known.as_ref() {
            return Ok(Arc::clone(inventory));
        }
        let filters: Vec<_> = self.repositories.iter().map(|name| of_repository(name)).collect();
        let inventory = Arc::new(self.ask(&filters).await?);
        *known = Some(Arc::clone(&inventory));
        Ok(inventory)
    }

    /// Asks the node for the images of these filters (without any, all), and for all blobs.
    async fn ask(&self, filters: &[String]) -> Result<Inventory, DockerError> {
        let mut words = vec!["sh", "-c", INVENTORY, "inventory"];
        words.extend(filters.iter().map(String::as_str));
        let output = self.shell.ask(&words).await.map_err(|error| self.failed("list its images", error))?;
        let text = output.stdout_text();
        let mut lines = text.lines();
        let entries = lines.by_ref().take_while(|line| *line != "-").filter_map(entry).collect();
        Ok(Inventory { entries, blobs: lines.map(str::to_owned).collect() })
    }

    /// The images of a repository.
    pub(super) async fn of_repository(&self, repository: &str) -> Result<Vec<Entry>, DockerError> {
        let own = format!("{}:", full_name(repository));
        let is_own = |entry: &&Entry| entry.name.starts_with(&own);
        if self.repositories.iter().any(|known| full_name(known) == full_name(repository)) {
            return Ok(self.inventory().await?.entries.iter().filter(is_own).cloned().collect());
        }
        Ok(self.ask(&[of_repository(repository)]).await?.entries.iter().filter(is_own).cloned().collect())
    }

    /// The digests of the configurations of these images, in their order; absent where there is none.
    pub(super) async fn configs(&self, entries: &[Entry]) -> Result<Vec<Option<String>>, DockerError> {
        let details = self.details(entries).await?;
        Ok(details.into_iter().map(|details| details.map(|details| details.config)).collect())
    }

    async fn details(&self, entries: &[Entry]) -> Result<Vec<Option<Details>>, DockerError> {
        let mut known = self.details.lock().await;
        let mut unknown: Vec<&str> = entries.iter().map(|entry| entry.digest.as_str()).collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown.retain(|digest| !known.contains_key(*digest));
        if !unknown.is_empty() {
            let words = [&["sh", "-c", DETAILS, "details"], &unknown[..]].concat();
            let output = self.shell.ask(&words).await.map_err(|error| self.failed("read its manifests", error))?;
            let text = output.stdout_text();
            let mut lines = text.lines();
            for digest in unknown {
                let (Some(manifest), Some(config)) = (lines.next(), lines.next()) else { break };
                known.extend(details(manifest, config).map(|details| (digest.to_owned(), details)));
            }
        }
        Ok(entries.iter().map(|entry| known.get(&entry.digest).cloned()).collect())
    }

    /// Changes what is known of the node by what was done there; nothing when it was not asked yet.
    async fn update(&self, change: impl FnOnce(&mut Inventory)) {
        if let Some(inventory) = self.inventory.lock().await.as_mut() {
            change(Arc::make_mut(inventory));
        }
    }

    /// Forgets what the node said, so that it is asked again: another program has changed its images.
    pub(super) async fn forget(&self) {
        *self.inventory.lock().await = None;
    }

    /// Removes a name, and with the last one of its repository the names that no user gave: Kubernetes' part of containerd
    /// adds the digest of the configuration, and an import may add one of its own. As long as these are there, nothing is
    /// freed.
    pub(super) async fn untag(&self, name: &str) -> Result<(), DockerError> {
        let all = self.ask(&[]).await?.entries;
        self.remove(name).await?;
        let configs = self.configs(&all).await?;
        let Some(gone) = all.iter().position(|entry| entry.name == name) else { return Ok(()) };
        let Some(config) = configs[gone].clone() else { return Ok(()) };
        let same =
            all.iter().zip(configs).filter(|(entry, known)| entry.name != name && known.as_ref() == Some(&config));
        let same: Vec<_> = same.map(|(entry, _)| entry.name.clone()).collect();
        let is_made_up = |name: &String| *name == config || name.starts_with(BY_IMPORT);
        if same.iter().all(is_made_up) {
            for name in &same {
                self.remove(name).await?;
            }
        }
        Ok(())
    }

    async fn remove(&self, name: &str) -> Result<(), DockerError> {
        let removed = self.shell.ask(&["ctr", "-n", "k8s.io", "images", "rm", name]).await;
        removed.map_err(|error| self.failed(&format!("remove the image `{name}`"), error))?;
        self.update(|inventory| inventory.entries.retain(|entry| entry.name != name)).await;
        Ok(())
    }
}

/// A line of `ctr images check`: name, type, digest, state and more. Nothing for its heading, and for what is no image.
fn entry(line: &str) -> Option<Entry> {
    let mut words = line.split_whitespace();
    let (name, _, digest, state) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let is_image = digest.starts_with("sha256:");
    is_image.then(|| Entry { name: name.to_owned(), digest: digest.to_owned(), complete: state == "complete" })
}

/// What is in a manifest and its configuration; nothing for what is no image.
fn details(manifest: &str, config: &str) -> Option<Details> {
    let manifest: Manifest = serde_json::from_str(manifest).ok()?;
    let layers = serde_json::from_str::<Config>(config).ok()?.rootfs.diff_ids;
    let blob = |layer: Descriptor| Blob { digest: layer.digest, size: layer.size };
    Some(Details { config: manifest.config.digest, blobs: manifest.layers.into_iter().map(blob).collect(), layers })
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

    fn in_flight(&self) -> &Arc<InFlight> {
        &self.in_flight
    }

    async fn held(&self, wanted: &Wanted) -> Result<Option<Held>, DockerError> {
        let name = full_name(&wanted.reference);
        let entries = self.of_repository(split_tag(&wanted.reference).0).await?;
        let Some(entry) = entries.into_iter().find(|entry| entry.name == name && entry.complete) else {
            return Ok(None);
        };
        // The same manifest is the same image. What has another one may still have the same configuration.
        if wanted.is_numbered(&entry.digest).await? {
            return Ok(Some(Held { id: wanted.image.id.clone(), config: None }));
        }
        let config = self.configs(std::slice::from_ref(&entry)).await?.into_iter().next().flatten();
        Ok(Some(Held { id: entry.digest, config }))
    }

    async fn adopt(&self, wanted: &Wanted) -> Result<bool, DockerError> {
        let entries = self.of_repository(split_tag(&wanted.reference).0).await?;
        let entries: Vec<_> = entries.into_iter().filter(|entry| entry.complete).collect();
        let mut same = None;
        for entry in &entries {
            if wanted.is_numbered(&entry.digest).await? {
                same = Some(entry);
            }
        }
        if same.is_none() && wanted.manifest().await?.is_none() {
            let config = wanted.config().await?;
            let configs = self.configs(&entries).await?;
            same =
                entries.iter().zip(configs).find(|(_, known)| known.as_deref() == Some(config)).map(|(entry, _)| entry);
        }
        let Some(entry) = same else { return Ok(false) };
        let name = full_name(&wanted.reference);
        if entry.name != name {
            let tagged = self.shell.ask(&["ctr", "-n", "k8s.io", "images", "tag", "--force", &entry.name, &name]).await;
            tagged.map_err(|error| self.failed(&format!("tag `{}` as `{name}`", entry.name), error))?;
            let new = Entry { name, ..entry.clone() };
            self.update(|inventory| inventory.replace(new)).await;
        }
        Ok(true)
    }

    async fn lacks(&self, manifest: &ImageManifest, _: &Wanted) -> Result<Vec<bool>, WholeInstead> {
        let inventory = self.inventory().await?;
        Ok(manifest.layers.iter().map(|layer| !inventory.blobs.contains(&layer.blob.digest)).collect())
    }

    async fn known(&self, wanted: &Wanted, all: bool) -> Result<Known, WholeInstead> {
        let entries = match all {
            true => self.ask(&[]).await?.entries,
            false => self.of_repository(split_tag(&wanted.reference).0).await?,
        };
        let entries: Vec<_> = entries.into_iter().filter(|entry| entry.complete).collect();
        let layers = &wanted.image.layers;
        let known = self.details(&entries).await?.into_iter().flatten();
        let whole = known.filter(|details| details.blobs.len() == details.layers.len());
        let most = whole.max_by_key(|details| shared(&details.layers, layers));
        Ok(most.map_or_else(Known::default, |mut details| {
            let count = shared(&details.layers, layers);
            details.blobs.truncate(count);
            Known { count, blobs: details.blobs }
        }))
    }

    fn pack(&self, parts: Parts, wanted: &Wanted) -> Archive {
        Archive::oci(parts, &full_name(&wanted.reference))
    }

    async fn receive(
        &self,
        wanted: &Wanted,
        archive: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
    ) -> Result<(), LoadFault> {
        let name = full_name(&wanted.reference);
        let fed = self.shell.feed(&["sh", "-c", IMPORT, "import", &name], archive).await;
        let text = match fed {
            Ok(output) => output.stdout_text(),
            Err(error) => {
                // An import that broke off may have brought some blobs, or taken the name from another image.
                self.forget().await;
                return Err(fault_of(&error));
            }
        };
        let arrived = text.lines().filter_map(entry).find(|entry| entry.name == name);
        let blobs = match wanted.manifest().await {
            Ok(Some(manifest)) if arrived.as_ref().is_some_and(|entry| entry.complete) => &manifest.layers[..],
            Ok(_) | Err(_) => &[],
        };
        self.update(|inventory| {
            inventory.entries.retain(|entry| entry.name != name);
            inventory.entries.extend(arrived);
            inventory.blobs.extend(blobs.iter().map(|layer| layer.blob.digest.clone()));
        })
        .await;
        Ok(())
    }
}

impl Inventory {
    fn replace(&mut self, new: Entry) {
        self.entries.retain(|entry| entry.name != new.name);
        self.entries.push(new);
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

    #[test]
    fn images_are_read_from_the_list_and_nothing_else() {
        let line = "docker.io/library/a:1 application/vnd.oci.image.manifest.v1+json sha256:ab incomplete (2/3) 1 MiB/2 MiB false";
        let read = entry(line).unwrap();
        assert_eq!(
            (read.name.as_str(), read.digest.as_str(), read.complete),
            ("docker.io/library/a:1", "sha256:ab", false)
        );
        assert!(entry(&line.replace("incomplete", "complete")).unwrap().complete);
        for other in ["REF TYPE DIGEST STATUS SIZE UNPACKED", "", "time=now level=warning msg=deprecated"] {
            assert_eq!(entry(other), None);
        }
    }
}
