//! What all steps of a run share: the stack, the clients of tools (connected when first needed), and the outputs of the
//! steps that have been inspected or carried out.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use serde_json::Value as Json;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use super::builds::{self, Builds};
use super::early::Early;
use super::early_facts::EarlyFacts;
use super::facts::Files;
use super::output::{Known, Output, deploy_tag};
use super::{StepError, nodes::Nodes, of_kube, registry::Hosting};
use crate::config::{ChartField, ImageField, LoadMode, OutputRef, Outputs, StackFile};
use crate::error::Class;
use crate::graph::{Graph, ImageFacts, StepId, StepIndex, StepKind};
use crate::key::context::DigestCache;
use crate::key::{Key, Manifest, RecordedManifest};
use crate::process::Cancel;
use crate::store::{Earlier, Manifests, Proven, State, Store, TaskLog};
use crate::tools::docker::{Engine, has_host};
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
    environment: Environment,
    options: Options,
    redactor: Redactor,
    state: Mutex<State>,
    learned: AtomicBool,
    /// The registry of `[cache]` has failed in this run.
    pub(super) cache_failed: AtomicBool,
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
    node_list: OnceCell<Vec<Node>>,
    nodes: OnceCell<Nodes>,
    registry: OnceCell<Hosting>,
    helm: OnceCell<Helm>,
    /// Places for those who have Helm render a chart only to look at it.
    renders: Semaphore,
    /// The cluster as it was read last, and when that began.
    snapshot: Mutex<Option<(Instant, Arc<Snapshot>)>>,
    /// The place of who has the cluster's own tool bring an image: k3d's helper is one container with one name.
    pub(super) tool: Semaphore,
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
        let Earlier { state, is_state_ignored, manifests, tasks, digests, proven, warnings: _ } = earlier;
        let files = Files::of(&stack.root);
        let redactor = Redactor::new(stack.secrets.iter().map(ExposeSecret::expose_secret));
        Self {
            stack,
            graph,
            facts,
            store,
            environment,
            options,
            redactor,
            state: Mutex::new(state),
            learned: AtomicBool::new(is_state_ignored),
            cache_failed: AtomicBool::new(false),
            builds: OnceCell::new(),
            bases: tokio::sync::Mutex::default(),
            manifests,
            digests,
            tasks,
            proven,
            files,
            outputs,
            engine: OnceCell::new(),
            cluster: OnceCell::new(),
            first_answer: OnceCell::new(),
            uid: OnceCell::new(),
            node_list: OnceCell::new(),
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
    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    /// True for the first who asks: who is about to change the cluster before anybody else of this run.
    pub(super) fn is_first_change(&self) -> bool {
        !self.announced.swap(true, Ordering::SeqCst)
    }

    /// The cluster, if it has answered before.
    pub(super) fn known_cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.get()
    }

    /// Whether a step runs though nothing has changed.
    pub fn is_forced(&self, step: StepIndex) -> bool {
        self.options.force.contains(&step)
    }

    /// The same, by the step's id.
    pub(super) fn is_forced_step(&self, step: &StepId) -> bool {
        self.graph.find(step).is_some_and(|step| self.is_forced(step))
    }

    /// The digest that the registry of a base image has for it; asked once in a run. When the registry does not answer,
    /// what it last said: being offline is no change.
    pub(super) async fn resolve_base(&self, engine: &Engine, reference: &str) -> Option<String> {
        let mut asked = self.bases.lock().await;
        if let Some(known) = asked.get(reference) {
            return known.clone();
        }
        let slot = format!("base {reference}");
        let last = self.state().tools.get(&slot).and_then(Json::as_str).map(str::to_owned);
        let digest = match engine.resolve(reference).await {
            Ok(digest) => {
                if last.as_ref() != Some(&digest) {
                    self.learn(|state| state.tools.insert(slot, Json::from(digest.clone())));
                }
                Some(digest)
            }
            Err(error) => {
                tracing::debug!(%error, "a base image could not be resolved");
                last
            }
        };
        asked.insert(reference.to_owned(), digest.clone());
        digest
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
    pub(super) async fn deployed_builds(&self) -> &Builds {
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
        let mut steps: Vec<String> = self.state().steps().map(str::to_owned).chain(self.manifests.steps()).collect();
        steps.sort();
        steps.dedup();
        steps
    }

    /// Forgets what is remembered of these steps.
    pub fn forget(&self, steps: &[String]) {
        self.learn(|state| state.forget(steps));
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
    pub fn tasks(&self) -> &TaskLog {
        &self.tasks
    }

    /// What was found to be right before.
    pub fn proven(&self) -> &Proven {
        &self.proven
    }

    /// The files beside the stack file. Nothing if its folder can't be opened.
    pub(super) fn files(&self) -> Option<&Files> {
        self.files.as_ref()
    }

    /// Takes in what others did before this run got the lock.
    pub fn refresh(&self) {
        if self.tasks.refresh() {
            self.early_facts.forget();
        }
    }

    /// Keeps what was learned for the next run. Losing it costs time, nothing else.
    ///
    /// # Errors
    /// When the folder can't be written to.
    pub fn keep(&self) -> std::io::Result<()> {
        if self.learned.swap(false, Ordering::Relaxed) {
            let state = self.state().clone();
            self.store.write_state(&state)?;
        }
        self.manifests.save()?;
        self.tasks.tidy(|task| self.stack.tasks.contains_key(task))?;
        self.proven.save(self.stack.tasks.len())?;
        self.digests.save()
    }

    /// The Docker engine that builds.
    pub async fn engine(&self) -> Result<&Engine, StepError> {
        let connect = || async { Engine::local(|name| self.environment.get(name)).await };
        self.engine.get_or_try_init(connect).await.map_err(|error| StepError::of(&error, error.class(), error.help()))
    }

    /// The engine that builds an image which is loaded so.
    pub(super) async fn builder(&self, load: LoadMode) -> Result<&Engine, StepError> {
        match load {
            LoadMode::Direct => self.nodes().await?.direct(),
            LoadMode::Auto | LoadMode::Layers | LoadMode::Archive | LoadMode::Registry | LoadMode::None => {
                self.engine().await
            }
        }
    }

    /// The cluster, which has to answer.
    pub async fn cluster(&self) -> Result<&Arc<Cluster>, StepError> {
        let connect = || async {
            let cluster = self.connect_cluster().await?;
            self.uid.get_or_try_init(|| cluster.identity()).await.map_err(of_kube)?;
            Ok(cluster)
        };
        self.cluster.get_or_try_init(connect).await
    }

    /// Whether the cluster answered when it was first tried. For those who come before their turn: a cluster that is not there
    /// is not tried again by each of them.
    pub(super) async fn answered(&self) -> bool {
        *self.first_answer.get_or_init(|| async { self.cluster().await.is_ok() }).await
    }

    /// The uid of the cluster, which has to answer; asked once in a run.
    pub(super) async fn uid(&self) -> Result<&str, StepError> {
        let cluster = self.cluster().await?;
        self.uid.get_or_try_init(|| cluster.identity()).await.map(String::as_str).map_err(of_kube)
    }

    /// The cluster's nodes; asked once in a run.
    pub(super) async fn node_list(&self) -> Result<&[Node], StepError> {
        let cluster = self.cluster().await?;
        self.node_list.get_or_try_init(|| cluster.nodes()).await.map(Vec::as_slice).map_err(of_kube)
    }

    /// The cluster as it was read a moment ago, shared by all that look at the same time. Nothing that this run has done
    /// is newer than it.
    pub(super) async fn snapshot(&self) -> Result<Arc<Snapshot>, StepError> {
        let cluster = self.cluster().await?;
        let mut known = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((begun, snapshot)) = known.as_ref()
            && begun.elapsed() < SNAPSHOT_LIFE
        {
            return Ok(Arc::clone(snapshot));
        }
        let mut counts: HashMap<&str, usize> = HashMap::new();
        self.stack.charts.values().for_each(|chart| *counts.entry(&chart.namespace).or_default() += 1);
        let crowded = counts.into_iter().filter(|(_, count)| *count >= CROWD).map(|(name, _)| name.to_owned());
        let snapshot = Arc::new(Snapshot::new(Cluster::clone(cluster), crowded.collect()));
        *known = Some((Instant::now(), Arc::clone(&snapshot)));
        Ok(snapshot)
    }

    /// A place to render a chart in, as soon as there is one.
    pub(super) async fn render_place(&self) -> Option<SemaphorePermit<'_>> {
        self.renders.acquire().await.ok()
    }

    /// What was looked at before its turn.
    pub(super) fn early(&self) -> &Early {
        &self.early
    }

    /// The facts about tasks that were taken before their turn.
    pub(super) fn early_facts(&self) -> &EarlyFacts {
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

    /// Reads the kubeconfig anew and prepares a connection; nothing is sent.
    pub(super) async fn connect_cluster(&self) -> Result<Arc<Cluster>, StepError> {
        let spec =
            self.stack.cluster.as_ref().ok_or_else(|| {
                StepError::new(Class::Input, "the stack file has no [cluster], and this step needs one")
            })?;
        let kubeconfig: Option<OsString> = match &spec.kubeconfig {
            Some(path) => Some(path.absolute.clone().into_os_string()),
            None => self.environment.get_os("KUBECONFIG").cloned(),
        };
        match Cluster::connect(Some(&spec.context), kubeconfig.as_deref()).await {
            Ok(cluster) => Ok(Arc::new(cluster)),
            Err(error) => Err(StepError::of(&error, error.class(), error.help())),
        }
    }

    /// The nodes' image stores.
    pub(super) async fn nodes(&self) -> Result<&Nodes, StepError> {
        self.nodes.get_or_try_init(|| Nodes::find(self)).await
    }

    /// The registry that images go to which are loaded by one.
    pub(super) async fn registry(&self) -> Result<&Hosting, StepError> {
        self.registry.get_or_try_init(|| Hosting::find(self)).await
    }

    /// An image's repository as pods have to name it; not known while the cluster has not said which registry it has.
    fn deployed_repository(&self, image: &str) -> Option<String> {
        let spec = self.stack.images.get(image)?;
        let repository = &spec.repository.value;
        if spec.load != LoadMode::Registry || has_host(repository) {
            return Some(repository.clone());
        }
        let hosting = self.registry.get().cloned().or_else(|| Hosting::written(self))?;
        Some(hosting.pulled(repository))
    }

    /// The repositories under which an image has names on this machine.
    pub(super) async fn repositories(&self, image: &str) -> Vec<String> {
        let Some(spec) = self.stack.images.get(image) else { return Vec::new() };
        let mut names = vec![spec.repository.value.clone()];
        if spec.load == LoadMode::Registry && !has_host(&names[0]) {
            // Without a registry there is nothing that was named after it.
            names.extend(self.registry().await.ok().map(|hosting| hosting.pushed(&names[0])));
        }
        names
    }

    /// Whether images are brought to nodes by this stack, and not by the nodes themselves.
    pub(super) fn loads_onto_nodes(&self) -> bool {
        self.stack.cluster.is_some()
            && self.stack.images.values().any(|image| !matches!(image.load, LoadMode::Registry | LoadMode::None))
    }

    /// The user's `helm`. Its version is asked once and then kept until the program changes.
    pub async fn helm(&self) -> Result<&Helm, StepError> {
        let find = || async {
            let path = Helm::locate(self.environment.get_os("PATH").map(OsString::as_os_str))?;
            let name = format!("helm {}", path.display());
            let known = self.state().tools.get(&name).and_then(|json| serde_json::from_value(json.clone()).ok());
            if let Some(helm) = known.filter(Helm::is_still) {
                return Ok(helm);
            }
            let helm = Helm::ask(&path, &Cancel::never()).await?;
            if let Ok(json) = serde_json::to_value(&helm) {
                self.learn(|state| state.tools.insert(name, json));
            }
            Ok(helm)
        };
        let found = self.helm.get_or_try_init(find).await;
        found.map_err(|error: crate::tools::helm::HelmError| StepError::of(&error, error.class(), error.help()))
    }

    /// Records what a step puts out.
    pub fn set_output(&self, step: StepIndex, output: Known<Output>) {
        if let Some(slot) = self.lock_outputs().get_mut(step.index()) {
            *slot = Some(output);
        }
    }

    /// What a step puts out, once it has been inspected or carried out.
    pub fn output_of(&self, step: StepIndex) -> Option<Known<Output>> {
        self.lock_outputs().get(step.index()).cloned().flatten()
    }

    /// Whether a step has been inspected or carried out.
    pub(super) fn has_output(&self, step: StepIndex) -> bool {
        self.lock_outputs().get(step.index()).is_some_and(Option::is_some)
    }

    /// What the step of a kind and name puts out; not known while it has not been reached.
    pub(super) fn output(&self, kind: StepKind, name: &str) -> Known<Output> {
        let id = if kind == StepKind::Cluster { StepId::cluster() } else { StepId::new(kind, name) };
        match self.graph.find(&id).and_then(|index| self.output_of(index)) {
            Some(output) => output,
            None => Known::After(id),
        }
    }

    /// An image's repository and ID.
    pub(super) fn image(&self, name: &str) -> Known<(String, String)> {
        match self.output(StepKind::Build, name) {
            Known::Yes(Output::Image { repository, id }) => Known::Yes((repository, id)),
            Known::Yes(_) => Known::After(StepId::new(StepKind::Build, name)),
            Known::After(step) => Known::After(step),
        }
    }

    /// The cluster's uid.
    pub(super) fn cluster_uid(&self) -> Known<String> {
        match self.output(StepKind::Cluster, "") {
            Known::Yes(Output::Cluster { uid, .. }) => Known::Yes(uid),
            Known::Yes(_) => Known::After(StepId::cluster()),
            Known::After(step) => Known::After(step),
        }
    }

    /// The step whose output a reference names.
    pub(super) fn step_of(output: &OutputRef) -> StepId {
        match output {
            OutputRef::Image { name, .. } => StepId::new(StepKind::Build, Arc::clone(name)),
            OutputRef::Chart { name, .. } => StepId::new(StepKind::Chart, Arc::clone(name)),
            OutputRef::Task { name } => StepId::new(StepKind::Task, Arc::clone(name)),
            OutputRef::ClusterIp => StepId::cluster(),
        }
    }

    fn lock_outputs(&self) -> MutexGuard<'_, Vec<Option<Known<Output>>>> {
        // Every change is one assignment, so a panic elsewhere leaves nothing half-changed.
        self.outputs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outputs for World {
    fn output(&self, output: &OutputRef) -> Option<Json> {
        match output {
            OutputRef::Image { name, field } => {
                let repository = self.deployed_repository(name)?;
                if let ImageField::Repository = field {
                    return Some(Json::from(repository));
                }
                let Known::Yes((_, id)) = self.image(name) else { return None };
                Some(Json::from(match field {
                    ImageField::Repository => repository,
                    ImageField::Tag => deploy_tag(&id).to_owned(),
                    ImageField::Ref => format!("{repository}:{}", deploy_tag(&id)),
                    ImageField::Id => id,
                }))
            }
            OutputRef::Chart { name, field } => {
                let spec = self.stack.charts.get(name)?;
                match field {
                    ChartField::Release => Some(Json::from(spec.release.clone())),
                    ChartField::Namespace => Some(Json::from(spec.namespace.clone())),
                    ChartField::Revision => match self.output(StepKind::Chart, name) {
                        Known::Yes(Output::Release { revision }) => Some(Json::from(revision)),
                        Known::Yes(_) | Known::After(_) => None,
                    },
                }
            }
            OutputRef::Task { name } => match self.output(StepKind::Task, name) {
                Known::Yes(Output::Task { stdout }) => Some(Json::from(stdout)),
                Known::Yes(_) | Known::After(_) => None,
            },
            OutputRef::ClusterIp => match self.output(StepKind::Cluster, "") {
                Known::Yes(Output::Cluster { ip: Some(ip), .. }) => Some(Json::from(ip)),
                Known::Yes(_) | Known::After(_) => None,
            },
        }
    }
}
