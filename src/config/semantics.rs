//! What a file says that cannot be true, beyond the shape of its tables.

use std::borrow::Cow;
use std::collections::hash_map::Entry;

use foldhash::HashMap;

use super::context::Context;
use super::error::{ConfigError, nearest};
use super::literal::literal_path;
use super::model::{ChartSource, Check, Driver, LoadMode, Run, StackFile};
use super::names::Names;
use super::span::Span;
use super::template::Value;
use super::tree::{Node, NodeKind};
use crate::graph::StepKind;

/// Reports every `needs` that names nothing.
pub(super) fn check_needs(tree: &Node<'_>, names: &Names<'_>, context: &mut Context<'_>) {
    for kind in ["image", "chart", "ready", "task"] {
        for entry in tree.get(kind).map_or(&[][..], Node::entries) {
            if let Some(Node { kind: NodeKind::Array(items), .. }) = entry.node.get("needs") {
                names.check(items, context);
            }
        }
    }
}

/// Reports all the rest. `tree` is what the model was made from: that lacks what has errors already.
pub(super) fn check(stack: &StackFile, tree: &Node<'_>, context: &mut Context<'_>) {
    check_cluster(stack, tree, context);
    check_charts(stack, context);
    check_images(stack, context);
    check_registries(tree, context);
    check_pools(stack, tree, context);
    check_loads(stack, context);
    check_arguments(stack, context);
    check_image_secrets(stack, context);
    check_outputs(stack, context);
}

/// Reports secrets among the arguments of commands: whoever is on the machine can read those.
fn check_arguments(stack: &StackFile, context: &mut Context<'_>) {
    const BY_ENV: &str =
        "give it by the environment: `env = { TOKEN = \"${var.…}\" }`, and `$TOKEN` in a line for the shell";
    let tasks = stack.tasks.iter().map(|(name, task)| (("task", name), &task.run));
    let checks = stack.ready.iter().filter_map(|(name, ready)| match &ready.check {
        Check::Run { run, .. } => Some((("check", name), run)),
        _ => None,
    });
    let commands = tasks.chain(checks).map(|(what, run)| {
        let words = match run {
            Run::Argv(words) => words.as_slice(),
            Run::Shell(line) => std::slice::from_ref(line),
        };
        (what, words, BY_ENV)
    });
    let renderers = stack.charts.iter().map(|(name, chart)| {
        let help = "let the post-renderer read it from the environment that `stack` was started in, or from a file";
        (("the post-renderer of chart", name), chart.post_render.as_slice(), help)
    });
    for ((what, name), words, help) in commands.chain(renderers) {
        for word in words.iter().filter(|word| word.is_secret()) {
            context.report(
                ConfigError::new(format!("a secret is among the arguments of {what} `{name}`"))
                    .label(word.span(), "every user of this machine could read it in the list of processes")
                    .help(help),
            );
        }
    }
}

/// Reports secrets in what stays in an image, and is shown by `docker history` and `docker inspect` to whoever has it.
fn check_image_secrets(stack: &StackFile, context: &mut Context<'_>) {
    const OF_LABELS: &str = "leave it out, and give it to what runs by its environment";
    for (name, image) in &stack.images {
        let mounted = |key: &str| {
            format!(
                "give it by `secrets = [{{ id = \"{key}\", value = \"${{var.…}}\" }}]`, and read it in the Dockerfile with `RUN --mount=type=secret,id={key}`"
            )
        };
        let args = image.args.iter().map(|(key, arg)| ("build arguments", arg, mounted(key)));
        let labels = image.labels.values().map(|label| ("labels", label, OF_LABELS.to_owned()));
        for (what, value, help) in args.chain(labels) {
            if let Value::Template(template) = value
                && template.is_secret()
            {
                context.report(
                    ConfigError::new(format!("a secret is among the {what} of image `{name}`"))
                        .label(template.span(), "it would stay in the image, for everybody who has that to read")
                        .help(help),
                );
            }
        }
    }
}

fn check_cluster(stack: &StackFile, tree: &Node<'_>, context: &mut Context<'_>) {
    if let Some(table) = tree.get("cluster") {
        let by_context = table.get("driver").and_then(Node::text) == Some(Driver::Context.as_str());
        if by_context && table.get("context").is_none() {
            context.report(
                ConfigError::new("`driver = \"context\"` needs `context`")
                    .label(table.span, "`context` is missing")
                    .help("name the kubeconfig context: `context = \"…\"`"),
            );
        }
        return;
    }
    let first_chart = stack.charts.iter().next().map(|(name, chart)| (format!("chart `{name}`"), chart.options.span));
    let first_check = stack
        .ready
        .iter()
        .find(|(_, ready)| ready.check.is_of_cluster())
        .map(|(name, ready)| (format!("check `{name}`"), ready.options.span));
    if let Some((what, span)) = first_chart.or(first_check) {
        context.report(
            ConfigError::new(format!("{what} needs a cluster, and the file names none"))
                .label(span, "goes to a cluster")
                .help("add `[cluster]` with `driver = \"minikube\"`, \"kind\", \"k3d\" or \"context\""),
        );
    }
}

fn check_charts(stack: &StackFile, context: &mut Context<'_>) {
    let mut releases: HashMap<(&str, &str), (&str, Span)> = HashMap::default();
    for (name, chart) in &stack.charts {
        let key = (chart.namespace.as_str(), chart.release.as_str());
        if let Some((first, span)) = releases.insert(key, (name, chart.options.span)) {
            context.report(
                ConfigError::new(format!("charts `{first}` and `{name}` are the same release"))
                    .label(span, "first here")
                    .label(chart.options.span, "and here")
                    .help(format!(
                        "both are `{}` in namespace `{}`: give one another `release` or `namespace`",
                        chart.release, chart.namespace
                    )),
            );
        }
        if let ChartSource::Published { chart: reference, version: None, .. } = &chart.source {
            context.report(
                ConfigError::new(format!("chart `{name}` needs a version"))
                    .label(reference.span, "published under many versions")
                    .help("add `version = \"…\"`, so that every apply installs the same"),
            );
        }
    }
}

fn check_images(stack: &StackFile, context: &mut Context<'_>) {
    let mut repositories: HashMap<&str, (&str, Span)> = HashMap::default();
    for (name, image) in &stack.images {
        let span = if image.repository.span.is_empty() { image.options.span } else { image.repository.span };
        if let Some((first, first_span)) = repositories.insert(&image.repository, (name, span)) {
            context.report(
                ConfigError::new(format!("images `{first}` and `{name}` have the same repository"))
                    .label(first_span, "first here")
                    .label(span, "and here")
                    .help(format!("both are `{}`: each would take the other's tags", image.repository)),
            );
        }
        // A default is made of names, which are checked as such.
        if let Some(wrong) = repository_error(&image.repository)
            && !image.repository.span.is_empty()
        {
            context.report(
                ConfigError::new(format!("`{}` cannot be the name of an image", image.repository))
                    .label(span, wrong)
                    .help("write it like `todo-backend` or `registry:5000/team/todo-backend`, without a tag"),
            );
        }
    }
}

/// Registries that no name of an image could begin with.
fn check_registries(tree: &Node<'_>, context: &mut Context<'_>) {
    for table in ["cluster", "cache"] {
        let Some(Node { kind: NodeKind::String(registry), span }) = tree.get(table).and_then(|t| t.get("registry"))
        else {
            continue;
        };
        if let Some(wrong) = registry_error(registry) {
            context.report(
                ConfigError::new(format!("`{registry}` cannot be a registry")).label(*span, wrong).help(REGISTRY_HELP),
            );
        }
    }
}

/// What a registry looks like.
pub(crate) const REGISTRY_HELP: &str =
    "write it like `registry.example:5000/team`, without `https://` and without a tag";

/// Why names of images can't begin with this registry, if they can't.
pub(crate) fn registry_error(registry: &str) -> Option<&'static str> {
    if registry.trim().is_empty() {
        return Some("expected a host, and maybe a path");
    }
    if registry.contains("://") {
        return Some("the protocol is not part of it");
    }
    repository_error(&format!("{}/image", registry.trim_end_matches('/')))
}

/// Why Docker would not take this as a repository, by the grammar of its distribution references.
fn repository_error(repository: &str) -> Option<&'static str> {
    let (host, path) = match repository.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
        _ => ("", repository),
    };
    let host_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '[' | ']');
    if path.contains('@') {
        return Some("a digest is not part of it");
    }
    if path.contains(':') {
        return Some("a tag is not part of it");
    }
    let component = |part: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        part.starts_with(ends) && part.ends_with(ends) && part.chars().all(inner)
    };
    let port = host.rsplit_once(':').filter(|_| !host.ends_with(']'));
    let is_port = |port: &str| !port.is_empty() && port.chars().all(|c| c.is_ascii_digit());
    if !port.is_none_or(|(_, port)| is_port(port)) {
        return Some("its port is no number");
    }
    if !host.chars().all(host_char) || !path.split('/').all(component) {
        return Some("only a-z, 0-9, and `.`, `_`, `-`, `/` in between");
    }
    None
}

fn check_pools(stack: &StackFile, tree: &Node<'_>, context: &mut Context<'_>) {
    let pools = &stack.limits.pools;
    for entry in tree.get("task").map_or(&[][..], Node::entries) {
        let Some(Node { kind: NodeKind::String(pool), span }) = entry.node.get("pool") else { continue };
        if pools.contains_key(pool.as_ref()) {
            continue;
        }
        let help = match nearest(pool, pools.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add it, with its number of places: `[limits.pools]` with `{pool} = 1`"),
        };
        context.report(ConfigError::new(format!("there is no pool `{pool}`")).label(*span, "no such pool").help(help));
    }
}

/// Needs that name the load of an image which is not loaded.
fn check_loads(stack: &StackFile, context: &mut Context<'_>) {
    let options = stack
        .images
        .values()
        .map(|image| &image.options)
        .chain(stack.charts.values().map(|chart| &chart.options))
        .chain(stack.ready.values().map(|ready| &ready.options))
        .chain(stack.tasks.values().map(|task| &task.options));
    for need in options.flat_map(|options| &options.needs).filter(|need| need.id.kind() == StepKind::Load) {
        let Some(image) = stack.images.get(need.id.name()).filter(|image| image.load == LoadMode::None) else {
            continue;
        };
        let why = if stack.cluster.is_some() { "its image has `load = \"none\"`" } else { "there is no cluster" };
        context.report(
            ConfigError::new(format!("there is no step `{}`", need.id))
                .label(need.span, why)
                .label(image.options.span, "this image")
                .help(format!("need the build: `image.{}`", need.id.name())),
        );
    }
}

/// Files that two tasks make: each would find its output changed by the other. And what no task can make.
fn check_outputs(stack: &StackFile, context: &mut Context<'_>) {
    let mut makers: HashMap<Cow<'_, str>, (&str, Span)> = HashMap::default();
    let own_name = stack.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    for (name, task) in &stack.tasks {
        for pattern in &task.outputs {
            let Some(path) = literal_path(&pattern.value) else { continue };
            let wrong = match &*path {
                "" => "the whole folder of the stack file",
                path if path == own_name => "the stack file itself",
                _ => "",
            };
            if !wrong.is_empty() {
                context.report(
                    ConfigError::new(format!("task `{name}` cannot have {wrong} as its output"))
                        .label(pattern.span, "is not made by it alone")
                        .help("name the files that it makes, or a folder for them, such as \"gen/**\""),
                );
                continue;
            }
            match makers.entry(path) {
                Entry::Vacant(free) => drop(free.insert((name, pattern.span))),
                Entry::Occupied(made) if made.get().0 == &**name => {}
                Entry::Occupied(made) => {
                    let (first, span) = *made.get();
                    context.report(
                        ConfigError::new(format!("tasks `{first}` and `{name}` make the same output"))
                            .label(span, "first here")
                            .label(pattern.span, "and here")
                            .help(format!("each would find `{}` changed by the other, and run again", made.key())),
                    );
                }
            }
        }
    }
    // A folder is everything in it.
    let mut nested = Vec::new();
    for (path, (name, span)) in &makers {
        for (at, _) in path.match_indices('/') {
            if let Some((other, folder)) = makers.get(&path[..at]).filter(|(other, _)| other != name) {
                nested.push((span.start(), *name, *span, *other, *folder, path));
            }
        }
    }
    nested.sort_unstable_by_key(|(start, ..)| *start);
    for (_, name, span, other, folder, path) in nested {
        context.report(
            ConfigError::new(format!("tasks `{other}` and `{name}` make the same output"))
                .label(folder, "everything in this folder")
                .label(span, "and this in it")
                .help(format!("`{other}` would find `{path}` changed by `{name}`, and run again: name its own files")),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_what_docker_takes() {
        for good in ["todo", "todo-backend", "a/b/c", "host:5000/todo", "localhost/todo", "ghcr.io/a_b/c.d"] {
            assert_eq!(repository_error(good), None, "{good}");
        }
        for bad in ["", "Todo", "todo:1", "host:5000/todo:1", "todo@sha256:1", "a//b", "-a", "a b", "/a"] {
            assert!(repository_error(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn registries_are_what_names_of_images_can_begin_with() {
        for good in ["host:5000", "host:5000/todo", "host.example/a/b/", "localhost", "acme", "[::1]:5000/todo"] {
            assert_eq!(registry_error(good), None, "{good}");
        }
        for bad in [
            "",
            " ",
            "/",
            "https://host/a",
            "host:5000/a:1",
            "host:5000//a",
            "host:port/a",
            "host:/a",
            "a b",
            "host.x/A",
        ] {
            assert!(registry_error(bad).is_some(), "{bad}");
        }
    }
}
