//! The state of a conversation at ElevenLabs.

use serde::Deserialize;
use serde_json::Value;

use crate::domain::call::Status;

/// The state of a conversation, in the words of ElevenLabs' API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConversationStatus {
    /// The conversation exists, and nobody speaks yet.
    Initiated,
    /// Agent and callee speak.
    InProgress,
    /// The conversation is over, and ElevenLabs makes its transcript.
    Processing,
    /// The conversation is over and has a transcript and an analysis.
    Done,
    /// The conversation failed.
    Failed,
}

impl ConversationStatus {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initiated => "initiated",
            Self::InProgress => "in-progress",
            Self::Processing => "processing",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// The state of a word of the API. `None` if this version does not know the word.
    pub fn read(word: &Value) -> Option<Self> {
        Self::deserialize(word).ok()
    }

    /// Whether ElevenLabs will not change the conversation any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }

    /// The status of the call that has such a conversation.
    pub fn call_status(self) -> Status {
        match self {
            Self::Initiated => Status::Initiated,
            Self::InProgress => Status::Answered,
            Self::Processing | Self::Done => Status::Completed,
            Self::Failed => Status::Failed,
        }
    }
}
