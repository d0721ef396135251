//! Values of the stack file that are known only in a run: text with references to the outputs of steps.
//!
//! What can be known when the file is read (`${var.…}`, `${env.…}`, `${stack.name}`, most of `${cluster.…}`) is put in
//! then; a [`Template`] holds what is left: literal text, secrets, and references that become edges of the graph.

use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value as Json;

use super::span::{Span, Spanned};

/// What stands for a secret wherever values are shown.
pub const REDACTED: &str = "<secret>";

/// Something that a step puts out, by name: `image.backend.tag`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OutputRef {
    /// Of the build of an image.
    Image {
        /// The image's name in the file.
        name: Arc<str>,
        /// Which output.
        field: ImageField,
    },
    /// Of the release of a chart.
    Chart {
        /// The chart's name in the file.
        name: Arc<str>,
        /// Which output.
        field: ChartField,
    },
    /// What a task printed on its standard output, without the line end at its end.
    Task {
        /// The task's name in the file.
        name: Arc<str>,
    },
    /// The address of the cluster's node, `${cluster.ip}`: the one field that only a running cluster knows.
    ClusterIp,
}

/// The outputs of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ImageField {
    /// `todo-backend`, without a tag.
    Repository,
    /// The tag alone.
    Tag,
    /// Repository and tag.
    Ref,
    /// The image ID, `sha256:…`.
    Id,
}

/// The outputs of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChartField {
    /// The release's name.
    Release,
    /// The namespace it is in.
    Namespace,
    /// Its revision, a number.
    Revision,
}

impl ImageField {
    pub(super) const ALL: [(&'static str, Self); 4] =
        [("repository", Self::Repository), ("tag", Self::Tag), ("ref", Self::Ref), ("id", Self::Id)];
}

impl ChartField {
    pub(super) const ALL: [(&'static str, Self); 3] =
        [("release", Self::Release), ("namespace", Self::Namespace), ("revision", Self::Revision)];
}

impl fmt::Display for OutputRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image { name, field } => {
                let field = ImageField::ALL.iter().find(|(_, known)| known == field).map_or("", |(text, _)| text);
                write!(f, "image.{name}.{field}")
            }
            Self::Chart { name, field } => {
                let field = ChartField::ALL.iter().find(|(_, known)| known == field).map_or("", |(text, _)| text);
                write!(f, "chart.{name}.{field}")
            }
            Self::Task { name } => write!(f, "task.{name}.stdout"),
            Self::ClusterIp => f.write_str("cluster.ip"),
        }
    }
}

/// Who knows the outputs of steps that have run.
pub trait Outputs {
    /// The value of an output, or nothing while it is not known.
    fn output(&self, output: &OutputRef) -> Option<Json>;
}

/// No step has run.
#[derive(Debug, Clone, Copy)]
pub struct NoOutputs;

impl Outputs for NoOutputs {
    fn output(&self, _: &OutputRef) -> Option<Json> {
        None
    }
}

/// A value needs an output that is not known yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`${{{0}}}` is not known yet")]
pub struct UnknownOutput(pub OutputRef);

/// A piece of a template.
#[derive(Debug, Clone)]
pub enum Part {
    /// Literal text.
    Text(Arc<str>),
    /// The value of a secret variable.
    Secret(SecretString),
    /// The output of a step.
    Output(Spanned<OutputRef>),
}

/// A string of the stack file, its static references already put in.
#[derive(Debug, Clone)]
pub struct Template {
    parts: Parts,
    span: Span,
}

/// Nearly all strings are one piece, and there are tens of thousands in a large file.
#[derive(Debug, Clone)]
enum Parts {
    One(Part),
    Some(Vec<Part>),
}

impl Template {
    /// Text without references.
    pub fn literal(text: impl Into<Arc<str>>, span: Span) -> Self {
        Self { parts: Parts::One(Part::Text(text.into())), span }
    }

    pub(super) fn new(parts: Vec<Part>, span: Span) -> Self {
        Self { parts: Parts::Some(parts), span }
    }

    /// The pieces, in order.
    pub fn parts(&self) -> &[Part] {
        match &self.parts {
            Parts::One(part) => std::slice::from_ref(part),
            Parts::Some(parts) => parts,
        }
    }

    /// Where the whole string stands in the file.
    pub fn span(&self) -> Span {
        self.span
    }

    /// The references to outputs of steps.
    pub fn outputs(&self) -> impl Iterator<Item = &Spanned<OutputRef>> {
        self.parts().iter().filter_map(|part| match part {
            Part::Output(output) => Some(output),
            Part::Text(_) | Part::Secret(_) => None,
        })
    }

    /// It holds the value of a secret variable.
    pub fn is_secret(&self) -> bool {
        self.parts().iter().any(|part| matches!(part, Part::Secret(_)))
    }

    /// The text, if it holds neither a reference to an output nor a secret.
    pub fn as_literal(&self) -> Option<&str> {
        match self.parts() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The value in a run. A string that is one reference keeps the type of the output.
    pub fn resolve(&self, outputs: &dyn Outputs) -> Result<Resolved, UnknownOutput> {
        let known = |output: &OutputRef| outputs.output(output).ok_or_else(|| UnknownOutput(output.clone()));
        if let [Part::Output(output)] = self.parts() {
            return known(output).map(Resolved::Plain);
        }
        let mut text = String::new();
        for part in self.parts() {
            match part {
                Part::Text(piece) => text.push_str(piece),
                Part::Secret(secret) => text.push_str(secret.expose_secret()),
                Part::Output(output) => match known(output)? {
                    Json::String(piece) => text.push_str(&piece),
                    other => text.push_str(&other.to_string()),
                },
            }
        }
        Ok(if self.is_secret() { Resolved::Secret(text.into()) } else { Resolved::Plain(Json::String(text)) })
    }
}

/// As it was written, as far as that can be told: secrets are not shown.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts().iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Secret(_) => f.write_str(REDACTED),
            Part::Output(output) => write!(f, "${{{output}}}"),
        })
    }
}

/// A value of any type whose strings may hold references: what is given to a chart.
#[derive(Debug, Clone)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// Text.
    Template(Template),
    /// A list.
    List(Vec<Value>),
    /// A table, in the order of the file.
    Map(IndexMap<String, Value>),
}

impl Value {
    /// Calls `visit` with every reference to an output in it.
    pub fn each_output<'a>(&'a self, visit: &mut dyn FnMut(&'a Spanned<OutputRef>)) {
        match self {
            Self::Bool(_) | Self::Integer(_) | Self::Float(_) => {}
            Self::Template(template) => template.outputs().for_each(visit),
            Self::List(list) => list.iter().for_each(|value| value.each_output(visit)),
            Self::Map(map) => map.values().for_each(|value| value.each_output(visit)),
        }
    }

    /// The value in a run.
    pub fn resolve(&self, outputs: &dyn Outputs) -> Result<Resolved, UnknownOutput> {
        Ok(match self {
            Self::Bool(value) => Resolved::Plain(Json::Bool(*value)),
            Self::Integer(value) => Resolved::Plain(Json::from(*value)),
            Self::Float(value) => Resolved::Plain(Json::from(*value)),
            Self::Template(template) => template.resolve(outputs)?,
            Self::List(list) => {
                Resolved::List(list.iter().map(|value| value.resolve(outputs)).collect::<Result<_, _>>()?)
            }
            Self::Map(map) => Resolved::Map(
                map.iter()
                    .map(|(key, value)| Ok((key.clone(), value.resolve(outputs)?)))
                    .collect::<Result<_, UnknownOutput>>()?,
            ),
        })
    }
}

/// A value with everything put in.
#[derive(Debug, Clone)]
pub enum Resolved {
    /// Nothing secret in it.
    Plain(Json),
    /// Text that holds a secret.
    Secret(SecretString),
    /// A list, some of which may be secret.
    List(Vec<Resolved>),
    /// A table, some of which may be secret.
    Map(IndexMap<String, Resolved>),
}

impl Resolved {
    /// There is a secret somewhere in it.
    pub fn is_secret(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Secret(_) => true,
            Self::List(list) => list.iter().any(Self::is_secret),
            Self::Map(map) => map.values().any(Self::is_secret),
        }
    }

    /// The value with [`REDACTED`] for every secret: fit to be shown.
    pub fn redacted(&self) -> Json {
        self.json(&|_| REDACTED.to_owned())
    }

    /// The value with its secrets: for a file that only its owner can read, or a child's environment. Never to be shown.
    pub fn exposed(&self) -> Json {
        self.json(&|secret| secret.expose_secret().to_owned())
    }

    /// The value as text for an argument or a variable of the environment: a string as it is, all else as JSON.
    pub fn exposed_text(&self) -> SecretString {
        match self {
            Self::Secret(secret) => secret.clone(),
            other => match other.exposed() {
                Json::String(text) => text.into(),
                json => json.to_string().into(),
            },
        }
    }

    /// The value as text with [`REDACTED`] in the place of one that is secret.
    pub fn redacted_text(&self) -> String {
        match self.redacted() {
            Json::String(text) => text,
            json => json.to_string(),
        }
    }

    fn json(&self, show: &dyn Fn(&SecretString) -> String) -> Json {
        match self {
            Self::Plain(json) => json.clone(),
            Self::Secret(secret) => Json::String(show(secret)),
            Self::List(list) => list.iter().map(|value| value.json(show)).collect(),
            Self::Map(map) => map.iter().map(|(key, value)| (key.clone(), value.json(show))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Tags;

    impl Outputs for Tags {
        fn output(&self, output: &OutputRef) -> Option<Json> {
            match output {
                OutputRef::Image { name, field: ImageField::Tag } => Some(Json::from(format!("{name}-tag"))),
                OutputRef::Chart { field: ChartField::Revision, .. } => Some(Json::from(7)),
                _ => None,
            }
        }
    }

    fn output(output: OutputRef) -> Part {
        Part::Output(Spanned::default_of(output))
    }

    fn tag() -> OutputRef {
        OutputRef::Image { name: "api".into(), field: ImageField::Tag }
    }

    #[test]
    fn outputs_are_put_into_text_and_keep_their_type_alone() {
        let revision = OutputRef::Chart { name: "a".into(), field: ChartField::Revision };
        let text = Template::new(
            vec![Part::Text("x:".into()), output(tag()), Part::Text("/".into()), output(revision.clone())],
            Span::default(),
        );
        assert_eq!(text.resolve(&Tags).unwrap().redacted(), Json::from("x:api-tag/7"));
        assert_eq!(text.to_string(), "x:${image.api.tag}/${chart.a.revision}");
        let alone = Template::new(vec![output(revision)], Span::default());
        assert_eq!(alone.resolve(&Tags).unwrap().exposed(), Json::from(7));
    }

    #[test]
    fn an_output_that_is_not_known_is_named() {
        let template = Template::new(vec![output(tag())], Span::default());
        assert_eq!(template.resolve(&NoOutputs).unwrap_err().to_string(), "`${image.api.tag}` is not known yet");
    }

    #[test]
    fn secrets_are_shown_to_nobody_by_accident() {
        let template =
            Template::new(vec![Part::Text("key=".into()), Part::Secret("hunter2".to_owned().into())], Span::default());
        let resolved = Resolved::Map([("k".to_owned(), template.resolve(&NoOutputs).unwrap())].into_iter().collect());
        assert!(resolved.is_secret());
        for shown in
            [format!("{template:?} {template} {resolved:?}"), resolved.redacted().to_string(), resolved.redacted_text()]
        {
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        assert_eq!(resolved.exposed().to_string(), r#"{"k":"key=hunter2"}"#);
    }
}
