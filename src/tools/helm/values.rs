//! Values for Helm, put together by key.

use serde_json::{Map, Value};
use thiserror::Error;

/// A key that names no place among values.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{key:?} is no key of a chart's values: {reason}")]
pub struct KeyError {
    /// The key.
    pub key: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// A part of a key.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Name(String),
    Index(usize),
}

impl Part {
    fn within<'v>(&self, place: &'v Value) -> Option<&'v Value> {
        match self {
            Self::Name(name) => place.get(name),
            Self::Index(index) => place.get(index),
        }
    }
}

// As Helm has it: a list longer than this by a typing mistake would eat the memory.
const LONGEST_LIST: usize = 65_536;

/// Sets a value by a key as Helm writes it: `a.b`, `a[0].b`, with `\.` for a point within a name. A list of which only an
/// item is set begins as the one that stands there in `below`, what `values` will be laid over: there it is replaced whole.
pub fn set(values: &mut Value, below: &Value, key: &str, value: Value) -> Result<(), KeyError> {
    let mut place = values;
    let mut below = Some(below);
    for part in parts(key)? {
        let under = below;
        below = under.and_then(|below| part.within(below));
        place = match part {
            Part::Name(name) => {
                if !place.is_object() {
                    *place = Value::Object(Map::new());
                }
                match place {
                    Value::Object(map) => map.entry(name).or_insert(Value::Null),
                    other => other,
                }
            }
            Part::Index(index) => {
                if !place.is_array() {
                    *place = Value::Array(under.and_then(Value::as_array).cloned().unwrap_or_default());
                }
                match place {
                    Value::Array(items) => {
                        if items.len() <= index {
                            items.resize(index + 1, Value::Null);
                        }
                        &mut items[index]
                    }
                    other => other,
                }
            }
        };
    }
    *place = value;
    Ok(())
}

/// The value that a key names, when there is one.
pub fn get<'v>(values: &'v Value, key: &str) -> Option<&'v Value> {
    parts(key).ok()?.iter().try_fold(values, |place, part| part.within(place))
}

fn parts(key: &str) -> Result<Vec<Part>, KeyError> {
    let wrong = |reason: &'static str| KeyError { key: key.to_owned(), reason };
    let mut parts = Vec::new();
    let mut name = String::new();
    let mut chars = key.chars();
    // After an index only another one or a point may follow.
    let mut after_index = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => name.push(chars.next().ok_or_else(|| wrong("it ends in a backslash"))?),
            '.' => {
                if name.is_empty() && !after_index {
                    return Err(wrong("a name is empty"));
                }
                if !name.is_empty() {
                    parts.push(Part::Name(std::mem::take(&mut name)));
                }
                after_index = false;
                if chars.as_str().is_empty() {
                    return Err(wrong("it ends in a point"));
                }
            }
            '[' => {
                if name.is_empty() && !after_index {
                    return Err(wrong("a name is empty"));
                }
                if !name.is_empty() {
                    parts.push(Part::Name(std::mem::take(&mut name)));
                }
                let (digits, rest) = chars.as_str().split_once(']').ok_or_else(|| wrong("a [ is not closed"))?;
                let index = digits.parse::<usize>().map_err(|_| wrong("an index is no number"))?;
                if index > LONGEST_LIST {
                    return Err(wrong("an index is too large"));
                }
                parts.push(Part::Index(index));
                chars = rest.chars();
                after_index = true;
            }
            _ if after_index => return Err(wrong("a point is missing after an index")),
            c => name.push(c),
        }
    }
    if !name.is_empty() {
        parts.push(Part::Name(name));
    }
    if parts.is_empty() { Err(wrong("it is empty")) } else { Ok(parts) }
}

/// Lays one set of values over another, as Helm does with values files: maps are merged, everything else is replaced.
/// A null stays, and takes the chart's default away.
pub fn merge(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                match below.get_mut(&key) {
                    Some(place) if place.is_object() && value.is_object() => merge(place, value),
                    Some(place) => *place = value,
                    None => {
                        below.insert(key, value);
                    }
                }
            }
        }
        (below, above) => *below = above,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_as_helm_writes_them() {
        let mut values = json!({"backend": {"image": {"tag": "1"}}});
        let none = Value::Null;
        set(&mut values, &none, "backend.image.tag", json!("2")).unwrap();
        set(&mut values, &none, "backend.ports[1].name", json!("http")).unwrap();
        set(&mut values, &none, r"labels.app\.kubernetes\.io/name", json!("todo")).unwrap();
        assert_eq!(get(&values, "backend.ports[1].name"), Some(&json!("http")));
        assert_eq!(get(&values, "backend.ports[2].name"), None);
        assert_eq!(
            values,
            json!({
                "backend": {"image": {"tag": "2"}, "ports": [null, {"name": "http"}]},
                "labels": {"app.kubernetes.io/name": "todo"},
            })
        );
    }

    #[test]
    fn a_list_of_which_an_item_is_set_keeps_the_others() {
        let below = json!({"list": [{"a": 1, "b": 2}, {"deep": [1, 2]}], "own": [1], "text": "a"});
        let mut values = json!({"own": [7]});
        set(&mut values, &below, "list[0].b", json!(9)).unwrap();
        set(&mut values, &below, "list[1].deep[0]", json!(9)).unwrap();
        set(&mut values, &below, "own[1]", json!(8)).unwrap();
        set(&mut values, &below, "text[0]", json!("b")).unwrap();
        let expected = json!({"own": [7, 8], "list": [{"a": 1, "b": 9}, {"deep": [9, 2]}], "text": ["b"]});
        assert_eq!(values, expected);
    }

    #[test]
    fn keys_that_are_none() {
        for key in ["", ".", "a.", "a..b", ".a", "[0]", "a[x]", "a[0", "a[0]b", "a[99999999]", "a\\"] {
            assert!(set(&mut json!({}), &Value::Null, key, json!(1)).is_err(), "{key:?}");
        }
    }

    #[test]
    fn layers_of_values() {
        let mut values = json!({"a": {"b": 1, "c": [1, 2]}, "d": 1});
        merge(&mut values, json!({"a": {"c": [3]}, "d": null, "e": {}}));
        assert_eq!(values, json!({"a": {"b": 1, "c": [3]}, "d": null, "e": {}}));
    }
}
