//! What was found to be right before: hashes of facts, each of which proves that a task has nothing to do.
//!
//! Whoever finds that out the long way (every input digested, the key made, the outputs compared) adds the hash of all
//! the facts that it followed from; whoever meets the same facts again need not go that way. The set is a cache and
//! nothing else: a hash that is not in it costs time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use foldhash::{HashMap, HashSet};

/// A hash of facts.
pub type Proof = [u8; 16];

const MAGIC: &[u8; 8] = b"stackprv";
/// The version of the format.
///
/// - 1: the first.
const VERSION: u32 = 1;
const HEADER: usize = 8 + 4;
const CHECKSUM: usize = 32;

/// Proofs from earlier runs, and of this one. Shared between threads.
#[derive(Debug)]
pub struct Proven {
    path: PathBuf,
    /// Each with whether it was met in this run.
    known: HashMap<Proof, AtomicBool>,
    fresh: Mutex<HashSet<Proof>>,
    /// What is on disk could not be used, and is to be written anew.
    broken: AtomicBool,
}

impl Proven {
    /// Opens the set in this file. A file that can't be used gives an empty set and a sentence that says why; one that
    /// is not there gives an empty set.
    pub fn open(path: impl Into<PathBuf>) -> (Self, Option<String>) {
        let path = path.into();
        let (known, warning) = match fs::read(&path) {
            Ok(bytes) => match decode(&bytes) {
                Some(known) => (known, None),
                None => (Vec::new(), Some("it is damaged, or of another version".to_owned())),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let warning = warning.map(|why| format!("{} is ignored: {why}. It is only a cache.", path.display()));
        let known = known.into_iter().map(|proof| (proof, AtomicBool::new(false))).collect();
        let broken = AtomicBool::new(warning.is_some());
        (Self { path, known, fresh: Mutex::default(), broken }, warning)
    }

    /// Whether these facts are known to be right.
    pub fn contains(&self, proof: &Proof) -> bool {
        match self.known.get(proof) {
            Some(met) => {
                met.store(true, Ordering::Relaxed);
                true
            }
            None => self.lock().contains(proof),
        }
    }

    /// Adds facts that were found to be right.
    pub fn insert(&self, proof: Proof) {
        self.lock().insert(proof);
    }

    /// Writes the set, if there is something new in it. Of more than twice `most`, those that were not met are dropped.
    ///
    /// # Errors
    /// When the file can't be written; the old one stays.
    pub fn save(&self, most: usize) -> io::Result<()> {
        let mut fresh = self.lock();
        if fresh.is_empty() && !self.broken.load(Ordering::Relaxed) {
            return Ok(());
        }
        let crowded = self.known.len() + fresh.len() > most.saturating_mul(2);
        let kept =
            self.known.iter().filter(|(_, met)| !crowded || met.load(Ordering::Relaxed)).map(|(proof, _)| *proof);
        let mut all: Vec<Proof> = kept.chain(fresh.drain()).collect();
        all.sort_unstable();
        all.dedup();
        super::replace(&self.path, &encode(&all))?;
        self.broken.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<Proof>> {
        // Every change is one insertion.
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn encode(proofs: &[Proof]) -> Vec<u8> {
    let mut bytes = [MAGIC.as_slice(), &VERSION.to_le_bytes(), proofs.as_flattened()].concat();
    let checksum = blake3::hash(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Vec<Proof>> {
    let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
    let (header, proofs) = body.split_at_checked(HEADER)?;
    if header[..8] != *MAGIC || header[8..] != VERSION.to_le_bytes() || blake3::hash(body).as_bytes() != checksum {
        return None;
    }
    let (proofs, rest) = proofs.as_chunks();
    (rest.is_empty() && proofs.is_sorted()).then(|| proofs.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(number: u8) -> Proof {
        [number; 16]
    }

    #[test]
    fn what_was_proven_is_known_to_the_next_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proven");
        let (set, warning) = Proven::open(&path);
        assert_eq!(warning, None);
        set.save(10).unwrap();
        assert!(!path.exists(), "nothing new writes nothing");
        for number in [3, 1, 2] {
            assert!(!set.contains(&proof(number)));
            set.insert(proof(number));
            assert!(set.contains(&proof(number)));
        }
        set.save(10).unwrap();
        // Too many: of the old ones only those that were met stay.
        let (set, _) = Proven::open(&path);
        assert!(set.contains(&proof(2)) && !set.contains(&proof(4)));
        set.insert(proof(4));
        set.save(1).unwrap();
        let (set, _) = Proven::open(&path);
        let known: Vec<u8> = (0..9).filter(|&number| set.contains(&proof(number))).collect();
        assert_eq!(known, [2, 4]);
    }

    #[test]
    fn every_damage_is_a_miss_with_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proven");
        let good = encode(&[proof(1), proof(2)]);
        let cut = (0..good.len()).map(|length| good[..length].to_vec());
        let flipped = (0..good.len()).map(|at| {
            let mut bad = good.clone();
            bad[at] ^= 4;
            bad
        });
        for bad in cut.chain(flipped) {
            fs::write(&path, bad).unwrap();
            let (set, warning) = Proven::open(&path);
            assert!(warning.is_some() && !set.contains(&proof(1)) && !set.contains(&proof(2)));
        }
        // It is written anew although there is nothing new, or every further run would warn of it.
        Proven::open(&path).0.save(10).unwrap();
        assert_eq!(Proven::open(&path).1, None);
    }
}
