//! References `${…}`: found in a string, put in where the value is known, kept as [`OutputRef`]s where a step makes it.

use std::sync::Arc;

use indexmap::IndexMap;
use secrecy::{ExposeSecret, SecretString};

use super::EnvLookup;
use super::context::Context;
use super::error::{ConfigError, list, meant, nearest};
use super::names::Names;
use super::span::{Span, Spanned};
use super::template::{ChartField, ImageField, OutputRef, Part, Template};
use super::tree::NodeKind;

/// What references can speak of.
const ROOTS: [&str; 7] = ["var", "env", "stack", "cluster", "image", "chart", "task"];
const CLUSTER_FIELDS: [&str; 4] = ["name", "ip", "context", "namespace"];

/// The value of a variable.
#[derive(Debug, Clone)]
pub(super) enum Constant {
    Text(Arc<str>),
    Secret(SecretString),
    Integer(i64),
    Float(f64),
    Bool(bool),
    /// It has an error of its own, which has been reported.
    Broken,
}

/// What the file itself says of the cluster. Nothing where that part has an error of its own.
#[derive(Debug, Clone, Default)]
pub(super) struct ClusterNames {
    pub name: Option<Arc<str>>,
    pub context: Option<Arc<str>>,
    pub namespace: Option<Arc<str>>,
}

/// What references may refer to.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s, 't> {
    pub env: EnvLookup<'s>,
    /// What is not set in it is empty.
    pub lenient: bool,
    pub vars: &'s IndexMap<String, Constant>,
    pub stack: Option<&'s str>,
    /// Nothing within `[cluster]` itself.
    pub cluster: Option<&'s ClusterNames>,
    /// The names in the file.
    pub names: &'s Names<'t>,
    /// Outputs of steps may be referred to.
    pub outputs: bool,
}

/// What a reference stands for.
enum Meaning {
    Constant(Constant),
    Output(OutputRef),
}

impl Scope<'_, '_> {
    /// `text`, written at `span`, with its references put in.
    pub fn substitute<'t>(&self, text: &str, span: Span, context: &mut Context<'_>) -> NodeKind<'t> {
        let pieces = split(text);
        let mut parts: Vec<Part> = Vec::with_capacity(pieces.len());
        let mut broken = false;
        let single = pieces.len() == 1;
        let mut search_from = 0;
        for piece in pieces {
            let reference = match piece {
                Piece::Text(text) => {
                    push_text(&mut parts, &text);
                    continue;
                }
                Piece::Unclosed(rest) => {
                    let at = locate(context.text, span, rest, &mut search_from);
                    context.report(
                        ConfigError::new("this `${` has no `}`")
                            .label(Span::new(at.start(), at.start() + 2), "opened here")
                            .help("write `$${` for a literal `${`"),
                    );
                    broken = true;
                    continue;
                }
                Piece::Reference(reference) => reference,
            };
            let at = locate(context.text, span, reference, &mut search_from);
            match self.meaning(reference[2..reference.len() - 1].trim(), context.suggests()) {
                Ok(Meaning::Output(output)) => parts.push(Part::Output(Spanned::new(output, at))),
                Ok(Meaning::Constant(constant)) => match constant {
                    Constant::Broken => broken = true,
                    Constant::Secret(secret) => parts.push(Part::Secret(secret)),
                    Constant::Integer(value) if single => return NodeKind::Integer(value),
                    Constant::Float(value) if single => return NodeKind::Float(value),
                    Constant::Bool(value) if single => return NodeKind::Bool(value),
                    Constant::Text(text) => push_text(&mut parts, &text),
                    Constant::Integer(value) => push_text(&mut parts, &value.to_string()),
                    Constant::Float(value) => push_text(&mut parts, &value.to_string()),
                    Constant::Bool(value) => push_text(&mut parts, &value.to_string()),
                },
                Err((message, label, help)) => {
                    context.report(ConfigError::new(message).label(at, label).help(help));
                    broken = true;
                }
            }
        }
        if broken {
            return NodeKind::Broken;
        }
        match parts.as_slice() {
            [] => NodeKind::String("".into()),
            [Part::Text(text)] => NodeKind::String(text.to_string().into()),
            _ => NodeKind::Template(Template::new(parts, span)),
        }
    }

    /// What `inside`, the text between the braces, refers to; or the message, the label and the help of an error.
    fn meaning(&self, inside: &str, suggest: bool) -> Result<Meaning, (String, String, String)> {
        let whole = format!("`${{{inside}}}`");
        let nothing = |label: String, help: String| (format!("{whole} refers to nothing"), label, help);
        let segments: Vec<&str> = inside.split('.').collect();
        let text = |text: &str| Ok(Meaning::Constant(Constant::Text(text.into())));
        match segments.as_slice() {
            ["var", name] => match self.vars.get(*name) {
                Some(value) => Ok(Meaning::Constant(value.clone())),
                None if self.names.contain("vars", name) => Err((
                    format!("{whole} is not known here"),
                    "declared further down".to_owned(),
                    "a variable can refer to those above it".to_owned(),
                )),
                None => Err(nothing(
                    "no such variable".to_owned(),
                    meant(name, "variables", self.vars.keys().map(String::as_str)),
                )),
            },
            ["env", name] => match (self.env)(name) {
                Some(value) => text(&value),
                None if self.lenient => text(""),
                None => Err((
                    format!("the environment has no `{name}`"),
                    "not set".to_owned(),
                    format!(
                        "set it, or declare a variable that has a default: `x = {{ env = \"{name}\", default = \"…\" }}`"
                    ),
                )),
            },
            ["stack", "name"] => match self.stack {
                Some(name) => text(name),
                None => Ok(Meaning::Constant(Constant::Broken)),
            },
            ["cluster", "ip"] if self.outputs => self.cluster_field("ip"),
            ["cluster", field] if CLUSTER_FIELDS.contains(field) => self.cluster_field(field),
            ["cluster", field] => {
                Err(nothing("no such field".to_owned(), meant(field, "fields of the cluster", CLUSTER_FIELDS)))
            }
            [kind @ ("image" | "chart" | "task"), rest @ ..] => self.output(kind, rest, &whole, suggest),
            _ => Err(nothing("not understood".to_owned(), self.guess(&segments, inside))),
        }
    }

    fn cluster_field(&self, field: &str) -> Result<Meaning, (String, String, String)> {
        let Some(cluster) = self.cluster else {
            return Err((
                format!("`${{cluster.{field}}}` is not known here"),
                "the cluster is not known yet".to_owned(),
                "`[cluster]` and `[vars]` cannot refer to the cluster".to_owned(),
            ));
        };
        if !self.names.has_cluster() {
            return Err((
                format!("`${{cluster.{field}}}` refers to nothing"),
                "there is no cluster in this file".to_owned(),
                "add a `[cluster]` table".to_owned(),
            ));
        }
        let value = match field {
            "ip" => return Ok(Meaning::Output(OutputRef::ClusterIp)),
            "name" => &cluster.name,
            "context" => &cluster.context,
            _ => &cluster.namespace,
        };
        Ok(Meaning::Constant(value.clone().map_or(Constant::Broken, Constant::Text)))
    }

    /// A reference to the output of a step.
    fn output(
        &self,
        kind: &str,
        rest: &[&str],
        whole: &str,
        suggest: bool,
    ) -> Result<Meaning, (String, String, String)> {
        let fields: &[&str] = match kind {
            "image" => &ImageField::ALL.map(|(name, _)| name),
            "chart" => &ChartField::ALL.map(|(name, _)| name),
            _ => &["stdout"],
        };
        let names = || self.names.within(kind).filter(|_| suggest);
        let nothing = |label: String, help: String| Err((format!("{whole} refers to nothing"), label, help));
        let Some((name, field)) = rest.split_first() else {
            return nothing("not understood".to_owned(), format!("write `${{{kind}.NAME.{}}}`", fields[0]));
        };
        if !self.names.contain(kind, name) {
            let help = match nearest(name, names()) {
                Some(near) if field.len() == 1 => format!("did you mean `${{{kind}.{near}.{}}}`?", field[0]),
                _ if !suggest => String::new(),
                _ => meant(name, &format!("{kind}s"), names().collect::<Vec<_>>()),
            };
            return nothing(format!("no such {kind}"), help);
        }
        let name: Arc<str> = (*name).into();
        let output = match (kind, field) {
            ("image", [field]) => ImageField::ALL
                .iter()
                .find(|(known, _)| known == field)
                .map(|(_, field)| OutputRef::Image { name: Arc::clone(&name), field: *field }),
            ("chart", [field]) => ChartField::ALL
                .iter()
                .find(|(known, _)| known == field)
                .map(|(_, field)| OutputRef::Chart { name: Arc::clone(&name), field: *field }),
            ("task", ["stdout"]) => Some(OutputRef::Task { name: Arc::clone(&name) }),
            _ => None,
        };
        match output {
            Some(_) if !self.outputs => Err((
                format!("{whole} is not known here"),
                "a step makes it".to_owned(),
                "variables hold only what is known when the file is read".to_owned(),
            )),
            Some(output) => Ok(Meaning::Output(output)),
            None => {
                let field = field.first().copied().unwrap_or_default();
                let help = match nearest(field, fields.iter().copied()) {
                    Some(near) => format!("did you mean `${{{kind}.{name}.{near}}}`?"),
                    None => format!("{} `{name}` has {}", article_of(kind), list(fields.iter().copied())),
                };
                nothing("no such output".to_owned(), help)
            }
        }
    }

    /// What may have been meant by something that is no reference at all.
    fn guess(&self, segments: &[&str], inside: &str) -> String {
        let [first, rest @ ..] = segments else { return String::new() };
        if rest.is_empty() && self.vars.contains_key(*first) {
            return format!("did you mean `${{var.{first}}}`?");
        }
        if let Some(kind) =
            ["image", "chart", "task"].into_iter().find(|kind| !rest.is_empty() && self.names.contain(kind, first))
        {
            return format!("did you mean `${{{kind}.{inside}}}`?");
        }
        if !rest.is_empty()
            && let Some(root) = nearest(first, ROOTS)
        {
            return format!("did you mean `${{{root}.{}}}`?", rest.join("."));
        }
        format!(
            "references begin with {}; write `$${{{inside}}}` for a literal `${{{inside}}}`, such as a variable of a shell",
            list(ROOTS)
        )
    }
}

fn article_of(kind: &str) -> &'static str {
    match kind {
        "image" => "the image",
        "chart" => "the chart",
        _ => "the task",
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if text.is_empty() {
        return;
    }
    if let Some(Part::Text(before)) = parts.last_mut() {
        *before = format!("{before}{text}").into();
    } else {
        parts.push(Part::Text(text.into()));
    }
}

/// A piece of a string.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'t> {
    Text(String),
    /// `${…}`, with its braces.
    Reference(&'t str),
    /// `${…` up to the end.
    Unclosed(&'t str),
}

/// Literal text and references; `$${` is a literal `${`.
fn split(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            literal.push_str(&rest[..at - 1]);
            literal.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        literal.push_str(&rest[..at]);
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal)));
        }
        let inside = &rest[at + 2..];
        let end = inside.find('}').filter(|end| !inside[..*end].contains("${"));
        let Some(end) = end.map(|end| end + 2) else {
            // What follows may be right, or the rest of this: nothing more can be said.
            pieces.push(Piece::Unclosed(&rest[at..]));
            return pieces;
        };
        pieces.push(Piece::Reference(&rest[at..=at + end]));
        rest = &rest[at + end + 1..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    pieces
}

/// Where `part` of a string that was written at `span` stands in the file. Escapes may hide it: then the whole string.
fn locate(source: &str, span: Span, part: &str, from: &mut usize) -> Span {
    let written = span.of(source);
    match written.get(*from..).and_then(|rest| rest.find(part)) {
        Some(at) => {
            let start = *from + at;
            *from = start + part.len();
            Span::new(span.start() + start, span.start() + start + part.len())
        }
        None => span,
    }
}

impl Constant {
    /// The value as text; of a secret, too.
    pub fn to_text(&self) -> Option<Arc<str>> {
        match self {
            Self::Text(text) => Some(Arc::clone(text)),
            Self::Secret(secret) => Some(secret.expose_secret().into()),
            Self::Integer(value) => Some(value.to_string().into()),
            Self::Float(value) => Some(value.to_string().into()),
            Self::Bool(value) => Some(value.to_string().into()),
            Self::Broken => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_split_at_their_references() {
        let text = |text: &str| Piece::Text(text.to_owned());
        assert_eq!(split("a${b.c}d$${e}$f"), [text("a"), Piece::Reference("${b.c}"), text("d${e}$f")]);
        assert_eq!(split("${a}${b}"), [Piece::Reference("${a}"), Piece::Reference("${b}")]);
        assert_eq!(split("x ${a"), [text("x "), Piece::Unclosed("${a")]);
        assert_eq!(split("$"), [text("$")]);
        assert_eq!(split(""), []);
    }
}
