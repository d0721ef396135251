//! What the user asked for: clap arguments, resolved once into settings; one file for each command.

use std::process::ExitCode;

/// The whole program: parses the process's arguments, runs the command, and says how it ended.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
