//! Joins the recipients of a batch, as ElevenLabs lists them, with the stored calls. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use mongodb::bson::Document;

use crate::{
    domain::text::{MAX_PARTY, MAX_REASON, cut},
    elevenlabs::Recipient,
};

/// The fields of a stored call that the report shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ReportedCall {
    pub recipient_id: Option<String>,
    pub conversation_id: Option<String>,
    pub call_id: Option<String>,
    pub number: Option<String>,
    pub status: Option<String>,
    pub outcome: Option<String>,
    pub failure_reason: Option<String>,
}

impl ReportedCall {
    /// Reads a document that [`crate::store::calls_of_batch`] or [`crate::store::calls_of_conversations`] returned.
    pub(super) fn read(call: &Document) -> Self {
        let text = |field: &str, max_chars| call.get_str(field).ok().map(|text| cut(text, max_chars));
        Self {
            recipient_id: text("batchCallRecipientId", MAX_PARTY),
            conversation_id: text("conversationId", MAX_PARTY),
            call_id: text("callId", MAX_PARTY),
            number: text("toNumber", MAX_PARTY),
            status: text("status", MAX_PARTY),
            outcome: text("outcome", MAX_PARTY),
            failure_reason: text("failureReason", MAX_REASON),
        }
    }
}

/// A row of the report: a recipient with its call, or a stored call that names no recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// The id of the recipient. `None`: the row is a stored call that names no recipient.
    pub recipient_id: Option<String>,
    /// The recipient's number or `WhatsApp` user at ElevenLabs, else the called number of the stored call.
    pub number: Option<String>,
    /// The recipient's status at ElevenLabs. `None`: ElevenLabs does not list the recipient, the request failed, or no API
    /// key is set.
    pub recipient_status: Option<String>,
    /// The call of the conversation that ElevenLabs names for the recipient. `None` if that call is not stored. If
    /// ElevenLabs names no conversation, the recipient's latest stored call.
    pub call: Option<ReportedCall>,
    /// Number of stored calls of the recipient. A retried batch can have several.
    pub calls: usize,
}

/// The conversations of `recipients` that are missing in `calls`. Their calls are looked up by conversation, because a
/// webhook about a call that was not connected names no batch.
pub(super) fn missing_conversations<'a>(recipients: &'a [Recipient], calls: &[ReportedCall]) -> Vec<&'a str> {
    let known: HashSet<_> = calls.iter().filter_map(|call| call.conversation_id.as_deref()).collect();
    let named = recipients.iter().filter_map(|recipient| Some(recipient.conversation_id.as_ref()?.as_str()));
    named.filter(|id| !known.contains(id)).collect()
}

/// Returns one row for each recipient in the order of ElevenLabs. Then come recipients that only stored calls name, and
/// calls that name no recipient. `calls`: the calls of the batch, the latest first, and then the calls that were found by
/// conversation.
pub(super) fn join(recipients: &[Recipient], calls: &[ReportedCall]) -> Vec<Row> {
    let mut by_conversation = HashMap::new();
    let mut by_recipient: HashMap<&str, Vec<usize>> = HashMap::new();
    for (n, call) in calls.iter().enumerate() {
        if let Some(id) = &call.conversation_id {
            by_conversation.insert(id.as_str(), n);
        }
        if let Some(id) = &call.recipient_id {
            by_recipient.entry(id).or_default().push(n);
        }
    }
    let mut has_row = vec![false; calls.len()];
    let mut rows = Vec::with_capacity(recipients.len());
    for recipient in recipients {
        let mut recipient_calls = by_recipient.get(recipient.id.as_str()).cloned().unwrap_or_default();
        let named_call =
            recipient.conversation_id.as_ref().map(|id| by_conversation.get(id.as_str()).copied());
        recipient_calls.extend(named_call.flatten().filter(|n| !recipient_calls.contains(n)));
        for &n in &recipient_calls {
            has_row[n] = true;
        }
        // If the call of the named conversation is not stored, the row has no call: an earlier attempt may have had
        // another result.
        let shown_call = named_call.unwrap_or_else(|| recipient_calls.first().copied());
        rows.push(Row {
            recipient_id: Some(recipient.id.clone()),
            number: recipient.number.clone(),
            recipient_status: Some(recipient.status.clone()),
            call: shown_call.map(|n| calls[n].clone()),
            calls: recipient_calls.len(),
        });
    }
    rows.extend(unlisted(calls.iter().zip(has_row).filter(|(_, listed)| !listed).map(|(call, _)| call)));
    rows
}

/// Rows of recipients that only stored calls name. A call without a recipient has a row of its own.
fn unlisted<'a>(calls: impl Iterator<Item = &'a ReportedCall>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut row_of_recipient = BTreeMap::new();
    for call in calls {
        let id = call.recipient_id.as_deref();
        if let Some(&n) = id.and_then(|id| row_of_recipient.get(id)) {
            let row: &mut Row = &mut rows[n];
            row.calls += 1;
            continue;
        }
        if let Some(id) = id {
            row_of_recipient.insert(id, rows.len());
        }
        rows.push(Row {
            recipient_id: call.recipient_id.clone(),
            number: call.number.clone(),
            recipient_status: None,
            call: Some(call.clone()),
            calls: 1,
        });
    }
    rows
}

/// Number of rows for each pair of status at ElevenLabs and outcome of the call.
pub(super) fn counts(rows: &[Row]) -> BTreeMap<(Option<&str>, Option<&str>), usize> {
    let mut counts = BTreeMap::new();
    for row in rows {
        let outcome = row.call.as_ref().and_then(|call| call.outcome.as_deref());
        *counts.entry((row.recipient_status.as_deref(), outcome)).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::ConversationId;

    fn recipient(id: &str, status: &str, conversation: Option<&str>) -> Recipient {
        Recipient {
            id: id.to_owned(),
            number: Some("+6580000001".to_owned()),
            status: status.to_owned(),
            conversation_id: conversation.map(|id| ConversationId::new(id).unwrap()),
        }
    }

    fn call(recipient: Option<&str>, conversation: &str, outcome: &str) -> ReportedCall {
        ReportedCall {
            recipient_id: recipient.map(str::to_owned),
            conversation_id: Some(conversation.to_owned()),
            outcome: Some(outcome.to_owned()),
            ..ReportedCall::default()
        }
    }

    #[test]
    fn each_recipient_has_one_row_with_the_call_of_its_conversation_or_the_latest() {
        let recipients = [
            recipient("never-dialled", "pending", None),
            recipient("answered", "completed", Some("v1")),
            recipient("by-conversation", "failed", Some("v2")),
            recipient("retried", "in_progress", Some("v5")),
            recipient("retried-and-stored", "completed", Some("v6")),
            recipient("without-conversation", "failed", None),
        ];
        let calls = [
            call(Some("answered"), "v1", "answered"),
            call(None, "v2", "busy"),
            call(Some("retried"), "v3", "no_answer"),
            call(Some("retried-and-stored"), "v7", "busy"),
            call(Some("retried-and-stored"), "v6", "answered"),
            call(Some("without-conversation"), "v8", "busy"),
            call(Some("without-conversation"), "v9", "failed"),
            call(Some("deleted"), "v10", "answered"),
            call(Some("deleted"), "v11", "busy"),
            call(None, "v12", "answered"),
        ];
        let rows = join(&recipients, &calls);
        let shown: Vec<_> = rows
            .iter()
            .map(|row| {
                let outcome = row.call.as_ref().and_then(|call| call.outcome.as_deref());
                (row.recipient_id.as_deref(), row.recipient_status.as_deref(), outcome, row.calls)
            })
            .collect();
        #[rustfmt::skip]
        assert_eq!(shown, [
            (Some("never-dialled"),        Some("pending"),     None,             0),
            (Some("answered"),             Some("completed"),   Some("answered"), 1),
            (Some("by-conversation"),      Some("failed"),      Some("busy"),     1),
            (Some("retried"),              Some("in_progress"), None,             1),
            (Some("retried-and-stored"),   Some("completed"),   Some("answered"), 2),
            (Some("without-conversation"), Some("failed"),      Some("busy"),     2),
            (Some("deleted"),              None,                Some("answered"), 2),
            (None,                         None,                Some("answered"), 1),
        ]);
        assert_eq!(missing_conversations(&recipients, &calls), ["v5"]);
        let counts = counts(&rows);
        assert_eq!(counts[&(Some("failed"), Some("busy"))], 2);
        assert_eq!(counts.values().sum::<usize>(), 8);
    }
}
