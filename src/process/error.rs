//! Why a command did not succeed.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::run::Output;
use crate::error::Class;

/// Why a command did not succeed. Every variant names the program; none holds arguments or environment.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The program is not there.
    #[error("`{program}` was not found")]
    NotFound {
        /// The program as given.
        program: String,
    },
    /// The folder to run it in is not there.
    #[error("`{program}` could not be started: the folder {} does not exist", cwd.display())]
    NoFolder {
        /// The program as given.
        program: String,
        /// The folder.
        cwd: PathBuf,
    },
    /// It is a script, and what is to run it is not there.
    #[error("`{program}` could not be started: its first line names `{}`, which is not there", interpreter.escape_debug())]
    NoInterpreter {
        /// The program as given.
        program: String,
        /// What its first line names.
        interpreter: String,
    },
    /// It is a file that nobody may execute.
    #[error("`{program}` could not be started: it is not executable")]
    NotExecutable {
        /// The program as given.
        program: String,
    },
    /// The system would not start it.
    #[error("`{program}` could not be started")]
    Spawn {
        /// The program as given.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ended with an exit code other than 0.
    #[error("`{program}` ended with exit code {code}")]
    Exit {
        /// The program as given.
        program: String,
        /// The exit code.
        code: i32,
        /// What it printed.
        output: Box<Output>,
    },
    /// A signal that `stack` did not send ended it.
    #[error("`{program}` was ended by signal {signal}{}", signal_name(*signal))]
    Signal {
        /// The program as given.
        program: String,
        /// The number of the signal.
        signal: i32,
        /// What it printed.
        output: Box<Output>,
    },
    /// It was stopped because the run was cancelled.
    #[error("`{program}` was stopped because the run was cancelled")]
    Cancelled {
        /// The program as given.
        program: String,
        /// What it printed until then.
        output: Box<Output>,
    },
    /// It took too long and was stopped.
    #[error("`{program}` did not finish within {}", seconds(*timeout))]
    TimedOut {
        /// The program as given.
        program: String,
        /// How long it was given.
        timeout: Duration,
        /// What it printed until then.
        output: Box<Output>,
    },
    /// It asked somebody at the terminal, and was stopped.
    #[error("`{program}` wants an answer from the terminal, and nobody can give it one there")]
    WantsTerminal {
        /// The program as given.
        program: String,
        /// What it printed until then.
        output: Box<Output>,
    },
    /// It printed more than the caller wants to hold, and was stopped.
    #[error("`{program}` printed more than {limit} bytes")]
    TooMuchOutput {
        /// The program as given.
        program: String,
        /// How much it was allowed to print.
        limit: usize,
    },
    /// Its pipes or its exit could not be read.
    #[error("lost touch with `{program}`")]
    Io {
        /// The program as given.
        program: String,
        /// What the system said.
        source: io::Error,
    },
}

impl ProcessError {
    /// The class, as far as it can be told without knowing the program: callers that know theirs may know better.
    pub fn class(&self) -> Class {
        match self {
            Self::NotFound { .. }
            | Self::NoInterpreter { .. }
            | Self::Spawn { .. }
            | Self::Signal { .. }
            | Self::TooMuchOutput { .. } => Class::Environment,
            Self::NoFolder { .. }
            | Self::NotExecutable { .. }
            | Self::Exit { .. }
            | Self::Cancelled { .. }
            | Self::WantsTerminal { .. } => Class::Input,
            Self::TimedOut { .. } => Class::Transient,
            Self::Io { .. } => Class::Internal,
        }
    }

    /// What to try, where something can be tried.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NotFound { program } => Some(if program.contains('/') {
                format!("check the path `{program}`")
            } else {
                format!("install `{program}`, or add the folder it is in to PATH")
            }),
            Self::NoInterpreter { program, interpreter } => Some(if interpreter.ends_with('\r') {
                format!("write `{program}` with the line ends of Unix: its lines end with CR LF")
            } else {
                format!("install `{interpreter}`, or correct the first line of `{program}`")
            }),
            Self::NotExecutable { program } => Some(format!("`chmod +x {program}`")),
            Self::Signal { signal: 9, .. } => {
                Some("`dmesg`: the system kills a process like this when memory runs out".to_owned())
            }
            Self::WantsTerminal { .. } => Some(
                "let it not ask: give what it asks for in its arguments, its environment or a file (`sudo -n`, `ssh -o BatchMode=yes` with a key)"
                    .to_owned(),
            ),
            Self::NoFolder { .. }
            | Self::Spawn { .. }
            | Self::Exit { .. }
            | Self::Signal { .. }
            | Self::Cancelled { .. }
            | Self::TimedOut { .. }
            | Self::TooMuchOutput { .. }
            | Self::Io { .. } => None,
        }
    }

    /// What it printed, if it was started.
    pub fn output(&self) -> Option<&Output> {
        match self {
            Self::Exit { output, .. }
            | Self::Signal { output, .. }
            | Self::Cancelled { output, .. }
            | Self::TimedOut { output, .. }
            | Self::WantsTerminal { output, .. } => Some(output),
            Self::NotFound { .. }
            | Self::NoFolder { .. }
            | Self::NoInterpreter { .. }
            | Self::NotExecutable { .. }
            | Self::Spawn { .. }
            | Self::TooMuchOutput { .. }
            | Self::Io { .. } => None,
        }
    }
}

/// The usual name of the signals that people meet, in brackets.
fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => " (HUP)",
        2 => " (INT)",
        6 => " (ABRT)",
        9 => " (KILL)",
        11 => " (SEGV)",
        13 => " (PIPE)",
        15 => " (TERM)",
        _ => "",
    }
}

fn seconds(time: Duration) -> String {
    if time.subsec_millis() == 0 { format!("{} s", time.as_secs()) } else { format!("{} ms", time.as_millis()) }
}
