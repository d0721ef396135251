//! The rules for what runs no pods itself: claims, services, definitions of kinds, and objects of any kind by their
//! conditions.

use serde_json::Value;

use super::{Assessment, Case, pods_word};
use crate::model::service::ServiceState;
use crate::tools::kube::ready::trouble::{Cause, Severity, Trouble};
use crate::tools::kube::ready::world::World;

impl Case<'_> {
    pub(super) fn claim(&self) -> Assessment {
        match self.object.text("/status/phase") {
            "Bound" => self.ready("bound"),
            "Lost" => self.failed(Cause::Volume, "its volume is gone"),
            _ => {
                let events = self.world.events_of(self.object);
                if events.iter().any(|event| event.text("/reason") == "WaitForFirstConsumer") || self.waits_for_pod() {
                    return self.ready("will be bound when a pod uses it");
                }
                let reasons = ["ProvisioningFailed", "FailedBinding", "VolumeFailedDelete"];
                let told = events.into_iter().find(|event| reasons.contains(&event.text("/reason")));
                let message = told.map_or("no volume is bound to it", |event| event.text("/message"));
                let trouble = Trouble::new(Cause::Volume, Severity::AfterGrace, message);
                self.on_the_way("not bound yet").with(vec![trouble])
            }
        }
    }

    /// Whether the claim's class waits for a pod before it makes a volume.
    fn waits_for_pod(&self) -> bool {
        let class = self.object.text("/spec/storageClassName");
        self.world
            .named("StorageClass", "", class)
            .is_some_and(|class| class.text("/volumeBindingMode") == "WaitForFirstConsumer")
    }

    pub(super) fn service(&self) -> Assessment {
        let kind = self.object.text("/spec/type");
        let selector =
            self.object.at("/spec/selector").filter(|selector| selector.as_object().is_some_and(|s| !s.is_empty()));
        let available = |mut assessment: Assessment, state: ServiceState| {
            assessment.state = state.to_string();
            assessment
        };
        let (Some(selector), false, false) =
            (selector, kind == "ExternalName", self.object.text("/spec/clusterIP") == "None")
        else {
            return available(self.ready("needs no pods of its own"), ServiceState::Available);
        };
        let count = endpoints(self.world, self.object.namespace(), self.object.name());
        if count > 0 {
            return available(self.ready(format!("{count} {} behind it", pods_word(count))), ServiceState::Available);
        }
        let expected = self.world.expected_behind(selector);
        let mut assessment = match expected {
            Some(0) if !self.rules.needs_endpoints => self.ready("its workload is scaled to nothing"),
            None if !self.world.has_workloads() && !self.rules.needs_endpoints => {
                let mut assessment = self.ready("no pod behind it");
                assessment.warning = Some(format!("no pod is behind Service {}", self.reference.name));
                assessment
            }
            None | Some(_) => {
                let any = self.world.pods_with(self.object.namespace(), selector).next().is_some();
                let (severity, message) = match (any || expected.is_some(), self.rules.needs_endpoints) {
                    (true, _) => (Severity::Slow, "no pod behind it is ready"),
                    (false, true) => (Severity::Slow, "its selector matches no pod"),
                    (false, false) => (Severity::AfterGrace, "its selector matches no pod"),
                };
                let shown = selector_text(selector);
                let trouble = Trouble::new(Cause::NoEndpoints, severity, format!("{message} (selector {shown})"));
                self.on_the_way("no pod behind it is ready").with(vec![trouble])
            }
        };
        let unavailable = !matches!(expected, Some(0)) || self.rules.needs_endpoints;
        assessment.state = if unavailable { ServiceState::Unavailable } else { ServiceState::Available }.to_string();
        assessment
    }

    pub(super) fn definition(&self) -> Assessment {
        let names = self.object.condition("NamesAccepted").filter(|names| names.is_false());
        if let Some(names) = names {
            return self.failed(Cause::Names, names.message);
        }
        self.by_condition("Established")
    }

    pub(super) fn by_condition(&self, kind: &str) -> Assessment {
        match self.object.condition(kind) {
            Some(condition) if condition.is_true() => self.ready(kind.to_lowercase()),
            Some(condition) => self.on_the_way(or(condition.message, condition.reason)),
            None => self.on_the_way(format!("not {} yet", kind.to_lowercase())),
        }
    }

    /// Custom kinds, by the conditions that are customary.
    pub(super) fn by_conditions(&self) -> Assessment {
        if self.unseen {
            return self.on_the_way("its controller has not seen the change yet");
        }
        if let Some(stalled) = self.object.condition("Stalled").filter(|stalled| stalled.is_true()) {
            return self.failed(Cause::Stalled, or(stalled.message, stalled.reason));
        }
        if let Some(busy) = self.object.condition("Reconciling").filter(|busy| busy.is_true()) {
            return self.on_the_way(or(busy.message, busy.reason));
        }
        match self.object.condition("Ready") {
            Some(ready) if !ready.is_true() => self.on_the_way(or(ready.message, ready.reason)),
            Some(_) => self.ready("ready"),
            None => self.ready("exists"),
        }
    }
}

/// How many endpoints are ready behind a service.
pub(crate) fn endpoints(world: &World, namespace: &str, service: &str) -> i64 {
    i64::try_from(world.ready_endpoints(namespace, service)).unwrap_or(i64::MAX)
}

/// A selector as people write it.
pub(crate) fn selector_text(selector: &Value) -> String {
    let pairs = selector.as_object().into_iter().flatten();
    pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect::<Vec<_>>().join(",")
}

fn or(message: &str, reason: &str) -> String {
    if message.is_empty() { reason } else { message }.to_owned()
}
