//! A child that is spoken with through its standard input and output, such as a connection through another program.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::Child;

use super::command::Command;
use super::error::ProcessError;
use super::group::Group;

/// A running child with its two pipes. Dropping it kills its whole group.
#[derive(Debug)]
pub struct Piped {
    // The group goes first: until the leader is reaped, its number can't belong to anybody else.
    _group: Group,
    child: Child,
}

impl Piped {
    /// Starts `command`. What it says on its standard error is dropped.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn spawn(command: &Command) -> Result<Self, ProcessError> {
        let program = command.name();
        let spawned =
            command.to_tokio().stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn();
        let child = spawned.map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => ProcessError::NotFound { program: program.clone() },
            _ => ProcessError::Spawn { program: program.clone(), source },
        })?;
        let lost = || ProcessError::Io { program: program.clone(), source: std::io::ErrorKind::NotFound.into() };
        let group = child.id().and_then(Group::of).ok_or_else(lost)?;
        Ok(Self { _group: group, child })
    }

    /// Carries bytes both ways until either side ends.
    pub async fn join(mut self, stream: impl AsyncRead + AsyncWrite + Send) {
        let (Some(mut input), Some(mut output)) = (self.child.stdin.take(), self.child.stdout.take()) else { return };
        let (mut read, mut write) = tokio::io::split(stream);
        tokio::select! {
            _ = tokio::io::copy(&mut read, &mut input) => {}
            _ = tokio::io::copy(&mut output, &mut write) => {}
        }
    }
}
