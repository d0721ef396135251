//! The reference of all keys in `docs/stack-file.md` is made from the table of keys.

use std::fmt::Write as _;

use super::*;
use crate::config::shape::{Shape, TableShape};

const MARK: &str = "cargo test --lib config::tests::reference -->\n";

/// Every table below `[stack]` and its like, as a section.
fn reference() -> String {
    let mut out = String::new();
    let mut todo: Vec<(String, &'static TableShape)> = vec![(String::new(), &keys::ROOT)];
    let mut sections = Vec::new();
    while let Some((path, table)) = todo.pop() {
        let mut inner = Vec::new();
        for key in table.keys.iter().filter(|key| !keys::holds_profiles(key)) {
            tables_within(&key.shape, &[path.as_str(), key.name].join("."), &mut inner);
        }
        todo.extend(inner.into_iter().rev());
        sections.push((path, table));
    }
    for (path, table) in sections.into_iter().skip(1) {
        let title = path.trim_start_matches('.');
        writeln!(out, "\n### `{title}`\n\n{}", table.doc).unwrap();
        for group in table.one_of {
            let keys: Vec<_> = group.keys.iter().map(|key| format!("`{key}`")).collect();
            let count = if group.required { "Exactly one" } else { "At most one" };
            writeln!(out, "{count} of {}.", keys.join(", ")).unwrap();
        }
        out.push_str("\n| key | value | default | |\n| --- | --- | --- | --- |\n");
        for key in table.keys {
            let default = match (key.required, key.default) {
                (true, _) => "required".to_owned(),
                (_, "") => String::new(),
                (_, default) if default.contains(' ') => default.to_owned(),
                (_, default) => format!("`{default}`"),
            };
            writeln!(out, "| `{}` | {} | {default} | {} |", key.name, kind(&key.shape), key.doc.replace('|', "\\|"))
                .unwrap();
        }
    }
    out
}

fn tables_within(shape: &'static Shape, path: &str, found: &mut Vec<(String, &'static TableShape)>) {
    match shape {
        Shape::Table(table) => found.push((path.to_owned(), table)),
        Shape::Named(of) => tables_within(of, &format!("{path}.NAME"), found),
        Shape::Map(of) => tables_within(of, &format!("{path}.NAME"), found),
        Shape::List(of) => tables_within(of, path, found),
        Shape::Either(shapes) => shapes.iter().for_each(|shape| tables_within(shape, path, found)),
        _ => {}
    }
}

fn kind(shape: &Shape) -> String {
    match shape {
        Shape::Text | Shape::Template => "text".to_owned(),
        Shape::Scalar | Shape::Constant => "text, number or boolean".to_owned(),
        Shape::Value => "anything".to_owned(),
        Shape::Bool => "boolean".to_owned(),
        Shape::Integer(low, high) if *high >= 1_000_000 => format!("number, at least {low}"),
        Shape::Integer(low, high) => format!("number, {low} to {high}"),
        Shape::Duration => "duration".to_owned(),
        Shape::Size => "size".to_owned(),
        Shape::Name => "name".to_owned(),
        Shape::Requirement => "version requirement".to_owned(),
        Shape::Path => "path".to_owned(),
        Shape::Glob => "path pattern".to_owned(),
        Shape::Step => "step".to_owned(),
        Shape::Choice(choices) => {
            choices.iter().map(|(word, doc)| format!("`\"{word}\"`: {doc}")).collect::<Vec<_>>().join("; ")
        }
        Shape::List(of) => format!("list of: {}", kind(of)),
        Shape::Map(of) | Shape::Named(of) => format!("table of: {}", kind(of)),
        Shape::Table(_) => "table, see below".to_owned(),
        Shape::Either(shapes) => shapes.iter().map(kind).collect::<Vec<_>>().join(", or "),
    }
}

#[test]
fn the_reference_describes_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/stack-file.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (by_hand, made) = page.split_at(page.find(MARK).unwrap() + MARK.len());
    let expected = reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{by_hand}{expected}")).unwrap();
        return;
    }
    assert!(
        made == expected,
        "docs/stack-file.md is out of date: UPDATE_DOCS=1 cargo test --lib config::tests::reference"
    );
}

/// The example on the page is one that works.
#[test]
fn the_examples_of_the_reference_are_right() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/stack-file.md")).unwrap();
    let examples: Vec<&str> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 4);
    right(examples[0]);
    right(&examples.concat());
}
