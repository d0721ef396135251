//! `stack diff`: what applying charts would change in the cluster.

use super::Stop;
use super::args::Diff;
use super::open::{self, Opened, Reading};
use super::settings::Settings;
use crate::error::ExitCode;
use crate::graph::StepKind;
use crate::run::{self, PlanOptions, Planned, Selected};
use crate::step::Options;

pub(super) async fn run(settings: &Settings, args: &Diff) -> Result<ExitCode, Stop> {
    let opened = Opened::read(settings, Reading::Look)?;
    let selected = opened.select(&args.steps)?;
    let world = opened.world(settings, Options::default());
    // What charts need is looked at too: their values come from it.
    let options = PlanOptions { prune: args.steps.steps.is_empty() && open::covers_all(&world, &selected), diff: true };
    let mut stops = open::stops()?;
    let planned = run::plan(&world, Selected::new(world.graph(), &selected), options, &mut stops).await;
    let Planned { mut report, errors, is_stopped } = planned;
    report.steps.retain(|step| step.id.kind() == StepKind::Chart);
    let changes = report.steps.iter().any(|step| step.decision.action != crate::plan::Action::Skip);
    if is_stopped || open::told(settings, &mut stops, move |console| console.diff(&report)).await.is_none() {
        return Ok(ExitCode::Interrupted);
    }
    if let Some(error) = errors.first() {
        return Err(open::missing(error));
    }
    Ok(if args.exit_code && changes { ExitCode::Pending } else { ExitCode::Done })
}
