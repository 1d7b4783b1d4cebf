//! The time that an event states: an RFC 3339 text, or a Unix time in seconds or milliseconds.
//!
//! A sender may have a wrong clock. It may also send 0, -1, the year 1 or the seconds since the call began
//! instead of a time. Such a value would date a call so early that retention erases it, or so late that no
//! later event could change its status. So a stated time counts only if it lies near the time of storage.
//! Otherwise it is ignored.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::envelope::{Envelope, Origin};
use crate::domain::time::{after, before};

/// Smallest number that is read as milliseconds. As seconds it would lie beyond the year 5138.
const FIRST_MILLISECONDS: f64 = 100_000_000_000.0;
/// Longest time between an event and its storage.
const MAX_AGE: Duration = Duration::from_hours(30 * 24);
/// Largest difference by which the clock of a sender may be ahead.
const MAX_AHEAD: Duration = Duration::from_mins(5);
/// Longest time between acceptance and storage of a webhook. A dead letter that an operator redrives waits
/// longest.
const MAX_WAIT: Duration = Duration::from_hours(120 * 24);
/// 2020-01-01 in Unix seconds. No conversation at ElevenLabs is older.
pub const FIRST_CONVERSATION: i64 = 1_577_836_800;

/// When an event happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventTime {
    /// The stated time if it counts, else the time of storage. Whole milliseconds.
    pub at: Timestamp,
    /// Whether the event states a time that does not count, because it is unreadable or too far from the time
    /// of storage.
    pub ignored: bool,
}

/// The time of an event that states these times: the first stated time that counts.
pub(super) fn of_event<'a>(envelope: &Envelope, stated: impl IntoIterator<Item = &'a Value>) -> EventTime {
    let stated = stated.into_iter().filter(|value| is_stated(value));
    let mut ignored = false;
    for value in stated {
        if let Some(at) = read(value).filter(|at| counts(envelope, *at)) {
            return EventTime { at: to_millis(at), ignored: false };
        }
        ignored = true;
    }
    EventTime { at: to_millis(envelope.stored_at), ignored }
}

/// The time of an event that states it as a text in a provider's own form. `read` reads that form.
pub(super) fn of_text(
    envelope: &Envelope,
    stated: Option<&str>,
    read: impl FnOnce(&str) -> Option<Timestamp>,
) -> EventTime {
    match stated.and_then(read).filter(|at| counts(envelope, *at)) {
        Some(at) => EventTime { at: to_millis(at), ignored: false },
        None => EventTime { at: to_millis(envelope.stored_at), ignored: stated.is_some() },
    }
}

/// The time at which a call began, in whole milliseconds. `None` if the stated time does not count.
pub(super) fn of_begin(envelope: &Envelope, stated: Option<&Value>) -> Option<Timestamp> {
    stated.and_then(read).filter(|at| counts(envelope, *at)).map(to_millis)
}

/// Whether `time`, which ElevenLabs' API gives for a conversation, is possible at `now`.
pub fn is_plausible(time: Timestamp, now: Timestamp) -> bool {
    time.as_second() >= FIRST_CONVERSATION && time <= after(now, MAX_AHEAD)
}

/// Whether a stated time counts: it lies near the time of storage.
pub(super) fn counts(envelope: &Envelope, time: Timestamp) -> bool {
    let stored = envelope.stored_at;
    if envelope.origin == Origin::Reconciliation {
        // An operator may reconcile conversations of any age, and the times are ElevenLabs' own.
        return is_plausible(time, stored);
    }
    // A webhook that waited in a spool or as a dead letter was new when the gateway accepted it.
    let accepted = envelope.received_at.filter(|at| (before(stored, MAX_WAIT)..stored).contains(at));
    (before(accepted.unwrap_or(stored), MAX_AGE)..=after(stored, MAX_AHEAD)).contains(&time)
}

/// Whether a time is stated. Null and a blank text state none.
fn is_stated(value: &Value) -> bool {
    !value.is_null() && value.as_str().is_none_or(|text| !text.trim().is_empty())
}

/// Reads a time. `None` if the value has no known form.
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

/// Cuts `time` to whole milliseconds. MongoDB stores dates with this precision, and comparisons in the worker
/// and in MongoDB must agree.
pub(super) fn to_millis(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

fn from_unix(number: f64) -> Option<Timestamp> {
    let millis = if number.abs() < FIRST_MILLISECONDS { number * 1000.0 } else { number };
    // The cast saturates, and jiff refuses a time outside its calendar.
    #[expect(clippy::cast_possible_truncation, reason = "only whole milliseconds are kept")]
    millis.is_finite().then_some(millis as i64).and_then(|millis| Timestamp::from_millisecond(millis).ok())
}

#[cfg(test)]
mod tests {
    use aftercall_common::contract::provider::Provider;
    use serde_json::json;

    use super::*;

    const STORED: &str = "2026-09-22T12:00:00.123456Z";

    fn envelope(origin: Origin, received_at: Option<&str>) -> Envelope {
        let received_at = received_at.map(|time| time.parse().unwrap());
        Envelope { received_at, ..Envelope::new("e", STORED.parse().unwrap(), origin) }
    }

    #[test]
    fn a_time_is_read_in_every_known_form() {
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
        let envelope = envelope(Origin::Webhook(Provider::ElevenLabs), None);
        for (value, counts, ignored) in table {
            let found = of_event(&envelope, [&value]);
            assert_eq!(found.ignored, ignored, "{value}");
            assert_eq!(found.at != to_millis(envelope.stored_at), counts, "{value}");
            assert_eq!(of_begin(&envelope, Some(&value)).is_some(), counts, "{value}");
        }
    }

    #[test]
    fn the_first_stated_time_that_counts_is_taken() {
        let good = json!("2026-09-22T11:00:00Z");
        let when = of_event(&envelope(Origin::Webhook(Provider::ElevenLabs), None), [&json!(0), &good]);
        assert_eq!(when, EventTime { at: "2026-09-22T11:00:00Z".parse().unwrap(), ignored: false });
    }

    #[test]
    fn a_stated_time_is_compared_with_the_acceptance_of_a_webhook_that_waited() {
        let stated = json!("2026-07-10T00:00:00Z");
        #[rustfmt::skip]
        let table = [
            (Origin::Webhook(Provider::ElevenLabs),     None,                         true),
            (Origin::Webhook(Provider::ElevenLabs),     Some("2026-07-11T00:00:00Z"), false),
            (Origin::Webhook(Provider::Twilio),         Some("2026-08-01T00:00:00Z"), false),
            (Origin::Webhook(Provider::ElevenLabs),     Some("1970-01-01T00:00:00Z"), true), // A gateway's clock was unset.
            (Origin::Webhook(Provider::ElevenLabs),     Some("2026-09-23T00:00:00Z"), true),
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
