//! Tasks and images that read what a task makes, although nothing says which of them comes first.

use std::borrow::Cow;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use super::{Graph, ImageFacts, StepId, StepIndex, StepKind};
use crate::config::{StackFile, literal_path};

/// So many makers of what is in a folder are looked at.
const MAKERS: usize = 64;

/// A warning for each path that a task makes and a step reads, or the folder of which it does, without a path of needs
/// between them. Only paths are compared: what two patterns have in common shows only when the files are there.
pub fn unordered(stack: &StackFile, graph: &Graph, facts: &ImageFacts) -> Vec<String> {
    let made = Made::of(stack, graph);
    let mut warnings = Vec::new();
    if made.by_path.is_empty() {
        return warnings;
    }
    let mut places = Vec::new();
    let mut look = |path: &str, kind: StepKind, table: &str, name: &Arc<str>, says: &str| {
        let makers = made.makers(path);
        let Some(reader) = (if makers.is_empty() { None } else { graph.find(&StepId::new(kind, Arc::clone(name))) })
        else {
            return;
        };
        for (made, (maker_name, maker)) in makers {
            if maker == reader || graph.needs(reader).contains(&maker) {
                continue;
            }
            if places.is_empty() {
                places = vec![0; graph.len()];
                graph.order().iter().enumerate().for_each(|(place, step)| places[step.index()] = place);
            }
            if !leads(graph, &places, reader, maker) && !leads(graph, &places, maker, reader) {
                let makes = if made == path { String::new() } else { format!(" `{made}`") };
                warnings.push(format!(
                    "{table} `{name}` {says} `{path}`, {which} task `{maker_name}` makes{makes}, and may run before it: add \
                     `needs = [\"task.{maker_name}\"]` to `[{table}.{name}]`",
                    which = if made == path { "which" } else { "where" },
                ));
                // One is enough to look at it.
                return;
            }
        }
    };
    for (name, task) in &stack.tasks {
        for pattern in &task.inputs {
            if let Some(path) = literal_path(&pattern.value) {
                look(&path, StepKind::Task, "task", name, "reads");
            }
        }
    }
    for (name, image) in &stack.images {
        // What is beside the stack file is beside everything; and what an ignore file leaves out is not read.
        if let Some(path) =
            literal_path(&image.context.text).filter(|path| !path.is_empty() && !facts.ignoring.contains(&**name))
        {
            look(&path, StepKind::Build, "image", name, "is built from");
        }
    }
    warnings
}

/// What tasks make.
#[derive(Default)]
struct Made<'s> {
    by_path: HashMap<Cow<'s, str>, Maker<'s>>,
    /// The first of what is made in a folder, and by whom.
    by_folder: HashMap<String, Vec<(String, Maker<'s>)>>,
}

type Maker<'s> = (&'s str, StepIndex);

impl<'s> Made<'s> {
    fn of(stack: &'s StackFile, graph: &Graph) -> Self {
        let mut made = Self::default();
        for (name, task) in stack.tasks.iter().filter(|(_, task)| !task.outputs.is_empty()) {
            let Some(step) = graph.find(&StepId::new(StepKind::Task, Arc::clone(name))) else { continue };
            let maker = (&**name, step);
            for path in task.outputs.iter().filter_map(|pattern| literal_path(&pattern.value)) {
                for folder in folders(&path) {
                    match made.by_folder.get_mut(folder) {
                        // Then those that it is in hold as many, too.
                        Some(first) if first.len() == MAKERS => break,
                        Some(first) => first.push((path.to_string(), maker)),
                        None => _ = made.by_folder.insert(folder.to_owned(), vec![(path.to_string(), maker)]),
                    }
                }
                made.by_path.insert(path, maker);
            }
        }
        made
    }

    /// Who makes a path, a folder that it is in, or something in it; with what that is.
    fn makers(&self, path: &str) -> Vec<(&str, Maker<'s>)> {
        if let Some((made, maker)) = self.by_path.get_key_value(path) {
            return vec![(made, *maker)];
        }
        if let Some(within) = self.by_folder.get(path) {
            return within.iter().map(|(made, maker)| (&**made, *maker)).collect();
        }
        let above = folders(path).find_map(|folder| self.by_path.get_key_value(folder));
        above.map(|(made, maker)| (&**made, *maker)).into_iter().collect()
    }
}

/// The folders that a path is in, the innermost first.
fn folders(path: &str) -> impl Iterator<Item = &str> {
    path.rmatch_indices('/').map(|(at, _)| &path[..at]).filter(|folder| !folder.is_empty())
}

/// Whether `step` needs `need`, perhaps through others. What stands before `need` in the order can't lead to it.
fn leads(graph: &Graph, places: &[usize], step: StepIndex, need: StepIndex) -> bool {
    let mut seen = HashSet::default();
    let mut todo = vec![step];
    while let Some(step) = todo.pop() {
        if step == need {
            return true;
        }
        let later = |next: &StepIndex| places[next.index()] >= places[need.index()];
        todo.extend(graph.needs(step).iter().copied().filter(later).filter(|next| seen.insert(*next)));
    }
    false
}
