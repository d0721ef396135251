//! A set of files below one folder, as a build sees it: what `key` walks and digests is what `tools` sends.
//!
//! There may be hundreds of thousands of them, and most runs do nothing but look at them: memory is time here. So a tree
//! is kept as it was walked, folder by folder ([`Folder`]), and a file is 64 bytes and its name. Paths are put together
//! when somebody asks.

mod folder;
mod order;

use std::collections::HashMap;
use std::path::PathBuf;

pub use folder::{About, ContentDigest, Crowded, Folder, Unread};
pub use order::Place;

/// Files, folders and symbolic links below a root.
#[derive(Debug, Clone, Default)]
pub struct FileTree {
    /// The folder that the paths are relative to.
    pub root: PathBuf,
    /// The first is the root. A folder is named by its position by the entry that it is the inside of.
    folders: Vec<Folder>,
}

/// One file, folder or symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileEntry<'a> {
    /// The folder that it is in, below the root; empty for the root.
    folder: &'a str,
    /// Its name in that folder.
    name: &'a str,
    /// What it is.
    pub kind: FileKind<'a>,
    /// The permission bits, `0o7777` at most.
    pub mode: u32,
    /// Size in bytes; 0 for anything but a file.
    pub size: u64,
    /// When its content last changed, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// The digest of a file's content, if somebody has looked at it.
    pub digest: Option<&'a ContentDigest>,
}

/// What an entry of a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind<'a> {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Symlink {
        /// What it points to, as written in it.
        target: &'a str,
    },
}

impl FileEntry<'_> {
    /// Where it is below the root, with `/` between the parts.
    pub fn path(&self) -> String {
        let mut path = String::with_capacity(self.folder.len() + 1 + self.name.len());
        self.write_path(&mut path);
        path
    }

    /// The same at the end of a text.
    pub fn write_path(&self, into: &mut String) {
        if !self.folder.is_empty() {
            into.push_str(self.folder);
            into.push('/');
        }
        into.push_str(self.name);
    }

    /// Whether it is a file that its owner may execute.
    pub fn is_executable(&self) -> bool {
        self.kind == FileKind::File && self.mode & 0o100 != 0
    }

    /// The bits of a file that let it run as its owner or group, `0o6000` at most. An image has them as they are here.
    pub fn set_id(&self) -> u32 {
        if self.kind == FileKind::File { self.mode & 0o6000 } else { 0 }
    }
}

impl FileTree {
    /// The tree of these folders, of which the first is the root.
    pub fn new(root: impl Into<PathBuf>, folders: Vec<Folder>) -> Self {
        Self { root: root.into(), folders }
    }

    /// The tree of these paths, every folder before what is in it and siblings in byte order of their names. What is in
    /// no folder of the list is left out.
    ///
    /// # Errors
    /// When there is too much in one folder.
    pub fn of<'a>(
        root: impl Into<PathBuf>,
        paths: impl IntoIterator<Item = (&'a str, FileKind<'a>, About)>,
    ) -> Result<Self, Crowded> {
        let mut folders = vec![Folder::default()];
        let mut slots = HashMap::from([("", 0)]);
        for (path, kind, about) in paths {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            let Some(&slot) = slots.get(folder) else { continue };
            let position = folders[slot].push(name, kind, about)?;
            if kind == FileKind::Folder {
                let inside = folders.len();
                slots.insert(path, inside);
                folders[slot].set_inside(position, inside);
                folders.push(Folder::new(path));
            }
        }
        Ok(Self::new(root, folders))
    }

    /// The files whose content nobody has looked at yet.
    pub fn unread(&mut self) -> impl Iterator<Item = Unread<'_>> + Send {
        self.folders.iter_mut().flat_map(Folder::unread)
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.places().count()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.places().next().is_none()
    }
}
