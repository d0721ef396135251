//! What can go wrong with `helm` and its releases.

use std::path::PathBuf;

use thiserror::Error;

use crate::error::Class;
use crate::process::ProcessError;
use crate::tools::kube::KubeError;
use crate::tools::kube::manifest::ManifestError;

/// A failed use of `helm`, or a release that is not as it should be.
#[derive(Debug, Error)]
pub enum HelmError {
    /// There is no `helm` on PATH.
    #[error("`helm` is not on PATH")]
    Missing,
    /// What is called `helm` does not say a version that we understand.
    #[error("{} does not say which version of Helm it is: {said:?}", path.display())]
    Version {
        /// The program.
        path: PathBuf,
        /// What it said.
        said: String,
    },
    /// Helm is older than what we can drive.
    #[error("Helm {version} at {} is too old: version 3 or 4 is needed", path.display())]
    TooOld {
        /// The program.
        path: PathBuf,
        /// Its version.
        version: semver::Version,
    },
    /// Helm ran and failed.
    #[error("helm {command} of {release} failed: {message}")]
    Failed {
        /// `upgrade`, `uninstall`, …
        command: &'static str,
        /// The release or chart.
        release: String,
        /// Helm's last words, without secrets.
        message: String,
        /// Whether trying again may help.
        transient: bool,
    },
    /// Helm could not be run to its end.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A file for Helm could not be written.
    #[error("could not write the values for {release}")]
    Values {
        /// The release.
        release: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The release is in the middle of an operation of somebody who is alive.
    #[error("release {release} is {status} since {since}: {who} is at it")]
    Busy {
        /// The release.
        release: String,
        /// `pending-upgrade`, …
        status: String,
        /// Since when.
        since: String,
        /// Who.
        who: String,
    },
    /// A release record in the cluster cannot be read.
    #[error("the record of release {release} cannot be read: {reason}")]
    Record {
        /// The release.
        release: String,
        /// Why not.
        reason: String,
    },
    /// The manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The cluster could not be asked.
    #[error(transparent)]
    Kube(#[from] KubeError),
}

impl HelmError {
    /// What the caller can do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Missing | Self::Version { .. } | Self::TooOld { .. } => Class::Environment,
            Self::Failed { transient: true, .. } | Self::Busy { .. } => Class::Transient,
            Self::Failed { transient: false, .. } => Class::Input,
            Self::Process(error) => error.class(),
            Self::Values { .. } => Class::Environment,
            Self::Record { .. } => Class::Environment,
            Self::Manifest(error) => error.class(),
            Self::Kube(error) => error.class(),
        }
    }

    /// What to try.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Missing => Some(
                "install Helm 3 or 4 (https://helm.sh/docs/intro/install) or add the folder it is in to PATH"
                    .to_owned(),
            ),
            Self::TooOld { .. } => Some("install Helm 3 or 4 (https://helm.sh/docs/intro/install)".to_owned()),
            Self::Version { path, .. } => Some(format!("does `{} version` work?", path.display())),
            Self::Busy { .. } => Some("wait until it is done, then apply again".to_owned()),
            Self::Record { release, .. } => {
                Some(format!("`helm history {release}` shows its revisions; a damaged one has to be deleted by hand"))
            }
            Self::Process(error) => error.help(),
            Self::Kube(error) => error.help(),
            Self::Failed { message, .. } => hint(message).map(str::to_owned),
            Self::Values { .. } | Self::Manifest(_) => None,
        }
    }
}

/// What to try about the things that Helm says most often.
fn hint(message: &str) -> Option<&'static str> {
    let hints = [
        (
            "another operation",
            "another helm is at this release; when none is, apply again: a release left pending is recovered",
        ),
        ("values don't meet the specifications", "the values do not fit the chart's values.schema.json"),
        (
            "invalid ownership metadata",
            "the object exists and belongs to no release or to another one; `adopt = true` takes it over",
        ),
        (
            "cannot be imported into the current release",
            "the object exists and belongs to another release; `adopt = true` takes it over",
        ),
        ("no matches for kind", "the cluster does not know that kind: install its CustomResourceDefinition first"),
        (
            "missing in charts/ directory",
            "the chart's dependencies are not there: `helm dependency build` fetches them",
        ),
        ("field is immutable", "that field cannot be changed on a live object: delete the object, then apply again"),
        ("exceeded quota", "the namespace's quota is used up: raise it or ask for less"),
        ("denied the request", "an admission webhook refused the object; its message says why"),
    ];
    hints.iter().find(|(words, _)| message.contains(words)).map(|(_, hint)| *hint)
}
