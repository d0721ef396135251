//! `stack destroy`: releases in reverse order, and what was made for them.

use super::Stop;
use super::args::Destroy;
use super::open::{self, Opened, Reading, check_tools, locked, stops, unless_stopped};
use super::settings::Settings;
use super::telling::Telling;
use crate::error::{Class, ExitCode, Failure};
use crate::event::Events;
use crate::run::{self, Selected};
use crate::sched::StopReason;
use crate::step::{Options, Removal, StepError, preview};

pub(super) async fn run(settings: &Settings, args: &Destroy) -> Result<ExitCode, Stop> {
    let opened = Opened::read(settings, Reading::Look)?;
    // What is needed goes after what needs it, so naming a step means that step and everything that stands on it.
    let mut steps = args.steps.clone();
    steps.downstream = !steps.no_deps;
    steps.no_deps = true;
    let selected = opened.select(&steps)?;
    let removal = Removal { images: args.images, cluster: args.cluster, everything: args.steps.steps.is_empty() };
    let options = Options { allow_contexts: args.allow_contexts.clone(), ..Options::default() };
    let world = opened.world(settings, options);
    let selected = Selected::new(world.graph(), &selected);
    let mut stops = stops()?;
    let begin = async {
        check_tools(&world, &crate::graph::StepSet::of(world.graph(), selected.steps().iter().copied())).await?;
        show(settings, &world, &selected, removal).await;
        Ok::<_, Stop>(args.yes || open::asked(settings, "remove it? [y/N] ").await?)
    };
    let Some(is_wanted) = unless_stopped(&mut stops, begin).await else { return Ok(ExitCode::Interrupted) };
    if !is_wanted? {
        return Err(Failure::new(ExitCode::Usage, "nothing was removed").into());
    }
    let lock = world.store().lock("destroy").map_err(locked)?;

    let (events, receiver) = Events::channel();
    let telling = Telling::begin(settings, receiver, false)?;
    let result = run::destroy(&world, selected, removal, stops, &events).await;
    drop(events);
    let seen = telling.end(world.stack().limits.grace, false).await;
    drop(lock);
    if seen.is_none() {
        // Somebody wants it to end, and the output is stuck: so is every further word.
        return Ok(ExitCode::Interrupted);
    }
    let summary = result.map_err(|error| open::missing(&StepError::new(Class::Internal, error.to_string())))?;
    Ok(match summary.stopped {
        Some(StopReason::Interrupt | StopReason::Kill) => ExitCode::Interrupted,
        _ if summary.failed > 0 => ExitCode::StepFailed,
        _ => ExitCode::Done,
    })
}

/// Shows what goes, and from which cluster.
async fn show(settings: &Settings, world: &crate::step::World, selected: &Selected, removal: Removal) {
    let steps: Vec<_> = selected.steps().iter().map(|&step| world.graph().id(step).clone()).collect();
    let lines = preview(world, &steps, removal).await;
    let from = world.stack().cluster.as_ref().map(|cluster| format!(" from context {}", cluster.context));
    settings.console.error_line(match lines.is_empty() {
        true => "there is nothing to remove".to_owned(),
        false => format!("this removes{}:", from.unwrap_or_default()),
    });
    for line in lines {
        settings.console.error_line(format_args!("  {line}"));
    }
}
