//! How the API tells the items of lists apart.

use serde_json::Value;

use super::quantity;

/// By which fields the items of a list are known.
#[derive(Debug, Clone, Copy)]
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

    /// Whether each of these items has its key, and no two have the same.
    pub(super) fn tells_apart(self, items: &[Value]) -> bool {
        let Some(mut keys) = items.iter().map(|item| self.of(item)).collect::<Option<Vec<_>>>() else { return false };
        keys.sort();
        keys.windows(2).all(|two| two[0] != two[1])
    }
}

/// How the API tells the items of a list apart, as its strategic merge does. None when the list is replaced as a whole.
pub(super) fn merge_key(path: &str) -> Option<MergeKey> {
    let name = path.rsplit('.').next().unwrap_or(path);
    let name = name.split('[').next().unwrap_or(name);
    let key = |field| Some(MergeKey { field, second: None });
    match name {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets"
        | "matchConditions"
        | "resourceClaims"
        | "schedulingGates" => key("name"),
        "volumeMounts" => key("mountPath"),
        "volumeDevices" => key("devicePath"),
        "volumeClaimTemplates" => key("metadata.name"),
        "hostAliases" => key("ip"),
        "topologySpreadConstraints" => {
            Some(MergeKey { field: "topologyKey", second: Some(("whenUnsatisfiable", "DoNotSchedule")) })
        }
        // Of everything else that is called so, a network policy's for one, nothing is told apart.
        "ports" if path == "spec.ports" => Some(MergeKey { field: "port", second: Some(("protocol", "TCP")) }),
        "ports" if path.ends_with("].ports") && path.contains("ontainers[") => {
            Some(MergeKey { field: "containerPort", second: Some(("protocol", "TCP")) })
        }
        "variables" if path == "spec.variables" => key("name"),
        "secrets" | "webhooks" if path == name => key("name"),
        _ => None,
    }
}

/// Objects of a list in the order in which `wanted` names them; none when they stand so already, or are others. The API
/// keeps some lists in an order of its own.
pub(super) fn in_order_of<'l>(wanted: &[Value], live: &'l [Value]) -> Option<Vec<&'l Value>> {
    let pairs = || wanted.iter().zip(live);
    if wanted.len() != live.len() || !pairs().all(|(wanted, live)| wanted.is_object() && live.is_object()) {
        return None;
    }
    if pairs().all(|(wanted, live)| is_in(wanted, live)) {
        return None;
    }
    let mut left = live.iter().collect::<Vec<_>>();
    wanted.iter().map(|wanted| left.iter().position(|live| is_in(wanted, live)).map(|at| left.remove(at))).collect()
}

/// Whether a value is so in another one, which may say more, and spell a quantity otherwise.
pub(super) fn is_in(wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            wanted.iter().all(|(key, wanted)| wanted.is_null() || live.get(key).is_some_and(|live| is_in(wanted, live)))
        }
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() == live.len() && wanted.iter().zip(live).all(|(wanted, live)| is_in(wanted, live))
        }
        (Value::Number(wanted), Value::Number(live)) => wanted.as_f64() == live.as_f64(),
        (Value::Number(wanted), Value::String(live)) => quantity::same(&wanted.to_string(), live),
        (Value::String(wanted), Value::String(live)) => wanted == live || quantity::same(wanted, live),
        (wanted, live) => wanted == live,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn another_order_is_told_from_other_items() {
        let list = |value: Value| value.as_array().cloned().unwrap();
        let wanted = list(json!([{"a": 1}, {"b": {"c": ["2000m"]}}]));
        let live = list(json!([{"b": {"c": ["2"], "d": 2}}, {"a": 1.0, "e": 1}]));
        assert_eq!(in_order_of(&wanted, &live), Some(vec![&live[1], &live[0]]));
        for same_or_other in
            [json!([{"a": 1, "x": 1}, {"b": {"c": ["2"]}}]), json!([{"a": 2}, {"b": {"c": ["2"]}}]), json!([{"a": 1}])]
        {
            assert_eq!(in_order_of(&wanted, &list(same_or_other)), None);
        }
        let (words, turned) = (list(json!(["a", "b"])), list(json!(["b", "a"])));
        assert_eq!(in_order_of(&words, &turned), None, "the order of arguments matters");
    }

    #[test]
    fn only_what_the_api_merges_has_a_key() {
        for path in [
            "spec.ports",
            "spec.template.spec.containers[web].ports",
            "spec.jobTemplate.spec.template.spec.initContainers[a.b].ports",
            "spec.template.spec.volumes",
            "secrets",
            "webhooks[a.b].matchConditions",
        ] {
            assert!(merge_key(path).is_some(), "{path}");
        }
        for path in [
            "spec.ingress[0].ports",
            "spec.ingress[0].from",
            "spec.template.spec.containers[web].args",
            "subjects",
            "spec.metrics",
            "spec.secrets",
        ] {
            assert!(merge_key(path).is_none(), "{path}");
        }
    }
}
