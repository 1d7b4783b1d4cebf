//! The table of the fields that are joined one by one.

use jiff::Timestamp;
use mongodb::bson::{
    Bson,
    raw::{CStr, cstr},
};

use super::{history, scope::Scope, value::Value};
use crate::{
    domain::{
        call::{CallPatch, NumberSuffixes, Placement, TranscriptState},
        event::{CallId, ConversationId, PlacementId},
    },
    store::convert::{document_to_json, timestamp},
};

/// The row of one field.
#[derive(Clone, Copy)]
pub(super) struct Row {
    /// Name in the document.
    pub name: &'static CStr,
    /// The parts of a document that have the field.
    pub scope: Scope,
    /// Whether every document has the field.
    pub is_required: bool,
    /// The value in a patch. `None` if the patch does not know it.
    pub get: for<'a> fn(&'a CallPatch) -> Option<Value<'a>>,
    /// Puts a stored value into a patch. `None` if the value has another type: the patch stays as it is.
    pub set: fn(&mut CallPatch, &Bson) -> Option<()>,
}

const fn row(
    name: &'static CStr,
    scope: Scope,
    get: for<'a> fn(&'a CallPatch) -> Option<Value<'a>>,
    set: fn(&mut CallPatch, &Bson) -> Option<()>,
) -> Row {
    Row { name, scope, is_required: false, get, set }
}

const fn required(row: Row) -> Row {
    Row { is_required: true, ..row }
}

/// Name of the field with the request of a placement.
pub(in crate::store) const REQUEST: &CStr = cstr!("requestPayload");

/// The fields that are joined one by one, in their order in a document.
pub(super) static VALUES: [Row; 16] = [
    row(
        cstr!("callId"),
        Scope::Document,
        |patch| text(patch.call_id.as_ref().map(CallId::as_str)),
        |patch, value| put(&mut patch.call_id, CallId::new(value.as_str()?).ok()),
    ),
    row(
        cstr!("conversationId"),
        Scope::Document,
        |patch| text(patch.conversation_id.as_ref().map(ConversationId::as_str)),
        |patch, value| put(&mut patch.conversation_id, ConversationId::new(value.as_str()?).ok()),
    ),
    row(
        cstr!("_placementId"),
        Scope::Document,
        |patch| text(patch.placement.as_ref().map(|placement| placement.id.as_str())),
        |patch, value| {
            let id = PlacementId::new(value.as_str()?).ok();
            put(&mut patch.placement, id.map(|id| Placement { id, request: None }))
        },
    ),
    row(
        REQUEST,
        Scope::Document,
        |patch| patch.placement.as_ref()?.request.as_ref().map(Value::Object),
        |patch, value| put(&mut patch.placement.as_mut()?.request, value.as_document().map(document_to_json)),
    ),
    row(
        cstr!("history"),
        Scope::Document,
        |patch| (!patch.history.is_empty()).then_some(Value::History(&patch.history)),
        |patch, value| {
            patch.history = value.as_array()?.iter().filter_map(history::read_entry).collect();
            Some(())
        },
    ),
    required(row(
        cstr!("createdAt"),
        Scope::Call,
        |patch| Some(Value::Date(patch.created_at)),
        |patch, value| {
            patch.created_at = timestamp(value)?;
            // Documents of earlier versions have no `_storedAt`.
            patch.first_stored = patch.created_at;
            Some(())
        },
    )),
    row(
        cstr!("_storedAt"),
        Scope::Call,
        |patch| Some(Value::Date(patch.first_stored)),
        |patch, value| {
            patch.first_stored = timestamp(value)?;
            Some(())
        },
    ),
    required(row(
        cstr!("updatedAt"),
        Scope::Call,
        |patch| Some(Value::Date(patch.updated_at)),
        |patch, value| {
            patch.updated_at = timestamp(value)?;
            Some(())
        },
    )),
    row(
        cstr!("agentId"),
        Scope::Call,
        |patch| text(patch.parties.agent_id.as_deref()),
        |patch, value| put(&mut patch.parties.agent_id, owned(value)),
    ),
    row(
        cstr!("agentPhoneNumberId"),
        Scope::Call,
        |patch| text(patch.parties.agent_phone_number_id.as_deref()),
        |patch, value| put(&mut patch.parties.agent_phone_number_id, owned(value)),
    ),
    row(
        cstr!("toNumber"),
        Scope::Call,
        |patch| text(patch.parties.to_number.as_deref()),
        |patch, value| put(&mut patch.parties.to_number, owned(value)),
    ),
    row(
        cstr!("_numberSuffixes"),
        Scope::Call,
        |patch| (!patch.number_suffixes.is_empty()).then_some(Value::Texts(&patch.number_suffixes)),
        |patch, value| {
            patch.number_suffixes = NumberSuffixes::stored(value.as_array()?.iter().filter_map(owned));
            Some(())
        },
    ),
    row(
        cstr!("parentCallId"),
        Scope::Call,
        |patch| text(patch.parent_call_id.as_ref().map(CallId::as_str)),
        |patch, value| put(&mut patch.parent_call_id, CallId::new(value.as_str()?).ok()),
    ),
    row(
        cstr!("transcriptState"),
        Scope::Call,
        |patch| text(patch.transcript.map(TranscriptState::as_str)),
        |patch, value| put(&mut patch.transcript, TranscriptState::from_word(value.as_str()?)),
    ),
    row(
        cstr!("_owedSince"),
        Scope::Call,
        |patch| date(patch.pending_since),
        |patch, value| put(&mut patch.pending_since, timestamp(value)),
    ),
    row(
        cstr!("_legEnded"),
        Scope::Call,
        |patch| date(patch.leg_ended),
        |patch, value| put(&mut patch.leg_ended, timestamp(value)),
    ),
];

fn text(text: Option<&str>) -> Option<Value<'_>> {
    text.map(Value::Text)
}

fn date(time: Option<Timestamp>) -> Option<Value<'static>> {
    time.map(Value::Date)
}

fn owned(value: &Bson) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn put<T>(place: &mut Option<T>, value: Option<T>) -> Option<()> {
    *place = Some(value?);
    Some(())
}
