//! The language in which the keys of the stack file are described, once: what stands where, of which type, and why.
//!
//! The table itself is in [`super::keys`]. It has three readers: the check of a file, the suggestions for a key that
//! does not exist, and the JSON schema for editors. So they cannot disagree.

/// A table with fixed keys.
#[derive(Debug)]
pub(super) struct TableShape {
    /// The table as it is spoken of: `[image.NAME]`.
    pub title: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// Its keys, in the order in which they are shown.
    pub keys: &'static [Key],
    /// Groups of keys of which no two may stand together.
    pub one_of: &'static [OneOf],
}

/// Keys that exclude each other.
#[derive(Debug)]
pub(super) struct OneOf {
    /// The keys.
    pub keys: &'static [&'static str],
    /// One of them has to be there.
    pub required: bool,
}

/// A key of a table.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name, kebab-case.
    pub name: &'static str,
    /// What it may hold.
    pub shape: Shape,
    /// The table makes no sense without it.
    pub required: bool,
    /// What holds when it is not there, in words or as TOML; empty if nothing does.
    pub default: &'static str,
    /// What it means.
    pub doc: &'static str,
}

/// A key that may be left out.
pub(super) const fn opt(name: &'static str, shape: Shape, default: &'static str, doc: &'static str) -> Key {
    Key { name, shape, required: false, default, doc }
}

/// A key that has to be there.
pub(super) const fn req(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key { name, shape, required: true, default: "", doc }
}

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// Text that is known when the file is read.
    Text,
    /// Text that may refer to outputs of steps and to secrets.
    Template,
    /// Text, a number or a boolean, that may refer to outputs of steps and to secrets.
    Scalar,
    /// Anything at all, with references in its strings.
    Value,
    /// Text, a number or a boolean, without any reference: the plain form of a variable.
    Constant,
    /// `true` or `false`.
    Bool,
    /// A whole number within bounds.
    Integer(i64, i64),
    /// `90s`, `2m`, `1h30m`.
    Duration,
    /// `4g`, `512m`.
    Size,
    /// A name by our rule: `[a-z0-9-]`.
    Name,
    /// A version requirement, `>=0.1`.
    Requirement,
    /// A path relative to the stack file.
    Path,
    /// A path pattern relative to the stack file.
    Glob,
    /// The name of a step.
    Step,
    /// One of a few words.
    Choice(&'static [(&'static str, &'static str)]),
    /// A list.
    List(&'static Shape),
    /// A table whose keys the user chooses freely.
    Map(&'static Shape),
    /// A table whose keys are names of things: `[image.NAME]`.
    Named(&'static Shape),
    /// A table with fixed keys.
    Table(&'static TableShape),
    /// The first of these that has the type of the value.
    Either(&'static [Shape]),
}

impl Shape {
    /// What is expected, for people: `a string`.
    pub fn expected(&self) -> String {
        match self {
            Self::Text
            | Self::Template
            | Self::Name
            | Self::Requirement
            | Self::Path
            | Self::Glob
            | Self::Choice(_) => "a string".to_owned(),
            Self::Step => "the name of a step".to_owned(),
            Self::Scalar | Self::Constant => "a string, a number or a boolean".to_owned(),
            Self::Value => "a string, a number, a boolean, a list or a table".to_owned(),
            Self::Bool => "`true` or `false`".to_owned(),
            Self::Integer(..) => "an integer".to_owned(),
            Self::Duration => "a duration such as \"90s\" or \"2m\"".to_owned(),
            Self::Size => "a size such as \"512m\" or \"4g\"".to_owned(),
            Self::List(of) => format!("a list of {}", of.plural()),
            Self::Map(_) | Self::Named(_) | Self::Table(_) => "a table".to_owned(),
            Self::Either(shapes) => {
                let all: Vec<_> = shapes.iter().map(Self::expected).collect();
                match all.as_slice() {
                    [] => "nothing".to_owned(),
                    [only] => only.clone(),
                    [init @ .., last] => format!("{} or {last}", init.join(", ")),
                }
            }
        }
    }

    fn plural(&self) -> &'static str {
        match self {
            Self::Text | Self::Template | Self::Scalar | Self::Constant | Self::Name | Self::Requirement => "strings",
            Self::Choice(_) => "strings",
            Self::Value | Self::Either(_) => "values",
            Self::Bool => "booleans",
            Self::Integer(..) => "integers",
            Self::Duration => "durations",
            Self::Size => "sizes",
            Self::Path => "paths",
            Self::Glob => "path patterns",
            Self::Step => "step names",
            Self::List(_) => "lists",
            Self::Map(_) | Self::Named(_) | Self::Table(_) => "tables",
        }
    }
}
