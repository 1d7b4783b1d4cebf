//! Decides which conversations a pass fetches. Pure.

use jiff::Timestamp;

use crate::{
    domain::{
        call::{Status, is_too_long},
        reconciliation::{Reason, StoredConversation},
    },
    elevenlabs::{ConversationStatus, Summary},
};

/// Decides whether a pass fetches a listed conversation, and why. `placed_since`: start of the oldest placement
/// whose outcome is unknown. `until`: end of the window of the pass.
pub fn decide(
    listed: &Summary,
    known: Option<&StoredConversation>,
    placed_since: Option<Timestamp>,
    until: Timestamp,
) -> Option<Reason> {
    let is_over = listed.status.is_some_and(ConversationStatus::is_final);
    // If a call was not connected, its conversation may never be over, and ElevenLabs may send no webhook.
    let is_stuck = listed.began.is_some_and(|began| is_too_long(began, until));
    match known {
        None if is_over || is_stuck => Some(Reason::Unreported),
        Some(known) if is_over && !known.status.is_some_and(Status::is_finished) => Some(Reason::Unfinished),
        Some(known) if is_over && !known.is_read => Some(Reason::Unread),
        // An unfinished call is checked after the list.
        Some(known) if is_stuck && !known.is_seen && known.status.is_some_and(Status::is_finished) => {
            Some(Reason::Unread)
        }
        // The event of any other conversation is stored, or its webhook is still to come. But the conversation may be
        // the only proof that an open placement became a call, and the pass would give the placement up.
        _ => may_be_placed(listed, known, placed_since).then_some(Reason::Placement),
    }
}

/// Whether a listed conversation may belong to a placement whose outcome is unknown.
pub fn may_be_placed(
    listed: &Summary,
    known: Option<&StoredConversation>,
    placed_since: Option<Timestamp>,
) -> bool {
    let began_after_placement =
        placed_since.is_some_and(|since| listed.began.is_none_or(|began| began >= since));
    began_after_placement && !known.is_some_and(|known| known.has_placement)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::{call::MAX_CALL, event::ConversationId, time::after};

    #[test]
    fn a_conversation_is_fetched_if_its_event_may_be_missing() {
        use ConversationStatus::*;
        let at = |second| Timestamp::from_second(second).unwrap();
        let now = after(at(100), MAX_CALL);
        let stored = |status, has_placement, is_read| {
            Some(StoredConversation { status: Some(status), has_placement, is_read, is_seen: is_read })
        };
        let observed = |status| {
            Some(StoredConversation { status: Some(status), is_seen: true, ..StoredConversation::default() })
        };
        let known = |status, has_placement| stored(status, has_placement, true);
        let unread = |status| stored(status, false, false);
        #[rustfmt::skip]
        let table = [ // at ElevenLabs, stored, oldest open placement, reason to fetch
            (Some(InProgress), None,                             None,         None),
            (Some(InProgress), None,                             Some(at(50)), Some(Reason::Placement)),
            (Some(Initiated),  known(Status::Ringing, false),    Some(at(50)), Some(Reason::Placement)),
            (Some(Initiated),  known(Status::Ringing, true),     Some(at(50)), None),
            (Some(Done),       None,                             None,         Some(Reason::Unreported)),
            (Some(Failed),     None,                             None,         Some(Reason::Unreported)),
            (None,             None,                             None,         None),
            (Some(Done),       Some(StoredConversation::default()),           None,         Some(Reason::Unfinished)),
            (Some(Done),       known(Status::Answered, true),    None,         Some(Reason::Unfinished)),
            (Some(Done),       known(Status::Completed, false),  None,         None),
            (Some(Failed),     known(Status::Busy, false),       None,         None),
            (Some(Failed),     unread(Status::InitiationFailed), None,         Some(Reason::Unread)),
            (Some(Done),       unread(Status::Ended),            None,         Some(Reason::Unread)),
            (Some(InProgress), unread(Status::Ended),            None,         None),
            (Some(Failed),     known(Status::Busy, false),       Some(at(50)), Some(Reason::Placement)),
            (Some(Failed),     known(Status::Busy, true),        Some(at(50)), None),
            (Some(Failed),     known(Status::Busy, false),       Some(at(150)), None),
        ];
        for (status, known, placed_since, expected) in table {
            let id = ConversationId::new("v").unwrap();
            let listed = Summary { id, status, began: Some(at(100)), agent: None, channel: None };
            let found = decide(&listed, known.as_ref(), placed_since, now);
            assert_eq!(found, expected, "{status:?} {known:?}");
        }
        let listed = |status, began| Summary {
            id: ConversationId::new("v").unwrap(),
            status,
            began,
            agent: None,
            channel: None,
        };
        // A conversation without a start may belong to any placement, and is never too long.
        let of_unknown_start = listed(Some(InProgress), None);
        assert_eq!(decide(&of_unknown_start, None, Some(at(150)), now), Some(Reason::Placement));
        assert_eq!(decide(&of_unknown_start, None, None, after(now, MAX_CALL)), None);
        // A conversation that takes longer than any call can is fetched although it is not over, unless its call is
        // unfinished or the conversation was seen.
        for status in [Some(Initiated), Some(InProgress), None] {
            let later = after(now, Duration::from_secs(1));
            #[rustfmt::skip]
            let table = [
                (None,                             Some(Reason::Unreported)),
                (unread(Status::InitiationFailed), Some(Reason::Unread)),
                (unread(Status::Ringing),          None),
                (known(Status::Busy, false),       None),
                (observed(Status::Busy),           None),
            ];
            for (known, expected) in table {
                let found = decide(&listed(status, Some(at(100))), known.as_ref(), None, later);
                assert_eq!(found, expected, "{status:?} {known:?}");
            }
        }
    }
}
