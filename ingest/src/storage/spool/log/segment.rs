//! One file of the log. Its blocks are written with zeros before its use, because a sync is several times as fast if
//! it does not have to allocate blocks.
//!
//! Invariants:
//! - Every record lies within the file, and before [`Segment::end`].
//! - No webhook before [`Segment::first`] is in the log any more.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    ops::Range,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use super::{
    record::{self, Content, PREFIX_BYTES},
    window::Window,
};
use crate::storage::spool::private_file;

/// Bytes of an ordinary file. A webhook that is larger has a file of its own.
pub(super) const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
/// The first bytes of a file: what it is, and its number.
const MAGIC: [u8; 8] = *b"aftrlog1";
/// Offset of the first record.
pub(super) const START: u64 = 16;
/// Extension of a file that cannot be read. The gateway does not touch it again.
const DAMAGED: &str = "damaged";
/// Bytes that are written at a time to a new file.
const ZEROS: usize = 1024 * 1024;

/// A file of the log.
#[derive(Debug)]
pub(super) struct Segment {
    /// Later segments have higher numbers. A file that is used again gets a new number.
    pub number: u64,
    /// Offset of the next record.
    pub end: u64,
    /// Webhooks in the segment that are in the log.
    pub webhooks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of the file.
    pub capacity: u64,
    first: u64,
    /// What was removed behind `first`: start and end.
    removed: BTreeMap<u64, u64>,
    path: PathBuf,
    file: File,
}

impl Segment {
    /// Creates the file of the segment `number` in `folder`, for records of `bytes` in all.
    pub fn create(folder: &Path, number: u64, bytes: u64) -> io::Result<Self> {
        let name = format!("{number:016}.log");
        let (path, capacity) = (folder.join(&name), bytes + START);
        let filled = private_file::open(folder, &name).and_then(|mut file| {
            let zeros = vec![0; ZEROS];
            let mut left = capacity;
            while left > 0 {
                let piece = &zeros[..usize::try_from(left).unwrap_or(ZEROS).min(ZEROS)];
                file.write_all(piece)?;
                left -= piece.len() as u64;
            }
            file.sync_all()?;
            // Writes the name of the file to disk. Without the name, a power cut would lose the file.
            File::open(folder)?.sync_all()?;
            Ok(file)
        });
        let file = filled.inspect_err(|_error| drop(fs::remove_file(&path)))?;
        Self::begin(number, capacity, path, file)
    }

    /// Uses the file again for the segment `number`. All its webhooks must have been removed.
    pub fn reuse(self, number: u64) -> io::Result<Self> {
        Self::begin(number, self.capacity, self.path, self.file)
    }

    fn begin(number: u64, capacity: u64, path: PathBuf, file: File) -> io::Result<Self> {
        let mut start = Vec::from(MAGIC);
        start.extend(number.to_le_bytes());
        file.write_all_at(&start, 0)?;
        Ok(Self {
            number,
            end: START,
            webhooks: 0,
            bytes: 0,
            capacity,
            first: START,
            removed: BTreeMap::new(),
            path,
            file,
        })
    }

    /// Opens an existing file. `None`: it was never used.
    pub fn open(folder: &Path, name: &str) -> io::Result<Option<Self>> {
        let file = private_file::open(folder, name)?;
        let capacity = file.metadata()?.len();
        let mut start = [0; START as usize];
        if capacity < START || file.read_exact_at(&mut start, 0).is_err() {
            return Ok(None);
        }
        let (magic, number) = start.split_at(MAGIC.len());
        let Ok(number) = number.try_into().map(u64::from_le_bytes) else { return Ok(None) };
        if magic != MAGIC {
            return Ok(None);
        }
        let path = folder.join(name);
        let (first, end) = (START, START);
        let removed = BTreeMap::new();
        Ok(Some(Self { number, end, webhooks: 0, bytes: 0, capacity, first, removed, path, file }))
    }

    /// Counts the records, and finds their end. Returns the highest place below which all webhooks are removed, as the
    /// segment says.
    pub fn recover(&mut self) -> io::Result<u64> {
        let (mut window, mut removed_below) = (Window::default(), 0);
        self.end = self.capacity; // Until the first bytes that are no record.
        let mut offset = START;
        while let Some((range, content)) = self.record_at(offset, &mut window)? {
            offset = range.end;
            match content {
                Content::Webhook(_) => self.added(&range),
                Content::Removed(below) => {
                    removed_below = removed_below.max(below);
                    self.removed.insert(range.start, range.end);
                }
            }
        }
        self.end = offset;
        self.advance();
        Ok(removed_below)
    }

    /// Removes all webhooks before `offset`.
    pub fn remove_below(&mut self, offset: u64) -> io::Result<()> {
        let mut window = Window::default();
        let mut next = self.first;
        while next < offset.min(self.end) {
            let Some((range, content)) = self.record_at(next, &mut window)? else { break };
            next = range.end;
            if matches!(content, Content::Webhook(_)) {
                self.remove(&range);
            }
        }
        Ok(())
    }

    /// The record at `offset`. `None`: there is none, or it is damaged.
    pub fn record_at(&self, offset: u64, window: &mut Window) -> io::Result<Option<(Range<u64>, Content)>> {
        let content_at = offset + PREFIX_BYTES as u64;
        let Some(prefix) = window.read(self.number, &self.file, offset..content_at, self.end)? else {
            return Ok(None);
        };
        let Some(prefix) = prefix.first_chunk().copied() else { return Ok(None) };
        let Some(bytes) = record::content_bytes(prefix) else { return Ok(None) };
        let end = content_at + bytes as u64;
        let content = window.read(self.number, &self.file, content_at..end, self.end)?;
        let content = content.and_then(|content| record::read(prefix, content, self.number));
        Ok(content.map(|content| (offset..end, content)))
    }

    /// Whether records of `bytes` fit behind `end`.
    pub fn has_room(&self, bytes: u64) -> bool {
        self.end + bytes <= self.capacity
    }

    /// Writes records at `end`. They are on disk after [`Self::sync`].
    pub fn write(&mut self, records: &[u8]) -> io::Result<()> {
        self.file.write_all_at(records, self.end)?;
        self.end += records.len() as u64;
        Ok(())
    }

    /// Waits until everything that was written is on disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Counts the webhook whose record is at `range`.
    pub fn added(&mut self, range: &Range<u64>) {
        self.webhooks += 1;
        self.bytes += range.end - range.start;
    }

    /// Offset before which no webhook is in the log any more.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Whether the webhook at `offset` was not removed.
    pub fn has(&self, offset: u64) -> bool {
        offset >= self.first && !self.removed.contains_key(&offset)
    }

    /// The end of what was removed at `offset`. `None`: nothing was removed there.
    pub fn removed_at(&self, offset: u64) -> Option<u64> {
        self.removed.get(&offset).copied()
    }

    /// Removes the webhook whose record is at `range`. Returns whether it was in the log.
    pub fn remove(&mut self, range: &Range<u64>) -> bool {
        if range.start < self.first || range.end > self.end || self.removed.contains_key(&range.start) {
            return false;
        }
        self.webhooks -= 1;
        self.bytes -= range.end - range.start;
        self.skip(range);
        true
    }

    /// Notes that no webhook is at `range`.
    pub fn skip(&mut self, range: &Range<u64>) {
        self.removed.insert(range.start, range.end);
        self.advance();
    }

    /// Moves `first` over everything that was removed.
    fn advance(&mut self) {
        while let Some(end) = self.removed.remove(&self.first) {
            self.first = end;
        }
    }

    /// Deletes the file.
    pub fn delete(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    /// Sets the file aside, because it cannot be read. Returns its new name.
    pub fn set_aside(self) -> io::Result<PathBuf> {
        let path = self.path.with_extension(DAMAGED);
        fs::rename(&self.path, &path)?;
        Ok(path)
    }
}
