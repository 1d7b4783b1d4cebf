//! One file of the log. Its blocks are written with zeros before its use, because a sync is several times as fast if
//! it does not have to allocate blocks.
//!
//! Invariants:
//! - Every record lies within the file, and before [`Segment::end`].
//! - No webhook before [`Segment::first`] is in the log any more.
//! - The mark of the records is new at each use of the file.

use std::{
    fs::{self, File},
    io,
    ops::Range,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{
    ranges::Ranges,
    record::{self, Content, Mark, PREFIX_BYTES},
    window::Window,
};
use crate::storage::spool::private_file;

/// Bytes of the records of an ordinary file. A webhook that is larger has a file of its own.
pub(super) const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
const HEAD_BYTES: usize = 32;
/// Offset of the first record.
pub(super) const START: u64 = HEAD_BYTES as u64;
/// The first bytes of a file. The number of the segment, the mark of its records, and a checksum follow.
const MAGIC: [u8; 8] = *b"aftrlog1";
/// Numbers are lower, so that a position has room for them.
const MAX_NUMBER: u64 = 1 << 31;
/// Extension of a file that cannot be read. The gateway does not touch it again.
const DAMAGED: &str = "damaged";
/// Zeros, as many as are written at a time.
static ZEROS: [u8; 1024 * 1024] = [0; 1024 * 1024];

/// A file of the log.
#[derive(Debug)]
pub(super) struct Segment {
    /// Later segments have higher numbers. A file that is used again gets a new number.
    pub number: u64,
    /// Offset of the next record.
    pub end: u64,
    /// Webhooks of the segment that are in the log.
    pub webhooks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of the file.
    pub capacity: u64,
    /// The first bytes of each record.
    pub mark: Mark,
    /// Offset before which no webhook is in the log any more.
    pub first: u64,
    /// Where no webhook is in the log, after `first`.
    removed: Ranges,
    path: PathBuf,
    file: File,
}

/// What an existing file is.
pub(super) enum Opened {
    /// A segment. It was not read yet.
    Segment(Segment),
    /// A file that was not finished when it was created.
    Unfinished,
    /// Something else.
    Damaged,
}

/// What [`Segment::scan`] has found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// The latest checkpoint; 0 if there is none.
    pub checkpoint: u64,
    /// Bytes between records that are no records.
    pub damaged_bytes: u64,
}

impl Segment {
    /// Creates the file of the segment `number` in `folder`, for records of `bytes` in all.
    pub fn create(folder: &Path, number: u64, bytes: u64) -> io::Result<Self> {
        let name = format!("{number:016}.log");
        let (path, capacity) = (folder.join(&name), bytes + START);
        let filled = private_file::open(folder, &name).and_then(|file| {
            write_zeros(&file, 0..capacity)?;
            file.sync_all()?;
            // Writes the name of the file to disk. Without the name, a power cut would lose the file.
            File::open(folder)?.sync_all()?;
            Ok(file)
        });
        let begun = filled.and_then(|file| Self::begin(number, capacity, path.clone(), file));
        begun.inspect_err(|_error| drop(fs::remove_file(&path)))
    }

    /// Uses the file again for the segment `number`. All its webhooks must have been removed.
    pub fn reuse(self, number: u64) -> io::Result<Self> {
        let begun = Self::begin(number, self.capacity, self.path.clone(), self.file);
        begun.inspect_err(|_error| drop(fs::remove_file(&self.path)))
    }

    fn begin(number: u64, capacity: u64, path: PathBuf, file: File) -> io::Result<Self> {
        if number >= MAX_NUMBER {
            return Err(io::Error::other("the log of the spool has no number for another file"));
        }
        let mark = rand::random();
        file.write_all_at(&head(number, mark), 0)?;
        file.sync_data()?;
        Ok(Self::new(number, mark, capacity, path, file))
    }

    fn new(number: u64, mark: Mark, capacity: u64, path: PathBuf, file: File) -> Self {
        let (first, end, removed) = (START, START, Ranges::default());
        Self { number, end, webhooks: 0, bytes: 0, capacity, mark, first, removed, path, file }
    }

    /// Opens an existing file.
    pub fn open(folder: &Path, name: &str) -> io::Result<Opened> {
        let file = private_file::open(folder, name)?;
        let capacity = file.metadata()?.len();
        let mut start = [0; HEAD_BYTES];
        if capacity < START {
            return Ok(Opened::Unfinished);
        }
        if let Err(error) = file.read_exact_at(&mut start, 0) {
            tracing::error!(%error, "a file of the spool cannot be read");
            return Ok(Opened::Damaged);
        }
        let (_, rest) = start.split_at(MAGIC.len());
        let (number, rest) = rest.split_at(8);
        let number = number.first_chunk().copied().map_or(u64::MAX, u64::from_le_bytes);
        let mark = rest.first_chunk().copied().unwrap_or_default();
        if start == head(number, mark) && number < MAX_NUMBER {
            return Ok(Opened::Segment(Self::new(number, mark, capacity, folder.join(name), file)));
        }
        Ok(if is_zero(&file, capacity).unwrap_or(false) { Opened::Unfinished } else { Opened::Damaged })
    }

    /// Finds all records, counts the webhooks that were not removed, and sets `end`.
    pub fn recover(&mut self, window: &mut Window) -> io::Result<Scan> {
        let (scan, end) = self.scan(self.capacity, window)?;
        self.end = end;
        Ok(scan)
    }

    /// Scans again after a read failed: marks damaged records as removed, and counts the others.
    pub fn leave_out_damage(&mut self, window: &mut Window) -> io::Result<Scan> {
        let (mut scan, end) = self.scan(self.end, window)?;
        if end < self.end {
            scan.damaged_bytes += self.not_removed(end..self.end);
            self.mark_removed(end..self.end);
        }
        Ok(scan)
    }

    /// Counts the webhooks before `limit`. Returns also the end of the last record.
    fn scan(&mut self, limit: u64, window: &mut Window) -> io::Result<(Scan, u64)> {
        (self.webhooks, self.bytes) = (0, 0);
        let (mut scan, mut offset) = (Scan::default(), self.first);
        while let Some((range, content)) = self.next_record(offset, limit, window)? {
            if range.start > offset {
                scan.damaged_bytes += self.not_removed(offset..range.start);
                self.mark_removed(offset..range.start);
            }
            offset = range.end;
            match content {
                Content::Webhook(_) if self.has(range.start) => self.count(&range),
                Content::Webhook(_) => {}
                Content::Checkpoint(position) => {
                    scan.checkpoint = scan.checkpoint.max(position);
                    self.mark_removed(range);
                }
            }
        }
        Ok((scan, offset))
    }

    /// The first record from `offset` on. `None`: there is none before `limit`.
    fn next_record(
        &self,
        mut offset: u64,
        limit: u64,
        window: &mut Window,
    ) -> io::Result<Option<(Range<u64>, Content)>> {
        loop {
            let found = self.read_at(offset, limit, window)?;
            if found.is_some() {
                return Ok(found);
            }
            let Some(mark) = window.find(self.number, &self.file, &self.mark, offset + 1, limit)? else {
                return Ok(None);
            };
            offset = mark;
        }
    }

    /// The record at `offset`. `None`: it is damaged.
    pub fn record_at(&self, offset: u64, window: &mut Window) -> io::Result<Option<(Range<u64>, Content)>> {
        self.read_at(offset, self.end, window)
    }

    fn read_at(
        &self,
        offset: u64,
        limit: u64,
        window: &mut Window,
    ) -> io::Result<Option<(Range<u64>, Content)>> {
        let content_at = offset + PREFIX_BYTES as u64;
        let prefix = window.read(self.number, &self.file, offset..content_at, limit)?;
        let Some(prefix) = prefix.and_then(|prefix| prefix.first_chunk()).copied() else { return Ok(None) };
        let Some(bytes) = record::content_length(prefix, self.mark) else { return Ok(None) };
        let end = content_at + bytes as u64;
        let content = window.read(self.number, &self.file, content_at..end, limit)?;
        let content = content.and_then(|content| record::read(prefix, content));
        Ok(content.map(|content| (offset..end, content)))
    }

    /// Removes all webhooks before `offset`.
    pub fn remove_below(&mut self, offset: u64, window: &mut Window) -> io::Result<()> {
        let mut next = self.first;
        while next < offset.min(self.end) {
            if let Some(end) = self.removed_at(next) {
                next = end;
                continue;
            }
            let Some((range, _)) = self.record_at(next, window)? else { break };
            next = range.end;
            self.remove(range);
        }
        Ok(())
    }

    /// Removes all webhooks.
    pub fn clear(&mut self) {
        (self.webhooks, self.bytes, self.first) = (0, 0, self.end);
        self.removed = Ranges::default();
    }

    /// Writes the whole file once more, with zeros after `end`. After a crash or a failed sync, this makes sure that all
    /// records before `end` are on disk, so that more can be added after them.
    pub fn write_again(&self) -> io::Result<()> {
        let mut bytes = vec![0; ZEROS.len()];
        for (offset, length) in pieces(0..self.end) {
            self.file.read_exact_at(&mut bytes[..length], offset)?;
            self.file.write_all_at(&bytes[..length], offset)?;
        }
        write_zeros(&self.file, self.end..self.capacity)?;
        self.file.sync_all()
    }

    /// Whether records of `bytes` fit after `end`.
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
    pub fn count(&mut self, range: &Range<u64>) {
        self.webhooks += 1;
        self.bytes += range.end - range.start;
    }

    /// Whether the webhook at `offset` was not removed.
    pub fn has(&self, offset: u64) -> bool {
        offset >= self.first && self.removed.end_of(offset).is_none()
    }

    /// Bytes at the end of `range` that were not removed. Damage that an earlier scan has reported is marked as removed.
    fn not_removed(&self, range: Range<u64>) -> u64 {
        range.end - self.removed_at(range.start).unwrap_or(range.start).min(range.end)
    }

    /// The end of what was removed at `offset`. `None`: nothing was removed there.
    pub fn removed_at(&self, offset: u64) -> Option<u64> {
        self.removed.end_of(offset)
    }

    /// Removes the webhook whose record is at `range`. Does nothing if it was removed already.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.end <= self.end && self.has(range.start) {
            self.webhooks -= 1;
            self.bytes -= range.end - range.start;
            self.mark_removed(range);
        }
    }

    /// Notes that no webhook is at `range`.
    pub fn mark_removed(&mut self, range: Range<u64>) {
        let start = range.start.max(self.first);
        if start < range.end {
            self.removed.add(start..range.end);
        }
        if let Some(end) = self.removed.take(self.first) {
            self.first = end;
        }
    }

    /// Deletes the file.
    pub fn delete(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Renames a file that cannot be read, so that it stays for an operator.
pub(super) fn quarantine(path: &Path) -> io::Result<()> {
    let second = Timestamp::now().as_second();
    let renamed = path.with_extension(format!("{second}.{DAMAGED}"));
    fs::rename(path, &renamed)?;
    let file = renamed.display();
    tracing::error!(%file, "a file of the spool cannot be read: check the disk of SPOOL_DIR");
    Ok(())
}

/// Logs that bytes of a segment cannot be read.
pub(super) fn report(segment: &Segment, scan: &Scan) {
    if scan.damaged_bytes > 0 {
        let (file, bytes) = (segment.path().display(), scan.damaged_bytes);
        tracing::error!(
            %file,
            bytes,
            "bytes in the spool are no webhooks: the disk has damaged them, or the power was cut before they were answered"
        );
    }
}

/// The first bytes of the file of the segment `number`.
fn head(number: u64, mark: Mark) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    let (start, rest) = head.split_at_mut(MAGIC.len());
    start.copy_from_slice(&MAGIC);
    rest[..8].copy_from_slice(&number.to_le_bytes());
    rest[8..16].copy_from_slice(&mark);
    let checksum = crc32fast::hash(&rest[..16]);
    rest[16..20].copy_from_slice(&checksum.to_le_bytes());
    head
}

/// Whether a file has nothing but zeros.
fn is_zero(file: &File, capacity: u64) -> io::Result<bool> {
    let mut bytes = vec![0; ZEROS.len()];
    for (offset, length) in pieces(0..capacity) {
        file.read_exact_at(&mut bytes[..length], offset)?;
        if bytes[..length] != ZEROS[..length] {
            return Ok(false);
        }
    }
    Ok(true)
}

fn write_zeros(file: &File, range: Range<u64>) -> io::Result<()> {
    pieces(range).try_for_each(|(offset, length)| file.write_all_at(&ZEROS[..length], offset))
}

/// Offset and length of the pieces of `range`, none longer than [`ZEROS`].
fn pieces(range: Range<u64>) -> impl Iterator<Item = (u64, usize)> {
    range.clone().step_by(ZEROS.len()).map(move |offset| {
        let left = usize::try_from(range.end - offset).unwrap_or(ZEROS.len());
        (offset, left.min(ZEROS.len()))
    })
}
