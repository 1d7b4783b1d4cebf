//! Positions in the log. Pure.

use std::ops::Range;

/// The positions of a record of a segment.
pub(super) fn positions(segment: u64, range: &Range<u64>) -> Range<u64> {
    join(segment, range.start)..join(segment, range.end)
}

/// A position has the number of its segment in the upper 32 bits, and its offset in the lower ones.
pub(super) fn join(segment: u64, offset: u64) -> u64 {
    (segment << 32) | offset
}

/// The number of the segment and the offset of a position.
pub(super) fn split(position: u64) -> (u64, u64) {
    (position >> 32, position & u64::from(u32::MAX))
}
