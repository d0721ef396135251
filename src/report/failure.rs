//! How a failed command tells what happened.

use std::error::Error;
use std::fmt::Write;

use super::{Console, Palette};
use crate::error::Failure;

impl Console {
    /// Shows a failure that ends the command: the message, its causes, and what to try.
    pub fn failure(&self, failure: &Failure) {
        self.error_line(render(failure));
    }

    /// Shows diagnostics that point into the stack file.
    pub fn diagnostics(&self, diagnostic: &dyn miette::Diagnostic) {
        let theme = if self.stderr_has_color() {
            miette::GraphicalTheme::unicode()
        } else {
            miette::GraphicalTheme::unicode_nocolor()
        };
        let handler = miette::GraphicalReportHandler::new_themed(theme).with_links(false).with_width(width());
        let mut text = String::new();
        // Writing to a string can't fail.
        let _ = handler.render_report(&mut text, diagnostic);
        self.error_line(text.trim_end());
    }

    /// Shows something to know that is no failure.
    pub fn warning(&self, message: &str) {
        self.note_warning(message);
        let warn = Palette::WARN;
        self.error_line(format_args!("{warn}warning{warn:#}: {message}"));
    }
}

/// The width to wrap messages at: the terminal's, within what reads well.
fn width() -> usize {
    let (_, columns) = console_size();
    columns.clamp(60, 120)
}

fn console_size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    size.map_or((24, 100), |size| (size.ws_row.into(), usize::from(size.ws_col).max(1)))
}

fn render(failure: &Failure) -> String {
    let (bad, dim, bold) = (Palette::BAD, Palette::DIM, Palette::BOLD);
    let mut text = format!("{bad}error{bad:#}: {bold}{}{bold:#}", failure.message);
    let mut source = failure.source();
    let mut last = failure.message.clone();
    while let Some(cause) = source {
        let message = cause.to_string();
        // Wrappers often repeat what they wrap.
        if !last.contains(&message) {
            let _ = write!(text, "\n  {dim}because{dim:#} {}", message.replace('\n', "\n  "));
            last = message;
        }
        source = cause.source();
    }
    if let Some(details) = &failure.details {
        let _ = write!(text, "\n  {}", details.replace('\n', "\n  "));
    }
    if let Some(help) = &failure.help {
        let _ = write!(text, "\n  {dim}try{dim:#} {}", help.replace('\n', "\n  "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ExitCode;

    #[test]
    fn causes_are_listed_once_and_help_comes_last() {
        let cause = std::io::Error::other("connection refused");
        let failure =
            Failure::new(ExitCode::Missing, "Docker does not answer").with_source(cause).with_help("start Docker");
        let plain = anstream::adapter::strip_str(&render(&failure)).to_string();
        assert_eq!(plain, "error: Docker does not answer\n  because connection refused\n  try start Docker");
    }
}
