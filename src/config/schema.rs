//! The JSON schema of the stack file, for editors: made from the same table of keys as the check.

use serde_json::{Map, Value as Json, json};

use super::check::Mode;
use super::keys;
use super::shape::{Key, Shape, TableShape};

/// A string with a reference may stand wherever a value is known when the file is read.
const REFERENCE: &str = r"\$\{[^}]+\}";

/// The schema, draft 7: what editors understand by a `#:schema` line.
pub fn json_schema() -> Json {
    let mut schema = table(&keys::ROOT, Mode::Whole);
    let mut whole = Map::new();
    whole.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    whole.insert("title".to_owned(), json!("stack"));
    if let Json::Object(root) = &mut schema {
        whole.append(root);
    }
    whole.insert("definitions".to_owned(), json!({ "profile": table(&keys::ROOT, Mode::Part) }));
    Json::Object(whole)
}

fn table(shape: &TableShape, mode: Mode) -> Json {
    let properties: Map<String, Json> = shape
        .keys
        .iter()
        .filter(|key| !(mode == Mode::Part && key.name == "profile"))
        .map(|key| (key.name.to_owned(), property(key, mode)))
        .collect();
    let mut schema = json!({
        "type": "object",
        "description": shape.doc,
        "properties": properties,
        "additionalProperties": false,
    });
    if mode == Mode::Whole {
        let required: Vec<_> = shape.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        let groups: Vec<Json> = shape
            .one_of
            .iter()
            .filter(|group| group.required)
            .map(|group| json!({ "oneOf": group.keys.iter().map(|key| json!({ "required": [key] })).collect::<Vec<_>>() }))
            .collect();
        match groups.len() {
            0 => {}
            1 => schema["oneOf"] = groups[0]["oneOf"].clone(),
            _ => schema["allOf"] = Json::Array(groups),
        }
    }
    schema
}

fn property(key: &Key, mode: Mode) -> Json {
    let mut schema = if key.name == "profile" {
        json!({ "type": "object", "additionalProperties": { "$ref": "#/definitions/profile" } })
    } else {
        value(&key.shape, mode)
    };
    schema["description"] = json!(key.doc);
    if let Some(default) = typed_default(key) {
        schema["default"] = default;
    }
    schema
}

/// The default as a value, where it is one and not a description.
fn typed_default(key: &Key) -> Option<Json> {
    match key.shape {
        Shape::Bool => key.default.parse::<bool>().ok().map(Json::from),
        Shape::Integer(..) => key.default.parse::<i64>().ok().map(Json::from),
        Shape::Duration | Shape::Size | Shape::Choice(_) if !key.default.is_empty() => Some(json!(key.default)),
        _ => None,
    }
}

fn value(shape: &Shape, mode: Mode) -> Json {
    let or_reference = |schema: Json| json!({ "anyOf": [schema, { "type": "string", "pattern": REFERENCE }] });
    match shape {
        Shape::Text | Shape::Template | Shape::Path | Shape::Glob | Shape::Requirement => json!({ "type": "string" }),
        Shape::Scalar | Shape::Constant => json!({ "type": ["string", "number", "boolean"] }),
        Shape::Value => json!({}),
        Shape::Bool => or_reference(json!({ "type": "boolean" })),
        Shape::Integer(low, high) => or_reference(json!({ "type": "integer", "minimum": low, "maximum": high })),
        Shape::Duration => or_reference(json!({ "type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$" })),
        Shape::Size => {
            or_reference(json!({ "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? *([bB]|[kKmMgGtT]([iI]?[bB]?))$" }))
        }
        Shape::Name => or_reference(json!({ "type": "string", "pattern": NAME, "maxLength": 53 })),
        Shape::Step => {
            json!({ "type": "string", "pattern": r"^(cluster|(image|build|load|chart|ready|task)[.:][a-z0-9-]+)$" })
        }
        Shape::Choice(choices) => {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            let docs: Vec<_> = choices.iter().map(|(_, doc)| *doc).collect();
            or_reference(json!({ "enum": words, "x-taplo": { "docs": { "enumValues": docs } } }))
        }
        Shape::List(of) => json!({ "type": "array", "items": value(of, mode) }),
        Shape::Map(of) => json!({ "type": "object", "additionalProperties": value(of, mode) }),
        Shape::Named(of) => json!({
            "type": "object",
            "propertyNames": { "pattern": NAME, "maxLength": 53 },
            "additionalProperties": value(of, mode),
        }),
        Shape::Table(shape) => table(shape, mode),
        Shape::Either(shapes) => {
            json!({ "anyOf": shapes.iter().map(|shape| value(shape, mode)).collect::<Vec<_>>() })
        }
    }
}

const NAME: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::units;

    /// Every table of the file, once.
    fn tables() -> Vec<&'static TableShape> {
        fn within(shape: &'static Shape, found: &mut Vec<&'static TableShape>) {
            match shape {
                Shape::Table(table) => add(table, found),
                Shape::List(of) | Shape::Map(of) | Shape::Named(of) => within(of, found),
                Shape::Either(shapes) => shapes.iter().for_each(|shape| within(shape, found)),
                _ => {}
            }
        }
        fn add(table: &'static TableShape, found: &mut Vec<&'static TableShape>) {
            if found.iter().all(|known| !std::ptr::eq(*known, table)) {
                found.push(table);
                table.keys.iter().for_each(|key| within(&key.shape, found));
            }
        }
        let mut found = Vec::new();
        add(&keys::ROOT, &mut found);
        found
    }

    #[test]
    fn every_key_is_explained_and_every_default_is_a_value() {
        let mut keys = 0;
        for table in tables() {
            assert!(!table.doc.is_empty(), "{}", table.title);
            for key in table.keys {
                keys += 1;
                let name = format!("{} {}", table.title, key.name);
                assert!(key.doc.ends_with('.') || key.doc.ends_with('`'), "{name}");
                assert!(key.name.chars().all(|c| c.is_ascii_lowercase() || c == '-' || c == '3'), "{name}");
                assert!(!key.required || key.default.is_empty(), "{name} is required and has a default");
                match key.shape {
                    Shape::Duration if !key.default.is_empty() => {
                        assert!(units::parse_duration(key.default).is_some(), "{name}");
                    }
                    Shape::Choice(words) if !key.required => {
                        assert!(words.iter().any(|(word, _)| *word == key.default), "{name}");
                    }
                    Shape::Bool if key.default != "that of the stack" => {
                        assert!(matches!(key.default, "true" | "false"), "{name}");
                    }
                    _ => {}
                }
            }
            for group in table.one_of {
                assert!(
                    group.keys.iter().all(|name| table.keys.iter().any(|key| key.name == *name)),
                    "{}",
                    table.title
                );
            }
        }
        assert!(keys > 100, "{keys}");
    }

    #[test]
    fn the_schema_describes_the_file() {
        let schema = super::json_schema();
        assert_eq!(schema["properties"]["image"]["additionalProperties"]["required"], json!(["context"]));
        assert_eq!(schema["properties"]["stack"]["properties"]["allow-outside"]["default"], json!(false));
        assert_eq!(
            schema["properties"]["chart"]["additionalProperties"]["oneOf"],
            json!([{ "required": ["path"] }, { "required": ["chart"] }])
        );
        assert!(schema["definitions"]["profile"]["properties"]["image"]["additionalProperties"]["required"].is_null());
    }
}
