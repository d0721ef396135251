//! `stack watch`: apply, and again on every change that matters.
//!
//! Which files matter is what the keys of the steps say; the folders that these lie in are watched, and after a change
//! the files are looked at again. A change that no key would notice (a time stamp, an ignored file, a file of no step)
//! starts nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Stop;
use super::apply::{self, Begun, How};
use super::args::Watch;
use super::open::{self, Opened, Reading, stops, unless_stopped};
use super::settings::Settings;
use crate::error::ExitCode;
use crate::exec::{Stops, stop_channel};
use crate::graph::StepSet;
use crate::process::{Cancel, CancelLevel, CancelSource};
use crate::report::Palette;
use crate::step::{Options, Seen, Sources, StepError, World};
use crate::store::Lock;
use crate::tools::changes::Changes;

pub(super) async fn run(settings: &Settings, args: &Watch) -> Result<ExitCode, Stop> {
    let mut signals = stops()?;
    let mut changes = Changes::new().map_err(|error| missing(&error))?;
    let mut applied = None;
    let mut held = None;
    // The first file has to be right; later ones may be wrong for a while, since somebody is at them.
    let mut opened = Opened::read(settings, Reading::Run).map(Some)?;
    loop {
        // Nobody shall wait for us while we wait for changes.
        let lock: Option<Lock> = held.take();
        if let Some(read) = opened.take() {
            let selected = read.select(&args.steps)?;
            let world = read.world(settings, Options::default());
            let Some(mut sources) = watched(&world, &selected, &mut changes, &mut signals).await? else {
                return Ok(ExitCode::Interrupted);
            };
            if applied.as_ref() != Some(&sources.inputs) {
                let how = How { jobs: args.jobs, everything: args.steps.steps.is_empty(), ..How::default() };
                match apply::begin(settings, &world, &selected, true, lock, &mut signals).await {
                    Ok(Begun::Locked(lock)) => {
                        if once(settings, &world, &selected, how, lock, &mut signals).await? == ExitCode::Interrupted {
                            return Ok(ExitCode::Interrupted);
                        }
                    }
                    Ok(Begun::Late(lock)) => {
                        // A file that is wrong by now is told of also when nothing was applied yet.
                        applied.get_or_insert_default();
                        opened = again(settings, &mut applied);
                        held = opened.is_some().then_some(lock);
                        continue;
                    }
                    Ok(Begun::Stopped) => return Ok(ExitCode::Interrupted),
                    // What is wrong now may be right after the next change.
                    Err(stop) => _ = stop.show(&settings.console),
                }
                let Some(later) = watched(&world, &selected, &mut changes, &mut signals).await? else {
                    return Ok(ExitCode::Interrupted);
                };
                sources.accept_made(&world, &later);
                // What changed while a task ran, and changed back, is a change all the same.
                let is_settled = !has_unsettled(&world, &selected);
                applied = Some(if is_settled { sources.inputs } else { BTreeMap::new() });
                let dim = Palette::DIM;
                settings.console.line(format_args!("{dim}watching for changes; Ctrl-C ends{dim:#}"));
            }
        }
        tokio::select! {
            _ = signals.recv() => return Ok(ExitCode::Interrupted),
            () = changes.settled(Duration::from_millis(args.debounce)) => {}
        }
        opened = again(settings, &mut applied);
    }
}

/// Whether one of the steps has to run again, since its inputs changed while it ran.
fn has_unsettled(world: &World, selected: &StepSet) -> bool {
    let unsettled = &world.state().own.unsettled;
    !unsettled.is_empty() && selected.iter().any(|step| unsettled.contains(&world.graph().id(step).to_string()))
}

/// Reads the stack file anew. One that is wrong is told once; what is watched stays what it was.
fn again(settings: &Settings, applied: &mut Option<BTreeMap<String, Seen>>) -> Option<Opened> {
    match Opened::read(settings, Reading::Run) {
        Ok(opened) => Some(opened),
        Err(stop) => {
            if applied.take().is_some() {
                stop.show(&settings.console);
            }
            None
        }
    }
}

/// What the keys of the steps say of files, with every folder watched that they lie in before it was looked at. Nothing
/// when somebody wants it to end first.
async fn watched(
    world: &Arc<World>,
    selected: &StepSet,
    changes: &mut Changes,
    signals: &mut Stops,
) -> Result<Option<Sources>, Stop> {
    loop {
        let source = CancelSource::new();
        // Reading files blocks: on a task of its own, so that signals are heard meanwhile.
        let looking = tokio::spawn(look(Arc::clone(world), selected.clone(), source.cancel()));
        let Some(looked) = unless_stopped(signals, looking).await else {
            source.raise(CancelLevel::Kill);
            return Ok(None);
        };
        // It has no other reason to be gone than a panic, which has been told.
        let sources = looked.unwrap_or_default();
        if !changes.watch(&sources.folders).map_err(|error| missing(&error))? {
            return Ok(Some(sources));
        }
    }
}

/// What the keys of the steps say of files now.
async fn look(world: Arc<World>, selected: StepSet, cancel: Cancel) -> Sources {
    let graph = world.graph();
    let mut sources = Sources::default();
    for &step in graph.order().iter().filter(|step| selected.contains(**step)) {
        // What can't be read now fails its step in the run, and is told there.
        if let Err(error) = sources.add(&world, step, &cancel).await {
            sources.add_failure(graph.id(step), &error);
        }
    }
    sources.add_file(&world.stack().path);
    sources
}

/// One apply. A request to stop reaches it, and the caller by the exit code.
async fn once(
    settings: &Settings,
    world: &Arc<World>,
    selected: &StepSet,
    how: How,
    lock: Lock,
    signals: &mut Stops,
) -> Result<ExitCode, Stop> {
    let (sender, stops) = stop_channel();
    let applying = apply::once(settings, world, selected, how, lock, stops);
    tokio::pin!(applying);
    loop {
        tokio::select! {
            code = &mut applying => return match code {
                // What is wrong now may be right after the next change.
                Err(stop) => {
                    stop.show(&settings.console);
                    Ok(ExitCode::StepFailed)
                }
                code => code,
            },
            Some(reason) = signals.recv() => {
                // The run is over already: then its end is about to be seen.
                let _ = sender.send(reason);
            }
        }
    }
}

fn missing(error: &crate::tools::changes::ChangesError) -> Stop {
    open::missing(&StepError::of(error, error.class(), error.help().map(str::to_owned)))
}
