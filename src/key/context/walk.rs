//! Walks a build context: every file that a build may see, in an order that does not depend on the disk.
//!
//! Folders are shared out to a few threads, since most of the time goes into asking the system for each file's metadata.
//! An ignored folder is not entered, unless an exception could match something in it.

use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

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
    pub(super) fn of(data: &Metadata) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Self {
            device: data.dev(),
            inode: data.ino(),
            size: data.size(),
            modified_ns: nanoseconds(data.mtime(), data.mtime_nsec()),
            changed_ns: nanoseconds(data.ctime(), data.ctime_nsec()),
        }
    }
}

/// The result of a walk.
#[derive(Debug, Clone, Default)]
pub struct Walked {
    /// The files.
    pub tree: FileTree,
    /// For each entry of the tree what the system says of it.
    pub stats: Vec<FileStat>,
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
) -> Result<Result<Walked, BehindLink>, ContextError> {
    if !fs::metadata(root).map_err(|error| ContextError::unreadable(root, &error))?.is_dir() {
        return Err(ContextError::NoFolder { path: root.to_owned() });
    }
    let queue = Queue::default();
    queue.push(Folder { path: String::new(), matched: Matched::default(), slot: 0 });
    let walker = Walker { root, ignore, narrow, queue: &queue };
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

struct Walker<'a> {
    root: &'a Path,
    ignore: &'a Ignore,
    narrow: Option<&'a Narrow>,
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
        let here = if folder.path.is_empty() { self.root.to_owned() } else { self.root.join(&folder.path) };
        let failed = |error: std::io::Error| Stop::Error(ContextError::unreadable(&here, &error));
        let mut names = Vec::new();
        for entry in fs::read_dir(&here).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            names.push((entry.file_name(), entry));
        }
        names.sort_unstable_by(|(one, _), (other, _)| one.as_bytes().cmp(other.as_bytes()));

        let mut listing = Listing::default();
        let mut folders = Vec::new();
        for (name, entry) in names {
            let lossy = name.to_string_lossy();
            let path = if folder.path.is_empty() { lossy.into_owned() } else { format!("{}/{lossy}", folder.path) };
            let reach = self.narrow.map_or(Reach::ALL, |narrow| narrow.reach(&path));
            if reach == Reach::NONE {
                continue;
            }
            let (ignored, matched) = self.ignore.matches(&path, &folder.matched);
            // The type comes with the name; the rest of the metadata costs a question to the system for each file.
            let kind = entry.file_type().map_err(|error| unreadable(&entry.path(), &error))?;
            if ignored && !(kind.is_dir() && self.ignore.may_except_below(&path)) {
                continue;
            }
            if name.to_str().is_none() {
                return Err(Stop::Error(ContextError::NotUtf8 { path: entry.path() }));
            }
            let data = match entry.metadata() {
                Ok(data) => data,
                // Gone since the folder was listed: the same as gone before.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(unreadable(&entry.path(), &error)),
            };
            let kind = match data.file_type() {
                kind if !kind.is_dir() && !kind.is_symlink() && !reach.wanted => continue,
                kind if kind.is_symlink() && reach.leads => return Err(Stop::Link(BehindLink(path))),
                kind if kind.is_file() => FileKind::File,
                kind if kind.is_dir() => FileKind::Folder,
                kind if kind.is_symlink() => {
                    let target = fs::read_link(entry.path()).map_err(|error| unreadable(&entry.path(), &error))?;
                    let Some(target) = target.to_str() else {
                        return Err(Stop::Error(ContextError::NotUtf8 { path: entry.path() }));
                    };
                    FileKind::Symlink { target: target.into() }
                }
                _ => {
                    listing.skipped.push(path);
                    continue;
                }
            };
            if kind == FileKind::Folder {
                folders.push((listing.found.len(), matched));
            }
            let stat = FileStat::of(&data);
            let size = if kind == FileKind::File { stat.size } else { 0 };
            let mode = data.mode() & 0o7777;
            let entry = FileEntry { path: path.into(), kind, mode, size, modified_ns: stat.modified_ns };
            listing.found.push(Found { entry, stat, ignored, slot: None });
        }
        Ok((listing, folders))
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Stop {
    Stop::Error(ContextError::unreadable(PathBuf::from(path), error))
}

/// Puts the listings together in order, every folder before what is in it.
fn assemble(lists: &mut [Option<Listing>], slot: usize, walked: &mut Walked) {
    let Some(listing) = lists.get_mut(slot).and_then(Option::take) else { return };
    walked.skipped.extend(listing.skipped);
    for found in listing.found {
        let at = walked.tree.entries.len();
        walked.tree.entries.push(found.entry);
        walked.stats.push(found.stat);
        if let Some(slot) = found.slot {
            assemble(lists, slot, walked);
        }
        if found.ignored && walked.tree.entries.len() == at + 1 {
            walked.tree.entries.pop();
            walked.stats.pop();
        }
    }
}
