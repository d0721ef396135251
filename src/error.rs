//! What a failure means to the caller: its class, its exit code, its help.
//!
//! Rooms below define their own typed errors with `thiserror`; each maps itself to a [`Class`] where it is defined. The
//! only place that turns a class into an exit code is [`Failure::exit_code`].

use std::error::Error as StdError;
use std::fmt;

use serde::Serialize;

/// Why something failed, as far as the caller can do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The user's own input is wrong: the stack file, a Dockerfile that does not build, a chart that does not render.
    Input,
    /// Something the work needs is missing or broken: Docker, the cluster, `helm`, disk space.
    Environment,
    /// May well succeed when tried again: a reset connection, a timeout of a registry, a conflict.
    Transient,
    /// A mistake of `stack` itself.
    Internal,
}

/// The exit codes of the program. They are part of the contract with scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Everything asked for holds.
    Done = 0,
    /// A step failed.
    StepFailed = 1,
    /// The command line or the stack file is wrong.
    Usage = 2,
    /// Something that is needed is not there, or the result could not be written.
    Missing = 3,
    /// Another apply holds the lock.
    Locked = 4,
    /// `--exit-code`: there are changes pending.
    Pending = 5,
    /// Interrupted by a signal.
    Interrupted = 130,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

/// A failure that ends a command, ready to be shown: what happened and, where known, what to try.
#[derive(Debug)]
pub struct Failure {
    /// The exit code that scripts see.
    pub exit_code: ExitCode,
    /// What happened, in one sentence.
    pub message: String,
    /// More about it, in lines that are shown as they are.
    pub details: Option<String>,
    /// What to try.
    pub help: Option<String>,
    /// The cause, whose chain of sources is printed below the message.
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Failure {
    /// A failure without a cause of its own.
    pub fn new(exit_code: ExitCode, message: impl Into<String>) -> Self {
        Self { exit_code, message: message.into(), details: None, help: None, source: None }
    }

    /// Adds lines that are shown as they are.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }

    /// Adds what to try.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
