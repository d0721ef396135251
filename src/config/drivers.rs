//! What the tools that run clusters can't do: each is asked for something only minikube has.

use std::collections::HashSet;

use super::context::Context;
use super::error::ConfigError;
use super::model::{Cluster, Driver, LoadMode, StackFile};
use super::tree::{Node, NodeKind};

/// The longest name that k3d takes for a cluster: it makes host names of it.
const LONGEST_K3D_NAME: usize = 32;

/// What the chosen profiles say of the cluster.
#[derive(Debug, Default)]
pub(super) struct Overlaid {
    /// One of them names the driver.
    driver: bool,
    /// The keys of that one and of those after it.
    keys: HashSet<String>,
}

impl Overlaid {
    /// Takes note of the next profile.
    pub fn add(&mut self, profile: &Node<'_>) {
        let Some(cluster) = profile.get("cluster") else { return };
        if cluster.get("driver").is_some() {
            self.driver = true;
            self.keys.clear();
        }
        self.keys.extend(cluster.entries().iter().map(|entry| entry.key.to_string()));
    }

    /// Whether a key was written for another driver: a profile can replace that, and take nothing away.
    fn is_left_over(&self, key: &str) -> bool {
        self.driver && !self.keys.contains(key)
    }
}

/// Reports what is asked of a driver that it can't do.
pub(super) fn check(stack: &StackFile, tree: &Node<'_>, overlaid: &Overlaid, context: &mut Context<'_>) {
    let Some(cluster) = &stack.cluster else { return };
    match cluster.driver.value {
        Driver::Minikube | Driver::Context => return,
        Driver::Kind | Driver::K3d => {}
    }
    check_keys(cluster, tree, overlaid, context);
    check_name(stack, cluster, tree, context);
    check_images(stack, cluster, tree, context);
}

fn check_keys(cluster: &Cluster, tree: &Node<'_>, overlaid: &Overlaid, context: &mut Context<'_>) {
    let driver = cluster.driver.value;
    let tool = driver.as_str();
    let table = tree.get("cluster");
    for entry in table.map_or(&[][..], Node::entries) {
        let key = entry.key.as_ref();
        let why = match key {
            "node-driver" => "its nodes are containers",
            "container-runtime" => "its nodes run containerd",
            "cpus" | "memory" | "disk" => "its nodes share what the Docker Engine has",
            "addons" => "addons are minikube's",
            _ => continue,
        };
        if overlaid.is_left_over(key) {
            continue;
        }
        let help = match (driver, key) {
            (Driver::K3d, "memory") => {
                "take it out, or limit nodes by `start-args = [\"--servers-memory=4g\", \"--agents-memory=4g\"]`"
            }
            _ => "take it out: it is for `driver = \"minikube\"`",
        };
        context
            .report(ConfigError::new(format!("{tool} has nothing like `{key}`")).label(entry.key_span, why).help(help));
    }
    let is_config = |arg: &String| arg == "--config" || arg.starts_with("--config=");
    if driver == Driver::Kind
        && cluster.nodes > 1
        && cluster.start_args.iter().any(is_config)
        && let Some(args) = table.and_then(|table| table.get("start-args"))
    {
        context.report(
            ConfigError::new("`nodes` and a `--config` of your own are two answers to one question")
                .label(args.span, "this file says what nodes there are")
                .help("take `nodes` out: kind gets it as such a file"),
        );
    }
}

fn check_name(stack: &StackFile, cluster: &Cluster, tree: &Node<'_>, context: &mut Context<'_>) {
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let ends = |c: char| c.is_ascii_alphanumeric();
    let name = &cluster.name;
    let rule = match cluster.driver.value {
        Driver::Kind if !name.chars().all(lower) => "only a-z, 0-9, `.` and `-`",
        Driver::K3d if name.len() > LONGEST_K3D_NAME => "at most 32 characters",
        Driver::K3d if !(name.chars().all(inner) && name.starts_with(ends) && name.ends_with(ends)) => {
            "only letters, digits, and `-` in between"
        }
        Driver::Kind | Driver::K3d | Driver::Minikube | Driver::Context => return,
    };
    let profile = tree.get("cluster").and_then(|table| table.get("profile"));
    let span = profile.map_or(stack.name.span, |profile| profile.span);
    context.report(
        ConfigError::new(format!("`{name}` cannot be the name of a {} cluster", cluster.driver.value.as_str()))
            .label(span, rule)
            .maybe_help(profile.is_none().then_some("give the cluster a name of its own: `profile = \"…\"`")),
    );
}

fn check_images(stack: &StackFile, cluster: &Cluster, tree: &Node<'_>, context: &mut Context<'_>) {
    for (name, image) in &stack.images {
        if image.load != LoadMode::Direct {
            continue;
        }
        let node = tree.get("image").and_then(|images| images.get(name)).and_then(|image| image.get("load"));
        let span = match node {
            Some(Node { kind: NodeKind::String(_), span }) => *span,
            Some(_) | None => image.options.span,
        };
        let tool = cluster.driver.value.as_str();
        context.report(
            ConfigError::new(format!("image `{name}` can't be built in a node of {tool}"))
                .label(span, "the node has no Docker Engine")
                .help("use `load = \"layers\"`, which sends only what a node lacks"),
        );
    }
}
