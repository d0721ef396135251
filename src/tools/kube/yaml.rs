//! YAML as Kubernetes reads it.
//!
//! Manifests are turned into JSON on their way to the API by Go's YAML reader, which follows YAML 1.1 in part: a bare
//! `yes` is a boolean and `0644` is 420. What we compare with live objects has to be read by the same rules, which no
//! YAML 1.2 reader follows; the syntax itself is left to a parser crate, and only scalars are resolved here.

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Tag};
use serde_json::{Map, Number, Value};
use thiserror::Error;

// A document that expands to more nodes than this by its aliases is an attack or a mistake.
const NODE_LIMIT: usize = 2_000_000;

/// Text that is no YAML, or none that Kubernetes would take.
#[derive(Debug, Error)]
pub enum YamlError {
    /// The syntax is wrong.
    #[error("{0}")]
    Syntax(String),
    /// A mapping has a key that JSON cannot have.
    #[error("line {0}: a key must be a plain value")]
    Key(usize),
    /// Aliases blow the document up.
    #[error("aliases expand to more than {NODE_LIMIT} values")]
    TooLarge,
}

/// A document of a stream: where it begins and what it says.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The line of its first value, from 1.
    pub line: usize,
    /// What it says. Null for an empty document.
    pub value: Value,
}

/// Reads all documents of a text.
pub fn parse_all(text: &str) -> Result<Vec<Document>, YamlError> {
    // Go's reader takes the last line of a block as it stands, with no line feed added.
    let options: Options = granit_parser::options! { block_scalar_eof_without_line_feed: true, emit_comments: false };
    let mut reader =
        Reader { events: Parser::new_from_str_with_options(text, options), line: 0, anchors: Vec::new(), nodes: 0 };
    let mut documents = Vec::new();
    loop {
        match reader.next()? {
            None | Some(Event::StreamEnd) => return Ok(documents),
            Some(Event::DocumentStart(..)) => {
                let event = reader.next()?;
                let line = reader.line;
                if let Some(event) = event {
                    let value = reader.value(event)?;
                    documents.push(Document { line, value });
                }
            }
            Some(_) => {}
        }
    }
}

/// Reads the first document of a text; null when there is none.
pub fn parse(text: &str) -> Result<Value, YamlError> {
    Ok(parse_all(text)?.into_iter().next().map_or(Value::Null, |document| document.value))
}

struct Reader<'a> {
    events: Parser<'a, granit_parser::StrInput<'a>>,
    line: usize,
    anchors: Vec<(usize, Value, usize)>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<Event<'a>>, YamlError> {
        match self.events.next_event() {
            None => Ok(None),
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok(Some(event))
            }
            Some(Err(error)) => Err(syntax(&error)),
        }
    }

    fn value(&mut self, event: Event<'a>) -> Result<Value, YamlError> {
        let before = self.nodes;
        self.count(1)?;
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, tag) => (anchor, scalar(&text, style, tag.as_deref())),
            Event::SequenceStart(_, anchor, _) => (anchor, self.sequence()?),
            Event::MappingStart(_, anchor, _) => (anchor, self.mapping()?),
            Event::Alias(id) => {
                // The latest definition wins; an alias within its own anchor finds none.
                let found = self.anchors.iter().rev().find(|(anchor, ..)| *anchor == id).cloned();
                let Some((_, value, size)) = found else {
                    return Err(YamlError::Syntax(format!("line {}: an alias within its own anchor", self.line)));
                };
                self.count(size)?;
                return Ok(value);
            }
            _ => (0, Value::Null),
        };
        if anchor != 0 {
            self.anchors.push((anchor, value.clone(), self.nodes - before));
        }
        Ok(value)
    }

    fn sequence(&mut self) -> Result<Value, YamlError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                None | Some(Event::SequenceEnd) => return Ok(Value::Array(items)),
                Some(event) => items.push(self.value(event)?),
            }
        }
    }

    fn mapping(&mut self) -> Result<Value, YamlError> {
        let mut map = Map::new();
        let mut merged = Vec::new();
        loop {
            let event = match self.next()? {
                None | Some(Event::MappingEnd) => break,
                Some(event) => event,
            };
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let line = self.line;
            let key = self.value(event)?;
            let Some(event) = self.next()? else { break };
            let value = self.value(event)?;
            if is_merge {
                merged.push(value);
                continue;
            }
            let key = key_text(&key).ok_or(YamlError::Key(line))?;
            map.insert(key, value);
        }
        // What a mapping says itself wins over what it takes from others, and earlier sources win over later ones.
        for source in merged {
            let sources = match source {
                Value::Array(sources) => sources,
                source => vec![source],
            };
            for source in sources {
                if let Value::Object(source) = source {
                    for (key, value) in source {
                        map.entry(key).or_insert(value);
                    }
                }
            }
        }
        Ok(Value::Object(map))
    }

    fn count(&mut self, nodes: usize) -> Result<(), YamlError> {
        self.nodes += nodes;
        if self.nodes > NODE_LIMIT { Err(YamlError::TooLarge) } else { Ok(()) }
    }
}

fn syntax(error: &ScanError) -> YamlError {
    YamlError::Syntax(error.to_string())
}

/// A key as JSON has it: Go turns numbers and booleans into their text.
fn key_text(key: &Value) -> Option<String> {
    match key {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        Value::Null => Some("null".to_owned()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// What a scalar stands for.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    match tag.and_then(Tag::core_suffix) {
        Some("str" | "binary") => return Value::String(text.to_string()),
        Some("int" | "float" | "bool" | "null") => return plain(text),
        _ => {}
    }
    if style == ScalarStyle::Plain { plain(text) } else { Value::String(text.to_string()) }
}

/// What a bare scalar stands for, by the rules of Go's reader.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "y" | "Y" | "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Value::Bool(true),
        "n" | "N" | "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    if numeric && let Some(number) = integer(text).or_else(|| float(text)) {
        return Value::Number(number);
    }
    Value::String(text.to_owned())
}

/// An integer: decimal, `0x`, `0o`, `0b`, or octal by a leading zero; underscores count for nothing.
fn integer(text: &str) -> Option<Number> {
    let text = text.replace('_', "");
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text.as_str()),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // A second sign would be taken by the standard library.
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative { 0i64.checked_sub_unsigned(magnitude).map(Number::from) } else { Some(Number::from(magnitude)) }
}

/// A decimal fraction or power: `[-+]? (\.[0-9]+ | [0-9]+(\.[0-9]*)?) ([eE][-+]?[0-9]+)?`.
fn float(text: &str) -> Option<Number> {
    let text = text.replace('_', "");
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(&text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa_is_one = match mantissa.split_once('.') {
        Some((whole, part)) => {
            (digits(whole) && (part.is_empty() || digits(part))) || (whole.is_empty() && digits(part))
        }
        None => digits(mantissa),
    };
    let exponent_is_one = exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)));
    if !mantissa_is_one || !exponent_is_one {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    // JSON as Go writes it has no trailing `.0`.
    if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 {
        #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53 is exact")]
        let whole = number as i64;
        return Some(Number::from(whole));
    }
    Number::from_f64(number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_as_go_reads_them() {
        let read = parse(
            "
bools: [yes, No, on, OFF, true, False, y, N]
strings: ['yes', \"0644\", 1.2.3, 2001-01-01, 10m, 1e, .e1, 0x, '~', 1:30, 08, +, 0-1, =]
octal: 0644
modern: 0o644
hex: 0x1F
under: 1_000
big: 18446744073709551615
huge: 123456789012345678901234567890
negative: -9223372036854775808
floats: [1.5, .5, 1., 1e3, 1.0]
nothing: [~, null, ]
tagged: [!!str 1, !!int \"7\"]
",
        )
        .unwrap();
        assert_eq!(
            read,
            json!({
                "bools": [true, false, true, false, true, false, true, false],
                "strings": ["yes", "0644", "1.2.3", "2001-01-01", "10m", "1e", ".e1", "0x", "~", "1:30", 8, "+", "0-1", "="],
                "octal": 420, "modern": 420, "hex": 31, "under": 1000,
                "big": 18446744073709551615u64,
                "huge": 1.2345678901234568e29,
                "negative": i64::MIN,
                "floats": [1.5, 0.5, 1, 1000, 1],
                "nothing": [null, null],
                "tagged": ["1", 7],
            })
        );
    }

    #[test]
    fn anchors_and_merges() {
        let read =
            parse("base: &b {a: 1, b: 2}\nchild: {<<: *b, b: 3}\nsame: *b\nboth: {<<: [*b, {a: 9, c: 4}]}\n").unwrap();
        assert_eq!(read["child"], json!({"b": 3, "a": 1}));
        assert_eq!(read["same"], json!({"a": 1, "b": 2}));
        assert_eq!(read["both"], json!({"a": 1, "b": 2, "c": 4}));
    }

    #[test]
    fn aliases_that_explode_are_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let before = format!("*a{}", level - 1);
            text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", ")));
        }
        assert!(matches!(parse(&text), Err(YamlError::TooLarge)));
    }

    #[test]
    fn documents_with_comments_between() {
        let documents =
            parse_all("# head\n---\n# Source: a.yaml\na: 1\n---\n# nothing here\n---\nb: |\n  two\n  lines").unwrap();
        let values = documents.iter().map(|document| document.value.clone()).collect::<Vec<_>>();
        assert_eq!(values, [json!({"a": 1}), Value::Null, json!({"b": "two\nlines"})]);
        assert_eq!(documents[0].line, 4);
    }

    #[test]
    fn broken_yaml_says_where() {
        let error = parse("a:\n  - b\n c: d").unwrap_err().to_string();
        assert!(error.contains("line 3"), "{error}");
    }
}
