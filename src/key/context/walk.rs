//! Walks a build context: every file that a build may see, in an order that does not depend on the disk.
//!
//! Folders are shared out to a few threads, since most of the time goes into asking the system for each file's metadata.
//! An ignored folder is not entered, unless an exception could match something in it.

use std::fs::{self, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use super::cache::{Digest, DigestCache};
use super::error::ContextError;
use super::ignore::{Ignore, Matched};
use super::narrow::{Narrow, Reach};
use crate::model::tree::{FileEntry, FileKind, FileTree};

/// More threads than this only fight over the same locks in the system.
const MOST_THREADS: usize = 8;

/// What identifies the content of a file as far as the system can tell without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStat {
    /// The device.
    pub device: u64,
    /// The inode.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Last change of the content, nanoseconds since 1970.
    pub modified_ns: i64,
    /// Last change of content or metadata, nanoseconds since 1970. No program can set it back.
    pub changed_ns: i64,
}

impl FileStat {
    /// What the system says of a file, as rustix has it.
    // The numbers have other types on other systems.
    #[expect(
        clippy::unnecessary_cast,
        clippy::cast_possible_wrap,
        reason = "nanoseconds are less than a thousand million"
    )]
    pub fn of_raw(data: &Stat) -> Self {
        Self {
            device: data.st_dev as u64,
            inode: data.st_ino as u64,
            size: u64::try_from(data.st_size).unwrap_or_default(),
            modified_ns: nanoseconds(data.st_mtime as i64, data.st_mtime_nsec as i64),
            changed_ns: nanoseconds(data.st_ctime as i64, data.st_ctime_nsec as i64),
        }
    }

    /// What the system says of a file.
    pub fn of(data: &Metadata) -> Self {
        Self {
            device: data.dev(),
            inode: data.ino(),
            size: data.size(),
            modified_ns: nanoseconds(data.mtime(), data.mtime_nsec()),
            changed_ns: nanoseconds(data.ctime(), data.ctime_nsec()),
        }
    }
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// The result of a walk.
#[derive(Debug, Clone, Default)]
pub struct Walked {
    /// The files.
    pub tree: FileTree,
    /// For each entry of the tree what the system says of it.
    pub stats: Vec<FileStat>,
    /// For each entry the digest of its content, where the cache knows it.
    pub digests: Vec<Option<Digest>>,
    /// Sockets, pipes and devices, which no build can use.
    pub skipped: Vec<String>,
}

/// A walk that found a symbolic link on the way to a wanted path, so that what it needs cannot be told by names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BehindLink(pub(super) String);

/// Walks a folder. With a narrowing only what it reaches is listed; a link on the way ends such a walk.
pub(super) fn walk(
    root: &Path,
    ignore: &Ignore,
    narrow: Option<&Narrow>,
    cache: &DigestCache,
) -> Result<Result<Walked, BehindLink>, ContextError> {
    if !fs::metadata(root).map_err(|error| ContextError::unreadable(root, &error))?.is_dir() {
        return Err(ContextError::NoFolder { path: root.to_owned() });
    }
    let queue = Queue::default();
    queue.push(Folder { path: String::new(), matched: Matched::default(), slot: 0 });
    let failed = |error: rustix::io::Errno| ContextError::unreadable(root, &error.into());
    let root_fd = rustix::fs::open(root, FOLDER | OFlags::NOCTTY, Mode::empty()).map_err(failed)?;
    let walker = Walker { root, root_fd, ignore, narrow, cache, queue: &queue };
    let threads = thread::available_parallelism().map_or(1, usize::from).clamp(1, MOST_THREADS);
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| walker.run());
        }
        walker.run();
    });
    let Queue { state, .. } = queue;
    let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.failed {
        Some(Stop::Error(error)) => return Err(error),
        Some(Stop::Link(link)) => return Ok(Err(link)),
        None => {}
    }
    let mut walked = Walked { tree: FileTree { root: root.to_owned(), ..Default::default() }, ..Default::default() };
    let mut lists: Vec<Option<Listing>> = state.done;
    let most = lists.iter().flatten().map(|listing| listing.found.len()).sum();
    walked.tree.entries.reserve_exact(most);
    walked.stats.reserve_exact(most);
    walked.digests.reserve_exact(most);
    assemble(&mut lists, 0, &mut walked);
    walked.skipped.sort_unstable();
    Ok(Ok(walked))
}

/// A folder to be listed.
struct Folder {
    path: String,
    matched: Matched,
    /// Where its listing goes.
    slot: usize,
}

/// What was found in a folder, in order.
#[derive(Default)]
struct Listing {
    found: Vec<Found>,
    skipped: Vec<String>,
}

struct Found {
    entry: FileEntry,
    stat: FileStat,
    digest: Option<Digest>,
    /// An ignored folder appears only with something in it that is not.
    ignored: bool,
    /// Where the listing of this folder is, if it was entered.
    slot: Option<usize>,
}

#[derive(Debug)]
enum Stop {
    Error(ContextError),
    Link(BehindLink),
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<Folder>,
    /// Folders that are waiting or being listed.
    open: usize,
    slots: usize,
    done: Vec<Option<Listing>>,
    failed: Option<Stop>,
}

impl Queue {
    fn push(&self, folder: Folder) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open += 1;
        state.slots = state.slots.max(folder.slot + 1);
        state.waiting.push(folder);
        self.changed.notify_one();
    }

    /// The next folder; `None` when the walk is over.
    fn next(&self) -> Option<Folder> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.failed.is_some() {
                return None;
            }
            if let Some(folder) = state.waiting.pop() {
                return Some(folder);
            }
            if state.open == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Stores a listing, and shares out the folders found in it.
    fn finish(&self, slot: usize, mut listing: Listing, folders: Vec<(usize, Matched)>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, matched) in folders {
            let child = state.slots;
            state.slots += 1;
            state.open += 1;
            listing.found[index].slot = Some(child);
            state.waiting.push(Folder { path: listing.found[index].entry.path.to_string(), matched, slot: child });
        }
        let slots = state.slots;
        if state.done.len() < slots {
            state.done.resize_with(slots, || None);
        }
        state.done[slot] = Some(listing);
        state.open -= 1;
        self.changed.notify_all();
    }

    fn fail(&self, stop: Stop) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failed.get_or_insert(stop);
        self.changed.notify_all();
    }
}

/// How folders are opened. The last part of the path is never a link: those are not walked.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

struct Walker<'a> {
    root: &'a Path,
    root_fd: OwnedFd,
    ignore: &'a Ignore,
    narrow: Option<&'a Narrow>,
    cache: &'a DigestCache,
    queue: &'a Queue,
}

impl Walker<'_> {
    fn run(&self) {
        while let Some(folder) = self.queue.next() {
            let slot = folder.slot;
            match self.list(&folder) {
                Ok((listing, folders)) => self.queue.finish(slot, listing, folders),
                Err(stop) => self.queue.fail(stop),
            }
        }
    }

    fn list(&self, folder: &Folder) -> Result<(Listing, Vec<(usize, Matched)>), Stop> {
        let here = if folder.path.is_empty() { "." } else { folder.path.as_str() };
        let failed = |error: rustix::io::Errno| self.unreadable(here, error.into());
        let flags = FOLDER | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(&self.root_fd, here, flags, Mode::empty()).map_err(failed)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                names.push((name.to_owned(), entry.file_type()));
            }
        }
        names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));

        let mut listing = Listing { found: Vec::with_capacity(names.len()), ..Default::default() };
        let mut folders = Vec::new();
        for (name, told_type) in names {
            let lossy = name.to_string_lossy();
            let mut path = String::with_capacity(folder.path.len() + 1 + lossy.len());
            if !folder.path.is_empty() {
                path.push_str(&folder.path);
                path.push('/');
            }
            path.push_str(&lossy);
            let reach = self.narrow.map_or(Reach::ALL, |narrow| narrow.reach(&path));
            if reach == Reach::NONE {
                continue;
            }
            // Most file systems tell the type with the name; the rest of the metadata costs a question for each file.
            let may_be_folder = matches!(told_type, FileType::Directory | FileType::Unknown);
            let ignored = self.ignore.ignores(&path, &folder.matched);
            if ignored && !(may_be_folder && self.ignore.may_except_below(&path)) {
                continue;
            }
            if matches!(lossy, std::borrow::Cow::Owned(_)) {
                return Err(Stop::Error(ContextError::NotUtf8 { path: self.root.join(&path) }));
            }
            let data = match rustix::fs::statat(&fd, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(data) => data,
                // Gone since the folder was listed: the same as gone before.
                Err(rustix::io::Errno::NOENT) => continue,
                Err(error) => return Err(self.unreadable(&path, error.into())),
            };
            let stat = FileStat::of_raw(&data);
            let kind = match FileType::from_raw_mode(data.st_mode) {
                FileType::Directory => {
                    let (_, matched) = self.ignore.matches(&path, &folder.matched);
                    folders.push((listing.found.len(), matched));
                    FileKind::Folder
                }
                _ if ignored => continue,
                FileType::Symlink if reach.leads => return Err(Stop::Link(BehindLink(path))),
                _ if !reach.wanted => continue,
                FileType::RegularFile => FileKind::File,
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(&fd, &name, Vec::new());
                    let target = target.map_err(|error| self.unreadable(&path, error.into()))?;
                    let Ok(target) = target.to_str() else {
                        return Err(Stop::Error(ContextError::NotUtf8 { path: self.root.join(&path) }));
                    };
                    FileKind::Symlink { target: target.into() }
                }
                _ => {
                    listing.skipped.push(path);
                    continue;
                }
            };
            let is_file = kind == FileKind::File;
            let entry = FileEntry {
                path: path.into(),
                kind,
                mode: Mode::from_raw_mode(data.st_mode).bits() & 0o7777,
                size: if is_file { stat.size } else { 0 },
                modified_ns: stat.modified_ns,
            };
            let digest = if is_file { self.cache.get(&stat) } else { None };
            listing.found.push(Found { entry, stat, digest, ignored, slot: None });
        }
        Ok((listing, folders))
    }

    fn unreadable(&self, path: &str, error: io::Error) -> Stop {
        let path = if path == "." { self.root.to_owned() } else { self.root.join(path) };
        Stop::Error(ContextError::unreadable(path, &error))
    }
}

/// Puts the listings together in order, every folder before what is in it.
fn assemble(lists: &mut [Option<Listing>], slot: usize, walked: &mut Walked) {
    let Some(listing) = lists.get_mut(slot).and_then(Option::take) else { return };
    walked.skipped.extend(listing.skipped);
    for found in listing.found {
        let at = walked.tree.entries.len();
        walked.tree.entries.push(found.entry);
        walked.stats.push(found.stat);
        walked.digests.push(found.digest);
        if let Some(slot) = found.slot {
            assemble(lists, slot, walked);
        }
        if found.ignored && walked.tree.entries.len() == at + 1 {
            walked.tree.entries.pop();
            walked.stats.pop();
            walked.digests.pop();
        }
    }
}
