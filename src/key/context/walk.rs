//! Walks a build context: every file that a build may see, in an order that does not depend on the disk.
//!
//! Folders are shared out to a few threads, since most of the time goes into asking the system for each file's metadata.
//! An ignored folder is not entered, unless an exception could match something in it. What a thread finds in a folder is
//! already that folder's part of the tree: nothing is put together afterwards.

use std::collections::HashSet;
use std::ffi::CStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use super::cache::{DigestCache, Near};
use super::error::ContextError;
use super::ignore::{Ignore, Matched};
use super::names::Names;
use super::narrow::{Narrow, Reach};
use crate::key::OWN_FOLDER;
use crate::model::tree::{About, FileKind, FileTree, Folder};

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
    /// The files, with the digests that the cache knows.
    pub tree: FileTree,
    /// How many files there are whose digests it does not know.
    pub unread: usize,
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
    let State { mut folders, ignored, unread, mut skipped, failed, .. } =
        queue.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match failed {
        Some(Stop::Error(error)) => return Err(error),
        Some(Stop::Link(link)) => return Ok(Err(link)),
        None => {}
    }
    drop_empty(&mut folders, &ignored);
    skipped.sort_unstable();
    Ok(Ok(Walked { tree: FileTree::new(root, folders), unread, skipped }))
}

/// Leaves out the ignored folders in which there is nothing that is not.
fn drop_empty(folders: &mut [Folder], ignored: &HashSet<usize>) {
    if ignored.is_empty() {
        return;
    }
    // What is in a folder was listed after it, and stands behind it.
    for slot in (0..folders.len()).rev() {
        let (before, inside) = folders.split_at_mut(slot + 1);
        let is_empty = |at: usize| inside.get(at - slot - 1).is_none_or(Folder::is_empty);
        before[slot].retain_inside(|at| !(ignored.contains(&at) && is_empty(at)));
    }
}

/// A folder to be listed.
struct Waiting {
    path: Box<str>,
    matched: Matched,
    /// Where in the tree what is in it goes.
    slot: usize,
}

/// What was found in a folder.
struct Listing {
    folder: Folder,
    /// The folders in it that are to be listed.
    inner: Vec<Inner>,
    unread: usize,
    skipped: Vec<String>,
}

/// A folder in a listing.
struct Inner {
    position: usize,
    path: Box<str>,
    matched: Matched,
    /// An ignored folder appears only with something in it that is not.
    ignored: bool,
}

#[derive(Debug)]
enum Stop {
    Error(ContextError),
    Link(BehindLink),
}

struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    waiting: Vec<Waiting>,
    /// Folders that are waiting or being listed.
    open: usize,
    /// Threads with nothing to do.
    idle: usize,
    /// What was found, each folder in its slot.
    folders: Vec<Folder>,
    /// The slots of the ignored folders.
    ignored: HashSet<usize>,
    unread: usize,
    skipped: Vec<String>,
    failed: Option<Stop>,
}

impl Default for Queue {
    /// The root is waiting.
    fn default() -> Self {
        let root = Waiting { path: Box::default(), matched: Matched::default(), slot: 0 };
        let state = State {
            waiting: vec![root],
            open: 1,
            idle: 0,
            folders: vec![Folder::default()],
            ignored: HashSet::new(),
            unread: 0,
            skipped: Vec::new(),
            failed: None,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next folder; `None` when the walk is over.
    fn next(&self) -> Option<Waiting> {
        let mut state = self.lock();
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
            state.idle += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// Stores a listing, and shares out the folders found in it.
    fn finish(&self, slot: usize, listing: Listing) {
        let Listing { mut folder, inner, unread, skipped } = listing;
        let mut state = self.lock();
        for Inner { position, path, matched, ignored } in inner {
            let slot = state.folders.len();
            folder.set_inside(position, slot);
            state.folders.push(Folder::default());
            state.waiting.push(Waiting { path, matched, slot });
            state.open += 1;
            if ignored {
                state.ignored.insert(slot);
            }
        }
        state.folders[slot] = folder;
        state.unread += unread;
        state.skipped.extend(skipped);
        state.open -= 1;
        self.wake(&state);
    }

    fn fail(&self, stop: Stop) {
        let mut state = self.lock();
        state.failed.get_or_insert(stop);
        self.wake(&state);
    }

    /// Wakes whoever waits. To wake nobody is a question to the system too.
    fn wake(&self, state: &State) {
        if state.idle > 0 {
            self.changed.notify_all();
        }
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

/// What a thread uses again for each folder.
struct Scratch {
    names: Names,
    path: String,
    near: Near,
}

impl Walker<'_> {
    fn run(&self) {
        let mut scratch = Scratch { names: Names::new(), path: String::new(), near: Near::default() };
        while let Some(folder) = self.queue.next() {
            let slot = folder.slot;
            match self.list(folder, &mut scratch) {
                Ok(listing) => self.queue.finish(slot, listing),
                Err(stop) => self.queue.fail(stop),
            }
        }
    }

    fn list(&self, waiting: Waiting, scratch: &mut Scratch) -> Result<Listing, Stop> {
        let Waiting { path: here, matched: above, .. } = waiting;
        let opened = if here.is_empty() { "." } else { &*here };
        let failed = |error: rustix::io::Errno| self.unreadable(&here, error.into());
        let flags = FOLDER | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(&self.root_fd, opened, flags, Mode::empty()).map_err(failed)?;
        let Scratch { names, path, near } = scratch;
        names.read(&fd).map_err(failed)?;

        path.clear();
        if !here.is_empty() {
            path.push_str(&here);
            path.push('/');
        }
        let prefix = path.len();
        let mut listing = Listing { folder: Folder::new(here), inner: Vec::new(), unread: 0, skipped: Vec::new() };
        listing.folder.reserve(names.len(), names.letters());
        for (name, told_type) in names.iter() {
            let text = name.to_str();
            path.truncate(prefix);
            match text {
                Ok(text) => path.push_str(text),
                Err(_) => path.push_str(&name.to_string_lossy()),
            }
            let reach = self.narrow.map_or(Reach::ALL, |narrow| narrow.reach(path));
            if reach == Reach::NONE {
                continue;
            }
            // Most file systems tell the type with the name; the rest of the metadata costs a question for each file.
            let may_be_folder = matches!(told_type, FileType::Directory | FileType::Unknown);
            let ignored = self.ignore.ignores(path, &above);
            if ignored && !(may_be_folder && self.ignore.may_except_below(path)) {
                continue;
            }
            let Ok(text) = text else {
                return Err(Stop::Error(ContextError::NotUtf8 { path: self.root.join(&*path) }));
            };
            let data = match rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(data) => data,
                // Gone since the folder was listed: the same as gone before.
                Err(rustix::io::Errno::NOENT) => continue,
                Err(error) => return Err(self.unreadable(path, error.into())),
            };
            let stat = FileStat::of_raw(&data);
            let mode = Mode::from_raw_mode(data.st_mode).bits();
            let mut about = About { mode, modified_ns: stat.modified_ns, ..About::default() };
            let folder = &mut listing.folder;
            let pushed = match FileType::from_raw_mode(data.st_mode) {
                FileType::Directory if text == OWN_FOLDER => continue,
                FileType::Directory => {
                    let (_, matched) = self.ignore.matches(path, &above);
                    let pushed = folder.push(text, FileKind::Folder, about);
                    let inner = |position| Inner { position, path: path.as_str().into(), matched, ignored };
                    listing.inner.extend(pushed.map(inner));
                    pushed
                }
                _ if ignored => continue,
                FileType::Symlink if reach.leads => return Err(Stop::Link(BehindLink(path.clone()))),
                _ if !reach.wanted => continue,
                FileType::RegularFile => {
                    about.size = stat.size;
                    about.digest = self.cache.get_near(&stat, near);
                    listing.unread += usize::from(about.digest.is_none());
                    folder.push(text, FileKind::File, about)
                }
                FileType::Symlink => {
                    let target = self.target(&fd, name, path)?;
                    folder.push(text, FileKind::Symlink { target: &target }, about)
                }
                _ => {
                    listing.skipped.push(path.clone());
                    continue;
                }
            };
            pushed.map_err(|crowded| self.unreadable(path, io::Error::other(crowded)))?;
        }
        Ok(listing)
    }

    /// Where a link points to.
    fn target(&self, folder: &OwnedFd, name: &CStr, path: &str) -> Result<String, Stop> {
        let target = rustix::fs::readlinkat(folder, name, Vec::new());
        let target = target.map_err(|error| self.unreadable(path, error.into()))?;
        target.into_string().map_err(|_| Stop::Error(ContextError::NotUtf8 { path: self.root.join(path) }))
    }

    fn unreadable(&self, path: &str, error: io::Error) -> Stop {
        let path = if path.is_empty() { self.root.to_owned() } else { self.root.join(path) };
        Stop::Error(ContextError::unreadable(path, &error))
    }
}
