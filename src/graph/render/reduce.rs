//! Edges that say nothing new: what a step needs by way of another need is left out of pictures.

use petgraph::algo::tred::{dag_to_toposorted_adjacency_list, dag_transitive_reduction_closure};
use petgraph::graph::{DiGraph, NodeIndex};

use super::Drawing;
use crate::graph::StepIndex;

/// Beyond so many steps edges are kept as they are: the closure takes the square of it.
const MOST: usize = 4_000;

/// What each of the drawn steps needs directly, by the index of the step in its graph.
pub(super) fn needs(drawing: &Drawing<'_>) -> Vec<Vec<StepIndex>> {
    let mut needs = vec![Vec::new(); drawing.graph.len()];
    if drawing.steps.len() > MOST {
        for step in drawing.steps.iter() {
            needs[step.index()] = drawing.needs(step).collect();
        }
        return needs;
    }
    // The topological order is known already, needs first; the algorithm wants the opposite direction of edges.
    let order: Vec<StepIndex> =
        drawing.graph.order().iter().rev().copied().filter(|step| drawing.steps.contains(*step)).collect();
    let mut place = vec![NodeIndex::<u32>::end(); drawing.graph.len()];
    let mut small: DiGraph<StepIndex, ()> = DiGraph::with_capacity(order.len(), order.len() * 2);
    for step in &order {
        place[step.index()] = small.add_node(*step);
    }
    for step in &order {
        for need in drawing.needs(*step) {
            small.add_edge(place[step.index()], place[need.index()], ());
        }
    }
    let nodes: Vec<NodeIndex> = small.node_indices().collect();
    let (list, _) = dag_to_toposorted_adjacency_list::<_, u32>(&small, &nodes);
    let (reduction, _) = dag_transitive_reduction_closure(&list);
    for from in 0..order.len() as u32 {
        let mut direct: Vec<StepIndex> = reduction
            .edge_indices_from(from)
            .filter_map(|edge| reduction.edge_endpoints(edge))
            .map(|(_, to)| order[to as usize])
            .collect();
        direct.sort_unstable();
        needs[order[from as usize].index()] = direct;
    }
    needs
}
