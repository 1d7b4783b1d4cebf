//! The store of `SPOOL=first`: a log in files that are used again.
//!
//! The embedded stores that were measured need two to ten times the time of a sync for a group of webhooks, and more
//! processor time (`deploy/SCALING.md`). This log needs one write and one sync into blocks that exist already.
//!
//! A webhook is removed in memory. A checkpoint in the log says below which position all webhooks are removed. After a
//! crash, some removed webhooks can therefore be in the log again. They are published a second time with the same id, and
//! the broker or the worker drops them.
//!
//! Invariants:
//! - Records are added to a file only if everything before them is on disk. After a failed sync, earlier bytes may be
//!   missing on disk although they can be read.
//! - The files take at most 80 MiB (five segments) more than the maximum of webhooks. A webhook that stays keeps its
//!   file, so a log with many such files is full earlier.
//! - Nothing in a file stops the log: damaged records are left out and reported, files that cannot be read are renamed. A
//!   file that cannot be opened or renamed does: an operator has to look at the folder.

mod position;
mod ranges;
mod record;
mod recovery;
mod segment;
mod window;

use std::{
    collections::{BTreeMap, HashSet},
    fs::{File, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use self::{
    position::{join, positions, split},
    record::{CHECKPOINT_BYTES, Content, RecordEncoder},
    segment::{SEGMENT_BYTES, Segment, quarantine, report},
    window::Window,
};
use super::{
    journal::{Appended, Journal, JournalSize, Record, RecordRange},
    private_file,
};
use crate::storage::{
    message::{Webhook, WebhookId},
    recent_ids::RecentIds,
};

/// Folder in `SPOOL_DIR`.
const FOLDER: &str = "log";
/// File that one process locks.
const LOCK: &str = "lock";
/// Files without webhooks that are kept for later segments.
const MAX_SPARES: usize = 2;
/// The files may take the maximum of webhooks, and this number of segments.
const EXTRA_SEGMENTS: u64 = 3;
/// Time in which no file is created after the disk had no room for one.
const DISK_FULL_PAUSE: Duration = Duration::from_secs(5);
/// Bytes that are written at a time.
const MAX_WRITE: usize = 1024 * 1024;

/// Most files of a log with this maximum of webhooks.
pub(super) fn max_files(max_bytes: u64) -> usize {
    let segments = max_bytes.div_ceil(SEGMENT_BYTES) + EXTRA_SEGMENTS;
    usize::try_from(segments).unwrap_or(usize::MAX).saturating_add(MAX_SPARES + 1)
}

/// The open log.
#[derive(Debug)]
pub(super) struct WebhookLog {
    folder: PathBuf,
    /// The segments with webhooks, and the current one, by number.
    segments: BTreeMap<u64, Segment>,
    /// The segment to which records are added. `None`: the next record begins one.
    current: Option<u64>,
    /// The latest number that a segment had.
    last_number: u64,
    /// Files without webhooks.
    spares: Vec<Segment>,
    /// The position in the latest checkpoint.
    checkpoint: u64,
    /// When the disk had no room for a file.
    disk_full_at: Option<Instant>,
    recent_ids: RecentIds<WebhookId>,
    window: Window,
    _lock: File,
}

impl Journal for WebhookLog {
    type Error = io::Error;

    fn open(folder: &Path) -> io::Result<Self> {
        private_file::create_folder(folder)?;
        let log_folder = folder.join(FOLDER);
        let lock = private_file::open(&log_folder, LOCK)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another process has opened the spool"),
            TryLockError::Error(error) => error,
        })?;
        // Writes the name of the folder to disk.
        File::open(folder)?.sync_all()?;
        let mut log = Self {
            folder: log_folder,
            segments: BTreeMap::new(),
            current: None,
            last_number: 0,
            spares: Vec::new(),
            checkpoint: 0,
            disk_full_at: None,
            recent_ids: RecentIds::default(),
            window: Window::default(),
            _lock: lock,
        };
        log.recover()?;
        log.retire_empty()?;
        log.window = Window::default(); // It was filled after the ends of segments.
        Ok(log)
    }

    fn exists(folder: &Path) -> bool {
        folder.join(FOLDER).exists()
    }

    fn size(&self) -> JournalSize {
        let sum = |of: fn(&Segment) -> u64| self.segments.values().map(of).sum();
        JournalSize { webhooks: sum(|segment| segment.webhooks), bytes: sum(|segment| segment.bytes) }
    }

    fn append(&mut self, webhooks: &[Arc<Webhook>], max_bytes: u64) -> io::Result<Vec<Appended>> {
        let mut outcomes = Vec::with_capacity(webhooks.len());
        let (mut ids, mut records) = (HashSet::new(), Vec::new());
        let (mut bytes, mut can_grow) = (self.size().bytes, true);
        for webhook in webhooks {
            if self.recent_ids.contains(webhook.id) || ids.contains(&webhook.id) {
                outcomes.push(Appended::Duplicate);
                continue;
            }
            let encoder = RecordEncoder::new(webhook);
            let length = encoder.length as u64;
            if bytes + length <= max_bytes && can_grow && !self.has_room(records.len() as u64 + length) {
                self.flush(&mut records)?;
                can_grow = self.begin_segment(length, max_bytes)?;
            }
            let written = records.len() as u64;
            let segment = self.current().filter(|segment| segment.has_room(written + length));
            let Some(segment) = segment.filter(|_| bytes + length <= max_bytes) else {
                outcomes.push(Appended::Full);
                continue;
            };
            let start = segment.end + written;
            let range = start..start + length;
            segment.count(&range);
            encoder.write(&mut records, segment.mark);
            ids.insert(webhook.id);
            bytes += length;
            outcomes.push(Appended::Stored);
            if records.len() > MAX_WRITE {
                segment.write(&records)?;
                records.clear();
            }
        }
        if !ids.is_empty() {
            self.flush(&mut records)?;
        }
        for id in ids {
            self.recent_ids.insert(id);
        }
        Ok(outcomes)
    }

    fn read(&mut self, start: u64, max_webhooks: usize, max_bytes: usize) -> io::Result<Vec<Record>> {
        loop {
            let (records, damaged) = self.read_files(start, max_webhooks, max_bytes);
            let Some(number) = damaged else { return Ok(records) };
            let has_changed = self.leave_out_damage(number)?;
            if !records.is_empty() || !has_changed {
                return Ok(records);
            }
        }
    }

    fn remove(&mut self, ranges: &[RecordRange]) -> io::Result<()> {
        for range in ranges {
            let (number, start) = split(range.start);
            if let Some(segment) = self.segments.get_mut(&number) {
                segment.remove(start..start + (range.end - range.start));
            }
        }
        self.retire_empty()?;
        self.write_checkpoint()
    }
}

impl WebhookLog {
    /// The segment to which records are added.
    fn current(&mut self) -> Option<&mut Segment> {
        self.segments.get_mut(&self.current?)
    }

    /// Whether records of `bytes` fit into the current segment.
    fn has_room(&mut self, bytes: u64) -> bool {
        self.current().is_some_and(|segment| segment.has_room(bytes))
    }

    /// Writes `records` to the current segment, empties them, and waits until everything is on disk.
    fn flush(&mut self, records: &mut Vec<u8>) -> io::Result<()> {
        let Some(segment) = self.current() else { return Ok(()) };
        segment.write(records)?;
        records.clear();
        segment.sync()
    }

    /// Begins a segment with room for a record of `bytes`. Returns whether there is room for its file.
    fn begin_segment(&mut self, bytes: u64, max_bytes: u64) -> io::Result<bool> {
        let bytes = SEGMENT_BYTES.max(bytes);
        let files: u64 = self.segments.values().map(|segment| segment.capacity).sum();
        let is_disk_full = self.disk_full_at.is_some_and(|at| at.elapsed() < DISK_FULL_PAUSE);
        if is_disk_full || files + bytes > max_bytes.saturating_add(EXTRA_SEGMENTS * SEGMENT_BYTES) {
            return Ok(false);
        }
        // No number is used twice, even if the file with the highest one is lost.
        let number = (self.last_number + 1).max(seconds());
        self.last_number = number;
        let spare = if bytes == SEGMENT_BYTES { self.spares.pop() } else { None };
        let begun = match spare {
            Some(spare) => spare.reuse(number),
            None => Segment::create(&self.folder, number, bytes),
        };
        match begun {
            Ok(segment) => {
                self.segments.insert(number, segment);
                self.current = Some(number);
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                tracing::error!(%error, "the disk of SPOOL_DIR has no room for another file of the spool");
                self.disk_full_at = Some(Instant::now());
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Keeps or deletes the files without webhooks to which no more records are added.
    fn retire_empty(&mut self) -> io::Result<()> {
        let current = self.current;
        let is_retired =
            |number: &u64, segment: &mut Segment| Some(*number) != current && segment.webhooks == 0;
        for (_, segment) in self.segments.extract_if(.., is_retired) {
            let is_ordinary = segment.capacity == SEGMENT_BYTES + segment::START;
            if is_ordinary && self.spares.len() < MAX_SPARES {
                self.spares.push(segment);
            } else {
                segment.delete()?;
            }
        }
        Ok(())
    }

    /// The position below which no webhook is in the log.
    fn oldest(&self) -> u64 {
        let oldest = self.segments.values().find(|segment| segment.webhooks > 0);
        oldest.map_or(join(self.last_number + 1, 0), |segment| join(segment.number, segment.first))
    }

    /// Writes down below which position all webhooks are removed. The record is on disk with the next sync.
    fn write_checkpoint(&mut self) -> io::Result<()> {
        let (oldest, latest) = (self.oldest(), self.checkpoint);
        let Some(current) = self.current() else { return Ok(()) };
        let position = oldest.min(join(current.number, current.end));
        let record = record::checkpoint(position, current.mark);
        if position == latest || !current.has_room(CHECKPOINT_BYTES as u64) {
            return Ok(());
        }
        let start = current.end;
        current.write(&record)?;
        current.mark_removed(start..current.end);
        self.checkpoint = position;
        Ok(())
    }

    /// Reads webhooks from the files. Returns also the number of a segment that has a damaged record after them.
    fn read_files(
        &mut self,
        start: u64,
        max_webhooks: usize,
        max_bytes: usize,
    ) -> (Vec<Record>, Option<u64>) {
        let (mut records, mut bytes) = (Vec::new(), 0);
        let (number, offset) = split(start);
        for segment in self.segments.range(number..).map(|(_, segment)| segment) {
            let from = if segment.number == number { offset } else { 0 };
            let mut offset = segment.first.max(from);
            while offset < segment.end {
                if let Some(end) = segment.removed_at(offset) {
                    offset = end;
                    continue;
                }
                let Ok(Some((range, content))) = segment.record_at(offset, &mut self.window) else {
                    return (records, Some(segment.number));
                };
                offset = range.end;
                let Content::Webhook(webhook) = content else { continue };
                bytes += webhook.body.len();
                if records.len() >= max_webhooks || (bytes > max_bytes && !records.is_empty()) {
                    return (records, None);
                }
                records.push(Record { range: positions(segment.number, &range), webhook: Arc::new(webhook) });
            }
        }
        (records, None)
    }

    /// Removes the unreadable records of a segment from the log. Returns whether there were any.
    fn leave_out_damage(&mut self, number: u64) -> io::Result<bool> {
        let Some(segment) = self.segments.get_mut(&number) else { return Ok(false) };
        self.window = Window::default();
        match segment.leave_out_damage(&mut self.window) {
            Ok(scan) => {
                report(segment, &scan);
                return Ok(scan.damaged_bytes > 0);
            }
            Err(error) => {
                tracing::error!(%error, "a file of the spool cannot be read");
                quarantine(segment.path())?;
                self.segments.remove(&number);
                self.current = self.current.filter(|current| *current != number);
            }
        }
        Ok(true)
    }
}

/// Seconds since 2026, or 0.
fn seconds() -> u64 {
    const BEGIN_OF_2026: i64 = 1_767_225_600;
    u64::try_from(Timestamp::now().as_second() - BEGIN_OF_2026).unwrap_or(0)
}

#[cfg(test)]
mod tests;
