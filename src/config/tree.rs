//! The file as a tree of values with spans: parsed, profiles merged, references that can be known put in.

use std::borrow::Cow;
use std::collections::HashMap;

use toml::de::{DeTable, DeValue};

use super::beside::{are_many, beside};
use super::context::Context;
use super::error::ConfigError;
use super::parts;
use super::reference::Scope;
use super::span::Span;
use super::template::Template;

/// A value of the file.
#[derive(Debug, Clone)]
pub(super) struct Node<'t> {
    pub kind: NodeKind<'t>,
    pub span: Span,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(super) enum NodeKind<'t> {
    String(Cow<'t, str>),
    /// A string that holds a secret, or a reference to an output of a step.
    Template(Template),
    Integer(i64),
    Float(f64),
    Bool(bool),
    /// There is no place for one: it is only here to be reported.
    Datetime,
    Array(Vec<Node<'t>>),
    Table(Vec<Entry<'t>>),
    /// Something with an error that has been reported.
    Broken,
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry<'t> {
    pub key: Cow<'t, str>,
    pub key_span: Span,
    pub node: Node<'t>,
}

impl<'t> Node<'t> {
    /// What the value is, for people.
    pub fn type_name(&self) -> &'static str {
        match self.kind {
            NodeKind::String(_) | NodeKind::Template(_) | NodeKind::Broken => "string",
            NodeKind::Integer(_) => "integer",
            NodeKind::Float(_) => "float",
            NodeKind::Bool(_) => "boolean",
            NodeKind::Datetime => "date",
            NodeKind::Array(_) => "list",
            NodeKind::Table(_) => "table",
        }
    }

    /// The text of a string without outputs and secrets.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::String(text) => Some(text),
            _ => None,
        }
    }

    /// The entries of a table; none of anything else.
    pub fn entries(&self) -> &[Entry<'t>] {
        match &self.kind {
            NodeKind::Table(entries) => entries,
            _ => &[],
        }
    }

    /// The value of a key of a table.
    pub fn get(&self, key: &str) -> Option<&Node<'t>> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// The entries of a table, to be changed; none of anything else.
    pub fn entries_mut(&mut self) -> Option<&mut Vec<Entry<'t>>> {
        match &mut self.kind {
            NodeKind::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of a key of a table, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node<'t>> {
        self.entries_mut()?.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.node)
    }

    /// Takes a key out of a table.
    pub fn remove(&mut self, key: &str) -> Option<Entry<'t>> {
        let entries = self.entries_mut()?;
        let at = entries.iter().position(|entry| entry.key == key)?;
        Some(entries.remove(at))
    }
}

/// Parses the file; its references stand in it as they are written. Errors of its syntax are reported; the tree holds what
/// could be read.
pub(super) fn parse<'t>(context: &mut Context<'t>) -> Node<'t> {
    let entries = parts::parse(context.text).unwrap_or_else(|| parse_whole(context));
    Node { kind: NodeKind::Table(entries), span: Span::NONE }
}

fn parse_whole<'t>(context: &mut Context<'t>) -> Vec<Entry<'t>> {
    let (table, errors) = DeTable::parse_recoverable(context.text);
    for error in errors {
        let span = error.span().map(Span::from).unwrap_or_default();
        if error.message() == "duplicate key" {
            if let Some(duplicate) = super::duplicate::explain(context.text, span) {
                context.report(duplicate);
            }
        } else {
            context.syntax_errors = true;
            context.report(
                ConfigError::new(format!("this is not TOML: {}", error.message()))
                    .label(visible(context.text, span), "here"),
            );
        }
    }
    entries(table.into_inner(), 0, &mut |error| context.report(error))
}

/// An empty span, or one that is a line break, cannot be underlined: the last character before it is.
fn visible(text: &str, span: Span) -> Span {
    if !span.of(text).trim().is_empty() {
        return span;
    }
    let before = text.get(..span.start()).unwrap_or(text).trim_end_matches(['\n', '\r']);
    let start = before.char_indices().next_back().map_or(0, |(at, _)| at);
    Span::new(start, before.len())
}

/// Merges `over` into `base`, both tables: tables deeply, all else is replaced.
pub(super) fn merge<'t>(base: &mut Vec<Entry<'t>>, over: Vec<Entry<'t>>) {
    let known: HashMap<_, _> = base.iter().enumerate().map(|(at, entry)| (entry.key.clone(), at)).collect();
    for entry in over {
        let Some(old) = known.get(&entry.key).map(|at| &mut base[*at].node) else {
            base.push(entry);
            continue;
        };
        match (&mut old.kind, entry.node) {
            (NodeKind::Table(old), Node { kind: NodeKind::Table(new), .. }) => merge(old, new),
            // The key of the base stays; the value, with its span, is the new one.
            (_, new) => *old = new,
        }
    }
}

/// A value as it was written, in a text that begins `offset` bytes into the file.
fn node<'t>(value: toml::Spanned<DeValue<'t>>, offset: usize, report: &mut dyn FnMut(ConfigError)) -> Node<'t> {
    let span = span(&value, offset);
    let kind = match value.into_inner() {
        DeValue::String(text) => NodeKind::String(text),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(integer) => NodeKind::Integer(integer),
            Err(_) => {
                report(ConfigError::new("this number is too large").label(span, "does not fit into 64 bits"));
                NodeKind::Broken
            }
        },
        DeValue::Float(float) => NodeKind::Float(float.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(boolean) => NodeKind::Bool(boolean),
        DeValue::Datetime(_) => NodeKind::Datetime,
        DeValue::Array(array) => NodeKind::Array(array.into_iter().map(|item| node(item, offset, report)).collect()),
        DeValue::Table(table) => NodeKind::Table(entries(table, offset, report)),
    };
    Node { kind, span }
}

/// The entries of a table, see [`node`].
pub(super) fn entries<'t>(table: DeTable<'t>, offset: usize, report: &mut dyn FnMut(ConfigError)) -> Vec<Entry<'t>> {
    let entry = |(key, value): (toml::Spanned<Cow<'t, str>>, _)| Entry {
        key_span: span(&key, offset),
        key: key.into_inner(),
        node: node(value, offset, report),
    };
    table.into_iter().map(entry).collect()
}

fn span<T>(at: &toml::Spanned<T>, offset: usize) -> Span {
    Span::new(at.span().start + offset, at.span().end + offset)
}

/// Puts the references in all strings of `node` in.
pub(super) fn substitute<'t>(node: &mut Node<'t>, scope: &Scope<'_, 't>, context: &mut Context<'t>) {
    match &mut node.kind {
        NodeKind::String(text) if text.contains("${") => node.kind = scope.substitute(text, node.span, context),
        NodeKind::Array(items) => items.iter_mut().for_each(|item| substitute(item, scope, context)),
        NodeKind::Table(entries) if are_many(entries.len()) => {
            let middle = entries.len() / 2;
            let (first, second) = entries.split_at_mut(middle);
            let all = |entries: &mut [Entry<'t>], context: &mut Context<'t>| {
                entries.iter_mut().for_each(|entry| substitute(&mut entry.node, scope, context));
            };
            let mut other = context.another();
            beside(true, || all(second, &mut other), || all(first, context));
            context.errors.extend(other.errors);
        }
        NodeKind::Table(entries) => entries.iter_mut().for_each(|entry| substitute(&mut entry.node, scope, context)),
        _ => {}
    }
}
