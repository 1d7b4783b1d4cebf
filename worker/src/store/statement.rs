//! A patch as one update statement: the server performs the join of [`CallPatch::join`].
//!
//! The filter compares ids for equality and nothing else. If the filter of an upsert compared times, a patch
//! older than the stored document would match nothing, and the server would insert a second document. So
//! every other comparison is in the pipeline, which reads the document that it changes.

use mongodb::bson::{RawArrayBuf, RawBson, RawDocumentBuf, raw::cstr, rawdoc};

use super::{
    convert::bson_date,
    error::Unstorable,
    fields::{self, Bindings, Scope, pending_transcript_state, stored_event_ids},
    key::Key,
    of_call,
};
use crate::domain::call::CallPatch;

/// The statement of an update command that joins `patch` with the document of its key.
///
/// # Errors
/// The patch can never be stored: label and sentence of a dead letter.
pub fn statement(patch: &CallPatch) -> Result<RawDocumentBuf, Unstorable> {
    let key = Key::of(patch).ok_or(("no_identifier", "the patch names no call"))?;
    let pipeline = pipeline(patch)?;
    Ok(rawdoc! { "q": filter(&key, patch), "u": [pipeline], "upsert": true })
}

/// Matches the document of `key`, unless it belongs to another conversation or placement, or is one of
/// several documents that the patch changes. In these cases the statement inserts, and fails on the unique
/// index of the key: the patch is merged in a transaction then.
fn filter(key: &Key, patch: &CallPatch) -> RawDocumentBuf {
    let mut filter = RawDocumentBuf::new();
    filter.append(key.field(), key.id());
    for other in Key::all_of(patch).filter(|other| other != key) {
        filter.append(other.field(), rawdoc! { "$in": [RawBson::Null, other.id()] });
    }
    if patch.call_id.is_some() && (!patch.is_linked() || patch.of_call.is_some()) {
        filter.append(cstr!("sharedCallId"), rawdoc! { "$exists": false });
    }
    filter
}

/// The stage that joins `patch` with a document, or with nothing if the document is new.
pub(super) fn pipeline(patch: &CallPatch) -> Result<RawDocumentBuf, Unstorable> {
    let mut layers = RawArrayBuf::new();
    layers.push("$$ROOT");
    let bindings = Bindings::of(patch)?;
    for layer in fields::layers("$", patch, Scope::Document, &bindings)? {
        layers.push(layer);
    }
    if let Some(layer) = of_call::layer(patch, &bindings)? {
        layers.push(layer);
    }
    if let Some(layer) = leg(patch) {
        layers.push(layer);
    }
    let joined = bindings.bind(rawdoc! { "$mergeObjects": layers });
    // An event changes a call once: a document that has the event already is not written again. An
    // observation (the answer of ElevenLabs to a status lookup) has no payload and holds more than its
    // events, so it is always joined.
    let is_event = patch.fields.keys().any(|field| field.is_payload());
    if !is_event {
        return Ok(rawdoc! { "$replaceWith": joined });
    }
    let ids: RawArrayBuf = patch.history.iter().map(|entry| entry.event_id.as_str()).collect();
    let is_known = rawdoc! { "$setIsSubset": [{ "$literal": ids }, stored_event_ids()] };
    Ok(rawdoc! { "$replaceWith": { "$cond": [is_known, "$$ROOT", joined] } })
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
    use jiff::Timestamp;
    use mongodb::bson::Document;
    use serde_json::json;

    use super::*;
    use crate::domain::{
        call::Field,
        event::{Envelope, Origin, parse},
    };

    fn patch(body: &serde_json::Value) -> CallPatch {
        let envelope = Envelope::new("e1", Timestamp::UNIX_EPOCH, Origin::ElevenLabs);
        parse(&envelope, body.to_string().as_bytes()).unwrap().into()
    }

    #[test]
    fn a_text_of_a_sender_is_never_an_expression() {
        let hostile = patch(&json!({
            "event_type": "call.busy", "call_id": "$status", "failure_reason": "$$ROOT",
            "to_number": "$secret", "$where": "1", "a.b": { "$gt": "" },
        }));
        let stage = Document::try_from(pipeline(&hostile).unwrap()).unwrap();
        let text = format!("{stage:?}");
        assert!(text.contains(r#""$literal": String("$status")"#), "{text}");
        assert!(text.contains(r#""$literal": String("$secret")"#), "{text}");
    }

    #[test]
    fn a_value_that_bson_cannot_hold_is_refused() {
        // The parser escapes such names, so no payload has one today.
        let mut patch = patch(&json!({ "event_type": "call.busy", "call_id": "c" }));
        let raw = patch.fields.get_mut(&Field::RawResponse).unwrap();
        raw.value = json!({ "a\u{0}b": 1 });
        assert_eq!(pipeline(&patch).unwrap_err().0, "unstorable_payload");
    }
}
