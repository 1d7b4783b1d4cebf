//! Joins the recipients of a batch, as ElevenLabs lists them, with the stored calls. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use mongodb::bson::Document;

use crate::{
    domain::text::{MAX_PARTY, MAX_REASON, cut},
    elevenlabs::Recipient,
};

/// A stored call of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StoredCall {
    pub recipient_id: Option<String>,
    pub conversation_id: Option<String>,
    pub call_id: Option<String>,
    pub number: Option<String>,
    pub status: Option<String>,
    pub outcome: Option<String>,
    pub failure_reason: Option<String>,
}

impl StoredCall {
    /// Reads a document of [`crate::store::calls_of_batch`].
    pub(super) fn read(call: &Document) -> Self {
        let text = |field: &str, most| call.get_str(field).ok().map(|text| cut(text, most));
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

/// A recipient with its call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// The id of the recipient. `None`: a stored call names the batch and no recipient.
    pub recipient_id: Option<String>,
    /// The number that is dialled.
    pub number: Option<String>,
    /// The recipient's status at ElevenLabs. `None`: ElevenLabs does not list the recipient, or was not asked.
    pub recipient_status: Option<String>,
    /// The call that decides: the call of the recipient's conversation, else the latest one.
    pub call: Option<StoredCall>,
    /// Number of stored calls. A batch can be retried.
    pub calls: usize,
}

/// The conversations of `recipients` that are missing in `calls`. A webhook about a call that was not connected
/// names no batch.
pub(super) fn missing_conversations<'a>(recipients: &'a [Recipient], calls: &[StoredCall]) -> Vec<&'a str> {
    let known: HashSet<_> = calls.iter().filter_map(|call| call.conversation_id.as_deref()).collect();
    let named = recipients.iter().filter_map(|recipient| Some(recipient.conversation_id.as_ref()?.as_str()));
    named.filter(|id| !known.contains(id)).collect()
}

/// One row for each recipient in the order of ElevenLabs, then one for each recipient that only stored calls
/// name. `calls`: the latest first.
pub(super) fn join(recipients: &[Recipient], calls: &[StoredCall]) -> Vec<Row> {
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
    let mut is_listed = vec![false; calls.len()];
    let mut rows = Vec::with_capacity(recipients.len());
    for recipient in recipients {
        let mut own = by_recipient.get(recipient.id.as_str()).cloned().unwrap_or_default();
        let named = recipient.conversation_id.as_ref().map(|id| by_conversation.get(id.as_str()).copied());
        own.extend(named.flatten().filter(|n| !own.contains(n)));
        for &n in &own {
            is_listed[n] = true;
        }
        // An earlier attempt says nothing about the conversation that ElevenLabs names now.
        let decides = named.unwrap_or_else(|| own.first().copied());
        rows.push(Row {
            recipient_id: Some(recipient.id.clone()),
            number: recipient.number.clone(),
            recipient_status: Some(recipient.status.clone()),
            call: decides.map(|n| calls[n].clone()),
            calls: own.len(),
        });
    }
    rows.extend(unlisted(calls.iter().zip(is_listed).filter(|(_, listed)| !listed).map(|(call, _)| call)));
    rows
}

/// Rows of recipients that only stored calls name. A call without a recipient has a row of its own.
fn unlisted<'a>(calls: impl Iterator<Item = &'a StoredCall>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut of_recipient = BTreeMap::new();
    for call in calls {
        let id = call.recipient_id.as_deref();
        if let Some(&n) = id.and_then(|id| of_recipient.get(id)) {
            let row: &mut Row = &mut rows[n];
            row.calls += 1;
            continue;
        }
        if let Some(id) = id {
            of_recipient.insert(id, rows.len());
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

/// The number of recipients by their status at ElevenLabs and by the outcome of their call.
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

    fn call(recipient: Option<&str>, conversation: &str, outcome: &str) -> StoredCall {
        StoredCall {
            recipient_id: recipient.map(str::to_owned),
            conversation_id: Some(conversation.to_owned()),
            outcome: Some(outcome.to_owned()),
            ..StoredCall::default()
        }
    }

    #[test]
    fn each_recipient_has_one_row_with_the_call_that_decides() {
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
