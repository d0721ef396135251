//! Values of the stack file as inputs of a step: shown as they are, by keyed digest where they are secret, and unknown
//! while they wait for the output of another step.

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value as Json;

use super::output::Known;
use super::{StepError, World};
use crate::config::{OutputRef, Resolved, Spanned, Template, Value};
use crate::error::Class;
use crate::graph::{StepId, StepKind};
use crate::key::{CLUSTER, Group, Manifest, SecretDigest, Value as Input};

/// Adds the cluster that a step works on, by its uid.
pub(super) fn add_cluster(world: &World, manifest: &mut Manifest) {
    match world.cluster_uid() {
        Known::Yes(uid) => manifest.text(Group::Target, CLUSTER, uid),
        Known::After(step) => manifest.unknown(Group::Target, CLUSTER, step),
    }
}

/// Adds a value, and returns it resolved if it is known.
pub(super) fn add(world: &World, manifest: &mut Manifest, group: Group, name: &str, value: &Value) -> Option<Resolved> {
    match value.resolve(world) {
        Ok(resolved) => {
            manifest.push(group, name, input(world, name, &resolved));
            Some(resolved)
        }
        Err(unknown) => {
            manifest.unknown(group, name, waited_for(world, &unknown.0));
            None
        }
    }
}

/// Adds a value of which it counts whether it is a text, a number or anything else, and returns it resolved if it is
/// known. `as_text` takes it as a text whatever it is.
pub(super) fn add_typed(
    world: &World,
    manifest: &mut Manifest,
    name: &str,
    value: &Value,
    as_text: bool,
) -> Option<Json> {
    match value.resolve(world) {
        Ok(resolved) => {
            let json = match as_text {
                true => Json::from(resolved.exposed_text().expose_secret()),
                false => resolved.exposed(),
            };
            manifest.push(Group::Value, name, input_of(world, name, &resolved, &json, typed));
            Some(json)
        }
        Err(unknown) => {
            manifest.unknown(Group::Value, name, waited_for(world, &unknown.0));
            None
        }
    }
}

/// Adds a text, and returns it resolved if it is known.
pub(super) fn add_template(
    world: &World,
    manifest: &mut Manifest,
    group: Group,
    name: &str,
    template: &Template,
) -> Option<Resolved> {
    add(world, manifest, group, name, &Value::Template(template.clone()))
}

/// Adds the IDs of all images that the values refer to: a tag alone would not say that the image behind it changed.
pub(super) fn add_images<'a>(
    world: &World,
    manifest: &mut Manifest,
    outputs: impl Iterator<Item = &'a Spanned<OutputRef>>,
) {
    let mut seen = std::collections::BTreeSet::new();
    for output in outputs {
        let OutputRef::Image { name, .. } = &output.value else { continue };
        if !seen.insert(name.clone()) {
            continue;
        }
        match world.image(name) {
            super::Known::Yes((_, id)) => manifest.digest(Group::Image, &**name, id),
            super::Known::After(step) => manifest.unknown(Group::Image, &**name, step),
        }
    }
}

/// A text that has to be known and may be shown.
pub(super) fn text(world: &World, template: &Template) -> Result<String, StepId> {
    match template.resolve(world) {
        Ok(resolved) => Ok(match resolved.exposed() {
            Json::String(text) => text,
            other => other.to_string(),
        }),
        Err(unknown) => Err(waited_for(world, &unknown.0)),
    }
}

/// Texts that have to be known by now, by name.
pub(super) fn texts(
    world: &World,
    values: &indexmap::IndexMap<String, Value>,
) -> Result<std::collections::BTreeMap<String, String>, StepError> {
    let text = |(name, value): (&String, &Value)| match value.resolve(world) {
        Ok(resolved) => Ok((name.clone(), resolved.exposed_text().expose_secret().to_owned())),
        Err(unknown) => Err(StepError::new(Class::Internal, unknown.to_string())),
    };
    values.iter().map(text).collect()
}

fn input(world: &World, name: &str, resolved: &Resolved) -> Input {
    input_of(world, name, resolved, &resolved.exposed(), |json| match json {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    })
}

fn input_of(world: &World, name: &str, resolved: &Resolved, json: &Json, shown: impl FnOnce(&Json) -> String) -> Input {
    // A secret may also come in by an output: a command that prints it.
    let text = resolved.exposed_text();
    if resolved.is_secret() || world.redactor().finds(text.expose_secret()) {
        return SecretDigest::of(world.stack_name(), name, &SecretString::from(json.to_string())).into();
    }
    Input::Text(shown(json))
}

/// No two values look the same: a text that could be taken for something else stands in quotes.
fn typed(json: &Json) -> String {
    match json {
        Json::String(text) if serde_json::from_str::<Json>(text).is_err() => text.clone(),
        other => other.to_string(),
    }
}

/// The step that has to run before an output is known: the one whose output it is, or the one that it waits for.
fn waited_for(world: &World, output: &OutputRef) -> StepId {
    let step = World::step_of(output);
    match world.output(step.kind(), step.name()) {
        super::Known::After(step) => step,
        super::Known::Yes(_) => StepId::new(StepKind::Cluster, ""),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn no_two_values_look_the_same() {
        let values = [
            json!(true),
            json!("true"),
            json!("\"true\""),
            json!(1),
            json!("1"),
            json!(1.0),
            json!(null),
            json!("null"),
            json!(""),
            json!([]),
            json!("[]"),
            json!({"a": "b"}),
            json!("{\"a\":\"b\"}"),
            json!("word"),
        ];
        let shown = values.iter().map(typed).collect::<BTreeSet<_>>();
        assert_eq!(shown.len(), values.len(), "{shown:?}");
        assert!(shown.contains("word") && shown.contains("true") && shown.contains("\"true\""), "{shown:?}");
    }
}
