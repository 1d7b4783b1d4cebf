//! The store of `SPOOL=first`: a log in files that are used again.
//!
//! The embedded stores that we measured need two to ten times the time of a sync for a group of webhooks
//! (`deploy/SCALING.md`). This log needs one write and one sync into blocks that exist already.
//!
//! A webhook is removed in memory. A record of the log says from time to time below which place all webhooks are
//! removed. After a crash, some removed webhooks can therefore be in the log again. They are published a second time
//! with the same id, and the broker or the worker drops them.
//!
//! Invariants:
//! - Records are added to a file only while the log has stayed open: after a failed sync, the bytes behind a record may
//!   be missing on disk although they can be read.
//! - The files take at most 80 MiB (five segments) more than the maximum of webhooks, in whatever order webhooks are
//!   removed.

mod fresh;
mod record;
mod segment;
mod window;

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use self::{
    fresh::Fresh,
    record::{Content, Outline, REMOVED_BYTES},
    segment::{SEGMENT_BYTES, Segment},
    window::Window,
};
use super::{
    journal::{Appended, Journal, JournalSize, Place, Record},
    private_file,
};
use crate::storage::{message::Webhook, recent_ids::RecentIds};

/// Folder in `SPOOL_DIR`.
const FOLDER: &str = "log";
/// File that one process locks.
const LOCK: &str = "lock";
/// Empty files that are kept for later segments.
const MAX_SPARES: usize = 2;
/// The files may take the maximum of webhooks, and this number of segments.
const EXTRA_SEGMENTS: u64 = 3;
/// Bytes that are written at a time.
const MAX_WRITE: usize = 1024 * 1024;

/// The open log.
#[derive(Debug)]
pub(super) struct WebhookLog {
    folder: PathBuf,
    /// By number. Records are added to the last one.
    segments: BTreeMap<u64, Segment>,
    /// Files without webhooks.
    spares: Vec<Segment>,
    fresh: Fresh,
    recent: RecentIds,
    window: Window,
    _lock: File,
}

impl Journal for WebhookLog {
    type Error = io::Error;

    fn open(folder: &Path) -> io::Result<Self> {
        drop(private_file::open(folder, LOCK)?); // Narrows the permissions of SPOOL_DIR too.
        let folder = folder.join(FOLDER);
        let lock = private_file::open(&folder, LOCK)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another process has opened the spool"),
            TryLockError::Error(error) => error,
        })?;
        let (mut segments, mut spares) = (BTreeMap::new(), Vec::new());
        let mut removed_below = 0;
        for name in names(&folder)? {
            let Some(mut segment) = Segment::open(&folder, &name)? else {
                fs::remove_file(folder.join(&name))?; // Its creation was interrupted.
                continue;
            };
            removed_below = segment.recover()?.max(removed_below);
            segments.insert(segment.number, segment);
        }
        let last = segments.last_key_value().map_or(0, |(number, _)| *number);
        let (removed_number, removed_offset) = split(removed_below);
        for segment in segments.values_mut().filter(|segment| segment.number <= removed_number) {
            let below = if segment.number == removed_number { removed_offset } else { segment.end };
            segment.remove_below(below)?;
        }
        for (_, empty) in segments.extract_if(.., |_, segment| segment.webhooks == 0) {
            keep_spare(&mut spares, empty)?;
        }
        let (fresh, recent, window) = (Fresh::default(), RecentIds::default(), Window::default());
        let mut log = Self { folder, segments, spares, fresh, recent, window, _lock: lock };
        log.begin_segment(last + 1, 0)?;
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
        let (mut ids, mut added, mut records) = (HashSet::new(), Vec::new(), Vec::new());
        let mut bytes = self.size().bytes;
        for webhook in webhooks {
            if self.recent.contains(webhook.id) || ids.contains(&webhook.id) {
                outcomes.push(Appended::Duplicate);
                continue;
            }
            let outline = Outline::of(webhook);
            let length = outline.length as u64;
            if bytes + length > max_bytes || !self.may_grow(records.len() as u64 + length, max_bytes) {
                outcomes.push(Appended::Full);
                continue;
            }
            if !self.last().has_room(records.len() as u64 + length) {
                self.write(&mut records)?;
                self.last().sync()?;
                let number = self.last().number + 1;
                self.begin_segment(number, length)?;
            }
            let segment = self.last();
            let start = segment.end + records.len() as u64;
            let range = start..start + length;
            segment.added(&range);
            added.push((place(segment.number, &range), webhook));
            outline.write(&mut records, segment.number);
            bytes += length;
            ids.insert(webhook.id);
            outcomes.push(Appended::Stored);
            if records.len() > MAX_WRITE {
                self.write(&mut records)?;
            }
        }
        if !added.is_empty() {
            self.write(&mut records)?;
            self.last().sync()?;
        }
        for (place, webhook) in added {
            self.recent.insert(webhook.id);
            self.fresh.add(place, webhook.clone());
        }
        Ok(outcomes)
    }

    fn read(&mut self, start: u64, max_webhooks: usize, max_bytes: usize) -> io::Result<Vec<Record>> {
        let start = self.oldest().max(start);
        if let Some(fresh) = self.fresh.from(start) {
            let is_live = |record: &Record| self.has(&record.place);
            return Ok(bounded(fresh.filter(is_live), max_webhooks, max_bytes));
        }
        let (mut records, mut bytes) = (Vec::new(), 0);
        let (number, offset) = split(start);
        let mut damaged = None;
        'segments: for segment in self.segments.range(number..).map(|(_, segment)| segment) {
            let from = if segment.number == number { offset } else { 0 };
            let mut offset = segment.first().max(from);
            while offset < segment.end {
                if let Some(end) = segment.removed_at(offset) {
                    offset = end;
                    continue;
                }
                let Some((range, content)) = segment.record_at(offset, &mut self.window)? else {
                    damaged = Some(segment.number);
                    break 'segments;
                };
                offset = range.end;
                let Content::Webhook(webhook) = content else { continue };
                bytes += webhook.body.len();
                if records.len() >= max_webhooks || (bytes > max_bytes && !records.is_empty()) {
                    break 'segments;
                }
                records.push(Record { place: place(segment.number, &range), webhook: Arc::new(webhook) });
            }
        }
        if let Some(number) = damaged {
            self.set_aside(number)?;
        }
        Ok(records)
    }

    fn remove(&mut self, places: &[Place]) -> io::Result<()> {
        for place in places {
            let (number, start) = split(place.start);
            if let Some(segment) = self.segments.get_mut(&number) {
                segment.remove(&(start..start + (place.end - place.start)));
            }
        }
        self.fresh.forget_below(self.oldest());
        self.retire_empty()?;
        self.note_removed()
    }
}

impl WebhookLog {
    /// The segment to which records are added.
    fn last(&mut self) -> &mut Segment {
        self.segments.last_entry().expect("an open log has a segment").into_mut()
    }

    /// Begins the segment `number`, with room for a record of `bytes`.
    fn begin_segment(&mut self, number: u64, bytes: u64) -> io::Result<()> {
        let fits = |spare: &Segment| bytes + REMOVED_BYTES as u64 <= spare.capacity - segment::START;
        let spare = self.spares.iter().position(fits).map(|n| self.spares.swap_remove(n));
        let segment = match spare {
            Some(spare) => spare.reuse(number)?,
            None => {
                let bytes = SEGMENT_BYTES.max(bytes + REMOVED_BYTES as u64);
                Segment::create(&self.folder, number, bytes)?
            }
        };
        self.segments.insert(number, segment);
        self.retire_empty()
    }

    /// Keeps or deletes the files without webhooks to which no more records are added.
    fn retire_empty(&mut self) -> io::Result<()> {
        let last = self.last().number;
        let is_empty = |number: &u64, segment: &mut Segment| *number != last && segment.webhooks == 0;
        let empty: Vec<_> = self.segments.extract_if(.., is_empty).collect();
        empty.into_iter().try_for_each(|(_, segment)| keep_spare(&mut self.spares, segment))
    }

    /// The place below which no webhook is in the log.
    fn oldest(&self) -> u64 {
        let oldest = self.segments.values().find(|segment| segment.webhooks > 0);
        let last = self.segments.last_key_value().map(|(_, last)| join(last.number, last.end));
        oldest.map(|segment| join(segment.number, segment.first())).or(last).unwrap_or(0)
    }

    /// Whether the webhook at `place` is in the log.
    fn has(&self, place: &Place) -> bool {
        let (number, offset) = split(place.start);
        self.segments.get(&number).is_some_and(|segment| segment.has(offset))
    }

    /// Whether records of `bytes` have room, in another file if need be.
    fn may_grow(&mut self, bytes: u64, max_bytes: u64) -> bool {
        let files: u64 = self.segments.values().map(|segment| segment.capacity).sum();
        let most = max_bytes.saturating_add(EXTRA_SEGMENTS * SEGMENT_BYTES);
        self.last().has_room(bytes) || files + bytes.max(SEGMENT_BYTES) <= most
    }

    /// Writes `records` to the last segment, and empties them.
    fn write(&mut self, records: &mut Vec<u8>) -> io::Result<()> {
        let written = self.last().write(records);
        records.clear();
        written
    }

    /// Writes down below which place all webhooks are removed. The record is on disk with the next sync.
    fn note_removed(&mut self) -> io::Result<()> {
        let below = self.oldest();
        let last = self.last();
        if !last.has_room(REMOVED_BYTES as u64) {
            return Ok(());
        }
        let (start, record) = (last.end, record::removed(below, last.number));
        last.write(&record)?;
        last.skip(&(start..last.end));
        Ok(())
    }

    /// Gives up a segment of which a record cannot be read.
    fn set_aside(&mut self, number: u64) -> io::Result<()> {
        let Some(segment) = self.segments.remove(&number) else { return Ok(()) };
        let webhooks = segment.webhooks;
        if self.segments.range(number..).next().is_none() {
            self.begin_segment(number + 1, 0)?;
        }
        let file = segment.set_aside()?;
        let file = file.display();
        tracing::error!(
            %file,
            webhooks,
            "a file of the spool is damaged, and its webhooks cannot be published: check the disk of SPOOL_DIR"
        );
        Ok(())
    }
}

/// The first of `records`: at most `max_webhooks`, whose bodies take at most `max_bytes`, but at least one.
fn bounded(records: impl Iterator<Item = Record>, max_webhooks: usize, max_bytes: usize) -> Vec<Record> {
    let mut bytes = 0;
    let fits = |(n, record): &(usize, Record)| {
        bytes += record.webhook.body.len();
        *n == 0 || bytes <= max_bytes
    };
    records.take(max_webhooks).enumerate().take_while(fits).map(|(_, record)| record).collect()
}

/// Keeps the file of a segment without webhooks for a later segment, or deletes it.
fn keep_spare(spares: &mut Vec<Segment>, empty: Segment) -> io::Result<()> {
    let is_ordinary = empty.capacity == SEGMENT_BYTES + segment::START;
    if is_ordinary && spares.len() < MAX_SPARES {
        spares.push(empty);
        return Ok(());
    }
    empty.delete()
}

/// The names of the segments in `folder`.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        names.extend(name.to_str().filter(|name| name.ends_with(".log")).map(str::to_owned));
    }
    Ok(names)
}

/// The place of a record of a segment.
fn place(segment: u64, range: &Place) -> Place {
    join(segment, range.start)..join(segment, range.end)
}

/// A place has the number of its segment in the upper 32 bits, and its offset in the lower ones.
fn join(segment: u64, offset: u64) -> u64 {
    (segment << 32) | offset
}

fn split(place: u64) -> (u64, u64) {
    (place >> 32, place & u64::from(u32::MAX))
}

#[cfg(test)]
mod tests;
