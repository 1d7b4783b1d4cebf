//! Reads a file in large pieces.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _};

use memchr::memmem;

/// Bytes that are read at a time.
const PIECE_BYTES: usize = 256 * 1024;
const PIECE: u64 = PIECE_BYTES as u64;

/// A piece of a segment in memory.
#[derive(Debug, Default)]
pub(super) struct Window {
    segment: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// The bytes at `range` of the file of `segment`. `None`: the range goes beyond `end`.
    pub fn read(
        &mut self,
        segment: u64,
        file: &File,
        range: Range<u64>,
        end: u64,
    ) -> io::Result<Option<&[u8]>> {
        if range.end > end {
            return Ok(None);
        }
        let held = self.start..self.start + self.bytes.len() as u64;
        if self.segment != segment || range.start < held.start || range.end > held.end {
            let length = (range.end - range.start).max(PIECE).min(end - range.start);
            self.bytes.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
            self.bytes.shrink_to(PIECE_BYTES);
            (self.segment, self.start) = (segment, range.start);
            let read = file.read_exact_at(&mut self.bytes, range.start);
            if read.is_err() {
                self.bytes.clear();
            }
            read?;
        }
        let at = |offset: u64| usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        Ok(self.bytes.get(at(range.start)..at(range.end)))
    }

    /// The offset from `start` on at which `pattern` begins. `None`: nowhere before `end`.
    pub fn find(
        &mut self,
        segment: u64,
        file: &File,
        pattern: &[u8],
        start: u64,
        end: u64,
    ) -> io::Result<Option<u64>> {
        let overlap = pattern.len() as u64 - 1;
        let mut from = start;
        while from + overlap < end {
            let to = end.min(from + PIECE);
            let Some(piece) = self.read(segment, file, from..to, end)? else { break };
            if let Some(found) = memmem::find(piece, pattern) {
                return Ok(Some(from + found as u64));
            }
            from = to - overlap;
            if to == end {
                break;
            }
        }
        Ok(None)
    }
}
