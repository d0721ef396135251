//! Keeps what comes from outside from commanding the terminal: of all that is no text, only colours are left.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::Chars;

/// Ends every colour.
const RESET: &str = "\x1b[0m";

/// A text in which nothing but colours commands the terminal, and none of them outlives its line. A carriage return in a
/// line is a blank.
pub fn tame(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        return Cow::Borrowed(text);
    }
    let line = |line: &str| closed(filtered(without_end(line), true).replace('\r', " "));
    Cow::Owned(text.split('\n').map(line).collect::<Vec<_>>().join("\n"))
}

/// The text without colours, and without all else that commands the terminal.
pub fn plain(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        return Cow::Borrowed(text);
    }
    let line = |line: &str| filtered(without_end(line), false).replace('\r', " ");
    Cow::Owned(text.split('\n').map(line).collect::<Vec<_>>().join("\n"))
}

/// What a line leaves on a terminal: progress bars overwrite theirs with a carriage return.
pub(super) fn left_of(line: &str) -> Cow<'_, str> {
    if is_plain(line) {
        return Cow::Borrowed(line);
    }
    let line = filtered(line, true);
    let is_seen = |part: &&str| !filtered(part, false).trim().is_empty();
    Cow::Owned(closed(line.rsplit('\r').find(is_seen).unwrap_or_default().to_owned()))
}

/// Whether nothing in it is more than text. What begins as a control character of Latin-1 does is looked at closely.
pub(super) fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'\n' | b'\t') || (byte >= b' ' && !matches!(byte, 0x7f | 0xc2)))
}

fn without_end(line: &str) -> &str {
    line.trim_end_matches('\r')
}

/// One line without control characters, save for tabs and carriage returns, and without the sequences that begin with them,
/// save for colours where those are wanted.
pub(super) fn filtered(line: &str, colours: bool) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\t' | '\r' => out.push(c),
            '\x1b' => match chars.next_if(|c| (' '..='\x7e').contains(c)) {
                Some('[') => {
                    let sequence = sequence(&mut chars);
                    if let Some(colour) = sequence.filter(|_| colours) {
                        out.push_str(&format!("\x1b[{colour}m"));
                    }
                }
                Some(']' | 'P' | 'X' | '^' | '_') => skip_string(&mut chars),
                // Designations such as `ESC ( B`.
                Some(' '..='/') => {
                    while chars.next_if(|c| (' '..='/').contains(c)).is_some() {}
                    chars.next_if(|c| ('0'..='\x7e').contains(c));
                }
                Some(_) | None => {}
            },
            '\u{9b}' => _ = sequence(&mut chars),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_string(&mut chars),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// Takes the rest of a control sequence. Returns its parameters if it is a colour.
fn sequence(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut parameters = String::new();
    while let Some(c) = chars.next_if(|c| (' '..='?').contains(c)) {
        parameters.push(c);
    }
    let end = chars.next_if(|c| ('@'..='\x7e').contains(c))?;
    let is_colour = end == 'm' && parameters.chars().all(|c| c.is_ascii_digit() || matches!(c, ';' | ':'));
    is_colour.then_some(parameters)
}

/// Takes a string that is meant for the terminal (a title, say), up to its end or that of the line.
fn skip_string(chars: &mut Peekable<Chars<'_>>) {
    while let Some(c) = chars.next() {
        match c {
            '\x07' | '\u{9c}' => return,
            '\x1b' => {
                chars.next_if_eq(&'\\');
                return;
            }
            _ => {}
        }
    }
}

/// The line with its colours ended.
fn closed(mut line: String) -> String {
    let last = line.rsplit_once("\x1b[").and_then(|(_, rest)| rest.split_once('m'));
    let is_open = last.is_some_and(|(colour, _)| !colour.rsplit(';').all(|part| part.trim_matches('0').is_empty()));
    if is_open {
        line.push_str(RESET);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_and_colours_are_left() {
        for (from, to) in [
            ("plain é·\ttext\nand more", "plain é·\ttext\nand more"),
            ("\x1b[32mgreen\x1b[0m", "\x1b[32mgreen\x1b[0m"),
            ("\x1b[38;5;1;4mopen\nnext", "\x1b[38;5;1;4mopen\x1b[0m\nnext"),
            ("\x1b[1mbold\x1b[m \x1b[31mred", "\x1b[1mbold\x1b[m \x1b[31mred\x1b[0m"),
            ("\x1b[?25l\x1b[?1049hworking", "working"),
            ("\x1b[1A\x1b[2Kgone\x0b\x0c\x08\x07\x00\x0e\x7f", "gone"),
            ("\x1b]0;title\x07a\x1b]0;title\x1b\\b\x1bP1;2q\u{9c}c\x1b_x", "abc"),
            ("\u{9b}2Ja\u{9d}0;X\u{9c}b\u{85}c\u{b0}", "abc\u{b0}"),
            ("\x1bc\x1b(B\x1b7a\x1b", "a"),
            ("\x1b[2\x1b[>4;2ma\x1b[3", "a"),
            ("crlf\r\n50%\r100%\r", "crlf\n50% 100%"),
        ] {
            assert_eq!(tame(from), to, "{from:?}");
            let without = plain(from);
            assert!(!without.contains('\x1b') && tame(&without) == without, "{from:?}");
        }
    }

    #[test]
    fn of_a_line_that_was_written_over_the_last_is_left() {
        for (from, to) in [
            ("10%\r100%", "100%"),
            ("10%\r100%\r", "100%"),
            ("\x1b[32m10%\r100%\r\x1b[K", "100%"),
            ("a\r\x1b[31mb", "\x1b[31mb\x1b[0m"),
            ("\r", ""),
        ] {
            assert_eq!(left_of(from), to, "{from:?}");
        }
    }
}
