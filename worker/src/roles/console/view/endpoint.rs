//! Endpoints and deliveries, as texts. Pure.

use std::borrow::Cow;

use aftercall_common::phone_numbers::Numbers;
use jiff::Timestamp;

use super::{
    address,
    format::{self, MAX_TEXT},
};
use crate::{
    domain::delivery::{Attempt, DeliveryState, Endpoint, Kind, Reason, State},
    store::{DeliveryFigures, DeliveryRecord},
};

/// A time with its age.
#[derive(Debug)]
pub struct Stamp {
    /// In RFC 3339.
    pub iso: String,
    /// As a readable text.
    pub moment: String,
    /// The time since then.
    pub age: String,
    /// In milliseconds since 1970.
    pub at: i64,
}

impl Stamp {
    pub fn new(at: Timestamp, now: Timestamp) -> Self {
        Self {
            iso: at.to_string(),
            moment: format::moment(at),
            age: format::age(at, now),
            at: at.as_millisecond(),
        }
    }
}

/// A state as glyph, tone and words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub glyph: &'static str,
    pub tone: &'static str,
    pub words: String,
}

/// An endpoint in a list, and at the top of its page.
#[derive(Debug)]
pub struct EndpointRow {
    pub id: String,
    pub href: String,
    /// Scheme and host of the URL. The rest may hold a token.
    pub url: String,
    pub kind: &'static str,
    pub condition: Condition,
    /// The filter: name and entries of each list.
    pub only: Vec<(&'static str, String)>,
    pub waiting: String,
    pub delivered: Option<Stamp>,
    pub failed: Option<Stamp>,
}

impl EndpointRow {
    pub fn new(endpoint: &Endpoint, figures: &DeliveryFigures, numbers: Numbers, now: Timestamp) -> Self {
        Self {
            id: endpoint.id.to_string(),
            href: address::of_endpoint(endpoint.id.as_str()),
            url: endpoint.url.to_string(),
            kind: kind(endpoint.kind),
            condition: condition(endpoint, now),
            only: only(endpoint, numbers),
            waiting: count_up_to(figures.waiting, DeliveryFigures::MAX_WAITING),
            delivered: figures.delivered_at.map(|at| Stamp::new(at, now)),
            failed: figures.failed_at.map(|at| Stamp::new(at, now)),
        }
    }
}

/// What an endpoint of this kind gets.
pub fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Events => "events",
        Kind::Raw => "raw webhooks",
    }
}

/// `12`, or `10,000 or more`.
fn count_up_to(count: u64, most: u64) -> String {
    let text = format::count(count);
    if count < most { text } else { format!("{text} or more") }
}

/// The state of an endpoint.
pub fn condition(endpoint: &Endpoint, now: Timestamp) -> Condition {
    let (glyph, tone, words) = match (endpoint.state, endpoint.failing_since) {
        (State::Active, None) => ("done", "done", "active".to_owned()),
        (State::Active, Some(since)) => {
            ("failed", "failed", format!("failing for {}", format::age(since, now)))
        }
        (State::Stopped(Reason::Operator), _) => ("missed", "missed", "paused".to_owned()),
        (State::Stopped(Reason::Failing), _) => {
            ("failed", "failed", "paused after five days of failures".to_owned())
        }
        (State::Stopped(Reason::Gone), _) => {
            ("failed", "failed", "disabled, because it answered 410".to_owned())
        }
    };
    Condition { glyph, tone, words }
}

fn only(endpoint: &Endpoint, numbers: Numbers) -> Vec<(&'static str, String)> {
    let filter = &endpoint.filter;
    let types = match endpoint.kind {
        Kind::Events => "types",
        Kind::Raw => "providers",
    };
    [(types, &filter.types), ("agents", &filter.agents), ("batches", &filter.batches)]
        .into_iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(name, list)| (name, format::masked(&list.join(", "), MAX_TEXT, numbers)))
        .collect()
}

/// A delivery in a list, and at the top of its page.
#[derive(Debug)]
pub struct DeliveryRow {
    pub id: String,
    pub href: String,
    pub endpoint: String,
    pub endpoint_href: String,
    pub event_type: String,
    pub condition: Condition,
    /// Number of attempts.
    pub attempts: String,
    /// Result of the last attempt.
    pub result: String,
    /// The call or conversation: address and id. The address is empty if the id holds a hidden number.
    pub call: Option<(String, String)>,
    pub created: Stamp,
    /// When the next attempt is due.
    pub next: Option<String>,
}

impl DeliveryRow {
    pub fn new(record: &DeliveryRecord, numbers: Numbers, now: Timestamp) -> Self {
        let delivery = &record.delivery;
        let call = delivery.call_id.as_ref().or(delivery.conversation_id.as_ref());
        Self {
            id: format::id(&delivery.id, numbers),
            href: address::of_delivery(&delivery.id),
            endpoint: delivery.endpoint.clone(),
            endpoint_href: address::of_endpoint(&delivery.endpoint),
            event_type: match delivery.event_type.as_str() {
                "" => "unknown".to_owned(),
                event_type => format::sender_text(event_type, numbers),
            },
            condition: delivery_condition(record.state),
            attempts: format::count(record.attempt_count.into()),
            result: record.attempts.last().map(result).unwrap_or_default(),
            call: call.map(|id| call_link(id, numbers)),
            created: Stamp::new(record.created_at, now),
            next: record.next_attempt_at.map(format::moment),
        }
    }
}

fn call_link(id: &str, numbers: Numbers) -> (String, String) {
    let href = match numbers.id(id) {
        Cow::Borrowed(_) if !address::is_step(id) => address::of_call(id),
        _ => String::new(),
    };
    (href, format::id(id, numbers))
}

/// The state of a delivery.
pub fn delivery_condition(state: DeliveryState) -> Condition {
    let (glyph, tone) = match state {
        DeliveryState::Waiting => ("ringing", "going"),
        DeliveryState::Delivered => ("done", "done"),
        DeliveryState::Failed => ("failed", "failed"),
    };
    Condition { glyph, tone, words: state.as_str().to_owned() }
}

/// One attempt.
#[derive(Debug)]
pub struct AttemptRow {
    pub moment: String,
    pub iso: String,
    pub result: String,
    pub duration: String,
    /// The first bytes of the answer. `None`: there was no answer, or an empty one.
    pub answer: Option<String>,
    pub accepted: bool,
}

impl AttemptRow {
    pub fn new(attempt: &Attempt, numbers: Numbers) -> Self {
        Self {
            moment: format::moment(attempt.at),
            iso: attempt.at.to_string(),
            result: result(attempt),
            duration: format!("{} ms", format::count(milliseconds(attempt))),
            answer: attempt.answer.as_deref().map(|answer| numbers.text(answer).into_owned()),
            accepted: attempt.status.is_some_and(|status| (200..300).contains(&status)),
        }
    }
}

fn milliseconds(attempt: &Attempt) -> u64 {
    u64::try_from(attempt.duration.as_millis()).unwrap_or(u64::MAX)
}

/// The result of an attempt: the status of the answer, or the reason why there was none.
fn result(attempt: &Attempt) -> String {
    match (attempt.status, &attempt.error) {
        (Some(status), _) => format!("status {status}"),
        (None, Some(error)) => error.replace('_', " "),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::delivery::{EndpointId, EndpointUrl, Filter, Secrets, endpoint::ID_BYTES};

    fn endpoint(state: State, failing_since: Option<Timestamp>) -> Endpoint {
        Endpoint {
            id: EndpointId::new([1; ID_BYTES]),
            url: EndpointUrl::parse("https://example.com/t0ken").unwrap(),
            kind: Kind::Events,
            filter: Filter { agents: vec!["a".to_owned(), "+6581234567".to_owned()], ..Filter::default() },
            secrets: Secrets::default(),
            state,
            since: Timestamp::UNIX_EPOCH,
            created_at: Timestamp::UNIX_EPOCH,
            failing_since,
        }
    }

    #[test]
    fn an_endpoint_that_fails_does_not_look_active() {
        let now = Timestamp::from_second(7200).unwrap();
        let failing = Some(Timestamp::UNIX_EPOCH);
        #[rustfmt::skip]
        let table = [
            (State::Active,                      None,    "done",   "active"),
            (State::Active,                      failing, "failed", "failing for 2 h"),
            (State::Stopped(Reason::Operator),   failing, "missed", "paused"),
            (State::Stopped(Reason::Failing),    failing, "failed", "paused after five days of failures"),
            (State::Stopped(Reason::Gone),       None,    "failed", "disabled, because it answered 410"),
        ];
        for (state, failing_since, tone, words) in table {
            let shown = condition(&endpoint(state, failing_since), now);
            assert_eq!((shown.tone, shown.words.as_str()), (tone, words), "{state:?}");
        }
    }

    #[test]
    fn a_row_hides_the_path_of_the_url_and_masks_numbers() {
        let figures = DeliveryFigures { waiting: DeliveryFigures::MAX_WAITING, ..DeliveryFigures::default() };
        let row = EndpointRow::new(
            &endpoint(State::Active, None),
            &figures,
            Numbers::Masked,
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(row.url, "https://example.com/…");
        assert_eq!(row.only.len(), 1);
        assert!(!row.only[0].1.contains("6581234567"), "{:?}", row.only);
        assert_eq!(row.waiting, "10,000 or more");
    }

    #[test]
    fn an_attempt_shows_its_status_or_why_there_was_no_answer() {
        let attempt = |status, error: Option<&str>, answer: Option<&str>| Attempt {
            at: Timestamp::UNIX_EPOCH,
            duration: Duration::from_millis(1234),
            status,
            answer: answer.map(str::to_owned),
            error: error.map(str::to_owned),
        };
        let shown = |attempt: &Attempt| AttemptRow::new(attempt, Numbers::Masked);
        let refused = shown(&attempt(Some(401), None, Some("call +6581234567")));
        assert_eq!((refused.result.as_str(), refused.duration.as_str()), ("status 401", "1,234 ms"));
        assert!(!refused.accepted && !refused.answer.unwrap().contains("6581234567"));
        assert!(shown(&attempt(Some(204), None, None)).accepted);
        assert_eq!(shown(&attempt(None, Some("timed_out"), None)).result, "timed out");
    }
}
