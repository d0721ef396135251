//! Namespaces: made when they are missing, and removed again only when this stack made them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::cluster::Cluster;
use super::error::KubeError;
use super::kinds::Kind;
use super::object::Object;
use super::snapshot::Snapshot;
use super::{MANAGED_BY, STACK_LABEL};

/// A namespace, as far as we may touch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespaceState {
    /// There is none.
    Missing,
    /// This stack made it.
    Ours,
    /// Somebody else made it: it stays when the stack goes.
    Foreign,
    /// It is being deleted: nothing can be made in it.
    Terminating,
}

impl NamespaceState {
    fn of(object: Option<&Object>, stack: &str) -> Self {
        match object {
            None => Self::Missing,
            Some(object) if object.is_terminating() || object.text("/status/phase") == "Terminating" => {
                Self::Terminating
            }
            Some(object) if object.label(MANAGED_BY) == Some("stack") && object.label(STACK_LABEL) == Some(stack) => {
                Self::Ours
            }
            Some(_) => Self::Foreign,
        }
    }
}

/// Whether a namespace is being deleted, and everything in it with it. Who may not look at namespaces is told no.
pub async fn namespace_goes(snapshot: &Snapshot, name: &str) -> bool {
    let Some(kind) = Kind::known("v1", "Namespace") else { return false };
    let found = snapshot.list(&kind, None, None, Some(&format!("metadata.name={name}"))).await;
    found.is_ok_and(|found| found.values().any(|namespace| namespace.is_terminating()))
}

impl Cluster {
    /// What there is of a namespace.
    pub async fn namespace(&self, name: &str, stack: &str) -> Result<NamespaceState, KubeError> {
        let kind = self.kind_namespace().await?;
        Ok(NamespaceState::of(self.get(&kind, "", name).await?.as_ref(), stack))
    }

    /// Makes sure that a namespace is there; whether it had to be made. One that is still being deleted is waited for,
    /// at most `patience`. The labels are put on a namespace that this stack makes or has made; those of others are left
    /// alone.
    pub async fn ensure_namespace(
        &self,
        name: &str,
        stack: &str,
        labels: &BTreeMap<String, String>,
        patience: Duration,
    ) -> Result<bool, KubeError> {
        let kind = self.kind_namespace().await?;
        if self.namespace(name, stack).await? == NamespaceState::Terminating {
            self.wait_namespace_gone(name, patience).await?;
        }
        let found = self.get(&kind, "", name).await?;
        match (NamespaceState::of(found.as_ref(), stack), found) {
            (NamespaceState::Ours, Some(found)) => {
                let lacks = labels.iter().any(|(label, value)| found.label(label) != Some(value));
                if lacks {
                    self.merge(&kind, "", name, &json!({ "metadata": { "labels": labels } })).await?;
                }
                return Ok(false);
            }
            (NamespaceState::Ours | NamespaceState::Foreign, _) => return Ok(false),
            (NamespaceState::Missing | NamespaceState::Terminating, _) => {}
        }
        let mut labels = labels.clone();
        labels.insert(MANAGED_BY.to_owned(), "stack".to_owned());
        labels.insert(STACK_LABEL.to_owned(), stack.to_owned());
        let object = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": name, "labels": labels },
        });
        match self.create(&kind, "", &object).await {
            Ok(_) => Ok(true),
            // Another chart of this run, or somebody else, was quicker.
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes a namespace when this stack made it; whether it did.
    pub async fn delete_namespace(&self, name: &str, stack: &str) -> Result<bool, KubeError> {
        match self.namespace(name, stack).await? {
            NamespaceState::Ours => {
                let kind = self.kind_namespace().await?;
                self.delete(&kind, "", name, false).await
            }
            NamespaceState::Missing | NamespaceState::Foreign | NamespaceState::Terminating => Ok(false),
        }
    }

    /// The namespaces that this stack made.
    pub async fn own_namespaces(&self, stack: &str) -> Result<Vec<String>, KubeError> {
        let kind = self.kind_namespace().await?;
        let labels = format!("{MANAGED_BY}=stack,{STACK_LABEL}={stack}");
        let found = self.list(&kind, None, Some(&labels), None).await?;
        Ok(found.iter().map(|object| object.name().to_owned()).collect())
    }

    /// Waits until a namespace is gone, at most `patience`; says what holds it when it is not.
    pub async fn wait_namespace_gone(&self, name: &str, patience: Duration) -> Result<(), KubeError> {
        let kind = self.kind_namespace().await?;
        let gone = async {
            let mut pause = Duration::from_millis(100);
            while self.get(&kind, "", name).await?.is_some() {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
            Ok::<(), KubeError>(())
        };
        match tokio::time::timeout(patience, gone).await {
            Ok(result) => result,
            Err(_) => {
                let held = self.get(&kind, "", name).await?.map(|object| why_stuck(&object)).unwrap_or_default();
                Err(KubeError::Api {
                    action: format!("delete Namespace {name}"),
                    code: 409,
                    reason: "Terminating".to_owned(),
                    message: format!("it is still terminating after {} s{held}", patience.as_secs()),
                })
            }
        }
    }
}

/// What a namespace that does not go says about why.
fn why_stuck(namespace: &Object) -> String {
    let told = namespace
        .conditions()
        .filter(|condition| condition.is_true())
        .map(|condition| format!("; {}: {}", condition.reason, condition.message))
        .collect::<String>();
    let finalizers = namespace.list("/spec/finalizers").iter().filter_map(serde_json::Value::as_str);
    let finalizers = finalizers.collect::<Vec<_>>().join(", ");
    if told.is_empty() && !finalizers.is_empty() { format!("; finalizers: {finalizers}") } else { told }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_namespace_with_both_labels_is_ours() {
        let state = |labels: serde_json::Value| {
            let object = Object::new(json!({"metadata": {"name": "a", "labels": labels}}));
            NamespaceState::of(Some(&object), "todo")
        };
        assert_eq!(state(json!({MANAGED_BY: "stack", STACK_LABEL: "todo"})), NamespaceState::Ours);
        assert_eq!(state(json!({MANAGED_BY: "stack", STACK_LABEL: "other"})), NamespaceState::Foreign);
        assert_eq!(state(json!({MANAGED_BY: "Helm", STACK_LABEL: "todo"})), NamespaceState::Foreign);
        assert_eq!(state(json!({})), NamespaceState::Foreign);
    }

    #[test]
    fn a_stuck_namespace_says_why() {
        let object = Object::new(json!({"status": {"phase": "Terminating", "conditions": [
            {"type": "NamespaceContentRemaining", "status": "True", "reason": "SomeResourcesRemain", "message": "widgets.acme.io has 1 resource instances"},
            {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "reason": "ok"}
        ]}}));
        assert_eq!(why_stuck(&object), "; SomeResourcesRemain: widgets.acme.io has 1 resource instances");
        assert_eq!(NamespaceState::of(Some(&object), "todo"), NamespaceState::Terminating);
    }
}
