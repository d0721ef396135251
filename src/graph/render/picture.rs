//! The graph for programs that draw: dot and mermaid. Arrows lead from a step to what waits for it, as work flows.

use std::fmt::{self, Write};

use super::{Drawing, Tint, reduce};
use crate::graph::StepKind;

/// Graphviz.
///
/// # Errors
/// Those of `out`.
pub fn dot(drawing: &Drawing<'_>, out: &mut dyn Write) -> fmt::Result {
    let graph = drawing.graph;
    writeln!(out, "digraph \"{}\" {{", graph.stack())?;
    out.write_str(
        "  rankdir=LR;\n  node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=\"sans-serif\"];\n",
    )?;
    for step in drawing.steps.iter() {
        write!(out, "  \"{}\"", graph.id(step))?;
        if let Some(look) = drawing.look(step) {
            let (fill, line) = look.tint.fill();
            write!(
                out,
                " [fillcolor=\"{fill}\", color=\"{line}\", tooltip=\"{}\"]",
                escaped(&tip(look.tint, &look.reason))
            )?;
        }
        out.write_str(";\n")?;
    }
    let needs = reduce::needs(drawing);
    for step in drawing.steps.iter() {
        for need in &needs[step.index()] {
            writeln!(out, "  \"{}\" -> \"{}\";", graph.id(*need), graph.id(step))?;
        }
    }
    out.write_str("}\n")
}

/// Mermaid, as GitHub and GitLab draw it.
///
/// # Errors
/// Those of `out`.
pub fn mermaid(drawing: &Drawing<'_>, out: &mut dyn Write) -> fmt::Result {
    let graph = drawing.graph;
    out.write_str("flowchart LR\n")?;
    for step in drawing.steps.iter() {
        let id = graph.id(step);
        let (open, close) = match id.kind() {
            StepKind::Cluster => ("[(", ")]"),
            StepKind::Build | StepKind::Load => ("[", "]"),
            StepKind::Chart => ("[[", "]]"),
            StepKind::Ready => ("{{", "}}"),
            StepKind::Task => ("(", ")"),
        };
        write!(out, "  s{}{open}\"{id}\"{close}", step.0)?;
        if let Some(look) = drawing.look(step) {
            write!(out, ":::{}", look.tint.as_str())?;
        }
        out.write_char('\n')?;
    }
    let needs = reduce::needs(drawing);
    for step in drawing.steps.iter() {
        for need in &needs[step.index()] {
            writeln!(out, "  s{} --> s{}", need.0, step.0)?;
        }
    }
    if drawing.decide.is_some() {
        for tint in Tint::ALL {
            let (fill, line) = tint.fill();
            writeln!(out, "  classDef {} fill:{fill},stroke:{line},color:#111", tint.as_str())?;
        }
    }
    Ok(())
}

fn tip(tint: Tint, reason: &str) -> String {
    if reason.is_empty() { tint.as_str().to_owned() } else { format!("{}: {reason}", tint.as_str()) }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
