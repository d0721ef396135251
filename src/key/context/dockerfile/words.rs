//! Words of a Dockerfile with their variables put in and their quotes taken off.

use std::collections::HashMap;

/// Why a word cannot be told before the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unsure {
    /// It uses a variable that the Dockerfile does not set: a base image may.
    Variable(String),
    /// It uses a form of substitution that is not read here.
    Form(String),
}

/// The variables of a stage, as far as the Dockerfile tells them.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables {
    /// Those that are set; nothing in the place of a value that cannot be told.
    set: HashMap<String, Option<String>>,
    /// Whether a base image may have set others, which nobody knows here.
    open: bool,
}

impl Variables {
    /// The variables that a base image comes with.
    pub(super) fn of_base() -> Self {
        Self { open: true, ..Self::default() }
    }

    pub(super) fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.set.insert(name.into(), Some(value.into()));
    }

    /// It has a value which nobody knows here.
    pub(super) fn set_unknown(&mut self, name: impl Into<String>) {
        self.set.insert(name.into(), None);
    }

    /// The value, nothing when it is certain that there is none.
    pub(super) fn get(&self, name: &str) -> Result<Option<&str>, Unsure> {
        match self.set.get(name) {
            Some(Some(value)) => Ok(Some(value)),
            None if !self.open => Ok(None),
            Some(None) | None => Err(Unsure::Variable(name.to_owned())),
        }
    }
}

/// Puts the variables into a word and takes its quotes off.
pub(super) fn expand(word: &str, variables: &Variables, escape: char) -> Result<String, Unsure> {
    let chars: Vec<char> = word.chars().collect();
    let mut reader = Reader { chars: &chars, at: 0, variables, escape };
    reader.until(None)
}

struct Reader<'a> {
    chars: &'a [char],
    at: usize,
    variables: &'a Variables,
    escape: char,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    /// Reads up to a character that ends this part, or up to the end.
    fn until(&mut self, end: Option<char>) -> Result<String, Unsure> {
        let mut text = String::new();
        while let Some(c) = self.next() {
            match c {
                c if Some(c) == end => return Ok(text),
                '\'' => loop {
                    match self.next().ok_or_else(|| self.form())? {
                        '\'' => break,
                        c => text.push(c),
                    }
                },
                '"' => text.push_str(&self.double_quoted()?),
                '$' => text.push_str(&self.variable()?),
                c if c == self.escape => text.extend(self.next()),
                c => text.push(c),
            }
        }
        if end.is_some() { Err(self.form()) } else { Ok(text) }
    }

    fn double_quoted(&mut self) -> Result<String, Unsure> {
        let mut text = String::new();
        while let Some(c) = self.next() {
            match c {
                '"' => return Ok(text),
                '$' => text.push_str(&self.variable()?),
                c if c == self.escape => match self.next() {
                    Some(next) if next == '"' || next == '$' || next == self.escape => text.push(next),
                    next => {
                        text.push(c);
                        text.extend(next);
                    }
                },
                c => text.push(c),
            }
        }
        Err(self.form())
    }

    /// What stands for the variable whose `$` was just read.
    fn variable(&mut self) -> Result<String, Unsure> {
        let braced = self.peek() == Some('{');
        if braced {
            self.at += 1;
        }
        let name = self.name();
        if name.is_empty() {
            return if braced { Err(self.form()) } else { Ok("$".to_owned()) };
        }
        let value = self.variables.get(&name);
        let first = if braced { self.next() } else { Some('}') };
        if first == Some('}') {
            return value?.map(str::to_owned).ok_or(Unsure::Variable(name));
        }
        let (colon, operator) = if first == Some(':') { (true, self.next()) } else { (false, first) };
        let word = self.until(Some('}'))?;
        // A form that is not read here is told as such, whether or not the variable is known.
        if !matches!(operator, Some('-' | '+' | '?')) {
            return Err(self.form());
        }
        // One that the Dockerfile does not set may be set by the base image: the default may not count.
        let value = value?.filter(|value| !(colon && value.is_empty()));
        match (operator, value) {
            (Some('-'), None) | (Some('+'), Some(_)) => Ok(word),
            (Some('+'), None) => Ok(String::new()),
            (_, Some(value)) => Ok(value.to_owned()),
            (_, None) => Err(Unsure::Variable(name)),
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek().filter(|c| c.is_ascii_alphanumeric() || *c == '_') {
            if name.is_empty() && c.is_ascii_digit() {
                break;
            }
            name.push(c);
            self.at += 1;
        }
        name
    }

    fn form(&self) -> Unsure {
        Unsure::Form(self.chars.iter().collect())
    }
}

/// The words of an instruction that takes a list: a JSON array, else words between spaces.
pub(super) fn list(rest: &str) -> Vec<String> {
    json(rest).unwrap_or_else(|| rest.split_whitespace().map(str::to_owned).collect())
}

/// The words of a JSON array, if it is one.
pub(super) fn json(rest: &str) -> Option<Vec<String>> {
    if rest.starts_with('[') { serde_json::from_str(rest).ok() } else { None }
}

/// Splits `a=1 b="two words" c` into words, keeping quotes on.
pub(super) fn quoted_words(rest: &str, escape: char) -> Vec<String> {
    split(rest, escape).0
}

/// The same, if every quote is closed.
pub(super) fn closed_words(rest: &str, escape: char) -> Option<Vec<String>> {
    let (words, is_closed) = split(rest, escape);
    is_closed.then_some(words)
}

/// The words, and whether every quote is closed.
fn split(rest: &str, escape: char) -> (Vec<String>, bool) {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c == escape && quote != Some('\'') => {
                word.push(c);
                word.extend(chars.next());
            }
            c if quote == Some(c) => {
                quote = None;
                word.push(c);
            }
            '"' | '\'' if quote.is_none() => {
                quote = Some(c);
                word.push(c);
            }
            c if c.is_whitespace() && quote.is_none() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    (words, quote.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(word: &str) -> Result<String, Unsure> {
        expanded_with(Variables::default(), word)
    }

    fn expanded_with(mut variables: Variables, word: &str) -> Result<String, Unsure> {
        [("A", "one"), ("B", "two"), ("EMPTY", "")].into_iter().for_each(|(name, value)| variables.set(name, value));
        variables.set_unknown("HIDDEN");
        expand(word, &variables, '\\')
    }

    #[test]
    fn no_default_counts_for_a_variable_that_a_base_image_may_set() {
        for word in ["$X", "${X}", "${X:-d}", "${X-d}", "${X:+d}", "${X+d}", "${X:?d}", "${A:+${X-d}}", "${A:-$X}"] {
            assert_eq!(expanded_with(Variables::of_base(), word), Err(Unsure::Variable("X".into())), "{word}");
            let hidden = word.replace('X', "HIDDEN");
            assert_eq!(expanded(&hidden), Err(Unsure::Variable("HIDDEN".into())), "{hidden}");
        }
        for (word, value) in [("${A:-d}", "one"), ("${EMPTY:-d}", "d"), ("${EMPTY:+d}", ""), ("${A+$B}x", "twox")] {
            assert_eq!(expanded_with(Variables::of_base(), word).as_deref(), Ok(value), "{word}");
        }
    }

    #[test]
    fn variables_are_put_in() {
        let table = [
            ("plain", "plain"),
            ("$A", "one"),
            ("x${A}y", "xoney"),
            ("$A-$B", "one-two"),
            ("${NONE:-d}", "d"),
            ("${NONE:-$A/${B}}", "one/two"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${A:+yes}", "yes"),
            ("${NONE:+yes}", ""),
            ("${A:?needed}", "one"),
            ("'$A'", "$A"),
            ("\"$A b\"", "one b"),
            ("\\$A", "$A"),
            ("\"\\$A\"", "$A"),
            ("a\\ b", "a b"),
            ("100$", "100$"),
        ];
        for (word, value) in table {
            assert_eq!(expanded(word).as_deref(), Ok(value), "{word}");
        }
        assert_eq!(expanded("$NONE"), Err(Unsure::Variable("NONE".into())));
        assert_eq!(expanded("${EMPTY:?needed}"), Err(Unsure::Variable("EMPTY".into())));
        for word in ["${A#x}", "${A/x/y}", "${A", "\"open", "'open", "${}"] {
            assert!(matches!(expanded(word), Err(Unsure::Form(_))), "{word}");
        }
    }

    #[test]
    fn lists_are_json_or_words() {
        assert_eq!(list(r#"["a b", "c"]"#), ["a b", "c"]);
        assert_eq!(list("[abc] d"), ["[abc]", "d"]);
        assert_eq!(
            quoted_words(r#"a=1 b="two words" c=x\ y d='q "r'"#, '\\'),
            ["a=1", "b=\"two words\"", "c=x\\ y", "d='q \"r'"]
        );
    }
}
