//! From a command to its end.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until};

use super::cancel::{Cancel, CancelLevel};
use super::command::{Command, OnTerminate};
use super::error::ProcessError;
use super::group::Group;
use super::lines::{Lines, Tail};
use crate::event::{Room, Stream};

/// How long a child that was allowed to finish has between TERM and KILL, once its grace is over.
const LAST_GRACE: Duration = Duration::from_secs(2);

/// How long pipes are still read after the exit, when something the child left behind holds them open.
const DRAIN: Duration = Duration::from_millis(500);

/// How often the end of what a child left behind, and that was asked to end, is looked for.
const POLL: Duration = Duration::from_millis(20);

/// How often it is asked whether a child has been stopped for wanting the terminal.
const LOOK: Duration = Duration::from_millis(500);

/// How long the end of a killed child is waited for: one that hangs in the kernel must not hang the run.
const REAP: Duration = Duration::from_secs(5);

/// How a command that ran to its end ended, and the last part of what it printed.
#[derive(Debug)]
pub struct Output {
    /// Its exit status; `None` if it could not be reaped in time after KILL.
    pub status: Option<ExitStatus>,
    /// The last bytes of its standard output.
    pub stdout: Vec<u8>,
    /// How many bytes of its standard output came before those.
    pub stdout_dropped: u64,
    /// The last bytes of its standard error.
    pub stderr: Vec<u8>,
    /// How many bytes of its standard error came before those.
    pub stderr_dropped: u64,
}

impl Output {
    /// The kept standard output as text.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The kept standard error as text.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// Runs `command` to its end, handing on each line it prints.
///
/// When `cancel` rises to [`CancelLevel::Terminate`] the whole group, and what descends from it, gets TERM, and after the
/// grace KILL; at [`CancelLevel::Kill`] it gets KILL at once. What a child leaves running after it succeeded goes on (some
/// tools start a daemon), but nobody reads its output any more; it does not delay the end by holding a pipe. What it leaves
/// running in its group after it failed is ended in the same way as a child that is cancelled, so that nothing of it is in
/// the way of another attempt. A child that asks somebody at the terminal is ended, since it would wait for ever: nobody can
/// answer several children at once. Dropping the future kills the group.
///
/// # Errors
/// Anything but an exit with code 0.
pub async fn run(
    command: &Command,
    cancel: &Cancel,
    on_line: impl FnMut(Stream, &str) + Send,
) -> Result<Output, ProcessError> {
    let limits = Limits { timeout: None, stdout: None };
    drive(command, cancel, limits, None::<stream::Empty<_>>, on_line).await
}

/// Runs `command` to its end with `input` as its standard input. See [`run`] for how it ends.
///
/// An input that fails is cut off there: what reads it has to notice, and the caller has to look at the input.
///
/// # Errors
/// Anything but an exit with code 0.
pub async fn pipe(
    command: &Command,
    input: impl futures::Stream<Item = io::Result<Bytes>> + Send,
    cancel: &Cancel,
) -> Result<Output, ProcessError> {
    let limits = Limits { timeout: None, stdout: None };
    drive(command, cancel, limits, Some(input), |_, _| {}).await
}

/// What [`capture`] allows.
#[derive(Debug, Clone, Copy)]
pub struct Capture {
    /// The most bytes of standard output that are acceptable.
    pub limit: usize,
    /// The longest time it may take.
    pub timeout: Duration,
}

impl Default for Capture {
    /// 16 MiB within 60 s.
    fn default() -> Self {
        Self { limit: 16 << 20, timeout: Duration::from_secs(60) }
    }
}

/// Runs `command` to its end and returns all of its standard output. See [`run`] for how it ends.
///
/// # Errors
/// Anything but an exit with code 0 within the time and with no more output than allowed.
pub async fn capture(command: &Command, cancel: &Cancel, capture: Capture) -> Result<Output, ProcessError> {
    let limits = Limits { timeout: Some(capture.timeout), stdout: Some(capture.limit) };
    drive(command, cancel, limits, None::<stream::Empty<_>>, |_, _| {}).await
}

struct Limits {
    timeout: Option<Duration>,
    /// All of standard output is kept, and no more than this is acceptable.
    stdout: Option<usize>,
}

/// Why `stack` ended a child that had not ended by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stopped {
    Cancelled,
    TimedOut,
    TooMuchOutput,
    WantsTerminal,
}

/// How far stopping has got.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Running,
    /// Asked to stop; it may finish until the timer fires.
    Finishing,
    /// TERM was sent; KILL follows when the timer fires.
    Terminating,
    /// KILL was sent.
    Killed,
}

async fn drive(
    command: &Command,
    cancel: &Cancel,
    limits: Limits,
    input: Option<impl futures::Stream<Item = io::Result<Bytes>> + Send>,
    mut on_line: impl FnMut(Stream, &str) + Send,
) -> Result<Output, ProcessError> {
    let lost = |source| ProcessError::Io { program: command.name(), source };
    if cancel.is_raised() {
        return Err(stopped_error(command, &limits, Stopped::Cancelled, Output::nothing()));
    }

    // The group is declared after the child so that, when this future is dropped, it is killed before the leader is
    // reaped: until then the number cannot belong to anybody else.
    let mut spawned = command.to_tokio();
    if input.is_some() {
        spawned.stdin(Stdio::piped());
    }
    let mut child = spawned.spawn().map_err(|error| spawn_error(command, error))?;
    let mut group = child.id().and_then(Group::of).ok_or_else(|| lost(io::ErrorKind::NotFound.into()))?;
    let mut feed = pin!(feed(child.stdin.take(), command.stdin.clone(), input));
    let mut stdout =
        Pipe::new(child.stdout.take(), limits.stdout.map_or(command.keep, |limit| limit.saturating_add(1)));
    let mut stderr = Pipe::new(child.stderr.take(), command.keep);

    let mut looks = interval_at(Instant::now() + LOOK, LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);

    let mut fed = false;
    let mut status: Option<ExitStatus> = None;
    let mut stage = Stage::Running;
    let mut stopped: Option<Stopped> = None;
    let mut level = CancelLevel::None;
    // Whether only what the pipes still hold is waited for: nothing of the command is at work any more.
    let mut draining = false;
    // One timer serves the time-out, then the grace, then the last grace, then the reaping, or the draining.
    let mut timer = limits.timeout.map(|timeout| Instant::now() + timeout);

    while !(draining && stdout.is_closed() && stderr.is_closed()) {
        let running = stage == Stage::Running && status.is_none();
        // What was asked to stop shall not be kept from it by a full pipe.
        let reading = !running || command.room.as_ref().is_none_or(Room::is_there);
        // Not biased: a child that never stops printing must not hide its own end, or its other stream.
        tokio::select! {
            raised = cancel.raised(next(level)), if level < CancelLevel::Kill && !draining => {
                if status.is_none() && stage < Stage::Terminating && has_ended(&mut child) {
                    // Heard of together: what has ended by itself counts. The request is heard again.
                    status = Some(child.wait().await.map_err(lost)?);
                    draining = exited(status, &mut stage, &mut group, command.grace, &mut timer);
                    continue;
                }
                level = raised;
                if stage == Stage::Killed {
                    continue;
                }
                // A leader that has ended by itself is not ended by this; what is left of its group is.
                if status.is_none() {
                    stopped.get_or_insert(Stopped::Cancelled);
                }
                let after = if raised == CancelLevel::Kill {
                    Stage::Killed
                } else if stage > Stage::Running {
                    continue;
                } else if command.on_terminate == OnTerminate::LetFinish {
                    Stage::Finishing
                } else {
                    Stage::Terminating
                };
                timer = enter(after, &mut stage, &mut group, command.grace);
            }
            () = wait_until(timer), if timer.is_some() => match stage {
                _ if draining => break,
                Stage::Running | Stage::Finishing if status.is_none() && has_ended(&mut child) => {
                    status = Some(child.wait().await.map_err(lost)?);
                    draining = exited(status, &mut stage, &mut group, command.grace, &mut timer);
                }
                Stage::Running => {
                    stopped = Some(Stopped::TimedOut);
                    timer = enter(Stage::Terminating, &mut stage, &mut group, command.grace.min(LAST_GRACE));
                }
                Stage::Finishing => timer = enter(Stage::Terminating, &mut stage, &mut group, LAST_GRACE),
                Stage::Terminating => timer = enter(Stage::Killed, &mut stage, &mut group, REAP),
                Stage::Killed => break,
            },
            read = stdout.read(), if reading && !stdout.is_closed() => {
                read.map_err(lost)?;
                stdout.lines(|line| on_line(Stream::Stdout, line));
                if stopped.is_none() && limits.stdout.is_some_and(|limit| stdout.tail.seen() > limit as u64) {
                    stopped = Some(Stopped::TooMuchOutput);
                    timer = enter(Stage::Killed, &mut stage, &mut group, REAP);
                }
            }
            read = stderr.read(), if reading && !stderr.is_closed() => {
                read.map_err(lost)?;
                stderr.lines(|line| on_line(Stream::Stderr, line));
            }
            () = room(command), if !reading => {}
            ended = child.wait(), if status.is_none() => {
                status = Some(ended.map_err(lost)?);
                draining = exited(status, &mut stage, &mut group, command.grace, &mut timer);
            }
            _ = looks.tick(), if running => {
                if group.wants_terminal() {
                    stopped = Some(Stopped::WantsTerminal);
                    timer = enter(Stage::Terminating, &mut stage, &mut group, command.grace.min(LAST_GRACE));
                }
            }
            () = sleep(POLL), if status.is_some() && !draining => {
                if !group.is_alive() {
                    draining = true;
                    timer = Some(Instant::now() + DRAIN);
                }
            }
            () = &mut feed, if !fed => fed = true,
        }
    }

    let signalled = stage >= Stage::Terminating;
    if !signalled && status.is_some() {
        group.release();
        // Its end waits as its lines would have, so that many short commands do not print more than there is room for.
        tokio::select! {
            () = room(command) => {}
            _ = cancel.raised(CancelLevel::Terminate) => {}
        }
    }
    reap(&mut child, &mut status).await;
    stdout.finish(|line| on_line(Stream::Stdout, line));
    stderr.finish(|line| on_line(Stream::Stderr, line));
    let output = output(status, stdout, stderr);
    match stopped {
        // It was asked to stop but ended by itself first: what it did is what counts.
        Some(why) if signalled => Err(stopped_error(command, &limits, why, output)),
        _ => ended(command, output),
    }
}

/// Whether the leader has ended, be it that nobody has been told yet.
fn has_ended(child: &mut Child) -> bool {
    child.try_wait().is_ok_and(|status| status.is_some())
}

/// The leader has ended. Returns whether only what the pipes still hold is waited for.
fn exited(
    status: Option<ExitStatus>,
    stage: &mut Stage,
    group: &mut Group,
    grace: Duration,
    timer: &mut Option<Instant>,
) -> bool {
    let was_asked = *stage >= Stage::Terminating;
    if (status.is_some_and(|status| status.success()) && !was_asked) || !group.is_alive() {
        *timer = Some(Instant::now() + DRAIN);
        return true;
    }
    if !was_asked {
        // It failed, and what it started would be in the way of another attempt.
        *timer = enter(Stage::Terminating, stage, group, grace);
    }
    // Otherwise members of the group may still be at work on their orderly end: their grace goes on.
    false
}

/// Makes `stage` the next one, does what belongs to it, and returns when it is over.
fn enter(next: Stage, stage: &mut Stage, group: &mut Group, time: Duration) -> Option<Instant> {
    *stage = next;
    match next {
        Stage::Running => return None,
        Stage::Finishing => {}
        Stage::Terminating => group.terminate(),
        Stage::Killed => {
            group.kill();
            return Some(Instant::now() + REAP);
        }
    }
    Some(Instant::now() + time)
}

/// Waits for room to read on.
async fn room(command: &Command) {
    if let Some(room) = &command.room {
        room.made().await;
    }
}

/// Takes the exit status of a child that was killed and has not been waited for yet.
async fn reap(child: &mut Child, status: &mut Option<ExitStatus>) {
    if status.is_none() {
        *status = child.try_wait().ok().flatten();
    }
}

fn next(level: CancelLevel) -> CancelLevel {
    match level {
        CancelLevel::None => CancelLevel::Terminate,
        CancelLevel::Terminate | CancelLevel::Kill => CancelLevel::Kill,
    }
}

async fn wait_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Writes the input, and closes the pipe. A child may end without reading it: that is no error.
async fn feed(
    stdin: Option<ChildStdin>,
    bytes: Option<Bytes>,
    input: Option<impl futures::Stream<Item = io::Result<Bytes>> + Send>,
) {
    let Some(mut stdin) = stdin else { return };
    let written = async {
        if let Some(bytes) = bytes {
            stdin.write_all(&bytes).await?;
        }
        if let Some(input) = input {
            let mut input = pin!(input);
            while let Some(piece) = input.next().await {
                stdin.write_all(&piece?).await?;
            }
        }
        Ok::<_, io::Error>(())
    };
    if let Err(error) = written.await {
        tracing::trace!(%error, "the child did not get all of its input");
    }
}

/// A pipe that the child writes to: `None` once it is closed.
struct Pipe<R> {
    reader: Option<R>,
    buffer: Vec<u8>,
    lines: Lines,
    tail: Tail,
}

impl<R: AsyncRead + Unpin> Pipe<R> {
    fn new(reader: Option<R>, keep: usize) -> Self {
        Self { reader, buffer: Vec::new(), lines: Lines::default(), tail: Tail::new(keep) }
    }

    fn is_closed(&self) -> bool {
        self.reader.is_none()
    }

    /// Reads what there is into the buffer. Dropping it loses nothing.
    async fn read(&mut self) -> io::Result<()> {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        self.buffer.clear();
        self.buffer.reserve(8 * 1024);
        if reader.read_buf(&mut self.buffer).await? == 0 {
            self.reader = None;
        }
        Ok(())
    }

    /// Hands on the lines in the buffer.
    fn lines(&mut self, mut on_line: impl FnMut(&str)) {
        self.tail.push(&self.buffer);
        self.lines.push(&self.buffer, &mut on_line);
    }

    fn finish(&mut self, mut on_line: impl FnMut(&str)) {
        self.lines.finish(&mut on_line);
    }
}

fn output<A, B>(status: Option<ExitStatus>, stdout: Pipe<A>, stderr: Pipe<B>) -> Output {
    let (stdout, stdout_dropped) = stdout.tail.into_parts();
    let (stderr, stderr_dropped) = stderr.tail.into_parts();
    Output { status, stdout, stdout_dropped, stderr, stderr_dropped }
}

impl Output {
    fn nothing() -> Self {
        Self { status: None, stdout: Vec::new(), stdout_dropped: 0, stderr: Vec::new(), stderr_dropped: 0 }
    }
}

fn ended(command: &Command, output: Output) -> Result<Output, ProcessError> {
    let program = command.name();
    let Some(status) = output.status else {
        return Err(ProcessError::Io { program, source: io::ErrorKind::TimedOut.into() });
    };
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(output),
        (Some(code), _) => Err(ProcessError::Exit { program, code, output: Box::new(output) }),
        (None, signal) => {
            Err(ProcessError::Signal { program, signal: signal.unwrap_or_default(), output: Box::new(output) })
        }
    }
}

fn stopped_error(command: &Command, limits: &Limits, why: Stopped, output: Output) -> ProcessError {
    let (program, output) = (command.name(), Box::new(output));
    match why {
        Stopped::Cancelled => ProcessError::Cancelled { program, output },
        Stopped::TimedOut => ProcessError::TimedOut { program, timeout: limits.timeout.unwrap_or_default(), output },
        Stopped::WantsTerminal => ProcessError::WantsTerminal { program, output },
        Stopped::TooMuchOutput => ProcessError::TooMuchOutput { program, limit: limits.stdout.unwrap_or_default() },
    }
}

/// What the first line of a script names that was given by its path.
fn interpreter(command: &Command) -> Option<String> {
    let mut start = Vec::new();
    File::open(command.file()?).ok()?.take(256).read_to_end(&mut start).ok()?;
    let start = String::from_utf8_lossy(&start).into_owned();
    let named = start.strip_prefix("#!")?.trim_start_matches([' ', '\t']);
    named.split([' ', '\t', '\n']).next().map(str::to_owned)
}

/// Whether it was given by the path of a file that nobody may execute.
fn is_plain(command: &Command) -> bool {
    let about = command.file().and_then(|file| file.metadata().ok());
    about.is_some_and(|about| about.is_file() && about.permissions().mode() & 0o111 == 0)
}

fn spawn_error(command: &Command, source: io::Error) -> ProcessError {
    let program = command.name();
    match (source.kind(), command.folder()) {
        // The system says the same of a missing program and of a missing folder.
        (io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, Some(cwd)) if !cwd.is_dir() => {
            ProcessError::NoFolder { program, cwd: cwd.to_owned() }
        }
        // Nor does it tell a missing program from a script whose interpreter is missing.
        (io::ErrorKind::NotFound, _) => match interpreter(command) {
            Some(interpreter) => ProcessError::NoInterpreter { program, interpreter },
            None => ProcessError::NotFound { program },
        },
        (io::ErrorKind::PermissionDenied, _) if is_plain(command) => ProcessError::NotExecutable { program },
        _ => ProcessError::Spawn { program, source },
    }
}
