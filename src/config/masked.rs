//! The text of the stack file as errors show it: what may be secret in it is not to be read.
//!
//! Every place stays where it is, so that what errors point at is still there.

use std::sync::Arc;

use miette::NamedSource;

use super::context::Context;
use super::span::Span;
use super::tree::{Entry, Node, NodeKind};

/// Lets all errors of a file, those that there are and those to come, show it without what is secret. `tree` is the file as
/// it was written.
pub(super) fn mask(tree: &Node<'_>, shown: &str, context: &mut Context<'_>) {
    if !context.text.contains("secret") {
        return;
    }
    let mut spans = of_tree(tree);
    // Of a file that is wrong the tree does not hold everything.
    if !context.errors.is_empty() {
        of_text(context.text, &mut spans);
    }
    spans.retain(|span| !is_reference(span.of(context.text)));
    if spans.is_empty() {
        return;
    }
    context.source = Arc::new(NamedSource::new(shown, without(context.text, &spans)));
    let errors = std::mem::take(&mut context.errors);
    errors.into_iter().for_each(|error| context.report(error));
}

/// The text with stars in the place of what is within these spans, save for the quotes around it.
fn without(text: &str, spans: &[Span]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for span in spans {
        let written = span.of(text);
        let inner = written.trim_matches(['"', '\'']);
        // What is nothing but quotes has nothing in it.
        let start = span.start() + written.find(inner).unwrap_or_default();
        let within = bytes.get_mut(start..start + inner.len()).unwrap_or_default();
        within.iter_mut().filter(|byte| !byte.is_ascii_whitespace()).for_each(|byte| *byte = b'*');
    }
    // Whole characters were replaced, each byte by one of ASCII.
    String::from_utf8(bytes).unwrap_or_default()
}

/// A text that is one reference says where the value is, and not what it is.
fn is_reference(written: &str) -> bool {
    let inner = written.trim_matches(['"', '\'']);
    inner.starts_with("${") && inner.find('}') == Some(inner.len() - 1)
}

/// What a readable file says of secrets: the values of secret variables, also those that profiles give them, and the
/// values of build secrets.
fn of_tree(tree: &Node<'_>) -> Vec<Span> {
    let profiles = tree.get("profile").map_or(&[][..], Node::entries).iter().map(|entry| &entry.node);
    let files = || std::iter::once(tree).chain(profiles.clone());
    let variables = || files().filter_map(|file| file.get("vars")).flat_map(Node::entries);
    let is_secret =
        |entry: &&Entry<'_>| matches!(entry.node.get("secret"), Some(Node { kind: NodeKind::Bool(true), .. }));
    let secret: Vec<&str> = variables().filter(is_secret).map(|entry| entry.key.as_ref()).collect();
    let mut spans = Vec::new();
    for entry in variables().filter(|entry| secret.contains(&entry.key.as_ref())) {
        match &entry.node.kind {
            NodeKind::Table(keys) => {
                // Where it comes from is no secret.
                keys.iter().filter(|key| key.key != "env").for_each(|key| values(&key.node, &mut spans));
            }
            _ => values(&entry.node, &mut spans),
        }
    }
    let images = files().filter_map(|file| file.get("image")).flat_map(Node::entries);
    for secrets in images.filter_map(|image| image.node.get("secrets")) {
        if let NodeKind::Array(secrets) = &secrets.kind {
            secrets.iter().filter_map(|secret| secret.get("value")).for_each(|value| values(value, &mut spans));
        }
    }
    spans
}

fn values(node: &Node<'_>, spans: &mut Vec<Span>) {
    match &node.kind {
        NodeKind::Array(items) => items.iter().for_each(|item| values(item, spans)),
        NodeKind::Table(entries) => entries.iter().for_each(|entry| values(&entry.node, spans)),
        NodeKind::Bool(_) | NodeKind::Broken => {}
        NodeKind::String(_)
        | NodeKind::Template(_)
        | NodeKind::Integer(_)
        | NodeKind::Float(_)
        | NodeKind::Datetime => spans.push(node.span),
    }
}

/// What looks like a secret in a file that can't be read as a whole: all strings in a line that says `secret = true`, and
/// in the other lines of a table of a variable that has such a line.
fn of_text(text: &str, spans: &mut Vec<Span>) {
    let mut table = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with('[') {
            of_table(text, &table, spans);
            table.clear();
        }
        table.push(Span::new(start, start + line.len()));
        start += line.len();
    }
    of_table(text, &table, spans);
}

fn of_table(text: &str, lines: &[Span], spans: &mut Vec<Span>) {
    let is_secret = |line: &&Span| says_secret(line.of(text));
    let of_one = lines.first().is_some_and(|header| header.of(text).contains("vars."));
    if of_one && lines.iter().any(|line| is_secret(&line)) {
        lines.iter().for_each(|line| strings(text, *line, spans));
    } else {
        lines.iter().filter(is_secret).for_each(|line| strings(text, *line, spans));
    }
}

/// Whether a line says `secret = true`.
fn says_secret(line: &str) -> bool {
    line.match_indices("secret").any(|(at, word)| {
        let rest = line[at + word.len()..].trim_start_matches(['"', '\'']).trim_start();
        rest.strip_prefix('=').is_some_and(|value| value.trim_start().starts_with("true"))
    })
}

/// The strings in a line; one that has no end goes as far as the line.
fn strings(text: &str, line: Span, spans: &mut Vec<Span>) {
    let written = line.of(text);
    let mut rest = 0;
    while let Some(open) = written[rest..].find(['"', '\'']).map(|at| rest + at) {
        let quote = if written[open..].starts_with('"') { '"' } else { '\'' };
        let mut escaped = false;
        let inside = &written[open + 1..];
        let end = inside.find(|c| {
            let ends = c == quote && !escaped;
            escaped = c == '\\' && quote == '"' && !escaped;
            ends
        });
        let end = end.map_or(written.len(), |end| open + 1 + end + 1);
        spans.push(Span::new(line.start() + open, line.start() + end));
        rest = end;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{load_text, render};
    use super::*;

    #[track_caller]
    fn shown(vars: &str) -> String {
        let text = format!("[stack]\nname = \"todo\"\n{vars}");
        let shown = render(&load_text(&text).unwrap_err());
        assert!(!shown.contains("hunter"), "{shown}");
        shown
    }

    #[test]
    fn errors_do_not_show_the_values_of_secrets() {
        let shown_line = shown("[vars]\ntok = { default = \"hunter2-very-secret\", secret = true, typo = 1 }\n");
        assert!(shown_line.contains("default = \"*******************\", secret = true, typo = "), "{shown_line}");
        shown("[vars.tok]\ndefault = 'hunter2'\nsecret = true\ntypo = \"hunter\"\n");
        shown("[vars]\ntok.secret = true\ntok.default = \"hunter2\"\ntok.typo = 1\n");
        shown("[vars]\ntok = { default = \"\"\"\nhunter2\nhunter3\"\"\", secret = true, typo = 1 }\n");
        shown("[vars]\ntok = { default = [\"hunter2\"], secret = true }\n");
        // A profile's value for it.
        shown("[vars]\ntok = { env = \"T\", secret = true }\n[profile.ci.vars]\ntok = [\"hunter2\"]\n");
        shown("[image.a]\ncontext = \"a\"\nsecrets = [{ id = \"s\", value = \"hunter2\", typo = 1 }]\n");
        let shown_line =
            shown("[vars]\ntok = { env = \"TOKEN\", default = \"${env.NOT_SET}\", secret = true, typo = 1 }\n");
        assert!(shown_line.contains("env = \"TOKEN\", default = \"${env.NOT_SET}\""), "{shown_line}");
    }

    #[test]
    fn errors_of_syntax_do_not_either() {
        shown("[vars]\ntok = { default = \"hunter2\", secret = true, typo = }\n");
        shown("[vars]\ntok = { default = \"hunter2, secret = true }\n");
        shown("[vars]\ntok = { default = \"a\", default = \"hunter2\", secret = true }\n");
        shown("[vars.tok]\nsecret = true\ndefault = \"hunter2\" oops\n");
        shown("[vars.tok]\nsecret = true\ndefault = \"hunter2\nx = 1\n");
    }

    #[test]
    fn places_stay_where_they_are() {
        let text = "a = \"é\\\"b\" # c";
        let mut spans = Vec::new();
        strings(text, Span::new(0, text.len()), &mut spans);
        assert_eq!(spans, [Span::new(4, 11)]);
        let masked = without(text, &spans);
        assert_eq!((masked.as_str(), masked.len()), ("a = \"*****\" # c", text.len()));
        assert_eq!(without("x = \"\"", &[Span::new(4, 6)]), "x = \"\"");
        assert!(is_reference("\"${var.a}\"") && !is_reference("\"${var.a}b\"") && !is_reference("\"${a\""));
    }
}
