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

/// The variables that are set; one that is declared without a value is empty.
pub(super) type Variables = HashMap<String, String>;

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
        let value = self.variables.get(&name).cloned();
        if !braced {
            return value.ok_or(Unsure::Variable(name));
        }
        let first = self.next();
        if first == Some('}') {
            return value.ok_or(Unsure::Variable(name));
        }
        let (colon, operator) = if first == Some(':') { (true, self.next()) } else { (false, first) };
        let set = value.as_ref().is_some_and(|value| !(colon && value.is_empty()));
        let word = self.until(Some('}'));
        match operator {
            // A variable that the Dockerfile does not set may be set by the base image: the default may not count.
            Some('-') => {
                if set {
                    Ok(value.unwrap_or_default())
                } else {
                    word
                }
            }
            Some('+') => {
                if set {
                    word
                } else {
                    Ok(String::new())
                }
            }
            Some('?') => value.filter(|_| set).ok_or(Unsure::Variable(name)),
            Some(_) | None => Err(self.form()),
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
    if rest.starts_with('[')
        && let Ok(words) = serde_json::from_str::<Vec<String>>(rest)
    {
        return words;
    }
    rest.split_whitespace().map(str::to_owned).collect()
}

/// Splits `a=1 b="two words" c` into words, keeping quotes on.
pub(super) fn quoted_words(rest: &str, escape: char) -> Vec<String> {
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
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(word: &str) -> Result<String, Unsure> {
        let pairs = [("A", "one"), ("B", "two"), ("EMPTY", "")];
        let variables = pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        expand(word, &variables, '\\')
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
