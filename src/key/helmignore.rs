//! `.helmignore`: which files of a chart's folder Helm does not look at.
//!
//! The rules are those of Helm's loader, its oddities included: the first rule that says "ignore" counts; `!pattern` says
//! it of everything that does *not* match; `**` is an error; a pattern without a slash is held against the last part of
//! the path; an ignored folder is not entered; `templates/.?*` is always ignored.

use crate::model::glob;

/// The rules of a chart.
#[derive(Debug, Clone)]
pub(super) struct HelmIgnore {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    pattern: String,
    negated: bool,
    only_folders: bool,
    /// Held against the whole path below the chart, not only its last part.
    whole_path: bool,
}

impl HelmIgnore {
    /// Reads the text of an ignore file. With a rule that Helm refuses nothing is ignored: Helm will say so itself.
    pub(super) fn parse(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let rules: Option<Vec<Rule>> = lines.map(Rule::parse).collect();
        let mut rules = rules.unwrap_or_default();
        rules.extend(Rule::parse("templates/.?*"));
        Self { rules }
    }

    /// Whether a file or folder at this path below the chart's folder is ignored.
    pub(super) fn ignores(&self, path: &str, is_folder: bool) -> bool {
        self.rules.iter().any(|rule| match (rule.only_folders && !is_folder, rule.negated) {
            (true, negated) => negated,
            (false, negated) => rule.matches(path) != negated,
        })
    }
}

impl Rule {
    fn parse(line: &str) -> Option<Self> {
        if line.contains("**") {
            return None;
        }
        let (negated, rest) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest));
        let (only_folders, rest) = rest.strip_suffix('/').map_or((false, rest), |rest| (true, rest));
        let (whole_path, pattern) = match rest.strip_prefix('/') {
            Some(rest) => (true, rest),
            None => (rest.contains('/'), rest),
        };
        Some(Self { pattern: pattern.to_owned(), negated, only_folders, whole_path })
    }

    fn matches(&self, path: &str) -> bool {
        let name = if self.whole_path { path } else { path.rsplit('/').next().unwrap_or(path) };
        glob::matches(&self.pattern, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_as_helm_reads_them() {
        let table: [(&str, &str, bool, bool); 12] = [
            ("", "templates/.swp", false, true),
            ("*.bak\n", "a/b.bak", false, true),
            ("/*.bak\n", "a/b.bak", false, false),
            ("docs/\n", "docs", true, true),
            ("docs/\n", "docs", false, false),
            ("a/b\n", "a/b", false, true),
            ("a/b\n", "c/a/b", false, false),
            ("# a\n\n", "a", false, false),
            ("!a\n", "b", false, true),
            ("!a\n", "a", false, false),
            ("!a/\n", "a", false, true),
            ("**/a\nb\n", "b", false, false),
        ];
        for (rules, path, is_folder, ignored) in table {
            assert_eq!(HelmIgnore::parse(rules).ignores(path, is_folder), ignored, "{rules:?} {path}");
        }
    }
}
