//! Digests of file contents, remembered by what the system says of a file, so that an unchanged file is not read again.
//!
//! A digest is trusted when device, inode, size, time of the last change of the content and time of the last change of
//! the metadata are all the same. The last one cannot be set back by any program, so `touch -d` and `cp -p` are seen.
//! A file that changed within the resolution of its clock before it was read is not remembered at all: it could change
//! again and look the same (what git calls racily clean).
//!
//! The file on disk is a cache and nothing else: a file that is damaged, truncated or of another version is a miss.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::error::ContextError;
use super::walk::FileStat;
use crate::model::tree::ContentDigest;
use crate::process::{Cancel, CancelLevel};

/// A BLAKE3 digest of a file's content.
pub type Digest = ContentDigest;

const MAGIC: &[u8; 8] = b"stackdig";
/// The version of the format.
///
/// - 1: the first.
const VERSION: u32 = 1;
const HEADER: usize = 8 + 4 + 8;
const RECORD: usize = 5 * 8 + 4 + 32;
const CHECKSUM: usize = 32;

/// Two changes that are closer than this may carry the same time: Linux stamps files with the time of its last tick.
const TICK_NS: i64 = 20_000_000;
/// The same for file systems that keep whole seconds, or even.
const COARSE_TICK_NS: i64 = 2_000_000_000;
/// Records of files that no run has asked for in so many days are dropped.
const KEEP_DAYS: u32 = 30;
/// A file that changes under our eyes is read again this often.
const MOST_READS: usize = 5;
/// Bytes that are read at a time.
const PIECE: usize = 64 * 1024;
/// So many bytes of a file are read even after an orderly request to stop: a command that ended just in time shall not fail
/// for want of the digest of what it made.
const BRIEF: usize = 16 << 20;

/// Digests of file contents by what the system says of the files. Shared between threads.
#[derive(Debug)]
pub struct DigestCache {
    path: Option<PathBuf>,
    started_ns: i64,
    today: u32,
    known: Known,
    /// Which of the known records were of use today for the first time, one bit each.
    used: Vec<AtomicU64>,
    fresh: Mutex<HashMap<(u64, u64), Record>>,
    /// What is on disk could not be used, and is to be written anew.
    broken: AtomicBool,
}

/// Where the last record was found. Files of one folder were mostly made one after the other, and their records are
/// neighbours: whoever asks for them remembers the place.
#[derive(Debug, Default)]
pub(super) struct Near(usize);

/// The records on disk, sorted by device and inode, left as they were read: most runs ask for few of their fields.
#[derive(Default)]
struct Known {
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    stat: FileStat,
    /// The day (since 1970) on which the record was last of use.
    day: u32,
    digest: Digest,
}

impl DigestCache {
    /// A cache that is not kept.
    pub fn in_memory() -> Self {
        Self::with(None, Known::default())
    }

    /// Opens the cache in this file. A file that cannot be used gives an empty cache and a sentence that says why; one
    /// that is not there gives an empty cache.
    pub fn open(path: impl Into<PathBuf>) -> (Self, Option<String>) {
        let path = path.into();
        let (known, warning) = match fs::read(&path) {
            Ok(bytes) => match Known::new(bytes) {
                Ok(known) => (known, None),
                Err(why) => (
                    Known::default(),
                    Some(format!("the cache of file digests {} is {why}; starting anew", path.display())),
                ),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Known::default(), None),
            Err(error) => {
                (Known::default(), Some(format!("cannot read the cache of file digests {}: {error}", path.display())))
            }
        };
        let broken = AtomicBool::new(warning.is_some());
        (Self { broken, ..Self::with(Some(path), known) }, warning)
    }

    fn with(path: Option<PathBuf>, known: Known) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let used = (0..known.records().len().div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self {
            path,
            started_ns: i64::try_from(now.as_nanos()).unwrap_or(i64::MAX),
            today: u32::try_from(now.as_secs() / 86_400).unwrap_or(u32::MAX),
            known,
            used,
            fresh: Mutex::default(),
            broken: AtomicBool::default(),
        }
    }

    /// The digest of a file that was seen with this metadata, if it is known.
    pub fn get(&self, stat: &FileStat) -> Option<Digest> {
        self.get_near(stat, &mut Near::default())
    }

    /// The same for one who asks for many.
    pub(super) fn get_near(&self, stat: &FileStat, near: &mut Near) -> Option<Digest> {
        let key = (stat.device, stat.inode);
        if let Some((index, record)) = self.known.find(key, near)
            && record.stat == *stat
        {
            if record.day != self.today {
                self.used[index / 64].fetch_or(1 << (index % 64), Ordering::Relaxed);
            }
            return Some(record.digest);
        }
        self.lock().get(&key).filter(|record| record.stat == *stat).map(|record| record.digest)
    }

    /// Makes room for the digests of so many files that are about to be read.
    pub(super) fn reserve(&self, files: usize) {
        self.lock().reserve(files);
    }

    /// The digest of a file's content, read only when it is not known. Reading a large one takes long: `cancel` ends it.
    pub fn digest(&self, path: &Path, cancel: &Cancel) -> Result<Digest, ContextError> {
        let data = fs::metadata(path).map_err(|error| ContextError::unreadable(path, &error))?;
        let stat = FileStat::of(&data);
        match self.get(&stat) {
            Some(digest) => Ok(digest),
            None => self.read(path, cancel).map(|(digest, _)| digest),
        }
    }

    /// Reads a file and remembers its digest; gives what the system said of the file that was read.
    pub(super) fn read(&self, path: &Path, cancel: &Cancel) -> Result<(Digest, FileStat), ContextError> {
        let failed = |error: io::Error| ContextError::unreadable(path, &error);
        for _ in 0..MOST_READS {
            let mut file = File::open(path).map_err(failed)?;
            let before = FileStat::of(&file.metadata().map_err(failed)?);
            let Some(digest) = hash(&mut file, cancel).map_err(failed)? else {
                return Err(ContextError::Interrupted { path: path.to_owned() });
            };
            let after = FileStat::of(&file.metadata().map_err(failed)?);
            if before == after {
                self.remember(after, digest);
                return Ok((digest, after));
            }
        }
        Err(ContextError::Unsteady { path: path.to_owned() })
    }

    fn remember(&self, stat: FileStat, digest: Digest) {
        let newest = stat.modified_ns.max(stat.changed_ns);
        let tick = if newest % 1_000_000_000 == 0 { COARSE_TICK_NS } else { TICK_NS };
        // The start of the run is before the moment of reading: the careful side.
        if newest >= self.started_ns.saturating_sub(tick) {
            return;
        }
        self.lock().insert((stat.device, stat.inode), Record { stat, day: self.today, digest });
    }

    /// Writes what was learned, if anything was. The file is replaced in one step.
    pub fn save(&self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let fresh = self.lock();
        let used: Vec<u64> = self.used.iter().map(|bits| bits.load(Ordering::Relaxed)).collect();
        let is_same = fresh.is_empty() && used.iter().all(|bits| *bits == 0);
        if is_same && !self.broken.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut newest: Vec<&Record> = fresh.values().collect();
        newest.sort_unstable_by_key(|record| record.key());
        let records = || merged(self.kept(&used, &fresh), newest.iter().copied().copied());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Named as the store names its own: it removes what a killed run leaves.
        let mut file = tempfile::Builder::new().prefix(".tmp-").tempfile_in(folder)?;
        encode(records().count(), records(), file.as_file_mut())?;
        file.persist(path)?;
        self.broken.store(false, Ordering::Relaxed);
        // What was just written is known to the next run; saving again without news writes nothing.
        self.used.iter().for_each(|bits| bits.store(0, Ordering::Relaxed));
        Ok(())
    }

    /// The known records that are to stay, in their order.
    fn kept(&self, used: &[u64], fresh: &HashMap<(u64, u64), Record>) -> impl Iterator<Item = Record> {
        self.known.records().iter().enumerate().filter_map(|(index, bytes)| {
            let record = Record::from_bytes(bytes);
            let used = used[index / 64] & 1 << (index % 64) != 0;
            let day = if used { self.today } else { record.day };
            let stays = day.saturating_add(KEEP_DAYS) >= self.today && !fresh.contains_key(&record.key());
            stays.then_some(Record { day, ..record })
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(u64, u64), Record>> {
        // A panic elsewhere can't have left half a record: every change is one insertion.
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Both in order, as they are in order each.
fn merged(one: impl Iterator<Item = Record>, other: impl Iterator<Item = Record>) -> impl Iterator<Item = Record> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    std::iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some(first), Some(second)) if first.key() <= second.key() => one.next(),
        (Some(_), None) => one.next(),
        (_, _) => other.next(),
    })
}

impl Record {
    fn key(&self) -> (u64, u64) {
        (self.stat.device, self.stat.inode)
    }

    fn to_bytes(self) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        let stat = self.stat;
        let numbers = [
            stat.device.to_le_bytes(),
            stat.inode.to_le_bytes(),
            stat.size.to_le_bytes(),
            stat.modified_ns.to_le_bytes(),
            stat.changed_ns.to_le_bytes(),
        ];
        bytes[..40].copy_from_slice(numbers.as_flattened());
        bytes[40..44].copy_from_slice(&self.day.to_le_bytes());
        bytes[44..].copy_from_slice(&self.digest);
        bytes
    }

    fn from_bytes(bytes: &[u8; RECORD]) -> Self {
        let mut day = [0; 4];
        day.copy_from_slice(&bytes[40..44]);
        let mut digest = [0; 32];
        digest.copy_from_slice(&bytes[44..]);
        let stat = FileStat {
            device: number(bytes, 0),
            inode: number(bytes, 1),
            size: number(bytes, 2),
            modified_ns: number(bytes, 3).cast_signed(),
            changed_ns: number(bytes, 4).cast_signed(),
        };
        Self { stat, day: u32::from_le_bytes(day), digest }
    }
}

/// Writes so many records.
fn encode(count: usize, records: impl Iterator<Item = Record>, out: &mut impl Write) -> io::Result<()> {
    let mut hasher = blake3::Hasher::new();
    let mut out = io::BufWriter::with_capacity(PIECE, out);
    let mut put = |bytes: &[u8]| {
        hasher.update(bytes);
        out.write_all(bytes)
    };
    put(MAGIC)?;
    put(&VERSION.to_le_bytes())?;
    put(&(count as u64).to_le_bytes())?;
    for record in records {
        put(&record.to_bytes())?;
    }
    out.write_all(hasher.finalize().as_bytes())?;
    out.flush()
}

impl Known {
    fn new(bytes: Vec<u8>) -> Result<Self, &'static str> {
        let header = bytes.get(..HEADER).ok_or("truncated")?;
        if &header[..8] != MAGIC {
            return Err("no such cache");
        }
        if header[8..12] != VERSION.to_le_bytes() {
            return Err("of another version");
        }
        let (body, checksum) = bytes.split_at_checked(bytes.len().saturating_sub(CHECKSUM)).ok_or("truncated")?;
        if body.len() < HEADER || blake3::hash(body).as_bytes() != checksum {
            return Err("damaged");
        }
        let (records, rest) = body[HEADER..].as_chunks::<RECORD>();
        if !rest.is_empty() || header[12..] != (records.len() as u64).to_le_bytes() {
            return Err("damaged");
        }
        Ok(Self { bytes })
    }

    fn records(&self) -> &[[u8; RECORD]] {
        let end = self.bytes.len().saturating_sub(CHECKSUM);
        self.bytes.get(HEADER..end).map_or(&[], |body| body.as_chunks().0)
    }

    /// The record of a file, looked for from where the last one was found, in steps that grow.
    fn find(&self, key: (u64, u64), near: &mut Near) -> Option<(usize, Record)> {
        let records = self.records();
        let key_at = |index: usize| records.get(index).map(|bytes| (number(bytes, 0), number(bytes, 1)));
        let start = near.0;
        // What is below `low` comes before the key, what is at `high` or above it does not.
        let (mut low, mut high) = (0, records.len());
        let mut step = 1;
        if key_at(start).is_some_and(|here| here < key) {
            low = start + 1;
            while low + step < high {
                if key_at(low + step).is_some_and(|there| there >= key) {
                    high = low + step;
                    break;
                }
                low += step + 1;
                step *= 2;
            }
        } else {
            high = high.min(start);
            while high >= step {
                if key_at(high - step).is_some_and(|there| there < key) {
                    low = high - step + 1;
                    break;
                }
                high -= step;
                step *= 2;
            }
        }
        let between = records.get(low..high)?;
        let index = low + between.partition_point(|bytes| (number(bytes, 0), number(bytes, 1)) < key);
        near.0 = index;
        let record = records.get(index).filter(|bytes| (number(bytes, 0), number(bytes, 1)) == key)?;
        Some((index, Record::from_bytes(record)))
    }
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} records", self.records().len())
    }
}

/// The number at this place of a record.
fn number(bytes: &[u8; RECORD], place: usize) -> u64 {
    let mut part = [0; 8];
    part.copy_from_slice(&bytes[place * 8..place * 8 + 8]);
    u64::from_le_bytes(part)
}

/// Nothing, if it was cancelled before all of it was read.
fn hash(file: &mut File, cancel: &Cancel) -> io::Result<Option<Digest>> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = [0; PIECE];
    let mut read = 0;
    while match cancel.level() {
        CancelLevel::None => true,
        CancelLevel::Terminate => read < BRIEF,
        CancelLevel::Kill => false,
    } {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Some(*hasher.finalize().as_bytes())),
            Ok(size) => {
                hasher.update(&buffer[..size]);
                read += size;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// Waits until the clock has moved on so far that a file changed before counts as settled.
    fn settle(path: &Path) {
        loop {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let data = fs::metadata(path).unwrap();
            let changed = i128::from(data.ctime()) * 1_000_000_000 + i128::from(data.ctime_nsec());
            if i128::try_from(now.as_nanos()).unwrap() > changed + i128::from(TICK_NS) + 1 {
                return;
            }
            std::thread::yield_now();
        }
    }

    fn stat(path: &Path) -> FileStat {
        FileStat::of(&fs::metadata(path).unwrap())
    }

    #[test]
    fn a_digest_is_remembered_for_the_next_run_and_not_after_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let (file, store) = (folder.path().join("f"), folder.path().join("digests"));
        fs::write(&file, "one").unwrap();
        settle(&file);

        let (cache, warning) = DigestCache::open(&store);
        assert_eq!((cache.get(&stat(&file)), warning), (None, None));
        let digest = cache.digest(&file, &Cancel::never()).unwrap();
        assert_eq!(digest, *blake3::hash(b"one").as_bytes());
        cache.save().unwrap();

        let (again, warning) = DigestCache::open(&store);
        assert_eq!((again.get(&stat(&file)), warning), (Some(digest), None));
        // Same size, and the time of the content set back: only the time of the metadata tells.
        let modified = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, "two").unwrap();
        File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
        assert_eq!(again.get(&stat(&file)), None);
        assert_eq!(again.digest(&file, &Cancel::never()).unwrap(), *blake3::hash(b"two").as_bytes());
    }

    #[test]
    fn a_file_that_just_changed_is_not_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        let cache = DigestCache::in_memory();
        fs::write(&file, "one").unwrap();
        cache.digest(&file, &Cancel::never()).unwrap();
        assert_eq!(cache.get(&stat(&file)), None);
    }

    #[test]
    fn every_damage_is_a_miss_with_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let (file, store) = (folder.path().join("f"), folder.path().join("digests"));
        fs::write(&file, "one").unwrap();
        settle(&file);
        let (cache, _) = DigestCache::open(&store);
        cache.digest(&file, &Cancel::never()).unwrap();
        cache.save().unwrap();
        let good = fs::read(&store).unwrap();
        assert_eq!(good.len(), HEADER + RECORD + CHECKSUM);

        let mut damaged: Vec<Vec<u8>> = (0..good.len()).map(|length| good[..length].to_vec()).collect();
        damaged.extend((0..good.len()).map(|at| {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            bytes
        }));
        damaged.push([good.as_slice(), b"more"].concat());
        for bytes in damaged {
            fs::write(&store, bytes).unwrap();
            let (cache, warning) = DigestCache::open(&store);
            assert!(cache.known.records().is_empty() && warning.is_some());
        }
        // It is written anew although there is nothing new, or every further run would warn of it.
        DigestCache::open(&store).0.save().unwrap();
        assert_eq!(DigestCache::open(&store).1, None);
    }

    #[test]
    fn a_record_is_found_from_wherever_the_last_one_was() {
        let record = |(device, inode): (u64, u64)| Record {
            stat: FileStat { device, inode, size: 0, modified_ns: 0, changed_ns: 0 },
            day: 1,
            digest: [inode as u8; 32],
        };
        for count in 0..20_u64 {
            let keys: Vec<_> = (0..count).map(|number| (number / 7, number * 2 + 1)).collect();
            let mut bytes = Vec::new();
            encode(keys.len(), keys.iter().copied().map(record), &mut bytes).unwrap();
            let known = Known::new(bytes).unwrap();
            let wanted = (0..5).flat_map(|device| (0..42).map(move |inode| (device, inode)));
            for (key, start) in wanted.flat_map(|key| (0..25).map(move |start| (key, start))) {
                let mut near = Near(start);
                let index = keys.binary_search(&key);
                let expected = index.ok().map(|index| (index, record(key)));
                assert_eq!(known.find(key, &mut near), expected, "{key:?} from {start} among {count}");
                assert_eq!(near.0, index.unwrap_or_else(|index| index), "{key:?} from {start} among {count}");
            }
        }
    }

    #[test]
    fn what_is_read_anew_takes_the_place_of_what_was_known() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("digests");
        let files: Vec<_> = (0..9).map(|number| folder.path().join(format!("f{number}"))).collect();
        for file in &files {
            fs::write(file, "one").unwrap();
            settle(file);
        }
        let (cache, _) = DigestCache::open(&store);
        files.iter().step_by(2).for_each(|file| _ = cache.digest(file, &Cancel::never()).unwrap());
        cache.save().unwrap();
        for file in files.iter().step_by(3) {
            fs::write(file, "two").unwrap();
            settle(file);
        }
        let (cache, _) = DigestCache::open(&store);
        files.iter().for_each(|file| _ = cache.digest(file, &Cancel::never()).unwrap());
        cache.save().unwrap();
        let (cache, warning) = DigestCache::open(&store);
        assert_eq!((cache.known.records().len(), warning), (files.len(), None));
        for (number, file) in files.iter().enumerate() {
            let content: &[u8] = if number % 3 == 0 { b"two" } else { b"one" };
            assert_eq!(cache.get(&stat(file)), Some(*blake3::hash(content).as_bytes()), "{number}");
        }
    }

    #[test]
    fn nothing_new_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("digests");
        let (cache, _) = DigestCache::open(&store);
        cache.save().unwrap();
        assert!(!store.exists());
    }
}
