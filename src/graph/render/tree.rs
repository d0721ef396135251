//! The graph as a tree for people: what nothing waits for at the top, below each step what it needs.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write};

use anstyle::Style;

use super::{Drawing, Look, Tint, reduce};
use crate::graph::{StepIndex, StepKind};

/// Beyond so many steps those that look alike are drawn as one.
const FOLD: usize = 150;
/// Of the branches below one step at most so many are drawn.
const BRANCHES: usize = 40;

/// What is drawn as one line: a step, or many that look alike.
struct Node {
    label: String,
    steps: Vec<StepIndex>,
    kind: StepKind,
    needs: Vec<usize>,
}

/// A tree. What was drawn before is not drawn again, and edges that follow from others are left out.
///
/// # Errors
/// Those of `out`.
pub fn tree(drawing: &Drawing<'_>, out: &mut dyn Write) -> fmt::Result {
    let nodes = if drawing.steps.len() > FOLD { folded(drawing) } else { each(drawing) };
    let mut needed = vec![false; nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        node.needs.iter().filter(|need| **need != index).for_each(|need| needed[*need] = true);
    }
    let mut roots: Vec<usize> = (0..nodes.len()).filter(|index| !needed[*index]).collect();
    if roots.is_empty() && !nodes.is_empty() {
        // Folded groups may need each other.
        roots.push(nodes.len() - 1);
    }
    let mut painter = Painter { drawing, nodes: &nodes, drawn: vec![false; nodes.len()], out };
    painter.painted(Style::new().bold(), drawing.graph.stack())?;
    painter.out.write_char('\n')?;
    painter.branches(&roots)
}

struct Painter<'p, 'd> {
    drawing: &'p Drawing<'d>,
    nodes: &'p [Node],
    drawn: Vec<bool>,
    out: &'p mut dyn Write,
}

/// A branch that is still to be drawn.
struct Branch {
    node: usize,
    last: bool,
    /// How many of the branches beside it are not drawn at all.
    more: usize,
    depth: usize,
}

impl Painter<'_, '_> {
    /// Draws all branches, without recursion: a chain of steps may be longer than the stack is deep.
    fn branches(&mut self, roots: &[usize]) -> fmt::Result {
        let mut todo = Vec::new();
        push(&mut todo, roots, 0);
        // For each depth, whether its line goes on below.
        let mut open: Vec<bool> = Vec::new();
        while let Some(branch) = todo.pop() {
            open.truncate(branch.depth);
            let lines: String = open.iter().map(|open| if *open { "│   " } else { "    " }).collect();
            self.painted(Style::new().dimmed(), &format!("{lines}{}", if branch.last { "└── " } else { "├── " }))?;
            if branch.more > 0 {
                self.painted(Style::new().dimmed(), &format!("… and {} more", branch.more))?;
                self.out.write_char('\n')?;
                continue;
            }
            let nodes = self.nodes;
            let node = &nodes[branch.node];
            let seen = std::mem::replace(&mut self.drawn[branch.node], true);
            self.line(node, seen)?;
            if seen && !node.needs.is_empty() {
                self.painted(Style::new().dimmed(), " (see above)")?;
            } else {
                push(&mut todo, &node.needs, branch.depth + 1);
            }
            open.push(!branch.last);
            self.out.write_char('\n')?;
        }
        Ok(())
    }

    /// The name of a node, and what would be done with it, unless that was said before.
    fn line(&mut self, node: &Node, seen: bool) -> fmt::Result {
        let looks: Vec<Look> = node.steps.iter().filter_map(|step| self.drawing.look(*step)).collect();
        let Some(worst) = looks.iter().map(|look| look.tint).max() else {
            return self.painted(kind_style(node.kind), &node.label);
        };
        self.painted(worst.style(), &node.label)?;
        let said = match looks.as_slice() {
            _ if seen => return Ok(()),
            [Look { tint, reason }] if reason.is_empty() => tint.as_str().to_owned(),
            [Look { tint, reason }] => format!("{}: {reason}", tint.as_str()),
            many => {
                let count = |tint: Tint| many.iter().filter(|look| look.tint == tint).count();
                let counts =
                    Tint::ALL.into_iter().rev().map(|tint| (count(tint), tint)).filter(|(count, _)| *count > 0);
                counts.map(|(count, tint)| format!("{count} {}", tint.as_str())).collect::<Vec<_>>().join(", ")
            }
        };
        self.painted(Style::new().dimmed(), &format!("  {said}"))
    }

    fn painted(&mut self, style: Style, text: &str) -> fmt::Result {
        if self.drawing.colour { write!(self.out, "{style}{text}{style:#}") } else { self.out.write_str(text) }
    }
}

/// Puts branches on the stack, the first on top.
fn push(todo: &mut Vec<Branch>, nodes: &[usize], depth: usize) {
    // One line more is no longer than the line that says that there is one more.
    let shown = if nodes.len() <= BRANCHES + 1 { nodes.len() } else { BRANCHES };
    if shown < nodes.len() {
        todo.push(Branch { node: 0, last: true, more: nodes.len() - shown, depth });
    }
    for (position, node) in nodes[..shown].iter().enumerate().rev() {
        todo.push(Branch { node: *node, last: position + 1 == nodes.len(), more: 0, depth });
    }
}

fn kind_style(kind: StepKind) -> Style {
    use anstyle::AnsiColor::{Blue, Cyan, Green, Magenta, Yellow};
    let colour = match kind {
        StepKind::Cluster => Magenta,
        StepKind::Build => Blue,
        StepKind::Load => Cyan,
        StepKind::Chart => Green,
        StepKind::Ready => Yellow,
        StepKind::Task => return Style::new(),
    };
    colour.on_default()
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
fn folded(drawing: &Drawing<'_>) -> Vec<Node> {
    let by_digits = groups(drawing, digits_folded);
    if by_digits.len() <= FOLD {
        return by_digits;
    }
    let by_word = groups(drawing, |name| match digits_folded(name).split_once('-') {
        Some((word, _)) => format!("{word}-*"),
        None => name.to_owned(),
    });
    if by_word.len() <= FOLD { by_word } else { groups(drawing, |_| "*".to_owned()) }
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
    if nodes.len() <= FOLD {
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
