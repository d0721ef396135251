//! What every part of the reading of one file shares: its text, and the errors found so far.

use super::error::{ConfigError, Source};

/// The reading of one file.
pub(super) struct Context<'t> {
    /// The text of the file.
    pub text: &'t str,
    /// The same, as the errors carry it.
    pub source: Source,
    /// There are errors of syntax: what follows from the tree may be nonsense.
    pub syntax_errors: bool,
    /// All errors so far.
    pub errors: Vec<ConfigError>,
}

/// After so many errors no more names are compared: nobody reads that far, and in a file with ten thousand tasks each
/// comparison is with ten thousand names.
const SUGGESTED: usize = 200;

impl Context<'_> {
    /// Another reading of the same file, by somebody else.
    pub fn another(&self) -> Self {
        Self { errors: Vec::new(), source: Source::clone(&self.source), ..*self }
    }

    /// It is still worth while to look for what was meant.
    pub fn suggests(&self) -> bool {
        self.errors.len() < SUGGESTED
    }

    /// Notes an error in the file.
    pub fn report(&mut self, error: ConfigError) {
        self.errors.push(error.within(&self.source));
    }
}
