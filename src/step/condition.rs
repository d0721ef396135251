//! `condition`: a condition, or a field, of any object of the cluster has the value that is waited for.

use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::time::timeout;

use super::check::{Verdict, resource};
use super::ready::text;
use super::{Speaker, StepError, World, of_kube, stopped};
use crate::config::{ConditionCheck, ConditionField, Ready as Spec};
use crate::error::Class;
use crate::process::{Cancel, CancelLevel};
use crate::tools::kube::{Kind, Object};

/// What is asked of which object, with everything in it known.
pub(super) struct Question<'a> {
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
    field: &'a ConditionField,
    wanted: Json,
}

impl<'a> Question<'a> {
    pub(super) async fn of(world: &World, spec: &Spec, check: &'a ConditionCheck) -> Result<Self, StepError> {
        let (kind, name) = resource(world, &check.resource).await?;
        let wanted = check.value.resolve(world);
        let wanted = wanted.map_err(|error| StepError::new(Class::Internal, error.to_string()))?.exposed();
        Ok(Self { kind, namespace: text(world, &spec.namespace)?, name, field: &check.field, wanted })
    }

    /// What the object, as it is, answers.
    pub(super) fn verdict(&self, object: Option<&Object>) -> Verdict {
        let Self { name, wanted, .. } = self;
        let Some(object) = object else {
            return Verdict::NotYet(format!("there is no {} {name}", self.kind.kind));
        };
        let (field, now) = match self.field {
            ConditionField::Type(condition) => {
                (condition, object.condition(condition).map(|found| json!(found.status)))
            }
            ConditionField::Path(path) => (path, object.at(&pointer(path)).cloned()),
        };
        match now {
            Some(now) if same(&now, wanted) => Verdict::Passes(format!("{field} of {name} is {}", plain(&now))),
            Some(now) => Verdict::NotYet(format!("{field} of {name} is {}, not {}", plain(&now), plain(wanted))),
            None => Verdict::NotYet(format!("{name} has no {field}")),
        }
    }

    /// Waits until it passes, by what the cluster tells of changes.
    pub(super) async fn wait(
        &self,
        world: &World,
        limit: Duration,
        speaker: &Speaker,
        cancel: &Cancel,
    ) -> Result<String, StepError> {
        let mut last = String::new();
        let judge = |object: Option<&Object>| match self.verdict(object) {
            Verdict::Passes(seen) => Some(seen),
            Verdict::NotYet(why) | Verdict::Never(why) => {
                if why != last {
                    speaker.progress(&why, None, None);
                    last = why;
                }
                None
            }
        };
        let cluster = world.cluster().await?;
        let passes = tokio::select! {
            passes = timeout(limit, cluster.until(&self.kind, &self.namespace, &self.name, judge)) => passes,
            _ = cancel.raised(CancelLevel::Terminate) => return Err(stopped()),
        };
        match passes {
            Ok(passes) => passes.map_err(of_kube),
            Err(_) => {
                let reason = format!("not ready after {} s: {last}", limit.as_secs());
                Err(StepError::new(Class::Input, reason))
            }
        }
    }
}

/// `.status.phase` as a JSON pointer; `[0]` and `.0` both name an element.
fn pointer(path: &str) -> String {
    let parts = path.split(['.', '[', ']']).filter(|part| !part.is_empty());
    parts.map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1"))).collect()
}

fn same(now: &Json, wanted: &Json) -> bool {
    now == wanted || plain(now) == plain(wanted)
}

fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_fields_as_people_write_them() {
        assert_eq!(pointer(".status.phase"), "/status/phase");
        assert_eq!(pointer("spec.ports[0].name"), "/spec/ports/0/name");
        assert_eq!(pointer(".metadata.labels.a/b"), "/metadata/labels/a~1b");
    }

    #[test]
    fn a_number_equals_its_text() {
        assert!(same(&json!(3), &json!("3")) && same(&json!("True"), &json!("True")));
        assert!(!same(&json!(3), &json!("4")));
    }
}
