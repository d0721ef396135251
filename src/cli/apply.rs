//! `stack apply`: make the world equal to the stack file.

use std::collections::HashSet;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use tokio::time::timeout;

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
use crate::step::{LONG, Options, World};
use crate::store::{Lock, LockError};

/// How to apply, as the command line says it.
#[derive(Debug, Clone, Default)]
pub(super) struct How {
    pub(super) jobs: Option<u16>,
    pub(super) keep_going: bool,
    /// No step was named.
    pub(super) everything: bool,
    /// Where a CI system looks.
    pub(super) reports: CiReports,
}

pub(super) async fn run(settings: &Settings, args: &Apply) -> Result<ExitCode, Stop> {
    let mut stops = stops()?;
    let variable = |name: &str| settings.environment.get(name).filter(|value| !value.is_empty());
    let reports = CiReports {
        junit: args.junit.clone(),
        annotations: variable("GITHUB_ACTIONS").is_some_and(|value| value == "true"),
        summary: variable("GITHUB_STEP_SUMMARY").map(PathBuf::from),
    };
    let how = How { jobs: args.jobs, keep_going: args.keep_going, everything: args.steps.steps.is_empty(), reports };
    let mut held = None;
    loop {
        let mut opened = Opened::read(settings, Reading::Run)?;
        opened.use_cache(args.cache.as_deref(), args.cache_read_only)?;
        let selected = opened.select_from(settings, &args.steps, args.from_failed, held.as_ref())?;
        let force: HashSet<_> = opened.forced(&args.force, &selected)?.into_iter().collect();
        let world = opened.world(settings, Options { force, allow_contexts: args.allow_contexts.clone() });
        match begin(settings, &world, &selected, args.wait, held.take(), &mut stops).await? {
            Begun::Locked(lock) => {
                if args.from_failed {
                    open::tell_if_nothing_failed(settings, &selected);
                }
                let ended = once(settings, &world, &selected, how, lock, stops).await;
                world.leave();
                return ended;
            }
            Begun::Late(lock) => held = Some(lock),
            Begun::Stopped => return Ok(ExitCode::Interrupted),
        }
    }
}

/// How an apply begins.
pub(super) enum Begun {
    /// What was read holds as long as the lock does.
    Locked(Lock),
    /// Another run was at work after the files were read, or while it was waited for: everything has to be read anew. With
    /// the lock it will be as it is.
    Late(Lock),
    /// Somebody wants it to stop.
    Stopped,
}

/// The look at the tools, and the lock, unless it is `held` already; with `wait`, as soon as whoever holds it is done.
pub(super) async fn begin(
    settings: &Settings,
    world: &Arc<World>,
    selected: &StepSet,
    wait: bool,
    held: Option<Lock>,
    stops: &mut Stops,
) -> Result<Begun, Stop> {
    let begin = async {
        // What takes a second to be there is named: nothing else is on the screen yet.
        let mut checked = pin!(check_tools(world, selected));
        match timeout(LONG, &mut checked).await {
            Ok(checked) => checked?,
            Err(_) => {
                if let Some(awaited) = world.awaited() {
                    settings.console.error_line(awaited);
                }
                checked.await?;
            }
        }
        match held {
            Some(lock) => Ok(Begun::Locked(lock)),
            None => take_lock(settings, world, wait).await,
        }
    };
    unless_stopped(stops, begin).await.unwrap_or(Ok(Begun::Stopped))
}

/// One apply, from the first step to the last word.
pub(super) async fn once(
    settings: &Settings,
    world: &Arc<World>,
    selected: &StepSet,
    how: How,
    lock: Lock,
    stops: Stops,
) -> Result<ExitCode, Stop> {
    let lock = Arc::new(lock);
    world.work_under(&lock);

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

async fn take_lock(settings: &Settings, world: &World, wait: bool) -> Result<Begun, Stop> {
    match world.store().lock("apply") {
        Err(LockError::Held(holder)) if wait => {
            let held = LockError::Held(holder);
            settings.console.warning(&format!("{held}; waiting for it"));
            let store = world.store().clone();
            // The kernel wakes us: this blocks a thread of its own, not the run. Who stops waiting leaves the thread behind, and
            // the lock, should it still be taken, goes with the process.
            let waited = tokio::task::spawn_blocking(move || store.lock_waiting("apply")).await;
            match waited {
                Ok(lock) => lock.map(Begun::Late).map_err(locked),
                Err(_) => Err(locked(held)),
            }
        }
        Ok(lock) if world.is_old() => Ok(Begun::Late(lock)),
        taken => taken.map(Begun::Locked).map_err(locked),
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
