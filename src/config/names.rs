//! The names of steps as people write them: `chart.todo`, `chart:todo`, and `image.backend` for its build.

use toml::de::DeTable;

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

/// The names in a file.
pub(super) struct Names<'n> {
    file: &'n DeTable<'n>,
}

impl<'n> Names<'n> {
    pub fn new(file: &'n DeTable<'n>) -> Self {
        Self { file }
    }

    fn table(&self, key: &str) -> Option<&DeTable<'n>> {
        self.file.get(key).and_then(|table| table.get_ref().as_table())
    }

    fn of(&self, kind: StepKind) -> impl Iterator<Item = &str> {
        let key = match kind {
            StepKind::Cluster => "",
            StepKind::Build | StepKind::Load => "image",
            StepKind::Chart => "chart",
            StepKind::Ready => "ready",
            StepKind::Task => "task",
        };
        self.table(key).into_iter().flat_map(|table| table.keys()).map(|key| key.get_ref().as_ref())
    }

    /// There is such a thing in the file, be it right or wrong.
    fn has(&self, kind: StepKind, name: &str) -> bool {
        let key = match kind {
            StepKind::Cluster => return self.file.contains_key("cluster"),
            StepKind::Build | StepKind::Load => "image",
            StepKind::Chart => "chart",
            StepKind::Ready => "ready",
            StepKind::Task => "task",
        };
        self.table(key).is_some_and(|table| table.contains_key(name))
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
            .find(|key| self.table(key).is_some_and(|table| table.contains_key(name)))
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
