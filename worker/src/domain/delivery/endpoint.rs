//! An endpoint: a URL of the operator's that gets events or webhooks. Pure.

use std::{fmt, time::Duration};

use jiff::Timestamp;

use super::{EndpointUrl, Filter, Kind, Secrets};
use crate::domain::time::between;

/// Most endpoints. Each has consumers of its own at the broker.
pub const MAX_ENDPOINTS: usize = 100;
/// An endpoint at which every attempt failed for this time is paused.
pub const PAUSED_AFTER: Duration = Duration::from_hours(5 * 24);

/// The prefix of an id.
const PREFIX: &str = "ep_";
/// Random bytes of an id.
pub const ID_BYTES: usize = 8;

/// The id of an endpoint: `ep_` and 16 hexadecimal digits. It is a part of subjects and of names of consumers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointId(String);

impl EndpointId {
    /// The id with these random bytes.
    pub fn new(random: [u8; ID_BYTES]) -> Self {
        Self(format!("{PREFIX}{}", hex::encode(random)))
    }

    /// Reads an id.
    ///
    /// # Errors
    /// The text is not an id.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let digits = text.strip_prefix(PREFIX).unwrap_or_default();
        if digits.len() == 2 * ID_BYTES && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Self(text.to_owned()));
        }
        Err("not the id of an endpoint, such as ep_0123456789abcdef; `endpoints list` shows them")
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether an endpoint gets messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It gets messages.
    Active,
    /// Its messages wait until an operator resumes it.
    Stopped(Reason),
}

/// Why an endpoint gets no messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An operator paused it.
    Operator,
    /// Every attempt failed for [`PAUSED_AFTER`].
    Failing,
    /// It answered 410.
    Gone,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 4] = [
        Self::Active,
        Self::Stopped(Reason::Operator),
        Self::Stopped(Reason::Failing),
        Self::Stopped(Reason::Gone),
    ];

    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Stopped(Reason::Operator | Reason::Failing) => "paused",
            Self::Stopped(Reason::Gone) => "disabled",
        }
    }

    /// The stored reason.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Active => None,
            Self::Stopped(Reason::Operator) => Some("operator"),
            Self::Stopped(Reason::Failing) => Some("failing"),
            Self::Stopped(Reason::Gone) => Some("gone"),
        }
    }

    /// The state with this stored word and reason.
    pub fn parse(word: &str, reason: Option<&str>) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word && state.reason() == reason)
    }

    /// The stable label in metrics.
    pub fn label(self) -> &'static str {
        self.reason().unwrap_or(self.as_str())
    }
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Where messages are posted.
    pub url: EndpointUrl,
    /// What it gets.
    pub kind: Kind,
    /// Which messages it gets.
    pub filter: Filter,
    /// The secrets of its signatures.
    pub secrets: Secrets,
    /// Whether it gets messages.
    pub state: State,
    /// It gets messages that were stored from this time of the broker on.
    pub since: Timestamp,
    /// When it was added.
    pub created_at: Timestamp,
    /// Since when every attempt failed. `None`: the last attempt succeeded, or there was none.
    pub failing_since: Option<Timestamp>,
}

impl Endpoint {
    /// Whether the endpoint has to be paused because it fails at `now` as well.
    pub fn has_failed_too_long(&self, now: Timestamp) -> bool {
        self.failing_since.is_some_and(|since| between(since, now) >= PAUSED_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_token_of_a_subject() {
        let id = EndpointId::new([0xab; ID_BYTES]);
        assert_eq!(EndpointId::parse(id.as_str()), Ok(id));
        for wrong in ["", "ep_", "ep_0123456789abcde", "ep_0123456789abcdeg", "ep_012345678.abcdef", "x"] {
            assert!(EndpointId::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_state_is_read_as_it_was_stored_and_has_its_own_label() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str(), state.reason()), Some(state));
        }
        let labels: std::collections::BTreeSet<_> = State::ALL.into_iter().map(State::label).collect();
        assert_eq!(labels.len(), State::ALL.len());
        assert_eq!(State::parse("paused", None), None);
    }
}
