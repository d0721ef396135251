//! The graph as a tree for people: what nothing waits for at the top, below each step what it needs.

use std::fmt::{self, Write};

use anstyle::Style;

use super::nodes::{self, Node};
use super::{Drawing, Look, Tint};
use crate::graph::StepKind;

/// Beyond so many steps those that look alike are drawn as one.
const FOLD: usize = 150;
/// Of the branches below one step at most so many are drawn.
const BRANCHES: usize = 40;
/// What is deeper than this goes on below, from the margin: a chain of steps would leave every screen to the right.
const DEEPEST: usize = 20;

/// A tree. What was drawn before is not drawn again, what is too deep goes on below, and edges that follow from others are
/// left out.
///
/// # Errors
/// Those of `out`.
pub fn tree(drawing: &Drawing<'_>, out: &mut dyn Write) -> fmt::Result {
    let nodes = nodes::nodes(drawing, FOLD);
    let roots = roots(&nodes);
    let mut painter = Painter { drawing, nodes: &nodes, drawn: vec![false; nodes.len()], later: Vec::new(), out };
    painter.painted(Style::new().bold(), drawing.graph.stack())?;
    painter.out.write_char('\n')?;
    painter.branches(&roots)?;
    let mut next = 0;
    while let Some(&node) = painter.later.get(next) {
        next += 1;
        painter.out.write_char('\n')?;
        painter.line(&nodes[node], true)?;
        painter.out.write_char('\n')?;
        painter.branches(&nodes[node].needs)?;
    }
    Ok(())
}

/// What nothing waits for. Groups of steps may wait for each other; of those that nothing else leads to the last one is
/// taken.
fn roots(nodes: &[Node]) -> Vec<usize> {
    let mut needed = vec![false; nodes.len()];
    nodes.iter().flat_map(|node| &node.needs).for_each(|need| needed[*need] = true);
    let mut roots: Vec<usize> = (0..nodes.len()).filter(|index| !needed[*index]).collect();
    let mut reached = vec![false; nodes.len()];
    let mut todo = roots.clone();
    let mut rest = (0..nodes.len()).rev();
    loop {
        while let Some(node) = todo.pop() {
            if !std::mem::replace(&mut reached[node], true) {
                todo.extend(&nodes[node].needs);
            }
        }
        match rest.find(|node| !reached[*node]) {
            Some(node) => {
                roots.push(node);
                todo.push(node);
            }
            None => return roots,
        }
    }
}

struct Painter<'p, 'd> {
    drawing: &'p Drawing<'d>,
    nodes: &'p [Node],
    drawn: Vec<bool>,
    /// Nodes at the greatest depth, whose needs are drawn below the rest.
    later: Vec<usize>,
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
            } else if branch.depth == DEEPEST && !node.needs.is_empty() {
                self.painted(Style::new().dimmed(), " (goes on below)")?;
                self.later.push(branch.node);
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
