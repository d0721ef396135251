//! The graph as JSON, the contract with programs.

use std::fmt::{self, Write};

use serde_json::json;

use super::Drawing;

/// `{"stack":…,"steps":[{"id":…,"kind":…,"needs":[…]}]}`, one step a line. With `--plan`, each step has its `action` and
/// `reason`, too.
///
/// # Errors
/// Those of `out`.
pub fn json(drawing: &Drawing<'_>, out: &mut dyn Write) -> fmt::Result {
    let graph = drawing.graph;
    write!(out, "{{\"stack\":{},\"steps\":[", json!(graph.stack()))?;
    for (position, step) in drawing.steps.iter().enumerate() {
        let id = graph.id(step);
        out.write_str(if position == 0 { "\n" } else { ",\n" })?;
        write!(out, "{{\"id\":{},\"kind\":\"{}\",\"needs\":[", json!(id), id.kind())?;
        for (position, need) in drawing.needs(step).enumerate() {
            write!(out, "{}{}", if position == 0 { "" } else { "," }, json!(graph.id(need)))?;
        }
        out.write_char(']')?;
        if let Some(look) = drawing.look(step) {
            write!(out, ",\"action\":\"{}\",\"reason\":{}", look.tint.as_str(), json!(look.reason))?;
        }
        out.write_char('}')?;
    }
    out.write_str("\n]}\n")
}
