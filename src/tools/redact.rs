//! Keeps secret values out of what tools print.
//!
//! Output is redacted a whole line at a time, so that a value which arrives in two pieces is still found. A value of
//! several lines (a key, a certificate) is hidden line by line, since that is how a tool would echo it. Values are hidden
//! in the forms that JSON, URLs and base64 give them, too.

use std::borrow::Cow;
use std::fmt;

mod forms;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

/// What stands in the place of a secret value.
pub const HIDDEN: &str = "***";

/// Values shorter than this are not hidden: they would turn every `1` in the output into stars and are no secret.
const SHORTEST: usize = 3;

/// The base64 and percent-encoded forms of longer values (a bundle of certificates) are not looked for: no tool prints
/// them on one line, and looking for them costs more than all the rest.
const LONGEST_ENCODED: usize = 16 * 1024;

/// Replaces known secret values by stars.
#[derive(Clone, Default)]
pub struct Redactor {
    values: Vec<String>,
    matcher: Option<AhoCorasick>,
}

impl Redactor {
    /// A redactor of these values, of their base64 form, which is how Kubernetes shows a Secret, and of the forms that they
    /// have within JSON and URLs.
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
                for line in trimmed.lines().map(str::trim).filter(|line| is_telling(line)) {
                    self.values.push(line.to_owned());
                    forms::json(line, &mut self.values);
                }
            } else {
                self.values.push(trimmed.to_owned());
            }
            forms::json(trimmed, &mut self.values);
            if value.len() <= LONGEST_ENCODED {
                forms::percent(trimmed, &mut self.values);
                forms::base64(value, &mut self.values);
                forms::base64(trimmed, &mut self.values);
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

/// Whether a line of a value of several lines is hidden by itself: `{`, `---` and the like tell nothing.
fn is_telling(line: &str) -> bool {
    line.len() >= SHORTEST && line.contains(char::is_alphanumeric)
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
        let shown = format!("{redactor:?}");
        assert!(shown.starts_with("Redactor(") && !shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn hides_short_lines_of_a_value_and_not_its_punctuation() {
        let redactor = Redactor::new(["{\n---\nuser=a\npw=b7\nk1!\n}\n"]);
        assert_eq!(redactor.text("user=a\npw=b7\nthe k1!\n{ --- }"), "***\n***\nthe ***\n{ --- }");
    }

    #[test]
    fn hides_what_json_makes_of_a_value() {
        let redactor = Redactor::new(["pa\"ss\\w<&>é", "first\nsecond \"line\"\n"]);
        for form in [
            r#"pa\"ss\\w<&>é"#,
            r#"pa\"ss\\w\u003c\u0026\u003eé"#,
            r#"pa\"ss\\w<&>\u00e9"#,
            r#"first\nsecond \"line\""#,
            r#"second \"line\""#,
        ] {
            assert_eq!(redactor.line(&format!("[\"{form}\"]")), "[\"***\"]", "{form}");
        }
        let value = "a\tb\u{1}\r\n\"c\\";
        assert_eq!(Redactor::new([value]).line(&serde_json::to_string(value).unwrap()), "\"***\"");
    }

    #[test]
    fn hides_what_urls_make_of_a_value() {
        let redactor = Redactor::new(["p/ss wörd(1)!"]);
        for form in [
            "p%2Fss%20w%C3%B6rd%281%29%21",
            "p%2fss%20w%c3%b6rd%281%29%21",
            "p/ss%20w%C3%B6rd%281%29%21",
            "p%2Fss+w%C3%B6rd%281%29%21",
            "p%2Fss%20w%C3%B6rd(1)!",
        ] {
            assert_eq!(redactor.line(&format!("https://u:{form}@host/")), "https://u:***@host/", "{form}");
        }
    }
}
