//! The names of steps as people write them: `chart.todo`, `chart:todo`, and `image.backend` for its build.

use std::borrow::Cow;

use indexmap::IndexSet;

use super::context::Context;
use super::error::{ConfigError, meant, nearest};
use super::model::Need;
use super::tree::{Node, NodeKind};
use crate::graph::{StepId, StepKind};

/// The kinds of things in a file and the kind of step that each means first.
const KINDS: [(&str, StepKind); 6] = [
    ("image", StepKind::Build),
    ("build", StepKind::Build),
    ("load", StepKind::Load),
    ("chart", StepKind::Chart),
    ("ready", StepKind::Ready),
    ("task", StepKind::Task),
];

/// Reads `chart.todo`, `chart:todo`, `image.backend` or `cluster`. Says nothing of whether there is such a step.
pub fn parse_step(text: &str) -> Option<StepId> {
    let (kind, name) = split_step(text)?;
    Some(StepId::new(kind, name))
}

/// The same, without an allocation.
fn split_step(text: &str) -> Option<(StepKind, &str)> {
    if text == "cluster" {
        return Some((StepKind::Cluster, ""));
    }
    let (kind, name) = text.split_once([':', '.'])?;
    let (_, kind) = KINDS.iter().find(|(known, _)| *known == kind)?;
    (!name.is_empty()).then_some((*kind, name))
}

/// The table in which the things that such steps are for have their names.
fn table_of(kind: StepKind) -> &'static str {
    match kind {
        StepKind::Cluster => "",
        StepKind::Build | StepKind::Load => "image",
        StepKind::Chart => "chart",
        StepKind::Ready => "ready",
        StepKind::Task => "task",
    }
}

/// The tables whose keys are names.
const TABLES: [&str; 5] = ["image", "chart", "ready", "task", "vars"];

/// The names in a file.
pub(super) struct Names<'t> {
    tables: [Keys<'t>; TABLES.len()],
    has_cluster: bool,
}

type Keys<'t> = IndexSet<Cow<'t, str>, foldhash::fast::RandomState>;

impl<'t> Names<'t> {
    pub fn new(file: &Node<'t>) -> Self {
        let keys = |table| {
            let entries = file.get(table).map_or(&[][..], Node::entries);
            entries.iter().map(|entry| entry.key.clone()).collect()
        };
        Self { tables: TABLES.map(keys), has_cluster: file.get("cluster").is_some() }
    }

    /// The file speaks of a cluster.
    pub fn has_cluster(&self) -> bool {
        self.has_cluster
    }

    /// The names in a table, in the order of the file.
    pub fn within(&self, table: &str) -> impl Iterator<Item = &str> {
        self.keys(table).into_iter().flatten().map(Cow::as_ref)
    }

    /// The file has a thing of this name in one of its tables, be it right or wrong.
    pub fn contain(&self, table: &str, name: &str) -> bool {
        self.keys(table).is_some_and(|keys| keys.contains(name))
    }

    fn keys(&self, table: &str) -> Option<&Keys<'t>> {
        TABLES.iter().position(|known| *known == table).map(|at| &self.tables[at])
    }

    fn of(&self, kind: StepKind) -> impl Iterator<Item = &str> {
        self.within(table_of(kind))
    }

    /// There is such a thing in the file, be it right or wrong.
    fn has(&self, kind: StepKind, name: &str) -> bool {
        match kind {
            StepKind::Cluster => self.has_cluster,
            kind => self.contain(table_of(kind), name),
        }
    }

    /// The steps that are named and exist.
    pub fn needs(&self, items: &[Node<'_>]) -> Vec<Need> {
        items
            .iter()
            .filter_map(|node| {
                let NodeKind::String(text) = &node.kind else { return None };
                let (kind, name) = split_step(text).filter(|(kind, name)| self.has(*kind, name))?;
                Some(Need { id: StepId::new(kind, name), span: node.span })
            })
            .collect()
    }

    /// Reports what in `needs` names nothing.
    pub fn check(&self, items: &[Node<'_>], context: &mut Context<'_>) {
        for node in items {
            let NodeKind::String(text) = &node.kind else { continue };
            let step = split_step(text);
            let (label, help) = match step {
                Some((kind, name)) if self.has(kind, name) => continue,
                Some((StepKind::Cluster, _)) => {
                    ("no such step".to_owned(), "there is no `[cluster]` in this file".to_owned())
                }
                Some(_) if !context.suggests() => ("no such step".to_owned(), String::new()),
                Some((kind, name)) => self.nearest_step(text, kind, name),
                None => ("not the name of a step".to_owned(), self.guess(text)),
            };
            context.report(
                ConfigError::new(format!("`{text}` is no step of this file")).label(node.span, label).help(help),
            );
        }
    }

    fn nearest_step(&self, text: &str, kind: StepKind, name: &str) -> (String, String) {
        let written = text.split([':', '.']).next().unwrap_or_default();
        let separator = if text.contains(':') { ':' } else { '.' };
        let help = match nearest(name, self.of(kind)) {
            Some(near) => format!("did you mean `{written}{separator}{near}`?"),
            // Perhaps the name is right and the kind is not.
            None => match self.anywhere(name) {
                Some(step) => format!("did you mean `{step}`?"),
                None => meant(name, &format!("{written} steps"), self.of(kind).collect::<Vec<_>>()),
            },
        };
        (format!("no such {written}"), help)
    }

    /// A step of any kind with this name.
    fn anywhere(&self, name: &str) -> Option<String> {
        ["chart", "image", "ready", "task"]
            .into_iter()
            .find(|table| self.contain(table, name))
            .map(|key| format!("{key}.{name}"))
    }

    fn guess(&self, text: &str) -> String {
        let (kind, name) = text.split_once([':', '.']).unwrap_or(("", text));
        if kind.is_empty()
            && let Some(step) = self.anywhere(name)
        {
            return format!("did you mean `{step}`?");
        }
        match nearest(kind, KINDS.iter().map(|(known, _)| *known)) {
            Some(known) if !kind.is_empty() => format!("did you mean `{known}.{name}`?"),
            _ => "write it like `chart.todo`, `image.backend`, `ready.api`, `task.migrate` or `cluster`".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_name_the_same_step() {
        for (text, id) in [
            ("chart.todo", "chart:todo"),
            ("chart:todo", "chart:todo"),
            ("image.backend", "build:backend"),
            ("image:backend", "build:backend"),
            ("load.backend", "load:backend"),
            ("cluster", "cluster"),
        ] {
            assert_eq!(parse_step(text).unwrap().to_string(), id);
        }
        for text in ["", "todo", "chart.", "pod.todo", "cluster.todo"] {
            assert!(parse_step(text).is_none(), "{text}");
        }
    }
}
