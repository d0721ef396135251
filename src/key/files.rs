//! Digests of the few files that are no build context: a chart's, and values files.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::OWN_FOLDER;
use super::helmignore::HelmIgnore;
use crate::error::Class;

/// A file with its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDigest {
    /// Relative to the folder, with `/`.
    pub path: String,
    /// Of its content.
    pub digest: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// What was looked at, files and folders, and what the system said of it right before. A change there and back is seen as
/// well: it leaves another time behind, or another file.
#[derive(Debug, Clone, Default)]
pub struct Looked(Vec<(PathBuf, Option<Stamp>)>);

/// Device, inode, size, and when it changed last, in seconds and nanoseconds.
type Stamp = (u64, u64, u64, i64, i64);

fn stamp(path: &Path) -> Option<Stamp> {
    let data = std::fs::metadata(path).ok()?;
    Some((data.dev(), data.ino(), data.size(), data.ctime(), data.ctime_nsec()))
}

impl Looked {
    /// Notes a file or a folder that is about to be read.
    pub fn at(&mut self, path: &Path) {
        self.0.push((path.to_owned(), stamp(path)));
    }

    /// What is not any more as it was when it was looked at.
    pub fn changed(&self) -> Option<&Path> {
        self.0.iter().find(|(path, before)| stamp(path) != *before).map(|(path, _)| path.as_path())
    }
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
pub fn digest(path: &Path, looked: &mut Looked) -> Result<String, FilesError> {
    read(path, looked).map(|bytes| digest_bytes(&bytes))
}

fn read(path: &Path, looked: &mut Looked) -> Result<Vec<u8>, FilesError> {
    looked.at(path);
    std::fs::read(path).map_err(|source| FilesError { path: path.to_owned(), source })
}

/// All files of a chart's folder that Helm looks at, sorted by path. Links are followed, as Helm does; the bits of a mode
/// that Helm does not look at don't count.
///
/// # Errors
/// When something in it can't be read.
pub fn chart(folder: &Path, looked: &mut Looked) -> Result<Vec<FileDigest>, FilesError> {
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
        looked.at(&folder);
        for entry in std::fs::read_dir(&folder).map_err(at(&folder))? {
            let entry = entry.map_err(at(&folder))?;
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let relative = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            // Most of what is ignored need not even be looked at.
            let told = entry.file_type().map_err(at(&path))?;
            if told.is_dir() && entry.file_name() == OWN_FOLDER {
                continue;
            }
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
                let bytes = read(&path, looked)?;
                files.push(FileDigest { path: relative, digest: digest_bytes(&bytes), bytes });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stack_keeps_is_no_part_of_a_chart() {
        let folder = tempfile::tempdir().unwrap();
        for path in [".stack/lock", "files/.stack", "Chart.yaml"] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let files = chart(folder.path(), &mut Looked::default()).unwrap();
        assert_eq!(files.into_iter().map(|file| file.path).collect::<Vec<_>>(), ["Chart.yaml", "files/.stack"]);
    }

    #[test]
    fn a_change_there_and_back_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("v.yaml"), folder.path().join("other"));
        std::fs::write(&file, "a").unwrap();
        let (mut as_file, mut as_chart) = (Looked::default(), Looked::default());
        let before = digest(&file, &mut as_file).unwrap();
        chart(folder.path(), &mut as_chart).unwrap();
        assert_eq!((as_file.changed(), as_chart.changed()), (None, None));
        std::fs::write(&other, "b").unwrap();
        std::fs::rename(&file, folder.path().join("aside")).unwrap();
        std::fs::rename(&other, &file).unwrap();
        std::fs::write(&other, "a").unwrap();
        std::fs::rename(&other, &file).unwrap();
        std::fs::remove_file(folder.path().join("aside")).unwrap();
        assert_eq!(digest(&file, &mut Looked::default()).unwrap(), before);
        assert_eq!(as_file.changed(), Some(file.as_path()));
        assert!(as_chart.changed().is_some());
    }
}
