//! `stack apply`: make the world equal to the stack file.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::Stop;
use super::args::Apply;
use super::open::{self, Opened, Reading, check_tools, covers_all, jobs, locked, stops, unless_stopped};
use super::settings::Settings;
use super::telling::Telling;
use crate::error::{Class, ExitCode};
use crate::event::Events;
use crate::exec::Stops;
use crate::graph::StepSet;
use crate::report::CiReports;
use crate::run::{self, ApplyOptions, RunResult, Selected};
use crate::sched::StopReason;
use crate::step::{Options, World};

/// How to apply, as the command line says it.
#[derive(Debug, Clone, Default)]
pub(super) struct How {
    pub(super) jobs: Option<u16>,
    pub(super) keep_going: bool,
    pub(super) wait: bool,
    /// No step was named.
    pub(super) everything: bool,
    /// Where a CI system looks.
    pub(super) reports: CiReports,
}

pub(super) async fn run(settings: &Settings, args: &Apply) -> Result<ExitCode, Stop> {
    let stops = stops()?;
    let mut opened = Opened::read(settings, Reading::Run)?;
    opened.use_cache(args.cache.as_deref(), args.cache_read_only)?;
    let selected = opened.select_from(settings, &args.steps, args.from_failed)?;
    let force: HashSet<_> = opened.forced(&args.force, &selected)?.into_iter().collect();
    let world = opened.world(settings, Options { force, allow_contexts: args.allow_contexts.clone() });
    let variable = |name: &str| settings.environment.get(name).filter(|value| !value.is_empty());
    let reports = CiReports {
        junit: args.junit.clone(),
        annotations: variable("GITHUB_ACTIONS").is_some_and(|value| value == "true"),
        summary: variable("GITHUB_STEP_SUMMARY").map(PathBuf::from),
    };
    let (jobs, keep_going, wait) = (args.jobs, args.keep_going, args.wait);
    let how = How { jobs, keep_going, wait, everything: args.steps.steps.is_empty(), reports };
    let ended = once(settings, &world, &selected, how, stops).await;
    world.leave();
    ended
}

/// One apply, from the look at the tools to the last word.
pub(super) async fn once(
    settings: &Settings,
    world: &Arc<World>,
    selected: &StepSet,
    how: How,
    mut stops: Stops,
) -> Result<ExitCode, Stop> {
    let begin = async {
        check_tools(world, selected).await?;
        take_lock(settings, world, how.wait).await
    };
    let Some(lock) = unless_stopped(&mut stops, begin).await else { return Ok(ExitCode::Interrupted) };
    let lock = Arc::new(lock?);
    world.refresh(&lock);

    let (events, receiver) = Events::channel();
    let telling = Telling::begin(settings, receiver, how.reports.are_wanted())?;
    // Only a run over everything knows what is left over.
    let prune = if how.everything && covers_all(world, selected) { Some(open::stops()?) } else { None };
    let options = ApplyOptions { jobs: jobs(how.jobs), keep_going: how.keep_going, prune };
    let result = run::apply(world, Selected::new(world.graph(), selected), options, stops, &events).await;
    drop(events);
    let late = result.as_ref().ok().filter(|result| result.summary.stopped == Some(StopReason::Deadline));
    let seen = telling.end(world.stack().limits.grace, late.is_some()).await;
    let kept = world.keep();
    let Some(seen) = seen else {
        // It has to end, and the output is stuck: so is every further word.
        return Ok(late.map_or(ExitCode::Interrupted, exit_code));
    };
    let reported = how.reports.write(world.stack_name(), &seen, &settings.console);
    if let Err((path, error)) = &reported {
        settings.console.warning(&format!("can't write {}: {error}", path.display()));
    }
    if let Err(error) = kept {
        settings.console.warning(&format!("the next run will explain itself less well: can't write .stack/: {error}"));
    }
    drop(lock);
    match result {
        Ok(result) => Ok(match exit_code(&result) {
            // A summary is for who comes by; the file was asked for.
            ExitCode::Done if reported.is_err_and(|(path, _)| Some(path) == how.reports.junit) => ExitCode::Missing,
            code => code,
        }),
        Err(error) => Err(open::missing(&crate::step::StepError::new(Class::Internal, error.to_string()))),
    }
}

/// Takes the lock; with `wait`, as soon as whoever holds it is done.
async fn take_lock(settings: &Settings, world: &World, wait: bool) -> Result<crate::store::Lock, Stop> {
    match world.store().lock("apply") {
        Err(crate::store::LockError::Held(holder)) if wait => {
            let held = crate::store::LockError::Held(holder);
            settings.console.warning(&format!("{held}; waiting for it"));
            let store = world.store().clone();
            // The kernel wakes us: this blocks a thread of its own, not the run. Who stops waiting leaves the thread behind, and
            // the lock, should it still be taken, goes with the process.
            let waited = tokio::task::spawn_blocking(move || store.lock_waiting("apply")).await;
            match waited {
                Ok(lock) => lock.map_err(locked),
                Err(_) => Err(locked(held)),
            }
        }
        taken => taken.map_err(locked),
    }
}

/// A step that failed since something is missing has the code of that, unless another one failed by itself.
fn exit_code(result: &RunResult) -> ExitCode {
    match result.summary.stopped {
        Some(StopReason::Interrupt | StopReason::Kill) => return ExitCode::Interrupted,
        Some(StopReason::Deadline) => return ExitCode::StepFailed,
        Some(StopReason::FailFast) | None => {}
    }
    if result.failures.is_empty() {
        ExitCode::Done
    } else if result.failures.values().all(|class| *class == Class::Environment) {
        ExitCode::Missing
    } else {
        ExitCode::StepFailed
    }
}
