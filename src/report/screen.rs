//! The terminal that progress lines are drawn on. One that goes away is written to in vain, and that is no error: those
//! who draw would take it for a reason to give up the whole program.

use std::io::{self, Write};
use std::mem;
use std::sync::{Mutex, PoisonError};

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
    /// What was drawn since the last flush.
    drawn: Mutex<String>,
}

impl Screen {
    fn put(&self, text: &str) {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
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

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.put(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.put("\r\x1b[2K");
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let drawn = mem::take(&mut *self.drawn.lock().unwrap_or_else(PoisonError::into_inner));
        let mut stderr = io::stderr().lock();
        let _ = stderr.write_all(drawn.as_bytes()).and_then(|()| stderr.flush());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_terminal_echoes_has_room_at_the_end_of_a_line() {
        for (columns, drawn) in [(200, 192), (80, 72), (10, 5), (1, 0)] {
            assert_eq!(used(columns), drawn);
        }
    }
}
