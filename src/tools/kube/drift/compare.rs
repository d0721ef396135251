//! Whether a live object is what its manifest says. Pure.
//!
//! The manifest is compared as a subset: each field that it sets has to be so in the live object. Fields that only the live
//! object has are the business of defaults, controllers and other tools. Helm upgrades by the same rule (a merge that leaves
//! alone what the manifest never named), so that what is called drift here is exactly what the next upgrade repairs: a
//! difference that no apply takes away would be found again forever. Lists whose items the API does not tell apart are
//! replaced whole, so that there nothing may be added either.
//!
//! Nothing is forgiven here, not even that the API drops what is empty: what it made of a manifest is remembered instead
//! ([`mod@super::settle`]), since absent is not the same as `false` everywhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde_json::{Map, Value};

use super::lists;
use crate::tools::kube::object::{Object, group_of};

/// A field that is not what the manifest says.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// `spec.template.spec.containers[web].image`.
    pub path: String,
    /// What the manifest says; null when it says nothing. Of a Secret only that there is something.
    pub wanted: Value,
    /// What there is. None when there is nothing.
    pub live: Option<Value>,
}

/// What is known from outside of the object.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known {
    /// An autoscaler decides how many replicas there are.
    pub autoscaled: bool,
}

/// The fields of `live` that are not what `manifest` says.
pub fn compare(manifest: &Object, live: &Object, known: Known) -> Vec<Difference> {
    let mut comparison = Comparison::of(manifest);
    for (key, wanted) in said(manifest, known) {
        match key.as_str() {
            "metadata" => {
                for part in ["labels", "annotations"] {
                    if let Some(wanted) = wanted.get(part) {
                        let live = live.json().get("metadata").and_then(|m| m.get(part));
                        comparison.value(wanted, live, &format!("metadata.{part}"), Extras::Allowed);
                    }
                }
            }
            "data" if comparison.secret => {}
            _ => comparison.value(&wanted, live.json().get(&key), &key, Extras::Allowed),
        }
    }
    if comparison.secret {
        comparison.secret_data(manifest, live);
    }
    comparison.found
}

/// What has to be merged into `live` so that it is what `manifest` says: lists whole, the rest field by field.
pub(super) fn patch(manifest: &Object, live: &Object, known: Known) -> Map<String, Value> {
    let mut patch = Map::new();
    for (key, mut wanted) in said(manifest, known) {
        if let ("metadata", Some(metadata)) = (key.as_str(), wanted.as_object_mut()) {
            metadata.retain(|part, _| matches!(part.as_str(), "labels" | "annotations"));
        }
        patch.extend(change(manifest, &wanted, live.json().get(&key), &key).map(|value| (key, value)));
    }
    patch
}

fn change(manifest: &Object, wanted: &Value, live: Option<&Value>, path: &str) -> Option<Value> {
    let mut comparison = Comparison::of(manifest);
    comparison.value(wanted, live, path, Extras::Allowed);
    if comparison.found.is_empty() {
        return None;
    }
    match (wanted, live) {
        (Value::Object(wanted), Some(live @ Value::Object(_))) => {
            let fields = wanted.iter().filter_map(|(key, wanted)| {
                Some((key.clone(), change(manifest, wanted, live.get(key), &join(path, key))?))
            });
            Some(Value::Object(fields.collect()))
        }
        _ => Some(wanted.clone()),
    }
}

/// What a manifest says of its object, but for what is not the manifest's to say.
fn said(manifest: &Object, known: Known) -> Vec<(String, Value)> {
    let aggregated = manifest.at("/aggregationRule").is_some();
    let fields = manifest.json().as_object().into_iter().flatten();
    let fields = fields.filter(|(key, _)| match key.as_str() {
        "apiVersion" | "kind" | "status" | "stringData" => false,
        // A controller collects them.
        "rules" => !aggregated,
        _ => true,
    });
    let fields = fields.map(|(key, value)| {
        let mut value = value.clone();
        if key == "spec"
            && known.autoscaled
            && let Some(spec) = value.as_object_mut()
        {
            spec.shift_remove("replicas");
        }
        (key.clone(), value)
    });
    fields.collect()
}

/// Whether Helm knows the kind's fields. It then compares with the live object when it upgrades; of all others only the old
/// manifest with the new one.
pub(super) fn is_known_to_helm(object: &Object) -> bool {
    matches!(
        group_of(object.api_version()),
        "" | "admissionregistration.k8s.io"
            | "apps"
            | "authentication.k8s.io"
            | "authorization.k8s.io"
            | "autoscaling"
            | "batch"
            | "certificates.k8s.io"
            | "coordination.k8s.io"
            | "discovery.k8s.io"
            | "events.k8s.io"
            | "extensions"
            | "flowcontrol.apiserver.k8s.io"
            | "networking.k8s.io"
            | "node.k8s.io"
            | "policy"
            | "rbac.authorization.k8s.io"
            | "resource.k8s.io"
            | "scheduling.k8s.io"
            | "storage.k8s.io"
    )
}

/// What Argo Rollouts adds to the selectors of services while it shifts traffic.
pub(super) const ROLLOUT_LABEL: &str = "rollouts-pod-template-hash";

/// Whether the live object may have fields that the manifest does not name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extras {
    Allowed,
    /// Within a list that an upgrade replaces.
    Told,
}

struct Comparison<'a> {
    found: Vec<Difference>,
    kind: &'a str,
    secret: bool,
    service: bool,
    /// What the items of lists may have beside what the manifest names.
    within_lists: Extras,
}

impl<'a> Comparison<'a> {
    fn of(manifest: &'a Object) -> Self {
        let kind = manifest.kind();
        let core = group_of(manifest.api_version()).is_empty();
        let within_lists = if is_known_to_helm(manifest) { Extras::Told } else { Extras::Allowed };
        Self {
            found: Vec::new(),
            kind,
            secret: core && kind == "Secret",
            service: core && kind == "Service",
            within_lists,
        }
    }

    fn differ(&mut self, path: &str, wanted: &Value, live: Option<&Value>) {
        self.found.push(Difference { path: path.to_owned(), wanted: wanted.clone(), live: live.cloned() });
    }

    fn value(&mut self, wanted: &Value, live: Option<&Value>, path: &str, extras: Extras) {
        match (wanted, live.filter(|live| !live.is_null())) {
            // "Leave it to the cluster."
            (Value::Null, _) => {}
            (Value::Object(wanted), Some(Value::Object(live))) => self.object(wanted, live, path, extras),
            (Value::Array(wanted), Some(Value::Array(live))) => self.list(wanted, live, path),
            (Value::Number(wanted), Some(Value::Number(live))) if wanted.as_f64() == live.as_f64() => {}
            (wanted, Some(live)) if wanted == live => {}
            (wanted, live) => self.differ(path, wanted, live),
        }
    }

    fn object(&mut self, wanted: &Map<String, Value>, live: &Map<String, Value>, path: &str, extras: Extras) {
        for (key, value) in wanted {
            if !self.is_filled_in_later(key, value) {
                self.value(value, live.get(key), &join(path, key), extras);
            }
        }
        // One label more, and a service finds other pods, or none.
        if extras == Extras::Told || (self.service && path == "spec.selector") {
            let added = live
                .iter()
                .filter(|(key, value)| !value.is_null() && !wanted.contains_key(*key) && key.as_str() != ROLLOUT_LABEL);
            for (key, value) in added {
                self.differ(&join(path, key), &Value::Null, Some(value));
            }
        }
    }

    /// What controllers put, some time after the upgrade, where the chart leaves it open.
    fn is_filled_in_later(&self, key: &str, value: &Value) -> bool {
        match key {
            "caBundle" => {
                self.kind.ends_with("WebhookConfiguration")
                    || matches!(self.kind, "CustomResourceDefinition" | "APIService")
            }
            "volumeName" => self.kind == "PersistentVolumeClaim" && value == "",
            "nodeName" => self.kind == "Pod" && value == "",
            _ => false,
        }
    }

    fn list(&mut self, wanted: &[Value], live: &[Value], path: &str) {
        let key = lists::merge_key(path);
        // Merged with what is there, an empty list says as much as none.
        if key.is_some() && wanted.is_empty() {
            return;
        }
        if let Some(key) = key.filter(|key| key.tells_apart(wanted) && key.tells_apart(live)) {
            for item in wanted {
                let name = key.of(item);
                let found = live.iter().find(|live| key.of(live) == name);
                self.value(item, found, &format!("{path}[{}]", name.unwrap_or_default()), Extras::Allowed);
            }
            if self.service && path == "spec.ports" {
                let added = live.iter().filter(|live| !wanted.iter().any(|wanted| key.of(wanted) == key.of(live)));
                for item in added {
                    let path = format!("{path}[{}]", key.of(item).unwrap_or_default());
                    self.differ(&path, &Value::Null, Some(item));
                }
            }
            return;
        }
        if wanted.len() != live.len() || lists::in_order_of(wanted, live).is_some() {
            self.differ(path, &Value::Array(wanted.to_vec()), Some(&Value::Array(live.to_vec())));
            return;
        }
        for (at, (wanted, live)) in wanted.iter().zip(live).enumerate() {
            self.value(wanted, Some(live), &format!("{path}[{at}]"), self.within_lists);
        }
    }

    /// The values of a Secret, never shown.
    fn secret_data(&mut self, manifest: &Object, live: &Object) {
        let wanted = secret_data(manifest);
        let decoded = |value: &Value| {
            let text: String = value.as_str()?.chars().filter(|c| !c.is_whitespace()).collect();
            BASE64.decode(text).ok()
        };
        for (key, value) in wanted.iter().filter(|(_, value)| !value.is_null()) {
            let live = live.at("/data").and_then(|data| data.get(key));
            if live.is_none_or(|live| decoded(live) != decoded(value)) {
                let path = join("data", key);
                self.differ(&path, &masked(), live.map(|_| masked()).as_ref());
            }
        }
    }
}

/// The values of a Secret, encoded, whichever way they were written.
pub(in crate::tools::kube) fn secret_data(secret: &Object) -> Map<String, Value> {
    let mut data = secret.at("/data").and_then(Value::as_object).cloned().unwrap_or_default();
    if let Some(text) = secret.at("/stringData").and_then(Value::as_object) {
        // As the API does: plain text wins over encoded.
        data.extend(
            text.iter()
                .map(|(key, value)| (key.clone(), Value::String(BASE64.encode(value.as_str().unwrap_or_default())))),
        );
    }
    data
}

fn masked() -> Value {
    Value::String("[secret]".to_owned())
}

pub(in crate::tools::kube) fn join(path: &str, key: &str) -> String {
    // A key with points of its own, such as a label, would not be told apart from a path.
    if key.contains('.') || key.contains('/') { format!("{path}[{key}]") } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn differences(manifest: &Value, live: &Value) -> Vec<String> {
        let found = compare(&Object::new(manifest.clone()), &Object::new(live.clone()), Known::default());
        found
            .iter()
            .map(|d| {
                format!("{}: {} -> {}", d.path, d.wanted, d.live.as_ref().map_or("nothing".into(), Value::to_string))
            })
            .collect()
    }

    fn manifest() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "a", "labels": {"app.kubernetes.io/name": "web"}, "creationTimestamp": null},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}, "annotations": null},
                    "spec": {
                        "hostNetwork": false,
                        "securityContext": {},
                        "tolerations": [],
                        "containers": [{
                            "name": "web", "image": "todo:1", "args": ["a", "b"],
                            "env": [{"name": "A", "value": "1"}, {"name": "EMPTY", "value": ""}],
                            "ports": [{"containerPort": 80}],
                            "resources": {"limits": {"cpu": 1, "memory": "1024Mi"}, "requests": {"cpu": "0.5"}},
                        }],
                    },
                },
            },
        })
    }

    fn live() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "a", "uid": "u", "generation": 3,
                "labels": {"app.kubernetes.io/name": "web", "app.kubernetes.io/managed-by": "Helm"},
                "annotations": {"meta.helm.sh/release-name": "web", "deployment.kubernetes.io/revision": "1"}},
            "spec": {
                "replicas": 1, "progressDeadlineSeconds": 600,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}, "annotations": {"kubectl.kubernetes.io/restartedAt": "now"}},
                    "spec": {
                        "dnsPolicy": "ClusterFirst",
                        "containers": [
                            {"name": "sidecar", "image": "proxy"},
                            {"name": "web", "image": "todo:1", "args": ["a", "b"], "imagePullPolicy": "IfNotPresent",
                            "env": [{"name": "EMPTY"}, {"name": "A", "value": "1"}],
                            "ports": [{"containerPort": 80, "protocol": "TCP"}],
                            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}},
                        ],
                    },
                },
            },
            "status": {"replicas": 1},
        })
    }

    #[test]
    fn what_the_api_did_not_keep_as_it_was_written_is_told() {
        assert_eq!(
            differences(&manifest(), &live()),
            [
                "spec.template.spec.hostNetwork: false -> nothing",
                "spec.template.spec.securityContext: {} -> nothing",
                "spec.template.spec.tolerations: [] -> nothing",
                "spec.template.spec.containers[web].env[EMPTY].value: \"\" -> nothing",
                "spec.template.spec.containers[web].resources.limits.cpu: 1 -> \"1\"",
                "spec.template.spec.containers[web].resources.limits.memory: \"1024Mi\" -> \"1Gi\"",
                "spec.template.spec.containers[web].resources.requests.cpu: \"0.5\" -> \"500m\"",
            ]
        );
    }

    /// Each with what there was before somebody edited it, and what is there then.
    #[test]
    fn every_edit_that_an_upgrade_repairs_is_seen() {
        let cases = [
            // An absent field of a volume, and of much else, is not the same as an empty one.
            (
                "v1",
                "Pod",
                json!({"spec": {"volumes": [{"name": "s", "emptyDir": {}}]}}),
                json!({"spec": {"volumes": [{"name": "s", "hostPath": {"path": "/"}}]}}),
                "spec.volumes[s].emptyDir",
            ),
            (
                "v1",
                "Pod",
                json!({"spec": {"automountServiceAccountToken": false}}),
                json!({"spec": {}}),
                "spec.automountServiceAccountToken",
            ),
            (
                "v1",
                "Pod",
                json!({"spec": {"securityContext": {"runAsUser": 0}}}),
                json!({"spec": {"securityContext": {}}}),
                "spec.securityContext.runAsUser",
            ),
            (
                "policy/v1",
                "PodDisruptionBudget",
                json!({"spec": {"maxUnavailable": 0}}),
                json!({"spec": {"minAvailable": 0}}),
                "spec.maxUnavailable",
            ),
            ("v1", "ConfigMap", json!({"data": {"empty": "", "a": "b"}}), json!({"data": {"a": "b"}}), "data.empty"),
            ("v1", "Secret", json!({"data": {"empty": ""}}), json!({}), "data.empty"),
            // An empty list is replaced as any other; one that is merged is not.
            (
                "v1",
                "Pod",
                json!({"spec": {"containers": [{"name": "c", "args": []}]}}),
                json!({"spec": {"containers": [{"name": "c", "args": ["evil"]}]}}),
                "spec.containers[c].args",
            ),
            ("v1", "Pod", json!({"spec": {"volumes": []}}), json!({"spec": {"volumes": [{"name": "token"}]}}), ""),
            (
                "rbac.authorization.k8s.io/v1",
                "ClusterRole",
                json!({"rules": []}),
                json!({"rules": [{"verbs": ["*"]}]}),
                "rules",
            ),
            (
                "rbac.authorization.k8s.io/v1",
                "ClusterRole",
                json!({"aggregationRule": {}, "rules": []}),
                json!({"aggregationRule": {}, "rules": [{"verbs": ["*"]}]}),
                "",
            ),
            // What is replaced as a whole may not have anything added, neither items nor fields of them.
            (
                "networking.k8s.io/v1",
                "NetworkPolicy",
                json!({"spec": {"ingress": [{"ports": [{"port": 80}]}]}}),
                json!({"spec": {"ingress": [{"ports": [{"port": 80}, {"port": 22}]}]}}),
                "spec.ingress[0].ports",
            ),
            (
                "networking.k8s.io/v1",
                "NetworkPolicy",
                json!({"spec": {"ingress": [{"from": [{"podSelector": {}}]}]}}),
                json!({"spec": {"ingress": [{"from": [{"podSelector": {}, "namespaceSelector": {}}]}]}}),
                "spec.ingress[0].from[0].namespaceSelector",
            ),
            (
                "rbac.authorization.k8s.io/v1",
                "RoleBinding",
                json!({"subjects": [{"kind": "ServiceAccount", "name": "d"}]}),
                json!({"subjects": [{"kind": "ServiceAccount", "name": "d", "namespace": "kube-system"}]}),
                "subjects[0].namespace",
            ),
            // Nobody knows the kind but its own operator, which may well add to a list's items.
            (
                "a.example/v1",
                "Thing",
                json!({"spec": {"list": [{"a": 1}]}}),
                json!({"spec": {"list": [{"a": 1, "b": 2}]}}),
                "",
            ),
            // What names mean elsewhere says nothing where they are the user's.
            (
                "v1",
                "ConfigMap",
                json!({"data": {"caBundle": "a"}}),
                json!({"data": {"caBundle": "b"}}),
                "data.caBundle",
            ),
            (
                "admissionregistration.k8s.io/v1",
                "ValidatingWebhookConfiguration",
                json!({"webhooks": [{"name": "w", "clientConfig": {"caBundle": ""}}]}),
                json!({"webhooks": [{"name": "w", "clientConfig": {"caBundle": "b"}}]}),
                "",
            ),
            ("v1", "ConfigMap", json!({"data": {"protocol": ""}}), json!({"data": {"protocol": "x"}}), "data.protocol"),
            ("v1", "ConfigMap", json!({"data": {"max": "1000m"}}), json!({"data": {"max": "1"}}), "data.max"),
            (
                "v1",
                "ConfigMap",
                json!({"data": {"memory.max": "1024Mi"}}),
                json!({"data": {"memory.max": "1Gi"}}),
                "data[memory.max]",
            ),
            (
                "v1",
                "Pod",
                json!({"spec": {"containers": [{"name": "c", "env": [{"name": "max", "value": "1.0"}]}]}}),
                json!({"spec": {"containers": [{"name": "c", "env": [{"name": "max", "value": "1"}]}]}}),
                "spec.containers[c].env[max].value",
            ),
            // What finds the pods of a service is told whole, and so is where it listens.
            (
                "v1",
                "Service",
                json!({"spec": {"selector": {"app": "web"}}}),
                json!({"spec": {"selector": {"app": "web", "extra": "x", "rollouts-pod-template-hash": "a"}}}),
                "spec.selector.extra",
            ),
            (
                "v1",
                "Service",
                json!({"spec": {"ports": [{"port": 80}]}}),
                json!({"spec": {"ports": [{"port": 80, "protocol": "TCP"}, {"port": 22, "protocol": "TCP"}]}}),
                "spec.ports[22]",
            ),
            // The same in another order is told once, and as such.
            (
                "autoscaling/v2beta2",
                "HorizontalPodAutoscaler",
                json!({"spec": {"metrics": [{"resource": {"name": "cpu"}}, {"resource": {"name": "memory"}}]}}),
                json!({"spec": {"metrics": [{"resource": {"name": "memory"}}, {"resource": {"name": "cpu"}}]}}),
                "spec.metrics",
            ),
            // What is bound later is no edit.
            (
                "v1",
                "PersistentVolumeClaim",
                json!({"spec": {"volumeName": ""}}),
                json!({"spec": {"volumeName": "pv"}}),
                "",
            ),
        ];
        for (version, kind, wanted, live, expected) in cases {
            let object = |fields: &Value| {
                let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "o"}});
                let fields = fields.as_object().into_iter().flatten();
                object.as_object_mut().unwrap().extend(fields.map(|(key, value)| (key.clone(), value.clone())));
                Object::new(object)
            };
            let found = compare(&object(&wanted), &object(&live), Known::default());
            let paths = found.iter().map(|difference| difference.path.as_str()).collect::<Vec<_>>();
            let expected = Some(expected).filter(|path| !path.is_empty()).into_iter().collect::<Vec<_>>();
            assert_eq!(paths, expected, "{kind} {wanted}");
        }
    }

    #[test]
    fn edits_are_named_by_their_field() {
        let mut edited = live();
        edited["spec"]["replicas"] = json!(3);
        let web = &mut edited["spec"]["template"]["spec"]["containers"][1];
        web["image"] = json!("todo:2");
        web["args"] = json!(["a"]);
        web["env"] = json!([{"name": "A", "value": "2"}]);
        web["resources"]["limits"]["memory"] = json!("2Gi");
        edited["metadata"]["labels"]["app.kubernetes.io/name"] = json!("other");
        let untouched = differences(&manifest(), &live());
        let mut found = differences(&manifest(), &edited);
        found.retain(|difference| !untouched.contains(difference));
        assert_eq!(
            found,
            [
                "metadata.labels[app.kubernetes.io/name]: \"web\" -> \"other\"",
                "spec.replicas: 1 -> 3",
                "spec.template.spec.containers[web].image: \"todo:1\" -> \"todo:2\"",
                "spec.template.spec.containers[web].args: [\"a\",\"b\"] -> [\"a\"]",
                "spec.template.spec.containers[web].env[A].value: \"1\" -> \"2\"",
                "spec.template.spec.containers[web].env[EMPTY]: {\"name\":\"EMPTY\",\"value\":\"\"} -> nothing",
                "spec.template.spec.containers[web].resources.limits.memory: \"1024Mi\" -> \"2Gi\"",
            ]
        );
    }

    #[test]
    fn an_autoscaler_may_scale() {
        let mut scaled = live();
        scaled["spec"]["replicas"] = json!(7);
        let found = compare(&Object::new(manifest()), &Object::new(scaled), Known { autoscaled: true });
        assert!(found.iter().all(|difference| difference.path != "spec.replicas"), "{found:?}");
    }

    #[test]
    fn secrets_are_compared_and_never_shown() {
        let manifest = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
            "data": {"a": "aHVu\ndGVyMg==", "b": "eA=="}, "stringData": {"c": "hunter2"}});
        let live = |a: &str, c: &str| {
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "type": "Opaque",
                "data": {"a": BASE64.encode(a), "b": "eA==", "c": BASE64.encode(c), "extra": "eA=="}})
        };
        assert_eq!(differences(&manifest, &live("hunter2", "hunter2")), [""; 0]);
        assert_eq!(
            differences(&manifest, &live("hunter3", "x")),
            ["data.a: \"[secret]\" -> \"[secret]\"", "data.c: \"[secret]\" -> \"[secret]\""]
        );
    }
}
