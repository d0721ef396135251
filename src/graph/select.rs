//! Which steps a command is about: ids, names and patterns, with what they need or what needs them.

use std::collections::HashSet;

use globset::{GlobBuilder, GlobMatcher};

use super::{Graph, StepId, StepIndex, StepKind};
use crate::config::{meant, nearest, parse_step};
use crate::error::Class;

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Ids (`chart:todo`, `chart.todo`), names (`todo`) or patterns (`build:*`); none means everything.
    pub patterns: Vec<String>,
    /// Leave out what they need.
    pub no_deps: bool,
    /// Add what needs them.
    pub downstream: bool,
    /// Of those that the patterns mean, only these.
    pub among: Option<HashSet<StepId>>,
}

/// A set of steps of one graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepSet {
    members: Vec<bool>,
    len: usize,
}

impl StepSet {
    fn none(steps: usize) -> Self {
        Self { members: vec![false; steps], len: 0 }
    }

    /// Every step of a graph.
    pub fn all(graph: &Graph) -> Self {
        Self { members: vec![true; graph.len()], len: graph.len() }
    }

    /// These steps of a graph.
    pub fn of(graph: &Graph, steps: impl IntoIterator<Item = StepIndex>) -> Self {
        let mut set = Self::none(graph.len());
        steps.into_iter().for_each(|step| {
            set.insert(step);
        });
        set
    }

    /// The step is in it.
    pub fn contains(&self, step: StepIndex) -> bool {
        self.members.get(step.index()).copied().unwrap_or_default()
    }

    /// How many are in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// None is in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The steps in it, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = StepIndex> {
        self.members.iter().enumerate().filter(|(_, member)| **member).map(|(index, _)| StepIndex(index as u32))
    }

    /// Adds a step; says whether it is new.
    fn insert(&mut self, step: StepIndex) -> bool {
        let new = !std::mem::replace(&mut self.members[step.index()], true);
        self.len += usize::from(new);
        new
    }

    /// Adds everything that is reached from its members.
    fn close<'g>(&mut self, next: impl Fn(StepIndex) -> &'g [StepIndex]) {
        let mut todo: Vec<_> = self.iter().collect();
        while let Some(step) = todo.pop() {
            todo.extend(next(step).iter().copied().filter(|step| self.insert(*step)));
        }
    }
}

/// A pattern that is wrong, or that no step has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub struct SelectError {
    /// As it was given.
    pub pattern: String,
    /// What was probably meant.
    pub help: String,
}

impl SelectError {
    fn message(&self) -> String {
        match self.pattern.trim() {
            "" => "the name of a step is empty".to_owned(),
            pattern => format!("no step is called `{pattern}`"),
        }
    }

    /// The command line is the user's.
    pub fn class(&self) -> Class {
        Class::Input
    }
}

impl Graph {
    /// The steps that are meant.
    ///
    /// # Errors
    /// A pattern that matches nothing.
    pub fn select(&self, selection: &Selection) -> Result<StepSet, SelectError> {
        let mut set = match selection.patterns.as_slice() {
            [] => StepSet::all(self),
            patterns => {
                let mut set = StepSet::none(self.len());
                for pattern in patterns {
                    self.matching(pattern)?.into_iter().for_each(|step| {
                        set.insert(step);
                    });
                }
                set
            }
        };
        if let Some(among) = &selection.among {
            set = StepSet::of(self, set.iter().filter(|&step| among.contains(self.id(step))));
        }
        if set.len() == self.len() {
            return Ok(set);
        }
        if selection.downstream {
            set.close(|step| self.dependents(step));
        }
        if !selection.no_deps {
            set.close(|step| self.needs(step));
        }
        Ok(set)
    }

    /// The steps that one pattern matches, at least one.
    ///
    /// # Errors
    /// It matches nothing.
    pub fn matching(&self, pattern: &str) -> Result<Vec<StepIndex>, SelectError> {
        // An exact id needs no walk over a million steps.
        if let Some(step) = parse_step(pattern).and_then(|id| self.find(&id)) {
            return Ok(vec![step]);
        }
        let matcher = Matcher::new(pattern).ok_or_else(|| SelectError {
            pattern: pattern.to_owned(),
            help: "patterns are like `build:*`, `*:backend` or `todo`".to_owned(),
        })?;
        let found: Vec<_> = self.steps().filter(|(_, id)| matcher.matches(id)).map(|(step, _)| step).collect();
        if found.is_empty() { Err(self.unknown(pattern)) } else { Ok(found) }
    }

    fn unknown(&self, pattern: &str) -> SelectError {
        let ids: Vec<String> = self.steps().map(|(_, id)| id.to_string()).collect();
        let names: Vec<&str> = self.steps().map(|(_, id)| id.name()).filter(|name| !name.is_empty()).collect();
        let written = pattern.replacen('.', ":", 1).replacen("image:", "build:", 1);
        let help = match nearest(pattern, names.iter().copied()).filter(|_| !written.contains(':')) {
            Some(name) => format!("did you mean `{name}`?"),
            None => meant(&written, "the steps are", ids.iter().map(String::as_str))
                .replace("the steps are:", "the steps are"),
        };
        SelectError { pattern: pattern.to_owned(), help }
    }
}

/// A pattern, ready to be matched.
struct Matcher {
    kind: Option<Text>,
    name: Text,
}

enum Text {
    Exact(String),
    Glob(GlobMatcher),
}

impl Text {
    fn new(text: &str) -> Option<Self> {
        if !text.contains(['*', '?', '[', '{']) {
            return Some(Self::Exact(text.to_owned()));
        }
        Some(Self::Glob(GlobBuilder::new(text).build().ok()?.compile_matcher()))
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == text,
            Self::Glob(glob) => glob.is_match(text),
        }
    }
}

impl Matcher {
    fn new(pattern: &str) -> Option<Self> {
        let (kind, name) = match pattern.split_once([':', '.']) {
            // In the file an image is a thing, and its build the step that makes it.
            Some(("image", name)) => (Some("build"), name),
            Some((kind, name)) => (Some(kind), name),
            None => (None, pattern),
        };
        let kind = kind.map(Text::new);
        if matches!(kind, Some(None)) {
            return None;
        }
        Some(Self { kind: kind.flatten(), name: Text::new(name)? })
    }

    fn matches(&self, id: &StepId) -> bool {
        let kind = self.kind.as_ref().is_none_or(|kind| kind.matches(id.kind().as_str()));
        let name = match id.kind() {
            // The cluster has no name but its kind; a pattern that names a kind means things that have a name.
            StepKind::Cluster if self.kind.is_none() => self.name.matches(id.kind().as_str()),
            StepKind::Cluster => self.name.matches(""),
            StepKind::Build | StepKind::Load | StepKind::Chart | StepKind::Ready | StepKind::Task => {
                self.name.matches(id.name())
            }
        };
        kind && name
    }
}
