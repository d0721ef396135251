//! Graphs of whole files, and of no file at all.

mod invariants;
mod pictures;

use std::path::Path;

use super::*;
use crate::config::{LoadOptions, from_text};

fn build(pairs: &[(&str, &str)]) -> Result<Graph, Vec<Cycle>> {
    let mut builder = Builder::default();
    for (step, need) in pairs {
        let step = builder.step(step.parse().unwrap());
        let need = builder.step(need.parse().unwrap());
        builder.edge(step, need, Why::Rule);
    }
    builder.finish("test")
}

/// The graph of a file, which is given without its head, and whose Dockerfiles say these `FROM`s.
fn graph_with(text: &str, from: &[(&str, &str)]) -> Graph {
    let text = format!("[stack]\nname = \"todo\"\n{text}");
    let stack = from_text(&text, Path::new("/home/dev/stack.toml"), &LoadOptions::new(&|_| None)).unwrap();
    let mut facts = ImageFacts::default();
    for (image, reference) in from {
        facts.from.entry((*image).to_owned()).or_default().push((*reference).to_owned());
    }
    Graph::build(&stack, &facts).unwrap()
}

fn graph(text: &str) -> Graph {
    graph_with(text, &[])
}

fn step(graph: &Graph, id: &str) -> StepIndex {
    graph.find(&id.parse().unwrap()).unwrap_or_else(|| panic!("there is no step {id}"))
}

/// What a step needs, with the reasons.
fn needs(graph: &Graph, id: &str) -> Vec<String> {
    let index = step(graph, id);
    let why = |need: &StepIndex| format!("{}: {}", graph.id(*need), graph.why(index, *need).unwrap());
    graph.needs(index).iter().map(why).collect()
}

fn ids(graph: &Graph, steps: impl IntoIterator<Item = StepIndex>) -> Vec<String> {
    steps.into_iter().map(|step| graph.id(step).to_string()).collect()
}

const MINIKUBE: &str = "[cluster]\ndriver = \"minikube\"\n";

#[test]
fn a_chart_needs_the_loads_of_its_images_and_the_cluster() {
    let graph = graph(&format!(
        "{MINIKUBE}[image.a]\ncontext = \"a\"\n[image.b]\ncontext = \"b\"\nload = \"none\"\n\
         [chart.c]\npath = \"c\"\nset = {{ x = [{{ y = \"${{image.a.repository}}:${{image.a.tag}}\" }}], b = \"${{image.b.ref}}\" }}\n"
    ));
    assert_eq!(
        needs(&graph, "chart:c"),
        ["cluster: always", "load:a: refers to `${image.a.repository}`", "build:b: refers to `${image.b.ref}`"]
    );
    assert_eq!(needs(&graph, "load:a"), ["build:a: always", "cluster: always"]);
    assert!(needs(&graph, "build:a").is_empty());
    assert!(graph.find(&"load:b".parse().unwrap()).is_none());
}

#[test]
fn a_build_in_the_node_needs_the_node() {
    let graph = graph(&format!("{MINIKUBE}[image.a]\ncontext = \"a\"\nload = \"direct\"\n"));
    assert_eq!(needs(&graph, "build:a"), ["cluster: always"]);
}

#[test]
fn an_image_needs_the_images_it_is_built_from() {
    let graph = graph_with(
        "[image.base]\ncontext = \"a\"\n[image.tools]\ncontext = \"a\"\nrepository = \"host:5000/tools\"\n\
         [image.app]\ncontext = \"a\"\nargs = { BASE = \"${image.base.ref}\" }\n[image.other]\ncontext = \"a\"\n",
        &[
            ("app", "todo-base"),
            ("app", "host:5000/tools:1"),
            // A digest means exactly that image, and nothing starts from itself.
            ("other", "host:5000/tools:1@sha256:00"),
            ("base", "todo-base:before"),
            ("other", "todo-base:latest"),
            ("base", "busybox"),
        ],
    );
    assert_eq!(
        needs(&graph, "build:app"),
        ["build:base: refers to `${image.base.ref}`", "build:tools: Dockerfile says FROM host:5000/tools:1"]
    );
    assert_eq!(needs(&graph, "build:other"), ["build:base: Dockerfile says FROM todo-base:latest"]);
    assert!(needs(&graph, "build:base").is_empty());
}

#[test]
fn checks_and_tasks_need_what_they_say_and_what_they_refer_to() {
    let graph = graph(&format!(
        "{MINIKUBE}[image.a]\ncontext = \"a\"\nneeds = [\"task.generate\"]\n[chart.c]\npath = \"c\"\n\
         [ready.r]\nhttp = {{ service = \"${{chart.c.release}}-api\", path = \"/${{task.generate.stdout}}\" }}\nneeds = [\"load:a\"]\n\
         [task.generate]\nrun = [\"make\"]\n\
         [task.smoke]\nrun = \"curl ${{cluster.ip}} ${{image.a.id}}\"\nenv = {{ R = \"${{chart.c.revision}}\" }}\nneeds = [\"ready:r\"]\n"
    ));
    assert_eq!(needs(&graph, "build:a"), ["task:generate: `needs` says so"]);
    assert_eq!(
        needs(&graph, "ready:r"),
        [
            "cluster: always",
            "chart:c: refers to `${chart.c.release}`",
            "task:generate: refers to `${task.generate.stdout}`",
            "load:a: `needs` says so"
        ]
    );
    assert_eq!(
        needs(&graph, "task:smoke"),
        [
            "cluster: refers to `${cluster.ip}`",
            "build:a: refers to `${image.a.id}`",
            "chart:c: refers to `${chart.c.revision}`",
            "ready:r: `needs` says so"
        ]
    );
    assert!(needs(&graph, "task:generate").is_empty());
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
    let chart = step(&graph, "chart:a");
    assert_eq!(graph.needs(chart).len(), 2);
    assert_eq!(graph.dependents(step(&graph, "load:b")), [chart]);
}

const TODO: &str = "[cluster]\ndriver = \"minikube\"\n[image.api]\ncontext = \"a\"\n[image.web]\ncontext = \"a\"\n\
     [chart.db]\npath = \"c\"\n[chart.todo]\npath = \"c\"\nneeds = [\"chart.db\"]\nset = { a = \"${image.api.tag}\", w = \"${image.web.tag}\" }\n\
     [ready.api]\nservice = \"s\"\nneeds = [\"chart.todo\"]\n[task.smoke]\nrun = \"true\"\nneeds = [\"ready.api\"]\n";

fn selected(patterns: &[&str], no_deps: bool, downstream: bool) -> Vec<String> {
    let graph = graph(TODO);
    let patterns = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    let set = graph.select(&Selection { patterns, no_deps, downstream, among: None }).unwrap();
    assert_eq!(set.len(), set.iter().count());
    ids(&graph, set.iter())
}

#[test]
fn steps_are_selected_by_id_name_and_pattern() {
    assert_eq!(selected(&["build:api"], true, false), ["build:api"]);
    assert_eq!(selected(&["image.api"], true, false), ["build:api"]);
    assert_eq!(selected(&["api"], true, false), ["build:api", "load:api", "ready:api"]);
    assert_eq!(selected(&["build:*"], true, false), ["build:api", "build:web"]);
    assert_eq!(selected(&["image.w*"], true, false), ["build:web"]);
    assert_eq!(selected(&["*:api", "cluster"], true, false), ["cluster", "build:api", "load:api", "ready:api"]);
    assert_eq!(selected(&["{chart,task}:*"], true, false), ["chart:db", "chart:todo", "task:smoke"]);
    assert_eq!(selected(&[], false, false).len(), 9);
    assert_eq!(selected(&["*"], true, false).len(), 9);
}

#[test]
fn what_is_selected_brings_along_what_it_needs_or_what_needs_it() {
    assert_eq!(selected(&["load:api"], false, false), ["cluster", "build:api", "load:api"]);
    assert_eq!(selected(&["chart.db"], true, true), ["chart:db", "chart:todo", "ready:api", "task:smoke"]);
    let both = selected(&["load:api"], false, true);
    assert_eq!(both.len(), 9, "{both:?}");
}

#[test]
fn a_pattern_without_a_step_says_what_was_meant() {
    let graph = graph(TODO);
    let help = |pattern: &str| graph.matching(pattern).unwrap_err().help;
    assert_eq!(help("build:ap"), "did you mean `build:api`?");
    assert_eq!(help("image.wbe"), "did you mean `build:web`?");
    assert_eq!(help("todoo"), "did you mean `todo`?");
    assert!(help("zzzzzz:*").starts_with("the steps are `cluster`, "), "{}", help("zzzzzz:*"));
    assert!(help("[").starts_with("patterns are like"), "{}", help("["));
}

#[test]
fn needs_are_found_by_way_of_steps_that_are_left_out() {
    let graph = graph(TODO);
    let set = StepSet::of(&graph, [step(&graph, "build:api"), step(&graph, "task:smoke"), step(&graph, "chart:todo")]);
    assert_eq!(ids(&graph, graph.needs_within(step(&graph, "task:smoke"), &set)), ["chart:todo"]);
    assert_eq!(ids(&graph, graph.needs_within(step(&graph, "chart:todo"), &set)), ["build:api"]);
}
