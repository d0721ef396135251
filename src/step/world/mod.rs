//! What all steps of a run share: the stack, what earlier runs left, the clients of tools, and the outputs of the steps that
//! have been inspected or carried out.

mod awaiting;
mod clients;
mod outputs;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use tokio::sync::{OnceCell, Semaphore};

use self::awaiting::Awaiting;
use super::StepError;
use super::builds::{self, Builds};
use super::early::Early;
use super::early_facts::EarlyFacts;
use super::facts::Files;
use super::nodes::Nodes;
use super::output::{Known, Output};
use super::registry::Hosting;
use crate::config::{StackFile, Task};
use crate::graph::{Graph, ImageFacts, StepId, StepIndex, StepKind};
use crate::key::context::DigestCache;
use crate::key::{Key, Manifest, RecordedManifest};
use crate::store::{Earlier, Lock, Manifests, Proven, StackTasks, Stamp, State, Store, TaskLog};
use crate::tools::docker::Engine;
use crate::tools::driver::ClusterState;
use crate::tools::helm::Helm;
use crate::tools::kube::{Cluster, Node, Snapshot};
use crate::tools::redact::Redactor;

/// What the environment of the process says, read once at the start.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        Self { variables: std::env::vars_os().collect() }
    }

    /// A variable.
    pub fn get_os(&self, name: &str) -> Option<&OsString> {
        self.variables.get(std::ffi::OsStr::new(name))
    }

    /// A variable that is text.
    pub fn get(&self, name: &str) -> Option<String> {
        self.get_os(name).and_then(|value| value.to_str()).map(str::to_owned)
    }
}

/// How long what was read of the cluster is shared, while nothing of this run has changed anything: what others do
/// meanwhile could as well have happened right after.
const SNAPSHOT_LIFE: Duration = Duration::from_secs(2);

/// From so many charts in a namespace on, lists of everything cost less than a request for each object.
const CROWD: usize = 4;

/// How many charts are rendered at the same time only to be looked at: a plan looks at everything at once.
const RENDERS: usize = 4;

/// How a run treats its steps.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Steps that run though nothing has changed, by index.
    pub force: std::collections::HashSet<StepIndex>,
    /// Contexts, or patterns with `*`, that may be changed although they look remote.
    pub allow_contexts: Vec<String>,
}

/// What all steps of a run share.
#[derive(Debug)]
pub struct World {
    stack: Arc<StackFile>,
    graph: Graph,
    facts: ImageFacts,
    store: Store,
    /// As what it was read.
    stamp: Stamp,
    lock: OnceLock<Weak<Lock>>,
    environment: Environment,
    options: Options,
    redactor: Redactor,
    state: Mutex<State>,
    learned: AtomicBool,
    /// The registry of `[cache]` has failed in this run.
    pub(in crate::step) cache_failed: AtomicBool,
    /// What the cluster knows of how images were built.
    builds: OnceCell<Builds>,
    /// What registries said of base images that the engine does not have.
    bases: tokio::sync::Mutex<BTreeMap<String, Option<String>>>,
    manifests: Manifests,
    digests: DigestCache,
    tasks: Arc<TaskLog>,
    proven: Proven,
    files: Option<Files>,
    outputs: Mutex<Vec<Option<Known<Output>>>>,
    engine: OnceCell<Engine>,
    cluster: OnceCell<Arc<Cluster>>,
    first_answer: OnceCell<bool>,
    uid: OnceCell<String>,
    /// The state of the cluster as its tool told it, if it was asked.
    cluster_state: tokio::sync::Mutex<Option<Option<ClusterState>>>,
    /// Why the cluster need not be asked again.
    refusal: Mutex<Option<StepError>>,
    node_list: tokio::sync::Mutex<Option<Arc<Vec<Node>>>>,
    awaiting: Awaiting,
    nodes: OnceCell<Nodes>,
    registry: OnceCell<Hosting>,
    helm: OnceCell<Helm>,
    /// Places for those who have Helm render a chart only to look at it.
    renders: Semaphore,
    /// The cluster as it was read last, and when that began.
    snapshot: Mutex<Option<(Instant, Arc<Snapshot>)>>,
    /// The place of who has the cluster's own tool bring an image: k3d's helper is one container with one name.
    pub(in crate::step) tool: Semaphore,
    early: Early,
    early_facts: Arc<EarlyFacts>,
    /// Whether the cluster has been named to whoever reads along.
    announced: AtomicBool,
}

impl World {
    /// The world of a run over `graph`.
    pub fn new(
        stack: Arc<StackFile>,
        graph: Graph,
        facts: ImageFacts,
        store: Store,
        earlier: Earlier,
        environment: Environment,
        options: Options,
    ) -> Self {
        let outputs = Mutex::new(vec![None; graph.len()]);
        let Earlier { state, is_state_ignored, manifests, tasks, digests, proven, stamp, warnings: _ } = earlier;
        let files = Files::of(&stack.root);
        let stack_file = Arc::clone(&stack);
        let name = &*stack_file.name.value;
        let redactor = Redactor::new(stack.secrets.iter().map(ExposeSecret::expose_secret));
        Self {
            stack,
            graph,
            facts,
            store,
            stamp,
            lock: OnceLock::new(),
            environment,
            options,
            redactor,
            state: Mutex::new(state.of(name)),
            learned: AtomicBool::new(is_state_ignored),
            cache_failed: AtomicBool::new(false),
            builds: OnceCell::new(),
            bases: tokio::sync::Mutex::default(),
            manifests: manifests.of(name),
            digests,
            tasks,
            proven,
            files,
            outputs,
            engine: OnceCell::new(),
            cluster: OnceCell::new(),
            first_answer: OnceCell::new(),
            uid: OnceCell::new(),
            cluster_state: tokio::sync::Mutex::default(),
            refusal: Mutex::default(),
            node_list: tokio::sync::Mutex::default(),
            awaiting: Awaiting::default(),
            nodes: OnceCell::new(),
            registry: OnceCell::new(),
            helm: OnceCell::new(),
            renders: Semaphore::new(RENDERS),
            snapshot: Mutex::new(None),
            tool: Semaphore::new(1),
            early: Early::default(),
            early_facts: Arc::default(),
            announced: AtomicBool::new(false),
        }
    }

    /// Takes over what is being seen of its tasks already.
    #[must_use]
    pub fn seen_early(self, early_facts: Arc<EarlyFacts>) -> Self {
        Self { early_facts, ..self }
    }

    /// The stack file.
    pub fn stack(&self) -> &StackFile {
        &self.stack
    }

    /// The stack's name.
    pub fn stack_name(&self) -> &str {
        &self.stack.name.value
    }

    /// The graph of all steps.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The folder `.stack/`.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What the environment says.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// What takes the stack's secrets out of texts.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// How the steps are treated.
    pub(in crate::step) fn options(&self) -> &Options {
        &self.options
    }

    /// True for the first who asks: who is about to change the cluster before anybody else of this run.
    pub(in crate::step) fn is_first_change(&self) -> bool {
        !self.announced.swap(true, Ordering::SeqCst)
    }

    /// The cluster, if it has answered before.
    pub(in crate::step) fn known_cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.get()
    }

    /// Whether a step runs though nothing has changed.
    pub fn is_forced(&self, step: StepIndex) -> bool {
        self.options.force.contains(&step)
    }

    /// The same, by the step's id.
    pub(in crate::step) fn is_forced_step(&self, step: &StepId) -> bool {
        self.graph.find(step).is_some_and(|step| self.is_forced(step))
    }

    /// The hints of earlier runs.
    pub fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere can't have left half a hint: every change is one insertion.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the hints: [`keep`](Self::keep) writes them only then.
    pub fn learn<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        self.learned.store(true, Ordering::Relaxed);
        change(&mut self.state())
    }

    /// The manifest with which a step last succeeded on this machine. Only worth reading to explain a difference.
    pub fn last_manifest(&self, step: &StepId) -> Option<RecordedManifest> {
        self.manifests.get(&step.to_string())
    }

    /// The same for images as the cluster has it from other machines; asked once in a run.
    pub(in crate::step) async fn deployed_builds(&self) -> &Builds {
        self.builds.get_or_init(|| builds::deployed(self)).await
    }

    /// The key of that manifest.
    pub fn last_key(&self, step: &StepId) -> Option<Key> {
        self.manifests.key(&step.to_string())
    }

    /// Keeps the manifest with which a step succeeded. Tasks have records of their own.
    pub fn keep_manifest(&self, step: &StepId, manifest: &Manifest) {
        if step.kind() == StepKind::Task || manifest.key() == self.last_key(step) {
            return;
        }
        self.manifests.insert(&step.to_string(), manifest);
    }

    /// The steps of which anything is remembered.
    pub fn remembered(&self) -> Vec<String> {
        let mut steps: Vec<String> =
            self.state().own.steps().map(str::to_owned).chain(self.manifests.steps()).collect();
        steps.sort();
        steps.dedup();
        steps
    }

    /// Forgets what is remembered of these steps.
    pub fn forget(&self, steps: &[String]) {
        self.learn(|state| state.own.forget(steps));
        self.manifests.forget(steps);
    }

    /// The images that an image's Dockerfile builds on.
    pub fn bases(&self, image: &str) -> &[String] {
        self.facts.from.get(image).map(Vec::as_slice).unwrap_or_default()
    }

    /// The digests of files, remembered by what the system says of the files.
    pub fn digests(&self) -> &DigestCache {
        &self.digests
    }

    /// What tasks did on this machine.
    pub fn tasks(&self) -> StackTasks<'_> {
        self.tasks.of(self.stack_name())
    }

    /// What was found to be right before.
    pub fn proven(&self) -> &Proven {
        &self.proven
    }

    /// The files beside the stack file. Nothing if its folder can't be opened.
    pub(in crate::step) fn files(&self) -> Option<&Files> {
        self.files.as_ref()
    }

    /// Whether another run has done something since it was read.
    pub fn is_old(&self) -> bool {
        self.store.stamp() != self.stamp
    }

    /// Works under this lock.
    pub fn work_under(&self, lock: &Arc<Lock>) {
        // There is one lock in the life of a world.
        let _ = self.lock.set(Arc::downgrade(lock));
    }

    /// Holds on to the lock after a command that may have removed its file.
    pub(in crate::step) fn hold_lock(&self) {
        if let Some(lock) = self.lock.get().and_then(Weak::upgrade) {
            lock.hold();
        }
    }

    /// Keeps what was learned for the next run. Losing it costs time, nothing else.
    ///
    /// # Errors
    /// When a file can't be written; the others have been.
    pub fn keep(&self) -> std::io::Result<()> {
        let state = match self.learned.swap(false, Ordering::Relaxed) {
            true => {
                let state = self.state().clone();
                self.store.write_state(&state)
            }
            false => Ok(()),
        };
        let tasks = self.tasks().tidy(|task| self.stack.tasks.contains_key(task));
        let proven = self.proven.save(self.stack.tasks.len());
        [state, self.manifests.save(), tasks, proven, self.digests.save()].into_iter().collect()
    }

    /// What was looked at before its turn.
    pub(in crate::step) fn early(&self) -> &Early {
        &self.early
    }

    /// The task that a step is, and its place in the stack file.
    pub fn task(&self, step: StepIndex) -> Option<(usize, &Task)> {
        let tasks = &self.stack.tasks;
        let name = self.graph.id(step).name();
        // Tasks are the last steps of a graph, in the order of the file: so it need not be looked for.
        let guess = (step.index() + tasks.len()).checked_sub(self.graph.len());
        match guess.and_then(|place| Some((place, tasks.get_index(place)?))) {
            Some((place, (known, task))) if **known == *name => Some((place, task)),
            _ => tasks.get_full(name).map(|(place, _, task)| (place, task)),
        }
    }

    /// The facts about tasks that were taken before their turn.
    pub(in crate::step) fn early_facts(&self) -> &EarlyFacts {
        &self.early_facts
    }

    /// Takes leave at the end of the program: what is only memory is left to the system, which takes it back at once. To
    /// free the million small values of ten thousand steps one by one would take longer than to look at the steps.
    pub fn leave(self: Arc<Self>) {
        if let Some(Self { stack, graph, facts, state, manifests, digests, tasks, proven, outputs, .. }) =
            Arc::into_inner(self)
        {
            std::mem::forget((stack, graph, facts, state, manifests, digests, tasks, proven, outputs));
        }
    }

    /// Says that a step has changed something: what was read before may not hold any more.
    pub fn changed(&self) {
        self.early.forget();
        self.early_facts.forget();
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
