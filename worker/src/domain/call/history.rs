//! The history of a call.

use jiff::Timestamp;

#[cfg(doc)]
use crate::domain::event::Origin;

/// Largest number of events in a history, separately for events of the call and events of the conversation.
/// The latest events by their own time are kept.
pub const HISTORY_LIMIT: usize = 100;

/// One event in the history of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Id of the event.
    pub event_id: String,
    /// The event type in its usual spelling, for example `call.busy` or `twilio.busy`.
    pub event_type: String,
    /// The word of the status that the event claimed, whether or not that status prevailed. `None` if it
    /// claimed none.
    pub status: Option<String>,
    /// The payload's own `status` word.
    pub received_status: Option<String>,
    /// The source: see [`Origin`].
    pub origin: Option<String>,
    /// The result of the check of its signature, if the event came as a webhook.
    pub signature: Option<String>,
    /// When it happened.
    pub at: Timestamp,
    /// Whether the stated time of the event was ignored, because it is unreadable or too far from the time of
    /// storage. `at` is then the time of storage.
    pub time_ignored: bool,
    /// When the broker stored the event. `None` in documents of earlier versions.
    pub stored_at: Option<Timestamp>,
    /// Whether the event names the call but no conversation, so that it belongs to each conversation of the
    /// call.
    pub names_call_alone: bool,
}

impl HistoryEntry {
    fn key(&self) -> (Timestamp, &str) {
        (self.at, &self.event_id)
    }
}

/// Joins two histories: each event once, in the order of time, and at most [`HISTORY_LIMIT`] events of the
/// call and as many of the conversation.
pub(super) fn join_history(ours: &mut Vec<HistoryEntry>, theirs: Vec<HistoryEntry>) {
    ours.extend(theirs);
    // If an event was stored twice, the entry with the earlier storage is kept. The time of storage is also
    // the time of an event that states none.
    let first = |entry: &HistoryEntry| (entry.at, entry.stored_at.is_none(), entry.stored_at);
    ours.sort_by(|x, y| {
        let by_time = x.event_id.cmp(&y.event_id).then(first(x).cmp(&first(y)));
        by_time.then(x.names_call_alone.cmp(&y.names_call_alone)).then_with(|| x.signature.cmp(&y.signature))
    });
    ours.dedup_by(|later, earlier| later.event_id == earlier.event_id);
    ours.sort_by(|x, y| x.key().cmp(&y.key()));
    for names_call_alone in [false, true] {
        let count = ours.iter().filter(|entry| entry.names_call_alone == names_call_alone).count();
        let mut excess = count.saturating_sub(HISTORY_LIMIT);
        ours.retain(|entry| {
            let drops = entry.names_call_alone == names_call_alone && excess > 0;
            excess -= usize::from(drops);
            !drops
        });
    }
}
