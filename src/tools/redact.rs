//! Keeps secret values out of what tools print.
//!
//! Output is redacted a whole line at a time, so that a value which arrives in two pieces is still found. A value of
//! several lines (a key, a certificate) is hidden line by line, since that is how a tool would echo it.

use std::borrow::Cow;
use std::fmt;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What stands in the place of a secret value.
pub const HIDDEN: &str = "***";

/// Values shorter than this are not hidden: they would turn every `1` in the output into stars and are no secret.
const SHORTEST: usize = 3;
/// Lines of a value of several lines that are shorter than this are not hidden by themselves.
const SHORTEST_LINE: usize = 8;

/// The base64 form of longer values (a bundle of certificates) is not looked for: no tool prints it on one line, and
/// looking for it costs more than all the rest.
const LONGEST_ENCODED: usize = 16 * 1024;

/// Replaces known secret values by stars.
#[derive(Clone, Default)]
pub struct Redactor {
    values: Vec<String>,
    matcher: Option<AhoCorasick>,
}

impl Redactor {
    /// A redactor of these values, and of their base64 form, which is how Kubernetes shows a Secret.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        Self::default().with(values)
    }

    /// The same, hiding more values.
    #[must_use]
    pub fn with<'a>(mut self, values: impl IntoIterator<Item = &'a str>) -> Self {
        for value in values {
            let trimmed = value.trim();
            if trimmed.len() < SHORTEST {
                continue;
            }
            if trimmed.contains('\n') {
                let lines = trimmed.lines().map(str::trim).filter(|line| line.len() >= SHORTEST_LINE);
                self.values.extend(lines.map(str::to_owned));
            } else {
                self.values.push(trimmed.to_owned());
            }
            if value.len() <= LONGEST_ENCODED {
                self.values.push(STANDARD.encode(value));
                if trimmed.len() != value.len() {
                    self.values.push(STANDARD.encode(trimmed));
                }
            }
        }
        self.values.sort_unstable();
        self.values.dedup();
        self.matcher = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            // A bundle of certificates has thousands of lines: the form that is quickest to build is quick enough to use.
            .kind(Some(AhoCorasickKind::NoncontiguousNFA))
            .build(&self.values)
            // Too many values to build a matcher from is no realistic input; hiding every line is the safe answer then.
            .ok();
        self
    }

    /// Whether there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The line without secret values.
    pub fn line<'a>(&self, line: &'a str) -> Cow<'a, str> {
        if self.values.is_empty() {
            return Cow::Borrowed(line);
        }
        let Some(matcher) = &self.matcher else { return Cow::Borrowed(HIDDEN) };
        if !matcher.is_match(line) {
            return Cow::Borrowed(line);
        }
        Cow::Owned(matcher.replace_all(line, &vec![HIDDEN; self.values.len()]))
    }

    /// A text of several lines without secret values.
    pub fn text(&self, text: &str) -> String {
        text.split('\n').map(|line| self.line(line)).collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} values)", self.values.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_values_wherever_they_stand() {
        let redactor = Redactor::new(["hunter22", "hunter", "x"]);
        assert_eq!(redactor.line("a hunter22, a hunter and an x"), "a ***, a *** and an x");
        assert_eq!(redactor.line("nothing here"), "nothing here");
    }

    #[test]
    fn hides_each_line_of_a_long_value_and_its_base64_form() {
        let redactor = Redactor::new(["-----BEGIN KEY-----\nabcdefghijkl\nxy\n-----END KEY-----\n", "s3cret\n"]);
        assert_eq!(redactor.text("got abcdefghijkl\nand xy"), "got ***\nand xy");
        assert_eq!(redactor.line("data: czNjcmV0Cg== or czNjcmV0"), "data: *** or ***");
        assert_eq!(format!("{redactor:?}"), "Redactor(8 values)");
    }
}
