//! A plan for people and for programs.

use serde::Serialize;

use super::{Console, Palette};
use crate::graph::StepId;
use crate::plan::{Action, Decision};
use crate::step::ChartChanges;

/// A step with what it has to do.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedStep {
    /// The step.
    pub id: StepId,
    /// What it has to do.
    #[serde(flatten)]
    pub decision: Decision,
    /// What that changes in the cluster, of a chart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chart: Option<ChartChanges>,
}

impl PlannedStep {
    /// A step of which no more is known than the decision.
    pub fn new(id: StepId, decision: Decision) -> Self {
        Self { id, decision, chart: None }
    }
}

/// A whole plan. Its JSON form is a contract.
#[derive(Debug, Clone, Serialize)]
pub struct PlanReport {
    /// The stack's name.
    pub stack: String,
    /// All steps, each after those it needs.
    pub steps: Vec<PlannedStep>,
    /// How many steps have to do what.
    pub summary: Summary,
}

/// How many steps have to do what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Steps with work to do.
    pub run: usize,
    /// Steps whose effect is there.
    pub skip: usize,
    /// Steps that depend on what has not happened yet.
    pub unknown: usize,
    /// Steps that could not be decided.
    pub blocked: usize,
}

impl PlanReport {
    /// The plan of a stack.
    pub fn new(stack: String, steps: Vec<PlannedStep>) -> Self {
        let mut plan = Self { stack, steps: Vec::with_capacity(steps.len()), summary: Summary::default() };
        steps.into_iter().for_each(|step| plan.add(step));
        plan
    }

    /// Adds a step.
    pub fn add(&mut self, step: PlannedStep) {
        let Summary { run, skip, unknown, blocked } = &mut self.summary;
        match step.decision.action {
            Action::Run => *run += 1,
            Action::Skip => *skip += 1,
            Action::Unknown => *unknown += 1,
            Action::Blocked => *blocked += 1,
        }
        self.steps.push(step);
    }

    /// Whether applying it would do, or might do, anything.
    pub fn has_changes(&self) -> bool {
        self.summary.skip != self.steps.len()
    }
}

impl Console {
    /// Shows a plan.
    pub fn plan(&self, plan: &PlanReport) {
        if self.is_json() {
            if let Ok(text) = serde_json::to_string(plan) {
                self.result_line(text);
            }
            return;
        }
        let width = plan.steps.iter().map(|step| step.id.to_string().len()).max().unwrap_or(0);
        let dim = Palette::DIM;
        for PlannedStep { id, decision, chart } in &plan.steps {
            let style = Palette::action(decision.action);
            let word = action_word(decision.action);
            self.result_line(format_args!("{style}{word:<7}{style:#} {id:<width$}  {}", decision.reason));
            // The reason names the first three; the others follow, where there are more.
            for change in decision.changes.iter().skip(3) {
                self.result_line(format_args!("{dim}{:<width$}          {}{dim:#}", "", change.shown));
            }
            for sentence in &decision.unknowable {
                self.result_line(format_args!("{dim}{:<width$}          note: {sentence}{dim:#}", ""));
            }
            if let Some(chart) = chart {
                self.chart_changes(chart);
            }
        }
        let Summary { run, skip, unknown, blocked } = plan.summary;
        let blocked = if blocked > 0 { format!(" blocked:{blocked}") } else { String::new() };
        self.result_line(format_args!("\nrun:{run} skip:{skip} unknown:{unknown}{blocked}"));
    }
}

fn action_word(action: Action) -> &'static str {
    match action {
        Action::Run => "run",
        Action::Skip => "skip",
        Action::Unknown => "unknown",
        Action::Blocked => "blocked",
    }
}
