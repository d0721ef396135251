//! What graphs look like.

use super::super::render::{Drawing, Look, Tint, dot, html, json, mermaid, tree};
use super::*;

fn drawn(graph: &Graph, draw: fn(&Drawing<'_>, &mut dyn std::fmt::Write) -> std::fmt::Result, plan: bool) -> String {
    let decide = |step: StepIndex| {
        Some(match graph.id(step).kind() {
            StepKind::Build => Look { tint: Tint::Run, reason: "~ app/main.py".to_owned() },
            StepKind::Load => Look { tint: Tint::Unknown, reason: "depends on build \"api\"".to_owned() },
            StepKind::Task => Look { tint: Tint::Blocked, reason: String::new() },
            _ => Look { tint: Tint::Skip, reason: "nothing changed".to_owned() },
        })
    };
    let all = StepSet::all(graph);
    let drawing = Drawing { graph, steps: &all, decide: plan.then_some(&decide), colour: false };
    let mut out = String::new();
    draw(&drawing, &mut out).unwrap();
    out
}

#[test]
fn a_tree_has_what_nothing_waits_for_at_the_top() {
    insta::assert_snapshot!(drawn(&graph(TODO), tree, false));
}

#[test]
fn a_tree_of_a_plan_says_what_would_be_done() {
    insta::assert_snapshot!(drawn(&graph(TODO), tree, true));
}

#[test]
fn colours_are_written_only_when_they_are_asked_for() {
    let graph = graph(TODO);
    let all = StepSet::all(&graph);
    let mut out = String::new();
    tree(&Drawing { graph: &graph, steps: &all, decide: None, colour: true }, &mut out).unwrap();
    assert!(out.contains("\u{1b}["));
    assert_eq!(anstream::adapter::strip_str(&out).to_string(), drawn(&graph, tree, false));
}

#[test]
fn dot_for_graphviz() {
    insta::assert_snapshot!(drawn(&graph(TODO), dot, true));
}

#[test]
fn mermaid_for_markdown() {
    insta::assert_snapshot!(drawn(&graph(TODO), mermaid, true));
}

#[test]
fn json_for_programs() {
    let plain: serde_json::Value = serde_json::from_str(&drawn(&graph(TODO), json, false)).unwrap();
    assert_eq!(
        plain["steps"][2],
        serde_json::json!({ "id": "load:api", "kind": "load", "needs": ["build:api", "cluster"] })
    );
    let planned: serde_json::Value = serde_json::from_str(&drawn(&graph(TODO), json, true)).unwrap();
    assert_eq!(planned["stack"], "todo");
    assert_eq!(planned["steps"][2]["action"], "unknown");
    assert_eq!(planned["steps"][2]["reason"], "depends on build \"api\"");
}

#[test]
fn a_deep_tree_goes_on_below() {
    let mut text = String::new();
    for step in 0..50 {
        text += &format!("[task.t{step}]\nrun = \"true\"\n");
        if step > 0 {
            text += &format!("needs = [\"task.t{}\"]\n", step - 1);
        }
    }
    let drawn = drawn(&graph(&text), tree, false);
    assert!(drawn.lines().all(|line| line.chars().count() <= 110), "{drawn}");
    insta::assert_snapshot!(drawn);
}

#[test]
fn an_empty_name_is_said_to_be_empty() {
    let selection = Selection { patterns: vec![String::new()], ..Selection::default() };
    assert_eq!(graph(TODO).select(&selection).unwrap_err().to_string(), "the name of a step is empty");
}

/// Many services of one shape, as generated files have them.
#[test]
fn a_large_graph_is_folded_to_what_can_be_read() {
    let mut text = MINIKUBE.to_owned();
    for service in 0..100 {
        text += &format!(
            "[image.svc-{service}]\ncontext = \"a\"\n[chart.svc-{service}]\npath = \"c\"\nrelease = \"s{service}\"\nset = {{ t = \"${{image.svc-{service}.tag}}\" }}\n"
        );
    }
    text += "[task.smoke]\nrun = \"true\"\nneeds = [";
    text += &(0..100).map(|service| format!("\"chart.svc-{service}\"")).collect::<Vec<_>>().join(", ");
    text += "]\n";
    insta::assert_snapshot!(drawn(&graph(&text), tree, true));
}

#[test]
fn a_page_for_a_browser_holds_everything_and_needs_nothing_else() {
    let page = drawn(&graph(TODO), html, true);
    assert_eq!(page.matches("<g class=\"step ").count(), 9);
    assert_eq!(page.matches("<path class=\"line\"").count(), 10);
    assert!(
        page.contains("9 steps, <span class=\"blocked\">1 blocked</span>, <span class=\"run\">2 run</span>"),
        "{page}"
    );
    for outside in ["http://", "https://", "{{", "@import", "src="] {
        assert!(!page.contains(outside), "{outside}");
    }
    let data = page.split("id=\"data\">").nth(1).and_then(|rest| rest.split("</script>").next()).unwrap();
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(data[6]["label"], "chart:todo");
    assert_eq!(data[6]["needs"][1], serde_json::json!(["load:api", "refers to `${image.api.tag}`"]));
    assert_eq!(data[2]["look"]["reason"], "depends on build \"api\"");
}

#[test]
fn nothing_that_a_step_says_becomes_part_of_the_page() {
    let graph = graph(TODO);
    let decide = |_| Some(Look { tint: Tint::Run, reason: "</script><b>\"&".to_owned() });
    let all = StepSet::all(&graph);
    let mut page = String::new();
    html(&Drawing { graph: &graph, steps: &all, decide: Some(&decide), colour: false }, &mut page).unwrap();
    assert!(!page.contains("<b>"));
    assert_eq!(page.matches("</script>").count(), 2);
}
