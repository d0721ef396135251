//! Graphs of whole files.

use super::*;

fn build(pairs: &[(&str, &str)]) -> Result<Graph, Vec<Cycle>> {
    let mut builder = Builder::default();
    for (step, need) in pairs {
        let step = builder.step(step.parse().unwrap());
        let need = builder.step(need.parse().unwrap());
        builder.edge(step, need, Why::Rule);
    }
    builder.finish("test")
}

#[test]
fn the_shortest_way_round_a_cycle_is_shown() {
    let cycles = build(&[
        ("chart:a", "ready:b"),
        ("ready:b", "task:c"),
        ("task:c", "chart:a"),
        ("ready:b", "chart:a"),
        ("task:d", "task:d"),
    ])
    .unwrap_err();
    let shown: Vec<_> = cycles.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["chart:a -> ready:b -> chart:a", "task:d -> task:d"]);
}

#[test]
fn an_edge_that_is_said_twice_is_one_edge() {
    let graph = build(&[("chart:a", "load:b"), ("chart:a", "cluster"), ("chart:a", "load:b")]).unwrap();
    let chart = graph.find(&StepId::new(StepKind::Chart, "a")).unwrap();
    assert_eq!(graph.needs(chart).len(), 2);
    assert_eq!(graph.dependents(graph.find(&StepId::new(StepKind::Load, "b")).unwrap()), [chart]);
}
