//! Ignore files with the rules that Docker gives them.
//!
//! The rules are those of moby's pattern matcher as its walkers use it: patterns are tried in order and the last one
//! that matches counts; `!` makes an exception; what matches a folder matches everything in it; `**` stands for any
//! number of folders; `*`, `?` and sets stay within one part of a path.

use regex::bytes::Regex;

use crate::model::glob;

/// The patterns of an ignore file.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

/// A line of an ignore file that Docker refuses too.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the ignore file, `{pattern}`, is no pattern: {reason}")]
pub struct BadPattern {
    /// The line, counted from 1.
    pub line: usize,
    /// The line's text.
    pub pattern: String,
    /// Why not.
    pub reason: &'static str,
}

/// Which patterns matched a folder: what is in it is matched by them too.
#[derive(Debug, Clone, Default)]
pub struct Matched(Vec<bool>);

#[derive(Debug, Clone)]
struct Pattern {
    exception: bool,
    test: Test,
    parts: Vec<String>,
}

/// Any text in one line, and any without a slash. As bytes, since a set of characters is a hundred times as much to compile;
/// what may follow is whole characters, so that none is taken apart.
const ANY: &str = "(?-u:.*)";
const NO_SLASHES: &str = "(?-u:[^/]*)";

#[derive(Debug, Clone)]
enum Test {
    Equal(String),
    /// `dir/**`
    Prefix(String),
    /// `**/name`, which matches `name` at the root too, and `**name`.
    Suffix(String),
    Regex(Regex),
}

impl Ignore {
    /// Reads an ignore file.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let mut patterns = Vec::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, raw) in text.lines().enumerate() {
            let bad = |reason| BadPattern { line: index + 1, pattern: raw.trim().to_owned(), reason };
            let line = raw.trim();
            if raw.starts_with('#') || line.is_empty() {
                continue;
            }
            let (exception, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            if pattern.is_empty() {
                return Err(bad("an exception from nothing"));
            }
            let cleaned = clean(pattern);
            let cleaned = cleaned.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&cleaned);
            patterns.push(Pattern::new(exception, cleaned).ok_or_else(|| bad("a set is not closed"))?);
        }
        Ok(Self { patterns })
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether the path is ignored, given what matched the folder that it is in; and what matched it, for what is in it.
    pub fn matches(&self, path: &str, parent: &Matched) -> (bool, Matched) {
        let mut matched = Matched(vec![false; self.patterns.len()]);
        let ignored = self.test(path, parent, |index| matched.0[index] = true);
        (ignored, matched)
    }

    /// Whether the path is ignored, given what matched the folder that it is in.
    pub fn ignores(&self, path: &str, parent: &Matched) -> bool {
        self.test(path, parent, |_| {})
    }

    fn test(&self, path: &str, parent: &Matched, mut matched: impl FnMut(usize)) -> bool {
        let mut ignored = false;
        for (index, pattern) in self.patterns.iter().enumerate() {
            let inherited = parent.0.get(index).copied().unwrap_or(false);
            // A pattern that could not change anything is not even tried, and counts as not matching below: Docker's
            // walkers do so, and it shows in the order `a/b`, `!a`.
            if !inherited && (pattern.exception != ignored || !pattern.test.matches(path)) {
                continue;
            }
            matched(index);
            ignored = !pattern.exception;
        }
        ignored
    }

    /// Whether an exception could match something in this folder, so that it has to be walked although it is ignored.
    pub fn may_except_below(&self, folder: &str) -> bool {
        let folder: Vec<&str> = folder.split('/').collect();
        self.patterns.iter().filter(|pattern| pattern.exception).any(|pattern| pattern.may_match_below(&folder))
    }
}

impl Pattern {
    /// `None` when the pattern is malformed.
    fn new(exception: bool, pattern: &str) -> Option<Self> {
        well_formed(pattern).then_some(())?;
        let test = Test::new(pattern)?;
        Some(Self { exception, test, parts: pattern.split('/').map(str::to_owned).collect() })
    }

    fn may_match_below(&self, folder: &[&str]) -> bool {
        for (index, part) in self.parts.iter().enumerate() {
            // `**` reaches any depth, and a set may match a slash here.
            if part.contains("**") || part.contains('[') {
                return true;
            }
            match folder.get(index) {
                Some(name) if !glob::matches(part, name) => return false,
                Some(_) => {}
                None => return true,
            }
        }
        // It ends at this folder or above it: what it matches there has been decided.
        false
    }
}

impl Test {
    fn new(pattern: &str) -> Option<Self> {
        /// What has been seen so far decides how the pattern can be tested.
        #[derive(PartialEq)]
        enum Kind {
            Equal,
            Prefix,
            Suffix,
            Regex,
        }
        let mut kind = Kind::Equal;
        let mut regex = String::from("^");
        let mut in_set = false;
        let mut chars = pattern.chars().peekable();
        let mut first = true;
        while let Some(c) = chars.next() {
            match c {
                '*' if !in_set && chars.peek() == Some(&'*') => {
                    chars.next();
                    if chars.peek() == Some(&'/') {
                        chars.next();
                    }
                    if chars.peek().is_none() {
                        if kind == Kind::Equal {
                            kind = Kind::Prefix;
                        } else {
                            regex.push_str(ANY);
                            kind = Kind::Regex;
                        }
                    } else {
                        regex.push_str(&format!("({ANY}/)?"));
                        kind = Kind::Regex;
                    }
                    if first {
                        kind = Kind::Suffix;
                    }
                }
                '*' if !in_set => {
                    regex.push_str(NO_SLASHES);
                    kind = Kind::Regex;
                }
                '?' if !in_set => {
                    regex.push_str("[^/]");
                    kind = Kind::Regex;
                }
                '\\' => {
                    // A pattern that ends in a backslash was refused before.
                    regex.push_str(&regex::escape(&chars.next()?.to_string()));
                    kind = Kind::Regex;
                }
                '[' if !in_set => {
                    in_set = true;
                    regex.push('[');
                    if chars.peek() == Some(&'^') {
                        regex.extend(chars.next());
                    }
                    kind = Kind::Regex;
                }
                ']' if in_set => {
                    in_set = false;
                    regex.push(']');
                }
                '-' if in_set => regex.push('-'),
                // Go's regular expressions would take it for the start of the text, which can never be here.
                '^' if !in_set => regex.push('^'),
                c => regex.push_str(&regex::escape(&c.to_string())),
            }
            first = false;
        }
        Some(match kind {
            Kind::Equal => Self::Equal(pattern.to_owned()),
            Kind::Prefix => Self::Prefix(pattern.strip_suffix("**").unwrap_or(pattern).to_owned()),
            Kind::Suffix => Self::Suffix(pattern.strip_prefix("**").unwrap_or(pattern).to_owned()),
            Kind::Regex => {
                regex.push('$');
                Self::Regex(Regex::new(&regex).ok()?)
            }
        })
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Equal(pattern) => path == pattern,
            Self::Prefix(prefix) => path.starts_with(prefix),
            Self::Suffix(suffix) => path.ends_with(suffix) || suffix.strip_prefix('/') == Some(path),
            Self::Regex(regex) => regex.is_match(path.as_bytes()),
        }
    }
}

/// A path without `.`, `..` and doubled slashes, by the rules of Go's `filepath.Clean`.
pub(super) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// The check that Go's `filepath.Match` makes: sets are closed and not empty, no range is half, nothing ends in a
/// backslash.
fn well_formed(pattern: &str) -> bool {
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.next().is_none() => return false,
            '[' => {
                if chars.peek() == Some(&'^') {
                    chars.next();
                }
                let mut members = 0;
                loop {
                    let mut member = || match chars.next()? {
                        ']' if members > 0 => Some(false),
                        '-' | ']' => None,
                        '\\' => chars.next().map(|_| true),
                        _ => Some(true),
                    };
                    match member() {
                        Some(true) => members += 1,
                        Some(false) => break,
                        None => return false,
                    }
                    if chars.peek() == Some(&'-') {
                        chars.next();
                        match chars.next() {
                            Some('\\') if chars.next().is_some() => {}
                            Some('-' | ']' | '\\') | None => return false,
                            Some(_) => {}
                        }
                    }
                }
            }
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a path is ignored, walking down to it as the walker does.
    fn ignored(text: &str, path: &str) -> bool {
        let ignore = Ignore::parse(text).unwrap();
        let mut matched = Matched::default();
        let mut result = false;
        for (index, _) in path.char_indices().filter(|(_, c)| *c == '/').chain([(path.len(), '/')]) {
            (result, matched) = ignore.matches(&path[..index], &matched);
        }
        result
    }

    #[test]
    fn patterns_mean_what_they_mean_to_docker() {
        let table = [
            ("node_modules", "node_modules/a/b.js", true),
            ("node_modules", "web/node_modules", false),
            ("**/node_modules", "web/node_modules/a", true),
            ("**/node_modules", "node_modules", true),
            ("**/node_modules", "my_node_modules", false),
            ("**_modules", "web/my_modules", true),
            ("*.md", "README.md", true),
            ("*.md", "docs/README.md", false),
            ("*/*.md", "docs/README.md", true),
            ("**/*.md", "README.md", true),
            ("**/*.md", "a/b/c.md", true),
            ("*\n!keep", "keep", false),
            ("*\n!keep", "keep/inner", false),
            ("*\n!a/b", "a/b/c", false),
            ("*\n!a/b", "a/x", true),
            ("a\n!a/b\na/b/c", "a/b/c", true),
            ("a\n!a/b\na/b/c", "a/b/d", false),
            ("a/b\n!a", "a/b", true),
            ("!a\na", "a", true),
            ("docs/**", "docs", false),
            ("docs/**", "docs/x/y", true),
            ("docs/**/x", "docs/x", true),
            ("docs/**/x", "docs/1/2/x", true),
            ("**", "anything/at/all", true),
            ("**/x/**", "a/x/b", true),
            ("**/x/**", "x", false),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("a?c", "aüc", true),
            ("??", "ü", false),
            ("*?.md", "ü.md", true),
            ("**/*ü", "a/gü", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("a.c", "abc", false),
            ("a\\*c", "a*c", true),
            ("a\\*c", "abc", false),
            ("/rooted", "rooted", true),
            ("./dotted/", "dotted/in", true),
            ("a/../b", "b", true),
            ("../up", "up", false),
            (".", "a", false),
            ("# comment\n #no comment", "#no comment", true),
            ("  spaced  ", "spaced", true),
            ("\u{feff}marked", "marked", true),
            ("! spaced\nspaced", "spaced", true),
            ("*\n! spaced", "spaced", false),
            ("*.{a}", "x.{a}", true),
            ("a+b", "aab", false),
            ("a+b", "a+b", true),
        ];
        for (text, path, expected) in table {
            assert_eq!(ignored(text, path), expected, "{text:?} {path}");
        }
    }

    #[test]
    fn malformed_patterns_are_named_with_their_line() {
        for text in ["ok\n[a", "ok\n!", "ok\n[]", "ok\n[-a]", "ok\na\\", "ok\n[a-]"] {
            assert_eq!(Ignore::parse(text).unwrap_err().line, 2, "{text:?}");
        }
    }

    #[test]
    fn only_folders_that_an_exception_reaches_are_walked() {
        let ignore = Ignore::parse("*\n!app/src\n!*/keep.txt\n").unwrap();
        for (folder, expected) in [("app", true), ("app/src", false), ("web", true), ("web/deep", false)] {
            assert_eq!(ignore.may_except_below(folder), expected, "{folder}");
        }
        assert!(!Ignore::parse("node_modules").unwrap().may_except_below("node_modules"));
        assert!(Ignore::parse("*\n!**/x").unwrap().may_except_below("a/b/c"));
    }
}
