//! The time an event gives itself: RFC 3339 text, or a Unix time in seconds or milliseconds; and whether it
//! counts.
//!
//! A sender may have a wrong clock, or leave a time out in its own way: 0, -1, the year 1, seconds since the
//! call began. Such a time is no time: it would date a call so that retention erases it, or pin a status
//! for ever. It counts only if it lies near the time of storage.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::{Envelope, Origin, to_millis};
use crate::domain::time::{after, before};

/// Above this a number is milliseconds: as seconds it would lie beyond the year 5138.
const FIRST_MILLISECOND: f64 = 100_000_000_000.0;
/// How long before its storage an event can have happened.
const PAST: Duration = Duration::from_hours(30 * 24);
/// How far the clock of a sender can be ahead.
const AHEAD: Duration = Duration::from_mins(5);
/// How long a webhook can have waited between its acceptance and its storage: as a dead letter, which an
/// operator sent again.
const WAITED: Duration = Duration::from_hours(120 * 24);
/// 2020-01-01, Unix seconds. No conversation at ElevenLabs is older.
pub const FIRST_CONVERSATION: i64 = 1_577_836_800;

/// When an event happened, whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct When {
    /// Its own time if that counts, else the time of storage.
    pub at: Timestamp,
    /// Whether it gives itself a time that does not count.
    pub ignored: bool,
}

/// When the event happened that gives itself these times; the first that counts is taken.
pub(super) fn of_event<'a>(envelope: &Envelope, stated: impl IntoIterator<Item = &'a Value>) -> When {
    let stated = stated.into_iter().filter(|value| is_stated(value));
    let mut ignored = false;
    for value in stated {
        if let Some(at) = read(value).filter(|at| counts(envelope, *at)) {
            return When { at: to_millis(at), ignored: false };
        }
        ignored = true;
    }
    When { at: to_millis(envelope.stored_at), ignored }
}

/// The same for a text in a form of its own, which `read` knows.
pub(super) fn of_text(
    envelope: &Envelope,
    stated: Option<&str>,
    read: impl FnOnce(&str) -> Option<Timestamp>,
) -> When {
    match stated.and_then(read).filter(|at| counts(envelope, *at)) {
        Some(at) => When { at: to_millis(at), ignored: false },
        None => When { at: to_millis(envelope.stored_at), ignored: stated.is_some() },
    }
}

/// When the call of the event began, whole milliseconds.
pub(super) fn of_begin(envelope: &Envelope, stated: Option<&Value>) -> Option<Timestamp> {
    stated.and_then(read).filter(|at| counts(envelope, *at)).map(to_millis)
}

/// Whether ElevenLabs' API can be right about this time of a conversation, seen at `now`.
pub fn is_plausible(time: Timestamp, now: Timestamp) -> bool {
    time.as_second() >= FIRST_CONVERSATION && time <= after(now, AHEAD)
}

fn counts(envelope: &Envelope, time: Timestamp) -> bool {
    let stored = envelope.stored_at;
    if envelope.origin == Origin::Reconciliation {
        // An operator may ask for conversations of any age; the times are ElevenLabs' own.
        return is_plausible(time, stored);
    }
    // A webhook that waited, in a spool or as a dead letter, was new when it was accepted.
    let accepted = envelope.received_at.filter(|at| (before(stored, WAITED)..stored).contains(at));
    (before(accepted.unwrap_or(stored), PAST)..=after(stored, AHEAD)).contains(&time)
}

/// Null and empty texts are ways to leave a time out.
fn is_stated(value: &Value) -> bool {
    !value.is_null() && value.as_str().is_none_or(|text| !text.trim().is_empty())
}

/// Reads a time; `None` where the value is none we understand.
fn read(value: &Value) -> Option<Timestamp> {
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

    const STORED: &str = "2026-09-22T12:00:00.123456Z";

    fn envelope(origin: Origin, received_at: Option<&str>) -> Envelope {
        let received_at = received_at.map(|time| time.parse().unwrap());
        Envelope { received_at, ..Envelope::new("e", STORED.parse().unwrap(), origin) }
    }

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

    #[test]
    fn a_time_counts_only_near_the_time_of_storage() {
        #[rustfmt::skip]
        let table = [ // stated, counts, ignored
            (json!("2026-09-22T11:59:00Z"),    true,  false),
            (json!("2026-09-22T12:05:00Z"),    true,  false),
            (json!("2026-09-22T12:05:01Z"),    false, true),
            (json!("2099-01-01T00:00:00Z"),    false, true),
            (json!("9999-12-31T23:59:59Z"),    false, true),
            (json!("2026-08-23T12:00:01Z"),    true,  false),
            (json!("2026-08-23T11:59:59Z"),    false, true),
            (json!("1999-01-01T00:00:00Z"),    false, true),
            (json!("0001-01-01T00:00:00Z"),    false, true),
            (json!("-000044-03-15T00:00:00Z"), false, true),
            (json!(0),                         false, true),
            (json!(-1),                        false, true),
            (json!(12.5),                      false, true),
            (json!("0"),                       false, true),
            (json!("yesterday"),               false, true),
            (json!({}),                        false, true),
            (json!(null),                      false, false),
            (json!(" "),                       false, false),
        ];
        let envelope = envelope(Origin::ElevenLabs, None);
        for (value, counts, ignored) in table {
            let when = of_event(&envelope, [&value]);
            assert_eq!(when.ignored, ignored, "{value}");
            assert_eq!(when.at != to_millis(envelope.stored_at), counts, "{value}");
            assert_eq!(of_begin(&envelope, Some(&value)).is_some(), counts, "{value}");
        }
    }

    #[test]
    fn the_first_time_that_counts_is_taken() {
        let good = json!("2026-09-22T11:00:00Z");
        let when = of_event(&envelope(Origin::ElevenLabs, None), [&json!(0), &good]);
        assert_eq!(when, When { at: "2026-09-22T11:00:00Z".parse().unwrap(), ignored: false });
    }

    #[test]
    fn a_webhook_that_waited_was_new_when_it_was_accepted() {
        let stated = json!("2026-07-10T00:00:00Z");
        #[rustfmt::skip]
        let table = [
            (Origin::ElevenLabs,     None,                         true),
            (Origin::ElevenLabs,     Some("2026-07-11T00:00:00Z"), false),
            (Origin::Twilio,         Some("2026-08-01T00:00:00Z"), false),
            (Origin::ElevenLabs,     Some("1970-01-01T00:00:00Z"), true), // A gateway's clock was unset.
            (Origin::ElevenLabs,     Some("2026-09-23T00:00:00Z"), true),
            (Origin::Reconciliation, None,                         false),
        ];
        for (origin, received_at, ignored) in table {
            assert_eq!(
                of_event(&envelope(origin, received_at), [&stated]).ignored,
                ignored,
                "{received_at:?}"
            );
        }
        for stated in [json!(0), json!("2019-12-31T23:59:59Z"), json!("2026-09-22T12:06:00Z")] {
            assert!(of_event(&envelope(Origin::Reconciliation, None), [&stated]).ignored, "{stated}");
        }
    }
}
