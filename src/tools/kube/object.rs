//! An object of the cluster as the API speaks it: JSON, whatever its kind and version.
//!
//! Versions of Kubernetes differ in fields and kinds; reading JSON by path works with all of them.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ApiResource, DynamicResourceScope};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Which object: enough to find it and to name it to a person.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// `apps/v1`, or `v1` of the core group.
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// Its namespace; empty for a kind that lives in none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectRef {
    /// The API group; empty for the core group.
    pub fn group(&self) -> &str {
        group_of(&self.api_version)
    }

    /// Whether both name the same object, whatever version of the API each speaks.
    pub fn same_as(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.name == other.name
            && self.namespace == other.namespace
            && self.group() == other.group()
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// The group of an `apiVersion`; empty for the core group.
pub(crate) fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// An object as JSON. Its `managedFields` are dropped when it is read: they can outweigh the object.
#[derive(Clone)]
pub struct Object {
    // The few fields of the metadata that kube's watcher asks for; everything else is read from `json`.
    meta: ObjectMeta,
    json: Value,
}

impl Object {
    /// An object from its JSON.
    pub fn new(mut json: Value) -> Self {
        if let Some(metadata) = json.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        let text = |pointer: &str| json.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let meta = ObjectMeta {
            name: text("/metadata/name"),
            namespace: text("/metadata/namespace"),
            uid: text("/metadata/uid"),
            resource_version: text("/metadata/resourceVersion"),
            ..ObjectMeta::default()
        };
        Self { meta, json }
    }

    /// Names its kind, which the items of a list do not say themselves.
    #[must_use]
    pub fn of_kind(mut self, api_version: &str, kind: &str) -> Self {
        if let Some(map) = self.json.as_object_mut() {
            map.insert("apiVersion".to_owned(), Value::String(api_version.to_owned()));
            map.insert("kind".to_owned(), Value::String(kind.to_owned()));
        }
        self
    }

    /// The whole object.
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// The whole object, taken out.
    pub fn into_json(self) -> Value {
        self.json
    }

    /// The value at a JSON pointer.
    pub fn at(&self, pointer: &str) -> Option<&Value> {
        self.json.pointer(pointer).filter(|value| !value.is_null())
    }

    /// The string at a JSON pointer, or an empty one.
    pub fn text(&self, pointer: &str) -> &str {
        self.at(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// The number at a JSON pointer.
    pub fn number(&self, pointer: &str) -> Option<i64> {
        self.at(pointer).and_then(Value::as_i64)
    }

    /// The list at a JSON pointer, or an empty one.
    pub fn list(&self, pointer: &str) -> &[Value] {
        self.at(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The moment at a JSON pointer.
    pub fn time(&self, pointer: &str) -> Option<Timestamp> {
        self.at(pointer).and_then(time_of)
    }

    /// `apps/v1`.
    pub fn api_version(&self) -> &str {
        self.text("/apiVersion")
    }

    /// `Deployment`.
    pub fn kind(&self) -> &str {
        self.text("/kind")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.meta.name.as_deref().unwrap_or_default()
    }

    /// Its namespace; empty for a kind that lives in none.
    pub fn namespace(&self) -> &str {
        self.meta.namespace.as_deref().unwrap_or_default()
    }

    /// Its uid; empty for an object that was never in a cluster.
    pub fn uid(&self) -> &str {
        self.meta.uid.as_deref().unwrap_or_default()
    }

    /// The version by which the API server tells two states of the object apart.
    pub fn resource_version(&self) -> &str {
        self.meta.resource_version.as_deref().unwrap_or_default()
    }

    /// When it was created.
    pub fn created(&self) -> Option<Timestamp> {
        self.time("/metadata/creationTimestamp")
    }

    /// Whether its deletion has been asked for.
    pub fn is_terminating(&self) -> bool {
        self.at("/metadata/deletionTimestamp").is_some()
    }

    /// A label's value.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.json.get("metadata")?.get("labels")?.get(name)?.as_str()
    }

    /// An annotation's value.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.json.get("metadata")?.get("annotations")?.get(name)?.as_str()
    }

    /// The kind and uid of the controller that made it.
    pub fn controller(&self) -> Option<(&str, &str)> {
        self.list("/metadata/ownerReferences").iter().find_map(|owner| {
            let is_controller = owner.get("controller").and_then(Value::as_bool).unwrap_or(false);
            is_controller.then(|| Some((owner.get("kind")?.as_str()?, owner.get("uid")?.as_str()?)))?
        })
    }

    /// The condition of a type: its status, reason and message.
    pub fn condition(&self, kind: &str) -> Option<Condition<'_>> {
        self.conditions().find(|condition| condition.kind == kind)
    }

    /// All conditions in the object's status.
    pub fn conditions(&self) -> impl Iterator<Item = Condition<'_>> {
        self.list("/status/conditions").iter().map(|json| {
            let text = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or_default();
            Condition {
                kind: text("type"),
                status: text("status"),
                reason: text("reason"),
                message: text("message"),
                since: json.get("lastTransitionTime").and_then(time_of),
                observed_generation: json.get("observedGeneration").and_then(Value::as_i64),
            }
        })
    }

    /// Which object it is.
    pub fn reference(&self) -> ObjectRef {
        ObjectRef {
            api_version: self.api_version().to_owned(),
            kind: self.kind().to_owned(),
            namespace: self.namespace().to_owned(),
            name: self.name().to_owned(),
        }
    }
}

/// A condition from an object's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition<'a> {
    /// Its type, such as `Available`.
    pub kind: &'a str,
    /// `True`, `False` or `Unknown`.
    pub status: &'a str,
    /// One word.
    pub reason: &'a str,
    /// A sentence.
    pub message: &'a str,
    /// When its status changed last.
    pub since: Option<Timestamp>,
    /// The generation it speaks of.
    pub observed_generation: Option<i64>,
}

impl Condition<'_> {
    /// Whether it holds.
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }

    /// Whether it is known not to hold.
    pub fn is_false(&self) -> bool {
        self.status == "False"
    }
}

/// A timestamp as the API writes it.
pub(crate) fn time_of(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

impl fmt::Debug for Object {
    // Never the content: it may be a Secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({} {}/{})", self.kind(), self.namespace(), self.name())
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::new)
    }
}

impl kube::Resource for Object {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}
