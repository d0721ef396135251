//! What the user typed: clap's view of the command line. Nothing is resolved here and nothing has effects.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::report::ColorChoice;

/// Builds images, gets them into a cluster, installs charts and waits until they are ready: one file, one graph, only
/// what changed.
#[derive(Debug, Parser)]
#[command(name = "stack", version, about, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    /// Options that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The stack file [default: $STACK_FILE, else stack.toml or the one *-stack.toml here or in the nearest folder above]
    #[arg(short, long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub file: Option<PathBuf>,
    /// Merge [profile.NAME] of the stack file over the rest; may be repeated
    #[arg(short, long = "profile", global = true, value_name = "NAME", help_heading = "Global options")]
    pub profiles: Vec<String>,
    /// Set a variable of `[vars]`; may be repeated
    #[arg(long = "var", global = true, value_name = "NAME=VALUE", help_heading = "Global options")]
    pub vars: Vec<String>,
    /// When to use colour
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t, help_heading = "Global options")]
    pub color: ColorChoice,
    /// Show every line that tools print, and more detail about what is going on
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub verbose: bool,
}

/// Which steps.
#[derive(Debug, Clone, Default, Args)]
pub struct Steps {
    /// Steps by id, name or pattern, such as build:backend, todo or 'build:*' [default: all]
    #[arg(value_name = "STEP")]
    pub steps: Vec<String>,
    /// Leave out what the named steps need
    #[arg(long)]
    pub no_deps: bool,
    /// Add what needs the named steps
    #[arg(long)]
    pub downstream: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the world equal to the stack file
    Apply(Apply),
    /// Show what apply would do, and why
    Plan(Plan),
    /// Print the graph of steps
    Graph(Graph),
    /// Show the inputs of a step, and what changed since it was last applied
    Why(Why),
    /// Show what the pods behind components print
    Logs(Logs),
    /// Show what applying charts would change in the cluster
    Diff(Diff),
    /// Show cluster, images, releases, deployments, services and pods
    Status(Status),
    /// Remove the releases, in reverse order, and what was made for them
    Destroy(Destroy),
    /// Remove old images of this stack, on the host and the nodes, that nothing uses any more
    Gc(Gc),
    /// Check the stack file, offline
    Validate,
    /// Apply, and again on every change that matters
    Watch(Watch),
    /// Write a first stack file from what is in this folder
    Init(Init),
    /// Print the JSON schema of stack files, for editors
    Schema,
    /// Print the completions for a shell
    Completions(Completions),
    /// Print the manual page of stack, or of a command
    Man(Man),
}

/// Text for people, or JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: JSON on stdout, alone.
    Json,
}

/// `stack apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// Which steps.
    #[command(flatten)]
    pub steps: Steps,
    /// Only what failed or was blocked the last time, and what that needs
    #[arg(long)]
    pub from_failed: bool,
    /// Only show what would be done, as `stack plan` does
    #[arg(long)]
    pub dry_run: bool,
    /// How many steps may run at the same time
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Go on with what does not depend on a step that failed
    #[arg(short, long)]
    pub keep_going: bool,
    /// Run steps even when nothing has changed: all of them, or those that match STEP
    #[arg(long, value_name = "STEP", num_args = 0..=1, default_missing_value = "*", require_equals = true)]
    pub force: Vec<String>,
    /// Share built images through this registry, as the `cache` table of the stack file does: host:5000/todo
    #[arg(long, value_name = "REGISTRY")]
    pub cache: Option<String>,
    /// Only fetch from the cache
    #[arg(long)]
    pub cache_read_only: bool,
    /// Write the run as a JUnit file, for CI systems that show those
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub junit: Option<PathBuf>,
    /// Wait for another apply of this stack instead of stopping with code 4
    #[arg(long)]
    pub wait: bool,
    /// Change the cluster of this kubeconfig context although it looks remote
    #[arg(long = "allow-context", value_name = "CONTEXT")]
    pub allow_contexts: Vec<String>,
    /// The form of the output: one event a line with json
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `stack plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// Which steps.
    #[command(flatten)]
    pub steps: Steps,
    /// Only what failed or was blocked the last time, and what that needs
    #[arg(long)]
    pub from_failed: bool,
    /// Exit with code 5 when there is something to do
    #[arg(long)]
    pub exit_code: bool,
    /// Show what charts would change in the cluster, object by object
    #[arg(long)]
    pub diff: bool,
    /// The form of the output
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// The forms of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum GraphFormat {
    /// A tree for a terminal.
    #[default]
    Tree,
    /// Graphviz.
    Dot,
    /// Mermaid, as shown in Markdown.
    Mermaid,
    /// For programs.
    Json,
    /// A page for a browser, which needs nothing else.
    Html,
}

/// `stack graph`.
#[derive(Debug, Args)]
pub struct Graph {
    /// Which steps.
    #[command(flatten)]
    pub steps: Steps,
    /// Show for each step what apply would do
    #[arg(long)]
    pub plan: bool,
    /// The form of the output
    #[arg(long, value_enum, default_value_t)]
    pub format: GraphFormat,
}

/// `stack why`.
#[derive(Debug, Args)]
pub struct Why {
    /// The step, by id or name
    #[arg(value_name = "STEP")]
    pub step: String,
    /// The form of the output
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `stack logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// Charts, workloads, services or images, by name, id or pattern [default: everything]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Go on with what comes, also from pods that come
    #[arg(long)]
    pub follow: bool,
    /// Only what is younger than this, such as 5m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub since: Option<Duration>,
    /// Only so many of the last lines of each container
    #[arg(long, value_name = "N")]
    pub tail: Option<u64>,
    /// Only this container; may be repeated
    #[arg(short, long = "container", value_name = "NAME")]
    pub containers: Vec<String>,
    /// What the containers printed before they were started again
    #[arg(long, conflicts_with = "follow")]
    pub previous: bool,
    /// The form of the output: one line of a log a line with json
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::config::parse_duration(text).ok_or_else(|| "write it like `90s`, `5m` or `1h30m`".to_owned())
}

/// `stack diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// Which steps; of these and what they need, charts are shown.
    #[command(flatten)]
    pub steps: Steps,
    /// Exit with code 5 when there are differences
    #[arg(long)]
    pub exit_code: bool,
    /// The form of the output
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `stack status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Show it again whenever it has changed, until interrupted
    #[arg(long)]
    pub watch: bool,
    /// The form of the output
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `stack destroy`.
#[derive(Debug, Args)]
pub struct Destroy {
    /// Which steps.
    #[command(flatten)]
    pub steps: Steps,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Also remove the images from the nodes and from the local engine
    #[arg(long)]
    pub images: bool,
    /// Also delete the cluster
    #[arg(long)]
    pub cluster: bool,
    /// Change the cluster of this kubeconfig context although it looks remote
    #[arg(long = "allow-context", value_name = "CONTEXT")]
    pub allow_contexts: Vec<String>,
    /// The form of the output: one event a line with json
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `stack gc`.
#[derive(Debug, Args)]
pub struct Gc {
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Only show what would go, and who uses the rest
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// The form of the output
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `stack watch`.
#[derive(Debug, Args)]
pub struct Watch {
    /// Which steps.
    #[command(flatten)]
    pub steps: Steps,
    /// How many steps may run at the same time
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// How long it has to be quiet after a change, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 200)]
    pub debounce: u64,
    /// The form of the output: one event a line with json
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `stack init`.
#[derive(Debug, Args)]
pub struct Init {
    /// The stack's name [default: that of the folder]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Print it instead of writing stack.toml
    #[arg(long)]
    pub stdout: bool,
}

/// `stack completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// `stack man`.
#[derive(Debug, Args)]
pub struct Man {
    /// The command, such as apply [default: stack itself]
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn force_takes_a_step_only_after_an_equals_sign() {
        let force = |args: &[&str]| match Cli::try_parse_from(args).unwrap().command {
            Command::Apply(apply) => (apply.force, apply.steps.steps),
            _ => panic!("not an apply"),
        };
        assert_eq!(force(&["stack", "apply", "--force", "todo"]), (vec!["*".into()], vec!["todo".into()]));
        assert_eq!(force(&["stack", "apply", "--force=chart:todo"]), (vec!["chart:todo".into()], vec![]));
    }
}
