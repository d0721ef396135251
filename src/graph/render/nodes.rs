//! What pictures for people are made of: steps, or groups of steps that look alike where there are too many to be read.

use std::collections::{HashMap, HashSet};

use super::{Drawing, reduce};
use crate::graph::{StepIndex, StepKind};

/// A step, or many that look alike.
pub(super) struct Node {
    /// The id of the step, or what the ids of the group have in common and how many there are.
    pub label: String,
    /// The steps, at least one.
    pub steps: Vec<StepIndex>,
    /// The kind of all of them.
    pub kind: StepKind,
    /// Other nodes, by their place. Groups may need each other.
    pub needs: Vec<usize>,
}

/// The nodes of a drawing: each step, or groups if there are more than `most` steps. Needs that follow from others are
/// left out.
pub(super) fn nodes(drawing: &Drawing<'_>, most: usize) -> Vec<Node> {
    if drawing.steps.len() > most { folded(drawing, most) } else { each(drawing) }
}

/// One node for each step.
fn each(drawing: &Drawing<'_>) -> Vec<Node> {
    let needs = reduce::needs(drawing);
    let steps: Vec<StepIndex> = drawing.steps.iter().collect();
    let place: HashMap<StepIndex, usize> = steps.iter().enumerate().map(|(place, step)| (*step, place)).collect();
    let node = |step: &StepIndex| {
        let id = drawing.graph.id(*step);
        let mut needs: Vec<usize> = needs[step.index()].iter().filter_map(|need| place.get(need).copied()).collect();
        // The cluster last: it is what everything else stands on, and says the least.
        needs.sort_by_key(|need| (drawing.graph.id(steps[*need]).kind() == StepKind::Cluster, *need));
        Node { label: id.to_string(), steps: vec![*step], kind: id.kind(), needs }
    };
    steps.iter().map(node).collect()
}

/// One node for all steps of a kind whose names differ only in their digits, or, if that leaves too many, in what
/// follows their first word.
fn folded(drawing: &Drawing<'_>, most: usize) -> Vec<Node> {
    let by_digits = groups(drawing, digits_folded);
    if by_digits.len() <= most {
        return by_digits;
    }
    let by_word = groups(drawing, |name| match digits_folded(name).split_once('-') {
        Some((word, _)) => format!("{word}-*"),
        None => name.to_owned(),
    });
    if by_word.len() <= most { by_word } else { groups(drawing, |_| "*".to_owned()) }
}

/// `t-0017-b` as `t-*-b`.
fn digits_folded(name: &str) -> String {
    let mut folded = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '0'..='9' if folded.ends_with('*') => {}
            '0'..='9' => folded.push('*'),
            c => folded.push(c),
        }
    }
    folded
}

fn groups(drawing: &Drawing<'_>, pattern: impl Fn(&str) -> String) -> Vec<Node> {
    let mut places: HashMap<(StepKind, String), usize> = HashMap::new();
    let mut nodes: Vec<Node> = Vec::new();
    let mut group_of: Vec<usize> = vec![usize::MAX; drawing.graph.len()];
    for step in drawing.steps.iter() {
        let id = drawing.graph.id(step);
        let key = (id.kind(), pattern(id.name()));
        let place = *places.entry(key).or_insert_with_key(|(kind, pattern)| {
            nodes.push(Node { label: pattern.clone(), steps: Vec::new(), kind: *kind, needs: Vec::new() });
            nodes.len() - 1
        });
        nodes[place].steps.push(step);
        group_of[step.index()] = place;
    }
    let mut seen = HashSet::new();
    for step in drawing.steps.iter() {
        let group = group_of[step.index()];
        for need in drawing.needs(step) {
            let need = group_of[need.index()];
            if need != group && seen.insert((group, need)) {
                nodes[group].needs.push(need);
            }
        }
    }
    for node in &mut nodes {
        node.label = match node.steps.as_slice() {
            [only] => drawing.graph.id(*only).to_string(),
            many => format!("{}:{} ({} steps)", node.kind, node.label, many.len()),
        };
    }
    // The closure takes the square of it.
    if nodes.len() <= 1_000 {
        drop_what_follows(&mut nodes);
    }
    nodes
}

/// Leaves out needs that follow from other needs. Groups may need each other, so this is no plain reduction: of two
/// needs that lead to each other both stay.
fn drop_what_follows(nodes: &mut [Node]) {
    let reached: Vec<Vec<bool>> = (0..nodes.len())
        .map(|start| {
            let mut reached = vec![false; nodes.len()];
            let mut todo = nodes[start].needs.clone();
            while let Some(node) = todo.pop() {
                if !std::mem::replace(&mut reached[node], true) {
                    todo.extend(&nodes[node].needs);
                }
            }
            reached
        })
        .collect();
    for node in nodes {
        let all = node.needs.clone();
        node.needs
            .retain(|need| !all.iter().any(|other| other != need && reached[*other][*need] && !reached[*need][*other]));
    }
}
