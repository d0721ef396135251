//! What a command printed last, on both of its streams, in the order in which it came.

use std::collections::VecDeque;

use crate::event::Stream;

/// How many lines explain a failure.
const SHOWN: usize = 20;

/// The last lines of a command.
#[derive(Debug, Default)]
pub(super) struct LastWords {
    /// How many lines there were.
    count: usize,
    /// With their numbers, those of the output and those of the errors.
    lines: [VecDeque<(usize, String)>; 2],
}

impl LastWords {
    pub(super) fn add(&mut self, stream: Stream, line: &str) {
        let lines = &mut self.lines[usize::from(stream == Stream::Stderr)];
        if lines.len() == SHOWN {
            lines.pop_front();
        }
        lines.push_back((self.count, line.to_owned()));
        self.count += 1;
    }

    /// The last of them: of a stream that says much, as many as leave room for half as many of the other.
    pub(super) fn text(&self) -> String {
        let [out, err] = &self.lines;
        let last = |lines: &VecDeque<(usize, String)>, other: usize| {
            let most = SHOWN - other.min(SHOWN / 2);
            lines.range(lines.len().saturating_sub(most)..).cloned().collect::<Vec<_>>()
        };
        let mut lines = [last(out, err.len()), last(err, out.len())].concat();
        lines.sort_unstable();
        lines.into_iter().map(|(_, line)| line).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_streams_are_heard_in_their_order() {
        let mut words = LastWords::default();
        words.add(Stream::Stdout, "FAILED");
        words.add(Stream::Stderr, "deprecated");
        words.add(Stream::Stdout, "1 failed");
        assert_eq!(words.text(), "FAILED\ndeprecated\n1 failed");
        for number in 0..50 {
            words.add(Stream::Stderr, &format!("warning {number}"));
        }
        let text = words.text();
        assert!(text.starts_with("FAILED\n1 failed\nwarning 32\n") && text.ends_with("\nwarning 49"), "{text}");
        for number in 0..50 {
            words.add(Stream::Stdout, &format!("line {number}"));
        }
        assert_eq!(words.text().lines().count(), SHOWN);
        assert!(words.text().starts_with("warning 40\n"));
    }
}
