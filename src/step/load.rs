//! `load:NAME`: every node has the image, under the name that is deployed. Nothing is recorded: the nodes are asked.

use super::output::{Known, Output, deploy_tag};
use super::{Finished, Inspection, Speaker, StepError, World};
use crate::config::LoadMode;
use crate::graph::{StepId, StepKind};
use crate::key::{Group, Manifest};
use crate::model::quantity::bytes;
use crate::plan::{Effect, by_effect};
use crate::process::{Cancel, CancelLevel};
use crate::tools::docker::{DockerError, LoadProgress, LoadWay};

/// What `inspect` leaves to `execute`.
#[derive(Debug)]
pub(super) struct Work {
    name: String,
}

fn error(error: &DockerError) -> StepError {
    StepError::of(error, error.class(), error.help())
}

pub(super) async fn inspect(world: &World, name: &str) -> Result<Inspection, StepError> {
    let step = StepId::new(StepKind::Load, name);
    let last = world.last_manifest(&step);
    let mut manifest = Manifest::new("load");
    match world.cluster_uid() {
        Known::Yes(uid) => manifest.text(Group::Target, "cluster", uid),
        Known::After(step) => manifest.unknown(Group::Target, "cluster", step),
    }
    let effect = match (world.image(name), world.cluster_uid()) {
        (_, Known::After(because)) => Effect::Unknown { because },
        (Known::After(because), _) => {
            manifest.unknown(Group::Image, name, because.clone());
            Effect::Unknown { because }
        }
        (Known::Yes((repository, id)), Known::Yes(_)) => {
            manifest.digest(Group::Image, name, &id);
            let was_there = last.as_ref().is_some_and(|last| Some(&last.key) == manifest.key().as_ref());
            observe(world, &repository, &id, was_there).await?
        }
    };
    let decision = by_effect(&manifest, last.as_ref(), &effect);
    let work = super::Work::Load(Work { name: name.to_owned() });
    Ok(Inspection { decision, manifest, output: Known::Yes(Output::None), work })
}

/// Asks every node for the image.
async fn observe(world: &World, repository: &str, id: &str, was_there: bool) -> Result<Effect, StepError> {
    let reference = format!("{repository}:{}", deploy_tag(id));
    let nodes = world.nodes().await?;
    let asked = nodes.stores.iter().map(async |node| {
        let image = node.engine.image(&reference).await?;
        Ok::<_, DockerError>((node, image))
    });
    let mut wrong = Vec::new();
    for (node, image) in futures::future::try_join_all(asked).await.map_err(|e| error(&e))? {
        match image {
            Some(image) if image.id == id => {}
            Some(_) => wrong.push(format!("{reference} is another image on node {}", node.name)),
            None if was_there => wrong.push(format!("image is gone from node {}", node.name)),
            None => wrong.push(format!("{reference} is not on node {}", node.name)),
        }
    }
    Ok(if wrong.is_empty() {
        let names: Vec<_> = nodes.stores.iter().map(|node| node.name.as_str()).collect();
        Effect::Intact(format!("{reference} is on {}", names.join(", ")))
    } else {
        Effect::Wrong(wrong)
    })
}

pub(super) async fn execute(
    world: &World,
    work: Work,
    speaker: &Speaker,
    cancel: &Cancel,
) -> Result<Finished, StepError> {
    let Known::Yes((repository, id)) = world.image(&work.name) else {
        return Err(StepError::new(crate::error::Class::Internal, "the image to load is not known"));
    };
    let reference = format!("{repository}:{}", deploy_tag(&id));
    let mode = world.stack().images.get(work.name.as_str()).map(|image| image.load);
    let way = if mode == Some(LoadMode::Archive) { LoadWay::Archive } else { LoadWay::Layers };
    let loading = async {
        let engine = world.engine().await?;
        let nodes = world.nodes().await?;
        let mut sent = 0;
        let mut total = 0;
        for node in &nodes.stores {
            if node.engine.has(&reference, &id).await.map_err(|e| error(&e))? {
                continue;
            }
            let tell = |progress: LoadProgress| {
                speaker.progress(&format!("sending to {}", node.name), Some(progress.sent), Some(progress.total));
            };
            let loaded = engine.load(&reference, &node.engine, way, tell).await.map_err(|e| error(&e))?;
            if let Some(why) = &loaded.why_whole {
                speaker.progress(&format!("sent whole to {}: {why}", node.name), None, None);
            }
            sent += loaded.sent;
            total += loaded.total;
        }
        Ok(match total {
            0 => format!("{reference} is there already"),
            _ => format!("{reference}, sent {} of {}", bytes(sent), bytes(total)),
        })
    };
    let note = tokio::select! {
        done = loading => done?,
        // Dropping the transfer closes both connections; the node keeps nothing of half an archive.
        _ = cancel.raised(CancelLevel::Terminate) => return Err(super::stopped()),
    };
    Ok(Finished { output: Output::None, note: Some(note) })
}
