//! One file for each kind of step: its inputs, how to observe its effect, how to carry it out.
//!
//! Every kind has the same two entry points. `inspect` lists the inputs, looks at the effect and decides, without
//! changing anything; `execute` carries the decision out, reads the effect back, and records it. Plan and apply share
//! `inspect`, so they can't disagree. The scheduler and the terminal are unknown here.

mod awaited;
mod awaiting;
mod build;
mod builds;
mod cache;
mod chart;
mod check;
mod cluster;
mod condition;
mod early;
mod early_facts;
mod facts;
mod guard;
mod last_words;
mod load;
mod made;
mod nodes;
mod output;
mod preflight;
mod prune;
mod ready;
mod registry;
mod remove;
mod running;
mod sources;
mod speaker;
pub mod stored;
mod task;
mod values;
mod view;
mod watching;
mod world;

use std::fmt;

pub use awaiting::{LONG, name_waits};
pub use chart::ChartChanges;
pub use cluster::{shortfall, state_and_help};
pub use early::{connect_early, look_early};
pub use early_facts::EarlyFacts;
pub use guard::announce;
pub use output::{Known, Output, deploy_tag};
pub use preflight::preflight;
pub use prune::{Leftover, leftovers, leftovers_early, remove_leftover};
pub use remove::{Removal, preview, remove};
pub use sources::{Seen, Sources};
pub use speaker::Speaker;
pub use view::{images_of, nodes_with, release_objects, release_view};
pub use world::{Environment, Options, World};

use crate::error::Class;
use crate::graph::{StepIndex, StepKind};
use crate::key::Manifest;
use crate::key::context::ContextError;
use crate::plan::{Action, Decision};
use crate::process::Cancel;
use crate::tools::helm::HelmError;
use crate::tools::kube::KubeError;
use crate::tools::redact::Redactor;

/// A step that could not be inspected or carried out.
#[derive(Debug, Clone)]
pub struct StepError {
    /// What the caller can do about it.
    pub class: Class,
    /// What happened, in one line.
    pub reason: String,
    /// The whole explanation: several lines, ending in what to try.
    pub diagnosis: Option<String>,
}

impl StepError {
    /// An error that one line explains.
    pub fn new(class: Class, reason: impl Into<String>) -> Self {
        Self { class, reason: reason.into(), diagnosis: None }
    }

    /// Adds the explanation.
    #[must_use]
    pub fn with_diagnosis(mut self, diagnosis: impl Into<String>) -> Self {
        self.diagnosis = Some(diagnosis.into());
        self
    }

    /// The same without secret values, and at a length that can be read.
    #[must_use]
    pub fn redacted(self, redactor: &Redactor) -> Self {
        let Self { class, reason, diagnosis } = self;
        Self { class, reason: redactor.brief(&reason), diagnosis: diagnosis.map(|text| redactor.brief(&text)) }
    }

    /// An error of a tool: its message and causes, its class, its help.
    pub fn of(error: &(dyn std::error::Error + 'static), class: Class, help: Option<String>) -> Self {
        let mut lines = Vec::new();
        let mut last = error.to_string();
        let reason = last.clone();
        let mut source = error.source();
        while let Some(cause) = source {
            let message = cause.to_string();
            // Wrappers often repeat what they wrap.
            if !last.contains(&message) {
                lines.push(format!("because {message}"));
                last = message;
            }
            source = cause.source();
        }
        lines.extend(help.map(|help| format!("try {help}")));
        Self { class, reason, diagnosis: (!lines.is_empty()).then(|| lines.join("\n")) }
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for StepError {}

/// What was found when a step was inspected.
#[derive(Debug)]
pub struct Inspection {
    /// What it has to do, and why.
    pub decision: Decision,
    /// Its inputs.
    pub manifest: Manifest,
    /// Its outputs, as far as they are known without running it.
    pub output: Known<Output>,
    /// What `execute` goes on with.
    work: Work,
}

/// What each kind hands from `inspect` to `execute`.
#[derive(Debug)]
enum Work {
    Cluster(cluster::Work),
    Build(Box<build::Work>),
    Load(load::Work),
    Chart(Box<chart::Work>),
    Ready(Box<ready::Work>),
    Task(Box<task::Work>),
}

/// A step that was carried out.
#[derive(Debug)]
pub struct Finished {
    /// Its outputs.
    pub output: Output,
    /// What was achieved, for the log: `todo-backend:4fb1c2d3e4f5`.
    pub note: Option<String>,
}

fn of_kube(error: KubeError) -> StepError {
    StepError::of(&error, error.class(), error.help())
}

fn of_helm(error: HelmError) -> StepError {
    StepError::of(&error, error.class(), error.help())
}

fn of_context(error: &ContextError) -> StepError {
    match error {
        ContextError::Interrupted { .. } => stopped(),
        _ => StepError::of(error, error.class(), error.help()),
    }
}

/// The error of a step that was asked to stop and did.
pub fn stopped() -> StepError {
    StepError::new(Class::Environment, "interrupted")
}

/// Lists a step's inputs, looks at its effect, and decides. Changes nothing. Files may be large: `cancel` ends their
/// reading, for which dropping the future is not enough.
///
/// # Errors
/// When an input can't be read or the effect can't be looked at.
pub async fn inspect(world: &World, step: StepIndex, cancel: &Cancel) -> Result<Inspection, StepError> {
    let id = world.graph().id(step);
    task::has_all_that_was_printed(world, step)?;
    match id.kind() {
        StepKind::Cluster => cluster::inspect(world).await,
        StepKind::Build => {
            let inspection = build::inspect(world, id.name(), cancel).await;
            awaited::or_unknown(world, id, inspection, build::unknown)
        }
        StepKind::Load => load::inspect(world, id.name()).await,
        StepKind::Chart => {
            let inspection = chart::inspect(world, id.name()).await;
            awaited::or_unknown(world, id, inspection, chart::unknown)
        }
        StepKind::Ready => ready::inspect(world, id.name()).await,
        StepKind::Task => tokio::task::block_in_place(|| task::inspect(world, step, id.name(), cancel)),
    }
}

/// The reason to skip a step, and its output, where that can be told at once and without reading any file: for tasks
/// whose files are all known by what the system says of them.
pub fn skip_at_once(world: &World, step: StepIndex) -> Option<(String, Output)> {
    let id = world.graph().id(step);
    match id.kind() {
        StepKind::Task if !world.is_forced(step) => task::skip_at_once(world, step, id.name()),
        StepKind::Task | StepKind::Cluster | StepKind::Build | StepKind::Load | StepKind::Chart | StepKind::Ready => {
            None
        }
    }
}

/// What carrying out a chart step would change in the cluster; nothing for steps of other kinds. With `whole`, all of it,
/// and else only what would be removed, which a release that is not there yet never has.
pub async fn differences(world: &World, inspection: &Inspection, whole: bool) -> Option<ChartChanges> {
    match &inspection.work {
        Work::Chart(work) if inspection.decision.action == Action::Run => chart::differences(world, work, whole).await,
        Work::Chart(_) | Work::Cluster(_) | Work::Build(_) | Work::Load(_) | Work::Ready(_) | Work::Task(_) => None,
    }
}

/// Carries out what was decided, reads the effect back, and records it.
///
/// # Errors
/// When it fails, is cancelled, or its effect is not what it should be.
pub async fn execute(
    world: &World,
    step: StepIndex,
    inspection: Inspection,
    speaker: &Speaker,
    cancel: &Cancel,
) -> Result<Finished, StepError> {
    let Inspection { manifest, work, .. } = inspection;
    match work {
        Work::Cluster(work) => cluster::execute(world, work, speaker, cancel).await,
        Work::Build(work) => build::execute(world, *work, speaker, cancel).await,
        Work::Load(work) => load::execute(world, work, speaker, cancel).await,
        Work::Chart(work) => chart::execute(world, *work, manifest, speaker, cancel).await,
        Work::Ready(work) => ready::execute(world, *work, speaker, cancel).await,
        Work::Task(work) => task::execute(world, step, *work, speaker, cancel).await,
    }
}
