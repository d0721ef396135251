//! Commands in a container, by the engine's own API: bytes are whole, stderr is separate, and exit codes are true.
//!
//! The command has no terminal. Dropping the future closes its standard input and its output; the engine itself ends a
//! command only when the container ends.

use std::collections::HashMap;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use bollard::container::LogOutput;
use bollard::exec::StartExecResults;
use bollard::models::ExecConfig;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::engine::Engine;
use super::error::DockerError;
use crate::process::{Output, ProcessError};

/// The largest part of a command's standard output, in bytes, that is kept.
const STDOUT_LIMIT: usize = 16 << 20;
/// The last part of a command's standard error, in bytes, that is kept.
const STDERR_KEPT: usize = 64 << 10;
/// The engine closes the streams of a command a moment before it knows the exit code. It gets this long.
const EXIT_CODE_WITHIN: Duration = Duration::from_secs(10);
/// The pause between two questions for the exit code.
const EXIT_CODE_POLL: Duration = Duration::from_millis(5);

/// Why a command on a node gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The command ended badly, or could not be run.
    #[error(transparent)]
    Ended(#[from] ProcessError),
    /// The engine that runs the node refused, or could not be reached.
    #[error(transparent)]
    Engine(#[from] DockerError),
}

/// A container that runs, as far as it matters to find a node among the containers of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningContainer {
    /// Its full id.
    pub id: String,
    /// Its addresses in all of its networks.
    pub addresses: Vec<String>,
    /// Its labels.
    pub labels: HashMap<String, String>,
}

/// The two streams of a command in a container.
pub struct ExecStreams {
    id: String,
    output: std::pin::Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>,
    input: std::pin::Pin<Box<dyn AsyncWrite + Send>>,
}

impl Engine {
    /// A container by its name, if it runs.
    ///
    /// # Errors
    /// When the engine can't be asked.
    pub async fn running_container(&self, name: &str) -> Result<Option<RunningContainer>, DockerError> {
        let found = match self.docker().inspect_container(name, None).await {
            Ok(found) => found,
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(None),
            Err(error) => return Err(self.error(&format!("inspect the container `{name}`"), error)),
        };
        if found.state.and_then(|state| state.running) != Some(true) {
            return Ok(None);
        }
        let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let addresses = networks.into_values().flat_map(|network| [network.ip_address, network.global_ipv6_address]);
        let addresses = addresses.flatten().filter(|address| !address.is_empty()).collect();
        let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
        Ok(Some(RunningContainer { id: found.id.unwrap_or_default(), addresses, labels }))
    }

    /// Runs a command in a container, without input, and gives all that it printed.
    ///
    /// # Errors
    /// Anything but exit code 0 within `limit`.
    pub async fn exec(&self, container: &str, words: &[&str], limit: Duration) -> Result<Output, ExecError> {
        let running = async {
            let mut streams = self.exec_start(container, words, false).await?;
            let printed = streams.read(words).await?;
            self.exec_end(&streams.id, words, printed).await
        };
        match timeout(limit, running).await {
            Ok(ended) => ended,
            Err(_) => {
                let output = Box::new(Printed::default().with_status(None));
                Err(ProcessError::TimedOut { program: program(words), timeout: limit, output }.into())
            }
        }
    }

    /// Runs a command in a container with `input` as its standard input, and gives what it printed.
    ///
    /// An input that fails is cut off there: the command has to notice, and the caller has to look at the input.
    ///
    /// # Errors
    /// Anything but exit code 0.
    pub async fn exec_with_input(
        &self,
        container: &str,
        words: &[&str],
        input: impl Stream<Item = std::io::Result<Bytes>> + Send,
    ) -> Result<Output, ExecError> {
        let mut streams = self.exec_start(container, words, true).await?;
        let mut sink = std::mem::replace(&mut streams.input, Box::pin(tokio::io::sink()));
        let feeding = async move {
            tokio::pin!(input);
            while let Some(Ok(piece)) = input.next().await {
                // The command may have enough before the input ends: its exit code tells whether that was right.
                if sink.write_all(&piece).await.is_err() {
                    return;
                }
            }
            let _ = sink.shutdown().await;
            // The connection stays open until the command has ended.
            std::future::pending::<()>().await;
        };
        let printed = {
            let reading = streams.read(words);
            tokio::pin!(reading, feeding);
            let mut fed = false;
            loop {
                tokio::select! {
                    printed = &mut reading => break printed,
                    () = &mut feeding, if !fed => fed = true,
                }
            }
        }?;
        self.exec_end(&streams.id, words, printed).await
    }

    /// Starts a command that is spoken with through both of its streams.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn exec_start(
        &self,
        container: &str,
        words: &[&str],
        with_input: bool,
    ) -> Result<ExecStreams, DockerError> {
        let refused = |error| self.error(&format!("run `{}` in the container `{container}`", program(words)), error);
        let config = ExecConfig {
            attach_stdin: Some(with_input),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(false),
            cmd: Some(words.iter().map(|&word| word.to_owned()).collect()),
            ..Default::default()
        };
        let id = self.docker().create_exec(container, config).await.map_err(refused)?.id;
        match self.docker().start_exec(&id, None).await.map_err(refused)? {
            StartExecResults::Attached { output, input } => Ok(ExecStreams { id, output, input }),
            StartExecResults::Detached => Err(DockerError::Unexpected {
                place: self.endpoint().to_string(),
                reason: "a command that was to be attached is detached".to_owned(),
            }),
        }
    }

    /// The end of a command whose streams are closed.
    async fn exec_end(&self, id: &str, words: &[&str], printed: Printed) -> Result<Output, ExecError> {
        let closed = Instant::now();
        let code = loop {
            let state = self.docker().inspect_exec(id).await;
            let state = state.map_err(|error| self.error("tell how a command ended", error))?;
            match (state.running, state.exit_code) {
                (Some(true), _) | (_, None) if closed.elapsed() < EXIT_CODE_WITHIN => sleep(EXIT_CODE_POLL).await,
                (_, code) => break code,
            }
        };
        let status = code.map(|code| ExitStatus::from_raw((code as i32 & 0xff) << 8));
        let output = printed.with_status(status);
        match code {
            Some(0) => Ok(output),
            Some(code) => {
                let code = i32::try_from(code).unwrap_or(i32::MAX);
                Err(ProcessError::Exit { program: program(words), code, output: Box::new(output) }.into())
            }
            None => {
                let lost = std::io::Error::other("the engine does not tell its exit code");
                Err(ProcessError::Io { program: program(words), source: lost }.into())
            }
        }
    }
}

fn program(words: &[&str]) -> String {
    words.first().copied().unwrap_or_default().to_owned()
}

/// What a command printed.
#[derive(Debug, Default)]
struct Printed {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    stderr_dropped: u64,
}

impl Printed {
    fn with_status(self, status: Option<ExitStatus>) -> Output {
        let Self { stdout, stderr, stderr_dropped } = self;
        Output { status, stdout, stdout_dropped: 0, stderr, stderr_dropped }
    }
}

impl ExecStreams {
    /// Reads both streams to their end.
    async fn read(&mut self, words: &[&str]) -> Result<Printed, ExecError> {
        let mut printed = Printed::default();
        while let Some(piece) = self.output.next().await {
            let piece = piece
                .map_err(|error| ProcessError::Io { program: program(words), source: std::io::Error::other(error) })?;
            match piece {
                LogOutput::StdErr { message } => {
                    printed.stderr.extend_from_slice(&message);
                    let over = printed.stderr.len().saturating_sub(STDERR_KEPT);
                    printed.stderr.drain(..over);
                    printed.stderr_dropped += over as u64;
                }
                LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
                    if printed.stdout.len() + message.len() > STDOUT_LIMIT {
                        return Err(ProcessError::TooMuchOutput { program: program(words), limit: STDOUT_LIMIT }.into());
                    }
                    printed.stdout.extend_from_slice(&message);
                }
            }
        }
        Ok(printed)
    }

    /// Carries bytes both ways between the command and `stream` until either side ends. Standard error is dropped.
    pub async fn join(self, stream: impl AsyncRead + AsyncWrite + Send) {
        let Self { mut output, mut input, .. } = self;
        let (mut read, mut write) = tokio::io::split(stream);
        let answers = async {
            while let Some(Ok(piece)) = output.next().await {
                if let LogOutput::StdOut { message } | LogOutput::Console { message } = piece
                    && write.write_all(&message).await.is_err()
                {
                    return;
                }
            }
        };
        tokio::select! {
            _ = tokio::io::copy(&mut read, &mut input) => {}
            () = answers => {}
        }
    }
}

impl std::fmt::Debug for ExecStreams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ExecStreams({})", self.id)
    }
}
