//! The data of reconciliation: the stored conversations that it compares with ElevenLabs, and its report.

use super::{call::Status, conversation::ConversationStatus, event::ConversationId};

/// The stored facts about a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredConversation {
    /// The status of its call. `None` if this version does not know the stored word.
    pub status: Option<Status>,
    /// Whether an event with the whole conversation is stored.
    pub is_read: bool,
    /// Whether an event or a lookup with the conversation is stored, over or not.
    pub is_seen: bool,
    /// Whether its placement is stored. Only calls that were placed through the API have one.
    pub has_placement: bool,
}

/// Why reconciliation fetches a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No webhook of the conversation was received.
    Unreported,
    /// The conversation is over at ElevenLabs, and its call is not finished here.
    Unfinished,
    /// The call is finished here, and what the conversation says about it is unknown.
    Unread,
    /// The conversation may belong to a placement whose outcome is unknown.
    Placement,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Unreported, Self::Unfinished, Self::Unread, Self::Placement];

    /// The word in metrics and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreported => "unreported",
            Self::Unfinished => "unfinished",
            Self::Unread => "unread",
            Self::Placement => "placement",
        }
    }
}

/// A conversation whose webhook was missing. The pass published its event, or would have in a dry run.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The conversation.
    pub conversation: ConversationId,
    /// Why it was fetched.
    pub reason: Reason,
    /// The status of the call here, before the event.
    pub here: Option<Status>,
    /// The state at ElevenLabs, as the list of conversations gives it.
    pub there: Option<ConversationStatus>,
    /// The type of the event.
    pub event: &'static str,
}

/// A conversation whose answer from ElevenLabs cannot be read. The pass goes on without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// The conversation.
    pub conversation: ConversationId,
    /// Why it was fetched.
    pub reason: Reason,
    /// Label of the error.
    pub error: &'static str,
}

/// The result of a pass.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Number of conversations in the window.
    pub seen: usize,
    /// Number of unknown conversations that belong to other systems, by their agent or channel.
    pub foreign: usize,
    /// Conversations whose webhooks were missing.
    pub findings: Vec<Finding>,
    /// Conversations that could not be read.
    pub unusable: Vec<Unusable>,
    /// Number of calls that ended without a known outcome, because nobody concluded them.
    pub unconcluded: usize,
    /// Number of placements that were given up.
    pub given_up: usize,
}
