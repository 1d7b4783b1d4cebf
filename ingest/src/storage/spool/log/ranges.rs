//! Ranges of offsets that are merged if they touch or overlap. Pure.

use std::{collections::BTreeMap, ops::Range};

/// Ranges that do not overlap: the end of each by its start.
#[derive(Debug, Default)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds a range.
    pub fn add(&mut self, range: Range<u64>) {
        let Range { mut start, mut end } = range;
        if let Some((&before, &before_end)) = self.0.range(..start).next_back()
            && before_end >= start
        {
            (start, end) = (before, end.max(before_end));
        }
        for (_, other_end) in self.0.extract_if(start..=end, |_, _| true) {
            end = end.max(other_end);
        }
        self.0.insert(start, end);
    }

    /// The end of the range that contains `offset`.
    pub fn end_of(&self, offset: u64) -> Option<u64> {
        self.0.range(..=offset).next_back().map(|(_, end)| *end).filter(|end| *end > offset)
    }

    /// Removes the range that starts at `start`, and returns its end.
    pub fn take(&mut self, start: u64) -> Option<u64> {
        self.0.remove(&start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_or_overlap_are_one() {
        let mut ranges = Ranges::default();
        for range in [30..40, 10..20, 20..30, 50..60] {
            ranges.add(range);
        }
        assert_eq!(ranges.0.iter().collect::<Vec<_>>(), [(&10, &40), (&50, &60)]);
        ranges.add(15..20);
        ranges.add(35..52);
        assert_eq!(ranges.0.iter().collect::<Vec<_>>(), [(&10, &60)]);
        ranges = Ranges::default();
        ranges.add(10..40);
        ranges.add(50..60);
        let ends = [9, 10, 39, 40, 50, 59, 60].map(|offset| ranges.end_of(offset));
        assert_eq!(ends, [None, Some(40), Some(40), None, Some(60), Some(60), None]);
        assert_eq!((ranges.take(10), ranges.take(10), ranges.end_of(10)), (Some(40), None, None));
    }
}
