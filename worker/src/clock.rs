//! Sums and differences of times, for waits: they end at the ends of the calendar, and are never negative.

use std::time::Duration;

use jiff::Timestamp;

/// `wait` after `time`.
pub fn after(time: Timestamp, wait: Duration) -> Timestamp {
    time.saturating_add(wait).unwrap_or(time)
}

/// How long it is from `earlier` to `later`; nothing where that is past.
pub fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}
