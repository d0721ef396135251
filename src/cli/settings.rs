//! The options that every command takes, with defaults and environment applied. Resolved once, then only read.

use std::path::PathBuf;

use super::args::Global;
use crate::report::Console;
use crate::step::Environment;

/// What every command works with.
#[derive(Debug)]
pub(super) struct Settings {
    /// The stack file that was named on the command line.
    pub(super) file: Option<PathBuf>,
    /// The one that `STACK_FILE` names.
    pub(super) file_variable: Option<PathBuf>,
    /// The profiles to merge, in order.
    pub(super) profiles: Vec<String>,
    /// Variables given as `NAME=VALUE`.
    pub(super) vars: Vec<String>,
    /// Show every line that tools print.
    pub(super) verbose: bool,
    /// Where output goes.
    pub(super) console: Console,
    /// The environment of the process.
    pub(super) environment: Environment,
}

impl Settings {
    pub(super) fn new(global: &Global, console: Console) -> Self {
        let environment = Environment::of_process();
        Self {
            file: global.file.clone(),
            file_variable: environment.get_os("STACK_FILE").map(PathBuf::from),
            profiles: global.profiles.clone(),
            vars: global.vars.clone(),
            verbose: global.verbose,
            console,
            environment,
        }
    }
}
