//! `task:NAME`: a command of the user's ran with exactly these inputs, and what it made is unharmed.
//!
//! What a command does can't be looked at, save for the files that it is said to make. So its record decides: the key of
//! its inputs, and the digests of its outputs. The record is withdrawn before the command starts and written only after
//! it succeeded, made all its outputs, and its inputs were read a second time and found unchanged.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use secrecy::ExposeSecret;
use tokio::task::block_in_place;

use super::facts::{Seen, facts};
use super::output::{Known, Output, Printed};
use super::ready::argument;
use super::{Finished, Inspection, Speaker, StepError, World, stopped, values};
use crate::config::{Run, Task as Spec};
use crate::error::Class;
use crate::graph::{StepId, StepIndex, StepKind, Why};
use crate::key::context::FileStat;
use crate::key::patterns::{Link, Match, Matches, Patterns, PatternsError, is_executable};
use crate::key::{Group, Manifest};
use crate::plan::{Action, Decision, Effect, by_record};
use crate::process::{self, Cancel, Command, ProcessError};
use crate::store::{Made, TaskRecord, TaskView};

/// The most of a command's output that others can refer to.
const KEPT: usize = 1 << 20;

/// How many lines of a command's output explain its failure.
const SHOWN: usize = 20;

/// What `inspect` leaves to `execute`.
#[derive(Debug)]
pub(super) struct Work {
    name: String,
    key: Option<String>,
}

/// Whether files may be read, or only looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// A file whose digest is not known is read.
    Files,
    /// A file whose digest is not known ends the matter.
    OnlyKnown,
}

/// What is known of a file's content.
enum Content {
    Known(Made),
    Gone,
    /// There is something else in its place, such as a folder.
    NoFile,
    /// It would have to be read.
    Unread,
}

fn of_patterns(error: PatternsError) -> StepError {
    StepError::of(&error, error.class(), None)
}

fn spec<'w>(world: &'w World, name: &str) -> Result<&'w Spec, StepError> {
    let found = world.stack().tasks.get(name);
    found.ok_or_else(|| StepError::new(Class::Internal, format!("there is no task {name}")))
}

pub(super) fn inspect(world: &World, step: StepIndex, name: &str) -> Result<Inspection, StepError> {
    let found = proving(world, step, name, || look(world, step, name, Reading::Files))?;
    found.ok_or_else(|| StepError::new(Class::Internal, "a file that could have been read was not"))
}

/// See [`super::Sources`].
pub(super) fn sources(
    world: &World,
    step: StepIndex,
    name: &str,
    folders: &mut Vec<PathBuf>,
) -> Result<Manifest, StepError> {
    let spec = spec(world, name)?;
    let patterns = Patterns::new(spec.inputs.iter().map(|pattern| &*pattern.value)).map_err(of_patterns)?;
    folders.extend(patterns.folders(&world.stack().root));
    let manifest = inputs(world, step, spec, Reading::Files)?;
    manifest.ok_or_else(|| StepError::new(Class::Internal, "a file that could have been read was not"))
}

/// See [`super::skip_at_once`].
pub(super) fn skip_at_once(world: &World, step: StepIndex, name: &str) -> Option<(String, Output)> {
    let needs = world.graph().needs(step);
    if needs.iter().any(|&need| !world.has_output(need)) {
        return None;
    }
    let (place, spec) = world.task(step).filter(|(_, spec)| spec.cache)?;
    let seen = match world.early_facts().of(place) {
        Some(seen) => seen.cloned(),
        // What has no record has to run.
        None => world.tasks().view(name, |last| world.files()?.see(spec, last))?,
    };
    if let Some(Seen { own, stdout, outputs }) = seen
        && facts(world, step, own).is_some_and(|proof| world.proven().contains(&proof))
    {
        return Some((intact(outputs), Output::Task { stdout: Printed::Text(stdout) }));
    }
    // Errors are for `inspect` to tell.
    let inspection = proving(world, step, name, || look(world, step, name, Reading::OnlyKnown)).ok()??;
    match (inspection.decision.action, inspection.output) {
        // What can't be known has to be told.
        (Action::Skip, Known::Yes(output)) if inspection.decision.unknowable.is_empty() => {
            Some((inspection.decision.reason, output))
        }
        _ => None,
    }
}

/// Looks, and remembers the facts if there is nothing to do: they have to be the same before and after, and be known to
/// mean the same contents the next time.
fn proving(
    world: &World,
    step: StepIndex,
    name: &str,
    look: impl FnOnce() -> Result<Option<Inspection>, StepError>,
) -> Result<Option<Inspection>, StepError> {
    let proof = |settled: bool| {
        let spec = world.stack().tasks.get(name)?;
        let digests = settled.then(|| world.digests());
        let own = |last: &TaskView<'_>| last.stdout.and_then(|_| world.files()?.own_facts(spec, last, digests));
        let own = world.tasks().view(name, own)??;
        facts(world, step, own)
    };
    let before = proof(false);
    let found = look()?;
    if let (Some(Inspection { decision: Decision { action: Action::Skip, unknowable, .. }, .. }), Some(before)) =
        (&found, before)
        && unknowable.is_empty()
        && proof(true) == Some(before)
    {
        world.proven().insert(before);
    }
    Ok(found)
}

/// Nothing, if a file would have to be read that may not be.
fn look(world: &World, step: StepIndex, name: &str, reading: Reading) -> Result<Option<Inspection>, StepError> {
    let spec = spec(world, name)?;
    let Some(manifest) = inputs(world, step, spec, reading)? else { return Ok(None) };
    let last = world.tasks().get(name);
    let id = || StepId::new(StepKind::Task, name);
    let key = manifest.key().map(|key| key.to_string());
    let decision = match &last {
        _ if !spec.cache => Decision::new(Action::Run, "it runs in every apply"),
        None => match manifest.waits_for() {
            Some(step) => Decision::new(Action::Unknown, format!("depends on {step}, which has not run yet")),
            None if world.state().unsettled.contains(&id().to_string()) => {
                Decision::new(Action::Run, "its inputs changed while it ran the last time")
            }
            None => Decision::new(Action::Run, "it has not run here with success yet"),
        },
        Some(last) => {
            let Some(effect) = effect(world, last, reading)? else { return Ok(None) };
            match &effect {
                Effect::Intact(_) if last.stdout.is_none() && is_quoted(world, step) => Decision::new(
                    Action::Run,
                    "what it prints was not kept, since a secret is in it or it is too long, and another step wants it",
                ),
                // Equal keys have no difference to look for.
                Effect::Intact(seen) if key.as_ref() == Some(&last.key) => Decision::new(Action::Skip, seen),
                _ => by_record(&manifest, last.manifest().as_ref(), &effect),
            }
        }
    };
    let output = match (decision.action, last) {
        (Action::Skip, Some(last)) => {
            // What was not kept is wanted by nobody, or it would run.
            Known::Yes(Output::Task { stdout: Printed::Text(last.stdout.clone().unwrap_or_default()) })
        }
        _ => Known::After(id()),
    };
    let decision = decision.admitting(&manifest);
    let work = super::Work::Task(Box::new(Work { name: name.to_owned(), key }));
    Ok(Some(Inspection { decision, manifest, output, work }))
}

/// Fails if the step refers to what a task printed, and that was too much to be kept.
pub(super) fn has_all_that_was_printed(world: &World, step: StepIndex) -> Result<(), StepError> {
    let graph = world.graph();
    for &need in graph.needs(step) {
        if let Some(Known::Yes(Output::Task { stdout: Printed::TooLong(bytes) })) = world.output_of(need)
            && matches!(graph.why(step, need), Some(Why::Output(_)))
        {
            let task = graph.id(need).name();
            let reason =
                format!("{} printed {bytes} bytes, and `${{task.{task}.stdout}}` holds {KEPT} at most", graph.id(need));
            let help = "try to write it to a file that is named in the task's `outputs`, and to read that";
            return Err(StepError::new(Class::Input, reason).with_diagnosis(help));
        }
    }
    Ok(())
}

/// Whether another step refers to what it prints.
fn is_quoted(world: &World, step: StepIndex) -> bool {
    let graph = world.graph();
    graph.dependents(step).iter().any(|&other| matches!(graph.why(other, step), Some(Why::Output(_))))
}

/// Everything that the command depends on; nothing, if a file would have to be read that may not be.
fn inputs(world: &World, step: StepIndex, spec: &Spec, reading: Reading) -> Result<Option<Manifest>, StepError> {
    let mut manifest = Manifest::new("task");
    let mut outputs = Vec::new();
    match &spec.run {
        Run::Argv(argv) => {
            for (place, word) in argv.iter().enumerate() {
                values::add_template(world, &mut manifest, Group::Setting, &format!("run {place}"), word);
                outputs.extend(word.outputs());
            }
        }
        Run::Shell(line) => {
            values::add_template(world, &mut manifest, Group::Setting, "run", line);
            outputs.extend(line.outputs());
        }
    }
    for (variable, value) in &spec.env {
        values::add(world, &mut manifest, Group::Env, variable, value);
        value.each_output(&mut |output| outputs.push(output));
    }
    values::add_images(world, &mut manifest, outputs.into_iter());
    if let Some(cwd) = &spec.cwd {
        manifest.text(Group::Setting, "cwd", &*cwd.text);
    }
    if !spec.outputs.is_empty() {
        let patterns: Vec<&str> = spec.outputs.iter().map(|pattern| &*pattern.value).collect();
        manifest.text(Group::Setting, "outputs", patterns.join(" "));
    }
    add_needs(world, step, &mut manifest);
    let found = find(world, &spec.inputs)?;
    let waits = manifest.waits_for().is_some();
    for pattern in found.empty {
        let sentence = format!("no file matches the input {pattern}");
        // A step that has not run yet may make them.
        if waits { manifest.note(sentence) } else { manifest.cannot_know(sentence) }
    }
    for file in &found.files {
        let Made { digest, executable } = match content(world, &file.path, Some(file), reading)? {
            Content::Known(made) => made,
            Content::Gone | Content::NoFile => return Err(unsteady(&file.path)),
            Content::Unread => return Ok(None),
        };
        // Most files can't be executed, and stand as they always did.
        let mark = if executable { "executable " } else { "" };
        manifest.digest(Group::File, &*file.path, format!("{mark}blake3:{}", blake3::Hash::from(digest).to_hex()));
    }
    for link in found.links {
        if link.leads_outside {
            let Link { path, target, .. } = &link;
            manifest.note(format!("{path} is a link to {target}: what is behind it is not looked at"));
        }
        manifest.digest(Group::File, link.path, format!("link {}", link.target));
    }
    Ok(Some(manifest))
}

/// What the steps that it needs put out, so that it runs again when what it stands on is another. A step that puts out
/// nothing, such as a load, stands for what it needs itself.
pub(super) fn add_needs(world: &World, step: StepIndex, manifest: &mut Manifest) {
    let graph = world.graph();
    let mut todo = graph.needs(step).to_vec();
    let mut seen = std::collections::HashSet::new();
    while let Some(need) = todo.pop() {
        if !seen.insert(need) {
            continue;
        }
        let id = graph.id(need);
        match world.output_of(need) {
            Some(Known::Yes(Output::None)) => todo.extend(graph.needs(need)),
            Some(Known::Yes(Output::Cluster { uid, .. })) => manifest.text(Group::Target, "cluster", uid),
            Some(Known::Yes(Output::Image { id: image, .. })) => manifest.digest(Group::Image, id.name(), image),
            Some(Known::Yes(Output::Release { revision })) => {
                manifest.text(Group::Output, id.to_string(), format!("revision {revision}"));
                // A release of the same revision in another cluster is another one.
                todo.extend(graph.needs(need));
            }
            Some(Known::Yes(Output::Task { .. })) => match world.tasks().get(id.name()) {
                Some(record) => manifest.digest(Group::Output, id.to_string(), &*record.effect),
                None => manifest.text(Group::Output, id.to_string(), "not recorded"),
            },
            Some(Known::After(because)) => manifest.unknown(Group::Output, id.to_string(), because),
            None => manifest.unknown(Group::Output, id.to_string(), id.clone()),
        }
    }
}

fn find(world: &World, patterns: &[crate::config::Spanned<String>]) -> Result<Matches, StepError> {
    let patterns = Patterns::new(patterns.iter().map(|pattern| &*pattern.value)).map_err(of_patterns)?;
    patterns.find(&world.stack().root).map_err(of_patterns)
}

fn content(world: &World, path: &str, seen: Option<&Match>, reading: Reading) -> Result<Content, StepError> {
    let digests = world.digests();
    let full = world.stack().root.join(path);
    let (stat, executable) = match seen {
        Some(file) => (file.stat, file.executable),
        None => match std::fs::metadata(&full) {
            Ok(data) if !data.is_file() => return Ok(Content::NoFile),
            Ok(data) => (FileStat::of(&data), is_executable(&data)),
            Err(_) => return Ok(Content::Gone),
        },
    };
    if let Some(digest) = digests.get(&stat) {
        return Ok(Content::Known(Made { digest, executable }));
    }
    match reading {
        Reading::OnlyKnown => Ok(Content::Unread),
        Reading::Files => match digests.digest(&full) {
            Ok(digest) => Ok(Content::Known(Made { digest, executable })),
            Err(_) if !full.exists() => Ok(Content::Gone),
            Err(error) => Err(StepError::of(&error, error.class(), error.help())),
        },
    }
}

fn unsteady(path: &str) -> StepError {
    StepError::new(Class::Input, format!("{path} went away while it was looked at"))
}

/// Whether what it made is unharmed; nothing, if a file would have to be read that may not be.
fn effect(world: &World, last: &TaskRecord, reading: Reading) -> Result<Option<Effect>, StepError> {
    let mut wrong = Vec::new();
    for (path, expected) in &last.outputs {
        match content(world, path, None, reading)? {
            Content::Known(made) if made == *expected => {}
            Content::Known(made) if made.digest == expected.digest => wrong.push(match made.executable {
                true => format!("its output {path} can be executed now"),
                false => format!("its output {path} can't be executed any more"),
            }),
            Content::Known(_) | Content::NoFile => wrong.push(format!("its output {path} was changed")),
            Content::Gone => wrong.push(format!("its output {path} is gone")),
            Content::Unread => return Ok(None),
        }
    }
    Ok(Some(match wrong.len() {
        0 => Effect::Intact(intact(last.outputs.len())),
        1..=3 => Effect::Wrong(wrong),
        count => {
            wrong.truncate(3);
            wrong.push(format!("{} more outputs are gone or changed", count - 3));
            Effect::Wrong(wrong)
        }
    }))
}

/// That there is nothing to do, with so many outputs.
fn intact(outputs: usize) -> String {
    match outputs {
        0 => "it ran with these inputs".to_owned(),
        1 => "its output is there, made from these inputs".to_owned(),
        count => format!("its {count} outputs are there, made from these inputs"),
    }
}

pub(super) async fn execute(
    world: &World,
    step: StepIndex,
    work: Work,
    speaker: &Speaker,
    cancel: &Cancel,
) -> Result<Finished, StepError> {
    let Work { name, key } = work;
    let spec = spec(world, &name)?;
    let log = world.tasks();
    let unwritable = |error: std::io::Error| {
        StepError::new(Class::Environment, format!("can't write the record of tasks in .stack/: {error}"))
    };
    log.withdraw(&name).map_err(unwritable)?;
    let id = speaker.step().to_string();
    if world.state().unsettled.contains(&id) {
        world.learn(|state| state.unsettled.remove(&id));
    }
    let command = command(world, spec)?.room(speaker.room());
    let printed = process::run(&command, cancel, |stream, line| speaker.output(stream, line)).await;
    let printed = printed.map_err(|error| failed(spec, &error))?;
    let stdout = match printed.stdout_dropped {
        0 => Printed::Text(printed.stdout_text().trim_end_matches(['\n', '\r']).to_owned()),
        dropped => Printed::TooLong(printed.stdout.len() as u64 + dropped),
    };
    let (outputs, now) = block_in_place(|| {
        let outputs = made(world, spec)?;
        let now = inputs(world, step, spec, Reading::Files)?;
        Ok::<_, StepError>((outputs, now))
    })?;
    let note = match outputs.len() {
        0 => None,
        1 => Some("made 1 file".to_owned()),
        count => Some(format!("made {count} files")),
    };
    let waits_for = now.as_ref().and_then(|now| now.waits_for().cloned());
    match now.and_then(|now| now.recorded()) {
        Some(now) if key.as_ref().is_some_and(|key| *key == now.key.to_string()) => {
            let effect = effect_id(&now.key.to_string(), &outputs);
            let kept = match &stdout {
                Printed::Text(text) => Some(text.clone()).filter(|text| !world.redactor().finds(text)),
                Printed::TooLong(_) => None,
            };
            log.put(&name, TaskRecord::new(&now, effect, kept, outputs)).map_err(unwritable)?;
        }
        _ => match waits_for {
            Some(need) => speaker.warn(&format!(
                "{need} has not run with success yet, so it is not known what this ran with: it will run again the next time"
            )),
            None => {
                speaker.warn("its inputs changed while it ran, so it will run again the next time");
                world.learn(|state| state.unsettled.insert(id));
            }
        },
    }
    Ok(Finished { output: Output::Task { stdout }, note })
}

fn command(world: &World, spec: &Spec) -> Result<Command, StepError> {
    let mut command = match &spec.run {
        Run::Argv(argv) => {
            let argv = argv.iter().map(|word| argument(world, word)).collect::<Result<Vec<_>, _>>()?;
            let mut words = argv.into_iter();
            Command::new(words.next().unwrap_or_default()).args(words)
        }
        Run::Shell(line) => Command::shell(argument(world, line)?),
    };
    let cwd = spec.cwd.as_ref().map_or(&world.stack().root, |cwd| &cwd.absolute);
    command = command.cwd(cwd).grace(world.stack().limits.grace).keep(KEPT);
    for (name, value) in &spec.env {
        let value = value.resolve(world).map_err(|error| StepError::new(Class::Internal, error.to_string()))?;
        command = command.env(name, value.exposed_text().expose_secret().to_owned());
    }
    Ok(command)
}

/// What a command that failed said last. Whoever allows further attempts says that the failure may pass.
fn failed(spec: &Spec, error: &ProcessError) -> StepError {
    if matches!(error, ProcessError::Cancelled { .. }) {
        return stopped();
    }
    let class = match (error, error.class()) {
        (ProcessError::Exit { .. } | ProcessError::Signal { .. }, _) if spec.options.retries > 0 => Class::Transient,
        // The command's own failure, as much as an exit code: nothing is missing here.
        (ProcessError::Signal { .. }, _) => Class::Input,
        (_, class) => class,
    };
    let step = StepError::of(error, class, error.help());
    let Some(output) = error.output() else { return step };
    let text = if output.stderr.is_empty() { output.stdout_text() } else { output.stderr_text() };
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
    if last.trim().is_empty() {
        return step;
    }
    let diagnosis = match &step.diagnosis {
        Some(more) => format!("{last}\n{more}"),
        None => last,
    };
    step.with_diagnosis(diagnosis)
}

/// The files that the command was to make.
fn made(world: &World, spec: &Spec) -> Result<Vec<(String, Made)>, StepError> {
    let found = find(world, &spec.outputs)?;
    if let Some(pattern) = found.empty.first() {
        let error = StepError::new(Class::Input, format!("it made no file that matches its output `{pattern}`"));
        return Err(error.with_diagnosis("try to correct `outputs`: paths are relative to the stack file"));
    }
    let mut outputs = Vec::with_capacity(found.files.len());
    for file in found.files {
        match content(world, &file.path, Some(&file), Reading::Files)? {
            Content::Known(made) => outputs.push((file.path, made)),
            Content::Gone | Content::NoFile | Content::Unread => return Err(unsteady(&file.path)),
        }
    }
    Ok(outputs)
}

/// What makes whatever needs the task run again: its outputs, if it has any. What else it did nobody knows, so without
/// outputs it is the run itself.
fn effect_id(key: &str, outputs: &[(String, Made)]) -> String {
    let mut hasher = blake3::Hasher::new();
    if outputs.is_empty() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        hasher.update(key.as_bytes()).update(&now.as_nanos().to_le_bytes());
    }
    for (path, Made { digest, executable }) in outputs {
        // No path is so long that its length needs the highest bit.
        let length = path.len() as u64 | u64::from(*executable) << 63;
        hasher.update(&length.to_le_bytes()).update(path.as_bytes()).update(digest);
    }
    format!("blake3:{}", hasher.finalize().to_hex())
}
