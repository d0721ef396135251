//! `stack plan`: what apply would do, and why.

use std::collections::HashSet;

use super::Stop;
use super::args::{Apply, Plan, Steps};
use super::open::{self, Opened, Reading};
use super::settings::Settings;
use crate::error::ExitCode;
use crate::run::{self, PlanOptions, Planned, Selected};
use crate::step::Options;

pub(super) async fn run(settings: &Settings, args: &Plan) -> Result<ExitCode, Stop> {
    plan(settings, &args.steps, args.from_failed, &[], args.exit_code, args.diff).await
}

/// `stack apply --dry-run`.
pub(super) async fn dry_run(settings: &Settings, args: &Apply) -> Result<ExitCode, Stop> {
    plan(settings, &args.steps, args.from_failed, &args.force, false, false).await
}

async fn plan(
    settings: &Settings,
    steps: &Steps,
    from_failed: bool,
    force: &[String],
    exit_code: bool,
    diff: bool,
) -> Result<ExitCode, Stop> {
    let opened = Opened::read(settings, Reading::Run)?;
    let selected = opened.select_from(settings, steps, from_failed, None)?;
    if from_failed {
        open::tell_if_nothing_failed(settings, &selected);
    }
    let force: HashSet<_> = opened.forced(force, &selected)?.into_iter().collect();
    let world = opened.world(settings, Options { force, ..Options::default() });
    let options = PlanOptions { prune: steps.steps.is_empty() && open::covers_all(&world, &selected), diff };
    let mut stops = open::stops()?;
    let planned = run::plan(&world, Selected::new(world.graph(), &selected), options, &mut stops).await;
    let code = if exit_code && planned.report.has_changes() { ExitCode::Pending } else { ExitCode::Done };
    let Planned { report, errors, is_stopped } = planned;
    if is_stopped || open::told(settings, &mut stops, move |console| console.plan(&report)).await.is_none() {
        return Ok(ExitCode::Interrupted);
    }
    match errors.first() {
        Some(error) => Err(open::missing(error)),
        None => Ok(code),
    }
}
