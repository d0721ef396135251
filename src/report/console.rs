//! The process's two output streams: colour decided once, a result that can't be written remembered, and nothing let out
//! that would command the terminal.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anstream::AutoStream;

use crate::tools::redact::tame;

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Where output goes. Clones are the same console.
#[derive(Debug, Clone)]
pub struct Console {
    stdout: anstream::ColorChoice,
    stderr: anstream::ColorChoice,
    json: bool,
    /// Why stdout could not be written for the first time.
    lost: Arc<OnceLock<io::Error>>,
    /// Every warning that is part of no run.
    warned: Arc<Mutex<Vec<String>>>,
}

impl Console {
    /// The console of this process. With `json`, everything for people goes to stderr.
    pub fn new(color: ColorChoice, json: bool) -> Self {
        let choice = match color {
            ColorChoice::Always => anstream::ColorChoice::AlwaysAnsi,
            ColorChoice::Never => anstream::ColorChoice::Never,
            ColorChoice::Auto => anstream::ColorChoice::Auto,
        };
        let resolve = |auto| match choice {
            anstream::ColorChoice::Auto => auto,
            fixed => fixed,
        };
        Self {
            stdout: resolve(AutoStream::choice(&std::io::stdout())),
            stderr: resolve(AutoStream::choice(&std::io::stderr())),
            json,
            lost: Arc::default(),
            warned: Arc::default(),
        }
    }

    /// Why not all of the result is on stdout. That nobody reads any more is no reason.
    pub fn lost(&self) -> Option<&io::Error> {
        self.lost.get().filter(|error| error.kind() != io::ErrorKind::BrokenPipe)
    }

    /// Every warning so far that is part of no run.
    pub fn warned(&self) -> Vec<String> {
        self.warned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers a warning.
    pub(super) fn note_warning(&self, message: &str) {
        self.warned.lock().unwrap_or_else(PoisonError::into_inner).push(message.to_owned());
    }

    /// Whether stdout carries JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether lines can be redrawn: everything that a person sees goes to a terminal that can move its cursor.
    pub fn is_interactive(&self) -> bool {
        let capable = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        capable && !self.json && std::io::stdout().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Whether stderr gets colour.
    pub fn stderr_has_color(&self) -> bool {
        self.stderr != anstream::ColorChoice::Never
    }

    /// Writes one line for people: to stdout, or to stderr where stdout carries JSON.
    pub fn line(&self, line: impl fmt::Display) {
        if self.json {
            self.error_line(line);
        } else {
            self.result_line(line);
        }
    }

    /// Writes one line of the command's result to stdout.
    pub fn result_line(&self, line: impl fmt::Display) {
        self.result(&format!("{line}\n"));
    }

    /// Writes whole lines for people at once: to stdout, or to stderr where stdout carries JSON.
    pub fn text(&self, text: &str) {
        if !self.json {
            self.result(text);
            return;
        }
        self.to_stderr(text);
    }

    /// Empties the screen, for a view that is drawn again.
    pub fn clear(&self) {
        self.to_stdout("\x1b[H\x1b[2J\x1b[3J");
    }

    /// Writes text that ends itself to stdout. False when it can't be written, which ends commands that would go on for ever;
    /// others need not look, since the program does in the end: see [`Console::lost`].
    pub fn result(&self, text: &str) -> bool {
        self.to_stdout(&tame(text))
    }

    fn to_stdout(&self, text: &str) -> bool {
        let mut stream = AutoStream::new(std::io::stdout().lock(), self.stdout);
        let written = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
        written.map_err(|error| self.lost.set(error)).is_ok()
    }

    /// Failures are given up in silence: there is nobody left to tell.
    fn to_stderr(&self, text: &str) {
        let mut stream = AutoStream::new(std::io::stderr().lock(), self.stderr);
        let _ = stream.write_all(tame(text).as_bytes()).and_then(|()| stream.flush());
    }

    /// Writes a question to stderr, and leaves the cursor behind it.
    pub fn prompt(&self, question: &str) {
        self.to_stderr(question);
    }

    /// Writes one line to stderr.
    pub fn error_line(&self, line: impl fmt::Display) {
        self.to_stderr(&format!("{line}\n"));
    }
}
