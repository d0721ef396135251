//! What is looked at before its turn, so that a run which has nothing to do does not wait for it then.
//!
//! A look tells how things were when it was made. It is as good as one that is made in its turn as long as this run has
//! changed nothing: with the first change all that was seen early is forgotten.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::task::JoinHandle;

use super::chart::{self, Observed};
use super::check::{self, Verdict};
use super::{World, nodes};
use crate::graph::{StepIndex, StepKind};
use crate::tools::docker::{Engine, ImageInfo};
use crate::tools::driver::NodeDocker;

/// Looks that were begun before their turn.
#[derive(Debug)]
pub(super) struct Early {
    /// Nothing any more once something has changed.
    looks: Mutex<Option<Looks>>,
}

/// By the names of what is looked at. A look that came to nothing has to be made again in its turn.
#[derive(Debug, Default)]
struct Looks {
    checks: HashMap<String, JoinHandle<Option<Verdict>>>,
    charts: HashMap<String, JoinHandle<Option<Observed>>>,
    /// Images of this machine's engine, each for all who build on it.
    images: HashMap<String, Shared<BoxFuture<'static, Option<Option<ImageInfo>>>>>,
    engines: HashMap<NodeDocker, JoinHandle<Option<Engine>>>,
}

impl Default for Early {
    fn default() -> Self {
        Self { looks: Mutex::new(Some(Looks::default())) }
    }
}

impl Early {
    /// What was seen of a check.
    pub(super) async fn check(&self, name: &str) -> Option<Verdict> {
        let look = self.lock().as_mut()?.checks.remove(name)?;
        self.of_now(look.await.ok()?)
    }

    /// What was seen of a chart's release.
    pub(super) async fn chart(&self, name: &str) -> Option<Observed> {
        let look = self.lock().as_mut()?.charts.remove(name)?;
        self.of_now(look.await.ok()?)
    }

    /// An image of this machine's engine, asked for once by all who look before anything has changed: nothing if it has to
    /// be asked again, nothing in something if there is no such image.
    pub(super) async fn image(&self, engine: &Engine, reference: &str) -> Option<Option<ImageInfo>> {
        let look = {
            let mut looks = self.lock();
            let look = looks.as_mut()?.images.entry(reference.to_owned()).or_insert_with(|| {
                let (engine, reference) = (engine.clone(), reference.to_owned());
                async move { engine.image(&reference).await.ok() }.boxed().shared()
            });
            look.clone()
        };
        self.of_now(look.await)
    }

    /// A node's engine that was connected to before it was certain that this is its address.
    pub(super) async fn engine(&self, address: &NodeDocker) -> Option<Engine> {
        let look = self.lock().as_mut()?.engines.remove(address)?;
        look.await.ok()?
    }

    /// What was seen, unless something has changed while it was waited for.
    fn of_now<T>(&self, seen: Option<T>) -> Option<T> {
        seen.filter(|_| self.lock().is_some())
    }

    /// Something has changed.
    pub(super) fn forget(&self) {
        let Some(Looks { checks, charts, engines, images: _ }) = self.lock().take() else { return };
        checks.into_values().for_each(|look| look.abort());
        charts.into_values().for_each(|look| look.abort());
        engines.into_values().for_each(|look| look.abort());
    }

    fn lock(&self) -> MutexGuard<'_, Option<Looks>> {
        // A panic elsewhere can't have left half a look.
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        self.forget();
    }
}

/// Begins to connect to all that the steps will ask, while the first of them are at work. Whoever needs a connection waits
/// for the one that is being made; one that fails is tried again, and told of, by whoever needs it.
pub fn connect_early(world: &Arc<World>, kinds: &HashSet<StepKind>) {
    let (builds, loads, cluster) =
        [StepKind::Build, StepKind::Load, StepKind::Cluster].map(|kind| kinds.contains(&kind)).into();
    if loads && let Some(looks) = world.early().lock().as_mut() {
        looks.engines.extend(nodes::connect_remembered(world));
    }
    let world = Arc::clone(world);
    tokio::spawn(async move {
        tokio::join!(
            async {
                if builds || loads {
                    world.engine().await.ok();
                }
            },
            async {
                if cluster {
                    world.answered().await;
                }
            },
            async {
                if loads && world.answered().await {
                    world.nodes().await.ok();
                }
            },
        )
    });
}

/// Begins to look at those of the steps that can be looked at early.
pub fn look_early(world: &Arc<World>, steps: &[StepIndex]) {
    let graph = world.graph();
    let mut looks = world.early().lock();
    let Some(looks) = looks.as_mut() else { return };
    for id in steps.iter().map(|&step| graph.id(step)) {
        let name = id.name().to_owned();
        // A look keeps the world only while it has something to ask of it.
        let world = Arc::downgrade(world);
        match id.kind() {
            StepKind::Ready => {
                let asked = name.clone();
                let look = async move {
                    let world = world.upgrade()?;
                    if !world.answered().await {
                        return None;
                    }
                    check::glance(&world, world.stack().ready.get(asked.as_str())?).await.ok()?
                };
                looks.checks.insert(name, tokio::spawn(look));
            }
            StepKind::Chart => {
                let asked = name.clone();
                let look = async move {
                    let world = world.upgrade()?;
                    if !world.answered().await {
                        return None;
                    }
                    chart::observe(&world, &asked, world.stack().charts.get(asked.as_str())?).await.ok()
                };
                looks.charts.insert(name, tokio::spawn(look));
            }
            StepKind::Cluster | StepKind::Build | StepKind::Load | StepKind::Task => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(early: &Early, name: &str, look: impl Future<Output = Option<Verdict>> + Send + 'static) {
        early.lock().as_mut().unwrap().checks.insert(name.to_owned(), tokio::spawn(look));
    }

    #[tokio::test]
    async fn what_was_seen_counts_once_and_not_after_a_change() {
        let early = Early::default();
        let passes = || Verdict::Passes("it answers 200".to_owned());
        for name in ["one", "two", "three"] {
            begin(&early, name, async move { Some(passes()) });
        }
        assert_eq!(early.check("one").await, Some(passes()));
        assert_eq!(early.check("one").await, None);
        let (change, changed) = tokio::sync::oneshot::channel::<()>();
        begin(&early, "slow", async move {
            changed.await.ok();
            Some(passes())
        });
        let waiting = early.check("slow");
        let forgetting = async {
            early.forget();
            change.send(()).unwrap();
        };
        assert_eq!(tokio::join!(waiting, forgetting).0, None, "the change came while it was waited for");
        assert_eq!(early.check("two").await, None);
    }
}
