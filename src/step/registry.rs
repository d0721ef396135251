//! `load = "registry"`: images go to a registry that the nodes pull from.
//!
//! Which one is said by the image's repository, when it names a host; else by `[cluster] registry`; else by the cluster
//! itself, in the ConfigMap `local-registry-hosting` that tools for local clusters agree on (KEP-1755).

use std::time::Duration;

use super::output::deploy_tag;
use super::{Speaker, StepError, World};
use crate::error::Class;
use crate::plan::Effect;
use crate::tools::docker::{DockerError, Engine, Patience, has_host};
use crate::tools::kube::{KubeError, yaml};

/// A push may take long, but not stand still.
const PATIENCE: Patience = Patience { stall: Duration::from_secs(120), whole: Duration::from_secs(3600) };

const NAMESPACE: &str = "kube-public";
const CONFIG_MAP: &str = "local-registry-hosting";
const KEY: &str = "localRegistryHosting.v1";

/// A registry, by the names that it has here and on the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hosting {
    /// Its host and port for this machine.
    push: String,
    /// Its host and port for the nodes.
    pull: String,
}

impl Hosting {
    /// The registry that the stack file says.
    pub(super) fn written(world: &World) -> Option<Self> {
        let registry = world.stack().cluster.as_ref()?.registry.as_ref()?.trim_end_matches('/').to_owned();
        Some(Self { push: registry.clone(), pull: registry })
    }

    /// The registry that the stack file says, or the cluster.
    pub(super) async fn find(world: &World) -> Result<Self, StepError> {
        if let Some(written) = Self::written(world) {
            return Ok(written);
        }
        let of = |error: KubeError| StepError::of(&error, error.class(), error.help());
        let cluster = world.cluster().await?;
        let kind = cluster.kind("v1", "ConfigMap").await.map_err(of)?;
        let found = cluster.get(&kind, NAMESPACE, CONFIG_MAP).await.map_err(of)?;
        let text = found.as_ref().map(|map| map.text(&format!("/data/{KEY}")));
        text.and_then(Self::read).ok_or_else(|| {
            let reason = "`load = \"registry\"` needs a registry that the nodes pull from, and none is named";
            StepError::new(Class::Input, reason).with_diagnosis(
                "try `registry = \"HOST:PORT\"` in [cluster], or a repository that begins with the registry; the cluster \
                 has no ConfigMap local-registry-hosting in kube-public that would name one",
            )
        })
    }

    /// What the ConfigMap says.
    fn read(text: &str) -> Option<Self> {
        let value = yaml::parse(text).ok()?;
        let host = |key: &str| value.get(key)?.as_str().map(str::to_owned);
        let push = host("host")?;
        Some(Self { pull: host("hostFromContainerRuntime").unwrap_or_else(|| push.clone()), push })
    }

    /// A repository as the nodes name it.
    pub(super) fn pulled(&self, repository: &str) -> String {
        if has_host(repository) { repository.to_owned() } else { format!("{}/{repository}", self.pull) }
    }

    /// A repository as this machine names it.
    pub(super) fn pushed(&self, repository: &str) -> String {
        if has_host(repository) { repository.to_owned() } else { format!("{}/{repository}", self.push) }
    }
}

fn of_docker(error: DockerError) -> StepError {
    StepError::of(&error, error.class(), error.help())
}

/// Asks the registry for the image.
pub(super) async fn observe(world: &World, repository: &str, id: &str) -> Result<Effect, StepError> {
    let engine = world.engine().await?;
    let name = name(world, repository, id).await?;
    match engine.resolve(&name).await {
        Ok(digest) if is_digest_of(engine, id, &name, &digest).await? => {
            Ok(Effect::Intact(format!("{name} is in the registry")))
        }
        Ok(_) => Ok(Effect::wrong(format!("{name} in the registry was not pushed from here, or is another image"))),
        Err(DockerError::Refused { .. }) => Ok(Effect::wrong(format!("{name} is not in the registry"))),
        Err(error) => Err(of_docker(error)),
    }
}

/// Pushes the image, and asks the registry what it has now.
pub(super) async fn push(world: &World, repository: &str, id: &str, speaker: &Speaker) -> Result<String, StepError> {
    let engine = world.engine().await?;
    let wanted = engine.wanted(id).await.map_err(of_docker)?;
    for node in
        world.cluster().await?.nodes().await.map_err(|error| StepError::of(&error, error.class(), error.help()))?
    {
        wanted.fits(&format!("linux/{}", node.architecture)).map_err(of_docker)?;
    }
    let name = name(world, repository, id).await?;
    speaker.progress(&format!("pushing {name}"), None, None);
    engine.tag(id, &name).await.map_err(of_docker)?;
    engine.push(&name, PATIENCE).await.map_err(of_docker)?;
    let digest = engine.resolve(&name).await.map_err(of_docker)?;
    if !is_digest_of(engine, id, &name, &digest).await? {
        let reason = format!("the registry took {name}, and has {digest} under that name, which is another image");
        return Err(StepError::new(Class::Environment, reason));
    }
    Ok(format!("{name} is in the registry"))
}

async fn name(world: &World, repository: &str, id: &str) -> Result<String, StepError> {
    // A repository that names its registry needs no other to be known.
    let repository =
        if has_host(repository) { repository.to_owned() } else { world.registry().await?.pushed(repository) };
    Ok(format!("{repository}:{}", deploy_tag(id)))
}

/// Whether the engine knows its image by that digest, in that registry.
async fn is_digest_of(engine: &Engine, id: &str, name: &str, digest: &str) -> Result<bool, StepError> {
    let image = engine.image(id).await.map_err(of_docker)?;
    let repository = crate::tools::docker::split_tag(name).0;
    Ok(image.is_some_and(|image| image.digests_in(repository).any(|known| known == digest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_map_of_local_clusters_is_read() {
        let read = |text: &str| Hosting::read(text).unwrap();
        let one = read("host: \"localhost:5001\"\nhelp: \"https://kind.sigs.k8s.io/docs/user/local-registry/\"\n");
        assert_eq!(one.pulled("todo"), "localhost:5001/todo");
        let two = read("host: localhost:5001\nhostFromContainerRuntime: registry:5000\n");
        assert_eq!(
            (two.pushed("a/b").as_str(), two.pulled("a/b").as_str()),
            ("localhost:5001/a/b", "registry:5000/a/b")
        );
        assert_eq!(two.pulled("ghcr.io/a/b"), "ghcr.io/a/b");
        assert_eq!(Hosting::read("help: none\n"), None);
    }
}
