//! How the records of tasks are written: a header, then one frame after the other, each with its length and checksum.

use std::ops::Range;

use super::tasks::{Made, TaskRecord, TaskView};

pub(super) const MAGIC: &[u8; 8] = b"stacktsk";
/// The version of the format.
///
/// - 1: the first.
/// - 2: what a task printed is left out where it holds a secret.
/// - 3: CRC-32 instead of a digest: a frame can be torn, not forged.
/// - 4: the name of the stack before that of the task, and links among what was made.
pub(super) const VERSION: u32 = 4;
pub(super) const HEADER: usize = 8 + 4;
/// Length and checksum.
pub(super) const FRAME: usize = 4 + 4;
/// What precedes the digest of a file, of one that may be executed, and the target of a link.
const FILE: u8 = b'f';
const EXECUTABLE: u8 = b'x';
const LINK: u8 = b'l';

pub(super) fn header() -> Vec<u8> {
    [MAGIC.as_slice(), &VERSION.to_le_bytes()].concat()
}

fn checksum(payload: &[u8]) -> [u8; 4] {
    crc32fast::hash(payload).to_le_bytes()
}

pub(super) fn frame(payload: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    into.extend_from_slice(&checksum(payload));
    into.extend_from_slice(payload);
}

/// Where the payload of the frame at `at` is, if the frame is whole.
pub(super) fn payload(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let length = bytes.get(at..at + 4)?;
    let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
    let start = at + FRAME;
    let payload = bytes.get(start..start.checked_add(length)?)?;
    (bytes[at + 4..start] == checksum(payload)).then(|| start..start + length)
}

/// Names of stack and task, then a record unless it is a withdrawal. Every text is preceded by its length.
pub(super) fn encode(stack: &str, task: &str, record: Option<&TaskRecord>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut put = |part: &[u8]| {
        bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
        bytes.extend_from_slice(part);
    };
    put(stack.as_bytes());
    put(task.as_bytes());
    if let Some(record) = record {
        put(record.key.as_bytes());
        put(record.effect.as_bytes());
        put(&[u8::from(record.stdout.is_some())]);
        put(record.stdout.as_deref().unwrap_or_default().as_bytes());
        put(&record.manifest);
        for (path, Made { digest, executable }) in &record.outputs {
            put(path.as_bytes());
            put(&[&[if *executable { EXECUTABLE } else { FILE }], digest.as_slice()].concat());
        }
        for (path, target) in &record.links {
            put(path.as_bytes());
            put(&[&[LINK], target.as_bytes()].concat());
        }
    }
    bytes
}

pub(super) fn decode(payload: &[u8]) -> Option<Frame<'_>> {
    let mut rest = payload;
    let mut take = || {
        let (length, after) = rest.split_at_checked(4)?;
        let (part, after) = after.split_at_checked(u32::from_le_bytes(length.try_into().ok()?) as usize)?;
        rest = after;
        Some(part)
    };
    let text = |part| std::str::from_utf8(part).ok();
    let (stack, task) = (text(take()?)?, text(take()?)?);
    let Some(key) = take() else { return Some(Frame { stack, task, record: None }) };
    let key = text(key)?;
    let effect = text(take()?)?;
    let is_kept = take()? == [1];
    let stdout = Some(text(take()?)?).filter(|_| is_kept);
    let manifest = take()?;
    let (mut outputs, mut links) = (Vec::new(), Vec::new());
    while let Some(path) = take() {
        let path = text(path)?;
        match take()?.split_first()? {
            (&LINK, target) => links.push((path, text(target)?)),
            (&kind, digest) if kind == FILE || kind == EXECUTABLE => {
                outputs.push((path, Made { digest: digest.try_into().ok()?, executable: kind == EXECUTABLE }));
            }
            _ => return None,
        }
    }
    Some(Frame { stack, task, record: Some(TaskView { key, effect, stdout, outputs, links, manifest }) })
}

/// What a payload says.
pub(super) struct Frame<'r> {
    pub(super) stack: &'r str,
    pub(super) task: &'r str,
    /// Nothing for a withdrawal.
    pub(super) record: Option<TaskView<'r>>,
}
