//! When a conversation began and ended, by its metadata.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::payload::{MAX_DURATION, at_path, never_connected, whole_number};
use crate::domain::event::spelling::normalize;

/// The known times of a conversation, in whole seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConversationTimes {
    /// When the conversation began.
    pub started_at: Option<Timestamp>,
    /// When the callee answered.
    pub answered_at: Option<Timestamp>,
    /// The length in seconds. `None` if ElevenLabs gives none, or 0, and until the conversation is over.
    pub duration_secs: Option<i64>,
}

impl ConversationTimes {
    /// Reads the times of `conversation`. `time` reads a stated time. It gives `None` for a time that cannot be
    /// right.
    pub fn read(
        conversation: &Map<String, Value>,
        time: impl Fn(Option<&Value>) -> Option<Timestamp>,
    ) -> Self {
        let metadata = |field: &str| at_path(conversation, &["metadata", field]);
        let time =
            |field: &str| time(metadata(field)).and_then(|at| Timestamp::from_second(at.as_second()).ok());
        let duration = metadata("call_duration_secs").and_then(whole_number);
        Self {
            started_at: time("start_time_unix_secs"),
            answered_at: time("accepted_time_unix_secs"),
            duration_secs: duration.filter(|secs| (1..=MAX_DURATION).contains(secs) && is_over(conversation)),
        }
    }

    /// The earliest known time of the conversation.
    pub fn began_at(&self) -> Option<Timestamp> {
        self.started_at.or(self.answered_at)
    }

    /// When the conversation was over, if both its begin and its length are known. A length that ends before the
    /// callee answered counts from the answer.
    pub fn ended_at(&self) -> Option<Timestamp> {
        let (started_at, duration) = (self.started_at?, self.duration_secs?);
        let ended_at = after(started_at, duration)?;
        match self.answered_at {
            Some(answered_at) if ended_at < answered_at => after(answered_at, duration),
            _ => Some(ended_at),
        }
    }

    /// The time of the claims of a conversation that is over: [`Self::conclusion_after`] its begin.
    pub fn concluded_at(&self) -> Option<Timestamp> {
        self.conclusion_after(self.began_at()?)
    }

    /// The time of the claims of a conversation that is over and began at `start`. A conversation of unknown
    /// length, such as that of a call that was not connected, is over when it begins.
    pub fn conclusion_after(&self, start: Timestamp) -> Option<Timestamp> {
        after(start, self.duration_secs.unwrap_or(0))
    }
}

/// Whether the length and the cost of the conversation stay as they are.
pub(super) fn is_over(conversation: &Map<String, Value>) -> bool {
    let status = conversation.get("status").and_then(Value::as_str).map(normalize);
    !matches!(status.as_deref(), Some("initiated" | "inprogress")) || never_connected(conversation)
}

fn after(start: Timestamp, secs: i64) -> Option<Timestamp> {
    Timestamp::from_second(start.as_second().saturating_add(secs)).ok()
}
