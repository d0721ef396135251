//! The images that a Dockerfile builds on, as far as the graph needs to know them.

use std::collections::HashMap;

use super::model::{Image, StackFile};
use super::template::Value;
use crate::graph::ImageFacts;

/// Reads the Dockerfiles of all images. One that cannot be read says nothing: its build will say why.
pub fn image_facts(stack: &StackFile) -> ImageFacts {
    let mut facts = ImageFacts::default();
    // With a single image there is no other image that it could build on.
    if stack.images.len() > 1 {
        for (name, image) in &stack.images {
            if let Ok(text) = std::fs::read_to_string(&image.dockerfile.absolute) {
                let from = images(&text, &known_args(image));
                if !from.is_empty() {
                    facts.from.insert(name.to_string(), from);
                }
            }
        }
    }
    facts
}

/// The build arguments whose values are known before any step has run. The others refer to steps, and are edges anyway.
fn known_args(image: &Image) -> HashMap<&str, String> {
    let text = |value: &Value| match value {
        Value::Template(template) => template.as_literal().map(str::to_owned),
        Value::Integer(value) => Some(value.to_string()),
        Value::Float(value) => Some(value.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::List(_) | Value::Map(_) => None,
    };
    image.args.iter().filter_map(|(name, value)| Some((name.as_str(), text(value)?))).collect()
}

/// The references to images in `FROM`, `COPY --from=` and `RUN --mount=…,from=`, with `args` and the defaults of `ARG`
/// put in. Stages of the Dockerfile itself and `scratch` are left out, and what cannot be understood is skipped.
pub fn images(text: &str, args: &HashMap<&str, String>) -> Vec<String> {
    let mut values: HashMap<String, String> = HashMap::new();
    let mut stages: Vec<String> = Vec::new();
    let mut found: Vec<String> = Vec::new();
    for line in logical_lines(text) {
        let mut words = line.split_whitespace();
        let Some(instruction) = words.next() else { continue };
        match instruction.to_ascii_uppercase().as_str() {
            // Only what stands before the first FROM counts in a FROM.
            "ARG" if stages.is_empty() => {
                for word in words {
                    let (name, default) = word.split_once('=').unwrap_or((word, ""));
                    let default = default.trim_matches(['"', '\'']);
                    let value = args.get(name).cloned().unwrap_or_else(|| default.to_owned());
                    values.insert(name.to_owned(), value);
                }
            }
            "FROM" => {
                let mut words = words.skip_while(|word| word.starts_with("--"));
                let image = substitute(words.next().unwrap_or_default(), &values);
                add(&mut found, &stages, image);
                let name = match words.next() {
                    Some(keyword) if keyword.eq_ignore_ascii_case("as") => words.next().unwrap_or_default(),
                    _ => "",
                };
                stages.push(name.to_lowercase());
            }
            "COPY" | "ADD" | "RUN" => {
                for word in words.take_while(|word| word.starts_with("--")) {
                    let from = word.strip_prefix("--from=").or_else(|| {
                        word.strip_prefix("--mount=")?.split(',').find_map(|option| option.strip_prefix("from="))
                    });
                    if let Some(from) = from {
                        add(&mut found, &stages, substitute(from, &values));
                    }
                }
            }
            _ => {}
        }
    }
    found
}

fn add(found: &mut Vec<String>, stages: &[String], image: String) {
    let stage = stages.contains(&image.to_lowercase()) || image.parse::<usize>().is_ok();
    if !image.is_empty() && image != "scratch" && !stage && !found.contains(&image) {
        found.push(image);
    }
}

/// Lines with their continuations, without comments. The escape character may be chosen by a directive.
fn logical_lines(text: &str) -> Vec<String> {
    let directive = |line: &str| {
        let (name, value) = line.trim().strip_prefix('#')?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("escape").then(|| value.trim() == "`")
    };
    let backtick = text.lines().take_while(|line| line.trim_start().starts_with('#')).find_map(directive);
    let escape = if backtick == Some(true) { '`' } else { '\\' };
    let mut lines = Vec::new();
    let mut logical = String::new();
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        match line.strip_suffix(escape) {
            Some(part) => {
                logical.push_str(part);
                logical.push(' ');
            }
            None => {
                logical.push_str(line);
                lines.push(std::mem::take(&mut logical));
            }
        }
    }
    lines.extend((!logical.is_empty()).then_some(logical));
    lines
}

/// `$NAME`, `${NAME}`, `${NAME:-default}` and `${NAME:+other}`.
fn substitute(text: &str, values: &HashMap<String, String>) -> String {
    let mut result = String::new();
    let mut rest = text.trim_matches(['"', '\'']);
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (inside, after) = match rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some(parts) => parts,
            None => rest.split_at(rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())),
        };
        let value = |name: &str| values.get(name).cloned().unwrap_or_default();
        if let Some((name, default)) = inside.split_once(":-").or_else(|| inside.split_once('-')) {
            let value = value(name);
            result.push_str(if value.is_empty() { default } else { &value });
        } else if let Some((name, other)) = inside.split_once(":+") {
            result.push_str(if value(name).is_empty() { "" } else { other });
        } else {
            result.push_str(&value(inside));
        }
        rest = after;
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_wherever_a_dockerfile_names_them() {
        let text = r#"# syntax=docker/dockerfile:1
ARG BASE=todo-base
ARG TAG
FROM --platform=$BUILDPLATFORM ${BASE}:${TAG:-latest} AS Build
RUN --mount=type=bind,from=todo-tools,target=/t \
    # a comment in between
    make
COPY --from=build /a /a
FROM build AS again
COPY --chown=1:1 --from=host:5000/todo-data:1 /d /d
COPY --from=0 /x /x
from scratch
"#;
        assert_eq!(images(text, &HashMap::new()), ["todo-base:latest", "todo-tools", "host:5000/todo-data:1"]);
        let args = HashMap::from([("BASE", "other".to_owned()), ("TAG", "7".to_owned())]);
        assert_eq!(images(text, &args)[0], "other:7");
    }

    #[test]
    fn nonsense_names_nothing() {
        for text in ["", "FROM", "FROM ${", "FROM $", "\\", "# escape=`\nFROM `\n x", "ARG", "COPY --from= a b"] {
            images(text, &HashMap::new());
        }
        assert_eq!(images("# escape=`\nFROM `\n x", &HashMap::new()), ["x"]);
    }
}
