//! What the user asked for: clap arguments, resolved once into settings; one file for each command.
//!
//! A command returns an exit code or a [`Failure`]; both become the process's exit code here and nowhere else.

mod apply;
mod args;
mod destroy;
mod diff;
mod gc;
mod graph;
mod init;
mod logs;
mod open;
mod plan;
mod schema;
mod settings;
mod shell;
mod status;
mod telling;
mod validate;
mod watch;
mod why;

use std::process::ExitCode as ProcessExitCode;

use clap::Parser;

use self::args::{Cli, Command};
use self::settings::Settings;
use crate::error::{ExitCode, Failure};
use crate::report::{ColorChoice, Console};

/// The whole program: parses the process's arguments, runs the command, and says how it ended.
pub fn main() -> ProcessExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let console = Console::new(ColorChoice::default(), false);
            // Help and version come this way too, and are no error. A closed pipe is nobody to tell.
            let printed = error.print();
            return match printed {
                _ if error.use_stderr() => ExitCode::Usage.into(),
                Err(lost) if lost.kind() != std::io::ErrorKind::BrokenPipe => unwritten(&console, &lost).into(),
                _ => ExitCode::Done.into(),
            };
        }
    };
    let settings = Settings::resolve(&cli);
    log(&settings);
    let console = &settings.console;
    let code = match run(cli.command, &settings) {
        Ok(code) => code,
        Err(stop) => stop.show(console),
    };
    let Some(error) = console.lost() else { return code.into() };
    let lost = unwritten(console, error);
    // What failed by itself says more.
    if matches!(code, ExitCode::Done | ExitCode::Pending) { lost.into() } else { code.into() }
}

/// Tells that the result could not be told.
fn unwritten(console: &Console, error: &std::io::Error) -> ExitCode {
    let failure = Failure::new(ExitCode::Missing, format!("the result can't be written to stdout: {error}"));
    console.failure(&failure);
    failure.exit_code
}

/// Why a command ended early.
#[derive(Debug)]
enum Stop {
    /// Something that is told in sentences.
    Failure(Box<Failure>),
    /// The stack file is wrong, which is shown in its text.
    Config(crate::config::ConfigErrors),
}

impl Stop {
    /// Tells why, and gives the exit code for it.
    fn show(&self, console: &Console) -> ExitCode {
        match self {
            Self::Failure(failure) => {
                console.failure(failure);
                failure.exit_code
            }
            Self::Config(errors) => {
                console.diagnostics(errors);
                ExitCode::Usage
            }
        }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(Box::new(failure))
    }
}

impl From<crate::config::ConfigErrors> for Stop {
    fn from(errors: crate::config::ConfigErrors) -> Self {
        Self::Config(errors)
    }
}

fn run(command: Command, settings: &Settings) -> Result<ExitCode, Stop> {
    match command {
        Command::Apply(args) if args.dry_run => asynchronous(plan::dry_run(settings, &args)),
        Command::Apply(args) => asynchronous(apply::run(settings, &args)),
        Command::Plan(args) => asynchronous(plan::run(settings, &args)),
        Command::Graph(args) => graph::run(settings, &args),
        Command::Why(args) => asynchronous(why::run(settings, &args)),
        Command::Logs(args) => asynchronous(logs::run(settings, &args)),
        Command::Diff(args) => asynchronous(diff::run(settings, &args)),
        Command::Status(args) => asynchronous(status::run(settings, &args)),
        Command::Destroy(args) => asynchronous(destroy::run(settings, &args)),
        Command::Gc(args) => asynchronous(gc::run(settings, &args)),
        Command::Validate => validate::run(settings),
        Command::Watch(args) => asynchronous(watch::run(settings, &args)),
        Command::Init(args) => init::run(settings, &args),
        Command::Schema => Ok(schema::run(settings)),
        Command::Completions(args) => Ok(shell::completions(settings, &args)),
        Command::Man(args) => shell::man(settings, &args),
    }
}

/// Runs a command that waits for others. The runtime is started only for those: it would be most of the time of the
/// commands that don't.
fn asynchronous(command: impl Future<Output = Result<ExitCode, Stop>>) -> Result<ExitCode, Stop> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(ExitCode::Missing, "the system refuses threads").with_source(error))?;
    let result = runtime.block_on(command);
    // What still runs in the background is of no use any more: reads that nobody waits for.
    runtime.shutdown_background();
    result
}

/// Sends what happens inside to stderr: with `STACK_LOG`, a filter such as `debug` or `stack::tools=trace`.
fn log(settings: &Settings) {
    let Some(filter) = settings.environment.get("STACK_LOG") else { return };
    let filter = tracing_subscriber::EnvFilter::try_new(&filter);
    let Ok(filter) = filter else {
        settings
            .console
            .warning("STACK_LOG is not understood; it takes filters such as `debug` or `stack::tools=trace`");
        return;
    };
    let color = settings.console.stderr_has_color();
    // Somebody else's subscriber is there first only in tests.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(color).try_init();
}

/// Whether the command's output is JSON, in which case everything for people goes to stderr.
fn is_json(command: &Command) -> bool {
    use args::{Format, GraphFormat};
    match command {
        Command::Apply(args) => args.format == Format::Json,
        Command::Plan(args) => args.format == Format::Json,
        Command::Graph(args) => args.format == GraphFormat::Json,
        Command::Why(args) => args.format == Format::Json,
        Command::Diff(args) => args.format == Format::Json,
        Command::Logs(args) => args.format == Format::Json,
        Command::Status(args) => args.format == Format::Json,
        Command::Destroy(args) => args.format == Format::Json,
        Command::Gc(args) => args.format == Format::Json,
        Command::Watch(args) => args.format == Format::Json,
        Command::Validate | Command::Init(_) | Command::Schema | Command::Completions(_) | Command::Man(_) => false,
    }
}

impl Settings {
    fn resolve(cli: &Cli) -> Self {
        let console = Console::new(cli.global.color, is_json(&cli.command));
        Self::new(&cli.global, console)
    }
}
