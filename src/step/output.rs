//! What steps put out for the steps that need them.

use crate::graph::StepId;

/// A value, or the step that has to run before it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known<T> {
    /// It is known.
    Yes(T),
    /// It is the output of a step that has not run.
    After(StepId),
}

impl<T> Known<T> {
    /// The value, if it is known.
    pub fn as_ref(&self) -> Known<&T> {
        match self {
            Self::Yes(value) => Known::Yes(value),
            Self::After(step) => Known::After(step.clone()),
        }
    }

    /// The known value, changed.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Known<U> {
        match self {
            Self::Yes(value) => Known::Yes(change(value)),
            Self::After(step) => Known::After(step),
        }
    }
}

/// What a step puts out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Nothing but its effect.
    None,
    /// A cluster that answers.
    Cluster {
        /// The uid of its namespace `kube-system`: what makes it this cluster and no other.
        uid: String,
        /// The address of its first node, when it tells one.
        ip: Option<String>,
    },
    /// An image in the engine that built it.
    Image {
        /// Its name without a tag.
        repository: String,
        /// Its ID, `sha256:…`.
        id: String,
    },
    /// A release.
    Release {
        /// Its revision.
        revision: u64,
        /// The uid of what Helm keeps of that revision: a release that was removed and installed again has the same number
        /// and another uid.
        uid: String,
    },
    /// A command that ran.
    Task {
        /// What it printed on stdout, without the line end at its end.
        stdout: Printed,
    },
}

/// What a command printed on stdout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Printed {
    /// This.
    Text(String),
    /// So many bytes, which are too many to be kept.
    TooLong(u64),
}

/// The tag under which an image is deployed: the first 12 hexadecimal digits of its ID.
pub fn deploy_tag(id: &str) -> &str {
    let hex = id.split_once(':').map_or(id, |(_, hex)| hex);
    hex.get(..12).unwrap_or(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deploy_tag_is_the_short_id() {
        assert_eq!(deploy_tag("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(deploy_tag("0123"), "0123");
    }
}
