//! The names in a folder, sorted, in memory that is used again for the next folder.

use std::cmp::Ordering;
use std::ffi::CStr;
#[cfg(target_os = "linux")]
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

#[cfg(not(target_os = "linux"))]
use rustix::fs::Dir;
use rustix::fs::FileType;
#[cfg(target_os = "linux")]
use rustix::fs::RawDir;
use rustix::io::Errno;

/// Bytes that the system may tell at a time: enough for most folders.
#[cfg(target_os = "linux")]
const PIECE: usize = 32 * 1024;

/// The names in a folder, and what the folder tells of what they name.
pub(super) struct Names {
    /// What the system tells, in its own form.
    #[cfg(target_os = "linux")]
    told: Box<[MaybeUninit<u8>]>,
    /// All names, each with the zero that ends it.
    bytes: Vec<u8>,
    names: Vec<Name>,
}

struct Name {
    /// The first letters, which tell most names apart without a look at the rest.
    first: u64,
    start: usize,
    end: usize,
    kind: FileType,
}

impl Names {
    /// No names, and the memory for some.
    pub(super) fn new() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            told: Box::new_uninit_slice(PIECE),
            bytes: Vec::new(),
            names: Vec::new(),
        }
    }

    /// Reads a folder that was just opened, in the place of the one before.
    pub(super) fn read(&mut self, folder: &OwnedFd) -> Result<(), Errno> {
        self.bytes.clear();
        self.names.clear();
        #[cfg(target_os = "linux")]
        {
            let Self { told, bytes, names } = self;
            let mut entries = RawDir::new(folder, told);
            while let Some(entry) = entries.next() {
                let entry = entry?;
                add(bytes, names, entry.file_name(), entry.file_type());
            }
        }
        #[cfg(not(target_os = "linux"))]
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            add(&mut self.bytes, &mut self.names, entry.file_name(), entry.file_type());
        }
        let text = |name: &Name| &self.bytes[name.start..name.end - 1];
        self.names.sort_unstable_by(|one, other| match one.first.cmp(&other.first) {
            Ordering::Equal => text(one).cmp(text(other)),
            different => different,
        });
        Ok(())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// How many bytes they have together.
    pub(super) fn letters(&self) -> usize {
        self.bytes.len() - self.names.len()
    }

    /// The names in byte order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&CStr, FileType)> {
        let text = |name: &Name| CStr::from_bytes_with_nul(&self.bytes[name.start..name.end]).unwrap_or_default();
        self.names.iter().map(move |name| (text(name), name.kind))
    }
}

fn add(bytes: &mut Vec<u8>, names: &mut Vec<Name>, name: &CStr, kind: FileType) {
    if name == c"." || name == c".." {
        return;
    }
    let start = bytes.len();
    bytes.extend_from_slice(name.to_bytes_with_nul());
    names.push(Name { first: first_letters(name.to_bytes()), start, end: bytes.len(), kind });
}

/// The first eight letters as a number that sorts as they do.
fn first_letters(name: &[u8]) -> u64 {
    let mut first = [0; 8];
    let length = name.len().min(first.len());
    first[..length].copy_from_slice(&name[..length]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_byte_order_and_those_of_the_folder_before_are_gone() {
        let folder = |names: &[&str]| {
            let folder = tempfile::tempdir().unwrap();
            names.iter().for_each(|name| std::fs::write(folder.path().join(name), "").unwrap());
            folder
        };
        let mut names = Names::new();
        let mut read = |folder: &tempfile::TempDir| -> Vec<String> {
            names.read(&std::fs::File::open(folder.path()).unwrap().into()).unwrap();
            assert_eq!(names.letters(), names.iter().map(|(name, _)| name.count_bytes()).sum::<usize>());
            names.iter().map(|(name, _)| name.to_str().unwrap().to_owned()).collect()
        };
        let sorted = ["a", "a-long-name-1", "a-long-name-10", "a-long-name-2", "aa", "b", "ü"];
        let mut shuffled = sorted;
        shuffled.reverse();
        assert_eq!(read(&folder(&shuffled)), sorted);
        assert_eq!(read(&folder(&["z"])), ["z"]);
        assert!(read(&folder(&[])).is_empty());
    }
}
