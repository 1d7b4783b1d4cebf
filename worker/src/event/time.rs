//! The time an event gives itself: RFC 3339 text, or a Unix time in seconds or milliseconds.

use jiff::Timestamp;
use serde_json::Value;

/// Above this a number is milliseconds: as seconds it would lie beyond the year 5138.
const FIRST_MILLISECOND: f64 = 100_000_000_000.0;

/// Reads a time; `None` where the value is none we understand.
pub fn read(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| text.parse().ok().and_then(from_unix))
        }
        Value::Number(number) => number.as_f64().and_then(from_unix),
        _ => None,
    }
}

fn from_unix(number: f64) -> Option<Timestamp> {
    let millis = if number.abs() < FIRST_MILLISECOND { number * 1000.0 } else { number };
    // The cast saturates; what lies outside the calendar is refused by jiff.
    #[expect(clippy::cast_possible_truncation, reason = "whole milliseconds are what is wanted")]
    millis.is_finite().then_some(millis as i64).and_then(|millis| Timestamp::from_millisecond(millis).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_form_of_a_time() {
        let noon = "2026-09-22T12:00:00Z".parse::<Timestamp>().unwrap();
        let seconds = noon.as_second();
        #[rustfmt::skip]
        let table = [
            (json!("2026-09-22T12:00:00Z"),          Some(noon)),
            (json!("2026-09-22T14:00:00.000+02:00"), Some(noon)),
            (json!(seconds),                         Some(noon)),
            (json!(seconds * 1000),                  Some(noon)),
            (json!(seconds.to_string()),             Some(noon)),
            (json!("yesterday"),                     None),
            (json!(""),                              None),
            (json!(1e300),                           None),
            (json!(null),                            None),
            (json!({}),                              None),
        ];
        for (value, expected) in table {
            assert_eq!(read(&value), expected, "{value}");
        }
    }
}
