//! Watching the cluster: one list and watch for each kind and namespace, however many wait for something there.
//!
//! A [`Feed`] keeps the objects of one kind as they are now. It resumes after cut connections and restarts of the API
//! server, lists anew when the server has forgotten where it was (410), and never asks in a busy loop.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::StreamExt;
use kube::Api;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::cluster::Cluster;
use super::error::KubeError;
use super::kinds::Kind;
use super::object::Object;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
// Credentials are renewed in the background; only when they stay refused is it time to give up.
const REFUSED_FOR: Duration = Duration::from_secs(15);

/// What a feed follows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct FeedKey {
    pub kind: Kind,
    /// None: all namespaces, or a kind that lives in none.
    pub namespace: Option<String>,
    /// A field selector such as `type!=Normal`.
    pub fields: Option<String>,
}

/// All feeds of a cluster that somebody holds.
#[derive(Default)]
pub(super) struct Feeds {
    feeds: Mutex<HashMap<FeedKey, Weak<Feed>>>,
}

/// The objects of one kind, as they are now.
pub(super) struct Feed {
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    state: Mutex<State>,
    // Counts changes; receivers wake up on each.
    version: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<(String, String), Arc<Object>>,
    // What a list in progress has brought so far.
    incoming: BTreeMap<(String, String), Arc<Object>>,
    synced: bool,
    // The newest version that was seen of any object.
    highest: u64,
    trouble: Option<Trouble>,
}

/// Why a feed is behind.
#[derive(Clone)]
pub(super) struct Trouble {
    /// In words.
    pub message: String,
    /// Since when.
    pub since: Instant,
    /// Set when waiting will not help: the credentials or the rights are not there.
    pub refused: bool,
}

impl Cluster {
    /// The feed of a kind, shared with everybody who follows the same, and whether it has only just begun: what it
    /// brings then is not older than this call.
    pub(super) fn feed(&self, key: FeedKey) -> (Arc<Feed>, bool) {
        let mut feeds = lock(&self.feeds().feeds);
        if let Some(feed) = feeds.get(&key).and_then(Weak::upgrade) {
            return (feed, false);
        }
        feeds.retain(|_, feed| feed.strong_count() > 0);
        let shared = Arc::new(Shared { state: Mutex::default(), version: watch::Sender::new(0) });
        let task = tokio::spawn(follow(self.clone(), key.clone(), Arc::clone(&shared))).abort_handle();
        let feed = Arc::new(Feed { shared, task });
        feeds.insert(key, Arc::downgrade(&feed));
        (feed, true)
    }

    /// Follows one object until `found` has found in it what is waited for. It is asked on every change, and also while
    /// there is no such object.
    ///
    /// # Errors
    /// When the cluster refuses to tell of its changes; while it does not answer, it is waited for.
    pub async fn until<T>(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        mut found: impl FnMut(Option<&Object>) -> Option<T>,
    ) -> Result<T, KubeError> {
        let namespace = if kind.namespaced { namespace } else { "" };
        let key =
            FeedKey { kind: kind.clone(), namespace: kind.namespaced.then(|| namespace.to_owned()), fields: None };
        let now = self.get(kind, namespace, name).await?;
        if let Some(found) = found(now.as_ref()) {
            return Ok(found);
        }
        // A feed that others began may still be on its way to what was just read.
        let reached = now.as_ref().map_or(0, version);
        let (feed, _) = self.feed(key);
        let mut changes = feed.changes();
        loop {
            changes.mark_unchanged();
            if let Some(trouble) = feed.trouble().filter(|trouble| trouble.refused) {
                let action = format!("watch {}", kind.plural);
                return Err(KubeError::Forbidden { action, message: trouble.message });
            }
            if feed.is_synced()
                && feed.has_reached(reached)
                && let Some(found) = found(feed.object(namespace, name).as_deref())
            {
                return Ok(found);
            }
            // The feed is held here, so its sender is there.
            let _ = changes.changed().await;
        }
    }
}

impl Feed {
    /// Wakes up on every change.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// Whether the first list is complete.
    pub(super) fn is_synced(&self) -> bool {
        lock(&self.shared.state).synced
    }

    /// Whether it has come as far as this version of an object.
    pub(super) fn has_reached(&self, version: u64) -> bool {
        lock(&self.shared.state).highest >= version
    }

    /// All objects, by namespace and name.
    pub(super) fn objects(&self) -> Vec<Arc<Object>> {
        lock(&self.shared.state).objects.values().map(Arc::clone).collect()
    }

    /// One object.
    fn object(&self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        lock(&self.shared.state).objects.get(&(namespace.to_owned(), name.to_owned())).map(Arc::clone)
    }

    /// Why it is behind, if it is.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        lock(&self.shared.state).trouble.clone()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Follows a kind until aborted.
async fn follow(cluster: Cluster, key: FeedKey, shared: Arc<Shared>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let resource = key.kind.resource();
        let api: Api<Object> = match &key.namespace {
            Some(namespace) => Api::namespaced_with(cluster.client(), namespace, &resource),
            None => Api::all_with(cluster.client(), &resource),
        };
        // A connection that died without a word is noticed within about a minute.
        let mut config = watcher::Config::default().timeout(60);
        config.field_selector.clone_from(&key.fields);
        let mut events = pin!(watcher(api, config));
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    // A list that is only begun says nothing about the server's health.
                    if !matches!(event, Event::Init) {
                        pause = FIRST_PAUSE;
                    }
                    take(&shared, &key.kind, event);
                }
                Err(error) => {
                    let gone = is_gone(&error);
                    tracing::debug!(%error, kind = key.kind.kind, "a watch was cut");
                    note(&shared, &cluster, &key.kind, error);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    if gone {
                        // The watcher would try to resume from where the server no longer knows.
                        break;
                    }
                }
            }
        }
    }
}

fn take(shared: &Shared, kind: &Kind, event: Event<Object>) {
    let key = |object: &Object| (object.namespace().to_owned(), object.name().to_owned());
    let named = |object: Object| Arc::new(object.of_kind(&kind.api_version, &kind.kind));
    let mut state = lock(&shared.state);
    if let Event::Apply(object) | Event::Delete(object) | Event::InitApply(object) = &event {
        state.highest = state.highest.max(version(object));
    }
    match event {
        // The old objects stay visible until the new list is complete.
        Event::Init => {
            state.incoming.clear();
            return;
        }
        Event::InitApply(object) => {
            state.incoming.insert(key(&object), named(object));
            return;
        }
        Event::InitDone => {
            state.objects = std::mem::take(&mut state.incoming);
            state.synced = true;
        }
        Event::Apply(object) => {
            state.objects.insert(key(&object), named(object));
        }
        Event::Delete(object) => {
            state.objects.remove(&key(&object));
        }
    }
    state.trouble = None;
    drop(state);
    shared.version.send_modify(|version| *version += 1);
}

/// The version of an object as a number. It is opaque by contract, but a counter of etcd in every API server there is; one
/// that is none counts as reached.
pub(super) fn version(object: &Object) -> u64 {
    object.resource_version().parse().unwrap_or(0)
}

fn note(shared: &Shared, cluster: &Cluster, kind: &Kind, error: watcher::Error) {
    let error = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => cluster.explain(&format!("watch {}", kind.plural), error),
        // The server ends watches now and then; listing anew is all there is to it.
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => return,
    };
    let mut state = lock(&shared.state);
    let since = state.trouble.as_ref().map_or_else(Instant::now, |trouble| trouble.since);
    let refused = match error {
        KubeError::Forbidden { .. } => true,
        KubeError::Unauthorized { .. } => since.elapsed() > REFUSED_FOR,
        _ => false,
    };
    state.trouble = Some(Trouble { message: error.to_string(), since, refused });
    drop(state);
    shared.version.send_modify(|version| *version += 1);
}

fn is_gone(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status.code == 410,
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => false,
    }
}
