//! `[vars]`: what each variable is, from the command line, the environment, its default or the file.

use indexmap::IndexMap;

use super::LoadOptions;
use super::context::Context;
use super::error::{ConfigError, meant};
use super::names::Names;
use super::reference::{Constant, Scope};
use super::span::Span;
use super::template::Part;
use super::tree::{Node, NodeKind};

/// The values of all variables. `raw` is the table as it was written, its references not put in.
pub(super) fn evaluate<'t>(
    raw: &Node<'t>,
    names: &Names<'t>,
    stack: Option<&str>,
    options: &LoadOptions<'_>,
    context: &mut Context<'t>,
) -> IndexMap<String, Constant> {
    for (name, _) in &options.vars {
        if raw.get(name).is_none() {
            let known: Vec<_> = raw.entries().iter().map(|entry| entry.key.as_ref()).collect();
            context.errors.push(ConfigError::new(format!("the stack file has no variable `{name}`")).help(meant(
                name,
                "variables",
                known,
            )));
        }
    }
    let mut values = IndexMap::new();
    // In the order of the file: a variable may refer to those above it.
    for entry in raw.entries() {
        let scope = Scope {
            env: options.env,
            lenient: options.lenient,
            vars: &values,
            stack,
            cluster: None,
            names,
            outputs: false,
        };
        let value = one(&entry.key, &entry.node, entry.key_span, &scope, options, context);
        values.insert(entry.key.to_string(), value);
    }
    values
}

fn one<'t>(
    name: &str,
    node: &Node<'t>,
    key_span: Span,
    scope: &Scope<'_, 't>,
    options: &LoadOptions<'_>,
    context: &mut Context<'t>,
) -> Constant {
    let is_table = matches!(node.kind, NodeKind::Table(_));
    let env = node.get("env").and_then(Node::text);
    let secret = matches!(node.get("secret"), Some(Node { kind: NodeKind::Bool(true), .. }));
    let default = if is_table { node.get("default") } else { Some(node) };
    let given = options.vars.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value.clone());
    let from_command_line = given.is_some();
    let given = given.or_else(|| env.and_then(|env| (options.env)(env)));
    let value = match given {
        Some(text) => like(default, &text).unwrap_or_else(|expected| {
            let whence = match env {
                Some(env) if !from_command_line => format!("`{env}` of the environment"),
                _ => "the command line".to_owned(),
            };
            context.report(
                ConfigError::new(format!("variable `{name}` has to be {expected}, as its default is"))
                    .label(key_span, format!("{whence} gives it another type")),
            );
            Constant::Broken
        }),
        None => match default {
            Some(default) => constant(default, scope, context),
            None if !is_table => Constant::Broken,
            None if options.lenient => Constant::Text("".into()),
            None => {
                let error = match env {
                    Some(env) => ConfigError::new(format!("variable `{name}` has no value"))
                        .label(node.span, format!("`{env}` is not set, and there is no `default`"))
                        .help(format!("set `{env}` in the environment, or add a `default`")),
                    None => ConfigError::new(format!("variable `{name}` has no value"))
                        .label(node.span, "neither `env` nor `default`")
                        .help(format!("give it with `--var {name}=…`, or add `env` or `default`")),
                };
                context.report(error);
                Constant::Broken
            }
        },
    };
    match value {
        value if !secret => value,
        Constant::Broken => Constant::Broken,
        value => value.to_text().map_or(Constant::Broken, |text| Constant::Secret(text.to_string().into())),
    }
}

/// The text of an environment or a command line, as the type that the default has.
fn like(default: Option<&Node<'_>>, text: &str) -> Result<Constant, &'static str> {
    let of = default.map(|node| &node.kind);
    Ok(match of {
        Some(NodeKind::Integer(_)) => Constant::Integer(text.trim().parse().map_err(|_| "an integer")?),
        Some(NodeKind::Float(_)) => Constant::Float(text.trim().parse().map_err(|_| "a number")?),
        Some(NodeKind::Bool(_)) => Constant::Bool(text.trim().parse().map_err(|_| "`true` or `false`")?),
        _ => Constant::Text(text.into()),
    })
}

/// The value written in the file.
fn constant<'t>(node: &Node<'t>, scope: &Scope<'_, 't>, context: &mut Context<'t>) -> Constant {
    let kind = match &node.kind {
        NodeKind::String(text) if text.contains("${") => scope.substitute(text, node.span, context),
        other => other.clone(),
    };
    match kind {
        NodeKind::String(text) => Constant::Text(text.as_ref().into()),
        NodeKind::Integer(value) => Constant::Integer(value),
        NodeKind::Float(value) => Constant::Float(value),
        NodeKind::Bool(value) => Constant::Bool(value),
        // Made of secrets: it is one.
        NodeKind::Template(template) => {
            let text: String = template
                .parts()
                .iter()
                .map(|part| match part {
                    Part::Text(text) => text.to_string(),
                    Part::Secret(secret) => secrecy::ExposeSecret::expose_secret(secret).to_owned(),
                    Part::Output(_) => String::new(),
                })
                .collect();
            Constant::Secret(text.into())
        }
        // The check of the shape says what is wrong with these.
        NodeKind::Datetime | NodeKind::Array(_) | NodeKind::Table(_) | NodeKind::Broken => Constant::Broken,
    }
}
