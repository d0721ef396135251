//! The terminal that progress lines are drawn on. One that goes away is written to in vain, and that is no error: those
//! who draw would take it for a reason to give up the whole program.

use std::io::{self, Write};
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::TermLike;
use rustix::termios::tcgetwinsize;

/// What a terminal without a size is taken for.
const COLUMNS: u16 = 80;
const ROWS: u16 = 24;

/// Columns that stay free at the end of each line: a terminal echoes `^C` where the cursor is, which is there, and a line
/// that is wrapped by that would not be found again to be cleared.
const FREE: u16 = 8;

/// The terminal behind stderr.
#[derive(Debug, Default)]
pub(super) struct Screen {
    drawn: Mutex<Drawn>,
}

/// What was drawn since the last flush.
#[derive(Debug, Default)]
struct Drawn {
    text: String,
    /// The line that is drawn on is over: what comes next begins another.
    line_is_over: bool,
}

impl Screen {
    fn put(&self, text: &str) {
        self.drawn().text.push_str(text);
    }

    fn drawn(&self) -> MutexGuard<'_, Drawn> {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the cursor in the direction of a control sequence.
    fn go(&self, count: usize, direction: char) {
        if count > 0 {
            self.put(&format!("\x1b[{count}{direction}"));
        }
    }
}

/// How many columns of so many are drawn on.
fn used(columns: u16) -> u16 {
    columns.saturating_sub(FREE).max(columns / 2)
}

/// Nothing here fails: see above.
impl TermLike for Screen {
    fn width(&self) -> u16 {
        let columns = tcgetwinsize(io::stderr()).map(|size| size.ws_col).ok().filter(|columns| *columns > 0);
        used(columns.unwrap_or(COLUMNS))
    }

    fn height(&self) -> u16 {
        tcgetwinsize(io::stderr()).map(|size| size.ws_row).ok().filter(|rows| *rows > 0).unwrap_or(ROWS)
    }

    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        self.go(lines, 'A');
        Ok(())
    }

    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        self.go(lines, 'B');
        Ok(())
    }

    fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
        self.go(columns, 'C');
        Ok(())
    }

    fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
        self.go(columns, 'D');
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.put(text);
        self.put("\n");
        Ok(())
    }

    /// Who draws fills each line up with blanks, for the terminal to begin the next one where the last column is. There it
    /// isn't, see [`FREE`]: so the blanks are left out, and end the line.
    fn write_str(&self, text: &str) -> io::Result<()> {
        let mut drawn = self.drawn();
        let is_filler = text.chars().all(|c| c == ' ');
        if !is_filler && mem::take(&mut drawn.line_is_over) {
            drawn.text.push('\n');
        }
        match is_filler {
            true => drawn.line_is_over = true,
            false => drawn.text.push_str(text),
        }
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.put("\r\x1b[2K");
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let drawn = mem::take(&mut *self.drawn());
        let mut stderr = io::stderr().lock();
        let _ = stderr.write_all(drawn.text.as_bytes()).and_then(|()| stderr.flush());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

    use super::*;

    /// A screen whose text stays.
    #[derive(Debug, Default, Clone)]
    struct Kept(Arc<Screen>);

    impl TermLike for Kept {
        fn width(&self) -> u16 {
            used(COLUMNS)
        }
        fn height(&self) -> u16 {
            ROWS
        }
        fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
            self.0.move_cursor_up(lines)
        }
        fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
            self.0.move_cursor_down(lines)
        }
        fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
            self.0.move_cursor_right(columns)
        }
        fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
            self.0.move_cursor_left(columns)
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.0.write_line(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.write_str(text)
        }
        fn clear_line(&self) -> io::Result<()> {
            self.0.clear_line()
        }
        fn flush(&self) -> io::Result<()> {
            self.0.drawn().line_is_over = false;
            Ok(())
        }
    }

    #[test]
    fn each_bar_has_a_line_of_its_own() {
        let screen = Kept::default();
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::term_like(Box::new(screen.clone())));
        let style = ProgressStyle::with_template("{prefix}  {wide_msg}").unwrap();
        let bars: Vec<_> = ["one", "two", "three"]
            .map(|name| bars.add(ProgressBar::new_spinner().with_style(style.clone()).with_prefix(name)))
            .into();
        bars.iter().for_each(|bar| bar.set_message("日本語 ".repeat(50)));
        screen.0.drawn().text.clear();
        bars[0].set_message("short");
        let text = mem::take(&mut screen.0.drawn().text);
        let drawn = text.rsplit("\x1b[2K").next().unwrap().trim_start_matches(|c| c != 'o');
        let lines: Vec<_> = drawn.lines().map(|line| line.split_whitespace().next().unwrap_or_default()).collect();
        assert_eq!(lines, ["one", "two", "three"], "{text:?}");
    }

    #[test]
    fn what_the_terminal_echoes_has_room_at_the_end_of_a_line() {
        for (columns, drawn) in [(200, 192), (80, 72), (10, 5), (1, 0)] {
            assert_eq!(used(columns), drawn);
        }
    }
}
