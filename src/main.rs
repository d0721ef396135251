//! Parse, run, exit code: nothing else happens here.

use std::process::ExitCode;

fn main() -> ExitCode {
    stack::cli::main()
}
