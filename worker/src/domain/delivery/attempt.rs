//! Attempts to post a message to an endpoint, and their results. Pure.

use std::time::Duration;

use jiff::Timestamp;

/// Bytes of an answer that are kept.
pub const KEPT_ANSWER: usize = 1024;

/// The result of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver answered 2xx.
    Accepted,
    /// The receiver answered 410: it wants nothing any more.
    Gone,
    /// The receiver answered with another status.
    Refused {
        /// The wait that the receiver asks for (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// There was no answer.
    Failed(SendError),
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The URL, or the name in it, leads to a private network.
    #[error("the address is private, or the URL is not https")]
    PrivateAddress,
    /// The name in the URL has no address, or nothing listens there.
    #[error("cannot connect")]
    NotConnected,
    /// The certificate of the receiver is not valid.
    #[error("the certificate is not valid")]
    Certificate,
    /// The answer took too long.
    #[error("no answer in time")]
    TimedOut,
    /// The connection ended before the answer.
    #[error("connection lost")]
    Lost,
    /// The message is not in its stream any more.
    #[error("the message is not stored any more")]
    MessageGone,
    /// The message cannot be sent: its body is no text, or an id is no header.
    #[error("the message cannot be sent")]
    Unsendable,
}

impl SendError {
    /// Whether a later attempt may have another result.
    pub fn may_pass(self) -> bool {
        !matches!(self, Self::MessageGone | Self::Unsendable)
    }

    /// The stable label, in metrics and in stored attempts.
    pub fn label(self) -> &'static str {
        match self {
            Self::PrivateAddress => "private_address",
            Self::NotConnected => "not_connected",
            Self::Certificate => "certificate",
            Self::TimedOut => "timed_out",
            Self::Lost => "connection_lost",
            Self::MessageGone => "message_gone",
            Self::Unsendable => "unsendable",
        }
    }
}

impl Outcome {
    /// The stable label in metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Gone => "gone",
            Self::Refused { .. } => "refused",
            Self::Failed(error) => error.label(),
        }
    }
}

/// The labels of all outcomes.
pub const OUTCOMES: [&str; 10] = [
    "accepted",
    "gone",
    "refused",
    "private_address",
    "not_connected",
    "certificate",
    "timed_out",
    "connection_lost",
    "message_gone",
    "unsendable",
];

/// An attempt, as the database keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it began.
    pub at: Timestamp,
    /// Time until the answer, or until the attempt failed.
    pub duration: Duration,
    /// The status of the answer.
    pub status: Option<u16>,
    /// The first [`KEPT_ANSWER`] bytes of the answer, as text.
    pub answer: Option<String>,
    /// The label of the error, if there was no answer.
    pub error: Option<String>,
}

/// The state of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// An attempt failed. The next one is scheduled, or follows when an operator resumes the endpoint.
    Waiting,
    /// The receiver accepted the message.
    Delivered,
    /// No further attempt is made.
    Failed,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Delivered, Self::Failed];

    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }

    /// The state with this stored word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// One message for one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// `<endpoint>:<message id>`.
    pub id: String,
    /// The endpoint.
    pub endpoint: String,
    /// The id of the message, which receivers see as `webhook-id`.
    pub message_id: String,
    /// The type of the event; of a raw message, the provider.
    pub event_type: String,
    /// The call, if the event names one.
    pub call_id: Option<String>,
    /// The conversation, if the event names one.
    pub conversation_id: Option<String>,
    /// The stream that holds the message.
    pub stream: String,
    /// Its sequence there.
    pub sequence: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_labels_of_all_outcomes_are_listed() {
        use SendError::{Certificate, Lost, MessageGone, NotConnected, PrivateAddress, TimedOut, Unsendable};
        let errors = [PrivateAddress, NotConnected, Certificate, TimedOut, Lost, MessageGone, Unsendable];
        let outcomes = [Outcome::Accepted, Outcome::Gone, Outcome::Refused { retry_after: None }];
        let outcomes = outcomes.into_iter().chain(errors.map(Outcome::Failed));
        assert_eq!(outcomes.map(|outcome| outcome.label()).collect::<Vec<_>>(), OUTCOMES);
    }
}
