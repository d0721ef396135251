//! What an upgrade would change, object by object: the manifest that it would install against what lives in the cluster.
//! Values of Secrets are told apart and never shown.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::cluster::Cluster;
use super::drift::{Live, Pair};
use super::error::KubeError;
use super::object::{Object, ObjectRef};
use super::snapshot::Snapshot;
use super::to_yaml::to_yaml;

/// What happens to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// It is made.
    Add,
    /// Some of its fields change.
    Change,
    /// It is removed.
    Remove,
}

/// A field that changes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldChange {
    /// `spec.template.spec.containers[0].image`.
    pub path: String,
    /// What there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// What there will be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

/// An object that an upgrade makes, changes or removes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ObjectChange {
    /// Which object.
    #[serde(flatten)]
    pub object: ObjectRef,
    /// What happens to it.
    pub change: ChangeKind,
    /// The fields that change; none of an object that is made or removed as a whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
    /// What there is of it, as YAML; empty when there is none.
    #[serde(skip)]
    pub before: String,
    /// What there will be of it.
    #[serde(skip)]
    pub after: String,
}

/// What installing `wanted` would change, where `before` was installed last.
///
/// # Errors
/// When the cluster can't be asked.
pub async fn diff(
    cluster: &Cluster,
    wanted: &[Object],
    before: &[Object],
    namespace: &str,
) -> Result<Vec<ObjectChange>, KubeError> {
    let is_wanted = |object: &&Object| wanted.iter().any(|wanted| same(wanted, object));
    let gone = before.iter().filter(|object| !is_wanted(object)).cloned().collect::<Vec<_>>();
    let all = [wanted, &gone].concat();
    let snapshot = Snapshot::new(cluster.clone(), HashSet::new());
    let live = Live::read(&snapshot, &all, namespace).await?;
    let changes = live.pairs(&all).enumerate().filter_map(|(at, pair)| {
        let previous = before.iter().find(|object| same(object, pair.wanted));
        if at < wanted.len() { applied(&pair, previous) } else { removed(&pair) }
    });
    Ok(changes.collect())
}

fn same(a: &Object, b: &Object) -> bool {
    a.reference().same_as(&b.reference())
}

/// An object that is part of the new manifest.
fn applied(pair: &Pair<'_>, previous: Option<&Object>) -> Option<ObjectChange> {
    let after = clean(pair.wanted, pair.autoscaled);
    let Some(live) = pair.live else {
        let after = to_yaml(&masked(after, None));
        return Some(change(pair.object, ChangeKind::Add, Vec::new(), String::new(), after));
    };
    let previous = previous.map(|previous| clean(previous, pair.autoscaled));
    let live = clean(live, pair.autoscaled);
    let before = pair.seen(&after, previous.as_ref(), &live);
    let (before, after) = match pair.object.kind.as_str() {
        "Secret" => (masked(before.clone(), None), masked(after, Some(&before))),
        _ => (before, after),
    };
    let mut fields = Vec::new();
    differences(Some(&before), Some(&after), "", &mut fields);
    if fields.is_empty() {
        return None;
    }
    Some(change(pair.object, ChangeKind::Change, fields, to_yaml(&before), to_yaml(&after)))
}

/// An object that is not part of the manifest any more.
fn removed(pair: &Pair<'_>) -> Option<ObjectChange> {
    let live = pair.live?;
    if live.is_terminating() || live.annotation("helm.sh/resource-policy") == Some("keep") {
        return None;
    }
    let before = to_yaml(&masked(clean(pair.wanted, false), None));
    Some(change(pair.object, ChangeKind::Remove, Vec::new(), before, String::new()))
}

fn change(
    object: &ObjectRef,
    change: ChangeKind,
    fields: Vec<FieldChange>,
    before: String,
    after: String,
) -> ObjectChange {
    ObjectChange { object: object.clone(), change, fields, before, after }
}

/// What a person wants to see of an object: without its state, and without what only the cluster writes.
fn clean(object: &Object, autoscaled: bool) -> Value {
    let mut cleaned = Map::new();
    for (key, value) in object.json().as_object().into_iter().flatten() {
        match key.as_str() {
            "status" | "stringData" => {}
            "metadata" => {
                let kept = ["name", "namespace", "labels", "annotations"].into_iter();
                let kept = kept.filter_map(|key| Some((key.to_owned(), value.get(key).cloned()?)));
                let mut metadata = kept.collect::<Map<_, _>>();
                if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                    annotations.retain(|name, _| !is_noise(name));
                    if annotations.is_empty() {
                        metadata.shift_remove("annotations");
                    }
                }
                cleaned.insert(key.clone(), Value::Object(metadata));
            }
            _ if value.is_null() => {}
            _ => {
                cleaned.insert(key.clone(), value.clone());
            }
        }
    }
    if object.kind() == "Secret" {
        let data = super::drift::secret_data(object);
        if !data.is_empty() {
            cleaned.insert("data".to_owned(), Value::Object(data));
        }
    }
    if autoscaled && let Some(spec) = cleaned.get_mut("spec").and_then(Value::as_object_mut) {
        spec.shift_remove("replicas");
    }
    Value::Object(cleaned)
}

/// Annotations by which tools keep their books.
fn is_noise(annotation: &str) -> bool {
    annotation.starts_with("meta.helm.sh/")
        || annotation == "kubectl.kubernetes.io/last-applied-configuration"
        || annotation.starts_with("deployment.kubernetes.io/")
        || annotation.starts_with("deprecated.daemonset.")
}

/// A Secret without its values: only how long they are, and whether they differ from `other`'s.
fn masked(mut object: Value, other: Option<&Value>) -> Value {
    let is_secret = object.get("kind").and_then(Value::as_str) == Some("Secret");
    if let Some(data) = object.get_mut("data").and_then(Value::as_object_mut).filter(|_| is_secret) {
        for (key, value) in data.iter_mut() {
            let others = other.and_then(|other| other.get("data")?.get(key));
            let length = value.as_str().map_or(0, |encoded| encoded.trim_end_matches('=').len() * 3 / 4);
            let changed = if others.is_some_and(|others| others != value) { ", changed" } else { "" };
            *value = json!(format!("[secret of {length} bytes{changed}]"));
        }
    }
    object
}

/// All fields in which two values differ.
fn differences(from: Option<&Value>, to: Option<&Value>, path: &str, found: &mut Vec<FieldChange>) {
    match (from, to) {
        (Some(from), Some(to)) if from == to => {}
        (Some(Value::Object(from)), Some(Value::Object(to))) => {
            let keys = from.keys().chain(to.keys().filter(|key| !from.contains_key(*key)));
            keys.for_each(|key| differences(from.get(key), to.get(key), &super::drift::join(path, key), found));
        }
        (Some(Value::Array(from)), Some(Value::Array(to))) => {
            let longer = from.len().max(to.len());
            (0..longer).for_each(|at| differences(from.get(at), to.get(at), &format!("{path}[{at}]"), found));
        }
        (from, to) => {
            let path = path.trim_start_matches('.').to_owned();
            found.push(FieldChange { path, from: from.cloned(), to: to.cloned() });
        }
    }
}
