//! Sums and differences of times, the one form of a time in answers, and the forms in which people enter times.
//!
//! A sum ends at the end of the calendar. A difference is never negative.

use std::time::Duration;

use humantime_serde::re::humantime;
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

/// Reads a time as people enter it: RFC 3339, such as `2026-11-24T08:00:00Z`, or a duration before `now`, such as
/// `24h`.
///
/// # Errors
/// The text is neither.
pub fn read_moment(text: &str, now: Timestamp) -> Result<Timestamp, &'static str> {
    let text = text.trim();
    let ago = read_duration(text).ok().and_then(|ago| now.checked_sub(ago).ok());
    ago.or_else(|| text.parse().ok()).ok_or("must be like 2026-11-24T08:00:00Z, or like 24h")
}

/// Reads a duration as people enter it, such as `24h`.
///
/// # Errors
/// The text is no duration. The error is a sentence with the reason.
pub fn read_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_to_the_fraction_or_counted_back_from_now() {
        let now: Timestamp = "2026-11-28T10:00:00Z".parse().unwrap();
        for text in ["2026-11-24T08:00:59Z", "2026-11-24T09:00:59.25+01:00", "2026-11-24T08:00:59.123456789Z"]
        {
            assert_eq!(read_moment(text, now), Ok(text.parse().unwrap()), "{text}");
        }
        assert_eq!(read_moment(" 1m30s ", now), Ok(before(now, Duration::from_secs(90))));
        for wrong in ["yesterday", "", "24", "1000000y"] {
            assert!(read_moment(wrong, now).is_err(), "{wrong}");
        }
    }

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
