//! `task:NAME`: a command of the user's ran with exactly these inputs, and what it made is unharmed.
//!
//! What a command does can't be looked at, save for the files that it is said to make. So its record decides: the key of
//! its inputs, and the digests of its outputs. The record is withdrawn before the command starts and written only after
//! it succeeded, made all its outputs, and its inputs were read a second time and found unchanged: not only by what is in
//! them, since one that changed and changed back may have been read in between. A command that writes to its own inputs
//! and leaves them as they were is told from that by doing it every time.

use std::collections::BTreeSet;
use std::path::PathBuf;

use secrecy::ExposeSecret;
use serde_json::Value as Json;
use tokio::task::block_in_place;

use super::facts::{Seen, facts};
use super::last_words::LastWords;
use super::made::{
    Content, Reading, content, effect, effect_id, find, intact, made, of_patterns, own_program, unsteady,
};
use super::output::{Known, Output, Printed};
use super::ready::argument;
use super::sources::folder_of;
use super::{Finished, Inspection, Speaker, StepError, World, awaited, stopped, values};
use crate::config::{OutputRef, Outputs, Run, Spanned, Task as Spec, Template};
use crate::error::Class;
use crate::graph::{StepId, StepIndex, StepKind, Why};
use crate::key::patterns::{Leads, Link, Match, Patterns};
use crate::key::{CLUSTER, Group, Manifest};
use crate::plan::{Action, Decision, Effect, by_record};
use crate::process::{self, Cancel, Command, ProcessError};
use crate::store::{AllMade, Made, TaskRecord, TaskView};

/// The most of a command's output that others can refer to.
const KEPT: usize = 1 << 20;

/// How long an argument or a variable with its name may be: Linux takes 128 KiB with the zero at its end. What other systems
/// take depends on all of them.
const LONGEST: usize = if cfg!(target_os = "linux") { (128 << 10) - 1 } else { usize::MAX };

/// What `inspect` leaves to `execute`.
#[derive(Debug)]
pub(super) struct Work {
    name: String,
    key: Option<String>,
    /// The files among its inputs.
    files: Vec<Match>,
}

fn spec<'w>(world: &'w World, name: &str) -> Result<&'w Spec, StepError> {
    let found = world.stack().tasks.get(name);
    found.ok_or_else(|| StepError::new(Class::Internal, format!("there is no task {name}")))
}

pub(super) fn inspect(world: &World, step: StepIndex, name: &str, cancel: &Cancel) -> Result<Inspection, StepError> {
    let found = proving(world, step, name, || look(world, step, name, Reading::Files(cancel)))?;
    found.ok_or_else(|| StepError::new(Class::Internal, "a file that could have been read was not"))
}

/// See [`super::Sources`].
pub(super) fn sources(
    world: &World,
    step: StepIndex,
    name: &str,
    folders: &mut Vec<PathBuf>,
    cancel: &Cancel,
) -> Result<Manifest, StepError> {
    let spec = spec(world, name)?;
    let patterns = Patterns::new(spec.inputs.iter().map(|pattern| &*pattern.value)).map_err(of_patterns)?;
    folders.extend(patterns.folders(&world.stack().root));
    if let Some(program) = own_program(&world.stack().root, spec) {
        folder_of(&world.stack().root.join(program), folders);
    }
    let inputs = inputs(world, step, spec, Reading::Files(cancel))?;
    let (manifest, _) =
        inputs.ok_or_else(|| StepError::new(Class::Internal, "a file that could have been read was not"))?;
    Ok(manifest)
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
fn look(world: &World, step: StepIndex, name: &str, reading: Reading<'_>) -> Result<Option<Inspection>, StepError> {
    let spec = spec(world, name)?;
    let Some((mut manifest, files)) = inputs(world, step, spec, reading)? else { return Ok(None) };
    let last = world.tasks().get(name);
    let id = || StepId::new(StepKind::Task, name);
    let key = manifest.key().map(|key| key.to_string());
    let decision = match &last {
        _ if !spec.cache => Decision::new(Action::Run, "it runs in every apply"),
        None => match manifest.waits_for() {
            Some(step) => Decision::new(Action::Unknown, format!("depends on {step}, which has not run yet")),
            None if world.state().own.unsettled.contains(&id().to_string()) => {
                Decision::new(Action::Run, "its inputs changed while it ran the last time")
            }
            None => Decision::new(Action::Run, "it has not run here with success yet"),
        },
        Some(last) => {
            let Some(effect) = effect(world, last, reading)? else { return Ok(None) };
            if manifest.waits_for().is_some() {
                awaited::of_step(world, step).into_iter().for_each(|task| manifest.awaits(task.files));
            }
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
    let work = super::Work::Task(Box::new(Work { name: name.to_owned(), key, files }));
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

/// Everything that the command depends on, and the files among it, sorted by path; nothing, if a file would have to be read
/// that may not be.
fn inputs(
    world: &World,
    step: StepIndex,
    spec: &Spec,
    reading: Reading<'_>,
) -> Result<Option<(Manifest, Vec<Match>)>, StepError> {
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
        // Those that have a space in them could be taken for others.
        let is_clear = !patterns.iter().any(|pattern| pattern.contains([' ', '"']));
        manifest.text(Group::Setting, "outputs", if is_clear { patterns.join(" ") } else { format!("{patterns:?}") });
    }
    add_needs(world, step, &mut manifest);
    let mut found = find(world, &spec.inputs)?;
    let waits = manifest.waits_for().is_some();
    for pattern in &found.empty {
        let sentence = format!("no file matches the input {pattern}");
        // A step that has not run yet may make them.
        if waits { manifest.note(sentence) } else { manifest.cannot_know(sentence) }
    }
    for file in &found.files {
        let made = match content(world, &file.path, Some(file), reading)? {
            Content::Known(made) => made,
            Content::Gone | Content::NoFile => return Err(unsteady(&file.path)),
            Content::Unread => return Ok(None),
        };
        add_file(&mut manifest, &file.path, made);
    }
    if let Some(program) = own_program(&world.stack().root, spec)
        && let Err(place) = found.files.binary_search_by(|file| file.path.cmp(&program))
        // If it is not there, it can't be started, and is told of.
        && let Some(file) = Match::at(&world.stack().root, program)
    {
        match content(world, &file.path, Some(&file), reading)? {
            Content::Known(made) => add_file(&mut manifest, &file.path, made),
            Content::Gone | Content::NoFile => {}
            Content::Unread => return Ok(None),
        }
        found.files.insert(place, file);
    }
    let mut last = "";
    for Link { path, target, leads, .. } in found.standing_links() {
        // Two patterns may have met it.
        if std::mem::replace(&mut last, path) == path {
            continue;
        }
        if *leads == Leads::Unseen {
            manifest.note(format!("{path} is a link to {target}: what is behind it is not looked at"));
        }
        manifest.digest(Group::File, &**path, format!("link {target}"));
    }
    Ok(Some((manifest, found.files)))
}

/// The files that were written to, or exchanged, between two looks, other than those that the command was to make.
fn touched(before: &[Match], now: &[Match], (made, _): &AllMade) -> BTreeSet<String> {
    let is_as_before = |file: &Match| {
        before.binary_search_by(|known| known.path.cmp(&file.path)).is_ok_and(|place| before[place].stat == file.stat)
    };
    let is_made = |file: &Match| made.binary_search_by(|(path, _)| path.cmp(&file.path)).is_ok();
    now.iter().filter(|file| !is_as_before(file) && !is_made(file)).map(|file| file.path.clone()).collect()
}

fn add_file(manifest: &mut Manifest, path: &str, Made { digest, executable }: Made) {
    // Most files can't be executed, and stand as they always did.
    let mark = if executable { "executable " } else { "" };
    manifest.digest(Group::File, path, format!("{mark}blake3:{}", blake3::Hash::from(digest).to_hex()));
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
        // An input has the same name whether it is known or not: what is not known yet is not gone.
        match world.output_of(need).unwrap_or_else(|| Known::After(id.clone())) {
            Known::Yes(Output::None) => todo.extend(graph.needs(need)),
            Known::Yes(Output::Cluster { uid, .. }) => manifest.text(Group::Target, CLUSTER, uid),
            Known::Yes(Output::Image { id: image, .. }) => manifest.digest(Group::Image, id.name(), image),
            Known::Yes(Output::Release { revision, uid }) => {
                // As a digest, of which a person is shown the beginning.
                manifest.digest(Group::Output, id.to_string(), format!("revision {revision}:{uid}"));
                // A release of the same revision in another cluster is another one.
                todo.extend(graph.needs(need));
            }
            Known::Yes(Output::Task { .. }) => match world.tasks().get(id.name()) {
                Some(record) => manifest.digest(Group::Output, id.to_string(), &*record.effect),
                None => manifest.text(Group::Output, id.to_string(), "not recorded"),
            },
            Known::After(because) => match id.kind() {
                StepKind::Load | StepKind::Ready => todo.extend(graph.needs(need)),
                StepKind::Cluster => manifest.unknown(Group::Target, CLUSTER, because),
                StepKind::Build => manifest.unknown(Group::Image, id.name(), because),
                StepKind::Chart => {
                    manifest.unknown(Group::Output, id.to_string(), because);
                    todo.extend(graph.needs(need));
                }
                StepKind::Task => manifest.unknown(Group::Output, id.to_string(), because),
            },
        }
    }
}

pub(super) async fn execute(
    world: &World,
    step: StepIndex,
    work: Work,
    speaker: &Speaker,
    cancel: &Cancel,
) -> Result<Finished, StepError> {
    let Work { name, key, files } = work;
    let spec = spec(world, &name)?;
    let log = world.tasks();
    let unwritable = |error: std::io::Error| {
        StepError::new(Class::Environment, format!("can't write the record of tasks in .stack/: {error}"))
    };
    log.withdraw(&name).map_err(unwritable)?;
    let id = speaker.step().to_string();
    if world.state().own.unsettled.contains(&id) {
        world.learn(|state| state.own.unsettled.remove(&id));
    }
    let command = command(world, spec)?.room(speaker.room());
    let mut last_words = LastWords::default();
    let told = |stream, line: &str| {
        last_words.add(stream, line);
        speaker.output(stream, line);
    };
    let printed = process::run(&command, cancel, told).await;
    let printed = printed.map_err(|error| failed(spec, &error, &last_words.text()))?;
    let stdout = match printed.stdout_dropped {
        0 => Printed::Text(printed.stdout_text().trim_end_matches(['\n', '\r']).to_owned()),
        dropped => Printed::TooLong(printed.stdout.len() as u64 + dropped),
    };
    // Whatever the command did to `.stack/`, one apply works here at a time.
    world.hold_lock();
    let (made, now) = block_in_place(|| {
        let made = made(world, spec, cancel)?;
        let now = inputs(world, step, spec, Reading::Files(cancel))?;
        Ok::<_, StepError>((made, now))
    })?;
    let (now, files_now) = now.unzip();
    let note = match made.0.len() {
        0 => None,
        1 => Some("made 1 file".to_owned()),
        count => Some(format!("made {count} files")),
    };
    let waits_for = now.as_ref().and_then(|now| now.waits_for().cloned());
    match now.and_then(|now| now.recorded()) {
        Some(now) if key.as_ref().is_some_and(|key| *key == now.key.to_string()) => {
            let touched = touched(&files, &files_now.unwrap_or_default(), &made);
            let doubted = if spec.cache { not_always_touched(world, &id, touched) } else { None };
            if let Some(path) = doubted {
                speaker.warn(&format!(
                    "{path} changed while it ran and is as it was before, so it will run again the next time"
                ));
                world.learn(|state| state.own.unsettled.insert(id));
                return Ok(Finished { output: Output::Task { stdout }, note });
            }
            let effect = effect_id(&now.key.to_string(), &made);
            let kept = match &stdout {
                Printed::Text(text) => Some(text.clone()).filter(|text| !world.redactor().finds(text)),
                Printed::TooLong(_) => None,
            };
            if let Err(error) = log.put(&name, TaskRecord::new(&now, effect, kept, made)) {
                speaker.warn(&format!(
                    "it will run again the next time: its record in .stack/ can't be written: {error}"
                ));
            }
        }
        _ => match waits_for {
            Some(need) => speaker.warn(&format!(
                "{need} has to run first and was left out, so it is not known what this ran with: it will run again the next time"
            )),
            None => {
                speaker.warn("its inputs changed while it ran, so it will run again the next time");
                world.learn(|state| state.own.unsettled.insert(id));
            }
        },
    }
    Ok(Finished { output: Output::Task { stdout }, note })
}

/// One of the inputs that a command touched, if it did not touch that when it ran before: somebody else may have done so.
fn not_always_touched(world: &World, id: &str, touched: BTreeSet<String>) -> Option<String> {
    let known = world.state().own.touched.get(id).cloned().unwrap_or_default();
    let first = touched.difference(&known).next().cloned();
    if touched != known {
        world.learn(|state| match touched.is_empty() {
            true => state.own.touched.remove(id),
            false => state.own.touched.insert(id.to_owned(), touched),
        });
    }
    first
}

fn command(world: &World, spec: &Spec) -> Result<Command, StepError> {
    let mut command = match &spec.run {
        Run::Argv(argv) => {
            let argv = argv.iter().map(|word| fitting(world, word)).collect::<Result<Vec<_>, _>>()?;
            let mut words = argv.into_iter();
            Command::new(words.next().unwrap_or_default()).args(words)
        }
        Run::Shell(line) => Command::shell(fitting(world, line)?),
    };
    let cwd = spec.cwd.as_ref().map_or(&world.stack().root, |cwd| &cwd.absolute);
    command = command.cwd(cwd).grace(world.stack().limits.grace).keep(KEPT);
    for (name, template) in &spec.env {
        let value = template.resolve(world).map_err(|error| StepError::new(Class::Internal, error.to_string()))?;
        let text = value.exposed_text().expose_secret().to_owned();
        let mut outputs = Vec::new();
        template.each_output(&mut |output| outputs.push(output));
        fits(world, &format!("the variable `{name}`"), name.len() + 1 + text.len(), &text, &outputs)?;
        command = command.env(name, text);
    }
    Ok(command)
}

/// A word of the command line that the system takes.
fn fitting(world: &World, word: &Template) -> Result<String, StepError> {
    let text = argument(world, word)?;
    fits(world, "an argument", text.len(), &text, &word.outputs().collect::<Vec<_>>())?;
    Ok(text)
}

/// Fails if the system would not take what a command is to get, and says whose output is to blame.
fn fits(world: &World, what: &str, size: usize, text: &str, from: &[&Spanned<OutputRef>]) -> Result<(), StepError> {
    let has_nul = text.contains('\0');
    if size <= LONGEST && !has_nul {
        return Ok(());
    }
    let value = |output| match Outputs::output(world, output) {
        Some(Json::String(text)) => text,
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let blamed = from.iter().map(|output| (output, value(&output.value)));
    let blamed = blamed.filter(|(_, value)| !has_nul || value.contains('\0')).max_by_key(|(_, value)| value.len());
    let (whose, size) = match &blamed {
        Some((output, value)) => (format!("`${{{}}}`", output.value), value.len()),
        None => (what.to_owned(), size),
    };
    let reason = match has_nul {
        true => format!("{whose} holds a NUL byte, and {what} of a command can't"),
        false => format!("{whose} is {size} bytes long, and {what} of a command takes {LONGEST} at most"),
    };
    let help = match blamed.map(|(output, _)| &output.value) {
        Some(OutputRef::Task { name }) => {
            format!("try to write it to a file that is named in the `outputs` of task.{name}, and to read that")
        }
        Some(_) | None => "try to write it to a file, and to read that".to_owned(),
    };
    Err(StepError::new(Class::Input, reason).with_diagnosis(help))
}

/// What a command that failed said last. Whoever allows further attempts says that the failure may pass.
fn failed(spec: &Spec, error: &ProcessError, last: &str) -> StepError {
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
    if last.trim().is_empty() {
        return step;
    }
    let diagnosis = match &step.diagnosis {
        Some(more) => format!("{last}\n{more}"),
        None => last.to_owned(),
    };
    step.with_diagnosis(diagnosis)
}
