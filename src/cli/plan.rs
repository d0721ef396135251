//! `stack plan`: what apply would do, and why.

use std::collections::HashSet;

use super::Stop;
use super::args::{Apply, Plan, Steps};
use super::open::{self, Opened, Reading};
use super::settings::Settings;
use crate::error::ExitCode;
use crate::run::{self, PlanOptions, Selected};
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
    let planned = run::plan(&world, Selected::new(world.graph(), &selected), options).await;
    settings.console.plan(&planned.report);
    if let Some(error) = planned.errors.first() {
        return Err(open::missing(error));
    }
    Ok(if exit_code && planned.report.has_changes() { ExitCode::Pending } else { ExitCode::Done })
}
