//! The update of one stored call: what the join changes, if the document is still as it was read.

use jiff::Timestamp;
use mongodb::bson::{
    RawArrayBuf, RawBson, RawDocumentBuf,
    raw::{CStr, cstr},
    rawdoc,
};

use super::{
    call_part,
    command::{self, Kind},
    connection::Store,
    convert::bson_date,
    error::{Failure, StoreError, UNSTORABLE, Unstorable},
    fields::{self, Scope},
    revision,
    stored_call::StoredCall,
};
use crate::domain::call::CallPatch;

/// A stored call, and the same call with a patch.
#[derive(Clone, Debug, PartialEq)]
pub struct CallUpdate {
    /// The call as it was read.
    pub stored: StoredCall,
    /// The call with the patch. `None`: the patch changes nothing.
    pub joined: Option<CallPatch>,
}

impl CallUpdate {
    /// Joins `stored` with `patch`.
    pub(super) fn of(stored: StoredCall, patch: &CallPatch) -> Self {
        let joined = (!patch.is_known_to(&stored.call)).then(|| {
            let mut patch = patch.clone().in_milliseconds();
            // No stored call has this mark, so it would count as a change.
            patch.is_replay = false;
            patch.call_part.iter_mut().for_each(|part| part.is_replay = false);
            stored.call.clone().join(stored.unknown.prevailing(patch))
        });
        Self { joined: joined.filter(|joined| *joined != stored.call), stored }
    }

    /// The call after the update.
    pub(super) fn call(&self) -> &CallPatch {
        self.joined.as_ref().unwrap_or(&self.stored.call)
    }
}

/// See [`super::Calls::update`].
pub(super) async fn update(
    store: &Store,
    updates: Vec<CallUpdate>,
) -> Result<Vec<(usize, Failure)>, StoreError> {
    let now = Timestamp::now();
    command::run(store, Kind::Update, updates.into_iter().map(|update| statement(update, now))).await
}

/// The statement at `now`. It matches nothing if the document was changed since it was read.
///
/// An update that changes nothing has a statement, too: the server answers when a majority of the servers has all that the
/// worker has read. So a message that was applied before is not acknowledged too early.
///
/// # Errors
/// The call can never be stored: label and sentence of a dead letter.
pub(super) fn statement(update: CallUpdate, now: Timestamp) -> Result<RawDocumentBuf, Unstorable> {
    let CallUpdate { stored, joined } = update;
    let revision = stored.revision.map_or(RawBson::Null, RawBson::Int64);
    // A worker of version 0.1.0 leaves the revision as it is when it adds an event or a document of the call.
    let events = i64::try_from(stored.call.history.len()).unwrap_or(i64::MAX);
    let shared_call_id =
        stored.shared_call_id.as_ref().map_or(RawBson::Null, |id| RawBson::String(id.as_str().to_owned()));
    let filter = rawdoc! {
        "_id": stored.id, revision::NAME: revision, "history": { "$size": events },
        "updatedAt": bson_date(stored.call.updated_at), "sharedCallId": shared_call_id,
    };
    let Some(joined) = joined else {
        return Ok(rawdoc! { "q": filter, "u": { "$set": {} } });
    };
    let becomes_linked = joined.is_linked() && !stored.call.is_linked();
    let changed = joined.difference(&stored.call);
    let set = rawdoc! { revision::NAME: revision::next(stored.revision, now) };
    Ok(if becomes_linked {
        rawdoc! { "q": filter, "u": linking(changed, &stored.call, set)? }
    } else {
        rawdoc! { "q": filter, "u": operators(changed, &stored.call, set)? }
    })
}

/// The stages of an update by which the document becomes the document of a conversation or placement. The values of its
/// events are copied on the server.
fn linking(
    mut changed: CallPatch,
    before: &CallPatch,
    mut set: RawDocumentBuf,
) -> Result<RawArrayBuf, Unstorable> {
    let part =
        changed.call_part.take().map(|part| call_part::document(&part.difference(before))).transpose()?;
    fields::append(&mut set, &changed, Scope::Document)?;
    let copied = rawdoc! { "$set": { call_part::NAME: call_part::copied(part.unwrap_or_default()) } };
    let joined = rawdoc! { "$replaceWith": { "$mergeObjects": ["$$ROOT", { "$literal": set }] } };
    let stages: RawArrayBuf = [copied, joined].into_iter().collect();
    Ok(stages)
}

/// The operators of any other update.
fn operators(
    mut changed: CallPatch,
    before: &CallPatch,
    mut set: RawDocumentBuf,
) -> Result<RawDocumentBuf, Unstorable> {
    let part = changed.call_part.take();
    let mut operators = RawDocumentBuf::new();
    // Usually an event is later than the earlier ones. The whole history is not sent then.
    if let Some(added) = changed.history.strip_prefix(before.history.as_slice())
        && !before.history.is_empty()
    {
        let added = rawdoc! { "history": { "$each": fields::entries(added) } };
        operators.append(cstr!("$push"), added);
        changed.history.clear();
    }
    fields::append(&mut set, &changed, Scope::Document)?;
    match (part, &before.call_part) {
        (Some(part), Some(before)) => {
            append_within(&mut set, &call_part::document(&part.difference(before))?)?;
        }
        (Some(part), None) => set.append(call_part::NAME, call_part::document(&part)?),
        (None, _) => {}
    }
    operators.append(cstr!("$set"), set);
    Ok(operators)
}

/// Appends the fields of `part` with their paths in the document.
fn append_within(set: &mut RawDocumentBuf, part: &RawDocumentBuf) -> Result<(), Unstorable> {
    for field in part {
        let (name, value) = field.map_err(|_error| UNSTORABLE)?;
        let path = format!("{}.{name}", call_part::NAME);
        let path: &CStr = path.as_str().try_into().map_err(|_error| UNSTORABLE)?;
        set.append(path, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Document, doc, oid::ObjectId};
    use serde_json::json;

    use super::*;
    use crate::{
        domain::{
            call::Field,
            event::{Envelope, Origin, Provider, parse},
        },
        store::fields::UnknownClaims,
    };

    fn patch(id: &str, body: &serde_json::Value) -> CallPatch {
        let envelope = Envelope::new(id, Timestamp::UNIX_EPOCH, Origin::Webhook(Provider::ElevenLabs));
        parse(&envelope, body.to_string().as_bytes()).unwrap().into()
    }

    fn stored(call: CallPatch, revision: Option<i64>) -> StoredCall {
        let id = ObjectId::from_bytes([7; 12]);
        StoredCall {
            id,
            revision,
            call,
            shared_call_id: None,
            unknown: UnknownClaims::default(),
            keys: Vec::new(),
        }
    }

    fn run(stored: &StoredCall, patch: &CallPatch, now: i64) -> Document {
        let update = CallUpdate::of(stored.clone(), patch);
        statement(update, Timestamp::from_millisecond(now).unwrap()).unwrap().try_into().unwrap()
    }

    #[test]
    fn an_update_writes_what_differs_and_raises_the_revision() {
        let ringing = json!({ "event_type": "call.ringing", "call_id": "c", "to_number": "+15550100" });
        let stored = stored(patch("e1", &ringing), Some(2000));
        let busy = json!({ "event_type": "call.busy", "call_id": "c", "to_number": "+15550100" });
        let statement = run(&stored, &patch("e2", &busy), 1000);
        let filter = doc! {
            "_id": stored.id, "revision": 2000_i64, "history": { "$size": 1_i64 },
            "updatedAt": bson_date(Timestamp::UNIX_EPOCH), "sharedCallId": null,
        };
        assert_eq!(statement.get_document("q").unwrap(), &filter);
        let update = statement.get_document("u").unwrap();
        let set = update.get_document("$set").unwrap();
        assert_eq!((set.get_str("status").unwrap(), set.get_i64("revision").unwrap()), ("busy", 2001));
        assert!(!set.contains_key("toNumber") && !set.contains_key("callId") && !set.contains_key("history"));
        let pushed = update.get_document("$push").unwrap().get_document("history").unwrap();
        assert_eq!(pushed.get_array("$each").unwrap().len(), 1);
        // The events of an earlier time come first, so the history is written as a whole.
        let mut earlier = patch("e0", &busy);
        earlier.history[0].at = Timestamp::UNIX_EPOCH - std::time::Duration::from_secs(1);
        let update = run(&stored, &earlier, 1000);
        let set = update.get_document("u").unwrap().get_document("$set").unwrap();
        assert_eq!(set.get_array("history").unwrap().len(), 2);
    }

    #[test]
    fn an_event_that_is_stored_already_changes_nothing() {
        let event = patch("e1", &json!({ "event_type": "call.ringing", "call_id": "c" }));
        let statement = run(&stored(event.clone(), None), &event, 1000);
        assert_eq!(statement.get_document("u").unwrap(), &doc! { "$set": {} });
        // A replayed event may say more than an earlier version read in it.
        let again = CallPatch { is_replay: true, ..event.clone() };
        let missing = stored(CallPatch { status: None, ..event.clone() }, None);
        assert_eq!(run(&missing, &event, 1000).get_document("u").unwrap(), &doc! { "$set": {} });
        let statement = run(&missing, &again, 1000);
        let set = statement.get_document("u").unwrap().get_document("$set").unwrap();
        assert_eq!((set.get_str("status").unwrap(), set.get_i64("revision").unwrap()), ("ringing", 1000));
    }

    #[test]
    fn a_text_of_a_sender_is_never_an_expression() {
        let ringing = patch("e1", &json!({ "event_type": "call.ringing", "call_id": "$status" }));
        let hostile = patch(
            "e2",
            &json!({
                "event_type": "call.busy", "call_id": "$status", "conversation_id": "v",
                "failure_reason": "$$NOW", "to_number": "$secret", "a.b": { "$gt": "" },
            }),
        );
        let statement = run(&stored(ringing, Some(1)), &hostile, 1000);
        let stages = statement.get_array("u").unwrap();
        let joined = stages[1].as_document().unwrap().get_document("$replaceWith").unwrap();
        let literal = joined.get_array("$mergeObjects").unwrap()[1].as_document().unwrap();
        assert_eq!(literal.keys().collect::<Vec<_>>(), ["$literal"]);
        let fields = literal.get_document("$literal").unwrap();
        assert_eq!(fields.get_str("toNumber").unwrap(), "$secret");
    }

    #[test]
    fn a_value_that_bson_cannot_hold_is_refused() {
        // The parser escapes such names, so no payload has one today.
        let event = json!({ "event_type": "call.busy", "call_id": "c" });
        let mut busy = patch("e2", &event);
        busy.fields.get_mut(&Field::RawResponse).unwrap().value = json!({ "a\u{0}b": 1 });
        let update = CallUpdate::of(stored(patch("e1", &event), None), &busy);
        assert_eq!(statement(update, Timestamp::UNIX_EPOCH).unwrap_err(), UNSTORABLE);
    }
}
