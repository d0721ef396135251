//! `stack diff`: what applying charts would change in the cluster.

use super::Stop;
use super::args::Diff;
use super::open::{self, Opened, Reading};
use super::settings::Settings;
use crate::error::ExitCode;
use crate::graph::StepKind;
use crate::run::{self, PlanOptions, Selected};
use crate::step::Options;

pub(super) async fn run(settings: &Settings, args: &Diff) -> Result<ExitCode, Stop> {
    let opened = Opened::read(settings, Reading::Look)?;
    let selected = opened.select(&args.steps)?;
    let world = opened.world(settings, Options::default());
    // What charts need is looked at too: their values come from it.
    let options = PlanOptions { prune: args.steps.steps.is_empty() && open::covers_all(&world, &selected), diff: true };
    let mut planned = run::plan(&world, Selected::new(world.graph(), &selected), options).await;
    planned.report.steps.retain(|step| step.id.kind() == StepKind::Chart);
    settings.console.diff(&planned.report);
    if let Some(error) = planned.errors.first() {
        return Err(open::missing(error));
    }
    let changes = planned.report.steps.iter().any(|step| step.decision.action != crate::plan::Action::Skip);
    Ok(if args.exit_code && changes { ExitCode::Pending } else { ExitCode::Done })
}
