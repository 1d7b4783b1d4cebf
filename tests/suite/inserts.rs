//! Calls are inserted as whole documents, and stored calls are changed by updates of what differs. Both ways must give
//! the same documents.

use aftercall_worker::{
    Config, Metrics,
    domain::{
        call::{CallPatch, Field, HISTORY_LIMIT, Placement},
        event::{self, CallId, ConversationId, Envelope, Origin, PlacementId, Provider},
        reason::Reason,
    },
    store::{self, CallUpdate, Calls as _, Failure, Key, PatchResult, Store},
};
use futures_util::TryStreamExt as _;
use mongodb::{
    Collection,
    bson::{Bson, Document, doc},
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use crate::harness::Mongo;

/// Calls of a large batch.
const BATCH: usize = 40;

/// A store with an empty database, and its collection.
pub async fn store(mongo: &Mongo, name: &str) -> (Store, Collection<Document>) {
    let vars = [("MONGODB_URI", mongo.uri()), ("MONGODB_DATABASE", name.to_owned())];
    let config = Config::from_vars(vars.map(|(name, value)| (name.to_owned(), value))).unwrap();
    let store = Store::new(&config, Metrics::register(&mut Registry::default())).await.unwrap();
    let database = mongodb::Client::with_uri_str(mongo.uri()).await.unwrap().database(name);
    database.drop().await.unwrap();
    store.prepare().await.unwrap();
    (store, database.collection("agent_calls"))
}

/// The patch of an event that was stored at `second`.
pub fn patch(id: &str, second: i64, body: &Value) -> CallPatch {
    let stored_at = jiff::Timestamp::new(1_790_000_100 + second, 123_456_789).unwrap();
    let signature = Some("verified".to_owned());
    let envelope =
        Envelope { signature, ..Envelope::new(id, stored_at, Origin::Webhook(Provider::ElevenLabs)) };
    event::parse(&envelope, body.to_string().as_bytes()).unwrap().into()
}

/// Patches of every kind that can be the first one of a call.
fn patches() -> Vec<CallPatch> {
    let phone = |call: &str| {
        json!({ "call_sid": call, "external_number": "+6580000001", "phone_number_id": "phnum_1",
        "type": "twilio", "direction": "outbound", "agent_number": "+15005550006" })
    };
    let events = [
        json!({ "event_type": "call.ringing", "call_id": "c1", "conversation_id": "v1", "to_number": "+6580000001" }),
        json!({ "event_type": "call.busy", "call_id": "c2", "failure_reason": "$status", "timestamp": 1_790_000_001.5 }),
        json!({ "event_type": "call.completed", "call_id": "c3", "conversation_id": "v3", "status": "completed" }),
        json!({ "event_type": "call.ended", "call_id": "$$ROOT", "to_number": "$secret", "a.b": { "$gt": [1, null, 2.5] },
            "$where": "1", "big": 9_007_199_254_740_993_i64, "empty": {}, "none": [] }),
        json!({ "type": "post_call_transcription", "event_timestamp": 1_790_000_123, "data": {
            "agent_id": "agent_1", "conversation_id": "v5", "status": "done",
            "transcript": [{ "role": "agent", "message": "Good morning.", "time_in_call_secs": 0 }],
            "metadata": { "start_time_unix_secs": 1_790_000_000, "phone_call": phone("c5") },
            "analysis": { "call_successful": "success" } } }),
        json!({ "type": "call_initiation_failure", "event_timestamp": 1_790_000_300, "data": {
            "agent_id": "agent_1", "conversation_id": "v6", "failure_reason": "no-answer",
            "metadata": { "type": "twilio", "body": { "CallSid": "c6", "CallStatus": "no-answer" } } } }),
        json!({ "event_type": "call.answered", "call_id": "c7", "reference": { "$ref": "x", "$id": 1, "$db": "y" } }),
    ];
    let mut patches: Vec<_> =
        events.iter().enumerate().map(|(n, body)| patch(&format!("e{n}"), 0, body)).collect();
    // A call whose events arrive in reverse order. Two of them have the same time.
    let steps = ["ended", "completed", "answered", "ringing", "initiated"].into_iter().enumerate().map(
        |(n, step)| {
            let second = if n < 2 { 7 } else { 10 - n };
            let body = json!({ "event_type": format!("call.{step}"), "call_id": "c8", "conversation_id": "v8",
            "timestamp": 1_790_000_000 + second });
            patch(&format!("s{n}"), i64::try_from(n).unwrap(), &body)
        },
    );
    patches.extend(steps.reduce(CallPatch::join));
    let request = json!({ "agent_id": "agent_1", "to_number": "+6580000001", "$x": {} });
    let placed = Placement { id: PlacementId::new("p9").unwrap(), request: request.as_object().cloned() };
    let body = json!({ "event_type": "call.ringing", "call_id": "c9" });
    patches.push(CallPatch { placement: Some(placed), ..patch("placed", 0, &body) });
    patches
}

/// All documents in the order of their first events, without `_id` and `revision`. The order of fields does not count.
async fn stored(calls: &Collection<Document>) -> Vec<Document> {
    let fields = doc! { "_id": 0, "revision": 0 };
    let found = calls.find(doc! {}).sort(doc! { "callId": 1 }).projection(fields).await.unwrap();
    found.try_collect().await.unwrap()
}

/// The patch of a further event of the call of `first`, with all or some of its ids.
fn follow(n: usize, first: &CallPatch, event: &Value) -> CallPatch {
    let mut event = event.clone();
    if n % 3 != 1 || first.conversation_id.is_none() {
        event["call_id"] = first.call_id.as_ref().map(CallId::as_str).into();
    }
    if !n.is_multiple_of(3) {
        event["conversation_id"] = first.conversation_id.as_ref().map(ConversationId::as_str).into();
    }
    patch(&format!("f{n}"), 60 - i64::try_from(n % 2).unwrap() * 120, &event)
}

#[tokio::test]
async fn updated_document_equals_the_document_of_the_joined_patches() {
    let mongo = Mongo::shared().await;
    let events = [
        json!({ "event_type": "call.rejected", "failure_reason": "$status", "to_number": "+6580000002" }),
        json!({ "event_type": "call.ringing", "reference": { "$ref": "x", "$id": 1, "$db": "y", "a.b": [{ "$c": 1 }] } }),
        json!({ "event_type": "call.ended", "timestamp": 1_790_000_222.75 }),
        json!({ "event_type": "call.answered", "conversation_id": "further" }),
    ];
    for (n, event) in events.iter().enumerate() {
        let (updating, updated) = store(&mongo, "updated").await;
        let (inserting, inserted) = store(&mongo, "inserted").await;
        let first = patches();
        let changed = store::apply(&updating, &first).await.unwrap();
        assert!(changed.iter().all(|changed| matches!(changed, PatchResult::Applied(_))), "{changed:?}");
        let own = |(k, first): (usize, &CallPatch)| {
            let mut event = event.clone();
            if event.get("conversation_id").is_some() {
                // The first event with a conversation.
                event["conversation_id"] = format!("further{k}").into();
                event["call_id"] = first.call_id.as_ref().map(CallId::as_str).into();
                return patch(&format!("f{n}"), 60, &event);
            }
            follow(n + k, first, &event)
        };
        let follows: Vec<_> = first.iter().enumerate().map(own).collect();
        let pairs = first.iter().zip(&follows).filter(|(first, follow)| first.is_joinable(follow));
        let (joined, follows): (Vec<_>, Vec<_>) =
            pairs.map(|(first, follow)| (first.clone().join(follow.clone()), follow.clone())).unzip();
        store::apply(&updating, &follows).await.unwrap();
        let others: Vec<_> = first
            .iter()
            .filter(|first| joined.iter().all(|one| one.call_id != first.call_id))
            .cloned()
            .collect();
        let whole: Vec<_> = joined.iter().chain(&others).collect();
        assert_eq!(inserting.insert(&whole).await, Ok(Vec::new()));
        let (ours, expected) = (stored(&updated).await, stored(&inserted).await);
        assert_eq!(ours.len(), expected.len(), "{event}");
        for (ours, theirs) in ours.iter().zip(&expected) {
            assert_eq!(ours, theirs, "{event}");
        }
        // Repeated patches change nothing.
        let before: Vec<Document> = updated.find(doc! {}).await.unwrap().try_collect().await.unwrap();
        store::apply(&updating, &follows).await.unwrap();
        store::apply(&updating, &first).await.unwrap();
        let after: Vec<Document> = updated.find(doc! {}).await.unwrap().try_collect().await.unwrap();
        assert_eq!(after, before);
    }
}

#[tokio::test]
async fn events_of_the_call_alone_change_that_part_of_a_linked_document() {
    let mongo = Mongo::shared().await;
    let (updating, updated) = store(&mongo, "part_updated").await;
    let (inserting, inserted) = store(&mongo, "part_inserted").await;
    let linked = json!({ "event_type": "call.initiated", "call_id": "c", "conversation_id": "v" });
    let ringing = json!({ "event_type": "call.ringing", "call_id": "c", "to_number": "+6580000001" });
    let busy = json!({ "event_type": "call.busy", "call_id": "c", "failure_reason": "$status" });
    let events = [patch("a", 0, &linked), patch("b", 1, &ringing), patch("c", 2, &busy)];
    for event in &events {
        store::apply(&updating, std::slice::from_ref(event)).await.unwrap();
    }
    let whole = events.into_iter().reduce(CallPatch::join).unwrap();
    assert_eq!(inserting.insert(&[&whole]).await, Ok(Vec::new()));
    let updated = stored(&updated).await;
    assert_eq!(updated, stored(&inserted).await);
    assert_eq!(updated[0].get_document("_call").unwrap().get_str("status").unwrap(), "busy");
}

#[tokio::test]
async fn a_document_that_changed_since_it_was_read_is_read_again() {
    let mongo = Mongo::shared().await;
    let (store, calls) = store(&mongo, "outdated").await;
    let event =
        |id: &str, kind: &str, call: &str| patch(id, 0, &json!({ "event_type": kind, "call_id": call }));
    let first = [
        event("a", "call.ringing", "c1"),
        event("b", "call.ringing", "c2"),
        event("c", "call.ringing", "c3"),
        event("c4", "call.ringing", "c4"),
        event("c5", "call.ringing", "c5"),
        event("c6", "call.ringing", "c6"),
    ];
    store::apply(&store, &first).await.unwrap();
    let keys: Vec<_> = first.iter().filter_map(Key::of).collect();
    let read = store.read(&keys).await.unwrap();
    let updates: Vec<_> = read
        .into_iter()
        .map(|stored| {
            let joined = stored.call.clone().join(event(
                "d",
                "call.busy",
                stored.call.call_id.as_ref().unwrap().as_str(),
            ));
            CallUpdate { stored, joined: Some(joined) }
        })
        .collect();
    // Meanwhile one document changes and another one is erased. A worker of an earlier version adds an event, replaces one
    // in a full history, and gives a call a second document.
    let other = doc! { "$set": { "status": "answered" }, "$inc": { "revision": 1_i64 } };
    calls.update_one(doc! { "callId": "c1" }, other).await.unwrap();
    calls.delete_one(doc! { "callId": "c2" }).await.unwrap();
    let earlier = doc! { "$push": { "history": { "eventId": "f" } }, "$set": { "status": "ended" } };
    calls.update_one(doc! { "callId": "c4" }, earlier).await.unwrap();
    let later = doc! { "$set": { "status": "ended", "updatedAt": mongodb::bson::DateTime::now() } };
    calls.update_one(doc! { "callId": "c5" }, later).await.unwrap();
    let shared = doc! { "$set": { "status": "ended", "sharedCallId": "c6" } };
    calls.update_one(doc! { "callId": "c6" }, shared).await.unwrap();
    let failures = store.update(updates).await.unwrap();
    assert_eq!(failures, (0..6).map(|n| (n, Failure::Outdated)).collect::<Vec<_>>());
    let text = |call: &Document, field: &str| call.get_str(field).unwrap().to_owned();
    let statuses: Vec<_> = stored(&calls)
        .await
        .iter()
        .map(|call| [text(call, "callId"), text(call, "status")].join(" "))
        .collect();
    assert_eq!(statuses, ["c1 answered", "c3 busy", "c4 ended", "c5 ended", "c6 ended"]);
}

#[tokio::test]
async fn large_batch_inserts_new_calls_and_updates_known_ones() {
    let mongo = Mongo::shared().await;
    let (store, calls) = store(&mongo, "large_batch").await;
    let ringing = |n: usize| {
        let body = json!({ "event_type": "call.ringing", "call_id": format!("c{n}"), "conversation_id": format!("v{n}") });
        patch(&format!("r{n}"), 0, &body)
    };
    // Two calls are known: one by its call id, the other by its conversation only, which the first query does not find.
    let half = patch("half", 0, &json!({ "event_type": "call.initiated", "conversation_id": "v1" }));
    store::apply(&store, &[ringing(0), half]).await.unwrap();
    let mut patches: Vec<_> = (0..BATCH).map(ringing).collect();
    patches[0] = patch("busy", 5, &json!({ "event_type": "call.busy", "call_id": "c0" }));
    // A patch that cannot be stored, and a patch that names only the conversation of another patch.
    let mut nul = patch("nul", 0, &json!({ "event_type": "call.busy", "call_id": "nul" }));
    nul.fields.get_mut(&Field::RawResponse).unwrap().value = json!({ "a\u{0}b": 1 });
    patches.push(nul);
    patches.push(patch("end", 9, &json!({ "event_type": "call.ended", "conversation_id": "v2" })));

    let changed = store::apply(&store, &patches).await.unwrap();
    let before = |n: usize| match &changed[n] {
        PatchResult::Applied(applied) => applied.before,
        PatchResult::Refused { .. } => None,
    };
    let known: Vec<_> = (0..patches.len()).filter(|&n| before(n).is_some()).collect();
    assert_eq!(known, [0, 1, BATCH + 1]);
    assert!(
        matches!(changed[BATCH], PatchResult::Refused { reason: Reason::UnstorablePayload, .. }),
        "{:?}",
        changed[BATCH]
    );
    assert_eq!(calls.count_documents(doc! {}).await.unwrap(), BATCH as u64);
    for (call, status, events) in
        [("c0", "busy", 2), ("c1", "ringing", 2), ("c2", "ended", 2), ("c3", "ringing", 1)]
    {
        let wanted = doc! { "callId": call, "status": status, "history": { "$size": events } };
        assert_eq!(calls.count_documents(wanted).await.unwrap(), 1, "{call}");
    }
}

#[tokio::test]
async fn history_of_a_known_call_is_bounded() {
    let mongo = Mongo::shared().await;
    let (store, calls) = store(&mongo, "bounded").await;
    let event = |n: usize| {
        let body = json!({ "event_type": "call.ringing", "call_id": "c", "conversation_id": "v" });
        patch(&format!("e{n:03}"), i64::try_from(n).unwrap(), &body)
    };
    let first = HISTORY_LIMIT - 2;
    // The last two events that fit, and the first ones that do not.
    for events in
        [0..first, first..first + 1, first + 1..first + 2, first + 2..first + 3, first + 3..first + 6]
    {
        let (end, batch) = (events.end, events.map(event).reduce(CallPatch::join).unwrap());
        store::apply(&store, &[batch]).await.unwrap();
        let call = calls.find_one(doc! { "callId": "c" }).await.unwrap().unwrap();
        let ids: Vec<_> = call.get_array("history").unwrap().iter().map(event_id).collect();
        let wanted: Vec<_> = (end.saturating_sub(HISTORY_LIMIT)..end).map(|n| format!("e{n:03}")).collect();
        assert_eq!(ids, wanted);
    }
}

fn event_id(entry: &Bson) -> String {
    entry.as_document().unwrap().get_str("eventId").unwrap().to_owned()
}
