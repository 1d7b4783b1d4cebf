//! Creation times in an address. Pure.

use std::time::Duration;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use crate::domain::time::after;

/// Reads `2026-11-25T14:00`, with seconds or without, in UTC or with an offset. Parts of a second do not count.
pub fn read(text: &str) -> Option<Timestamp> {
    // The parsers take names of zones, and forms without separators, which people write by mistake.
    let is_plain = text.chars().all(|c| c.is_ascii_digit() || "+-:TZ. ".contains(c));
    let has_time = text.contains(':') || text.len() == "2026-11-25".len();
    if !is_plain || !has_time {
        return None;
    }
    let at = match text.parse::<Timestamp>() {
        Ok(at) => at,
        // The parser of times without an offset ignores an offset that it cannot read.
        Err(_) if text.contains(['+', 'Z']) => return None,
        Err(_) => text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp(),
    };
    Timestamp::from_second(at.as_second()).ok().filter(|at| *at >= Timestamp::UNIX_EPOCH)
}

/// The text that [`read`] turns into `at`, as the field of a browser takes it.
pub fn text(at: Timestamp) -> String {
    let form = if is_whole_minute(at) { "%Y-%m-%dT%H:%M" } else { "%Y-%m-%dT%H:%M:%S" };
    at.strftime(form).to_string()
}

/// The last millisecond that belongs to `until`: a whole minute stands for all of its seconds.
pub fn end(until: Timestamp) -> Timestamp {
    after(until, Duration::from_millis(if is_whole_minute(until) { 59_999 } else { 999 }))
}

fn is_whole_minute(at: Timestamp) -> bool {
    at.as_second() % 60 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_with_its_offset() {
        #[rustfmt::skip]
        let table = [
            ("2026-11-25T14:00",              Some("2026-11-25T14:00")),
            ("2026-11-25 14:00:00",           Some("2026-11-25T14:00")),
            ("2026-11-25",                    Some("2026-11-25T00:00")),
            ("2026-11-25T14:00:30.9",         Some("2026-11-25T14:00:30")),
            ("2026-11-25T14:00Z",             Some("2026-11-25T14:00")),
            ("2026-11-25T14:00+05:00",        Some("2026-11-25T09:00")),
            ("2026-11-25T14:00-05",           Some("2026-11-25T19:00")),
            ("2026-11-25T14:00 05:00",        None), // A plus sign in an address is a space.
            ("2026-11-25T14:00[Asia/Tokyo]",  None),
            ("2026-11-25T14:00 tomorrow",     None),
            ("2026-11-25T14:00+05:00[Asia/Tokyo]", None),
            ("2026-11-25 2026",               None),
            ("20261125",                      None),
            ("-000001-01-01",                 None),
            ("1969-12-31",                    None),
            ("2026-11-31T14:00",              None),
            ("soon",                          None),
        ];
        for (sent, expected) in table {
            assert_eq!(read(sent).map(text).as_deref(), expected, "{sent}");
        }
    }

    #[test]
    fn a_minute_ends_with_its_last_millisecond() {
        let end = |text: &str| end(read(text).unwrap()).to_string();
        assert_eq!(end("2026-11-25T14:00"), "2026-11-25T14:00:59.999Z");
        assert_eq!(end("2026-11-25T14:00:30"), "2026-11-25T14:00:30.999Z");
    }
}
