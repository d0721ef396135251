//! One step under the lamp: its inputs, and what changed since it was last applied.

use std::sync::Arc;

use super::{inspect, pending};
use crate::graph::{StepId, StepIndex};
use crate::plan::{Action, Decision};
use crate::process::Cancel;
use crate::step::{StepError, World};

/// Everything that is known of why a step does what it does.
#[derive(Debug)]
pub struct Explained {
    /// The step.
    pub id: StepId,
    /// What it has to do, and why.
    pub decision: Decision,
    /// Its key, unless an input is still unknown.
    pub key: Option<String>,
    /// All inputs.
    pub inputs: Vec<ExplainedInput>,
    /// Remarks: how its inputs were found, and what can't be known.
    pub notes: Vec<String>,
}

/// An input as it is shown.
#[derive(Debug)]
pub struct ExplainedInput {
    /// `file.app/main.py`.
    pub path: String,
    /// Its value for people; digests shortened.
    pub shown: String,
    /// Its whole value.
    pub full: String,
}

/// Inspects one step, after what it needs.
///
/// # Errors
/// When an input can't be read or an effect can't be looked at.
pub async fn explain(world: &Arc<World>, step: StepIndex) -> Result<Explained, StepError> {
    // Nothing is begun that would have to be ended in an orderly way: a signal just ends the process.
    let never = Cancel::never();
    for &need in world.graph().order() {
        if need == step {
            break;
        }
        if !needs(world, step, need) {
            continue;
        }
        let inspection = inspect(world, need, &never).await?;
        let output = match inspection.decision.action {
            Action::Skip => inspection.output,
            Action::Run | Action::Unknown | Action::Blocked => pending(world, need),
        };
        world.set_output(need, output);
    }
    let inspection = inspect(world, step, &never).await?;
    let manifest = inspection.manifest;
    let redactor = world.redactor();
    let inputs = manifest
        .inputs()
        .map(|input| ExplainedInput {
            path: input.path(),
            shown: redactor.text(&input.value.shown()),
            full: input.value.text().into_owned(),
        })
        .collect();
    let notes = manifest.unknowable().iter().chain(manifest.notes()).map(|note| redactor.text(note)).collect();
    Ok(Explained {
        id: world.graph().id(step).clone(),
        decision: inspection.decision,
        key: manifest.key().map(|key| key.to_string()),
        inputs,
        notes,
    })
}

/// Whether `step` needs `other`, perhaps through others.
fn needs(world: &World, step: StepIndex, other: StepIndex) -> bool {
    let mut seen = std::collections::HashSet::from([step]);
    let mut todo = vec![step];
    while let Some(next) = todo.pop() {
        for &need in world.graph().needs(next) {
            if need == other {
                return true;
            }
            if seen.insert(need) {
                todo.push(need);
            }
        }
    }
    false
}
