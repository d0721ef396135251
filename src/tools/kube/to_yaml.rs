//! JSON as YAML that people read: block style, in the order of the keys.

use std::fmt::Write;

use serde_json::Value;

/// A value as a YAML document, with a line end behind its last line.
pub fn to_yaml(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

/// Writes a value that begins on a line of its own.
fn block(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                indent(depth, text);
                let _ = write!(text, "{}:", scalar(key));
                after_key(value, depth, text);
            }
        }
        Value::Array(items) if !items.is_empty() => items.iter().for_each(|item| self::item(item, depth, text)),
        other => {
            indent(depth, text);
            text.push_str(&inline(other));
            text.push('\n');
        }
    }
}

/// Writes what follows `key:`.
fn after_key(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            text.push('\n');
            block(value, depth + 1, text);
        }
        // Items stand as deep as the key of their list.
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            block(value, depth, text);
        }
        Value::String(lines) if is_literal(lines) => {
            text.push_str(if lines.ends_with('\n') { " |\n" } else { " |-\n" });
            for line in lines.lines() {
                if !line.is_empty() {
                    indent(depth + 1, text);
                    text.push_str(line);
                }
                text.push('\n');
            }
        }
        other => {
            let _ = writeln!(text, " {}", inline(other));
        }
    }
}

/// Writes an item of a list: its first line stands behind the dash.
fn item(item: &Value, depth: usize, text: &mut String) {
    let mut inner = String::new();
    block(item, depth + 1, &mut inner);
    indent(depth, text);
    text.push_str("- ");
    text.push_str(inner.trim_start_matches(' '));
}

fn indent(depth: usize, text: &mut String) {
    (0..depth).for_each(|_| text.push_str("  "));
}

/// Whether a text of several lines can be written as it is.
fn is_literal(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    body.contains('\n')
        && !body.ends_with('\n')
        && !body.starts_with([' ', '\n', '\t'])
        && text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control())
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

/// A text on one line: bare where every reader of YAML takes it for a text, else in quotes.
fn scalar(text: &str) -> String {
    let first_is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '_' | '.'));
    let plain = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '=' | '+' | '@' | ' ' | '(' | ')' | ':')
    };
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"];
    let is_word = words.contains(&text.trim_start_matches('.').to_ascii_lowercase().as_str());
    // Digits of every kind, and what could be a number or a time, are left to the quotes.
    let bare = first_is_plain
        && text.chars().all(plain)
        && !is_word
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && text.parse::<f64>().is_err();
    if bare { text.to_owned() } else { Value::String(text.to_owned()).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tools::kube::yaml;

    #[test]
    fn it_reads_like_yaml_and_means_the_same() {
        let value = json!({
            "kind": "Deployment",
            "empty": {}, "none": [], "text": "", "yes": "yes", "number": 1, "digits": "012", "null": null,
            "spec": {"list": [{"name": "web", "ports": [80, 81], "more": {"a": "b: c"}}, "two", [1, 2]]},
            "script": "set -e\n\n  echo hi\n", "odd": " leading\nspace", "key with: colon": "a#b",
        });
        let text = to_yaml(&value);
        assert_eq!(yaml::parse(&text).unwrap(), value, "{text}");
        assert!(text.starts_with("kind: Deployment\n"), "{text}");
        assert!(text.contains("  list:\n  - name: web\n    ports:\n    - 80\n"), "{text}");
        assert!(text.contains("script: |\n  set -e\n\n    echo hi\n"), "{text}");
        assert!(text.contains("digits: \"012\"\n") && text.contains("\"yes\": \"yes\"\n"), "{text}");
    }
}
