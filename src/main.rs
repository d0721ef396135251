//! Parse, run, exit code: nothing else happens here.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Reading a stack file of ten thousand steps is a matter of a million small values.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    stack::cli::main()
}
