//! `ready:NAME`: a check passes now. Nothing is recorded: the check itself is the proof.
//!
//! When something that it needs is about to change, its passing now says nothing: then it is not known.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::Value as Json;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::check::{self, Verdict};
use super::output::{Known, Output};
use super::{Finished, Inspection, Speaker, StepError, World, stopped, values};
use crate::config::{Check, OutputRef, Outputs, Ready as Spec};
use crate::error::Class;
use crate::event::Stream;
use crate::graph::{StepId, StepKind};
use crate::key::{Group, Manifest};
use crate::plan::{Effect, by_effect};
use crate::process::{Cancel, CancelLevel, CancelSource};

/// How long a check may take in all when the stack file says nothing.
const TIMEOUT: Duration = Duration::from_secs(300);

/// How long one look may take while it is only to be decided whether there is anything to do.
const LOOK: Duration = Duration::from_secs(10);

/// How long the last look may take, which begins when the time is over.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// How many lines of a command's output explain its failure.
const SHOWN: usize = 20;

/// What `inspect` leaves to `execute`.
#[derive(Debug)]
pub(super) struct Work {
    name: String,
}

fn spec<'w>(world: &'w World, name: &str) -> Result<&'w Spec, StepError> {
    let found = world.stack().ready.get(name);
    found.ok_or_else(|| StepError::new(Class::Internal, format!("there is no check {name}")))
}

pub(super) async fn inspect(world: &World, name: &str) -> Result<Inspection, StepError> {
    let spec = spec(world, name)?;
    let step = StepId::new(StepKind::Ready, name);
    let manifest = inputs(world, spec);
    let effect = match waits_for(world, &step) {
        Some(because) => Effect::Unknown { because },
        None => match look(world, name, spec).await? {
            Verdict::Passes(seen) => Effect::Intact(seen),
            Verdict::NotYet(why) | Verdict::Never(why) => Effect::wrong(why),
        },
    };
    let decision = by_effect(&manifest, None, &effect);
    let work = super::Work::Ready(Box::new(Work { name: name.to_owned() }));
    Ok(Inspection { decision, manifest, output: Known::Yes(Output::None), work })
}

/// The first step that it needs and that is about to change something.
fn waits_for(world: &World, step: &StepId) -> Option<StepId> {
    let index = world.graph().find(step)?;
    world.graph().needs(index).iter().find_map(|&need| match world.output_of(need) {
        Some(Known::Yes(_)) => None,
        Some(Known::After(step)) => Some(step),
        None => Some(world.graph().id(need).clone()),
    })
}

/// What is checked, for `why`.
fn inputs(world: &World, spec: &Spec) -> Manifest {
    let mut manifest = Manifest::new("ready");
    values::add_template(world, &mut manifest, Group::Target, "namespace", &spec.namespace);
    manifest.text(Group::Setting, "check", check::describe(world, &spec.check));
    manifest
}

async fn look(world: &World, name: &str, spec: &Spec) -> Result<Verdict, StepError> {
    // A command may have effects of its own, so it is not run only to look.
    if let Check::Run { .. } = spec.check {
        return Ok(Verdict::NotYet("a command is run in every apply".to_owned()));
    }
    let seen = match world.early().check(name).await {
        Some(seen) => Some(seen),
        None => check::glance(world, spec).await?,
    };
    if let Some(verdict) = seen {
        return Ok(verdict);
    }
    let deadline = Instant::now() + LOOK;
    match timeout_at(deadline, check::once(world, spec, &Cancel::never(), &mut |_, _| {})).await {
        Ok(verdict) => verdict,
        Err(_) => Ok(Verdict::NotYet(format!("no answer within {} s", LOOK.as_secs()))),
    }
}

pub(super) async fn execute(
    world: &World,
    work: Work,
    speaker: &Speaker,
    cancel: &Cancel,
) -> Result<Finished, StepError> {
    let spec = spec(world, &work.name)?;
    if check::is_watched(&spec.check) {
        let note = check::watch(world, spec, speaker, cancel).await?;
        return Ok(Finished { output: Output::None, note: Some(note) });
    }
    let limit = spec.options.timeout.unwrap_or(TIMEOUT);
    let deadline = Instant::now() + limit;
    let mut until = deadline;
    let mut last = String::new();
    let mut said = VecDeque::new();
    // Something that answers, and not as it should, is a failure of what was deployed; no answer from the cluster is none.
    let mut class = Class::Environment;
    loop {
        said.clear();
        let mut told = |stream, line: &str| {
            speaker.output(stream, line);
            said.push_back(line.to_owned());
            if said.len() > SHOWN {
                said.pop_front();
            }
        };
        match once_until(until, world, spec, cancel, &mut told).await {
            Some(Ok(Verdict::Passes(seen))) => return Ok(Finished { output: Output::None, note: Some(seen) }),
            Some(Ok(Verdict::Never(why))) => return Err(StepError::new(Class::Input, why)),
            Some(Ok(Verdict::NotYet(why))) => {
                class = Class::Input;
                if why != last {
                    speaker.progress(&why, None, None);
                    last = why;
                }
            }
            // The cluster may be away for a moment; what is wrong with the question itself stays wrong.
            Some(Err(error)) if error.class == Class::Transient || error.class == Class::Environment => {
                class = Class::Environment;
                last = error.reason;
            }
            Some(Err(error)) => return Err(error),
            None if cancel.is_raised() => return Err(stopped()),
            None if last.is_empty() => last.push_str("it did not answer in time"),
            None => {}
        }
        let rest = deadline.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            let reason = format!("not ready after {} s: {last}", limit.as_secs_f64());
            let error = StepError::new(class, reason);
            let diagnosis = match said.is_empty() {
                true => check::diagnose(world, spec).await,
                false => Some(Vec::from(said).join("\n")),
            };
            return Err(match diagnosis {
                Some(diagnosis) => error.with_diagnosis(diagnosis),
                None => error,
            });
        }
        if rest <= spec.interval {
            until = deadline + LAST_LOOK;
        }
        tokio::select! {
            () = sleep(rest.min(spec.interval)) => {}
            _ = cancel.raised(CancelLevel::Terminate) => return Err(stopped()),
        }
    }
}

/// Looks once; nothing when the time is over first, or the run is to stop. A command has its grace then.
async fn once_until(
    until: Instant,
    world: &World,
    spec: &Spec,
    cancel: &Cancel,
    told: &mut (dyn FnMut(Stream, &str) + Send),
) -> Option<Result<Verdict, StepError>> {
    let source = CancelSource::new();
    let own = source.cancel();
    let mut once = pin!(check::once(world, spec, &own, told));
    let level = tokio::select! {
        biased;
        verdict = &mut once => return Some(verdict),
        level = cancel.raised(CancelLevel::Terminate) => level,
        () = sleep_until(until) => CancelLevel::Terminate,
    };
    // Nothing else is left to itself when it is dropped.
    let Check::Run { .. } = spec.check else { return None };
    source.raise(level);
    let verdict = tokio::select! {
        verdict = &mut once => verdict,
        level = cancel.raised(CancelLevel::Kill) => {
            source.raise(level);
            once.await
        }
    };
    // What ended well just then has passed.
    verdict.ok().filter(|verdict| matches!(verdict, Verdict::Passes(_))).map(Ok)
}

/// A word of a command line in a run. What a task printed may hold a secret, and then it can't be one: whoever is on the
/// machine can read it.
pub(super) fn argument(world: &World, template: &crate::config::Template) -> Result<String, StepError> {
    for output in template.outputs().filter(|output| matches!(output.value, OutputRef::Task { .. })) {
        let Some(value) = Outputs::output(world, &output.value) else { continue };
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if world.redactor().finds(&shown) {
            let reason = format!("`${{{}}}` holds a secret, and is among the arguments of a command", output.value);
            let why = "every user of this machine could read it in the list of processes\ntry to give it by `env`";
            return Err(StepError::new(Class::Input, reason).with_diagnosis(why));
        }
    }
    text(world, template)
}

/// A template's text in a run, secrets included.
pub(super) fn text(world: &World, template: &crate::config::Template) -> Result<String, StepError> {
    match template.resolve(world) {
        Ok(resolved) => Ok(match resolved.exposed() {
            Json::String(text) => text,
            _ => resolved.exposed_text().expose_secret().to_owned(),
        }),
        Err(unknown) => Err(StepError::new(Class::Internal, unknown.to_string())),
    }
}
