//! What to spawn.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;

use crate::event::Room;

/// How long a child may take to stop after TERM before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// How many of the last bytes of each stream a run keeps.
const KEEP: usize = 64 * 1024;

/// What the first request to stop does to the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnTerminate {
    /// TERM to its group at once, KILL after the grace.
    #[default]
    Signal,
    /// It may finish within the grace; then TERM, and KILL soon after. For work that is worse half done.
    LetFinish,
}

/// A command by argv. Nothing goes through a shell, unless the command is a shell: see [`Command::shell`].
#[derive(Clone)]
pub struct Command {
    pub(super) program: OsString,
    pub(super) args: Vec<OsString>,
    pub(super) cwd: Option<PathBuf>,
    pub(super) env_clear: bool,
    /// `None` removes the variable.
    pub(super) env: Vec<(OsString, Option<OsString>)>,
    pub(super) stdin: Option<Bytes>,
    pub(super) on_terminate: OnTerminate,
    pub(super) grace: Duration,
    pub(super) keep: usize,
    pub(super) room: Option<Room>,
}

impl Command {
    /// The command `program`, found on `PATH` unless it holds a slash.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            cwd: None,
            env_clear: false,
            env: Vec::new(),
            stdin: None,
            on_terminate: OnTerminate::default(),
            grace: GRACE,
            keep: KEEP,
            room: None,
        }
    }

    /// `line` as `sh` understands it.
    pub fn shell(line: impl Into<OsString>) -> Self {
        Self::new("sh").arg("-c").arg(line)
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Runs it in `cwd`. A relative program with a slash is looked up from there.
    #[must_use]
    pub fn cwd(mut self, cwd: impl Into<PathBuf>) -> Self {
        self.cwd = Some(cwd.into());
        self
    }

    /// Sets an environment variable. Values are never shown in errors or in `Debug`.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), Some(value.into())));
        self
    }

    /// Removes an environment variable.
    #[must_use]
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.env.push((name.into(), None));
        self
    }

    /// Starts from an empty environment instead of the one of `stack`.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.env_clear = true;
        self
    }

    /// Feeds `bytes` to its standard input, which is the null device otherwise.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Bytes>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// What the first request to stop does.
    #[must_use]
    pub fn on_terminate(mut self, on_terminate: OnTerminate) -> Self {
        self.on_terminate = on_terminate;
        self
    }

    /// How long it may take to stop before it is killed; 10 s unless told.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How many of the last bytes of each stream [`run`](super::run()) keeps; 64 KiB unless told.
    #[must_use]
    pub fn keep(mut self, bytes: usize) -> Self {
        self.keep = bytes;
        self
    }

    /// Reads what it prints only while there is room for it, so that it waits for whoever is told of its lines. Once it is
    /// asked to stop, or has ended, the rest is read in any case.
    #[must_use]
    pub fn room(mut self, room: Room) -> Self {
        self.room = Some(room);
        self
    }

    /// The program as given.
    pub fn program(&self) -> &OsStr {
        &self.program
    }

    /// The program as it is named to people.
    pub(super) fn name(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    /// The folder it runs in, if one was given.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.cwd.as_deref()
    }

    /// The program's file, if it was given by a path.
    pub(super) fn file(&self) -> Option<PathBuf> {
        let path = Path::new(&self.program);
        let is_path = path.components().nth(1).is_some() || path.has_root();
        is_path.then(|| self.cwd.as_deref().unwrap_or(Path::new("")).join(path))
    }

    /// The form that tokio spawns: piped output, a process group of its own, the leader killed when dropped.
    pub(super) fn to_tokio(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.args);
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        if self.env_clear {
            command.env_clear();
        }
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
            .stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

/// Arguments may be shown, the environment and the input may not: that is where secrets travel.
impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("cwd", &self.cwd)
            .finish_non_exhaustive()
    }
}
