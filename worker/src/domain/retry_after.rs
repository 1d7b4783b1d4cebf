//! The header `Retry-After`. Pure.

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822};

use super::time::between;

/// The wait that the header asks for, in seconds or as an HTTP date. `None`: it cannot be read.
pub fn read(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(between(now, until))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let now = "2026-09-22T12:00:00Z".parse().unwrap();
        #[rustfmt::skip]
        let table = [
            ("7",                             Some(7)),
            (" 0 ",                           Some(0)),
            ("86400",                         Some(86400)),
            ("Tue, 22 Sep 2026 12:00:30 GMT", Some(30)),
            ("Tue, 22 Sep 2026 11:00:00 GMT", Some(0)),
            ("-1",                            None),
            ("soon",                          None),
        ];
        for (text, seconds) in table {
            assert_eq!(read(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
