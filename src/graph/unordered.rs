//! Tasks that read what another one makes, although nothing says which of them comes first.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{Graph, StepId, StepIndex, StepKind};
use crate::config::{StackFile, literal_path};

/// A warning for each file that one task makes and another one reads without a path of needs between them. Only paths are
/// compared: what two patterns have in common shows only when the files are there.
pub fn unordered(stack: &StackFile, graph: &Graph) -> Vec<String> {
    let step = |name: &str| graph.find(&StepId::new(StepKind::Task, name));
    let mut makers: HashMap<Cow<'_, str>, (&str, StepIndex)> = HashMap::new();
    for (name, task) in stack.tasks.iter().filter(|(_, task)| !task.outputs.is_empty()) {
        let Some(maker) = step(name) else { continue };
        let paths = task.outputs.iter().filter_map(|pattern| literal_path(&pattern.value));
        makers.extend(paths.map(|path| (path, (&**name, maker))));
    }
    let mut warnings = Vec::new();
    if makers.is_empty() {
        return warnings;
    }
    let mut places = Vec::new();
    for (name, task) in &stack.tasks {
        for pattern in &task.inputs {
            let Some(path) = literal_path(&pattern.value) else { continue };
            let (Some(&(maker_name, maker)), Some(reader)) = (makers.get(&path), step(name)) else { continue };
            if maker == reader || graph.needs(reader).contains(&maker) {
                continue;
            }
            if places.is_empty() {
                places = vec![0; graph.len()];
                graph.order().iter().enumerate().for_each(|(place, step)| places[step.index()] = place);
            }
            if !leads(graph, &places, reader, maker) && !leads(graph, &places, maker, reader) {
                warnings.push(format!(
                    "task `{name}` reads `{path}`, which task `{maker_name}` makes, and may run before it: add \
                     `needs = [\"task.{maker_name}\"]` to `[task.{name}]`"
                ));
            }
        }
    }
    warnings
}

/// Whether `step` needs `need`, perhaps through others. What stands before `need` in the order can't lead to it.
fn leads(graph: &Graph, places: &[usize], step: StepIndex, need: StepIndex) -> bool {
    let mut seen = std::collections::HashSet::new();
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
