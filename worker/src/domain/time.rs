//! Sums and differences of times, and the one form of a time in answers.
//!
//! A sum ends at the end of the calendar. A difference is never negative.

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

/// The time from `earlier` to `later`. Zero if `later` is not later.
pub fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

/// The form of a time in answers: RFC 3339 in UTC, with three digits of milliseconds and `Z`.
pub fn rfc3339(time: Timestamp) -> String {
    // Formatting alone would round to the nearest millisecond.
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
