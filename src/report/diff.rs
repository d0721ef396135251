//! What charts would change in the cluster, object by object, as a person reads a difference: line by line, coloured.

use similar::{ChangeTag, TextDiff};

use super::{Console, Palette};
use crate::plan::Action;
use crate::report::PlanReport;
use crate::step::ChartChanges;
use crate::tools::kube::{ChangeKind, ObjectChange};

/// How many lines around a change are shown.
const AROUND: usize = 3;

impl Console {
    /// Shows only what would change in the cluster; says which charts that is not known of.
    pub fn diff(&self, plan: &PlanReport) {
        if self.is_json() {
            let charts = plan.steps.iter().filter_map(|step| Some((&step.id, step.chart.as_ref()?)));
            let charts = charts.map(|(id, chart)| {
                let mut json = serde_json::to_value(chart).unwrap_or_default();
                json["id"] = id.to_string().into();
                json
            });
            let charts = charts.collect::<Vec<_>>();
            self.result_line(serde_json::json!({ "stack": plan.stack, "charts": charts }));
            return;
        }
        let (bold, dim) = (Palette::BOLD, Palette::DIM);
        let mut same = 0;
        for step in &plan.steps {
            match (&step.chart, step.decision.action) {
                (Some(chart), _) => {
                    let ChartChanges { release, namespace, .. } = chart;
                    self.result_line(format_args!(
                        "{bold}{}{bold:#} {dim}release {release} in namespace {namespace}{dim:#}",
                        step.id
                    ));
                    self.chart_changes(chart);
                }
                (None, Action::Unknown | Action::Blocked) => {
                    self.result_line(format_args!("{bold}{}{bold:#} {}", step.id, step.decision.reason));
                }
                (None, Action::Run) if step.id.kind() == crate::graph::StepKind::Chart => {
                    self.result_line(format_args!("{bold}{}{bold:#} {}", step.id, step.decision.reason));
                }
                (None, Action::Skip | Action::Run) => same += 1,
            }
        }
        if same == plan.steps.len() {
            self.result_line("no differences");
        }
    }

    /// Shows what one chart would change.
    pub(super) fn chart_changes(&self, chart: &ChartChanges) {
        let (dim, warn) = (Palette::DIM, Palette::WARN);
        if let Some(unknown) = &chart.unknown {
            self.result_line(format_args!("  {warn}what would change can't be told{warn:#}: {unknown}"));
        }
        for object in &chart.objects {
            let (style, word) = match object.change {
                ChangeKind::Add => (Palette::GOOD, "adds"),
                ChangeKind::Change => (Palette::WARN, "changes"),
                ChangeKind::Remove => (Palette::BAD, "removes"),
            };
            let elsewhere = match object.object.namespace == chart.namespace || object.object.namespace.is_empty() {
                true => String::new(),
                false => format!(" {dim}in namespace {}{dim:#}", object.object.namespace),
            };
            self.result_line(format_args!("  {style}{word}{style:#} {}{elsewhere}", object.object));
            if object.change != ChangeKind::Remove {
                self.lines(object);
            }
            if changes_a_secret(object) {
                self.result_line(format_args!("    {dim}a secret value changes, which is not shown{dim:#}"));
            }
        }
    }

    fn lines(&self, object: &ObjectChange) {
        let dim = Palette::DIM;
        let difference = TextDiff::from_lines(&object.before, &object.after);
        for (at, group) in difference.grouped_ops(AROUND).iter().enumerate() {
            if at > 0 {
                self.result_line(format_args!("    {dim}...{dim:#}"));
            }
            for change in group.iter().flat_map(|operation| difference.iter_changes(operation)) {
                let (sign, style) = match change.tag() {
                    ChangeTag::Delete => ('-', Palette::BAD),
                    ChangeTag::Insert => ('+', Palette::GOOD),
                    ChangeTag::Equal => (' ', Palette::DIM),
                };
                self.result_line(format_args!("    {style}{sign} {}{style:#}", change.value().trim_end_matches('\n')));
            }
        }
    }
}

/// Whether a field changes whose values look the same, since what differs in them is hidden.
fn changes_a_secret(object: &ObjectChange) -> bool {
    object.change == ChangeKind::Change && object.fields.iter().any(|field| field.from == field.to)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tools::kube::{FieldChange, ObjectRef};

    #[test]
    fn a_hidden_change_is_told() {
        let change = |from: &str, to: &str| {
            let field = FieldChange { path: "data.a".to_owned(), from: Some(json!(from)), to: Some(json!(to)) };
            let [api_version, kind, namespace, name] = ["v1", "ConfigMap", "default", "a"].map(str::to_owned);
            let object = ObjectRef { api_version, kind, namespace, name };
            let (before, after) = (String::new(), String::new());
            ObjectChange { object, change: ChangeKind::Change, fields: vec![field], before, after }
        };
        assert!(changes_a_secret(&change("token=***", "token=***")));
        assert!(!changes_a_secret(&change("mode=slow", "mode=fast")));
    }
}
