//! The pure decision: what a step has to do, and why. Shared by apply, plan and why.
//!
//! Two kinds of evidence exist. Where the world itself can be asked for "the thing made from exactly these inputs" (an
//! image by its key's tag, an image ID on a node), the *effect* decides and an earlier record only explains
//! ([`by_effect`]). Where it can't (a release does not show what it was made from), the *record* beside the thing
//! decides together with the thing's condition ([`by_record`]).

use serde::Serialize;

use crate::graph::StepId;
use crate::key::{Change, Manifest, RecordedManifest, changes};

/// What a step has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It has work to do.
    Run,
    /// Its effect is there, made from these inputs.
    Skip,
    /// It depends on the output of a step that has not run yet.
    Unknown,
    /// It can't be decided, since a step it needs could not be.
    Blocked,
}

/// What a step has to do, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// What it has to do.
    pub action: Action,
    /// Why, for people.
    pub reason: String,
    /// The inputs that changed since the last apply.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// What of the inputs can't be known, so that a change of it would go unseen; one sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknowable: Vec<String>,
}

impl Decision {
    /// A decision without changed inputs.
    pub fn new(action: Action, reason: impl Into<String>) -> Self {
        Self { action, reason: reason.into(), changes: Vec::new(), unknowable: Vec::new() }
    }

    fn of_changes(reason: String, changes: Vec<Change>) -> Self {
        Self { changes, ..Self::new(Action::Run, reason) }
    }

    /// The same, saying what of the inputs can't be known.
    #[must_use]
    pub fn admitting(self, manifest: &Manifest) -> Self {
        Self { unknowable: manifest.unknowable().to_vec(), ..self }
    }
}

/// The condition in which the step's effect was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// It is there and unharmed; the sentence says what was seen.
    Intact(String),
    /// It is not as it should be; one sentence for each thing that is wrong.
    Wrong(Vec<String>),
    /// It can't be looked at before another step has run.
    Unknown {
        /// That step.
        because: StepId,
    },
}

impl Effect {
    /// One thing that is wrong.
    pub fn wrong(sentence: impl Into<String>) -> Self {
        Self::Wrong(vec![sentence.into()])
    }
}

/// Decides where the effect itself is proof of the inputs. `last` only explains.
pub fn by_effect(manifest: &Manifest, last: Option<&RecordedManifest>, effect: &Effect) -> Decision {
    let changes = differences(manifest, last);
    let decision = match effect {
        Effect::Intact(seen) => Decision::new(Action::Skip, seen),
        Effect::Wrong(_) if !changes.is_empty() => Decision::of_changes(summary(&changes), changes),
        Effect::Wrong(wrong) => Decision::new(Action::Run, wrong.join("; ")),
        Effect::Unknown { because } => Decision::new(Action::Unknown, waits_for(because)),
    };
    decision.admitting(manifest)
}

/// Decides where a record says what the effect was made from. Without a record the effect counts for nothing.
pub fn by_record(manifest: &Manifest, last: Option<&RecordedManifest>, effect: &Effect) -> Decision {
    let changes = differences(manifest, last);
    let decision = match effect {
        _ if last.is_some_and(RecordedManifest::is_other_version) => {
            Decision::new(Action::Run, "the last apply was made by another version of stack")
        }
        Effect::Wrong(wrong) if !changes.is_empty() => {
            Decision::of_changes(format!("{}; {}", summary(&changes), wrong.join("; ")), changes)
        }
        Effect::Wrong(wrong) => Decision::new(Action::Run, wrong.join("; ")),
        _ if !changes.is_empty() => Decision::of_changes(summary(&changes), changes),
        Effect::Intact(_) if last.is_none() => Decision::new(Action::Run, "there is no record of how it was made"),
        Effect::Intact(seen) => match manifest.waits_for() {
            Some(step) => Decision::new(Action::Unknown, waits_for(step)),
            None => Decision::new(Action::Skip, seen),
        },
        Effect::Unknown { because } => Decision::new(Action::Unknown, waits_for(because)),
    };
    decision.admitting(manifest)
}

fn differences(manifest: &Manifest, last: Option<&RecordedManifest>) -> Vec<Change> {
    match last {
        Some(last) if !last.is_other_version() => changes(last, manifest),
        Some(_) | None => Vec::new(),
    }
}

fn waits_for(step: &StepId) -> String {
    format!("depends on {step}, which has not run yet")
}

/// The first few changes, and how many more there are.
fn summary(changes: &[Change]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<_> = changes.iter().take(SHOWN).map(|change| change.shown.as_str()).collect();
    match changes.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::StepKind;
    use crate::key::Group;

    fn manifest(value: &str) -> Manifest {
        let mut manifest = Manifest::new("chart");
        manifest.text(Group::Value, "replicas", value);
        manifest
    }

    fn pending(mut manifest: Manifest) -> Manifest {
        manifest.unknown(Group::Image, "backend", StepId::new(StepKind::Build, "backend"));
        manifest
    }

    fn intact() -> Effect {
        Effect::Intact("revision 3 is deployed and ready".into())
    }

    /// Every combination that `by_record` tells apart, in one table.
    #[test]
    fn a_record_decides_with_the_condition_of_the_thing() {
        let same = manifest("1").recorded();
        let other = manifest("2").recorded();
        let broken = Effect::wrong("Deployment a was scaled");
        let table: [(_, Option<_>, _, Action, &str); 6] = [
            (manifest("1"), same.clone(), intact(), Action::Skip, "revision 3 is deployed and ready"),
            (manifest("1"), other.clone(), intact(), Action::Run, "values replicas 2 -> 1"),
            (manifest("1"), same.clone(), broken.clone(), Action::Run, "Deployment a was scaled"),
            (manifest("1"), other, broken, Action::Run, "values replicas 2 -> 1; Deployment a was scaled"),
            (manifest("1"), None, intact(), Action::Run, "there is no record of how it was made"),
            (
                pending(manifest("1")),
                same,
                intact(),
                Action::Unknown,
                "depends on build:backend, which has not run yet",
            ),
        ];
        for (manifest, last, effect, action, reason) in table {
            let decision = by_record(&manifest, last.as_ref(), &effect);
            assert_eq!((decision.action, decision.reason.as_str()), (action, reason));
        }
    }

    #[test]
    fn a_known_change_runs_though_another_input_is_unknown() {
        let last = manifest("2").recorded();
        assert_eq!(by_record(&pending(manifest("1")), last.as_ref(), &intact()).action, Action::Run);
    }

    #[test]
    fn an_effect_that_proves_its_inputs_is_enough() {
        let last = manifest("2").recorded();
        assert_eq!(by_effect(&manifest("1"), last.as_ref(), &intact()).action, Action::Skip);
        let gone = Effect::wrong("image is gone");
        assert_eq!(by_effect(&manifest("1"), last.as_ref(), &gone).reason, "values replicas 2 -> 1");
        assert_eq!(by_effect(&manifest("1"), manifest("1").recorded().as_ref(), &gone).reason, "image is gone");
        assert_eq!(by_effect(&manifest("1"), None, &gone).reason, "image is gone");
    }
}
