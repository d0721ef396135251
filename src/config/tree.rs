//! The file as a tree of values with spans: parsed, profiles merged, references that can be known put in.

use std::borrow::Cow;

use toml::de::{DeTable, DeValue};

use super::beside::{are_many, each};
use super::context::Context;
use super::error::ConfigError;
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
}

/// Parses the file. Errors of its syntax are reported; the tree holds what could be read.
pub(super) fn parse<'t>(context: &mut Context<'t>) -> DeTable<'t> {
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
    table.into_inner()
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

/// Merges `over` into `base`: tables deeply, all else is replaced.
pub(super) fn merge<'t>(base: &mut DeTable<'t>, over: &DeTable<'t>) {
    for (key, value) in over {
        match (base.get_mut(key.get_ref().as_ref()), value.get_ref()) {
            (Some(old), DeValue::Table(new)) if old.get_ref().is_table() => {
                if let DeValue::Table(old) = old.get_mut() {
                    merge(old, new);
                }
            }
            // The key of the base stays; the value, with its span, is the new one.
            (Some(old), _) => *old = value.clone(),
            (None, _) => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// A value with the references in its strings put in, or left as they are if there is no scope.
pub(super) fn node<'t>(
    value: &DeValue<'t>,
    span: Span,
    scope: Option<&Scope<'_, 't>>,
    context: &mut Context<'t>,
) -> Node<'t> {
    let kind = match value {
        DeValue::String(text) => match scope {
            Some(scope) if text.contains("${") => scope.substitute(text, span, context),
            _ => NodeKind::String(borrowed(text)),
        },
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(integer) => NodeKind::Integer(integer),
            Err(_) => {
                context.report(ConfigError::new("this number is too large").label(span, "does not fit into 64 bits"));
                NodeKind::Broken
            }
        },
        DeValue::Float(float) => NodeKind::Float(float.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(boolean) => NodeKind::Bool(*boolean),
        DeValue::Datetime(_) => NodeKind::Datetime,
        DeValue::Array(array) => {
            NodeKind::Array(array.iter().map(|item| node(item.get_ref(), item.span().into(), scope, context)).collect())
        }
        DeValue::Table(table) => NodeKind::Table(entries(table, scope, context)),
    };
    Node { kind, span }
}

/// The entries of a table, see [`node`].
pub(super) fn entries<'t>(
    table: &DeTable<'t>,
    scope: Option<&Scope<'_, 't>>,
    context: &mut Context<'t>,
) -> Vec<Entry<'t>> {
    let entry = |(key, value): (&toml::Spanned<Cow<'t, str>>, &toml::Spanned<DeValue<'t>>),
                 context: &mut Context<'t>| Entry {
        key: borrowed(key.get_ref()),
        key_span: key.span().into(),
        node: node(value.get_ref(), value.span().into(), scope, context),
    };
    if !are_many(table.len()) {
        return table.iter().map(|item| entry(item, context)).collect();
    }
    let items: Vec<_> = table.iter().collect();
    let mut second = context.another();
    let entries = each(
        &items,
        Vec::with_capacity(items.len()),
        |&item| Some(entry(item, &mut second)),
        |&item| Some(entry(item, context)),
    );
    context.errors.extend(second.errors);
    entries
}

/// Text of the file is borrowed from it, unless escapes had to be undone.
pub(super) fn borrowed<'t>(text: &Cow<'t, str>) -> Cow<'t, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text),
        Cow::Owned(text) => Cow::Owned(text.clone()),
    }
}
