//! The JSON schema of the stack file, for editors: made from the same table of keys as the check.

use serde_json::{Map, Value as Json, json};

use super::check::Mode;
use super::keys::{self, holds_profiles};
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
        .filter(|key| mode == Mode::Whole || !holds_profiles(key))
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
    let mut schema = if holds_profiles(key) {
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

    /// What a value violates, by the words of JSON Schema that are used here.
    fn violations(schema: &Json, value: &Json, path: &str, found: &mut Vec<String>) {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap();
            return violations(&super::json_schema()["definitions"][name], value, path, found);
        }
        let holds = |schema: &Json| {
            let mut found = Vec::new();
            violations(schema, value, path, &mut found);
            found.is_empty()
        };
        if schema["anyOf"].as_array().is_some_and(|any| !any.iter().any(holds)) {
            found.push(format!("{path}: {value} is nothing of {}", schema["anyOf"]));
        }
        if schema["oneOf"].as_array().is_some_and(|one| one.iter().filter(|one| holds(one)).count() != 1) {
            found.push(format!("{path}: not exactly one of {}", schema["oneOf"]));
        }
        if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
            found.push(format!("{path}: {value} is none of {}", schema["enum"]));
        }
        if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str())
            && pattern == REFERENCE
            && !text.contains("${")
        {
            found.push(format!("{path}: {text} is no reference"));
        }
        let is = |kind: &str| match kind {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64(),
            "number" => value.is_number(),
            other => panic!("{other} is not used"),
        };
        let kinds: Vec<&str> = match &schema["type"] {
            Json::String(kind) => vec![kind],
            Json::Array(kinds) => kinds.iter().filter_map(Json::as_str).collect(),
            _ => vec![],
        };
        if !kinds.is_empty() && !kinds.into_iter().any(is) {
            found.push(format!("{path}: {value} is no {}", schema["type"]));
        }
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            if value.get(required).is_none() {
                found.push(format!("{path}: {required} is missing"));
            }
        }
        for (at, item) in value.as_array().into_iter().flatten().enumerate() {
            violations(&schema["items"], item, &format!("{path}[{at}]"), found);
        }
        for (key, item) in value.as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            match (&schema["properties"][key], &schema["additionalProperties"]) {
                (Json::Null, Json::Bool(false)) => found.push(format!("{path} is unknown")),
                (Json::Null, schema) | (schema, _) => violations(schema, item, &path, found),
            }
        }
    }

    fn violations_of(file: &str) -> Vec<String> {
        let mut found = Vec::new();
        let value = serde_json::to_value(toml::from_str::<toml::Table>(file).unwrap()).unwrap();
        violations(&super::json_schema(), &value, "", &mut found);
        found
    }

    #[test]
    fn the_schema_accepts_right_files() {
        for file in [crate::config::tests::EXAMPLE, crate::config::tests::EVERYTHING] {
            assert_eq!(violations_of(file), Vec::<String>::new());
        }
        let profile =
            "[stack]\nname = \"a\"\n[profile.x.cluster]\nprofile = \"${env.P}\"\n[profile.x.image.i]\ntarget = \"t\"\n";
        assert_eq!(violations_of(profile), Vec::<String>::new());
    }

    #[test]
    fn the_schema_refuses_wrong_files() {
        let head = "[stack]\nname = \"a\"\n";
        for (file, violation) in [
            ("[stack]\n", ".stack: name is missing"),
            (&format!("{head}[imag]\n"), ".imag is unknown"),
            (&format!("{head}[image.a]\ncontxt = \"a\"\n"), ".image.a.contxt is unknown"),
            (&format!("{head}[task.a]\nrun = 1\n"), ".task.a.run: 1 is nothing of"),
            (&format!("{head}[limits]\njobs = \"many\"\n"), ".limits.jobs: \"many\" is nothing of"),
            (
                &format!("{head}[image.a]\ncontext = \"a\"\nload = \"layer\"\n"),
                ".image.a.load: \"layer\" is nothing of",
            ),
            (&format!("{head}[ready.a]\njob = \"a\"\nservice = \"a\"\n"), ".ready.a: not exactly one of"),
            (&format!("{head}[profile.a.profile.b]\n"), ".profile.a.profile is unknown"),
        ] {
            let found = violations_of(file);
            assert!(found.iter().any(|found| found.starts_with(violation)), "{violation} is not in {found:?}");
        }
    }
}
