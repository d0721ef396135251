//! `stack graph`: the graph of steps, in the form that is asked for.

use std::collections::HashMap;

use super::Stop;
use super::args::{Graph as Args, GraphFormat};
use super::open::{Opened, Reading};
use super::settings::Settings;
use crate::error::ExitCode;
use crate::graph::{self, Drawing, Look, StepIndex, StepSet, Tint};
use crate::plan::{Action, Decision};
use crate::run::{self, PlanOptions, Selected};
use crate::step::Options;

pub(super) fn run(settings: &Settings, args: &Args) -> Result<ExitCode, Stop> {
    let opened = Opened::read(settings, Reading::Look)?;
    let selected = opened.select(&args.steps)?;
    if args.plan {
        return super::asynchronous(planned(settings, args, opened, selected));
    }
    settings.console.result(&draw(args, &opened.graph, &selected, &HashMap::new()));
    Ok(ExitCode::Done)
}

async fn planned(settings: &Settings, args: &Args, opened: Opened, selected: StepSet) -> Result<ExitCode, Stop> {
    let world = opened.world(settings, Options::default());
    let steps = Selected::new(world.graph(), &selected);
    let mut stops = super::open::stops()?;
    let planned = run::plan(&world, steps, PlanOptions::default(), &mut stops).await;
    let decisions = planned
        .report
        .steps
        .into_iter()
        .filter_map(|step| world.graph().find(&step.id).map(|index| (index, step.decision)))
        .collect();
    let text = draw(args, world.graph(), &selected, &decisions);
    let told = super::open::told(settings, &mut stops, move |console| _ = console.result(&text));
    if planned.is_stopped || told.await.is_none() {
        return Ok(ExitCode::Interrupted);
    }
    match planned.errors.first() {
        Some(error) => Err(super::open::missing(error)),
        None => Ok(ExitCode::Done),
    }
}

fn draw(args: &Args, graph: &graph::Graph, steps: &StepSet, decisions: &HashMap<StepIndex, Decision>) -> String {
    let decide = |step: StepIndex| {
        let decision = decisions.get(&step)?;
        let tint = match decision.action {
            Action::Run => Tint::Run,
            Action::Skip => Tint::Skip,
            Action::Unknown => Tint::Unknown,
            Action::Blocked => Tint::Blocked,
        };
        Some(Look { tint, reason: decision.reason.clone() })
    };
    // The console takes colour away again where it is not wanted.
    let drawing = Drawing { graph, steps, decide: args.plan.then_some(&decide), colour: true };
    let mut text = String::new();
    let drawn = match args.format {
        GraphFormat::Tree => graph::tree(&drawing, &mut text),
        GraphFormat::Dot => graph::dot(&drawing, &mut text),
        GraphFormat::Mermaid => graph::mermaid(&drawing, &mut text),
        GraphFormat::Json => graph::json(&drawing, &mut text),
        GraphFormat::Html => graph::html(&drawing, &mut text),
    };
    // Writing to a string can't fail.
    let _ = drawn;
    text
}
