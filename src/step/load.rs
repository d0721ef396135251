//! `load:NAME`: every node has the image, under the name that is deployed. Nothing is recorded: the nodes are asked.

use std::fmt;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::sync::{OnceCell, Semaphore};

use super::nodes::NodeStore;
use super::output::{Known, Output, deploy_tag};
use super::{Finished, Inspection, Speaker, StepError, World, registry, running, values};
use crate::config::LoadMode;
use crate::error::Class;
use crate::event::Transfer;
use crate::graph::{StepId, StepKind};
use crate::key::{Group, Manifest};
use crate::model::quantity::bytes;
use crate::plan::{Effect, by_effect};
use crate::process::{Cancel, CancelLevel};
use crate::tools::docker::{DockerError, Engine, LoadProgress, LoadWay, Loaded, Wanted};
use crate::tools::driver::ClusterDriver;
use crate::tools::node::Store;

/// How often the progress of a load is told.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// What `inspect` leaves to `execute`.
#[derive(Debug)]
pub(super) struct Work {
    name: String,
}

fn of_docker(error: &DockerError) -> StepError {
    StepError::of(error, error.class(), error.help())
}

fn mode(world: &World, name: &str) -> Result<LoadMode, StepError> {
    let spec = world.stack().images.get(name);
    spec.map(|spec| spec.load).ok_or_else(|| StepError::new(Class::Internal, format!("there is no image {name}")))
}

pub(super) async fn inspect(world: &World, name: &str) -> Result<Inspection, StepError> {
    let step = StepId::new(StepKind::Load, name);
    let mode = mode(world, name)?;
    let mut manifest = Manifest::new("load");
    values::add_cluster(world, &mut manifest);
    let effect = match (world.image(name), world.cluster_uid()) {
        (_, Known::After(because)) => Effect::Unknown { because },
        (Known::After(because), _) => {
            manifest.unknown(Group::Image, name, because.clone());
            Effect::Unknown { because }
        }
        (Known::Yes((repository, id)), Known::Yes(_)) => {
            manifest.digest(Group::Image, name, &id);
            let was_there = world.last_key(&step).is_some_and(|last| Some(last) == manifest.key());
            if mode == LoadMode::Registry {
                registry::observe(world, &repository, &id).await?
            } else {
                observe(world, mode, &repository, &id, was_there).await?
            }
        }
    };
    let last = if matches!(effect, Effect::Intact(_)) { None } else { world.last_manifest(&step) };
    let decision = by_effect(&manifest, last.as_ref(), &effect);
    let work = super::Work::Load(Work { name: name.to_owned() });
    Ok(Inspection { decision, manifest, output: Known::Yes(Output::None), work })
}

/// The image as the nodes are to have it.
async fn wanted(world: &World, mode: LoadMode, repository: &str, id: &str) -> Result<Wanted, StepError> {
    let reference = format!("{repository}:{}", deploy_tag(id));
    world.builder(mode).await?.wanted(&reference).await.map_err(|error| of_docker(&error))
}

/// Asks for the image on every node: the pods that run prove it, and a node without such a pod is asked itself. A node that
/// does not answer counts as one that lacks it.
async fn observe(
    world: &World,
    mode: LoadMode,
    repository: &str,
    id: &str,
    was_there: bool,
) -> Result<Effect, StepError> {
    let (wanted, all) = tokio::try_join!(wanted(world, mode, repository, id), world.node_list())?;
    let reference = &wanted.reference;
    let proven = running::nodes_that_run(world, &wanted).await.map_err(|error| of_docker(&error))?;
    let names: Vec<_> = all.iter().map(|node| node.name.as_str()).collect();
    let seen = Effect::Intact(format!("{reference} is on {}", names.join(", ")));
    if names.iter().all(|name| proven.contains(*name)) {
        return Ok(seen);
    }
    let nodes = world.nodes().await?;
    let unproven = nodes.stores.iter().filter(|node| !proven.contains(&node.name));
    let asked = unproven.map(async |node| {
        let store = match &node.store {
            Ok(store) => store,
            Err(error) => return Some(error.reason.clone()),
        };
        let _awaited = world.await_for(format!("node {}", node.name));
        let held = async {
            let Some(held) = store.held(&wanted).await? else { return Ok(None) };
            wanted.is(&held).await.map(Some)
        };
        match held.await {
            Ok(Some(true)) => None,
            Ok(Some(false)) => Some(format!("{reference} is another image on node {}", node.name)),
            Ok(None) if was_there => Some(format!("image is gone from node {}", node.name)),
            Ok(None) => Some(format!("{reference} is not on node {}", node.name)),
            Err::<_, DockerError>(error) => Some(format!("node {} can't be asked: {error}", node.name)),
        }
    });
    let wrong: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
    Ok(if wrong.is_empty() { seen } else { Effect::Wrong(wrong) })
}

pub(super) async fn execute(
    world: &World,
    work: Work,
    speaker: &Speaker,
    cancel: &Cancel,
) -> Result<Finished, StepError> {
    let Known::Yes((repository, id)) = world.image(&work.name) else {
        return Err(StepError::new(Class::Internal, "the image to load is not known"));
    };
    let mode = mode(world, &work.name)?;
    let way = if mode == LoadMode::Archive { LoadWay::Archive } else { LoadWay::Layers };
    let loading = async {
        if mode == LoadMode::Registry {
            return registry::push(world, &repository, &id, speaker).await;
        }
        let (wanted, nodes) = tokio::try_join!(wanted(world, mode, &repository, &id), world.nodes())?;
        let tool = world.stack().cluster.as_ref().and_then(|spec| super::cluster::driver(spec).ok());
        let host = world.builder(mode).await?;
        let tool = Tool { driver: tool, ran: OnceCell::new(), turn: &world.tool, cancel };
        let bringing = Bringing { host, wanted: &wanted, way, speaker, tool };
        // Every node comes to its own end: what one has got it need not get again.
        let ended = join_all(nodes.stores.iter().map(|node| bringing.bring(node))).await;
        let (arrived, failed): (Vec<_>, Vec<_>) = ended.into_iter().partition(Result::is_ok);
        match together(failed.into_iter().filter_map(Result::err)) {
            Some(error) => Err(error),
            None => Ok(note(&wanted.reference, arrived.into_iter().flatten().flatten())),
        }
    };
    let note = tokio::select! {
        done = loading => done?,
        // Dropping the transfers closes all connections; a node keeps nothing of half an archive.
        _ = cancel.raised(CancelLevel::Terminate) => return Err(super::stopped()),
    };
    Ok(Finished { output: Output::None, note: Some(note) })
}

/// An image on its way to the nodes.
struct Bringing<'w> {
    host: &'w Engine,
    wanted: &'w Wanted,
    way: LoadWay,
    speaker: &'w Speaker,
    tool: Tool<'w>,
}

/// The command line of the cluster's own tool: the last resort.
struct Tool<'w> {
    /// Absent for a cluster that is only known by its context.
    driver: Option<ClusterDriver>,
    /// It serves all nodes at once.
    ran: OnceCell<Tried>,
    /// It serves one image at a time.
    turn: &'w Semaphore,
    cancel: &'w Cancel,
}

/// What the last resort came to, by its own account.
struct Tried {
    /// The command.
    command: String,
    /// Why it failed, if it says so.
    failed: Option<String>,
}

impl Tool<'_> {
    /// Has it bring an image, unless it has been asked before.
    async fn load(&self, reference: &str) -> Option<&Tried> {
        let driver = self.driver.as_ref()?;
        let run = async || {
            let turn = self.turn.acquire().await;
            let loaded = driver.load_image(reference, self.cancel).await;
            drop(turn);
            Tried { command: driver.load_command(reference), failed: loaded.err().map(|error| error.to_string()) }
        };
        Some(self.ran.get_or_init(run).await)
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failed {
            Some(failed) => write!(f, "the last resort failed, too: {failed}"),
            None => {
                write!(f, "the last resort, `{}`, said nothing of a failure and did not bring it either", self.command)
            }
        }
    }
}

impl Bringing<'_> {
    async fn is_in(&self, store: &Store) -> Result<bool, DockerError> {
        match store.held(self.wanted).await? {
            Some(held) => self.wanted.is(&held).await,
            None => Ok(false),
        }
    }

    /// Brings the image to one node, unless it is there.
    async fn bring(&self, node: &NodeStore) -> Result<Option<Loaded>, StepError> {
        let named = |error: DockerError| {
            let error = of_docker(&error);
            StepError { reason: format!("node {}: {}", node.name, error.reason), ..error }
        };
        let store = node.store.as_ref().map_err(Clone::clone)?;
        if self.is_in(store).await.map_err(named)? {
            return Ok(None);
        }
        self.wanted.fits(&node.platform).map_err(named)?;
        let begun = Instant::now();
        let mut told: Option<Instant> = None;
        let transfer = |arrived, progress: LoadProgress, why_whole| Transfer {
            node: node.name.clone(),
            arrived,
            sent: progress.sent,
            expected: progress.expected,
            total: progress.total,
            layers_skipped: progress.layers_skipped,
            layers: progress.layers,
            rate: progress.sent as f64 / begun.elapsed().as_secs_f64().max(0.001),
            why_whole,
        };
        let tell = |progress: LoadProgress| {
            if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                told = Some(Instant::now());
                self.speaker.transfer(transfer(false, progress, None));
            }
        };
        let loaded = match store.load(self.host, self.wanted, self.way, tell).await {
            Ok(loaded) => loaded,
            Err(error) if error.another_way_may_help() => {
                let Some(tried) = self.tool.load(&self.wanted.reference).await else { return Err(named(error)) };
                // Only the node itself knows, whatever the tool says of all of them.
                store.forget().await;
                if !self.is_in(store).await.map_err(named)? {
                    let error = named(error);
                    let lines: Vec<_> = error.diagnosis.iter().cloned().chain([tried.to_string()]).collect();
                    return Err(error.with_diagnosis(lines.join("\n")));
                }
                let (sent, layers) = (self.wanted.image.size, self.wanted.image.layers.len());
                let why_whole = Some(format!("the cluster's own tool brought it: {error}"));
                Loaded { way: LoadWay::Archive, why_whole, layers_skipped: 0, layers, sent, total: sent }
            }
            Err(error) => return Err(named(error)),
        };
        let Loaded { sent, layers_skipped, layers, total, .. } = loaded;
        let end = LoadProgress { sent, expected: sent, layers_skipped, layers, total };
        self.speaker.transfer(transfer(true, end, loaded.why_whole.clone()));
        Ok(Some(loaded))
    }
}

/// One error of the errors of several nodes. Trying again is of use only if it is for all of them.
fn together(errors: impl Iterator<Item = StepError>) -> Option<StepError> {
    errors.reduce(|all, error| {
        let lasting = all.class != Class::Transient;
        // What is true of all nodes is said once.
        let mut diagnosis: Vec<_> = all.diagnosis.iter().flat_map(|text| text.lines()).collect();
        for line in error.diagnosis.iter().flat_map(|text| text.lines()) {
            if !diagnosis.contains(&line) {
                diagnosis.push(line);
            }
        }
        let diagnosis = diagnosis.join("\n");
        StepError {
            class: if lasting { all.class } else { error.class },
            reason: format!("{}; {}", all.reason, error.reason),
            diagnosis: (!diagnosis.is_empty()).then_some(diagnosis),
        }
    })
}

/// What was sent, and what was saved.
fn note(reference: &str, loaded: impl Iterator<Item = Loaded>) -> String {
    let loaded: Vec<_> = loaded.collect();
    let sent = loaded.iter().map(|loaded| loaded.sent).sum();
    let total = loaded.iter().map(|loaded| loaded.total).sum();
    let skipped: usize = loaded.iter().map(|loaded| loaded.layers_skipped).sum();
    let layers: usize = loaded.iter().map(|loaded| loaded.layers).sum();
    if loaded.is_empty() {
        return format!("{reference} is there already");
    }
    let to = if loaded.len() > 1 { format!(" to {} nodes", loaded.len()) } else { String::new() };
    let there = if skipped > 0 { format!("; {skipped} of {layers} layers were there") } else { String::new() };
    format!("{reference}, sent {} of {}{to}{there}", bytes(sent), bytes(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(sent: u64, layers_skipped: usize) -> Loaded {
        let way = LoadWay::Layers;
        Loaded { way, why_whole: None, layers_skipped, layers: 6, sent, total: 865_000_000 }
    }

    #[test]
    fn the_summary_says_what_was_saved() {
        let one = note("todo:1", [loaded(1_000_000, 5)].into_iter());
        assert_eq!(one, "todo:1, sent 1.0 MB of 865 MB; 5 of 6 layers were there");
        let two = note("todo:1", [loaded(1_000_000, 5), loaded(865_000_000, 0)].into_iter());
        assert_eq!(two, "todo:1, sent 866 MB of 1.7 GB to 2 nodes; 5 of 12 layers were there");
        assert_eq!(note("todo:1", std::iter::empty()), "todo:1 is there already");
    }

    #[test]
    fn trying_again_is_of_use_only_if_it_is_for_all_nodes() {
        let passing = || StepError::new(Class::Transient, "node a: gone");
        let lasting = || StepError::new(Class::Environment, "node b: full").with_diagnosis("try more");
        assert_eq!(together([passing(), passing()].into_iter()).unwrap().class, Class::Transient);
        for errors in [[passing(), lasting()], [lasting(), passing()]] {
            let error = together(errors.into_iter()).unwrap();
            assert_eq!(error.class, Class::Environment);
            assert_eq!(error.diagnosis.as_deref(), Some("try more"));
            assert!(error.reason.contains("node a: gone") && error.reason.contains("node b: full"));
        }
    }
}
