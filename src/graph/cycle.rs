//! Steps that wait for each other, as the path that closes.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::fmt;

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::{StepId, Why};
use crate::config::{ConfigError, Source};

/// Steps of which each needs the next, and the last needs the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle {
    /// Each step, and why it needs the next one.
    pub path: Vec<(StepId, Why)>,
}

/// `chart:a -> ready:b -> chart:a`.
impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (step, _) in &self.path {
            write!(f, "{step} -> ")?;
        }
        self.path.first().map_or(Ok(()), |(first, _)| first.fmt(f))
    }
}

impl Cycle {
    /// The error that shows each place of the file that closes the cycle.
    pub fn error(&self, source: &Source) -> ConfigError {
        let mut error = ConfigError::new(match self.path.as_slice() {
            [(only, _)] => format!("`{only}` needs itself: {self}"),
            _ => format!("steps wait for each other: {self}"),
        });
        let next = self.path.iter().map(|(step, _)| step).cycle().skip(1);
        let mut rules = Vec::new();
        for ((step, why), need) in self.path.iter().zip(next) {
            match why.span() {
                Some(span) => error = error.label(span, format!("`{step}` needs `{need}`")),
                None => rules.push(match why {
                    Why::From(reference) => {
                        format!("the Dockerfile of `{step}` says FROM {reference}, which is `{need}`")
                    }
                    _ => format!("`{step}` always needs `{need}`"),
                }),
            }
        }
        let help = "one of these needs has to go";
        let help = if rules.is_empty() { help.to_owned() } else { format!("{help}; {}", rules.join("; ")) };
        error.help(help).within(source)
    }
}

/// One cycle, as short as it can be, for each knot of steps.
pub(super) fn find(graph: &DiGraph<StepId, Why, u32>) -> Vec<Cycle> {
    let mut cycles: Vec<(NodeIndex, Cycle)> = kosaraju_scc(graph)
        .into_iter()
        .filter_map(|knot| {
            let first = knot.iter().copied().min()?;
            let closed = knot.len() > 1 || graph.contains_edge(first, first);
            closed.then(|| (first, shortest(graph, first)))
        })
        .collect();
    cycles.sort_by_key(|(first, _)| *first);
    cycles.into_iter().map(|(_, cycle)| cycle).collect()
}

/// The shortest way from `start` back to itself. There is one: it is part of a knot.
fn shortest(graph: &DiGraph<StepId, Why, u32>, start: NodeIndex) -> Cycle {
    let mut came_from: HashMap<NodeIndex, NodeIndex> = HashMap::new();
    let mut todo = VecDeque::from([start]);
    'search: while let Some(step) = todo.pop_front() {
        let mut needs: Vec<_> = graph.neighbors(step).collect();
        needs.sort_unstable();
        for need in needs {
            if let Entry::Vacant(first) = came_from.entry(need) {
                first.insert(step);
                if need == start {
                    break 'search;
                }
                todo.push_back(need);
            }
        }
    }
    let mut path = Vec::new();
    let mut need = start;
    while let Some(&step) = came_from.get(&need) {
        let why = graph.find_edge(step, need).and_then(|edge| graph.edge_weight(edge)).cloned().unwrap_or(Why::Rule);
        path.push((graph[step].clone(), why));
        need = step;
        if step == start {
            break;
        }
    }
    path.reverse();
    Cycle { path }
}
