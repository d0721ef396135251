//! The check of the tree against the table of keys: every unknown key, wrong type, missing key and bad value.

use globset::Glob;

use super::context::Context;
use super::error::{ConfigError, article, list, nearest};
use super::keys::holds_profiles;
use super::shape::{Key, Shape, TableShape};
use super::span::Span;
use super::template::Part;
use super::tree::{Entry, Node, NodeKind};
use super::units;

/// The longest name: with the stack's name and a separator it has to fit into a label of Kubernetes.
const NAME_MAX: usize = 53;

/// How to look at a tree.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// The whole file.
    Whole,
    /// A profile that is not chosen: it only adds to other tables, so nothing has to be there, and its references are
    /// not put in.
    Part,
}

/// Checks `node` against `shape`. `key` is the key that it stands at, for help texts.
pub(super) fn check(node: &Node<'_>, shape: &Shape, key: Option<&Key>, mode: Mode, context: &mut Context<'_>) {
    if matches!(node.kind, NodeKind::Broken) {
        return;
    }
    if mode == Mode::Part && matches!(&node.kind, NodeKind::String(text) if text.contains("${")) {
        return;
    }
    match key.map(|key| key.name) {
        Some("run") if matches!(shape, Shape::Either(_)) => check_command(node, context),
        Some("env") => check_variables(node, context),
        _ => {}
    }
    if let NodeKind::Template(template) = &node.kind {
        let takes = takes_template(shape);
        if !takes && !matches!(shape, Shape::Table(_) | Shape::List(_) | Shape::Map(_) | Shape::Named(_)) {
            let (what, at) = match template.outputs().next() {
                Some(output) => ("the output of a step", output.span),
                None => ("a secret", node.span),
            };
            let why = if what == "a secret" { "it would be shown" } else { "this is needed before any step has run" };
            let named = key.map_or("this".to_owned(), |key| format!("`{}`", key.name));
            context.report(ConfigError::new(format!("{named} cannot hold {what}")).label(at, why));
            return;
        }
        if takes {
            return;
        }
    }
    let scalar = matches!(node.kind, NodeKind::Integer(_) | NodeKind::Float(_) | NodeKind::Bool(_));
    if scalar && matches!(shape, Shape::Text | Shape::Template) && node.span.of(context.text).starts_with(['"', '\'']) {
        // A reference put a number in the place of a whole string: where text is asked for, its digits are meant.
        return;
    }
    match (shape, &node.kind) {
        (Shape::Either(shapes), _) => match shapes.iter().find(|shape| fits(node, shape)) {
            Some(shape) => check(node, shape, key, mode, context),
            None => wrong_type(node, shape, key, context),
        },
        _ if !fits(node, shape) => wrong_type(node, shape, key, context),
        (Shape::Table(table), NodeKind::Table(entries)) => {
            check_table(table.title, node.span, entries, table, mode, context)
        }
        (Shape::Map(of), NodeKind::Table(entries)) => {
            entries.iter().for_each(|entry| check(&entry.node, of, key, mode, context));
        }
        (Shape::Named(of), NodeKind::Table(entries)) => {
            let profiles = key.is_some_and(holds_profiles);
            let mode = if profiles { Mode::Part } else { mode };
            for entry in entries {
                check_name(&entry.key, entry.key_span, context);
                match (of, &entry.node.kind) {
                    (Shape::Table(table), NodeKind::Table(inner)) => {
                        let title = table.title.replace("NAME", &entry.key);
                        check_table(&title, entry.node.span, inner, table, mode, context);
                    }
                    (Shape::Table(table), _) if !profiles && table.keys.iter().any(|known| known.name == entry.key) => {
                        context.report(without_name(entry, table));
                    }
                    _ => check(&entry.node, of, key, mode, context),
                }
            }
        }
        (Shape::List(of), NodeKind::Array(items)) => {
            items.iter().for_each(|item| check(item, of, key, mode, context));
        }
        (Shape::Value, NodeKind::Array(items)) => {
            items.iter().for_each(|item| check(item, &Shape::Value, key, mode, context));
        }
        (Shape::Value, NodeKind::Table(entries)) => {
            entries.iter().for_each(|entry| check(&entry.node, &Shape::Value, key, mode, context));
        }
        (shape, NodeKind::String(text)) => check_text(text, node.span, shape, key, context),
        (Shape::Integer(low, high), NodeKind::Integer(value)) if value < low || value > high => {
            let label = if value < low { format!("at least {low}") } else { format!("at most {high}") };
            context.report(
                ConfigError::new(format!("{} is out of range", named(key)))
                    .label(node.span, label)
                    .maybe_help(key.map(about)),
            );
        }
        _ => {}
    }
}

/// The value has the type that the shape asks for.
fn fits(node: &Node<'_>, shape: &Shape) -> bool {
    match (shape, &node.kind) {
        (_, NodeKind::Broken) => true,
        (
            Shape::Text
            | Shape::Template
            | Shape::Name
            | Shape::Requirement
            | Shape::Path
            | Shape::Glob
            | Shape::Step
            | Shape::Choice(_)
            | Shape::Duration
            | Shape::Size,
            NodeKind::String(_),
        ) => true,
        (Shape::Template | Shape::Scalar | Shape::Value, NodeKind::Template(_)) => true,
        (
            Shape::Scalar | Shape::Constant | Shape::Value,
            NodeKind::String(_) | NodeKind::Integer(_) | NodeKind::Float(_) | NodeKind::Bool(_),
        ) => true,
        (Shape::Value, NodeKind::Array(_) | NodeKind::Table(_)) => true,
        (Shape::Bool, NodeKind::Bool(_)) => true,
        (Shape::Integer(..), NodeKind::Integer(_)) => true,
        (Shape::List(_), NodeKind::Array(_)) => true,
        (Shape::Map(_) | Shape::Named(_) | Shape::Table(_), NodeKind::Table(_)) => true,
        (Shape::Either(shapes), _) => shapes.iter().any(|shape| fits(node, shape)),
        _ => false,
    }
}

fn takes_template(shape: &Shape) -> bool {
    match shape {
        Shape::Template | Shape::Scalar | Shape::Value => true,
        Shape::Either(shapes) => shapes.iter().any(takes_template),
        _ => false,
    }
}

fn wrong_type(node: &Node<'_>, shape: &Shape, key: Option<&Key>, context: &mut Context<'_>) {
    let expected = match shape {
        Shape::List(_) => key.map_or_else(|| shape.expected(), |_| shape.expected()),
        _ => shape.expected(),
    };
    let found = article(node.type_name());
    let error = ConfigError::new(format!("{} has the wrong type", named(key)))
        .label(node.span, format!("expected {expected}, found {found}"));
    context
        .report(error.maybe_help(key.map(|key| suggestion(node, shape, context.text).unwrap_or_else(|| about(key)))));
}

/// What belongs to a thing stands where its name should be.
fn without_name(entry: &Entry<'_>, table: &TableShape) -> ConfigError {
    let plain = table.title.replace(".NAME", "");
    ConfigError::new(format!("`{}` belongs in {}", entry.key, table.title))
        .label(entry.key_span, "expected a name and a table")
        .help(format!("write `{}`, with a name of your own, in the place of `{plain}`", table.title))
}

/// What would have been right, if that is plain.
fn suggestion(node: &Node<'_>, shape: &Shape, source: &str) -> Option<String> {
    let written = node.span.of(source);
    if written.contains("${") {
        return None;
    }
    match (shape, &node.kind) {
        (Shape::List(of), NodeKind::String(_)) if fits(node, of) => Some(format!("write `[{written}]`")),
        (
            Shape::Text | Shape::Template | Shape::Path,
            NodeKind::Integer(_) | NodeKind::Float(_) | NodeKind::Bool(_),
        ) => Some(format!("write `\"{written}\"`")),
        (Shape::Integer(..), NodeKind::String(text)) if text.parse::<i64>().is_ok() => Some(format!("write `{text}`")),
        (Shape::Bool, NodeKind::String(text)) if text.parse::<bool>().is_ok() => Some(format!("write `{text}`")),
        (Shape::Duration, NodeKind::Integer(_)) => Some(format!("write `\"{written}s\"` for seconds")),
        (Shape::Size, NodeKind::Integer(_)) => Some(format!("write `\"{written}m\"` for megabytes")),
        _ => None,
    }
}

fn check_table(
    title: &str,
    header: Span,
    entries: &[Entry<'_>],
    table: &TableShape,
    mode: Mode,
    context: &mut Context<'_>,
) {
    // Keys that an unknown one was probably meant to be: they are not missing, they are misspelled.
    let mut meant = Vec::new();
    for entry in entries {
        match table.keys.iter().find(|key| key.name == entry.key) {
            Some(key) if mode == Mode::Part && holds_profiles(key) => {
                context.report(profile_within_profile(entry.key_span));
            }
            Some(key) => check(&entry.node, &key.shape, Some(key), mode, context),
            None => meant.extend(unknown_key(title, entry, table, entries, context)),
        }
    }
    if mode == Mode::Part {
        return;
    }
    for key in table.keys.iter().filter(|key| key.required && !meant.contains(&key.name)) {
        if !entries.iter().any(|entry| entry.key == key.name) {
            context.report(
                ConfigError::new(format!("{title} needs `{}`", key.name))
                    .label(place(header, context.text), format!("`{}` is missing", key.name))
                    .help(about(key)),
            );
        }
    }
    for group in table.one_of {
        let there: Vec<_> = entries.iter().filter(|entry| group.keys.contains(&entry.key.as_ref())).collect();
        match there.as_slice() {
            [] if group.required && !group.keys.iter().any(|key| meant.contains(key)) => context.report(
                ConfigError::new(format!("{title} needs one of {}", list(group.keys.iter().copied())))
                    .label(place(header, context.text), "none of them is here"),
            ),
            [first, second, ..] => context.report(
                ConfigError::new(format!("`{}` and `{}` exclude each other", first.key, second.key))
                    .label(first.key_span, "either this")
                    .label(second.key_span, "or this"),
            ),
            _ => {}
        }
    }
}

/// Reports a key that there is not, and says which one was probably meant.
fn unknown_key(
    title: &str,
    entry: &Entry<'_>,
    table: &TableShape,
    entries: &[Entry<'_>],
    context: &mut Context<'_>,
) -> Option<&'static str> {
    // What is there already was not meant, unless it holds many things of a kind.
    let there = |name: &str| entries.iter().any(|entry| entry.key == name);
    let free = table.keys.iter().filter(|key| matches!(key.shape, Shape::Named(_)) || !there(key.name));
    let near = nearest(&entry.key, free.map(|key| key.name));
    let help = match near {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("its keys are {}", all_keys(table)),
    };
    context.report(
        ConfigError::new(format!("{title} has no key `{}`", entry.key)).label(entry.key_span, "unknown key").help(help),
    );
    near
}

/// A profile cannot choose another: it would be merged under a name that nobody asked for.
pub(super) fn profile_within_profile(at: Span) -> ConfigError {
    ConfigError::new("a profile cannot hold profiles").label(at, "not here")
}

fn all_keys(table: &TableShape) -> String {
    let names: Vec<_> = table.keys.iter().map(|key| format!("`{}`", key.name)).collect();
    match names.as_slice() {
        [init @ .., last] if !init.is_empty() => format!("{} and {last}", init.join(", ")),
        names => names.join(""),
    }
}

fn check_text(text: &str, span: Span, shape: &Shape, key: Option<&Key>, context: &mut Context<'_>) {
    match shape {
        Shape::Name => check_name(text, span, context),
        Shape::Choice(choices) if !choices.iter().any(|(name, _)| *name == text) => {
            let names = || choices.iter().map(|(name, _)| *name);
            let help = match nearest(text, names()) {
                Some(name) => format!("did you mean \"{name}\"? It can be {}", list(names())),
                None => format!("it can be {}", list(names())),
            };
            context.report(
                ConfigError::new(format!("{} cannot be \"{text}\"", named(key))).label(span, "unknown word").help(help),
            );
        }
        Shape::Duration if units::parse_duration(text).is_none() => context.report(
            ConfigError::new(format!("\"{text}\" is no duration"))
                .label(span, "expected a duration")
                .help("write a number with its unit: \"500ms\", \"90s\", \"2m\", \"1h30m\""),
        ),
        // As no limit at all it would be misunderstood, and nothing can be done in no time.
        Shape::Duration
            if key.is_some_and(|key| matches!(key.name, "timeout" | "deadline"))
                && units::parse_duration(text).is_some_and(|time| time.as_millis() == 0) =>
        {
            context.report(
                ConfigError::new(format!("{} is no time at all", named(key)))
                    .label(span, "at least \"1ms\"")
                    .help("leave it out for no limit of its own"),
            );
        }
        Shape::Size if units::parse_size(text).is_none() => context.report(
            ConfigError::new(format!("\"{text}\" is no size"))
                .label(span, "expected a size")
                .help("write a number with its unit: \"512m\", \"4g\""),
        ),
        Shape::Requirement => check_requirement(text, span, context),
        Shape::Path if text.is_empty() => {
            context.report(ConfigError::new(format!("{} is empty", named(key))).label(span, "expected a path"));
        }
        Shape::Glob if text.starts_with('!') => context.report(
            ConfigError::new("a pattern can't take files away")
                .label(span, "`!` does not exclude")
                .help("name only the files that are meant, such as \"src/**/*.py\"; for a file whose name begins with `!`, write \"./!…\""),
        ),
        Shape::Glob if text.trim().is_empty() => context.report(
            ConfigError::new("a pattern is empty")
                .label(span, "expected a path or a pattern")
                .help("write \".\" for everything in the folder of the stack file"),
        ),
        Shape::Glob if text.starts_with("~/") || text == "~" => context.report(
            ConfigError::new("`~` does not stand for your home folder in a pattern")
                .label(span, "a folder that is called `~`")
                .help(
                    "write the whole path, with `allow-outside = true` in `[stack]`; a folder of that name is \"./~/…\"",
                ),
        ),
        Shape::Glob if text.trim_start_matches("./").split('/').next() == Some(".stack") => context.report(
            ConfigError::new("`.stack/` is no place for files of a task")
                .label(span, "the folder of `stack` itself")
                .help("it may be removed at any moment: keep them in another folder"),
        ),
        Shape::Glob => {
            // Most patterns are plain paths: those need no parsing.
            if text.contains(['*', '?', '[', '{', '\\'])
                && let Err(error) = Glob::new(text)
            {
                context.report(ConfigError::new("this is no path pattern").label(span, error.kind().to_string()));
            }
        }
        _ => {}
    }
}

/// Reports a NUL byte, at which the system takes arguments and variables to end.
fn check_nul(node: &Node<'_>, what: &str, context: &mut Context<'_>) {
    let holds_nul = match &node.kind {
        NodeKind::String(text) => text.contains('\0'),
        NodeKind::Template(template) => {
            template.parts().iter().any(|part| matches!(part, Part::Text(text) if text.contains('\0')))
        }
        NodeKind::Array(items) => return items.iter().for_each(|item| check_nul(item, what, context)),
        _ => false,
    };
    if holds_nul {
        context.report(
            ConfigError::new(format!("{what} holds a NUL byte"))
                .label(node.span, "the system takes none")
                .help("write such text to a file, or let the command make it: `printf 'a\\0b'`"),
        );
    }
}

/// A command names a program; a line for the shell says something.
fn check_command(node: &Node<'_>, context: &mut Context<'_>) {
    check_nul(node, "an argument", context);
    let is_blank = |node: &Node<'_>| matches!(&node.kind, NodeKind::String(text) if text.trim().is_empty());
    let wrong = match &node.kind {
        NodeKind::String(_) if is_blank(node) => Some((node.span, "nothing to run")),
        NodeKind::Array(items) => match items.first() {
            None => Some((node.span, "nothing to run")),
            Some(program) if is_blank(program) => Some((program.span, "expected a program")),
            Some(_) => None,
        },
        _ => None,
    };
    if let Some((span, label)) = wrong {
        context.report(
            ConfigError::new("`run` is empty")
                .label(span, label)
                .help("write a line for the shell, or a program and its arguments: `run = [\"make\", \"all\"]`"),
        );
    }
}

/// Names of variables that the system can't have.
fn check_variables(node: &Node<'_>, context: &mut Context<'_>) {
    let NodeKind::Table(entries) = &node.kind else { return };
    entries.iter().for_each(|entry| check_nul(&entry.node, &format!("the variable `{}`", entry.key), context));
    for entry in entries.iter().filter(|entry| entry.key.is_empty() || entry.key.contains(['=', '\0'])) {
        let (message, label) = match entry.key.is_empty() {
            true => ("the name of a variable is empty".to_owned(), "expected a name"),
            false => (format!("`{}` cannot be the name of a variable", entry.key.escape_debug()), "no `=` and no NUL"),
        };
        context.report(ConfigError::new(message).label(entry.key_span, label));
    }
}

fn check_name(name: &str, span: Span, context: &mut Context<'_>) {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let label = match name {
        "" => "expected a name".to_owned(),
        _ if name.len() > NAME_MAX => format!("longer than {NAME_MAX} characters"),
        _ if !name.chars().all(allowed) => "only a-z, 0-9 and `-`".to_owned(),
        _ if name.starts_with('-') || name.ends_with('-') => "cannot begin or end with `-`".to_owned(),
        _ => return,
    };
    let mut better: String =
        name.to_lowercase().chars().map(|c| if allowed(c) { c } else { '-' }).take(NAME_MAX).collect();
    better = better.trim_matches('-').to_owned();
    let help = (!better.is_empty()).then(|| format!("write `{better}`"));
    let message = if name.is_empty() { "a name is empty".to_owned() } else { format!("`{name}` cannot be a name") };
    context.report(ConfigError::new(message).label(span, label).maybe_help(help));
}

fn check_requirement(text: &str, span: Span, context: &mut Context<'_>) {
    let version = env!("CARGO_PKG_VERSION");
    match semver::VersionReq::parse(text) {
        Err(error) => context.report(
            ConfigError::new("this is no version requirement")
                .label(span, error.to_string())
                .help("write something like \">=0.1\""),
        ),
        Ok(requirement) => {
            if semver::Version::parse(version).is_ok_and(|version| !requirement.matches(&version)) {
                context.report(
                    ConfigError::new(format!("this file requires `stack` {text}, and this is {version}"))
                        .label(span, "not satisfied")
                        .help("install a version of `stack` that satisfies it"),
                );
            }
        }
    }
}

fn named(key: Option<&Key>) -> String {
    key.map_or("this".to_owned(), |key| format!("`{}`", key.name))
}

/// What a key is for.
fn about(key: &Key) -> String {
    let default = if key.default.is_empty() { String::new() } else { format!(" Default: {}.", key.default) };
    format!("`{}`: {}{default}", key.name, key.doc)
}

/// The span of a table, or of the beginning of the file for the file itself.
fn place(header: Span, text: &str) -> Span {
    if header.is_empty() {
        let end = text.lines().next().map_or(0, str::len);
        return Span::new(0, end);
    }
    header
}
