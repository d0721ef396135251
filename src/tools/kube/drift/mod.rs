//! Drift: where the live objects of a release are not what its manifest says.
//!
//! See `docs/decisions/drift.md` for why the comparison is with the manifest and goes by subset.

mod compare;
mod lists;
mod quantity;
mod seen;
mod settle;
mod undo;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::cluster::Cluster;
use super::error::KubeError;
use super::kinds::Kind;
use super::object::{Object, ObjectRef, group_of};
use super::snapshot::Snapshot;

pub use compare::{Difference, Known, compare};
pub(super) use compare::{join, secret_data};
pub use settle::{Outcome, Settled, Settlement, Warning, settle};
pub use undo::undo;

/// An object that is not as it was applied.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// Which object.
    pub object: ObjectRef,
    /// What happened to it.
    #[serde(flatten)]
    pub change: Change,
}

/// What happened to an object.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "change", content = "fields")]
pub enum Change {
    /// It is gone.
    Deleted,
    /// It is being deleted.
    Terminating,
    /// These fields are not what was applied.
    Edited(Vec<Difference>),
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.change {
            Change::Deleted => write!(f, "{} is gone from the cluster", self.object),
            Change::Terminating => write!(f, "{} is being deleted", self.object),
            Change::Edited(fields) => {
                write!(f, "{} was edited in the cluster: ", self.object)?;
                for (at, field) in fields.iter().take(3).enumerate() {
                    write!(f, "{}{field}", if at > 0 { ", " } else { "" })?;
                }
                match fields.len().saturating_sub(3) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((place, wanted, live)) = self.first_part() {
            return write!(f, "{}{place} {wanted} -> {live}", self.path);
        }
        let live = self.live.as_ref().map_or_else(|| "nothing".to_owned(), short);
        let wanted = if self.wanted.is_null() { "nothing".to_owned() } else { short(&self.wanted) };
        write!(f, "{} {wanted} -> {live}", self.path)
    }
}

impl Difference {
    /// Where two texts of several lines part, or two long lists: which line or item, from 1 or 0, and what it is on either
    /// side. Their beginnings would look the same.
    fn first_part(&self) -> Option<(String, String, String)> {
        match (&self.wanted, self.live.as_ref()?) {
            (Value::String(wanted), Value::String(live)) if wanted.trim_end().contains('\n') => {
                let (at, wanted, live) = first_unlike(wanted.lines(), live.lines(), |a, b| a == b)?;
                let shown = |line: Option<&str>| line.map_or_else(|| "nothing".to_owned(), short_text);
                Some((format!(" line {}", at + 1), shown(wanted), shown(live)))
            }
            (Value::Array(wanted), Value::Array(live)) if [wanted, live].iter().any(|list| is_long(list)) => {
                let (at, wanted, live) = first_unlike(wanted.iter(), live.iter(), |a, b| lists::is_in(a, b))?;
                let shown = |item: Option<&Value>| item.map_or_else(|| "nothing".to_owned(), short);
                Some((format!("[{at}]"), shown(wanted), shown(live)))
            }
            _ => None,
        }
    }
}

fn is_long(list: &[Value]) -> bool {
    list.iter().map(|item| item.to_string().len()).sum::<usize>() > LONGEST
}

/// The first place at which two sequences are not alike, and what is there.
fn first_unlike<T>(
    wanted: impl Iterator<Item = T>,
    live: impl Iterator<Item = T>,
    alike: impl Fn(&T, &T) -> bool,
) -> Option<(usize, Option<T>, Option<T>)> {
    let (mut wanted, mut live) = (wanted, live);
    for at in 0.. {
        match (wanted.next(), live.next()) {
            (None, None) => return None,
            (Some(a), Some(b)) if alike(&a, &b) => {}
            (a, b) => return Some((at, a, b)),
        }
    }
    None
}

/// How much of a value is told, in characters.
const LONGEST: usize = 60;

/// A value that fits into a sentence.
fn short(value: &Value) -> String {
    value.as_str().map_or_else(|| short_text(&value.to_string()), short_text)
}

fn short_text(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let cut = line.char_indices().nth(LONGEST).map_or(line.len(), |(at, _)| at);
    if cut < text.len() { format!("{}…", &line[..cut]) } else { text.to_owned() }
}

/// The live objects that belong to a manifest.
#[derive(Debug)]
pub struct Live {
    objects: Vec<(ObjectRef, Option<Arc<Object>>)>,
    autoscalers: Vec<Autoscaler>,
}

/// A workload that an autoscaler looks after.
#[derive(Debug)]
struct Autoscaler {
    namespace: String,
    kind: String,
    name: String,
    /// It may scale to nothing.
    to_nothing: bool,
}

impl Live {
    /// Reads the live objects of a manifest: a few lists at the same time, however many objects there are.
    pub async fn read(snapshot: &Snapshot, manifest: &[Object], namespace: &str) -> Result<Self, KubeError> {
        let cluster = snapshot.cluster();
        let mut wanted: BTreeMap<(Kind, String), Vec<usize>> = BTreeMap::new();
        let mut references = Vec::new();
        for (at, object) in manifest.iter().enumerate() {
            let mut reference = object.reference();
            // A kind that the cluster no longer knows took its objects with it.
            match cluster.kind(&reference.api_version, &reference.kind).await {
                Ok(kind) => {
                    if kind.namespaced && reference.namespace.is_empty() {
                        reference.namespace = namespace.to_owned();
                    }
                    wanted.entry((kind, reference.namespace.clone())).or_default().push(at);
                }
                Err(KubeError::UnknownKind { .. }) => {}
                Err(error) => return Err(error),
            }
            references.push(reference);
        }
        let has_scalable = manifest.iter().any(|object| object.at("/spec/replicas").is_some());
        let lists = wanted.iter().map(|((kind, namespace), members)| {
            let names = members.iter().filter_map(|at| manifest.get(*at)).map(Object::name).collect::<Vec<_>>();
            async move { snapshot.named(kind, namespace, &names).await }
        });
        let autoscalers = async {
            if has_scalable {
                autoscalers(snapshot, wanted.keys().map(|(_, namespace)| namespace.as_str())).await
            } else {
                Vec::new()
            }
        };
        let (found, autoscalers) = tokio::join!(futures::future::try_join_all(lists), autoscalers);
        let found = found?.into_iter().flatten().collect::<Vec<_>>();
        let objects = references
            .into_iter()
            .map(|reference| {
                let is_it = |live: &&Arc<Object>| live.name() == reference.name && live.reference().same_as(&reference);
                let live = found.iter().find(is_it).map(Arc::clone);
                (reference, live)
            })
            .collect();
        Ok(Self { objects, autoscalers })
    }

    /// What is not as the manifest says, nor as it was right after that was applied. The manifest has to be the one that
    /// this was read for.
    pub fn drift(&self, manifest: &[Object], settled: &Settled) -> Vec<Drift> {
        let pairs = manifest.iter().zip(&self.objects);
        pairs
            .filter_map(|(wanted, (reference, live))| {
                let change = match live {
                    None if expires(wanted) => return None,
                    None => Change::Deleted,
                    Some(live) if live.is_terminating() => Change::Terminating,
                    Some(live) => {
                        let known = Known { autoscaled: self.is_autoscaled(reference, Some(live.as_ref())) };
                        let mut fields = compare(wanted, live, known);
                        fields.retain(|field| !settled.knows(reference, field));
                        if fields.is_empty() {
                            return None;
                        }
                        Change::Edited(fields)
                    }
                };
                Some(Drift { object: reference.clone(), change })
            })
            .collect()
    }

    /// Each object of the manifest beside the live one. The manifest has to be the one that this was read for.
    pub(super) fn pairs<'a>(&'a self, manifest: &'a [Object]) -> impl Iterator<Item = Pair<'a>> {
        manifest.iter().zip(&self.objects).map(|(wanted, (object, live))| Pair {
            object,
            wanted,
            live: live.as_deref(),
            autoscaled: self.is_autoscaled(object, live.as_deref()),
        })
    }

    /// The live objects that there are.
    pub fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.iter().filter_map(|(_, live)| live.as_ref())
    }

    /// The objects of the manifest without those that have done their work and are gone, as they were to be. The manifest
    /// has to be the one that this was read for.
    pub(super) fn not_expired<'a>(
        &'a self,
        manifest: &'a [Object],
    ) -> impl Iterator<Item = (&'a ObjectRef, &'a Object)> {
        let pairs = self.pairs(manifest).filter(|pair| pair.live.is_some() || !expires(pair.wanted));
        pairs.map(|pair| (pair.object, pair.wanted))
    }

    /// Whether an autoscaler decides how many replicas there are. Most are switched off by a scale of 0.
    fn is_autoscaled(&self, object: &ObjectRef, live: Option<&Object>) -> bool {
        let is_off = live.is_some_and(|live| live.number("/spec/replicas") == Some(0));
        self.autoscalers.iter().any(|autoscaler| {
            autoscaler.namespace == object.namespace
                && autoscaler.kind == object.kind
                && autoscaler.name == object.name
                && (autoscaler.to_nothing || !is_off)
        })
    }
}

/// An object of a manifest beside the live one.
pub(super) struct Pair<'a> {
    pub(super) object: &'a ObjectRef,
    pub(super) wanted: &'a Object,
    pub(super) live: Option<&'a Object>,
    /// How many replicas there are is an autoscaler's affair.
    pub(super) autoscaled: bool,
}

impl Pair<'_> {
    /// A live object as its manifest would have it written; `before` is the manifest that was applied last.
    pub(super) fn seen(&self, wanted: &Value, before: Option<&Value>, live: &Value) -> Value {
        seen::seen(Some(wanted), before, Some(live), "").unwrap_or_default()
    }
}

/// What is not as the manifest says, nor as it was right after that was applied.
pub async fn observe_drift(
    cluster: &Cluster,
    manifest: &[Object],
    settled: &Settled,
    namespace: &str,
) -> Result<Vec<Drift>, KubeError> {
    let snapshot = Snapshot::new(cluster.clone(), HashSet::new());
    Ok(Live::read(&snapshot, manifest, namespace).await?.drift(manifest, settled))
}

/// Whether the cluster removes an object by itself some time after it has done its work.
fn expires(object: &Object) -> bool {
    let is_job = group_of(object.api_version()) == "batch" && object.kind() == "Job";
    is_job && object.at("/spec/ttlSecondsAfterFinished").is_some_and(Value::is_number)
}

/// A manifest without the objects of it that have done their work and are gone by now.
///
/// # Errors
/// When the cluster can't be asked.
pub async fn not_expired(cluster: &Cluster, manifest: Vec<Object>, namespace: &str) -> Result<Vec<Object>, KubeError> {
    if !manifest.iter().any(expires) {
        return Ok(manifest);
    }
    let live = Live::read(&Snapshot::new(cluster.clone(), HashSet::new()), &manifest, namespace).await?;
    Ok(live.not_expired(&manifest).map(|(_, object)| object.clone()).collect())
}

/// What is as good as absent, to most fields.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(yes) => !yes,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(Value::is_null),
        Value::Object(map) => map.values().all(is_nothing),
    }
}

/// The workloads that autoscalers look after.
async fn autoscalers<'a>(snapshot: &Snapshot, namespaces: impl Iterator<Item = &'a str>) -> Vec<Autoscaler> {
    let Some(kind) = Kind::known("autoscaling/v1", "HorizontalPodAutoscaler") else { return Vec::new() };
    let mut namespaces = namespaces.filter(|namespace| !namespace.is_empty()).collect::<Vec<_>>();
    namespaces.sort_unstable();
    namespaces.dedup();
    let lists = namespaces.iter().map(|namespace| snapshot.list(&kind, Some(namespace), None, None));
    // Who may not see autoscalers sees their work as drift; there is no better answer.
    let found = futures::future::join_all(lists).await;
    let target = |object: &Object, field: &str| object.text(&format!("/spec/scaleTargetRef/{field}")).to_owned();
    found
        .iter()
        .flatten()
        .flat_map(|listed| listed.values())
        .map(|object| Autoscaler {
            namespace: object.namespace().to_owned(),
            kind: target(object, "kind"),
            name: target(object, "name"),
            to_nothing: object.number("/spec/minReplicas") == Some(0),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_long_texts_the_line_is_told_in_which_they_differ() {
        let field = |wanted: &str, live: &str| {
            Difference { path: "data.a".to_owned(), wanted: json!(wanted), live: Some(json!(live)) }.to_string()
        };
        assert_eq!(field("a\nb\nc\n", "a\nx\nc\n"), "data.a line 2 b -> x");
        assert_eq!(field("a\nb\n", "a\n"), "data.a line 2 b -> nothing");
        assert_eq!(field("a\n***\n", "a\n***\n"), "data.a a… -> a…");
        assert_eq!(field("a\n", "b\nc"), "data.a a… -> b…");
    }

    #[test]
    fn of_long_lists_the_item_is_told_in_which_they_differ() {
        let item = |host: &str| json!({"host": host, "path": "/", "pathType": "Prefix"});
        let field = |wanted: Value, live: Value| {
            Difference { path: "spec.rules".to_owned(), wanted, live: Some(live) }.to_string()
        };
        let added = json!([item("a.example"), item("b.example"), {"host": "c"}]);
        assert_eq!(
            field(json!([item("a.example"), item("b.example")]), added),
            r#"spec.rules[2] nothing -> {"host":"c"}"#
        );
        assert_eq!(field(json!(["a"]), json!(["a", "b"])), r#"spec.rules ["a"] -> ["a","b"]"#);
    }
}
