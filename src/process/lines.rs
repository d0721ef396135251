//! From bytes as they come to lines, and to the last part of everything that came. Both hold a bounded amount.

/// A line that is longer is not handed on, and neither is a part of it: cut anywhere, it could show one half of a secret,
/// which nobody would recognise any more.
const MAX_LINE: usize = 1 << 20;

/// Cuts a stream of bytes into lines. Bytes that are no UTF-8 become U+FFFD.
#[derive(Debug, Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
    /// How much of a line that is too long came, all of which was dropped.
    dropped: usize,
}

impl Lines {
    /// Takes `bytes`, and hands on each line that they complete, without its end (`\n` or `\r\n`).
    pub(super) fn push(&mut self, mut bytes: &[u8], on_line: &mut impl FnMut(&str)) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.partial.is_empty() && self.dropped == 0 && line.len() <= MAX_LINE {
                emit(line, on_line);
            } else {
                self.add(line);
                self.finish(on_line);
            }
            bytes = rest;
        }
        self.add(bytes);
    }

    /// Hands on a last line that no `\n` ended.
    pub(super) fn finish(&mut self, on_line: &mut impl FnMut(&str)) {
        if self.dropped > 0 {
            on_line(&format!("(a line of {} bytes, which is too long to be shown)", self.dropped));
            self.dropped = 0;
        } else if !self.partial.is_empty() {
            emit(&self.partial, on_line);
            self.partial.clear();
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        if self.dropped > 0 || self.partial.len() + bytes.len() > MAX_LINE {
            self.dropped += self.partial.len() + bytes.len();
            self.partial.clear();
        } else {
            self.partial.extend_from_slice(bytes);
        }
    }
}

fn emit(line: &[u8], on_line: &mut impl FnMut(&str)) {
    on_line(&String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)));
}

/// The last bytes of a stream, from the beginning of a line on: the rest of one that was cut could be that of a secret.
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
        if self.dropped > 0 {
            let line = self.bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let cut = line.map_or(self.bytes.len(), |end| end + 1);
            self.bytes.drain(..cut);
            self.dropped += cut as u64;
        }
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
    fn a_line_comes_whole_or_not_at_all() {
        let line = "é".repeat(MAX_LINE / 2);
        for (text, expected) in [
            (format!("{line}\nb"), [line.as_str(), "b"]),
            (format!("{line}x\nb"), ["(a line of 1048577 bytes, which is too long to be shown)", "b"]),
            (format!("b\n{line}{line}"), ["b", "(a line of 2097152 bytes, which is too long to be shown)"]),
        ] {
            for pieces in [vec![text.as_bytes()], text.as_bytes().chunks(999).collect()] {
                assert_eq!(lines_of(&pieces), expected);
            }
        }
        let mut lines = Lines::default();
        for _ in 0..64 {
            lines.push(line.as_bytes(), &mut |_| {});
            assert!(lines.partial.capacity() <= 2 * MAX_LINE, "what is dropped is not held");
        }
    }

    #[test]
    fn the_tail_is_the_end_and_bounded() {
        let mut tail = Tail::new(4);
        for byte in 0..100_u8 {
            tail.push(&[byte]);
            assert!(tail.bytes.len() <= 8);
        }
        assert_eq!(tail.seen(), 100);
        assert_eq!(tail.into_parts(), (vec![], 100), "the line began before");
        for (text, kept, dropped) in
            [("ab\ncd\n", "cd\n", 3), ("cut\ncd", "cd", 4), ("abcd", "abcd", 0), ("1\r2\r3", "2\r3", 2)]
        {
            let mut tail = Tail::new(4);
            tail.push(text.as_bytes());
            assert_eq!(tail.into_parts(), (kept.as_bytes().to_vec(), dropped), "{text:?}");
        }
    }
}
