//! `stack completions` and `stack man`: what shells and manuals want to know of the command line.

use clap::CommandFactory;
use clap_mangen::Man;

use super::Stop;
use super::args::{Cli, Completions, Man as Args};
use super::settings::Settings;
use crate::error::{ExitCode, Failure};

/// Prints the completions for a shell.
pub(super) fn completions(settings: &Settings, args: &Completions) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "stack", &mut script);
    settings.console.result(&String::from_utf8_lossy(&script));
    ExitCode::Done
}

/// Prints the manual page of the program, or of one of its commands.
pub(super) fn man(settings: &Settings, args: &Args) -> Result<ExitCode, Stop> {
    let mut program = Cli::command();
    // Makes the commands know the options that all of them take.
    program.build();
    let command = match &args.command {
        None => program,
        Some(name) => {
            let known: Vec<_> = program.get_subcommands().map(|command| command.get_name().to_owned()).collect();
            let Some(command) = program.find_subcommand(name) else {
                let failure = Failure::new(ExitCode::Usage, format!("there is no command `{name}`"));
                return Err(failure.with_help(format!("the commands are {}", known.join(", "))).into());
            };
            // Pages of commands are called `stack-apply`, as those of git are.
            command.clone().name(format!("stack-{name}")).display_name(format!("stack-{name}"))
        }
    };
    let mut page = Vec::new();
    // Writing to memory does not fail.
    let _ = Man::new(command).render(&mut page);
    settings.console.result(&String::from_utf8_lossy(&page));
    Ok(ExitCode::Done)
}
