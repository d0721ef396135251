//! The stack file: TOML with spans, all errors at once, profiles, variables, references. Knows no network and no tool.
//!
//! [`find()`] says which file, [`load`] reads it. What comes out is a [`StackFile`]: typed, defaults filled in, each
//! value with its place, and every reference either put in or kept as an [`OutputRef`] that a run resolves.

mod beside;
mod check;
mod context;
mod convert;
mod drivers;
mod duplicate;
mod error;
mod facts;
mod files;
mod find;
mod keys;
mod literal;
mod masked;
mod model;
mod names;
mod parts;
mod plain;
mod read;
mod reference;
mod schema;
mod semantics;
mod shape;
mod span;
mod template;
mod tree;
mod units;
mod vars;

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use miette::NamedSource;

use beside::{beside, is_large};
use check::Mode;
use context::Context;
use convert::Facts;
use read::Reader;
use reference::{ClusterNames, Constant, Scope};
use tree::{Node, NodeKind};

pub use error::{ConfigError, ConfigErrors, Source};
pub(crate) use error::{meant, nearest};
pub use facts::image_facts;
pub use find::{FindError, STACK_FILE, find};
pub use literal::literal_path;
pub use model::*;
pub use names::parse_step;
pub use read::normal;
pub use schema::json_schema;
pub(crate) use semantics::{REGISTRY_HELP, registry_error};
pub use span::{Span, Spanned};
pub use template::{
    ChartField, ImageField, NoOutputs, OutputRef, Outputs, Part, REDACTED, Resolved, Template, UnknownOutput, Value,
};
pub use units::{parse_duration, parse_size};

/// Looks up a variable of the environment.
pub type EnvLookup<'e> = &'e (dyn Fn(&str) -> Option<String> + Sync);

/// What the reading of a file depends on beside the file.
#[derive(Clone)]
pub struct LoadOptions<'e> {
    /// Profiles to merge, in order: later ones win.
    pub profiles: Vec<String>,
    /// Variables given on the command line, `--var NAME=VALUE`: the last one of a name wins.
    pub vars: Vec<(String, String)>,
    /// The environment.
    pub env: EnvLookup<'e>,
    /// A variable without a value, and one of the environment that is not set, is empty instead of an error: for
    /// commands that change nothing by it, so that `stack status` does not ask for an API key.
    pub lenient: bool,
}

impl<'e> LoadOptions<'e> {
    /// No profile, no variables given.
    pub fn new(env: EnvLookup<'e>) -> Self {
        Self { profiles: Vec::new(), vars: Vec::new(), env, lenient: false }
    }
}

/// Reads the stack file at `path`, and looks whether the files that it speaks of are there.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file.
pub fn load(path: &Path, options: &LoadOptions<'_>) -> Result<StackFile, ConfigErrors> {
    let shown = path.display().to_string();
    let failed = |message: String| ConfigErrors::new(&shown, vec![ConfigError::new(message)]);
    let text = std::fs::read(path).map_err(|error| failed(format!("cannot read {shown}: {error}")))?;
    let text = String::from_utf8(text).map_err(|error| {
        let (place, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        let help = match bytes {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "it looks like UTF-16: let the editor save it as UTF-8".to_owned(),
            _ => {
                let line = 1 + bytes[..place].iter().filter(|byte| **byte == b'\n').count();
                format!("line {line} holds the byte {:#04x}: let the editor save it as UTF-8", bytes[place])
            }
        };
        ConfigErrors::new(&shown, vec![ConfigError::new(format!("{shown} is not UTF-8 text")).help(help)])
    })?;
    let absolute = std::path::absolute(path).map_err(|error| failed(format!("cannot locate {shown}: {error}")))?;
    read(text, &shown, &read::normal(&absolute), options, true)
}

/// Reads the text of a stack file that would be at `path` (absolute), and looks at no other file.
///
/// # Errors
/// As for [`load`].
pub fn from_text(text: &str, path: &Path, options: &LoadOptions<'_>) -> Result<StackFile, ConfigErrors> {
    let shown = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    read(text.to_owned(), &shown, path, options, false)
}

fn read(
    text: String,
    shown: &str,
    path: &Path,
    options: &LoadOptions<'_>,
    look_at_files: bool,
) -> Result<StackFile, ConfigErrors> {
    let source: Source = Arc::new(NamedSource::new(shown, text));
    let text = source.inner();
    let mut context = Context { text, source: Arc::clone(&source), syntax_errors: false, errors: Vec::new() };
    let mut tree = tree::parse(&mut context);
    masked::mask(&tree, shown, &mut context);
    if context.syntax_errors {
        return Err(ConfigErrors::new(shown, context.errors));
    }
    let shown_source = Arc::clone(&context.source);
    let overlaid = choose_profiles(&mut tree, options, &mut context);

    let names = names::Names::new(&tree);
    let stack = literal(&tree, "stack", "name").map(str::to_owned);
    let raw_vars = tree.get("vars").unwrap_or(&NOTHING);
    let vars = vars::evaluate(raw_vars, &names, stack.as_deref(), options, &mut context);
    let before = Scope {
        env: options.env,
        lenient: options.lenient,
        vars: &vars,
        stack: stack.as_deref(),
        cluster: None,
        names: &names,
        outputs: false,
    };
    let cluster_names = cluster_names(&tree, &before, &context);
    // An escape may stand for a part of `${`.
    if text.contains("${") || text.contains('\\') {
        substitute(&mut tree, &before, &cluster_names, &mut context);
    }
    let whole = Whole {
        tree: &tree,
        names: &names,
        vars: &vars,
        stack: stack.as_deref(),
        cluster: &cluster_names,
        has_cluster: names.has_cluster(),
    };
    let (checked, model) = beside(
        is_large(text),
        || {
            let mut own = context.another();
            check::check(&tree, &shape::Shape::Table(&keys::ROOT), None, Mode::Whole, &mut own);
            own.errors
        },
        || model(&whole, path, &shown_source, options),
    );
    context.errors.extend(checked);
    semantics::check_needs(&tree, &names, &mut context);
    semantics::check(&model, &tree, &mut context);
    drivers::check(&model, &tree, &overlaid, &mut context);
    files::check(&model, look_at_files, &mut context);
    if context.errors.is_empty() { Ok(model) } else { Err(ConfigErrors::new(shown, context.errors)) }
}

/// A file with its references put in.
struct Whole<'w> {
    tree: &'w Node<'w>,
    names: &'w names::Names<'w>,
    vars: &'w IndexMap<String, Constant>,
    stack: Option<&'w str>,
    cluster: &'w ClusterNames,
    has_cluster: bool,
}

/// The file as the model. What is wrong in it is left out: it is found, and reported, by the check.
fn model(whole: &Whole<'_>, path: &Path, source: &Source, options: &LoadOptions<'_>) -> StackFile {
    let root = path.parent().unwrap_or(Path::new("/"));
    let home = (options.env)("HOME");
    let root_reader = Reader::new(whole.tree, &keys::ROOT, root, home.as_deref());
    let stack_reader = root_reader.get("stack").map(|node| root_reader.other(node, &keys::STACK));
    let flag = |key: &str, default: bool| stack_reader.as_ref().map_or(default, |stack| stack.bool(key));
    let facts = Facts {
        stack: whole.stack.unwrap_or("stack"),
        cluster: whole.cluster,
        has_cluster: whole.has_cluster,
        namespace: whole.cluster.namespace.as_deref().unwrap_or("default"),
        prune: flag("prune", true),
        names: whole.names,
    };
    let table = |key: &str, shape| root_reader.get(key).map(|node| (root_reader.other(node, shape), node.span));
    StackFile {
        path: path.to_owned(),
        root: root.to_owned(),
        source: Arc::clone(source),
        profiles: options.profiles.clone(),
        name: stack_reader.as_ref().and_then(|stack| stack.text("name")).unwrap_or_default(),
        allow_outside: flag("allow-outside", false),
        prune: facts.prune,
        cluster: table("cluster", &keys::CLUSTER).and_then(|(reader, span)| convert::cluster(&reader, span, &facts)),
        images: convert::named(&root_reader, "image", &keys::IMAGE, |name, reader, span| {
            convert::image(name, reader, span, &facts)
        }),
        charts: convert::named(&root_reader, "chart", &keys::CHART, |name, reader, span| {
            convert::chart(name, reader, span, &facts)
        }),
        ready: convert::named(&root_reader, "ready", &keys::READY, |_, reader, span| {
            convert::ready(reader, span, &facts)
        }),
        tasks: convert::named(&root_reader, "task", &keys::TASK, |_, reader, span| convert::task(reader, span, &facts)),
        limits: table("limits", &keys::LIMITS).map_or_else(
            || convert::limits(&root_reader.other(&NOTHING, &keys::LIMITS)),
            |(reader, _)| convert::limits(&reader),
        ),
        cache: table("cache", &keys::CACHE).and_then(|(reader, _)| convert::cache(&reader)),
        secrets: whole
            .vars
            .values()
            .filter_map(|value| match value {
                Constant::Secret(secret) => Some(secret.clone()),
                _ => None,
            })
            .collect(),
        warnings: Vec::new(),
    }
}

/// A table without keys: where a table is not in the file, its defaults hold.
static NOTHING: Node<'static> = Node { kind: NodeKind::Table(Vec::new()), span: Span::NONE };

/// Takes the chosen profiles out of the file and merges them over it.
fn choose_profiles<'t>(file: &mut Node<'t>, options: &LoadOptions<'_>, context: &mut Context<'t>) -> drivers::Overlaid {
    let mut overlaid = drivers::Overlaid::default();
    for name in &options.profiles {
        let profiles = file.get_mut("profile");
        let known: Vec<String> = profiles
            .iter()
            .flat_map(|profiles| profiles.entries())
            .map(|entry| entry.key.to_string())
            .filter(|known| !options.profiles.contains(known))
            .collect();
        match profiles.and_then(|profiles| profiles.remove(name)).map(|entry| entry.node) {
            Some(mut profile @ Node { kind: NodeKind::Table(_), .. }) => {
                if let Some(within) = profile.remove("profile") {
                    context.report(check::profile_within_profile(within.key_span));
                }
                overlaid.add(&profile);
                if let (NodeKind::Table(file), NodeKind::Table(profile)) = (&mut file.kind, profile.kind) {
                    tree::merge(file, profile);
                }
            }
            Some(_) | None => {
                context.errors.push(ConfigError::new(format!("the stack file has no profile `{name}`")).help(meant(
                    name,
                    "profiles",
                    known.iter().map(String::as_str),
                )))
            }
        }
    }
    overlaid
}

/// A string of the file that holds no reference.
fn literal<'f>(file: &'f Node<'_>, table: &str, key: &str) -> Option<&'f str> {
    file.get(table)?.get(key)?.text().filter(|text| !text.contains("${"))
}

/// What the file says of its cluster, by the rules of the drivers. `scope` is that of `[cluster]` itself.
fn cluster_names<'t>(file: &Node<'t>, scope: &Scope<'_, 't>, context: &Context<'t>) -> ClusterNames {
    let Some(cluster) = file.get("cluster").filter(|cluster| matches!(cluster.kind, NodeKind::Table(_))) else {
        return ClusterNames::default();
    };
    // Its errors are found again, and reported, when the table is read as a whole.
    let mut scratch = context.another();
    // Nothing: not there. Nothing in something: there, and wrong.
    let mut text = |key: &str| {
        let mut value = cluster.get(key)?.clone();
        tree::substitute(&mut value, scope, &mut scratch);
        Some(match value.kind {
            NodeKind::String(text) => Some(Arc::from(text.as_ref())),
            NodeKind::Integer(number) => Some(Arc::from(number.to_string())),
            _ => None,
        })
    };
    let profile = text("profile").unwrap_or_else(|| scope.stack.map(Arc::from));
    let driver = text("driver").flatten();
    let named = |prefix: &str| profile.as_ref().map(|profile| Arc::from(format!("{prefix}{profile}")));
    let context = text("context").unwrap_or_else(|| match driver.as_deref() {
        Some("minikube") => profile.clone(),
        Some("kind") => named("kind-"),
        Some("k3d") => named("k3d-"),
        _ => None,
    });
    let name = if driver.as_deref() == Some("context") { context.clone() } else { profile };
    ClusterNames { name, context, namespace: text("namespace").unwrap_or_else(|| Some(Arc::from("default"))) }
}

/// Puts all references in. `of_cluster` is the scope of `[cluster]` itself.
fn substitute<'t>(tree: &mut Node<'t>, of_cluster: &Scope<'_, 't>, cluster: &ClusterNames, context: &mut Context<'t>) {
    let whole = Scope { cluster: Some(cluster), outputs: true, ..*of_cluster };
    for entry in tree.entries_mut().into_iter().flatten() {
        match entry.key.as_ref() {
            // Variables have been read, and of the name of the stack and of profiles not chosen nothing is put in.
            "vars" | "stack" | "profile" => {}
            "cluster" => tree::substitute(&mut entry.node, of_cluster, context),
            _ => tree::substitute(&mut entry.node, &whole, context),
        }
    }
}

#[cfg(test)]
mod tests;
