//! Lines that containers print, each behind the name of its pod.

use std::collections::HashMap;

use anstyle::{AnsiColor, Style};

use super::Console;
use crate::tools::kube::LogLine;

/// Colours by which pods are told apart: none that means something elsewhere.
const COLOURS: [AnsiColor; 5] =
    [AnsiColor::Cyan, AnsiColor::Magenta, AnsiColor::Blue, AnsiColor::BrightGreen, AnsiColor::BrightYellow];

/// Shows lines of logs as they come.
#[derive(Debug)]
pub struct LogView {
    console: Console,
    colours: HashMap<String, Style>,
}

impl LogView {
    /// Nothing was shown yet.
    pub fn new(console: Console) -> Self {
        Self { console, colours: HashMap::new() }
    }

    /// Shows a line; as JSON where that is wanted.
    pub fn show(&mut self, line: &LogLine) {
        let LogLine { namespace, pod, container, line } = line;
        if self.console.is_json() {
            let json = serde_json::json!({ "namespace": namespace, "pod": pod, "container": container, "line": line });
            return self.console.result_line(json);
        }
        let next = COLOURS[self.colours.len() % COLOURS.len()].on_default();
        let style = *self.colours.entry(pod.clone()).or_insert(next);
        self.console.result_line(format_args!("{style}{pod}/{container}{style:#} {line}"));
    }
}
