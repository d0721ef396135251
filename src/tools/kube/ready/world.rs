//! What is known of a cluster at one moment, arranged so that the rules find what they need.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::tools::kube::object::{Object, ObjectRef};
use crate::tools::kube::slices;

/// What is known at one moment.
#[derive(Default)]
pub struct World {
    objects: HashMap<(String, String, String), Arc<Object>>,
    pods: Vec<Arc<Object>>,
    pods_of: HashMap<String, Vec<usize>>,
    replica_sets_of: HashMap<String, Vec<Arc<Object>>>,
    events_of: HashMap<String, Vec<Arc<Object>>>,
    /// By the namespace and name of the Service.
    slices_of: HashMap<(String, String), Vec<Arc<Object>>>,
    /// The label sets of the pods that the release's workloads make, with how many each asks for.
    templates: Vec<(Value, i64)>,
}

impl World {
    /// Arranges objects: workloads, pods, events, whatever was read.
    pub fn new(objects: impl IntoIterator<Item = Arc<Object>>) -> Self {
        let mut world = Self::default();
        for object in objects {
            world.add(object);
        }
        world
    }

    fn add(&mut self, object: Arc<Object>) {
        let owner = object.controller().map(|(_, uid)| uid.to_owned());
        match object.kind() {
            "Pod" => {
                if let Some(owner) = owner {
                    self.pods_of.entry(owner).or_default().push(self.pods.len());
                }
                self.pods.push(Arc::clone(&object));
            }
            "Event" => {
                let uid = object.text("/involvedObject/uid");
                // Some controllers name the object and not its uid.
                let key = if uid.is_empty() { object.text("/involvedObject/name") } else { uid }.to_owned();
                self.events_of.entry(key).or_default().push(object);
                return;
            }
            "EndpointSlice" => {
                let service = (object.namespace().to_owned(), slices::service_of(&object).to_owned());
                self.slices_of.entry(service).or_default().push(Arc::clone(&object));
            }
            "ReplicaSet" => {
                if let Some(owner) = owner {
                    self.replica_sets_of.entry(owner).or_default().push(Arc::clone(&object));
                }
            }
            _ => {}
        }
        let key = key(object.kind(), object.namespace(), object.name());
        self.objects.insert(key, object);
    }

    /// Says which pods the release's workloads make; services are judged by that.
    pub fn expect<'a>(&mut self, manifest: impl IntoIterator<Item = &'a Object>) {
        for object in manifest {
            let labels = match object.kind() {
                "Pod" => object.at("/metadata/labels"),
                _ => object.at("/spec/template/metadata/labels"),
            };
            if let Some(labels) = labels {
                let asked = object.number("/spec/replicas").unwrap_or(1);
                self.templates.push((labels.clone(), asked));
            }
        }
    }

    /// An object as it is now.
    pub fn find(&self, object: &ObjectRef) -> Option<&Arc<Object>> {
        self.objects.get(&key(&object.kind, &object.namespace, &object.name))
    }

    /// An object by kind and name.
    pub(super) fn named(&self, kind: &str, namespace: &str, name: &str) -> Option<&Arc<Object>> {
        self.objects.get(&key(kind, namespace, name))
    }

    /// How many endpoints of a Service are ready.
    pub(super) fn ready_endpoints(&self, namespace: &str, service: &str) -> usize {
        let slices = self.slices_of.get(&(namespace.to_owned(), service.to_owned()));
        slices::count_ready(slices.into_iter().flatten().map(AsRef::as_ref))
    }

    /// The pods that a controller made, by its uid.
    pub(super) fn pods_of(&self, uid: &str) -> impl Iterator<Item = &Arc<Object>> {
        self.pods_of.get(uid).into_iter().flatten().filter_map(|at| self.pods.get(*at))
    }

    /// The pods of a namespace that carry all these labels.
    pub(super) fn pods_with<'a>(&'a self, namespace: &'a str, selector: &'a Value) -> impl Iterator<Item = &'a Object> {
        self.pods.iter().map(AsRef::as_ref).filter(move |pod| {
            pod.namespace() == namespace && pod.at("/metadata/labels").is_some_and(|labels| selects(selector, labels))
        })
    }

    /// The replica sets of a deployment, the newest first.
    pub(super) fn replica_sets_of(&self, uid: &str) -> Vec<&Arc<Object>> {
        let mut sets = self.replica_sets_of.get(uid).map(|sets| sets.iter().collect::<Vec<_>>()).unwrap_or_default();
        let revision = |set: &Object| {
            set.annotation("deployment.kubernetes.io/revision").and_then(|revision| revision.parse::<u64>().ok())
        };
        sets.sort_by_key(|set| std::cmp::Reverse((revision(set), set.created())));
        sets
    }

    /// The warnings about an object, the newest first.
    pub fn events_of(&self, object: &Object) -> Vec<&Arc<Object>> {
        let mut events = [object.uid(), object.name()]
            .into_iter()
            .filter_map(|key| self.events_of.get(key))
            .flatten()
            .filter(|event| event.text("/involvedObject/kind") == object.kind())
            .collect::<Vec<_>>();
        events.sort_by_key(|event| std::cmp::Reverse(event_time(event)));
        events
    }

    /// The newest warning about an object with one of these reasons.
    pub(super) fn event(&self, object: &Object, reasons: &[&str]) -> Option<&Arc<Object>> {
        self.events_of(object).into_iter().find(|event| reasons.contains(&event.text("/reason")))
    }

    /// How many pods the release's workloads ask for that a service selects. None when no workload has such pods.
    pub(super) fn expected_behind(&self, selector: &Value) -> Option<i64> {
        let counts = self.templates.iter().filter(|(labels, _)| selects(selector, labels)).map(|(_, count)| *count);
        counts.reduce(|sum, count| sum + count)
    }

    /// Whether the release has workloads at all.
    pub(super) fn has_workloads(&self) -> bool {
        !self.templates.is_empty()
    }
}

/// When an event happened last.
pub(super) fn event_time(event: &Object) -> Option<jiff::Timestamp> {
    event.time("/lastTimestamp").or_else(|| event.time("/series/lastObservedTime")).or_else(|| event.time("/eventTime"))
}

fn key(kind: &str, namespace: &str, name: &str) -> (String, String, String) {
    (kind.to_owned(), namespace.to_owned(), name.to_owned())
}

/// Whether a set of labels has all that a selector asks for.
fn selects(selector: &Value, labels: &Value) -> bool {
    selector.as_object().is_some_and(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)))
}
