//! The worker inserts unknown calls as whole documents and updates known calls by statements. Both ways must
//! give the same documents.

use aftercall_worker::{
    Config, Metrics,
    domain::{
        call::{CallPatch, Field, HISTORY_LIMIT, Placement},
        event::{self, Envelope, Origin, PlacementId, Provider},
        reason::Reason,
    },
    store::{self, Calls as _, Store, Written},
};
use futures_util::TryStreamExt as _;
use mongodb::{
    Collection,
    bson::{Bson, Document, RawDocumentBuf, doc},
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use crate::harness::Mongo;

/// Calls of a batch that is large enough for the worker to ask which calls are unknown.
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

/// All documents and their bytes in the order of the call ids, without `_id`.
async fn stored(calls: &Collection<Document>) -> Vec<(Document, Vec<u8>)> {
    let found = calls
        .find(doc! {})
        .sort(doc! { "callId": 1 })
        .projection(doc! { "_id": 0, "revision": 0 })
        .await
        .unwrap();
    let found: Vec<Document> = found.try_collect().await.unwrap();
    found
        .into_iter()
        .map(|call| (call.clone(), RawDocumentBuf::try_from(&call).unwrap().into_bytes()))
        .collect()
}

#[tokio::test]
async fn inserted_document_equals_the_document_of_an_update() {
    let mongo = Mongo::shared().await;
    let (inserting, inserted) = store(&mongo, "inserted").await;
    let (joining, joined) = store(&mongo, "joined").await;
    let patches = patches();
    let patches: Vec<_> = patches.iter().collect();
    assert_eq!(inserting.insert(&patches).await, Ok(Vec::new()));
    assert_eq!(joining.update(&patches).await, Ok(Vec::new()));
    let (inserted_first, joined_first) = (stored(&inserted).await, stored(&joined).await);
    assert_eq!(inserted_first.len(), patches.len());
    for (ours, theirs) in inserted_first.iter().zip(&joined_first) {
        assert_eq!(ours, theirs);
    }
    // Repeated patches change nothing. Further patches change both collections in the same way.
    assert_eq!(inserting.update(&patches).await, Ok(Vec::new()));
    assert_eq!(stored(&inserted).await, inserted_first);
    let follows: Vec<_> = ["c1", "c2", "c3", "$$ROOT", "c5", "c6", "c7", "c8", "c9"]
        .iter()
        .map(|call| {
            patch(&format!("f-{call}"), 60, &json!({ "event_type": "call.rejected", "call_id": call }))
        })
        .collect();
    let follows: Vec<_> = follows.iter().collect();
    assert_eq!(inserting.update(&follows).await, Ok(Vec::new()));
    assert_eq!(joining.update(&follows).await, Ok(Vec::new()));
    assert_eq!(stored(&inserted).await, stored(&joined).await);
}

#[tokio::test]
async fn large_batch_inserts_new_calls_and_updates_known_ones() {
    let mongo = Mongo::shared().await;
    let (store, calls) = store(&mongo, "large_batch").await;
    let ringing = |n: usize| {
        let body = json!({ "event_type": "call.ringing", "call_id": format!("c{n}"), "conversation_id": format!("v{n}") });
        patch(&format!("r{n}"), 0, &body)
    };
    // Two calls are known: one by its call id, the other by its conversation only, which a query for call ids
    // does not find.
    let half = patch("half", 0, &json!({ "event_type": "call.initiated", "conversation_id": "v1" }));
    store::write(&store, &[ringing(0), half]).await.unwrap();
    let mut patches: Vec<_> = (0..BATCH).map(ringing).collect();
    patches[0] = patch("busy", 5, &json!({ "event_type": "call.busy", "call_id": "c0" }));
    // A patch that cannot be stored, and a patch that names only the conversation of another patch.
    let mut nul = patch("nul", 0, &json!({ "event_type": "call.busy", "call_id": "nul" }));
    nul.fields.get_mut(&Field::RawResponse).unwrap().value = json!({ "a\u{0}b": 1 });
    patches.push(nul);
    patches.push(patch("end", 9, &json!({ "event_type": "call.ended", "conversation_id": "v2" })));

    let written = store::write(&store, &patches).await.unwrap();
    let joined: Vec<_> = (0..patches.len()).filter(|&n| written[n] == Written::Joined).collect();
    assert_eq!(joined, [0, 1, BATCH + 1]);
    assert!(matches!(written[BATCH], Written::Refused(Reason::UnstorablePayload, _)), "{:?}", written[BATCH]);
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
        assert_eq!(store.update(&[&batch]).await, Ok(Vec::new()));
        let call = calls.find_one(doc! { "callId": "c" }).await.unwrap().unwrap();
        let ids: Vec<_> = call.get_array("history").unwrap().iter().map(event_id).collect();
        let wanted: Vec<_> = (end.saturating_sub(HISTORY_LIMIT)..end).map(|n| format!("e{n:03}")).collect();
        assert_eq!(ids, wanted);
    }
}

fn event_id(entry: &Bson) -> String {
    entry.as_document().unwrap().get_str("eventId").unwrap().to_owned()
}
