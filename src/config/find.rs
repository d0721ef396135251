//! Which stack file is meant.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::Class;

/// The variable of the environment that names the stack file.
pub const STACK_FILE: &str = "STACK_FILE";

const NAME: &str = "stack.toml";
const SUFFIX: &str = "-stack.toml";

/// No stack file, or not exactly one.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The file that was named is not there.
    #[error("there is no stack file `{path}`, which {by} names")]
    NotThere {
        /// As it was named.
        path: String,
        /// Who named it.
        by: &'static str,
    },
    /// Nothing in this folder or above.
    #[error("there is no stack file here: neither `{NAME}` nor a `*{SUFFIX}`, in `{start}` or any folder above")]
    None {
        /// Where the search began.
        start: String,
    },
    /// Several in one folder.
    #[error("there are several stack files in `{folder}`: {names}")]
    Several {
        /// The folder.
        folder: String,
        /// Their names.
        names: String,
    },
    /// A folder cannot be read.
    #[error("cannot look for a stack file in `{folder}`")]
    Unreadable {
        /// The folder.
        folder: String,
        /// Why.
        source: io::Error,
    },
}

impl FindError {
    /// All of these are for the user to mend.
    pub fn class(&self) -> Class {
        Class::Input
    }

    /// What to try.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::NotThere { .. } | Self::Unreadable { .. } => None,
            Self::None { .. } => Some("`stack init` writes a first one; `-f FILE` names one elsewhere"),
            Self::Several { .. } => Some("say which one with `-f FILE`"),
        }
    }
}

/// The stack file: `file` (of `-f`), else `variable` (of [`STACK_FILE`]), else `stack.toml` or the one `*-stack.toml` in
/// `start` or the nearest folder above. A named file is relative to `start`; so is the result, where it can be, since
/// that is how it is shown.
///
/// # Errors
/// See [`FindError`].
pub fn find(start: &Path, file: Option<&Path>, variable: Option<&Path>) -> Result<PathBuf, FindError> {
    let variable = variable.filter(|path| !path.as_os_str().is_empty());
    if let Some((path, by)) = file.map(|path| (path, "`-f`")).or(variable.map(|path| (path, "$STACK_FILE"))) {
        let there = start.join(path);
        return match there.is_file() {
            true => Ok(there),
            false => Err(FindError::NotThere { path: path.display().to_string(), by }),
        };
    }
    for folder in start.ancestors() {
        let exact = folder.join(NAME);
        if exact.is_file() {
            return Ok(exact);
        }
        let mut named = match with_suffix(folder) {
            Ok(named) => named,
            // A folder above that may not be listed holds no stack file of ours.
            Err(error) if folder == start => {
                return Err(FindError::Unreadable { folder: folder.display().to_string(), source: error });
            }
            Err(_) => continue,
        };
        if named.len() > 1 {
            named.sort();
            return Err(FindError::Several { folder: folder.display().to_string(), names: named.join(", ") });
        }
        if let Some(name) = named.pop() {
            return Ok(folder.join(name));
        }
    }
    Err(FindError::None { start: start.display().to_string() })
}

fn with_suffix(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string()
            && name.ends_with(SUFFIX)
            && entry.path().is_file()
        {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        folder
    }

    #[test]
    fn the_nearest_file_is_meant() {
        let folder = folder(&["a-stack.toml", "sub/deep/other.toml", "twice/stack.toml", "twice/x-stack.toml"]);
        let root = folder.path();
        assert_eq!(find(&root.join("sub/deep"), None, None).unwrap(), root.join("a-stack.toml"));
        assert_eq!(find(&root.join("twice"), None, None).unwrap(), root.join("twice/stack.toml"));
    }

    #[test]
    fn the_option_wins_over_the_environment_and_both_over_the_search() {
        let folder = folder(&["stack.toml", "a.toml", "b.toml"]);
        let root = folder.path();
        let (a, b) = (Path::new("a.toml"), Path::new("b.toml"));
        assert_eq!(find(root, Some(a), Some(b)).unwrap(), root.join("a.toml"));
        assert_eq!(find(root, None, Some(b)).unwrap(), root.join("b.toml"));
        assert_eq!(find(root, None, Some(Path::new(""))).unwrap(), root.join("stack.toml"));
        let missing = find(root, Some(Path::new("c.toml")), None).unwrap_err();
        assert_eq!(missing.to_string(), "there is no stack file `c.toml`, which `-f` names");
    }

    #[test]
    fn none_or_several_is_an_error_that_says_so() {
        let several = folder(&["b-stack.toml", "a-stack.toml"]);
        let error = find(several.path(), None, None).unwrap_err();
        assert!(error.to_string().ends_with(": a-stack.toml, b-stack.toml"), "{error}");
        let none = folder(&["x.toml"]);
        assert!(matches!(find(none.path(), None, None), Err(FindError::None { .. })));
    }
}
