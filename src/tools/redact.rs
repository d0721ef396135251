//! Keeps secret values out of what tools print.
//!
//! Output is redacted a whole line at a time, so that a value which arrives in two pieces is still found. A value of
//! several lines (a key, a certificate) is hidden line by line, since that is how a tool would echo it. Values are hidden
//! in the forms that JSON, URLs and base64 give them, too.

use std::borrow::Cow;
use std::fmt;

mod cut;
mod forms;
mod terminal;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
pub use terminal::{plain, tame};

/// What stands in the place of a secret value.
pub const HIDDEN: &str = "***";

/// Values shorter than this are not hidden: they would turn every `1` in the output into stars and are no secret.
const SHORTEST: usize = 3;

/// The base64 and percent-encoded forms of longer values (a bundle of certificates) are not looked for: no tool prints
/// them on one line, and looking for them costs more than all the rest.
const LONGEST_ENCODED: usize = 16 * 1024;

/// The longest line that is told to people.
const LONGEST_LINE: usize = 4096;

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
                forms::within_base64(trimmed, &mut self.values);
                forms::hex(trimmed, &mut self.values);
            }
        }
        // Lines are looked through a second time without what commands the terminal, in which a value has nothing of that.
        let bare: Vec<_> =
            self.values.iter().filter(|value| !terminal::is_plain(value)).map(|v| plain(v).into()).collect();
        self.values.extend(bare.into_iter().filter(|value: &String| value.len() >= SHORTEST));
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

    /// The line without secret values, and as it would be left on a terminal: with nothing but colours beside its text.
    pub fn line<'a>(&self, line: &'a str) -> Cow<'a, str> {
        if self.values.is_empty() {
            return terminal::left_of(line);
        }
        let Some(matcher) = &self.matcher else { return Cow::Borrowed(HIDDEN) };
        let hide = |line: &str| matcher.replace_all(line, &vec![HIDDEN; self.values.len()]);
        let hidden = if matcher.is_match(line) { Cow::Owned(hide(line)) } else { Cow::Borrowed(line) };
        let hidden = match line.contains(cut::BEFORE) {
            true => Cow::Owned(cut::hide(&hidden, &self.values)),
            false => hidden,
        };
        if terminal::is_plain(&hidden) {
            return hidden;
        }
        let without_colours = terminal::filtered(&hidden, false);
        let shown = if matcher.is_match(&without_colours) { Cow::Owned(hide(&without_colours)) } else { hidden };
        match shown {
            Cow::Borrowed(line) => terminal::left_of(line),
            Cow::Owned(line) => Cow::Owned(terminal::left_of(&line).into_owned()),
        }
    }

    /// The same for people, who would not read a line to its end that is longer than a page.
    pub fn brief(&self, text: &str) -> String {
        self.text(text).split('\n').map(brief).collect::<Vec<_>>().join("\n")
    }

    /// Whether a secret value is in the text.
    pub fn finds(&self, text: &str) -> bool {
        let Some(matcher) = &self.matcher else { return !self.values.is_empty() };
        let is_in = |line: &str| {
            matcher.is_match(line) || (!terminal::is_plain(line) && matcher.is_match(&terminal::filtered(line, false)))
        };
        !self.values.is_empty() && text.split('\n').any(is_in)
    }

    /// A text of several lines without secret values.
    pub fn text(&self, text: &str) -> String {
        text.split('\n').map(|line| self.line(line)).collect::<Vec<_>>().join("\n")
    }
}

/// The beginning of a line that is too long to be read.
fn brief(line: &str) -> Cow<'_, str> {
    if line.len() <= LONGEST_LINE {
        return Cow::Borrowed(line);
    }
    let cut = (0..=LONGEST_LINE).rev().find(|&at| line.is_char_boundary(at)).unwrap_or_default();
    Cow::Owned(format!("{}… and {} more bytes", &line[..cut], line.len() - cut))
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

    #[test]
    fn hides_what_an_excerpt_of_json_has_cut() {
        let redactor = Redactor::new(["hunter2-super-secret", "a-very-long-secret-of-which-only-the-middle-is-seen"]);
        let told = |found: &str, around: &str| {
            redactor
                .line(&format!("error found in #10 byte of ...|{found}|..., bigger context ...|{around}|..."))
                .into_owned()
        };
        let hidden = |found: &str, around: &str| {
            assert_eq!(
                told(found, around),
                format!(
                    "error found in #10 byte of ...|{}|..., bigger context ...|{}|...",
                    found.replace(found, "X"),
                    "Y"
                )
                .replace('X', HIDDEN)
                .replace('Y', HIDDEN)
            );
        };
        hidden("er-secr", "only-the-middle");
        assert!(
            told("\",\"bare\":5", "cret\",\"bare\":5,\"b\":\"hunter2")
                .ends_with("...|***\",\"bare\":5,\"b\":\"***|...")
        );
        assert!(told("x", "hunter2-super-secret and more").ends_with("...|*** and more|..."));
        let plain = "byte of ...|,\"bare\":5}|..., bigger context ...|\"a\":\"b\",\"bare\":5}|...";
        assert_eq!(redactor.line(plain), plain);
    }

    #[test]
    fn hides_what_a_tool_coloured_and_lets_nothing_command_the_terminal() {
        let redactor = Redactor::new(["hunter2-very\u{1b}[1msecret", "hunter2-other"]);
        assert_eq!(redactor.line("key=\x1b[1;31mhunter2\x1b[0m-other!"), "key=***!");
        assert_eq!(redactor.line("\x1b[32mkey=hunter2-other\x1b[0m!"), "\x1b[32mkey=***\x1b[0m!");
        assert_eq!(redactor.line("hunter2\x08-oth\x1b]0;x\x07er \x1b[2J"), "*** ");
        assert_eq!(redactor.line("hunter2-very\u{1b}[1msecret, hunter2-verysecret"), "***, ***");
        assert_eq!(redactor.text("1%\rhunter2-other\nlast\x1b[31m"), "***\nlast\x1b[31m\x1b[0m");
        assert_eq!(Redactor::default().line("\x1b[?25lworking\r"), "working");
        assert!(redactor.finds("a\nhunter\x1b[m2-other") && !redactor.finds("\x1b[31mred\r"));
        assert!(!Redactor::default().finds("\x1b[31mred"));
    }

    #[test]
    fn hides_what_base64_makes_of_a_value_among_others() {
        use base64::Engine as _;
        use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
        let value = "Sup3r?Secret>Value\u{ff}\u{fe}~~";
        let redactor = Redactor::new([value, "abc"]);
        for before in ["", "u", "us", "user:"] {
            for after in ["", "\n", "!!", "and more"] {
                let text = format!("{before}{value}{after}");
                for encoded in [STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                    let line = redactor.line(&encoded).into_owned();
                    let rest = line.replacen("***", "", 1);
                    // What is left are the neighbours, and at most one digit on each side that holds bits of both.
                    let most = before.len().div_ceil(3) * 4 + after.len().div_ceil(3) * 4 + 4;
                    assert!(line.contains("***") && rest.len() <= most, "{encoded}: {line}");
                }
            }
        }
        let long = "0123456789abcdefghijklmnopqrstuvwxyz".repeat(5);
        let redactor = Redactor::new([long.as_str()]);
        for width in [64, 76] {
            let encoded = STANDARD.encode(format!("{long}\n"));
            let lines: Vec<_> =
                encoded.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
            let hidden = redactor.text(&lines.join("\n"));
            assert!(hidden.lines().all(|line| line.len() <= 3 + 4 && line.contains("***")), "{hidden}");
        }
    }

    #[test]
    fn hides_hexadecimal_digits_of_a_value_unless_they_may_be_anything() {
        let redactor = Redactor::new(["hunter2!", "abc"]);
        assert_eq!(redactor.line("68756e7465723221 and 68756E7465723221"), "*** and ***");
        assert_eq!(redactor.line("sha256:616263 YWJ dhYm JhY"), "sha256:616263 YWJ dhYm JhY");
    }
}
