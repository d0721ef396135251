//! The files of a task: what is in them, what it made, and whether that is unharmed.
//!
//! A link that a task made counts by its target, and one to a file by what is in that as well.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{StepError, World, of_context};
use crate::config::{Run, Spanned, Task as Spec, normal};
use crate::error::Class;
use crate::key::context::{ContextError, FileStat};
use crate::key::patterns::{Match, Matches, Patterns, PatternsError, is_executable, target_text};
use crate::plan::Effect;
use crate::process::Cancel;
use crate::store::{AllMade, Made, TaskRecord};

/// Whether files may be read, or only looked up.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reading<'a> {
    /// A file whose digest is not known is read, unless it is cancelled.
    Files(&'a Cancel),
    /// A file whose digest is not known ends the matter.
    OnlyKnown,
}

/// What is known of a file's content.
pub(super) enum Content {
    Known(Made),
    Gone,
    /// There is something else in its place, such as a folder.
    NoFile,
    /// It would have to be read.
    Unread,
}

pub(super) fn of_patterns(error: PatternsError) -> StepError {
    StepError::of(&error, error.class(), error.help())
}

/// What patterns match beside the stack file.
pub(super) fn find(world: &World, patterns: &[Spanned<String>]) -> Result<Matches, StepError> {
    let patterns = Patterns::new(patterns.iter().map(|pattern| &*pattern.value)).map_err(of_patterns)?;
    patterns.find(&world.stack().root).map_err(of_patterns)
}

/// The path of a task's program, where that is a file beside the stack file. What else it reads it has to name.
pub(super) fn own_program(root: &Path, spec: &Spec) -> Option<String> {
    let Run::Argv(argv) = &spec.run else { return None };
    // Without a slash, the program is looked for in `$PATH`.
    let program = argv.first()?.as_literal().filter(|word| word.contains('/'))?;
    let path = normal(&spec.cwd.as_ref().map_or(root, |cwd| &cwd.absolute).join(program));
    path.strip_prefix(root).ok()?.to_str().map(str::to_owned)
}

/// What is in a file.
pub(super) fn content(
    world: &World,
    path: &str,
    seen: Option<&Match>,
    reading: Reading<'_>,
) -> Result<Content, StepError> {
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
        Reading::Files(cancel) => match digests.digest(&full, cancel) {
            Ok(digest) => Ok(Content::Known(Made { digest, executable })),
            Err(error @ ContextError::Interrupted { .. }) => Err(of_context(&error)),
            Err(_) if !full.exists() => Ok(Content::Gone),
            Err(error) => Err(of_context(&error)),
        },
    }
}

pub(super) fn unsteady(path: &str) -> StepError {
    StepError::new(Class::Input, format!("{path} went away while it was looked at"))
}

/// Whether what it made is unharmed; nothing, if a file would have to be read that may not be.
pub(super) fn effect(world: &World, last: &TaskRecord, reading: Reading<'_>) -> Result<Option<Effect>, StepError> {
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
    for (path, target) in &last.links {
        match std::fs::read_link(world.stack().root.join(path)) {
            Ok(now) if target_text(&now) == *target => {}
            Ok(now) => wrong.push(format!("its output {path} is a link to {} now, not to {target}", target_text(&now))),
            Err(error) if error.kind() == ErrorKind::NotFound => wrong.push(format!("its output {path} is gone")),
            Err(_) => wrong.push(format!("its output {path} is no link any more")),
        }
    }
    // What was a link to a file may be gone as both.
    wrong.sort();
    wrong.dedup();
    Ok(Some(match wrong.len() {
        0 => Effect::Intact(intact(last.view().made())),
        1..=3 => Effect::Wrong(wrong),
        count => {
            wrong.truncate(3);
            wrong.push(format!("{} more outputs are gone or changed", count - 3));
            Effect::Wrong(wrong)
        }
    }))
}

/// That there is nothing to do, with so many outputs.
pub(super) fn intact(outputs: usize) -> String {
    match outputs {
        0 => "it ran with these inputs".to_owned(),
        1 => "its output is there, made from these inputs".to_owned(),
        count => format!("its {count} outputs are there, made from these inputs"),
    }
}

/// The files and links that the command was to make, by path.
pub(super) fn made(world: &World, spec: &Spec, cancel: &Cancel) -> Result<AllMade, StepError> {
    let root = &world.stack().root;
    let found = find(world, &spec.outputs)?;
    for pattern in &found.empty {
        let alone = Patterns::new([pattern.as_str()]).and_then(|alone| alone.find(root)).map_err(of_patterns)?;
        if alone.links.iter().any(|link| link.is_wanted) {
            continue;
        }
        let error = StepError::new(Class::Input, format!("it made no file that matches its output `{pattern}`"));
        return Err(error.with_diagnosis("try to correct `outputs`: paths are relative to the stack file"));
    }
    let links = found.links.into_iter().filter(|link| link.is_wanted);
    let mut links: Vec<(String, String)> = links.map(|link| (link.path, link.target)).collect();
    let mut outputs = Vec::with_capacity(found.files.len());
    for file in found.files {
        if let Ok(target) = std::fs::read_link(root.join(&file.path)) {
            links.push((file.path.clone(), target_text(&target)));
        }
        match content(world, &file.path, Some(&file), Reading::Files(cancel))? {
            Content::Known(made) => outputs.push((file.path, made)),
            Content::Gone | Content::NoFile | Content::Unread => return Err(unsteady(&file.path)),
        }
    }
    links.sort_unstable();
    links.dedup_by(|a, b| a.0 == b.0);
    Ok((outputs, links))
}

/// What makes whatever needs the task run again: its outputs, if it has any. What else it did nobody knows, so without
/// outputs it is the run itself.
pub(super) fn effect_id(key: &str, (outputs, links): &AllMade) -> String {
    let mut hasher = blake3::Hasher::new();
    if outputs.is_empty() && links.is_empty() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        hasher.update(key.as_bytes()).update(&now.as_nanos().to_le_bytes());
    }
    for (path, Made { digest, executable }) in outputs {
        // No path is so long that its length needs the highest bit.
        let length = path.len() as u64 | u64::from(*executable) << 63;
        hasher.update(&length.to_le_bytes()).update(path.as_bytes()).update(digest);
    }
    for part in links.iter().flat_map(|(path, target)| [path, target]) {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    format!("blake3:{}", hasher.finalize().to_hex())
}
