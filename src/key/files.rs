//! Digests of the few files that are no build context: a chart's, and values files.

use std::io;
use std::path::{Path, PathBuf};

use super::helmignore::HelmIgnore;
use crate::error::Class;

/// A file with its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDigest {
    /// Relative to the folder, with `/`.
    pub path: String,
    /// Of its content.
    pub digest: String,
}

/// A file that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("can't read {}", path.display())]
pub struct FilesError {
    path: PathBuf,
    source: io::Error,
}

impl FilesError {
    /// The file is the user's.
    pub fn class(&self) -> Class {
        Class::Input
    }
}

/// The digest of some bytes.
pub fn digest_bytes(bytes: &[u8]) -> String {
    format!("blake3:{}", blake3::hash(bytes).to_hex())
}

/// The digest of a file's content, whatever its name and mode; links are followed.
///
/// # Errors
/// When it can't be read.
pub fn digest(path: &Path) -> Result<String, FilesError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(digest_bytes(&bytes)),
        Err(source) => Err(FilesError { path: path.to_owned(), source }),
    }
}

/// All files of a chart's folder that Helm looks at, sorted by path. Links are followed, as Helm does; the bits of a mode
/// that Helm does not look at don't count.
///
/// # Errors
/// When something in it can't be read.
pub fn chart(folder: &Path) -> Result<Vec<FileDigest>, FilesError> {
    let mut files = Vec::new();
    let ignore = match std::fs::read(folder.join(".helmignore")) {
        Ok(bytes) => HelmIgnore::parse(&String::from_utf8_lossy(&bytes)),
        // If it is there and can't be read, it is among the files, and the error comes then.
        Err(_) => HelmIgnore::parse(""),
    };
    let mut todo = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = todo.pop() {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| FilesError { path, source }
        };
        for entry in std::fs::read_dir(&folder).map_err(at(&folder))? {
            let entry = entry.map_err(at(&folder))?;
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let relative = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            // Most of what is ignored need not even be looked at.
            let told = entry.file_type().map_err(at(&path))?;
            if !told.is_symlink() && ignore.ignores(&relative, told.is_dir()) {
                continue;
            }
            let about = std::fs::metadata(&path).map_err(at(&path))?;
            if told.is_symlink() && ignore.ignores(&relative, about.is_dir()) {
                continue;
            }
            if about.is_dir() {
                todo.push((path, relative));
            } else {
                files.push(FileDigest { path: relative, digest: digest(&path)? });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}
