//! Paths of the file: they may not leave its folder, and what they name has to be there.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::context::Context;
use super::error::{ConfigError, nearest};
use super::model::{ChartSource, FilePath, SecretSource, StackFile, StepOptions, ValuesSource};
use crate::graph::StepKind;

/// What a path has to name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
}

/// A path with what is said about it.
struct Use<'m> {
    path: &'m FilePath,
    kind: Kind,
    /// `the Dockerfile of image `backend``.
    what: String,
    /// It may be anywhere.
    anywhere: bool,
    /// It does not have to be there (yet).
    later: bool,
    /// Where to point if the path is a default.
    options: &'m StepOptions,
}

/// Reports paths that leave the folder and, if files may be looked at, those that name nothing.
pub(super) fn check(stack: &StackFile, look: bool, context: &mut Context<'_>) {
    let uses = uses(stack);
    // Only computed once something needs it: a canonical path costs a call to the system for each component.
    let real_root = look.then(|| stack.root.canonicalize().ok()).flatten();
    for used in &uses {
        let outside = !stack.allow_outside && !used.anywhere;
        if outside && !used.path.absolute.starts_with(&stack.root) {
            // A default follows from another path, which is reported.
            if !used.path.span.is_empty() {
                report_outside(used, "leaves the folder of the stack file", context);
            }
        } else if look {
            look_at(used, outside.then_some(real_root.as_deref()).flatten(), context);
        }
    }
    for (name, task) in &stack.tasks {
        for pattern in task.inputs.iter().chain(&task.outputs) {
            // Ten thousand tasks have as many patterns, and nearly none of them goes up or begins at the root.
            if !pattern.contains("..") && !pattern.starts_with('/') {
                continue;
            }
            let path = Path::new(&pattern.value);
            let leaves = path.is_absolute() || !super::read::normal(&stack.root.join(path)).starts_with(&stack.root);
            if leaves && !stack.allow_outside {
                context.report(
                    ConfigError::new(format!("a pattern of task `{name}` leaves the folder of the stack file"))
                        .label(pattern.span, "leads outside")
                        .help(ALLOW),
                );
            }
        }
    }
}

const ALLOW: &str = "keep it below the folder, or set `allow-outside = true` in `[stack]`";

fn uses(stack: &StackFile) -> Vec<Use<'_>> {
    let mut uses = Vec::new();
    if let Some(cluster) = &stack.cluster {
        let what = "the kubeconfig".to_owned();
        uses.extend(cluster.kubeconfig.iter().map(|path| Use {
            path,
            kind: Kind::File,
            what: what.clone(),
            anywhere: true,
            // Starting the cluster may write it.
            later: true,
            options: &cluster.options,
        }));
    }
    for (name, image) in &stack.images {
        let options = &image.options;
        let later = needs_task(options);
        let mut add = |path, kind, what: String, anywhere, later| {
            uses.push(Use { path, kind, what, anywhere, later, options });
        };
        add(&image.context, Kind::Folder, format!("the context of image `{name}`"), false, later);
        add(&image.dockerfile, Kind::File, format!("the Dockerfile of image `{name}`"), false, later);
        for secret in &image.secrets {
            if let SecretSource::File(path) = &secret.source {
                let what = format!("secret `{}` of image `{name}`", secret.id);
                add(path, Kind::File, what, true, later || secret.optional);
            }
        }
    }
    for (name, chart) in &stack.charts {
        let options = &chart.options;
        let later = needs_task(options);
        let mut add = |path, kind, what: String| {
            uses.push(Use { path, kind, what, anywhere: false, later, options });
        };
        if let ChartSource::Path(path) = &chart.source {
            add(path, Kind::Folder, format!("chart `{name}`"));
        }
        for values in &chart.values {
            if let ValuesSource::File(path) = values {
                add(path, Kind::File, format!("a values file of chart `{name}`"));
            }
        }
        for (key, path) in &chart.set_file {
            add(path, Kind::File, format!("the file for value `{key}` of chart `{name}`"));
        }
    }
    for (name, task) in &stack.tasks {
        uses.extend(task.cwd.iter().map(|path| Use {
            path,
            kind: Kind::Folder,
            what: format!("the folder of task `{name}`"),
            anywhere: false,
            later: needs_task(&task.options),
            options: &task.options,
        }));
    }
    uses
}

/// A task that runs before may make the file.
fn needs_task(options: &StepOptions) -> bool {
    options.needs.iter().any(|need| need.id.kind() == StepKind::Task)
}

fn report_outside(used: &Use<'_>, label: &str, context: &mut Context<'_>) {
    context.report(
        ConfigError::new(format!("{} is outside of the folder of the stack file", used.what))
            .label(used.path.span, label)
            .help(ALLOW),
    );
}

/// Looks at the file itself. `within` is the real folder that it may not leave by a link.
fn look_at(used: &Use<'_>, within: Option<&Path>, context: &mut Context<'_>) {
    let path = &used.path.absolute;
    let span = if used.path.span.is_empty() { used.options.span } else { used.path.span };
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(_) if used.later => return,
        Err(error) => {
            let not_found = error.kind() == std::io::ErrorKind::NotFound;
            let label = if not_found { "no such file or folder".to_owned() } else { error.to_string() };
            let help = similar(used.path).or_else(|| {
                used.path.span.is_empty().then(|| format!("this is the default; there is no `{}`", used.path.text))
            });
            context.report(ConfigError::new(format!("{} is not there", used.what)).label(span, label).maybe_help(help));
            return;
        }
    };
    let label = match used.kind {
        Kind::Folder if !metadata.is_dir() => "this is a file; a folder is needed",
        Kind::File if metadata.is_dir() => "this is a folder; a file is needed",
        // To read it would wait for somebody who writes, and a second look would find nothing.
        Kind::File if metadata.file_type().is_fifo() => "this is a pipe; a file is needed",
        Kind::Folder | Kind::File => {
            if let Some(within) = within
                && path.canonicalize().is_ok_and(|real| !real.starts_with(within))
            {
                report_outside(used, "a link on the way leads outside", context);
            }
            return;
        }
    };
    context.report(ConfigError::new(format!("{} is of the wrong kind", used.what)).label(span, label));
}

/// The name beside the missing one that was most likely meant.
fn similar(path: &FilePath) -> Option<String> {
    // The first component that is missing is the wrong one.
    let missing = path.absolute.ancestors().take_while(|ancestor| !ancestor.exists()).last()?;
    let (folder, name) = (missing.parent()?, missing.file_name()?.to_str()?);
    let names: Vec<String> =
        std::fs::read_dir(folder).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let near = nearest(name, names.iter().map(String::as_str))?;
    // The same words, with the one component put right.
    let depth = path.absolute.strip_prefix(missing).ok()?.components().count();
    let written: Vec<&str> = path.text.trim_end_matches('/').split('/').collect();
    let at = written.len().checked_sub(depth + 1)?;
    let better: Vec<&str> =
        written.iter().enumerate().map(|(index, part)| if index == at { near } else { *part }).collect();
    Some(format!("did you mean `{}`?", better.join("/")))
}
