//! A patch as one update statement: the join of `call::patch`, done by the server.
//!
//! The filter is an equality on one id and nothing else. A comparison in the filter of an upsert
//! would turn "older than what is stored" into "insert a second one"; every comparison is inside the
//! pipeline, where it sees the document it changes.

use jiff::Timestamp;
use mongodb::bson::{
    Bson, Document, RawArrayBuf, RawBson, RawDocumentBuf, doc,
    raw::{CStr, cstr},
    rawdoc,
};

use super::{
    document::{append_value, bson_date, json_to_raw},
    of_call::{self, Values},
};
use crate::domain::{
    call::{CallPatch, Field, FieldClaim, HISTORY_LIMIT, HistoryEntry, StatusClaim, TranscriptState},
    event::{CallId, ConversationId, Parties, PlacementId},
};

/// What names a call: which of the identifiers a statement finds its document by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// Its call id.
    Call(CallId),
    /// Its conversation id, where the call id is not known.
    Conversation(ConversationId),
    /// Our id of its placement, while nothing else is known.
    Placement(PlacementId),
}

impl Key {
    /// The call id where there is one: it is what providers start with.
    pub fn of(patch: &CallPatch) -> Option<Self> {
        Self::all_of(patch).next()
    }

    /// What the document of the patch is found by, of several documents of a call: the conversation id where
    /// there is one.
    pub fn of_document(patch: &CallPatch) -> Option<Self> {
        patch.conversation_id.clone().map(Self::Conversation).or_else(|| Self::of(patch))
    }

    /// Every identifier of the patch, the one that counts most first.
    pub fn all_of(patch: &CallPatch) -> impl Iterator<Item = Self> {
        let placement = patch.placement.as_ref().map(|placement| Self::Placement(placement.id.clone()));
        [
            patch.call_id.clone().map(Self::Call),
            patch.conversation_id.clone().map(Self::Conversation),
            placement,
        ]
        .into_iter()
        .flatten()
    }

    /// The field it is in.
    pub(super) fn field(&self) -> &'static CStr {
        match self {
            Self::Call(_) => cstr!("callId"),
            Self::Conversation(_) => cstr!("conversationId"),
            Self::Placement(_) => cstr!("_placementId"),
        }
    }

    /// The identifier.
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Call(id) => id.as_str(),
            Self::Conversation(id) => id.as_str(),
            Self::Placement(id) => id.as_str(),
        }
    }

    pub(super) fn filter(&self) -> Document {
        doc! { self.field().as_str(): self.id() }
    }
}

/// Why a patch cannot be put into a statement: a label and a sentence, for a dead letter.
pub type Unstorable = (&'static str, &'static str);

pub(super) const UNSTORABLE: Unstorable =
    ("unstorable_payload", "a field name holds a NUL character, which MongoDB cannot store");

/// The pipeline that joins `patch` with the document it is applied to, existing or new.
pub(super) fn pipeline(patch: &CallPatch) -> Result<RawDocumentBuf, Unstorable> {
    // An event changes a call once: what is known is not even rewritten. An observation, which has
    // no payload, holds more than its events.
    let skips = patch.fields.keys().any(|field| field.is_payload());
    let mut layers = RawArrayBuf::new();
    layers.push("$$ROOT");
    layers.push(names(patch)?);
    let values = of_call::values(patch)?;
    for layer in claims("$", patch, &values)? {
        layers.push(layer);
    }
    if let Some(layer) = of_call::layer(patch, &values)? {
        layers.push(layer);
    }
    if let Some(layer) = leg(patch) {
        layers.push(layer);
    }
    let joined = values.bind(rawdoc! { "$mergeObjects": layers });
    if !skips {
        return Ok(rawdoc! { "$replaceWith": joined });
    }
    let ids: RawArrayBuf = patch.history.iter().map(|entry| entry.event_id.as_str()).collect();
    let seen = rawdoc! { "$setIsSubset": [{ "$literal": ids }, stored_ids()] };
    Ok(rawdoc! { "$replaceWith": { "$cond": [seen, "$$ROOT", joined] } })
}

/// What is claimed of a call, as layers over the object whose fields begin with `within`: a later layer prevails.
pub(super) fn claims(
    within: &str,
    patch: &CallPatch,
    values: &Values,
) -> Result<Vec<RawDocumentBuf>, Unstorable> {
    let mut layers = vec![always(within, patch)];
    if let Some(claim) = &patch.status {
        layers.push(status(within, claim));
    }
    for (name, claim) in &patch.fields {
        layers.push(field(within, *name, claim, values)?);
    }
    Ok(layers)
}

/// What names the document, and its history.
fn names(patch: &CallPatch) -> Result<RawDocumentBuf, Unstorable> {
    let mut fields = rawdoc! { "history": history(&patch.history) };
    let mut first = |field: &CStr, path: &str, value: Option<&str>| {
        if let Some(value) = value {
            // A link once made is kept: moving it would strand what is found by the old one.
            fields.append(field, rawdoc! { "$ifNull": [path, literal(value)] });
        }
    };
    first(cstr!("callId"), "$callId", patch.call_id.as_ref().map(CallId::as_str));
    let conversation_id = patch.conversation_id.as_ref().map(ConversationId::as_str);
    first(cstr!("conversationId"), "$conversationId", conversation_id);
    let placement_id = patch.placement.as_ref().map(|placement| placement.id.as_str());
    first(cstr!("_placementId"), "$_placementId", placement_id);
    if let Some(request) = patch.placement.as_ref().and_then(|placement| placement.request.as_ref()) {
        let request = json_to_raw(request).ok_or(UNSTORABLE)?;
        fields.append(
            cstr!("requestPayload"),
            rawdoc! { "$ifNull": ["$requestPayload", { "$literal": request }] },
        );
    }
    Ok(fields)
}

/// What is joined field by field, whichever event is the latest.
fn always(within: &str, patch: &CallPatch) -> RawDocumentBuf {
    let at = |field: &str| format!("{within}{field}");
    let mut fields = rawdoc! {
        "createdAt": { "$min": [at("createdAt"), bson_date(patch.created_at)] },
        // Documents of earlier versions do not say when they were first stored.
        "_storedAt": { "$min": [
            { "$ifNull": [at("_storedAt"), at("createdAt")] },
            bson_date(patch.first_stored),
        ] },
        "updatedAt": { "$max": [at("updatedAt"), bson_date(patch.updated_at)] },
    };
    let mut smallest = |field: &CStr, value: Option<&String>| {
        if let Some(value) = value {
            fields.append(field, rawdoc! { "$min": [at(field.as_str()), literal(value)] });
        }
    };
    let Parties { agent_id, agent_phone_number_id, to_number } = &patch.parties;
    smallest(cstr!("agentId"), agent_id.as_ref());
    smallest(cstr!("agentPhoneNumberId"), agent_phone_number_id.as_ref());
    smallest(cstr!("toNumber"), to_number.as_ref());
    if let Some(parent) = &patch.parent_call_id {
        let parent = literal(parent.as_str());
        fields.append(cstr!("parentCallId"), rawdoc! { "$min": [at("parentCallId"), parent] });
    }
    if let Some(state) = patch.transcript {
        fields.append(cstr!("transcriptState"), transcript_state(&at("transcriptState"), state));
    }
    if let Some(since) = patch.owed_since {
        fields.append(cstr!("_owedSince"), rawdoc! { "$min": [at("_owedSince"), bson_date(since)] });
    }
    if let Some(ended) = patch.leg_ended {
        fields.append(cstr!("_legEnded"), rawdoc! { "$min": [at("_legEnded"), bson_date(ended)] });
    }
    fields
}

/// What the end of a leg makes due: see `CallPatch::owe_for_leg`. Of leg and conversation one may be in the
/// patch and the other in the document.
fn leg(patch: &CallPatch) -> Option<RawDocumentBuf> {
    // Both in the patch: it says itself that a transcript is owed.
    let (met, since): (RawDocumentBuf, RawBson) = match (&patch.leg_ended, &patch.conversation_id) {
        (Some(since), None) => {
            (rawdoc! { "$gt": ["$conversationId", RawBson::Null] }, bson_date(*since).into())
        }
        (None, Some(_)) => (rawdoc! { "$gt": ["$_legEnded", RawBson::Null] }, "$_legEnded".into()),
        _ => return None,
    };
    let mut sinces: RawArrayBuf = [RawBson::from("$_owedSince"), since].into_iter().collect();
    if let Some(since) = patch.owed_since {
        sinces.push(bson_date(since));
    }
    let mut owed = rawdoc! { "_owedSince": { "$min": sinces } };
    if patch.transcript.is_none() {
        owed.append(cstr!("transcriptState"), transcript_state("$transcriptState", TranscriptState::Owed));
    }
    Some(rawdoc! { "$cond": [met, owed, {}] })
}

/// `owed` < `unavailable` < `saved`.
fn transcript_state(path: &str, state: TranscriptState) -> RawBson {
    let prevailing: &[&str] = match state {
        TranscriptState::Owed => &["unavailable", "saved"],
        TranscriptState::Unavailable => &["saved"],
        TranscriptState::Saved => &[],
    };
    let prevailing: RawArrayBuf = prevailing.iter().copied().collect();
    let stays = rawdoc! { "$in": [path, prevailing] };
    rawdoc! { "$cond": [stays, path, state.as_str()] }.into()
}

/// The union of both histories by event id, in the order of time, bounded.
fn history(entries: &[HistoryEntry]) -> RawDocumentBuf {
    let entries: RawArrayBuf = entries.iter().map(history_entry).collect();
    let unknown = rawdoc! { "$not": [{ "$in": ["$$this.eventId", stored_ids()] }] };
    let fresh = rawdoc! { "$filter": { "input": { "$literal": entries }, "cond": unknown } };
    let union = rawdoc! { "$concatArrays": [{ "$ifNull": ["$history", []] }, fresh] };
    let sort =
        |input: RawBson| rawdoc! { "$sortArray": { "input": input, "sortBy": { "at": 1, "eventId": 1 } } };
    let limit = i32::try_from(HISTORY_LIMIT).expect("a small constant");
    let latest = |cond: RawDocumentBuf| {
        rawdoc! { "$slice": [{ "$filter": { "input": "$$all", "cond": cond } }, -limit] }
    };
    let of_call = rawdoc! { "$eq": ["$$this.ofCall", true] };
    let bounded =
        rawdoc! { "$concatArrays": [latest(rawdoc! { "$not": [of_call.clone()] }), latest(of_call)] };
    let fits = rawdoc! { "$lte": [{ "$size": "$$all" }, limit] };
    let result = rawdoc! { "$cond": [fits, "$$all", sort(bounded.into())] };
    rawdoc! { "$let": { "vars": { "all": sort(union.into()) }, "in": result } }
}

pub(super) fn history_entry(entry: &HistoryEntry) -> RawDocumentBuf {
    let mut fields = rawdoc! {
        "eventId": entry.event_id.as_str(),
        "eventType": entry.event_type.as_str(),
        "status": text_or_null(entry.status.as_deref()),
        "at": bson_date(entry.at),
    };
    let rest = [
        (cstr!("receivedStatus"), &entry.received_status),
        (cstr!("origin"), &entry.origin),
        (cstr!("signature"), &entry.signature),
    ];
    for (name, value) in rest {
        if let Some(value) = value {
            fields.append(name, value.as_str());
        }
    }
    if let Some(stored_at) = entry.stored_at {
        fields.append(cstr!("storedAt"), bson_date(stored_at));
    }
    if entry.time_ignored {
        fields.append(cstr!("timeIgnored"), true);
    }
    if entry.of_call {
        fields.append(cstr!("ofCall"), true);
    }
    fields
}

fn stored_ids() -> RawDocumentBuf {
    rawdoc! { "$ifNull": ["$history.eventId", []] }
}

/// The status and what belongs to it, where its key is the greater. Arrays compare element by
/// element, and what is missing is less than anything.
fn status(path: &str, claim: &StatusClaim) -> RawDocumentBuf {
    let rank = claim.status.rank();
    let at = |field: &str| format!("{path}{field}");
    let newer = rawdoc! { "$gt": [
        [rank, bson_date(claim.at), literal(&claim.event_id)],
        [at("_status.rank"), at("statusUpdatedAt"), at("_status.eventId")],
    ] };
    let mut fields = RawDocumentBuf::new();
    append_status(&mut fields, claim);
    rawdoc! { "$cond": [newer, { "$literal": fields }, {}] }
}

/// The fields of a status.
pub(super) fn append_status(fields: &mut RawDocumentBuf, claim: &StatusClaim) {
    fields.append(cstr!("status"), claim.status.as_str());
    fields.append(cstr!("statusUpdatedAt"), bson_date(claim.at));
    fields.append(cstr!("failureReason"), text_or_null(claim.failure_reason.as_deref()));
    let key = rawdoc! { "rank": claim.status.rank(), "eventId": claim.event_id.as_str() };
    fields.append(cstr!("_status"), key);
}

/// A field that one event gives whole, where that event is the latest.
fn field(
    path: &str,
    field: Field,
    claim: &FieldClaim,
    values: &Values,
) -> Result<RawDocumentBuf, Unstorable> {
    let key = field.key_name();
    let newer = rawdoc! { "$gt": [
        [bson_date(claim.at), literal(&claim.event_id)],
        [format!("{path}{key}.at"), format!("{path}{key}.eventId")],
    ] };
    Ok(rawdoc! { "$cond": [newer, values.of(field, claim)?, {}] })
}

/// Such a field, and which event gave it.
pub(super) fn append_field(
    fields: &mut RawDocumentBuf,
    field: Field,
    claim: &FieldClaim,
) -> Result<(), Unstorable> {
    append_value(fields, field.name(), &claim.value).ok_or(UNSTORABLE)?;
    let key: &CStr = field.key_name().try_into().map_err(|_error| UNSTORABLE)?;
    fields.append(key, rawdoc! { "at": bson_date(claim.at), "eventId": claim.event_id.as_str() });
    Ok(())
}

fn text_or_null(text: Option<&str>) -> RawBson {
    text.map_or(RawBson::Null, RawBson::from)
}

/// A text that stays a text: a leading `$` would make it a field path.
pub(super) fn literal(text: &str) -> RawBson {
    if text.starts_with('$') { rawdoc! { "$literal": text }.into() } else { text.into() }
}

/// Most characters of the reason why a transcript will not come.
const MAX_REASON: usize = 500;

/// How the search for a transcript ended.
#[derive(Clone, Debug)]
pub enum Settled {
    /// Here it is.
    Saved {
        /// The turns, as ElevenLabs gives them.
        transcript: Bson,
        /// When it was fetched.
        at: Timestamp,
        /// After how many tries.
        attempts: u32,
    },
    /// It will not come.
    Unavailable {
        /// Why, for whoever reads the document.
        reason: String,
        /// When it was given up.
        at: Timestamp,
    },
}

/// Filter and update that give up transcripts whose conversation has not become known since `before`.
pub(super) fn give_up_unknown(before: Timestamp, now: Timestamp) -> (Document, Document) {
    let filter = doc! {
        "transcriptState": "owed",
        "conversationId": { "$exists": false },
        "_owedSince": { "$lt": bson_date(before) },
    };
    let fields = doc! {
        "transcriptState": "unavailable",
        "_transcriptError": "its conversation never became known",
        "updatedAt": bson_date(now),
    };
    (filter, doc! { "$set": fields })
}

/// Filter and update that settle a transcript. A saved one is never replaced.
pub(super) fn transcript(conversation: &ConversationId, settled: Settled) -> (Document, Vec<Document>) {
    let filter = doc! { "conversationId": conversation.as_str(), "transcriptState": { "$ne": "saved" } };
    let (fields, at) = match settled {
        Settled::Saved { transcript, at, attempts } => {
            let transcript = doc! { "$literal": transcript };
            let fields = doc! {
                "transcript": transcript, "transcriptState": "saved", "_transcriptSavedAt": bson_date(at),
                "_transcriptAttempts": i64::from(attempts),
            };
            (fields, at)
        }
        Settled::Unavailable { reason, at } => {
            let reason: String = reason.chars().take(MAX_REASON).collect();
            let reason = doc! { "$literal": reason };
            (doc! { "_transcriptError": reason, "transcriptState": "unavailable" }, at)
        }
    };
    let touched = doc! { "$set": { "updatedAt": { "$max": ["$updatedAt", bson_date(at)] } } };
    (filter, vec![doc! { "$set": fields }, touched])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::event::{Envelope, Origin, parse};

    fn patch(body: &serde_json::Value) -> CallPatch {
        let envelope = Envelope::new("e1", Timestamp::UNIX_EPOCH, Origin::ElevenLabs);
        parse(&envelope, body.to_string().as_bytes()).unwrap().into()
    }

    #[test]
    fn a_call_is_found_by_its_call_id_where_it_has_one() {
        let both = patch(&json!({ "event_type": "call.busy", "call_id": "c", "conversation_id": "v" }));
        assert_eq!(Key::of(&both).unwrap().filter(), doc! { "callId": "c" });
        let half = patch(&json!({ "event_type": "call.busy", "conversation_id": "v" }));
        assert_eq!(Key::of(&half).unwrap().filter(), doc! { "conversationId": "v" });
    }

    #[test]
    fn what_a_sender_writes_is_never_an_expression() {
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
    fn what_bson_cannot_hold_is_refused() {
        // No payload comes so far: names are escaped where it is read.
        let mut patch = patch(&json!({ "event_type": "call.busy", "call_id": "c" }));
        let raw = patch.fields.get_mut(&Field::RawResponse).unwrap();
        raw.value = json!({ "a\u{0}b": 1 });
        assert_eq!(pipeline(&patch).unwrap_err().0, "unstorable_payload");
    }
}
