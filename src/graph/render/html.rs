//! The graph as one page for a browser: a picture to look through, with what each step needs and why. The page needs
//! nothing from anywhere else.

use std::fmt::{self, Write};

use serde_json::{Value as Json, json};

use super::layout::{self, Input, Layout};
use super::nodes::{self, Node};
use super::{Drawing, Look, Tint};

/// Beyond so many steps those that look alike are drawn as one.
const FOLD: usize = 300;
/// Of the needs of one box at most so many are told one by one.
const TOLD: usize = 50;

const PAGE: &str = include_str!("page.html");

/// One page, to be written to a file or opened as it is.
///
/// # Errors
/// Those of `out`.
pub fn html(drawing: &Drawing<'_>, out: &mut dyn Write) -> fmt::Result {
    let nodes = nodes::nodes(drawing, FOLD);
    let widths: Vec<f64> = nodes.iter().map(|node| width(&node.label)).collect();
    let lines: Vec<(usize, usize)> =
        nodes.iter().enumerate().flat_map(|(at, node)| node.needs.iter().map(move |need| (*need, at))).collect();
    let layout = layout::layout(&Input { widths: &widths, lines: &lines });
    let title = escaped(drawing.graph.stack());
    for piece in PAGE.split("{{").enumerate() {
        let (position, piece) = piece;
        let Some((name, text)) = (position > 0).then(|| piece.split_once("}}")).flatten() else {
            out.write_str(piece)?;
            continue;
        };
        match name {
            "title" => out.write_str(&title)?,
            "summary" => out.write_str(&summary(drawing))?,
            "picture" => picture(drawing, &nodes, &lines, &layout, out)?,
            "data" => out.write_str(&data(drawing, &nodes))?,
            other => write!(out, "{{{{{other}}}}}")?,
        }
        out.write_str(text)?;
    }
    Ok(())
}

/// The width of a box: the page's letters all have the same width.
fn width(label: &str) -> f64 {
    label.chars().count() as f64 * 7.9 + 30.0
}

fn summary(drawing: &Drawing<'_>) -> String {
    let steps = drawing.steps.len();
    let mut parts = vec![format!("{steps} {}", if steps == 1 { "step" } else { "steps" })];
    if drawing.decide.is_some() {
        let tints: Vec<Tint> =
            drawing.steps.iter().filter_map(|step| drawing.look(step)).map(|look| look.tint).collect();
        for tint in Tint::ALL.into_iter().rev() {
            let count = tints.iter().filter(|other| **other == tint).count();
            if count > 0 {
                parts.push(format!("<span class=\"{0}\">{count} {0}</span>", tint.as_str()));
            }
        }
    }
    parts.join(", ")
}

fn picture(
    drawing: &Drawing<'_>,
    nodes: &[Node],
    lines: &[(usize, usize)],
    layout: &Layout,
    out: &mut dyn Write,
) -> fmt::Result {
    writeln!(
        out,
        "<svg id=\"graph\" role=\"group\" aria-label=\"Steps, from left to right as they are done\" viewBox=\"0 0 {0:.0} {1:.0}\" width=\"{0:.0}\" height=\"{1:.0}\">",
        layout.width, layout.height
    )?;
    for ((need, dependent), path) in lines.iter().zip(&layout.paths) {
        writeln!(out, "<path class=\"line\" data-from=\"{need}\" data-to=\"{dependent}\" d=\"{path}\"/>")?;
    }
    for (at, (node, rect)) in nodes.iter().zip(&layout.boxes).enumerate() {
        let tint = node.steps.iter().filter_map(|step| drawing.look(*step)).map(|look| look.tint).max();
        let tint = tint.map_or("", Tint::as_str);
        let label = escaped(&node.label);
        writeln!(
            out,
            "<g class=\"step {} {tint}\" data-at=\"{at}\" tabindex=\"0\" role=\"button\" aria-label=\"{label} {tint}\" transform=\"translate({:.0} {:.0})\">\
             <rect width=\"{:.0}\" height=\"{:.0}\" rx=\"6\"/><rect class=\"kind\" width=\"5\" height=\"{:.0}\" rx=\"2\"/>\
             <text x=\"15\" y=\"{:.0}\">{label}</text></g>",
            node.kind,
            rect.x,
            rect.y,
            rect.width,
            rect.height,
            rect.height,
            rect.height / 2.0 + 4.5
        )?;
    }
    out.write_str("</svg>")
}

/// What the page tells of each box.
fn data(drawing: &Drawing<'_>, nodes: &[Node]) -> String {
    let told: Vec<Json> = nodes
        .iter()
        .map(|node| {
            let looks: Vec<Look> = node.steps.iter().filter_map(|step| drawing.look(*step)).collect();
            let look = match looks.as_slice() {
                [Look { tint, reason }] => json!({ "action": tint.as_str(), "reason": reason }),
                _ => Json::Null,
            };
            let needs: Vec<Json> = match node.steps.as_slice() {
                [step] => {
                    let why = |need| drawing.graph.why(*step, need).map(ToString::to_string);
                    let told = drawing.needs(*step).take(TOLD);
                    told.map(|need| json!([drawing.graph.id(need), why(need)])).collect()
                }
                _ => node.needs.iter().take(TOLD).map(|need| json!([nodes[*need].label, null])).collect(),
            };
            json!({ "label": node.label, "look": look, "needs": needs, "edges": node.needs })
        })
        .collect();
    // Within a script nothing may look like its end.
    Json::Array(told).to_string().replace('<', "\\u003c")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
