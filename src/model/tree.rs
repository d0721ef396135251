//! A set of files below one folder, as a build sees it: what `key` walks and digests is what `tools` sends.

use std::path::PathBuf;

/// Files, folders and symbolic links below a root, in the order in which a daemon expects them.
#[derive(Debug, Clone, Default)]
pub struct FileTree {
    /// The folder that the paths are relative to.
    pub root: PathBuf,
    /// The entries: every parent before its children, siblings in byte order of their names.
    pub entries: Vec<FileEntry>,
}

/// One file, folder or symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Where it is below the root, with `/` between the parts.
    pub path: Box<str>,
    /// What it is.
    pub kind: FileKind,
    /// The permission bits, `0o7777` at most.
    pub mode: u32,
    /// Size in bytes; 0 for anything but a file.
    pub size: u64,
    /// When its content last changed, in nanoseconds since 1970.
    pub modified_ns: i64,
}

/// What an entry of a tree is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Symlink {
        /// What it points to, as written in it.
        target: Box<str>,
    },
}

impl FileEntry {
    /// Whether it is a file that its owner may execute.
    pub fn is_executable(&self) -> bool {
        self.kind == FileKind::File && self.mode & 0o100 != 0
    }
}
