//! `stack destroy`: releases in reverse order, and what was made for them.

use super::Stop;
use super::args::Destroy;
use super::open::{self, Opened, check_tools, locked, stops};
use super::settings::Settings;
use crate::error::{Class, ExitCode, Failure};
use crate::event::Events;
use crate::report::follow;
use crate::run::{self, Selected};
use crate::sched::StopReason;
use crate::step::{Options, Removal, StepError, preview};

pub(super) async fn run(settings: &Settings, args: &Destroy) -> Result<ExitCode, Stop> {
    let opened = Opened::read(settings, true)?;
    // What is needed goes after what needs it, so naming a step means that step and everything that stands on it.
    let mut steps = args.steps.clone();
    steps.downstream = !steps.no_deps;
    steps.no_deps = true;
    let selected = opened.select(&steps)?;
    let removal = Removal { images: args.images, cluster: args.cluster, everything: args.steps.steps.is_empty() };
    let world = opened.world(settings, Options::default());
    let selected = Selected::new(world.graph(), &selected);
    if !args.yes && !confirmed(settings, &world, &selected, removal).await? {
        return Err(Failure::new(ExitCode::Usage, "nothing was removed").into());
    }
    let stops = stops()?;
    check_tools(&world, &crate::graph::StepSet::of(world.graph(), selected.steps().iter().copied())).await?;
    let lock = world.store().lock("destroy").map_err(locked)?;

    let (events, receiver) = Events::channel();
    let follower = tokio::spawn(follow(receiver, settings.console, settings.verbose));
    let result = run::destroy(&world, selected, removal, stops, &events).await;
    drop(events);
    // The reporter has nothing to fail at; if it panicked, the run's own result still counts.
    let _ = follower.await;
    drop(lock);
    let summary = result.map_err(|error| open::missing(&StepError::new(Class::Internal, error.to_string())))?;
    Ok(match summary.stopped {
        Some(StopReason::Interrupt | StopReason::Kill) => ExitCode::Interrupted,
        _ if summary.failed > 0 => ExitCode::StepFailed,
        _ => ExitCode::Done,
    })
}

/// Shows what would go, and asks.
async fn confirmed(
    settings: &Settings,
    world: &crate::step::World,
    selected: &Selected,
    removal: Removal,
) -> Result<bool, Stop> {
    let steps: Vec<_> = selected.steps().iter().map(|&step| world.graph().id(step).clone()).collect();
    let lines = preview(world, &steps, removal).await;
    settings.console.error_line("this removes:");
    for line in lines {
        settings.console.error_line(format_args!("  {line}"));
    }
    open::asked(settings, "remove it? [y/N] ")
}
