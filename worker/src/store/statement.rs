//! A patch as one update statement: the server performs the join of [`CallPatch::join`].
//!
//! A filter that matches no document inserts one. So each filter requires an id that is unique in the
//! collection: if a document with this id does not match, the insert fails. All comparisons of times and values
//! are in the pipeline, which reads the document that it changes.

use jiff::Timestamp;
use mongodb::bson::{
    RawArrayBuf, RawBson, RawDocumentBuf,
    raw::{CStr, cstr},
    rawdoc,
};

use super::{
    convert::bson_date,
    error::Unstorable,
    fields::{self, bounded_history, extended_history, pending_transcript_state, stored_event_ids},
    key::Key,
    of_call, revision,
};
use crate::domain::{
    call::{CallPatch, HISTORY_LIMIT},
    reason::Reason,
};

/// The last event of a full history: the index is the limit less one.
const FULL_HISTORY: &CStr = cstr!("history.99");
const _: () = assert!(HISTORY_LIMIT == 100);

/// The statement of an update command that joins `patch` with its document at `now`. If it does not fit the
/// document, it fails on a unique index, and the general statement has to be tried.
///
/// # Errors
/// The patch can never be stored: label and sentence of a dead letter.
pub fn statement(patch: &CallPatch, now: Timestamp) -> Result<RawDocumentBuf, Unstorable> {
    if has_quick(patch) { quick(patch, now) } else { general(patch, now) }
}

/// Whether [`statement`] is less than [`general`].
pub(super) fn has_quick(patch: &CallPatch) -> bool {
    changes_once(patch)
        && patch.history.len() == 1
        && patch.conversation_id.is_some()
        && patch.placement.is_none()
        && patch.of_call.is_none()
}

/// The statement of one event for a document that has its ids already and whose history is not full, or for no
/// document. The ids, the part `_call`, the mark of a pending transcript and the limit of the history cannot
/// change then. Most events find such a document. MongoDB parses every expression again for each statement, so
/// leaving these out saves it a quarter of its time.
fn quick(patch: &CallPatch, now: Timestamp) -> Result<RawDocumentBuf, Unstorable> {
    let mut filter = RawDocumentBuf::new();
    for key in Key::all_of(patch) {
        filter.append(key.field(), key.id());
    }
    filter.append(FULL_HISTORY, rawdoc! { "$exists": false });
    let mut layers = vec![rawdoc! { "history": extended_history(&patch.history) }];
    layers.extend(fields::call_layers("$", patch)?);
    layers.push(revision::layer(now));
    let joined = unless_known(patch, fields::merged("$$ROOT", layers));
    Ok(rawdoc! { "q": filter, "u": [{ "$replaceWith": joined }], "upsert": true })
}

/// The statement for every document that the patch changes alone. For a patch that changes several documents,
/// it fails on a unique index: the patch is merged in a transaction then.
pub(super) fn general(patch: &CallPatch, now: Timestamp) -> Result<RawDocumentBuf, Unstorable> {
    let key = Key::of(patch).ok_or((Reason::NoIdentifier, "the patch names no call"))?;
    let mut filter = RawDocumentBuf::new();
    filter.append(key.field(), key.id());
    // A document of another conversation or placement is another document.
    for other in Key::all_of(patch).filter(|other| *other != key) {
        filter.append(other.field(), rawdoc! { "$in": [RawBson::Null, other.id()] });
    }
    if patch.call_id.is_some() && (!patch.is_linked() || patch.of_call.is_some()) {
        filter.append(cstr!("sharedCallId"), rawdoc! { "$exists": false });
    }
    Ok(rawdoc! { "q": filter, "u": pipeline(patch, now)?, "upsert": true })
}

/// The stages that join `patch` with a document, or with nothing if the document is new.
fn pipeline(patch: &CallPatch, now: Timestamp) -> Result<RawArrayBuf, Unstorable> {
    let joined = fields::merged(of_call::joined(patch)?, leg(patch).into_iter().collect());
    let joined = if changes_once(patch) {
        unless_known(patch, fields::merged(joined, vec![revision::layer(now)]))
    } else {
        revision::if_changed(joined, now)
    };
    let joined = rawdoc! { "$replaceWith": joined };
    let bounded = rawdoc! { "$set": { "history": bounded_history() } };
    Ok([joined, bounded].into_iter().collect())
}

/// Whether the patch comes from events with a payload. An observation (the answer of ElevenLabs to a status
/// lookup) has no payload and holds more than its events.
fn is_event(patch: &CallPatch) -> bool {
    patch.fields.keys().any(|field| field.is_payload())
}

/// Whether a document that has all events of the patch stays as it is: an event changes a call once. An
/// observation and a replayed event are always joined.
fn changes_once(patch: &CallPatch) -> bool {
    is_event(patch) && !patch.joins_again
}

/// `joined`, unless the document has all events of the patch already.
fn unless_known(patch: &CallPatch, joined: RawDocumentBuf) -> RawDocumentBuf {
    let ids: RawArrayBuf = patch.history.iter().map(|entry| entry.event_id.as_str()).collect();
    let is_known = rawdoc! { "$setIsSubset": [{ "$literal": ids }, stored_event_ids()] };
    rawdoc! { "$cond": [is_known, "$$ROOT", joined] }
}

/// The layer that marks a transcript as pending after the end of a leg: see [`CallPatch::leg_ended`]. `None`
/// if the patch neither ends a leg nor names a conversation.
///
/// The layer covers two cases: the patch brings the end of the leg and the document has the conversation, or
/// the reverse. If the patch brings both, it marks the transcript as pending itself. An earlier end of a leg
/// in the document then moves the start of the waiting time back.
fn leg(patch: &CallPatch) -> Option<RawDocumentBuf> {
    let (is_complete, since): (RawDocumentBuf, RawBson) = match (&patch.leg_ended, &patch.conversation_id) {
        (Some(since), None) => {
            (rawdoc! { "$gt": ["$conversationId", RawBson::Null] }, bson_date(*since).into())
        }
        (_, Some(_)) => (rawdoc! { "$gt": ["$_legEnded", RawBson::Null] }, "$_legEnded".into()),
        (None, None) => return None,
    };
    let mut times: RawArrayBuf = [RawBson::from("$_owedSince"), since].into_iter().collect();
    if let Some(since) = patch.pending_since {
        times.push(bson_date(since));
    }
    let mut pending = rawdoc! { "_owedSince": { "$min": times } };
    if patch.transcript.is_none() {
        pending.append(cstr!("transcriptState"), pending_transcript_state());
    }
    Some(rawdoc! { "$cond": [is_complete, pending, {}] })
}

#[cfg(test)]
mod tests {
    use mongodb::bson::Document;
    use serde_json::json;

    use super::*;
    use crate::domain::{
        call::Field,
        event::{Envelope, Origin, Provider, parse},
    };

    fn patch(body: &serde_json::Value) -> CallPatch {
        let envelope = Envelope::new("e1", Timestamp::UNIX_EPOCH, Origin::Webhook(Provider::ElevenLabs));
        parse(&envelope, body.to_string().as_bytes()).unwrap().into()
    }

    #[test]
    fn a_text_of_a_sender_is_never_an_expression() {
        let hostile = patch(&json!({
            "event_type": "call.busy", "call_id": "$status", "failure_reason": "$$ROOT",
            "to_number": "$secret", "$where": "1", "a.b": { "$gt": "" },
        }));
        let statement = Document::try_from(statement(&hostile, Timestamp::UNIX_EPOCH).unwrap()).unwrap();
        let text = format!("{statement:?}");
        assert!(text.contains(r#""$literal": String("$status")"#), "{text}");
        assert!(text.contains(r#""$literal": String("$secret")"#), "{text}");
    }

    #[test]
    fn a_value_that_bson_cannot_hold_is_refused() {
        // The parser escapes such names, so no payload has one today.
        let mut patch = patch(&json!({ "event_type": "call.busy", "call_id": "c" }));
        let raw = patch.fields.get_mut(&Field::RawResponse).unwrap();
        raw.value = json!({ "a\u{0}b": 1 });
        assert_eq!(statement(&patch, Timestamp::UNIX_EPOCH).unwrap_err().0, Reason::UnstorablePayload);
    }
}
