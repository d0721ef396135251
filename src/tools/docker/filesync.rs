//! Serves the files of a build to the engine, which asks only for those that it does not have yet.
//!
//! The protocol (fsutil's diff copy): we tell the metadata of every file in order, the engine compares it with the copy
//! that it kept from the last build of this context, and asks for the files that differ by their number in that order.
//! Nothing is copied on our side: files are read in pieces when they are asked for.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use bollard_buildkit_proto::moby::filesync::v1::file_sync_server::FileSync;
use bytes::Bytes;
use futures::{Stream, stream};
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::follow::FollowPaths;
use crate::model::tree::{ContentDigest, FileEntry, FileKind, FileTree, Place};

/// Bytes of a file in one message.
const PIECE: usize = 64 * 1024;
/// Messages that wait to be sent; with the size of a piece this bounds the memory of a transfer.
const WAITING: usize = 32;

/// A file that exists in memory only.
#[derive(Debug, Clone)]
pub(super) struct MemoryFile {
    pub(super) name: String,
    pub(super) content: Bytes,
}

/// The two folders of a build: the context, and the one that holds the Dockerfile.
#[derive(Debug)]
pub(super) struct BuildFiles {
    pub(super) context: Arc<FileTree>,
    pub(super) dockerfile: Arc<Vec<MemoryFile>>,
    /// What the context was narrowed to, if it was.
    pub(super) reach: Option<Vec<String>>,
    pub(super) told: Arc<Told>,
}

/// What is learned while files are served.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Bytes of context files that were sent.
    pub(super) sent: AtomicU64,
    /// What the engine wanted of the context beyond what it was narrowed to.
    pub(super) outgrown: OnceLock<String>,
    /// A context file that was not sent as it had been read for the key.
    pub(super) changed: OnceLock<String>,
    /// A context file that is not there any more.
    pub(super) gone: OnceLock<String>,
    /// A context file that is there and can't be read, and why.
    pub(super) unreadable: OnceLock<(PathBuf, String)>,
}

impl Told {
    /// A file could not be sent. The engine drops the build without a word of why: only here it is known.
    fn lost(&self, entry: &FileEntry<'_>, path: &Path, error: &io::Error) -> Status {
        let is_gone = matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
        );
        if is_gone {
            let _ = self.gone.set(entry.path());
        } else {
            let _ = self.unreadable.set((path.to_owned(), error.to_string()));
        }
        Status::aborted(format!("{} can't be sent: {error}", path.display()))
    }
}

type Packets = Pin<Box<dyn Stream<Item = Result<Packet, Status>> + Send>>;

#[tonic::async_trait]
impl FileSync for BuildFiles {
    type DiffCopyStream = Packets;
    type TarStreamStream = Packets;

    async fn diff_copy(&self, request: Request<Streaming<Packet>>) -> Result<Response<Packets>, Status> {
        let folder = option(request.metadata(), "dir-name").into_iter().next().unwrap_or_default();
        let follow = FollowPaths::new(&option(request.metadata(), "followpaths"));
        tracing::debug!(%folder, ?follow, "the engine asks for files");
        let source = match folder.as_str() {
            "context" => {
                if let Some(path) = self.reach.as_ref().and_then(|reach| follow.outside(reach)) {
                    let status = Status::failed_precondition(format!("{path} is outside of the narrowed context"));
                    let _ = self.told.outgrown.set(path);
                    return Err(status);
                }
                Source::tree(Arc::clone(&self.context), &follow, Arc::clone(&self.told))
            }
            "dockerfile" => Source::Memory(Arc::clone(&self.dockerfile)),
            other => return Err(Status::not_found(format!("no folder named {other:?} is part of this build"))),
        };
        let (sender, mut receiver) = mpsc::channel(WAITING);
        tokio::spawn(serve(Arc::new(source), request.into_inner(), sender));
        Ok(Response::new(Box::pin(stream::poll_fn(move |context| receiver.poll_recv(context)))))
    }

    async fn tar_stream(&self, _: Request<Streaming<Packet>>) -> Result<Response<Packets>, Status> {
        Err(Status::unimplemented("files are sent by diff copy"))
    }
}

/// An option of a request; values outside ASCII come escaped as in a query.
fn option(metadata: &MetadataMap, name: &str) -> Vec<String> {
    let escaped = metadata.get(format!("{name}-encoded")).is_some_and(|value| value == "1" || value == "true");
    let values = metadata.get_all(name).into_iter();
    let values = values.filter_map(|value| value.to_str().ok());
    values.map(|value| if escaped { unescape(value) } else { value.to_owned() }).collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(other),
        }
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

enum Source {
    Tree { tree: Arc<FileTree>, wanted: Vec<Place>, told: Arc<Told> },
    Memory(Arc<Vec<MemoryFile>>),
}

impl Source {
    fn tree(tree: Arc<FileTree>, follow: &FollowPaths, told: Arc<Told>) -> Self {
        let wanted = follow.select(&tree);
        Self::Tree { tree, wanted, told }
    }

    fn len(&self) -> usize {
        match self {
            Self::Tree { wanted, .. } => wanted.len(),
            Self::Memory(files) => files.len(),
        }
    }

    fn stat(&self, number: usize) -> Stat {
        match self {
            Self::Tree { tree, wanted, .. } => tree.get(wanted[number]).map(|entry| stat(&entry)).unwrap_or_default(),
            Self::Memory(files) => Stat {
                path: files[number].name.clone(),
                mode: 0o644,
                size: signed(files[number].content.len() as u64),
                // The engine compares time and size with the copy it kept: a time made from the content means that a
                // Dockerfile which changed but kept its length is never mistaken for the old one.
                mod_time: content_time(&files[number].content),
                ..Default::default()
            },
        }
    }

    /// Sends the content of a file. Blocks.
    fn send(&self, number: usize, mut packet: impl FnMut(Vec<u8>) -> bool) -> Result<(), Status> {
        match self {
            Self::Memory(files) => {
                let content = files.get(number).map(|file| &file.content);
                for piece in content.ok_or_else(|| unknown(number))?.chunks(PIECE) {
                    if !packet(piece.to_vec()) {
                        break;
                    }
                }
            }
            Self::Tree { tree, wanted, told } => {
                let entry = wanted.get(number).and_then(|&place| tree.get(place)).ok_or_else(|| unknown(number))?;
                let path = file_path(tree, &entry)?;
                let lost = |error: io::Error| told.lost(&entry, &path, &error);
                let mut file = File::open(&path).map_err(lost)?;
                let mut sent = blake3::Hasher::new();
                loop {
                    let mut piece = vec![0; PIECE];
                    let size = file.read(&mut piece).map_err(lost)?;
                    piece.truncate(size);
                    sent.update(&piece);
                    told.sent.fetch_add(size as u64, Ordering::Relaxed);
                    if size == 0 {
                        break;
                    }
                    if !packet(piece) {
                        return Ok(());
                    }
                }
                // It may be as it was by the time that anybody looks again: only here it shows what the engine got.
                if entry.digest.is_some_and(|digest| digest != sent.finalize().as_bytes()) {
                    let _ = told.changed.set(entry.path());
                }
            }
        }
        Ok(())
    }
}

fn unknown(number: usize) -> Status {
    Status::invalid_argument(format!("there is no file number {number}"))
}

/// Only what was listed as a file is ever read.
fn file_path(tree: &FileTree, entry: &FileEntry<'_>) -> Result<PathBuf, Status> {
    match entry.kind {
        FileKind::File => Ok(tree.root.join(entry.path())),
        FileKind::Folder | FileKind::Symlink { .. } => {
            Err(Status::invalid_argument(format!("{} is no file", entry.path())))
        }
    }
}

async fn serve(source: Arc<Source>, mut incoming: Streaming<Packet>, sender: mpsc::Sender<Result<Packet, Status>>) {
    let (ask, mut asked) = mpsc::unbounded_channel::<usize>();
    let reader = tokio::task::spawn_blocking({
        let (source, sender) = (Arc::clone(&source), sender.clone());
        move || {
            while let Some(number) = asked.blocking_recv() {
                let id = u32::try_from(number).unwrap_or(u32::MAX);
                let data = |data| Packet { r#type: PacketType::PacketData.into(), id, data, stat: None };
                let done = source.send(number, |piece| sender.blocking_send(Ok(data(piece))).is_ok());
                // An empty piece ends the file.
                if sender.blocking_send(done.map(|()| data(Vec::new()))).is_err() {
                    break;
                }
            }
        }
    });
    let listing = async {
        for number in 0..source.len() {
            let stat = Some(source.stat(number));
            sender.send(Ok(Packet { r#type: PacketType::PacketStat.into(), stat, ..Default::default() })).await.ok()?;
        }
        sender.send(Ok(Packet { r#type: PacketType::PacketStat.into(), ..Default::default() })).await.ok()
    };
    let answering = async {
        while let Ok(Some(packet)) = incoming.message().await {
            match packet.r#type() {
                PacketType::PacketReq => {
                    if ask.send(packet.id as usize).is_err() {
                        break;
                    }
                }
                PacketType::PacketFin => {
                    let fin = Packet { r#type: PacketType::PacketFin.into(), ..Default::default() };
                    let _ = sender.send(Ok(fin)).await;
                    break;
                }
                PacketType::PacketErr => {
                    tracing::debug!(message = %String::from_utf8_lossy(&packet.data), "the engine gave up on the files");
                    break;
                }
                PacketType::PacketStat | PacketType::PacketData => {}
            }
        }
        drop(ask);
    };
    // The engine reads while it asks and asks while it reads: neither direction may wait for the other.
    let ((), _) = tokio::join!(answering, listing);
    let _ = reader.await;
}

fn stat(entry: &FileEntry<'_>) -> Stat {
    let (mode, size, linkname) = match entry.kind {
        FileKind::File => (entry.mode & 0o777 | special_bits(entry.mode), entry.size, String::new()),
        FileKind::Folder => (go_mode::FOLDER | entry.mode & 0o777 | special_bits(entry.mode), 0, String::new()),
        FileKind::Symlink { target } => (go_mode::SYMLINK | 0o777, target.len() as u64, target.to_owned()),
    };
    let mod_time = match entry.digest {
        Some(digest) => telling_time(entry.modified_ns, digest),
        None => entry.modified_ns,
    };
    // Owner and group stay 0, as with `docker build`: who checked the files out is no part of an image.
    Stat { path: entry.path(), mode, size: signed(size), mod_time, linkname, ..Default::default() }
}

/// The time of a file's last change, with its content in the place of what is below a hundredth of a second. The engine
/// takes a file with the time and size of its copy for the same, and many tools set times. Tools that compare times still
/// see which file is newer; and of fractions of a second nothing comes into an image.
fn telling_time(modified_ns: i64, content: &ContentDigest) -> i64 {
    const HUNDREDTH: i64 = 10_000_000;
    let [a, b, c, d, e, f, g, h, ..] = *content;
    let below = u64::from_le_bytes([a, b, c, d, e, f, g, h]) % HUNDREDTH.unsigned_abs();
    modified_ns.div_euclid(HUNDREDTH).saturating_mul(HUNDREDTH).saturating_add(below.cast_signed())
}

/// Go's own numbering of file modes, which the protocol uses on every system.
mod go_mode {
    pub(super) const FOLDER: u32 = 1 << 31;
    pub(super) const SYMLINK: u32 = 1 << 27;
    pub(super) const SETUID: u32 = 1 << 23;
    pub(super) const SETGID: u32 = 1 << 22;
    pub(super) const STICKY: u32 = 1 << 20;
}

fn special_bits(mode: u32) -> u32 {
    let bit = |unix: u32, go: u32| if mode & unix == 0 { 0 } else { go };
    bit(0o4000, go_mode::SETUID) | bit(0o2000, go_mode::SETGID) | bit(0o1000, go_mode::STICKY)
}

fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// A time of the last two decades that is different for different contents.
fn content_time(content: &[u8]) -> i64 {
    const BASE: i64 = 1_000_000_000_000_000_000;
    let hash = blake3::hash(content);
    let [a, b, c, d, e, f, g, ..] = *hash.as_bytes();
    BASE + (i64::from_le_bytes([a, b, c, d, e, f, g, 0]) & ((1 << 59) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tree::About;

    #[test]
    fn escaped_options_are_read() {
        assert_eq!(unescape("caf%C3%A9+au%20lait%"), "café au lait%");
    }

    #[test]
    fn the_time_of_a_file_tells_its_content_and_stays_what_it_was() {
        const SECOND: i64 = 1_000_000_000;
        let base = 1_700_000_000 * SECOND;
        assert_eq!(telling_time(base + 3, &[1; 32]), telling_time(base + 9_999_999, &[1; 32]));
        for time in [base, base + 123_456_789, base + 999_999_999, -5, 0] {
            assert_ne!(telling_time(time, &[1; 32]), telling_time(time, &[2; 32]));
            for first in 0..=255 {
                let told = telling_time(time, &[first; 32]);
                assert_eq!(told.div_euclid(SECOND), time.div_euclid(SECOND));
                assert!(told.abs_diff(time) < 10_000_000);
            }
        }
        // There is no later time.
        assert!(telling_time(i64::MAX, &[255; 32]) > i64::MAX - 10_000_000);
    }

    #[test]
    fn modes_are_told_in_the_protocols_own_numbers() {
        let told = |kind, mode| {
            let about = About { mode, size: 3, modified_ns: 5, digest: None };
            let tree = FileTree::of("/", [("a", kind, about)]).unwrap();
            tree.iter().map(|entry| stat(&entry)).next().unwrap()
        };
        assert_eq!(told(FileKind::File, 0o4755).mode, 0o755 | 1 << 23);
        assert_eq!(told(FileKind::Folder, 0o1777).mode, 0o777 | 1 << 31 | 1 << 20);
        let link = told(FileKind::Symlink { target: "over/there" }, 0o777);
        assert_eq!((link.mode, link.size, link.linkname.as_str()), (0o777 | 1 << 27, 10, "over/there"));
    }
}
