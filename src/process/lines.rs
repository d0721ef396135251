//! From bytes as they come to lines, and to the last part of everything that came. Both hold a bounded amount.

/// A line that is longer is handed on in pieces of about this size.
const MAX_LINE: usize = 64 * 1024;

/// Cuts a stream of bytes into lines. Bytes that are no UTF-8 become U+FFFD.
#[derive(Debug, Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes `bytes`, and hands on each line that they complete, without its end (`\n` or `\r\n`).
    pub(super) fn push(&mut self, mut bytes: &[u8], on_line: &mut impl FnMut(&str)) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.partial.is_empty() {
                emit(line, on_line);
            } else {
                self.partial.extend_from_slice(line);
                emit(&self.partial, on_line);
                self.partial.clear();
            }
            bytes = rest;
        }
        self.partial.extend_from_slice(bytes);
        while self.partial.len() > MAX_LINE {
            let cut = char_boundary(&self.partial, MAX_LINE);
            on_line(&String::from_utf8_lossy(&self.partial[..cut]));
            self.partial.drain(..cut);
        }
    }

    /// Hands on a last line that no `\n` ended.
    pub(super) fn finish(&mut self, on_line: &mut impl FnMut(&str)) {
        if !self.partial.is_empty() {
            emit(&self.partial, on_line);
            self.partial.clear();
        }
    }
}

fn emit(line: &[u8], on_line: &mut impl FnMut(&str)) {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() <= MAX_LINE {
        return on_line(&String::from_utf8_lossy(line));
    }
    let mut rest = line;
    while !rest.is_empty() {
        let cut = char_boundary(rest, MAX_LINE);
        on_line(&String::from_utf8_lossy(&rest[..cut]));
        rest = &rest[cut..];
    }
}

/// The largest place up to `limit` that does not part a UTF-8 character. Never 0 for a `limit` above 3.
fn char_boundary(bytes: &[u8], limit: usize) -> usize {
    if bytes.len() <= limit {
        return bytes.len();
    }
    // A character has at most 3 continuation bytes; more of them in a row are no UTF-8, and may be parted anywhere.
    (limit - 3..=limit).rev().find(|&cut| bytes[cut] & 0b1100_0000 != 0b1000_0000).unwrap_or(limit)
}

/// The last bytes of a stream.
#[derive(Debug)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    keep: usize,
    dropped: u64,
}

impl Tail {
    /// Keeps the last `keep` bytes.
    pub(super) fn new(keep: usize) -> Self {
        Self { bytes: Vec::new(), keep, dropped: 0 }
    }

    /// Takes `bytes`.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        // Dropping only when twice too much is held moves each byte once, however small the pieces come.
        if self.bytes.len() > self.keep.saturating_mul(2) {
            self.trim();
        }
    }

    /// Everything that came, kept or not.
    pub(super) fn seen(&self) -> u64 {
        self.dropped + self.bytes.len() as u64
    }

    /// The kept bytes, and how many came before them.
    pub(super) fn into_parts(mut self) -> (Vec<u8>, u64) {
        self.trim();
        (self.bytes, self.dropped)
    }

    fn trim(&mut self) {
        let excess = self.bytes.len().saturating_sub(self.keep);
        self.bytes.drain(..excess);
        self.dropped += excess as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(pieces: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        let mut on_line = |line: &str| seen.push(line.to_owned());
        for piece in pieces {
            lines.push(piece, &mut on_line);
        }
        lines.finish(&mut on_line);
        seen
    }

    #[test]
    fn lines_do_not_depend_on_how_the_bytes_came() {
        let text = "one\r\n\ntwo é\nthree".as_bytes();
        let expected = ["one", "", "two é", "three"];
        for cut in 0..=text.len() {
            assert_eq!(lines_of(&[&text[..cut], &text[cut..]]), expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(lines_of(&bytes), expected);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(lines_of(&[b"a\xff\xfeb\n"]), ["a\u{fffd}\u{fffd}b"]);
    }

    #[test]
    fn a_long_line_comes_in_pieces_that_part_no_character() {
        let line = "é".repeat(MAX_LINE) + "x";
        for pieces in [vec![line.as_bytes()], line.as_bytes().chunks(999).collect()] {
            let seen = lines_of(&pieces);
            assert!(seen.len() > 1 && seen.iter().all(|piece| piece.len() <= MAX_LINE));
            assert_eq!(seen.concat(), line);
        }
        let whole = format!("{line}\n");
        assert_eq!(lines_of(&[whole.as_bytes()]).concat(), line);
        let garbage = vec![0x80_u8; MAX_LINE * 2];
        assert_eq!(lines_of(&[&garbage]).concat().chars().count(), garbage.len());
    }

    #[test]
    fn the_tail_is_the_end_and_bounded() {
        let mut tail = Tail::new(4);
        for byte in 0..100_u8 {
            tail.push(&[byte]);
            assert!(tail.bytes.len() <= 8);
        }
        assert_eq!(tail.seen(), 100);
        assert_eq!(tail.into_parts(), (vec![96, 97, 98, 99], 96));
    }
}
