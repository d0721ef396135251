//! Steps and their edges: ids, inference of edges from references, cycles, selection, rendering. Pure.
//!
//! A [`Graph`] is made once and never changes. Steps have dense indices, so that whoever schedules them keeps arrays
//! and no maps; a million of them take a few hundred bytes each.

mod build;
mod cycle;
mod id;
mod render;
mod select;
mod unordered;

use std::collections::VecDeque;

use foldhash::{HashMap, HashMapExt};
use petgraph::graph::DiGraph;

pub use build::{ImageFacts, base_of_stack};
pub use cycle::Cycle;
pub use id::{ParseStepIdError, StepId, StepKind};
pub use render::{Decide, Drawing, Look, Tint, dot, html, json, mermaid, tree};
pub use select::{SelectError, Selection, StepSet};
pub use unordered::unordered;

use crate::config::{OutputRef, Span, Spanned};

/// The place of a step in its graph, from 0 without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepIndex(pub u32);

impl StepIndex {
    /// For the index of an array.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Why one step needs another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// By the nature of the steps: a load needs its build.
    Rule,
    /// `needs` says so, here.
    Needs(Span),
    /// It uses an output of the other, here.
    Output(Box<Spanned<OutputRef>>),
    /// Its Dockerfile builds on the other's image, which it names so.
    From(Box<str>),
    /// By way of steps that are left out.
    LeftOut,
}

impl Why {
    /// The place in the stack file that says so.
    pub fn span(&self) -> Option<Span> {
        match self {
            Self::Needs(span) => Some(*span),
            Self::Output(output) => Some(output.span),
            Self::Rule | Self::From(_) | Self::LeftOut => None,
        }
    }
}

/// The text for people, to go after the name of the step that is needed.
impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rule => f.write_str("always"),
            Self::Needs(_) => f.write_str("`needs` says so"),
            Self::Output(output) => write!(f, "refers to `${{{}}}`", output.value),
            Self::From(reference) => write!(f, "Dockerfile says FROM {reference}"),
            Self::LeftOut => f.write_str("by way of steps that are left out"),
        }
    }
}

/// Steps and what each of them needs. Without cycles.
#[derive(Debug, Clone)]
pub struct Graph {
    stack: String,
    /// Edges lead from a step to what it needs.
    graph: DiGraph<StepId, Why, u32>,
    index: HashMap<StepId, StepIndex>,
    needs: Adjacency,
    dependents: Adjacency,
    order: Vec<StepIndex>,
}

/// Neighbours of all steps in one array.
#[derive(Debug, Clone, Default)]
struct Adjacency {
    /// Where the neighbours of each step begin; one more than there are steps.
    starts: Vec<u32>,
    targets: Vec<StepIndex>,
}

impl Adjacency {
    /// From pairs (step, neighbour), of which those of one step keep their order.
    fn new(steps: usize, pairs: impl Iterator<Item = (u32, u32)> + Clone) -> Self {
        let mut starts = vec![0_u32; steps + 1];
        for (from, _) in pairs.clone() {
            starts[from as usize + 1] += 1;
        }
        for step in 0..steps {
            starts[step + 1] += starts[step];
        }
        let mut next = starts.clone();
        let mut targets = vec![StepIndex(0); starts[steps] as usize];
        for (from, to) in pairs {
            targets[next[from as usize] as usize] = StepIndex(to);
            next[from as usize] += 1;
        }
        Self { starts, targets }
    }

    fn of(&self, step: StepIndex) -> &[StepIndex] {
        &self.targets[self.starts[step.index()] as usize..self.starts[step.index() + 1] as usize]
    }
}

impl Graph {
    /// The stack's name.
    pub fn stack(&self) -> &str {
        &self.stack
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.graph.node_count()
    }

    /// There are no steps.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All steps, in the order of the file: the cluster, images, charts, checks, tasks.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = (StepIndex, &StepId)> {
        self.graph.raw_nodes().iter().enumerate().map(|(index, node)| (StepIndex(index as u32), &node.weight))
    }

    /// The id of a step.
    pub fn id(&self, step: StepIndex) -> &StepId {
        &self.graph.raw_nodes()[step.index()].weight
    }

    /// The step of this id.
    pub fn find(&self, id: &StepId) -> Option<StepIndex> {
        self.index.get(id).copied()
    }

    /// What the step needs, each once, in the order of the file.
    pub fn needs(&self, step: StepIndex) -> &[StepIndex] {
        self.needs.of(step)
    }

    /// What needs the step.
    pub fn dependents(&self, step: StepIndex) -> &[StepIndex] {
        self.dependents.of(step)
    }

    /// Why `step` needs `need`; nothing if it does not.
    pub fn why(&self, step: StepIndex, need: StepIndex) -> Option<&Why> {
        let edge = self.graph.find_edge(step.0.into(), need.0.into())?;
        self.graph.edge_weight(edge)
    }

    /// All steps, each after everything it needs; always the same order for the same file.
    pub fn order(&self) -> &[StepIndex] {
        &self.order
    }

    /// What the step needs of a set, be it by way of steps outside of the set.
    pub fn needs_within(&self, step: StepIndex, set: &StepSet) -> Vec<StepIndex> {
        let mut seen = std::collections::HashSet::new();
        let mut found = Vec::new();
        let mut todo: Vec<StepIndex> = self.needs(step).to_vec();
        while let Some(need) = todo.pop() {
            if !seen.insert(need) {
                continue;
            }
            if set.contains(need) {
                found.push(need);
            } else {
                todo.extend(self.needs(need));
            }
        }
        found.sort_unstable();
        found
    }
}

/// Collects steps and edges for a [`Graph`]: those of a stack file, or any others for tests and benchmarks.
#[derive(Debug, Default)]
pub struct Builder {
    graph: DiGraph<StepId, Why, u32>,
    index: HashMap<StepId, StepIndex>,
}

impl Builder {
    /// For so many steps and edges.
    pub fn with_capacity(steps: usize, edges: usize) -> Self {
        Self { graph: DiGraph::with_capacity(steps, edges), index: HashMap::with_capacity(steps) }
    }

    /// Adds a step; one that is there already stays.
    pub fn step(&mut self, id: StepId) -> StepIndex {
        if let Some(step) = self.index.get(&id) {
            return *step;
        }
        let step = StepIndex(self.graph.add_node(id.clone()).index() as u32);
        self.index.insert(id, step);
        step
    }

    /// The step of this id.
    pub fn find(&self, id: &StepId) -> Option<StepIndex> {
        self.index.get(id).copied()
    }

    /// `step` needs `need`. When it is said twice, the first reason stays.
    pub fn edge(&mut self, step: StepIndex, need: StepIndex, why: Why) {
        self.graph.add_edge(step.0.into(), need.0.into(), why);
    }

    /// The graph, or the cycles that keep it from being one.
    ///
    /// # Errors
    /// One cycle for each knot of steps that need each other, as short as it can be.
    pub fn finish(self, stack: impl Into<String>) -> Result<Graph, Vec<Cycle>> {
        let Self { graph, index } = self;
        let graph = without_doubles(graph);
        let steps = graph.node_count();
        let pairs = graph.raw_edges().iter().map(|edge| (edge.source().index() as u32, edge.target().index() as u32));
        let needs = Adjacency::new(steps, pairs.clone());
        let dependents = Adjacency::new(steps, pairs.map(|(step, need)| (need, step)));
        let order = order(steps, &needs, &dependents);
        if order.len() < steps {
            return Err(cycle::find(&graph));
        }
        Ok(Graph { stack: stack.into(), graph, index, needs, dependents, order })
    }
}

/// The same graph with one edge, the first, for each pair of steps; edges of one step in a row.
fn without_doubles(graph: DiGraph<StepId, Why, u32>) -> DiGraph<StepId, Why, u32> {
    let steps = graph.node_count();
    let pairs: Vec<_> =
        graph.raw_edges().iter().map(|edge| (edge.source().index() as u32, edge.target().index() as u32)).collect();
    let all = Adjacency::new(steps, pairs.iter().copied());
    let mut last_step = vec![u32::MAX; steps];
    let doubles = (0..steps as u32).any(|step| {
        all.of(StepIndex(step)).iter().any(|need| std::mem::replace(&mut last_step[need.index()], step) == step)
    });
    if !doubles {
        return graph;
    }
    let mut seen = std::collections::HashSet::with_capacity(pairs.len());
    let mut pairs = pairs.into_iter();
    graph.filter_map_owned(|_, id| Some(id), |_, why| pairs.next().is_some_and(|pair| seen.insert(pair)).then_some(why))
}

/// Kahn's order, first in, first out: it depends on nothing but the file. Shorter than `steps` if there is a cycle.
fn order(steps: usize, needs: &Adjacency, dependents: &Adjacency) -> Vec<StepIndex> {
    let mut open: Vec<u32> = (0..steps as u32).map(|step| needs.of(StepIndex(step)).len() as u32).collect();
    let mut ready: VecDeque<StepIndex> =
        (0..steps as u32).map(StepIndex).filter(|step| open[step.index()] == 0).collect();
    let mut order = Vec::with_capacity(steps);
    while let Some(step) = ready.pop_front() {
        order.push(step);
        for dependent in dependents.of(step) {
            open[dependent.index()] -= 1;
            if open[dependent.index()] == 0 {
                ready.push_back(*dependent);
            }
        }
    }
    order
}

#[cfg(test)]
mod tests;
