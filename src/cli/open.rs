//! From the settings to a stack that is ready to be worked on: the file found, read, and turned into a graph.

use std::collections::HashSet;
use std::io::{BufRead, IsTerminal};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

use super::Stop;
use super::args::Steps;
use super::settings::Settings;
use crate::config::{self, Cache, CacheMode, LoadOptions, StackFile};
use crate::error::{Class, ExitCode, Failure};
use crate::exec::{Stops, watch_signals};
use crate::graph::{self, Graph, ImageFacts, SelectError, Selection, StepId, StepIndex, StepKind, StepSet};
use crate::report::Console;
use crate::step::{EarlyFacts, Options, StepError, World, connect_early, preflight};
use crate::store::{Earlier, Holder, Lock, LockError, Store};

/// A stack file and its graph.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) stack: Arc<StackFile>,
    pub(super) graph: Graph,
    facts: ImageFacts,
    /// What earlier runs left is read while the stack file is: for ten thousand steps both take time.
    earlier: Receiver<Earlier>,
    early_facts: Arc<EarlyFacts>,
}

/// What a stack file is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// To look and change nothing by it: a variable that has no value is no error.
    Look,
    /// To be right.
    Check,
    /// To be right, and then to walk all of its steps.
    Run,
}

impl Opened {
    /// Finds and reads the stack file.
    pub(super) fn read(settings: &Settings, reading: Reading) -> Result<Self, Stop> {
        let usage = |message: String, help: Option<&str>| {
            let failure = Failure::new(ExitCode::Usage, message);
            Stop::from(match help {
                Some(help) => failure.with_help(help),
                None => failure,
            })
        };
        let here = std::env::current_dir()
            .map_err(|error| Failure::new(ExitCode::Usage, "the current folder is gone").with_source(error))?;
        let path = config::find(&here, settings.file.as_deref(), settings.file_variable.as_deref())
            .map_err(|error| usage(error.to_string(), error.help()))?;
        let mut vars = Vec::new();
        for var in &settings.vars {
            let (name, value) = var
                .split_once('=')
                .ok_or_else(|| usage(format!("`--var {var}` has no value"), Some("write `--var NAME=VALUE`")))?;
            vars.push((name.to_owned(), value.to_owned()));
        }
        let env = |name: &str| settings.environment.get(name);
        let options =
            LoadOptions { profiles: settings.profiles.clone(), vars, env: &env, lenient: reading == Reading::Look };
        let store = Store::beside(path.parent().unwrap_or(&here));
        let early_facts = Arc::new(EarlyFacts::default());
        let (tell, earlier) = mpsc::channel();
        let (ask, asked) = mpsc::channel::<Arc<StackFile>>();
        std::thread::spawn({
            let early_facts = Arc::clone(&early_facts);
            move || {
                let earlier = store.read_earlier();
                let log = Arc::clone(&earlier.tasks);
                // Who stopped at a wrong stack file needs neither.
                if tell.send(earlier).is_ok()
                    && let Ok(stack) = asked.recv()
                {
                    early_facts.look(&stack, &log);
                }
            }
        });
        let path = path.strip_prefix(&here).unwrap_or(&path);
        let stack = Arc::new(config::load(path, &options)?);
        if reading == Reading::Run && EarlyFacts::are_worth_it(&stack) {
            // It has no other reason to be gone than a panic, after which nobody needs it.
            let _ = ask.send(Arc::clone(&stack));
        }
        let facts = config::image_facts(&stack);
        let graph = Graph::build(&stack, &facts)?;
        for warning in &stack.warnings {
            settings.console.warning(warning.message());
        }
        for warning in graph::unordered(&stack, &graph, &facts) {
            settings.console.warning(&warning);
        }
        Ok(Self { stack, graph, facts, earlier, early_facts })
    }

    /// Takes the cache from the command line instead of the stack file.
    pub(super) fn use_cache(&mut self, registry: Option<&str>, read_only: bool) -> Result<(), Stop> {
        if let Some(registry) = registry {
            if let Some(wrong) = config::registry_error(registry) {
                let failure = Failure::new(ExitCode::Usage, format!("`--cache {registry}` names no registry: {wrong}"));
                return Err(failure.with_help(config::REGISTRY_HELP).into());
            }
            let cache = Arc::make_mut(&mut self.stack).cache.get_or_insert_with(Cache::default);
            cache.registry = registry.to_owned();
        }
        if read_only && let Some(cache) = &mut Arc::make_mut(&mut self.stack).cache {
            cache.mode = CacheMode::ReadOnly;
        }
        Ok(())
    }

    /// The steps that are meant.
    pub(super) fn select(&self, steps: &Steps) -> Result<StepSet, Stop> {
        self.select_among(steps, None)
    }

    /// The steps that are meant; with `from_failed`, of those only the ones that failed, or were not reached, in the last
    /// run that was to reach them. After an apply that was killed nobody knows which these are.
    pub(super) fn select_from(
        &self,
        settings: &Settings,
        steps: &Steps,
        from_failed: bool,
        held: Option<&Lock>,
    ) -> Result<StepSet, Stop> {
        if !from_failed {
            return self.select(steps);
        }
        let store = Store::beside(&self.stack.root);
        let killed = held.map_or_else(|| store.killed(), |lock| lock.killed().cloned());
        if let Some(Holder { pid, since, .. }) = killed.filter(|holder| holder.command == "apply") {
            settings.console.warning(&format!(
                "the last apply (process {pid}, since {since:.0}) was killed, so it is not known what it did not reach: \
                 everything is looked at"
            ));
            return self.select(steps);
        }
        // A warning about it is told when the state is read for the run.
        let (state, _) = store.read_state();
        let state = state.of(&self.stack.name.value);
        let open = state.own.outcomes.keys().filter_map(|id| id.parse().ok()).collect();
        self.select_among(steps, Some(open))
    }

    fn select_among(&self, steps: &Steps, among: Option<HashSet<StepId>>) -> Result<StepSet, Stop> {
        let Steps { steps, no_deps, downstream } = steps.clone();
        let selection = Selection { patterns: steps, no_deps, downstream, among };
        self.graph.select(&selection).map_err(|error| unknown_step(&error))
    }

    /// The steps that are forced to run.
    pub(super) fn forced(&self, patterns: &[String], selected: &StepSet) -> Result<Vec<StepIndex>, Stop> {
        let mut forced = Vec::new();
        for pattern in patterns {
            if pattern == "*" {
                forced.extend(selected.iter());
            } else {
                let before = forced.len();
                let meant = self.graph.matching(pattern).map_err(|error| unknown_step(&error))?;
                forced.extend(meant.into_iter().filter(|&step| selected.contains(step)));
                if forced.len() == before {
                    let message =
                        format!("`--force={pattern}` forces nothing: no step that it means is part of this run");
                    let help = "name the step among the steps, too, or leave these out";
                    return Err(Failure::new(ExitCode::Usage, message).with_help(help).into());
                }
            }
        }
        Ok(forced)
    }

    /// The world in which these steps live. Nothing is connected yet.
    pub(super) fn world(self, settings: &Settings, options: Options) -> Arc<World> {
        let Self { stack, graph, facts, earlier, early_facts } = self;
        let store = Store::beside(&stack.root);
        // A thread that panicked has told nothing.
        let earlier = earlier.recv().unwrap_or_else(|_| store.read_earlier());
        earlier.warnings.iter().for_each(|warning| settings.console.warning(warning));
        let world = World::new(stack, graph, facts, store, earlier, settings.environment.clone(), options);
        Arc::new(world.seen_early(early_facts))
    }
}

/// Tells that a selection of what failed has nothing in it.
pub(super) fn tell_if_nothing_failed(settings: &Settings, selected: &StepSet) {
    if selected.is_empty() {
        settings.console.line("nothing failed or was blocked the last time");
    }
}

pub(super) fn unknown_step(error: &SelectError) -> Stop {
    Failure::new(ExitCode::Usage, error.to_string()).with_help(error.help.clone()).into()
}

/// Makes sure that what the steps need is there before the first of them starts.
pub(super) async fn check_tools(world: &Arc<World>, selected: &StepSet) -> Result<(), Stop> {
    let kinds: HashSet<StepKind> = selected.iter().map(|step| world.graph().id(step).kind()).collect();
    connect_early(world, &kinds);
    preflight(world, &kinds).await.map_err(|error| missing(&error.redacted(world.redactor())))
}

/// A failure outside of any step.
pub(super) fn missing(error: &StepError) -> Stop {
    let code = match error.class {
        Class::Environment | Class::Transient => ExitCode::Missing,
        Class::Input => ExitCode::Usage,
        Class::Internal => ExitCode::StepFailed,
    };
    let failure = Failure::new(code, error.reason.clone());
    match &error.diagnosis {
        Some(diagnosis) => failure.with_details(diagnosis.clone()).into(),
        None => failure.into(),
    }
}

/// The failure for a lock that could not be taken.
pub(super) fn locked(error: LockError) -> Stop {
    match error {
        LockError::Held(_) => Failure::new(ExitCode::Locked, error.to_string())
            .with_help("wait for it to end, or start again with --wait")
            .into(),
        LockError::Io { .. } => {
            Failure::new(ExitCode::Missing, "the folder .stack/ can't be used").with_source(error).into()
        }
    }
}

/// Asks somebody, who has to be there.
pub(super) async fn asked(settings: &Settings, question: &str) -> Result<bool, Stop> {
    if !std::io::stdin().is_terminal() {
        let failure = Failure::new(ExitCode::Usage, "nobody is there to be asked");
        return Err(failure.with_help("say `--yes` to remove it without a question").into());
    }
    settings.console.prompt(question);
    // On a thread of its own, so that a Ctrl-C is heard meanwhile.
    let answer = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        // A closed stdin is no yes.
        let _ = std::io::stdin().lock().read_line(&mut answer);
        answer
    });
    Ok(answer.await.is_ok_and(|answer| matches!(answer.trim(), "y" | "Y" | "yes")))
}

/// Whether a selection is everything that the file speaks of.
pub(super) fn covers_all(world: &World, selected: &StepSet) -> bool {
    selected.iter().count() == world.graph().len()
}

/// Signals as requests to stop.
pub(super) fn stops() -> Result<Stops, Stop> {
    watch_signals().map_err(|error| {
        Failure::new(ExitCode::Missing, "the system refuses signal handlers").with_source(error).into()
    })
}

/// What `work` comes to, or nothing when somebody wants it to stop first.
pub(super) async fn unless_stopped<T>(stops: &mut Stops, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        Some(_) = stops.recv() => None,
        done = work => Some(done),
    }
}

/// Tells a result, on a thread of its own. Nothing when somebody wants it to stop while nobody reads on.
pub(super) async fn told(
    settings: &Settings,
    stops: &mut Stops,
    tell: impl FnOnce(&Console) + Send + 'static,
) -> Option<()> {
    let console = settings.console.clone();
    unless_stopped(stops, tokio::task::spawn_blocking(move || tell(&console))).await.map(drop)
}

/// `-j N` as the scheduler takes it.
pub(super) fn jobs(jobs: Option<u16>) -> Option<NonZeroU32> {
    jobs.and_then(|jobs| NonZeroU32::new(jobs.into()))
}
