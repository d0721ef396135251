//! Whether a live object is what its manifest says. Pure.
//!
//! The manifest is compared as a subset: each field that it sets has to have the same meaning in the live object. Fields
//! that only the live object has are the business of defaults, controllers and other tools. Helm upgrades by the same
//! rule (a merge that leaves alone what the manifest never named), so that what is called drift here is exactly what the
//! next upgrade repairs: a difference that no apply takes away would be found again forever.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde_json::{Map, Value};

use super::quantity;
use crate::tools::kube::object::Object;

/// A field that is not what the manifest says.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// `spec.template.spec.containers[web].image`.
    pub path: String,
    /// What the manifest says. Of a Secret only that there is something.
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
    let mut comparison =
        Comparison { found: Vec::new(), secret: manifest.kind() == "Secret" && manifest.group_is_core() };
    let Some(wanted) = manifest.json().as_object() else { return Vec::new() };
    for (key, value) in wanted {
        match key.as_str() {
            "apiVersion" | "kind" | "status" | "stringData" => {}
            "metadata" => {
                for part in ["labels", "annotations"] {
                    if let Some(value) = value.get(part) {
                        comparison.value(
                            value,
                            live.json().get("metadata").and_then(|m| m.get(part)),
                            &format!("metadata.{part}"),
                        );
                    }
                }
            }
            "data" if comparison.secret => {}
            "spec" if known.autoscaled => {
                let mut spec = value.clone();
                spec.as_object_mut().and_then(|spec| spec.shift_remove("replicas"));
                comparison.value(&spec, live.json().get("spec"), "spec");
            }
            _ => comparison.value(value, live.json().get(key), key),
        }
    }
    if comparison.secret {
        comparison.secret_data(manifest, live);
    }
    comparison.found
}

impl Object {
    fn group_is_core(&self) -> bool {
        !self.api_version().contains('/')
    }
}

struct Comparison {
    found: Vec<Difference>,
    secret: bool,
}

impl Comparison {
    fn differ(&mut self, path: &str, wanted: &Value, live: Option<&Value>) {
        self.found.push(Difference { path: path.to_owned(), wanted: wanted.clone(), live: live.cloned() });
    }

    fn value(&mut self, wanted: &Value, live: Option<&Value>, path: &str) {
        let live = live.filter(|live| !live.is_null());
        match (wanted, live) {
            // "Leave it to the cluster."
            (Value::Null, _) => {}
            (Value::Object(wanted), Some(Value::Object(live))) => self.object(wanted, live, path),
            (Value::Array(wanted), Some(Value::Array(live))) => self.list(wanted, live, path),
            // The API does not keep what is empty.
            (wanted, None) if is_nothing(wanted) => {}
            (wanted, None) => self.differ(path, wanted, None),
            (Value::String(text), Some(_)) if text.is_empty() && is_filled_in(path) => {}
            (wanted, Some(live)) if same_scalar(wanted, live, path) => {}
            (wanted, Some(live)) => self.differ(path, wanted, Some(live)),
        }
    }

    fn object(&mut self, wanted: &Map<String, Value>, live: &Map<String, Value>, path: &str) {
        for (key, value) in wanted {
            // Injected by controllers into what the chart leaves open.
            if key == "caBundle" || (key == "nodePort" && value == 0) {
                continue;
            }
            self.value(value, live.get(key), &join(path, key));
        }
    }

    fn list(&mut self, wanted: &[Value], live: &[Value], path: &str) {
        // An empty list in a manifest says as much as none: upgrades leave alone what is there.
        if wanted.is_empty() {
            return;
        }
        if let Some(key) = merge_key(path, wanted, live) {
            for item in wanted {
                let name = key.of(item);
                let found = live.iter().find(|live| key.of(live) == name);
                self.value(item, found, &format!("{path}[{}]", name.unwrap_or_default()));
            }
            return;
        }
        if wanted.len() != live.len() {
            self.differ(path, &Value::Array(wanted.to_vec()), Some(&Value::Array(live.to_vec())));
            return;
        }
        for (at, (wanted, live)) in wanted.iter().zip(live).enumerate() {
            self.value(wanted, Some(live), &format!("{path}[{at}]"));
        }
    }

    /// The values of a Secret, never shown.
    fn secret_data(&mut self, manifest: &Object, live: &Object) {
        let wanted = secret_data(manifest);
        let decoded = |value: &Value| {
            let text: String = value.as_str()?.chars().filter(|c| !c.is_whitespace()).collect();
            BASE64.decode(text).ok()
        };
        for (key, value) in &wanted {
            let live = live.at("/data").and_then(|data| data.get(key));
            let same = match live {
                Some(live) => decoded(live) == decoded(value),
                None => value.is_null() || value.as_str() == Some(""),
            };
            if !same {
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

pub(super) fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(yes) => !yes,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(Value::is_null),
        Value::Object(map) => map.values().all(is_nothing),
    }
}

/// Fields in which an empty text asks the cluster to choose.
pub(super) fn is_filled_in(path: &str) -> bool {
    let last = path.rsplit('.').next().unwrap_or(path);
    matches!(
        last,
        "clusterIP"
            | "loadBalancerIP"
            | "volumeName"
            | "imagePullPolicy"
            | "restartPolicy"
            | "dnsPolicy"
            | "schedulerName"
            | "serviceAccountName"
            | "type"
            | "protocol"
    )
}

pub(super) fn same_scalar(wanted: &Value, live: &Value, path: &str) -> bool {
    if wanted == live {
        return true;
    }
    match (wanted, live) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        // `cpu: 1` comes back as "1".
        (Value::Number(a), Value::String(b)) => is_quantity(path) && quantity::same(&a.to_string(), b),
        (Value::String(a), Value::String(b)) => is_quantity(path) && quantity::same(a, b),
        _ => false,
    }
}

fn is_quantity(path: &str) -> bool {
    const WHERE: [&str; 11] = [
        "limits",
        "requests",
        "hard",
        "capacity",
        "overhead",
        "sizeLimit",
        "divisor",
        "averageValue",
        "default",
        "max",
        "min",
    ];
    path.split(['.', '[', ']']).any(|part| WHERE.contains(&part) || part == "defaultRequest")
}

/// By which fields the items of a list are known.
#[derive(Clone, Copy)]
pub(super) struct MergeKey {
    field: &'static str,
    /// A second field, and what it is when it is not set.
    second: Option<(&'static str, &'static str)>,
}

impl MergeKey {
    pub(super) fn of(self, item: &Value) -> Option<String> {
        let text = |field: &str| match field.split('.').try_fold(item, |item, part| item.get(part))? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let first = text(self.field)?;
        Some(match self.second {
            Some((second, default)) => {
                let second = text(second).unwrap_or_else(|| default.to_owned());
                if second == default { first } else { format!("{first}/{second}") }
            }
            None => first,
        })
    }
}

/// How the API tells the items of a list apart, as its strategic merge does. None when it goes by their order.
pub(super) fn merge_key(path: &str, wanted: &[Value], live: &[Value]) -> Option<MergeKey> {
    let name = path.rsplit('.').next().unwrap_or(path);
    let name = name.split('[').next().unwrap_or(name);
    let key = |field| MergeKey { field, second: None };
    let key = match name {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets"
        | "secrets" => key("name"),
        "volumeMounts" => key("mountPath"),
        "volumeDevices" => key("devicePath"),
        "volumeClaimTemplates" => key("metadata.name"),
        "hostAliases" => key("ip"),
        "topologySpreadConstraints" => {
            MergeKey { field: "topologyKey", second: Some(("whenUnsatisfiable", "DoNotSchedule")) }
        }
        "ports" if path.contains("ontainers[") => {
            MergeKey { field: "containerPort", second: Some(("protocol", "TCP")) }
        }
        "ports" => MergeKey { field: "port", second: Some(("protocol", "TCP")) },
        "webhooks" => key("name"),
        _ => return None,
    };
    // A key that is missing or not unique tells nothing apart.
    let unique = |items: &[Value]| {
        let mut keys = items.iter().map(|item| key.of(item)).collect::<Option<Vec<_>>>()?;
        keys.sort();
        let all = keys.len();
        keys.dedup();
        (keys.len() == all).then_some(())
    };
    unique(wanted).and_then(|()| unique(live)).map(|()| key)
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
    fn defaults_and_other_forms_of_the_same_are_no_drift() {
        assert_eq!(differences(&manifest(), &live()), [""; 0]);
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
        assert_eq!(
            differences(&manifest(), &edited),
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
        assert_eq!(found, []);
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

    #[test]
    fn services_get_what_they_did_not_ask_for() {
        let manifest = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {
            "clusterIP": "", "type": "", "ports": [{"port": 80, "targetPort": "http", "nodePort": 0}, {"port": 80, "protocol": "UDP"}]}});
        let mut live = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {
            "clusterIP": "10.96.0.7", "type": "NodePort", "sessionAffinity": "None",
            "ports": [{"port": 80, "protocol": "UDP", "targetPort": 80},
                {"port": 80, "protocol": "TCP", "targetPort": "http", "nodePort": 30080}]}});
        assert_eq!(differences(&manifest, &live), [""; 0]);
        live["spec"]["ports"][1]["targetPort"] = json!(8080);
        assert_eq!(differences(&manifest, &live), ["spec.ports[80].targetPort: \"http\" -> 8080"]);
    }
}
