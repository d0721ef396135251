//! Which `helm` there is, and what it understands.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use semver::Version;
use serde::{Deserialize, Serialize};

use super::error::HelmError;
use crate::process::{Cancel, Capture, Command, capture};

const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// The `helm` of this machine. Finding out its version costs a process, so that whoever has a place for it keeps this
/// and asks [`Helm::is_still`] the next time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Helm {
    /// The program.
    pub path: PathBuf,
    /// Its version.
    pub version: Version,
    /// When the file changed last, in nanoseconds since 1970.
    modified: u128,
    /// Its size in bytes.
    size: u64,
}

impl Helm {
    /// The program called `helm` that a value of `$PATH` leads to.
    pub fn locate(path: Option<&OsStr>) -> Result<PathBuf, HelmError> {
        let folders = path.map(|path| env::split_paths(path).collect::<Vec<_>>()).unwrap_or_default();
        folders.into_iter().map(|folder| folder.join("helm")).find(|file| is_program(file)).ok_or(HelmError::Missing)
    }

    /// Asks a program which version of Helm it is.
    pub async fn ask(path: &Path, cancel: &Cancel) -> Result<Self, HelmError> {
        let (modified, size) = stamp(path).ok_or(HelmError::Missing)?;
        let command = Command::new(path).args(["version", "--template", "{{.Version}}"]);
        let limits = Capture { timeout: ANSWER_WITHIN, ..Capture::default() };
        let output = capture(&command, cancel, limits).await?;
        let said = output.stdout_text().trim().to_owned();
        let version = said
            .strip_prefix('v')
            .and_then(|version| Version::parse(version).ok())
            .ok_or(HelmError::Version { path: path.to_owned(), said })?;
        if version.major < 3 {
            return Err(HelmError::TooOld { path: path.to_owned(), version });
        }
        Ok(Self { path: path.to_owned(), version, modified, size })
    }

    /// Whether the file is the same as when its version was asked.
    pub fn is_still(&self) -> bool {
        stamp(&self.path) == Some((self.modified, self.size))
    }

    /// The major version: 3, 4, …
    pub fn major(&self) -> u64 {
        self.version.major
    }
}

fn stamp(path: &Path) -> Option<(u128, u64)> {
    let data = path.metadata().ok()?;
    let modified = data.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((modified.as_nanos(), data.len()))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn program(folder: &Path, mode: u32, said: &str) -> PathBuf {
        let path = folder.join("helm");
        std::fs::write(&path, format!("#!/bin/sh\nprintf %s '{said}'\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn the_first_program_of_the_name_wins() {
        let (plain, real) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        program(plain.path(), 0o644, "");
        let expected = program(real.path(), 0o755, "");
        let path = env::join_paths([plain.path(), real.path()]).unwrap();
        assert_eq!(Helm::locate(Some(&path)).unwrap(), expected);
        let error = Helm::locate(Some(plain.path().as_os_str())).unwrap_err();
        assert!(matches!(error, HelmError::Missing));
        assert_eq!(error.class(), crate::error::Class::Environment);
    }

    #[tokio::test]
    async fn versions_are_read_and_old_ones_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = program(folder.path(), 0o755, "v3.17.2");
        let helm = Helm::ask(&path, &Cancel::never()).await.unwrap();
        assert_eq!((helm.major(), helm.is_still()), (3, true));
        program(folder.path(), 0o755, "v2.16.10");
        assert!(!helm.is_still());
        assert!(matches!(Helm::ask(&path, &Cancel::never()).await, Err(HelmError::TooOld { .. })));
        program(folder.path(), 0o755, "Client: v2");
        assert!(matches!(Helm::ask(&path, &Cancel::never()).await, Err(HelmError::Version { .. })));
    }
}
