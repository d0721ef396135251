//! What the cluster makes of a manifest: looked at right after it was applied, repaired where Helm does not, and
//! remembered where it is not, word for word, what was applied.
//!
//! The API drops much of what is empty, keeps some of it, and gives values where there were none; it spells quantities in its
//! own way; and lists get defaults in their items. No table of its fields would say all of that of every version. What it
//! made of exactly this manifest does.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::compare::{is_known_to_helm, patch};
use super::lists::in_order_of;
use super::{Change, Difference, Drift, Known, Live, is_nothing, quantity};
use crate::tools::kube::cluster::Cluster;
use crate::tools::kube::error::KubeError;
use crate::tools::kube::object::{Object, ObjectRef};
use crate::tools::kube::snapshot::Snapshot;

/// In which fields the cluster did not keep what a manifest says, and what it had there: a digest, since it may be secret;
/// empty when it had nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settled(BTreeMap<String, BTreeMap<String, String>>);

impl Settled {
    /// Whether a difference is what the cluster had made of the manifest.
    pub(super) fn knows(&self, object: &ObjectRef, field: &Difference) -> bool {
        let known = self.0.get(&name(object)).and_then(|fields| fields.get(&field.path));
        known.is_some_and(|known| *known == digest(field.live.as_ref()))
    }

    fn learn(&mut self, object: &ObjectRef, field: &Difference) {
        let fields = self.0.entry(name(object)).or_default();
        fields.insert(field.path.clone(), digest(field.live.as_ref()));
    }
}

fn name(object: &ObjectRef) -> String {
    let ObjectRef { kind, namespace, name, .. } = object;
    format!("{}/{kind}/{namespace}/{name}", object.group())
}

fn digest(live: Option<&Value>) -> String {
    live.map(|live| blake3::hash(live.to_string().as_bytes()).to_hex()[..16].to_owned()).unwrap_or_default()
}

/// What became of a manifest.
#[derive(Debug, Default)]
pub struct Settlement {
    /// What is no drift from now on.
    pub settled: Settled,
    /// What is not as it was applied and should be.
    pub warnings: Vec<Warning>,
}

/// An object that is not as it was applied right before.
#[derive(Debug, Clone, PartialEq)]
pub struct Warning {
    /// The object and its fields. Their values may be secret.
    pub drift: Drift,
    /// What became of them.
    pub outcome: Outcome,
}

/// What became of fields that are not as they were applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The API refused to change them back, and said why.
    Refused(String),
    /// They are left so from now on.
    Kept,
    /// Something changes them, and they will be found again.
    Changed,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { drift, outcome } = self;
        let what = match outcome {
            Outcome::Refused(error) => return write!(f, "{drift}; it could not be changed back: {error}"),
            Outcome::Kept => "is not taken as it was applied, and stays so",
            Outcome::Changed => "is changed by something as soon as it is applied",
        };
        write!(f, "{} {what}", drift.object)?;
        let Change::Edited(fields) = &drift.change else { return Ok(()) };
        let Some(first) = fields.first() else { return Ok(()) };
        write!(f, ": {first}")?;
        if fields.len() > 1 { write!(f, " and {} more", fields.len() - 1) } else { Ok(()) }
    }
}

/// Looks at what Helm has applied just now. Objects of kinds that Helm does not know are repaired first: it compares their
/// old manifest with the new one, and what somebody has changed meanwhile stays. `before` is what was settled before.
///
/// # Errors
/// When the cluster can't be asked.
pub async fn settle(
    cluster: &Cluster,
    manifest: &[Object],
    before: &Settled,
    namespace: &str,
) -> Result<Settlement, KubeError> {
    let mut warnings = Vec::new();
    let mut live = read(cluster, manifest, namespace).await?;
    let differing = live.drift(manifest, before);
    let unlike = |object: &ObjectRef| differing.iter().find(|drift| drift.object == *object && is_edited(drift));
    let (mut repaired, mut refused) = (Vec::new(), HashSet::new());
    for pair in live.pairs(manifest) {
        let (Some(found), Some(drift)) = (pair.live, unlike(pair.object)) else { continue };
        if is_known_to_helm(pair.wanted) {
            continue;
        }
        let change = patch(pair.wanted, found, Known { autoscaled: pair.autoscaled });
        match merge(cluster, pair.object, change).await {
            Ok(()) => repaired.push(drift.clone()),
            Err(error) => {
                warnings.push(Warning { drift: drift.clone(), outcome: Outcome::Refused(error.to_string()) });
                refused.insert(pair.object.clone());
            }
        }
    }
    if !repaired.is_empty() {
        live = read(cluster, manifest, namespace).await?;
    }
    let mut settled = Settled::default();
    for drift in live.drift(manifest, &Settled::default()) {
        let Change::Edited(fields) = drift.change else { continue };
        let insisted = repaired.iter().find(|before| before.object == drift.object);
        let (known, left) = fields.into_iter().partition::<Vec<_>, _>(|field| match refused.contains(&drift.object) {
            // What it would be if it had been applied is not known.
            true => before.knows(&drift.object, field),
            false => is_clusters_affair(field) || insisted.is_some_and(|before| is_in(before, field)),
        });
        known.iter().for_each(|field| settled.learn(&drift.object, field));
        if refused.contains(&drift.object) {
            continue;
        }
        let told = known.into_iter().filter(|field| !is_usual(field) && !before.knows(&drift.object, field));
        for (fields, outcome) in [(told.collect::<Vec<_>>(), Outcome::Kept), (left, Outcome::Changed)] {
            if !fields.is_empty() {
                let drift = Drift { object: drift.object.clone(), change: Change::Edited(fields) };
                warnings.push(Warning { drift, outcome });
            }
        }
    }
    Ok(Settlement { settled, warnings })
}

async fn read(cluster: &Cluster, manifest: &[Object], namespace: &str) -> Result<Live, KubeError> {
    Live::read(&Snapshot::new(cluster.clone(), HashSet::new()), manifest, namespace).await
}

async fn merge(cluster: &Cluster, object: &ObjectRef, change: Map<String, Value>) -> Result<(), KubeError> {
    let kind = cluster.kind(&object.api_version, &object.kind).await?;
    cluster.merge(&kind, &object.namespace, &object.name, &Value::Object(change)).await.map(|_| ())
}

fn is_edited(drift: &Drift) -> bool {
    matches!(drift.change, Change::Edited(_))
}

fn is_in(drift: &Drift, field: &Difference) -> bool {
    matches!(&drift.change, Change::Edited(fields) if fields.contains(field))
}

/// What it does with what was just applied: it drops it, gives a value where there was none, or spells it otherwise.
fn is_clusters_affair(field: &Difference) -> bool {
    field.live.is_none() || is_usual(field)
}

/// The same, where nobody needs to be told of it.
fn is_usual(field: &Difference) -> bool {
    is_nothing(&field.wanted) || field.live.as_ref().is_some_and(|live| is_respelled(&field.wanted, live))
}

fn is_respelled(wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        // `cpu: 1` comes back as "1".
        (Value::Number(wanted), Value::String(live)) => quantity::same(&wanted.to_string(), live),
        // Encoded bytes may be broken into lines.
        (Value::String(wanted), Value::String(live)) => {
            let squeezed = |text: &str| text.split_ascii_whitespace().collect::<String>();
            quantity::same(wanted, live) || squeezed(wanted) == squeezed(live)
        }
        (Value::Array(wanted), Value::Array(live)) => in_order_of(wanted, live).is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::compare;
    use super::*;

    fn service(spec: &Value) -> Object {
        Object::new(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec}))
    }

    fn drift(settled: &Settled, wanted: &Object, live: &Object) -> Vec<String> {
        let found = compare(wanted, live, Known::default());
        let found = found.into_iter().filter(|field| !settled.knows(&wanted.reference(), field));
        found.map(|field| field.to_string()).collect()
    }

    #[test]
    fn what_the_cluster_made_of_a_manifest_is_no_drift_until_it_changes() {
        let wanted = service(&json!({"clusterIP": "", "type": "", "publishNotReadyAddresses": false, "selector": {},
            "ports": [{"port": 80, "nodePort": 0}, {"port": 80, "protocol": "UDP"}]}));
        let mut live = json!({"clusterIP": "10.96.0.7", "type": "NodePort", "sessionAffinity": "None",
            "ports": [{"port": 80, "protocol": "UDP", "targetPort": 80},
                {"port": 80, "protocol": "TCP", "targetPort": "http", "nodePort": 30080}]});
        let mut settled = Settled::default();
        for field in compare(&wanted, &service(&live), Known::default()) {
            assert!(is_usual(&field), "{field}");
            settled.learn(&wanted.reference(), &field);
        }
        assert_eq!(drift(&settled, &wanted, &service(&live)), [""; 0]);
        live["publishNotReadyAddresses"] = json!(true);
        live["type"] = json!("LoadBalancer");
        let expected =
            ["type  -> LoadBalancer", "publishNotReadyAddresses false -> true"].map(|field| format!("spec.{field}"));
        assert_eq!(drift(&settled, &wanted, &service(&live)), expected);
        let written = serde_json::to_string(&settled).unwrap();
        assert_eq!(serde_json::from_str::<Settled>(&written).unwrap(), settled);
        assert!(!written.contains("10.96.0.7"), "what is there may be secret: {written}");
    }

    #[test]
    fn another_value_than_was_applied_is_not_the_clusters_affair() {
        let field = |wanted: Value, live: Value| Difference { path: "a".to_owned(), wanted, live: Some(live) };
        assert!(is_clusters_affair(&field(json!("2000m"), json!("2"))));
        assert!(is_clusters_affair(&field(json!("aGk=\n"), json!("aGk="))));
        assert!(is_clusters_affair(&field(Value::Null, json!("TCP"))));
        assert!(!is_clusters_affair(&field(json!("quick"), json!("slow"))));
        assert!(!is_clusters_affair(&field(json!(["a"]), json!([]))));
        assert!(is_usual(&field(json!([{"a": 1}, {"b": 1}]), json!([{"b": 1}, {"a": 1}]))));
        assert!(!is_clusters_affair(&field(json!(["a", "b"]), json!(["b", "a"]))));
    }

    #[test]
    fn a_patch_says_no_more_than_what_differs() {
        let thing = |spec: &Value| {
            Object::new(json!({"apiVersion": "a.example/v1", "kind": "Thing",
                "metadata": {"name": "t", "labels": {"a": "b"}}, "spec": spec}))
        };
        let wanted = thing(&json!({"mode": "quick", "on": false, "left": null, "deep": {"a": [1], "b": 1}}));
        let live = thing(&json!({"mode": "slow", "left": 3, "deep": {"a": [1, 2], "b": 1, "more": 1}, "other": 1}));
        let expected = json!({"spec": {"mode": "quick", "on": false, "deep": {"a": [1]}}});
        assert_eq!(Value::Object(patch(&wanted, &live, Known::default())), expected);
    }
}
