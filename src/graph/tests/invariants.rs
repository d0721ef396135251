//! What holds of every graph, on random ones.

use proptest::prelude::*;

use super::super::render::{Drawing, dot, html, json, mermaid, tree};
use super::*;

/// Random edges between `steps` steps; those that lead upwards in the numbering cannot close a cycle.
fn edges(steps: u32) -> impl Strategy<Value = Vec<(u32, u32)>> {
    prop::collection::vec((0..steps, 0..steps), 0..120)
}

fn made(steps: u32, edges: &[(u32, u32)]) -> Result<Graph, Vec<Cycle>> {
    let mut builder = Builder::default();
    for step in 0..steps {
        builder.step(StepId::new(StepKind::ALL[1 + step as usize % 5], format!("s{step}")));
    }
    for (step, need) in edges {
        builder.edge(StepIndex(*step), StepIndex(*need), Why::Rule);
    }
    builder.finish("random")
}

/// Everything that is reached, by the plainest means.
fn reached(graph: &Graph, from: StepIndex) -> StepSet {
    let mut found = vec![];
    let mut todo = vec![from];
    while let Some(step) = todo.pop() {
        if !found.contains(&step) {
            found.push(step);
            todo.extend(graph.needs(step));
        }
    }
    StepSet::of(graph, found)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn needs_come_first_and_edges_are_kept(edges in edges(30)) {
        let edges: Vec<_> = edges.into_iter().filter(|(step, need)| step > need).collect();
        let graph = made(30, &edges).unwrap();
        prop_assert_eq!(graph.order().len(), 30);
        let place: Vec<usize> =
            (0..30).map(|step| graph.order().iter().position(|at| at.0 == step).unwrap()).collect();
        for (step, need) in &edges {
            prop_assert!(place[*need as usize] < place[*step as usize]);
            prop_assert!(graph.needs(StepIndex(*step)).contains(&StepIndex(*need)));
            prop_assert!(graph.dependents(StepIndex(*need)).contains(&StepIndex(*step)));
            prop_assert!(graph.why(StepIndex(*step), StepIndex(*need)).is_some());
        }
        let all: usize = graph.steps().map(|(step, _)| graph.needs(step).len()).sum();
        let mut different = edges;
        different.sort_unstable();
        different.dedup();
        prop_assert_eq!(all, different.len());
    }

    #[test]
    fn a_cycle_that_is_shown_is_one(edges in edges(12)) {
        match made(12, &edges) {
            Ok(graph) => prop_assert_eq!(graph.order().len(), 12),
            Err(cycles) => {
                prop_assert!(!cycles.is_empty());
                for cycle in cycles {
                    let number = |id: &StepId| id.name()[1..].parse::<u32>().unwrap();
                    let path: Vec<u32> = cycle.path.iter().map(|(id, _)| number(id)).collect();
                    for (at, step) in path.iter().enumerate() {
                        prop_assert!(edges.contains(&(*step, path[(at + 1) % path.len()])), "{}", cycle);
                    }
                }
            }
        }
    }

    #[test]
    fn selections_are_closed(edges in edges(30), chosen in prop::collection::vec(0..30_u32, 1..4)) {
        let edges: Vec<_> = edges.into_iter().filter(|(step, need)| step > need).collect();
        let graph = made(30, &edges).unwrap();
        let patterns: Vec<String> = chosen.iter().map(|step| format!("s{step}")).collect();
        let with_needs = graph.select(&Selection { patterns: patterns.clone(), ..Selection::default() }).unwrap();
        for step in with_needs.iter() {
            prop_assert!(graph.needs(step).iter().all(|need| with_needs.contains(*need)));
        }
        let downstream = Selection { patterns, no_deps: true, downstream: true, ..Selection::default() };
        let downstream = graph.select(&downstream).unwrap();
        for step in downstream.iter() {
            prop_assert!(graph.dependents(step).iter().all(|dependent| downstream.contains(*dependent)));
        }
    }

    #[test]
    fn edges_that_are_left_out_of_pictures_follow_from_others(edges in edges(20)) {
        let edges: Vec<_> = edges.into_iter().filter(|(step, need)| step > need).collect();
        let graph = made(20, &edges).unwrap();
        let all = StepSet::all(&graph);
        let drawing = Drawing { graph: &graph, steps: &all, decide: None, colour: false };
        let mut picture = String::new();
        dot(&drawing, &mut picture).unwrap();
        let kept: Vec<(String, String)> = picture
            .lines()
            .filter_map(|line| line.trim().trim_end_matches(';').split_once(" -> "))
            .map(|(need, step)| (step.trim_matches('"').to_owned(), need.trim_matches('"').to_owned()))
            .collect();
        let pairs: Vec<(&str, &str)> = kept.iter().map(|(step, need)| (step.as_str(), need.as_str())).collect();
        let reduced = build(&pairs).unwrap();
        for (step, id) in graph.steps() {
            let whole: Vec<_> = ids(&graph, reached(&graph, step).iter());
            let mut less = match reduced.find(id) {
                Some(step) => ids(&reduced, reached(&reduced, step).iter()),
                None => vec![id.to_string()],
            };
            let mut whole = whole;
            whole.sort();
            less.sort();
            prop_assert_eq!(whole, less);
        }
        for draw in [tree, mermaid, json, html] {
            let mut out = String::new();
            draw(&drawing, &mut out).unwrap();
            for (_, id) in graph.steps() {
                prop_assert!(out.contains(&id.to_string()), "{} is not in {}", id, out);
            }
        }
    }
}

#[test]
fn a_chain_of_a_hundred_thousand_steps_is_no_burden() {
    let steps = 100_000;
    let mut builder = Builder::with_capacity(steps, steps);
    let mut last = None;
    for step in 0..steps {
        let step = builder.step(StepId::new(StepKind::Task, format!("t{step}")));
        if let Some(last) = last.replace(step) {
            builder.edge(step, last, Why::Rule);
        }
    }
    let graph = builder.finish("chain").unwrap();
    let set = graph.select(&Selection { patterns: vec!["t99999".to_owned()], ..Selection::default() }).unwrap();
    assert_eq!(set.len(), steps);
    let drawing = Drawing { graph: &graph, steps: &set, decide: None, colour: false };
    let mut out = String::new();
    tree(&drawing, &mut out).unwrap();
    assert_eq!(out, "chain\n└── task:t* (100000 steps)\n");
}
