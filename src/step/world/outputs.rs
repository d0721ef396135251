//! What steps put out, for the steps after them.

use std::sync::{Arc, MutexGuard, PoisonError};

use serde_json::Value as Json;

use super::super::output::{Known, Output, Printed, deploy_tag};
use super::World;
use crate::config::{ChartField, ImageField, OutputRef, Outputs};
use crate::graph::{StepId, StepIndex, StepKind};

impl World {
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
    pub(in crate::step) fn has_output(&self, step: StepIndex) -> bool {
        self.lock_outputs().get(step.index()).is_some_and(Option::is_some)
    }

    /// What the step of a kind and name puts out; not known while it has not been reached.
    pub(in crate::step) fn output(&self, kind: StepKind, name: &str) -> Known<Output> {
        let id = if kind == StepKind::Cluster { StepId::cluster() } else { StepId::new(kind, name) };
        match self.graph.find(&id).and_then(|index| self.output_of(index)) {
            Some(output) => output,
            None => Known::After(id),
        }
    }

    /// An image's repository and ID.
    pub(in crate::step) fn image(&self, name: &str) -> Known<(String, String)> {
        match self.output(StepKind::Build, name) {
            Known::Yes(Output::Image { repository, id }) => Known::Yes((repository, id)),
            Known::Yes(_) => Known::After(StepId::new(StepKind::Build, name)),
            Known::After(step) => Known::After(step),
        }
    }

    /// The cluster's uid.
    pub(in crate::step) fn cluster_uid(&self) -> Known<String> {
        match self.output(StepKind::Cluster, "") {
            Known::Yes(Output::Cluster { uid, .. }) => Known::Yes(uid),
            Known::Yes(_) => Known::After(StepId::cluster()),
            Known::After(step) => Known::After(step),
        }
    }

    /// The step whose output a reference names.
    pub(in crate::step) fn step_of(output: &OutputRef) -> StepId {
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
                        Known::Yes(Output::Release { revision, .. }) => Some(Json::from(revision)),
                        Known::Yes(_) | Known::After(_) => None,
                    },
                }
            }
            OutputRef::Task { name } => match self.output(StepKind::Task, name) {
                Known::Yes(Output::Task { stdout: Printed::Text(stdout) }) => Some(Json::from(stdout)),
                Known::Yes(_) | Known::After(_) => None,
            },
            OutputRef::ClusterIp => match self.output(StepKind::Cluster, "") {
                Known::Yes(Output::Cluster { ip: Some(ip), .. }) => Some(Json::from(ip)),
                Known::Yes(_) | Known::After(_) => None,
            },
        }
    }
}
