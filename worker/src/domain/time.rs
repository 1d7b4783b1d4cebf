//! Sums and differences of times, for waits: they end at the ends of the calendar, and are never negative. And
//! the one form in which answers show a time.

use std::time::Duration;

use jiff::Timestamp;

/// `wait` after `time`.
pub fn after(time: Timestamp, wait: Duration) -> Timestamp {
    time.saturating_add(wait).unwrap_or(time)
}

/// `wait` before `time`.
pub fn before(time: Timestamp, wait: Duration) -> Timestamp {
    time.saturating_sub(wait).unwrap_or(time)
}

/// How long it is from `earlier` to `later`; nothing where that is past.
pub fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

/// A time in an answer: RFC 3339 in UTC, with exactly three digits of milliseconds and `Z`.
pub fn rfc3339(time: Timestamp) -> String {
    // Cut to the millisecond, which formatting would round.
    let time = Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time);
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_an_answer_has_three_digits_of_milliseconds() {
        for (time, expected) in [
            ("2026-11-28T10:00:00Z", "2026-11-28T10:00:00.000Z"),
            ("2026-11-28T10:00:00.1Z", "2026-11-28T10:00:00.100Z"),
            ("2026-11-28T10:00:00.999999Z", "2026-11-28T10:00:00.999Z"),
            ("1969-12-31T23:59:59Z", "1969-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(rfc3339(time.parse().unwrap()), expected);
        }
    }
}
