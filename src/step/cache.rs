//! `[cache]`: a registry that keeps images by their keys, so that what one machine built others only fetch.
//!
//! It is a help and never a need: whatever goes wrong with it is one warning, and the run goes on without it.
//!
//! An image that is shared has two names there: `k-<key>`, by which it is looked for, and one that adds what the registry
//! knows it by. A key whose name somebody has given to another image lacks the second, and counts as not shared.

use std::sync::atomic::Ordering;

use tokio::time::timeout;

use super::{Speaker, World};
use crate::config::{Cache, CacheMode};
use crate::tools::docker::{DockerError, Engine, ImageInfo, Patience, familiar};

/// A transfer may take this many times as long as it may stall.
const WHOLE: u32 = 10;

/// How much of a registry's digest stands in a name.
const DIGITS: usize = 12;

/// Fetches the image with this tag, which says what it was built from, if somebody has shared it. It then has no name but
/// its ID.
pub(super) async fn fetch(
    world: &World,
    engine: &Engine,
    repository: &str,
    tag: &str,
    speaker: &Speaker,
) -> Option<ImageInfo> {
    let cache = usable(world)?;
    let fetching = async {
        let reference = reference(cache, engine, repository, tag).await?;
        speaker.progress(&format!("asking {} for it", cache.registry), None, None);
        let Some(image) = engine.pull(&reference, patience(cache)).await? else { return Ok(None) };
        let bound = is_bound(cache, engine, repository, tag, &image).await;
        if !matches!(bound, Ok(true)) {
            engine.untag(&reference).await?;
        }
        if !bound? {
            let text = format!("{reference} is not the image that was shared under this name; building it");
            speaker.warn(&text);
            return Ok(None);
        }
        let tags = image.tags.into_iter().filter(|tag| tag != familiar(&reference)).collect();
        Ok(Some(ImageInfo { tags, ..image }))
    };
    match fetching.await {
        Ok(found) => found,
        Err(error) => {
            give_up(world, cache, speaker, &error);
            None
        }
    }
}

/// Whether an image that was fetched by this tag also has the name that binds the two.
async fn is_bound(
    cache: &Cache,
    engine: &Engine,
    repository: &str,
    tag: &str,
    image: &ImageInfo,
) -> Result<bool, DockerError> {
    let here = format!("{}/{}", registry(cache), name(repository));
    for digest in image.digests_in(&here) {
        let bound = reference(cache, engine, repository, &binding(tag, digest)).await?;
        match engine.resolve(&bound).await {
            Ok(found) if found == digest => return Ok(true),
            Ok(_) => {}
            Err(error) if error.is_not_there() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn binding(tag: &str, digest: &str) -> String {
    let digits = digest.rsplit(':').next().unwrap_or_default();
    format!("{tag}-{}", &digits[..digits.len().min(DIGITS)])
}

/// Whether somebody has shared an image with this tag. Nothing is fetched.
pub(super) async fn has(world: &World, engine: &Engine, repository: &str, tag: &str) -> bool {
    let Some(cache) = usable(world) else { return false };
    let asking = async {
        let reference = reference(cache, engine, repository, tag).await?;
        engine.resolve(&reference).await
    };
    matches!(timeout(cache.timeout, asking).await, Ok(Ok(_)))
}

/// Takes away the name under which an image came, once it has others.
pub(super) async fn forget(world: &World, engine: &Engine, repository: &str, tag: &str) {
    let Some(cache) = &world.stack().cache else { return };
    if let Ok(reference) = reference(cache, engine, repository, tag).await
        && let Err(error) = engine.untag(&reference).await
    {
        tracing::debug!(%error, "a name of the cache stays");
    }
}

/// Gives an image that was built here to the others.
pub(super) async fn share(world: &World, engine: &Engine, repository: &str, tag: &str, id: &str, speaker: &Speaker) {
    let Some(cache) = usable(world).filter(|cache| cache.mode == CacheMode::ReadWrite) else { return };
    let sharing = async {
        let by_key = reference(cache, engine, repository, tag).await?;
        engine.tag(id, &by_key).await?;
        speaker.progress(&format!("sharing it through {}", cache.registry), None, None);
        engine.push(&by_key, patience(cache)).await?;
        let tag = binding(tag, &engine.resolve(&by_key).await?);
        let bound = reference(cache, engine, repository, &tag).await?;
        engine.tag(id, &bound).await?;
        let pushed = engine.push(&bound, patience(cache)).await;
        forget(world, engine, repository, &tag).await;
        pushed
    };
    if let Err(error) = sharing.await {
        give_up(world, cache, speaker, &error);
    }
    forget(world, engine, repository, tag).await;
}

/// The cache, unless there is none or it has failed in this run.
fn usable(world: &World) -> Option<&Cache> {
    world.stack().cache.as_ref().filter(|_| !world.cache_failed.load(Ordering::Relaxed))
}

/// One warning is enough: nobody waits for a registry that is gone once for each image.
fn give_up(world: &World, cache: &Cache, speaker: &Speaker, error: &DockerError) {
    if !world.cache_failed.swap(true, Ordering::Relaxed) {
        speaker.warn(&format!("going on without the cache {}: {error}", cache.registry));
    }
}

fn patience(cache: &Cache) -> Patience {
    Patience { stall: cache.timeout, whole: cache.timeout * WHOLE }
}

/// The name of an image in the cache. The tag says nothing of the machine, and an image only runs on its kind.
async fn reference(cache: &Cache, engine: &Engine, repository: &str, tag: &str) -> Result<String, DockerError> {
    let about = engine.about().await?;
    Ok(format!("{}/{}:{tag}-{}", registry(cache), name(repository), about.architecture))
}

fn registry(cache: &Cache) -> &str {
    cache.registry.trim_end_matches('/')
}

fn name(repository: &str) -> &str {
    repository.rsplit('/').next().unwrap_or(repository)
}
