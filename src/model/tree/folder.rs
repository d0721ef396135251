//! A folder of a tree: what is in it, in little memory.

use std::path::{Path, PathBuf};

use super::{FileEntry, FileKind};

/// The BLAKE3 digest of a file's content.
pub type ContentDigest = [u8; 32];

/// A folder with more in it than can be counted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are too many names in one folder")]
pub struct Crowded;

/// What is in a folder, in byte order of the names.
#[derive(Debug, Clone, Default)]
pub struct Folder {
    /// Where it is below the root; empty for the root.
    path: Box<str>,
    /// All names, one after the other.
    names: String,
    /// Where links point to.
    targets: Vec<Box<str>>,
    entries: Vec<Entry>,
}

/// What is to be known of a file, folder or link beside its name and what it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct About {
    /// The permission bits, `0o7777` at most.
    pub mode: u32,
    /// Size in bytes; only of a file.
    pub size: u64,
    /// When its content last changed, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// The digest of its content, if that is known; only of a file.
    pub digest: Option<ContentDigest>,
}

/// 64 bytes.
#[derive(Debug, Clone)]
struct Entry {
    /// Where its name is among all names of the folder.
    start: u32,
    length: u16,
    mode: u16,
    kind: Kind,
    size: u64,
    modified_ns: i64,
}

#[derive(Debug, Clone)]
enum Kind {
    File(Option<ContentDigest>),
    /// Where in the tree what is in it stands, if anything does.
    Folder(Option<usize>),
    /// Which of the folder's targets is its.
    Symlink(usize),
}

impl Folder {
    /// A folder with nothing in it yet.
    pub fn new(path: impl Into<Box<str>>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    /// Makes room for so many.
    pub fn reserve(&mut self, entries: usize, letters: usize) {
        self.entries.reserve_exact(entries);
        self.names.reserve_exact(letters);
    }

    /// Where it is below the root; empty for the root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Adds what comes next in it, and says at which position.
    ///
    /// # Errors
    /// When there is too much in it already.
    pub fn push(&mut self, name: &str, kind: FileKind<'_>, about: About) -> Result<usize, Crowded> {
        let start = u32::try_from(self.names.len()).map_err(|_| Crowded)?;
        let length = u16::try_from(name.len()).map_err(|_| Crowded)?;
        let (kind, size) = match kind {
            FileKind::File => (Kind::File(about.digest), about.size),
            FileKind::Folder => (Kind::Folder(None), 0),
            FileKind::Symlink { target } => {
                self.targets.push(target.into());
                (Kind::Symlink(self.targets.len() - 1), 0)
            }
        };
        self.names.push_str(name);
        let mode = (about.mode & 0o7777) as u16;
        self.entries.push(Entry { start, length, mode, kind, size, modified_ns: about.modified_ns });
        Ok(self.entries.len() - 1)
    }

    /// Says where in the tree what is in the folder at this position stands.
    pub fn set_inside(&mut self, position: usize, slot: usize) {
        if let Some(Entry { kind: Kind::Folder(inside), .. }) = self.entries.get_mut(position) {
            *inside = Some(slot);
        }
    }

    /// Keeps of the folders in it only those whose insides pass.
    pub fn retain_inside(&mut self, mut keeps: impl FnMut(usize) -> bool) {
        self.entries.retain(|entry| match entry.kind {
            Kind::Folder(Some(slot)) => keeps(slot),
            Kind::File(_) | Kind::Folder(None) | Kind::Symlink(_) => true,
        });
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry at this position.
    pub(super) fn get(&self, position: usize) -> Option<FileEntry<'_>> {
        let entry = self.entries.get(position)?;
        let (kind, digest) = match &entry.kind {
            Kind::File(digest) => (FileKind::File, digest.as_ref()),
            Kind::Folder(_) => (FileKind::Folder, None),
            Kind::Symlink(target) => (FileKind::Symlink { target: self.targets.get(*target)? }, None),
        };
        let (mode, size, modified_ns) = (u32::from(entry.mode), entry.size, entry.modified_ns);
        Some(FileEntry { folder: &self.path, name: self.name(position)?, kind, mode, size, modified_ns, digest })
    }

    /// The name at this position.
    pub(super) fn name(&self, position: usize) -> Option<&str> {
        self.entries.get(position).map(|entry| entry.name(&self.names))
    }

    /// Where in the tree what is in the folder at this position stands.
    pub(super) fn inside(&self, position: usize) -> Option<usize> {
        match self.entries.get(position)?.kind {
            Kind::Folder(inside) => inside,
            Kind::File(_) | Kind::Symlink(_) => None,
        }
    }

    /// The files in it whose content nobody has looked at yet.
    pub(super) fn unread(&mut self) -> impl Iterator<Item = Unread<'_>> + Send {
        let Self { path, names, entries, .. } = self;
        let (folder, names) = (&**path, names.as_str());
        let unread = entries.iter_mut().filter(|entry| matches!(entry.kind, Kind::File(None)));
        unread.map(move |entry| Unread { folder, names, entry })
    }
}

impl Entry {
    fn name<'a>(&self, names: &'a str) -> &'a str {
        let start = self.start as usize;
        // Every name was put there as a whole.
        names.get(start..start + usize::from(self.length)).unwrap_or_default()
    }
}

/// A file whose content nobody has looked at yet.
#[derive(Debug)]
pub struct Unread<'a> {
    folder: &'a str,
    names: &'a str,
    entry: &'a mut Entry,
}

impl Unread<'_> {
    /// Where it is, with this root.
    pub fn path(&self, root: &Path) -> PathBuf {
        let name = self.entry.name(self.names);
        // One allocation for all of it.
        let mut path = PathBuf::with_capacity(root.as_os_str().len() + self.folder.len() + name.len() + 2);
        path.push(root);
        path.push(self.folder);
        path.push(name);
        path
    }

    /// Says what its content was when it was looked at, and how large and old the file was then.
    pub fn set(self, digest: ContentDigest, size: u64, modified_ns: i64) {
        self.entry.kind = Kind::File(Some(digest));
        self.entry.size = size;
        self.entry.modified_ns = modified_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_no_more_than_a_cache_line() {
        assert_eq!(size_of::<Entry>(), 64);
    }

    #[test]
    fn what_is_put_in_comes_out() {
        let mut folder = Folder::new("a/b");
        let about = About { mode: 0o10_0755, size: 3, modified_ns: -5, digest: Some([7; 32]) };
        folder.push("file", FileKind::File, about).unwrap();
        folder.push("folder", FileKind::Folder, about).unwrap();
        folder.push("link", FileKind::Symlink { target: "../x" }, About::default()).unwrap();
        let file = folder.get(0).unwrap();
        assert_eq!((file.path().as_str(), file.kind, file.mode, file.size), ("a/b/file", FileKind::File, 0o755, 3));
        assert_eq!((file.modified_ns, file.digest, file.is_executable()), (-5, Some(&[7; 32]), true));
        let inner = folder.get(1).unwrap();
        assert_eq!((inner.kind, inner.size, inner.digest, inner.is_executable()), (FileKind::Folder, 0, None, false));
        assert_eq!(folder.get(2).unwrap().kind, FileKind::Symlink { target: "../x" });
        assert_eq!(folder.push(&"x".repeat(70_000), FileKind::File, About::default()), Err(Crowded));
    }

    #[test]
    fn only_what_nobody_has_looked_at_is_unread() {
        let mut folder = Folder::new("a");
        let known = About { digest: Some([1; 32]), ..About::default() };
        folder.push("known", FileKind::File, known).unwrap();
        folder.push("new", FileKind::File, About::default()).unwrap();
        folder.push("sub", FileKind::Folder, About::default()).unwrap();
        let unread: Vec<_> = folder.unread().collect();
        assert_eq!(unread.iter().map(|file| file.path(Path::new("/r"))).collect::<Vec<_>>(), [Path::new("/r/a/new")]);
        unread.into_iter().for_each(|file| file.set([2; 32], 4, 9));
        let new = folder.get(1).unwrap();
        assert_eq!((new.digest, new.size, new.modified_ns), (Some(&[2; 32]), 4, 9));
        assert_eq!(folder.unread().count(), 0);
    }
}
