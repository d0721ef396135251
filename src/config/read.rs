//! Reading typed values out of a table that has been checked.
//!
//! Nothing here reports an error of shape: the check has done so, and whatever it found wrong reads as not there.
//! Defaults come from the table of keys, so that they stand in one place.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

use super::model::FilePath;
use super::shape::TableShape;
use super::span::{Span, Spanned};
use super::template::{Template, Value};
use super::tree::{Node, NodeKind};
use super::units;

/// A table of the file with the description of its keys.
#[derive(Clone, Copy)]
pub(super) struct Reader<'n, 't> {
    pub node: &'n Node<'t>,
    shape: &'static TableShape,
    pub root: &'n Path,
    home: Option<&'n str>,
}

impl<'n, 't> Reader<'n, 't> {
    pub fn new(node: &'n Node<'t>, shape: &'static TableShape, root: &'n Path, home: Option<&'n str>) -> Self {
        Self { node, shape, root, home }
    }

    /// The reader of another table of the same file.
    pub fn other(&self, node: &'n Node<'t>, shape: &'static TableShape) -> Self {
        Self { node, shape, ..*self }
    }

    pub fn get(&self, key: &str) -> Option<&'n Node<'t>> {
        debug_assert!(self.knows(key), "{key} is not in the table of keys");
        self.node.get(key)
    }

    /// The table can have this key.
    pub fn knows(&self, key: &str) -> bool {
        self.shape.keys.iter().any(|known| known.name == key)
    }

    fn default(&self, key: &str) -> &'static str {
        self.shape.keys.iter().find(|known| known.name == key).map_or("", |key| key.default)
    }

    pub fn text(&self, key: &str) -> Option<Spanned<String>> {
        self.get(key).and_then(text)
    }

    pub fn string(&self, key: &str) -> Option<String> {
        self.text(key).map(|text| text.value)
    }

    pub fn bool(&self, key: &str) -> bool {
        match self.get(key).map(|node| &node.kind) {
            Some(NodeKind::Bool(value)) => *value,
            _ => self.default(key) == "true",
        }
    }

    /// A number within the bounds of its shape, which fit the type that is asked for.
    pub fn number<N: TryFrom<i64>>(&self, key: &str) -> Option<N> {
        let value = match self.get(key).map(|node| &node.kind) {
            Some(NodeKind::Integer(value)) => *value,
            _ => self.default(key).parse().ok()?,
        };
        N::try_from(value).ok()
    }

    pub fn duration(&self, key: &str) -> Option<Duration> {
        match self.get(key).map(|node| &node.kind) {
            Some(NodeKind::String(text)) => units::parse_duration(text),
            _ => units::parse_duration(self.default(key)),
        }
    }

    pub fn size(&self, key: &str) -> Option<u64> {
        self.text(key).and_then(|text| units::parse_size(&text))
    }

    /// One of the words of a choice, or its default.
    pub fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<Spanned<T>> {
        let written = self.text(key).unwrap_or_else(|| Spanned::default_of(self.default(key).to_owned()));
        let find = |text: &str| words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        let value = find(&written).or_else(|| find(self.default(key)))?;
        Some(Spanned::new(value, written.span))
    }

    pub fn template(&self, key: &str) -> Option<Template> {
        self.get(key).and_then(template)
    }

    pub fn value(&self, key: &str) -> Option<Value> {
        self.get(key).and_then(value)
    }

    pub fn texts(&self, key: &str) -> Vec<Spanned<String>> {
        self.items(key).iter().filter_map(text).collect()
    }

    pub fn strings(&self, key: &str) -> Vec<String> {
        self.texts(key).into_iter().map(|text| text.value).collect()
    }

    pub fn templates(&self, key: &str) -> Vec<Template> {
        self.items(key).iter().filter_map(template).collect()
    }

    pub fn items(&self, key: &str) -> &'n [Node<'t>] {
        match self.get(key).map(|node| &node.kind) {
            Some(NodeKind::Array(items)) => items,
            _ => &[],
        }
    }

    pub fn map<T>(&self, key: &str, read: impl Fn(&Node<'t>) -> Option<T>) -> IndexMap<String, T> {
        let entries = self.get(key).map_or(&[][..], Node::entries);
        entries.iter().filter_map(|entry| Some((entry.key.to_string(), read(&entry.node)?))).collect()
    }

    pub fn values(&self, key: &str) -> IndexMap<String, Value> {
        self.map(key, value)
    }

    pub fn path(&self, key: &str) -> Option<FilePath> {
        self.get(key).and_then(|node| self.file_path(node))
    }

    pub fn file_path(&self, node: &Node<'_>) -> Option<FilePath> {
        let text = text(node)?;
        Some(self.located(text.value, text.span))
    }

    /// A path that was written, or a default.
    pub fn located(&self, text: String, span: Span) -> FilePath {
        let home = self.home.zip(text.strip_prefix("~/"));
        let absolute = match home {
            Some((home, rest)) => normal(&Path::new(home).join(rest)),
            None => normal(&self.root.join(&text)),
        };
        FilePath { text, absolute, span }
    }
}

/// Text; a number or a boolean that a reference put in the place of a whole string is meant by its digits.
fn text(node: &Node<'_>) -> Option<Spanned<String>> {
    let value = match &node.kind {
        NodeKind::String(text) => text.to_string(),
        NodeKind::Integer(value) => value.to_string(),
        NodeKind::Float(value) => value.to_string(),
        NodeKind::Bool(value) => value.to_string(),
        _ => return None,
    };
    Some(Spanned::new(value, node.span))
}

pub(super) fn template(node: &Node<'_>) -> Option<Template> {
    match &node.kind {
        NodeKind::Template(template) => Some(template.clone()),
        NodeKind::String(text) => Some(Template::literal(Arc::<str>::from(text.as_ref()), node.span)),
        _ => text(node).map(|text| Template::literal(text.value, node.span)),
    }
}

pub(super) fn value(node: &Node<'_>) -> Option<Value> {
    Some(match &node.kind {
        NodeKind::String(_) | NodeKind::Template(_) => Value::Template(template(node)?),
        NodeKind::Integer(value) => Value::Integer(*value),
        NodeKind::Float(value) => Value::Float(*value),
        NodeKind::Bool(value) => Value::Bool(*value),
        NodeKind::Array(items) => Value::List(items.iter().map(value).collect::<Option<_>>()?),
        NodeKind::Table(entries) => Value::Map(
            entries.iter().map(|entry| Some((entry.key.to_string(), value(&entry.node)?))).collect::<Option<_>>()?,
        ),
        NodeKind::Datetime | NodeKind::Broken => return None,
    })
}

/// The path without `.` and `..`, by its text alone.
pub fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}
