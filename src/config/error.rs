//! What is wrong with a stack file: every error with its place, the offending part and what was probably meant.
//!
//! These are miette diagnostics; how they are drawn, and whether in colour, is for `report` to decide.

use std::fmt;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};

use super::span::Span;
use crate::error::Class;

/// The text of the stack file under the name it is shown by.
pub type Source = Arc<NamedSource<String>>;

/// At most so many errors are shown; a file with more has one cause, and a terminal has an end.
const SHOWN: usize = 50;

/// One thing that is wrong with the stack file.
#[derive(Clone)]
pub struct ConfigError {
    message: String,
    labels: Vec<LabeledSpan>,
    help: Option<String>,
    source: Option<Source>,
    severity: Severity,
}

impl ConfigError {
    /// An error without a place: the command line or the environment is wrong.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), labels: Vec::new(), help: None, source: None, severity: Severity::Error }
    }

    /// Underlines `span` of the file, with a few words below it.
    #[must_use]
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(LabeledSpan::new_with_span(Some(text.into()), span));
        self
    }

    /// What was meant, or what to try; empty for nothing.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        self.maybe_help(Some(help))
    }

    /// What was meant, if that is known.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<impl Into<String>>) -> Self {
        self.help = help.map(Into::into).filter(|help| !help.is_empty());
        self
    }

    /// Says that the labels are places in `source`.
    #[must_use]
    pub fn within(mut self, source: &Source) -> Self {
        self.source = Some(Arc::clone(source));
        self
    }

    /// Makes it a warning: worth knowing, nothing to stop for.
    #[must_use]
    pub fn as_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// The sentence that says what is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The position that decides where the error is listed.
    fn position(&self) -> usize {
        self.labels.iter().map(LabeledSpan::offset).min().unwrap_or_default()
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the source: it is the whole file.
        f.debug_struct("ConfigError")
            .field("message", &self.message)
            .field("labels", &self.labels)
            .field("help", &self.help)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

impl Diagnostic for ConfigError {
    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_deref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.labels.is_empty()).then(|| Box::new(self.labels.iter().cloned()) as Box<dyn Iterator<Item = _>>)
    }
}

/// Everything that is wrong with the stack file, in the order of the file. Never empty.
#[derive(Debug, Clone)]
pub struct ConfigErrors {
    name: String,
    errors: Vec<ConfigError>,
}

impl ConfigErrors {
    /// The errors of the file shown as `name`, sorted by place.
    pub(crate) fn new(name: impl Into<String>, mut errors: Vec<ConfigError>) -> Self {
        errors.sort_by_key(ConfigError::position);
        Self { name: name.into(), errors }
    }

    /// All of them.
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }

    /// A wrong stack file is always the user's to mend.
    pub fn class(&self) -> Class {
        Class::Input
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errors.len() {
            1 => write!(f, "{} has an error", self.name),
            n if n > SHOWN => write!(f, "{} has {n} errors, of which these are the first {SHOWN}", self.name),
            n => write!(f, "{} has {n} errors", self.name),
        }
    }
}

impl std::error::Error for ConfigErrors {}

impl Diagnostic for ConfigErrors {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.errors.iter().take(SHOWN).map(|error| error as &dyn Diagnostic)))
    }
}

/// The known name that is nearest to what was written, if any is near enough to have been meant.
pub(crate) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let fold = |text: &str| text.to_lowercase().replace('_', "-");
    let written = fold(written);
    known
        .into_iter()
        .filter_map(|name| {
            let folded = fold(name);
            let distance = strsim::damerau_levenshtein(&written, &folded);
            // A third of the letters may be wrong; a name that is only cut off or extended is near, too.
            let letters = written.chars().count();
            let near = distance <= (letters.max(folded.chars().count()) / 3).max(1) && distance < letters;
            let part = written.len() >= 3 && (folded.starts_with(&written) || written.starts_with(&folded));
            (near || part).then_some((distance, name))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The names as a list for people, cut off where it stops being helpful.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => "none".to_owned(),
        [only] => only.clone(),
        many if many.len() > 16 => format!("{}, … ({} in all)", many[..14].join(", "), many.len()),
        [init @ .., last] => format!("{} or {last}", init.join(", ")),
    }
}

/// `did you mean …?` if something is near, else what there is.
pub(crate) fn meant<'a>(written: &str, what: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(written, known.clone()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => match known.clone().into_iter().next() {
            None => format!("there are no {what} in this file"),
            Some(_) => format!("{what}: {}", list(known)),
        },
    }
}

/// `a` or `an`, with the noun.
pub(crate) fn article(noun: &str) -> String {
    let an = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if an { "an" } else { "a" })
}
