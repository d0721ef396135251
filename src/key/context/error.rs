//! What can go wrong while a build context is read.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::ignore::BadPattern;
use crate::error::Class;

/// A build context that cannot be read.
#[derive(Debug, Error)]
pub enum ContextError {
    /// A file or folder cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        reason: String,
        /// Whether it is not there, or not any more.
        is_absent: bool,
    },
    /// The context is no folder.
    #[error("the build context {} is no folder", path.display())]
    NoFolder {
        /// The path.
        path: PathBuf,
    },
    /// A file name that a build cannot carry.
    #[error("the name of {} is not valid UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
    },
    /// A file was written to all the time, or went and came.
    #[error("{} keeps changing while it is being read", path.display())]
    Unsteady {
        /// The file.
        path: PathBuf,
    },
    /// Whoever wanted it does not any more.
    #[error("interrupted while {} was being read", path.display())]
    Interrupted {
        /// The file.
        path: PathBuf,
    },
    /// The ignore file has a line that is no pattern.
    #[error("{}: {source}", path.display())]
    Ignore {
        /// The ignore file.
        path: PathBuf,
        /// What is wrong with it.
        source: BadPattern,
    },
}

impl ContextError {
    /// What the caller can do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Unreadable { .. } | Self::NoFolder { .. } | Self::NotUtf8 { .. } | Self::Ignore { .. } => {
                Class::Input
            }
            Self::Unsteady { .. } => Class::Transient,
            Self::Interrupted { .. } => Class::Environment,
        }
    }

    /// What to try, where something can be tried.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NotUtf8 { .. } => "rename it, or name it in the ignore file".to_owned(),
            Self::Unsteady { .. } => {
                "keep logs and other moving files out of the context by its ignore file".to_owned()
            }
            Self::Unreadable { .. } => "if no build needs it, name it in the ignore file".to_owned(),
            Self::NoFolder { .. } | Self::Interrupted { .. } | Self::Ignore { .. } => return None,
        })
    }

    pub(super) fn unreadable(path: impl Into<PathBuf>, error: &io::Error) -> Self {
        let is_absent = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
        Self::Unreadable { path: path.into(), reason: error.to_string(), is_absent }
    }
}
