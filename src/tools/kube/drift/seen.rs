//! A live object as its manifest would have it written: only what the manifest speaks of, or the one before it did, in the
//! manifest's order, and in its spelling wherever the meaning is the same. What defaults and controllers have put there
//! is left out. Pure.

use serde_json::{Map, Value};

use super::compare::join;
use super::lists::{in_order_of, merge_key};
use super::{is_nothing, quantity};

/// What there is of a value. `wanted` is the manifest's, `before` that of the manifest that was applied last.
pub(super) fn seen(wanted: Option<&Value>, before: Option<&Value>, live: Option<&Value>, path: &str) -> Option<Value> {
    let wanted = wanted.filter(|wanted| !wanted.is_null());
    let live = live.filter(|live| !live.is_null());
    match (wanted, live) {
        // What the API does not keep since it is empty is there.
        (Some(wanted), None) => is_nothing(wanted).then(|| wanted.clone()),
        (None, None) => None,
        // What was applied once and is wanted no more; what never was is nobody's business.
        (None, Some(live)) => before.and_then(|before| seen(Some(before), None, Some(live), path)),
        (Some(Value::Object(wanted)), Some(Value::Object(live))) => {
            Some(Value::Object(object(wanted, before.and_then(Value::as_object), live, path)))
        }
        (Some(Value::Array(wanted)), Some(Value::Array(live))) => {
            Some(list(wanted, before.and_then(Value::as_array), live, path))
        }
        (Some(Value::String(text)), Some(_)) if text.is_empty() && is_filled_in(path) => wanted.cloned(),
        (Some(wanted), Some(live)) if same_scalar(wanted, live, path) => Some(wanted.clone()),
        (Some(_), Some(live)) => Some(live.clone()),
    }
}

fn object(
    wanted: &Map<String, Value>,
    before: Option<&Map<String, Value>>,
    live: &Map<String, Value>,
    path: &str,
) -> Map<String, Value> {
    let mut found = Map::new();
    for (key, value) in wanted {
        let is_injected = key == "caBundle" || (key == "nodePort" && value == 0);
        let there = match is_injected {
            true => Some(value.clone()),
            false => seen(Some(value), before.and_then(|before| before.get(key)), live.get(key), &join(path, key)),
        };
        found.extend(there.map(|there| (key.clone(), there)));
    }
    for (key, value) in before.into_iter().flatten().filter(|(key, _)| !wanted.contains_key(*key)) {
        let there = seen(None, Some(value), live.get(key), &join(path, key));
        found.extend(there.map(|there| (key.clone(), there)));
    }
    found
}

fn list(wanted: &[Value], before: Option<&Vec<Value>>, live: &[Value], path: &str) -> Value {
    let before = before.map(Vec::as_slice).unwrap_or_default();
    // An empty list says as much as none: what nobody applied stays, and is left out.
    if wanted.is_empty() && before.is_empty() {
        return Value::Array(Vec::new());
    }
    let all = [wanted, before].concat();
    let key = merge_key(path).filter(|key| key.tells_apart(wanted) && key.tells_apart(live));
    if let Some(key) = key.filter(|_| all.iter().all(Value::is_object)) {
        let named = |items: &[Value], item: &Value| items.iter().find(|other| key.of(other) == key.of(item)).cloned();
        let gone = before.iter().filter(|item| named(wanted, item).is_none());
        let items = wanted.iter().map(Some).zip(wanted).chain(gone.map(|item| (None, item)));
        let there = items.filter_map(|(wanted, item)| {
            let path = format!("{path}[{}]", key.of(item).unwrap_or_default());
            // An item that is on its way out is there whole as far as it was applied.
            seen(wanted, named(before, item).as_ref(), named(live, item).as_ref(), &path)
        });
        return Value::Array(there.collect());
    }
    if wanted.len() != live.len() {
        return Value::Array(live.to_vec());
    }
    let live = in_order_of(wanted, live).unwrap_or_else(|| live.iter().collect());
    let pairs = wanted.iter().zip(live).enumerate();
    let items = pairs.map(|(at, (wanted, live))| {
        seen(Some(wanted), before.get(at), Some(live), &format!("{path}[{at}]")).unwrap_or(Value::Null)
    });
    Value::Array(items.collect())
}

/// Fields in which an empty text asks the cluster to choose.
fn is_filled_in(path: &str) -> bool {
    if is_the_users(path) {
        return false;
    }
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

fn same_scalar(wanted: &Value, live: &Value, path: &str) -> bool {
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
    !is_the_users(path) && path.split(['.', '[', ']']).any(|part| WHERE.contains(&part) || part == "defaultRequest")
}

/// Whether the field is within a map whose keys its user has chosen, so that a name says nothing.
fn is_the_users(path: &str) -> bool {
    let path = path.trim_start_matches('.');
    let first = path.split(['.', '[']).next().unwrap_or(path);
    matches!(first, "data" | "binaryData" | "stringData")
        || path.contains(".env[")
        || path.split(['.', '[']).any(|part| matches!(part, "labels" | "annotations"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(wanted: &Value, before: &Value, live: &Value) -> Value {
        seen(Some(wanted), Some(before), Some(live), "spec").unwrap()
    }

    #[test]
    fn defaults_and_spelling_are_no_difference() {
        let wanted = json!({"replicas": 1, "cpu": {"limits": {"cpu": 1}}, "empty": {}, "containers": [{"name": "web", "image": "a"}]});
        let live = json!({"replicas": 1, "cpu": {"limits": {"cpu": "1"}}, "strategy": {"type": "x"},
            "containers": [{"name": "side", "image": "s"}, {"name": "web", "image": "a", "imagePullPolicy": "Always"}]});
        assert_eq!(of(&wanted, &wanted, &live), wanted);
    }

    #[test]
    fn what_was_applied_and_is_wanted_no_more_is_shown() {
        let before =
            json!({"a": 1, "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], "args": ["x", "y"]});
        let wanted = json!({"env": [{"name": "A", "value": "3"}], "args": ["x"]});
        let live = json!({"a": 1, "other": 2, "args": ["x", "y"],
            "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}, {"name": "INJECTED", "value": "z"}]});
        let expected = json!({"a": 1, "args": ["x", "y"],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]});
        let found = of(&wanted, &before, &live);
        assert_eq!((&found["a"], &found["args"], &found["env"]), (&expected["a"], &expected["args"], &expected["env"]));
        assert!(found.get("other").is_none());
    }
}
