//! The messages of the stream `CALLS`. Pure.

use std::collections::BTreeSet;

use mongodb::bson::oid::ObjectId;
use serde_json::{Map, Value, json};

use crate::{
    broker::ordered_publish::OrderedMessage,
    domain::delivery::EventType,
    store::{CallView, Include, call_json},
};

/// Bytes of a body besides the call.
const ENVELOPE_BYTES: usize = 128;

/// The messages of a call that changed. `caused`: the events of its changes. `max_bytes`: size of the largest
/// body.
pub(super) fn of_change(
    call: &CallView,
    caused: &BTreeSet<EventType>,
    max_bytes: usize,
) -> Vec<OrderedMessage> {
    let data = call_json(call, Include::NONE);
    let transcript = data.get("transcriptState").and_then(Value::as_str);
    let has_part = |event: &EventType| match event {
        EventType::Created => true,
        EventType::Status => data.contains_key("status"),
        EventType::Outcome => data.contains_key("outcome"),
        EventType::Transcript => matches!(transcript, Some("saved" | "unavailable")),
        EventType::Erased => false,
    };
    let events: Vec<_> = caused.iter().copied().filter(has_part).collect();
    messages(call, &events, data, max_bytes)
}

/// The message of an erased call. `ids` holds the ids of the call and nothing else.
pub(super) fn of_erasure(ids: &CallView) -> Vec<OrderedMessage> {
    messages(ids, &[EventType::Erased], call_json(ids, Include::NONE), usize::MAX)
}

/// A message for each event, all with the same `data`. None if the call has no `_id` of a worker.
fn messages(
    call: &CallView,
    events: &[EventType],
    data: Map<String, Value>,
    max_bytes: usize,
) -> Vec<OrderedMessage> {
    let Some(id) = call.object_id() else { return Vec::new() };
    // The time of the change, and not the time now: a repeated message is the same message.
    let timestamp = json!(data.get("updatedAt"));
    let data = fit(data, max_bytes.saturating_sub(ENVELOPE_BYTES));
    let message = |event: EventType| OrderedMessage {
        id: message_id(id, call.revision().unwrap_or(0), event),
        event,
        body: format!(r#"{{"type":"{event}","timestamp":{timestamp},"data":{data}}}"#).into(),
    };
    events.iter().copied().map(message).collect()
}

/// The id of a message: `<document id>:<revision>:<type>`.
fn message_id(document: ObjectId, revision: i64, event: EventType) -> String {
    format!("{document}:{revision}:{}", event.as_str())
}

/// The call as at most `max_bytes` of JSON. The largest fields are left out until it fits, and named in `omitted`.
fn fit(mut data: Map<String, Value>, max_bytes: usize) -> String {
    let mut omitted = Vec::new();
    loop {
        let encoded = serde_json::to_string(&data).expect("a Map is JSON");
        if encoded.len() <= max_bytes {
            return encoded;
        }
        let size = |(_, value): &(&String, &Value)| value.to_string().len();
        let largest = data.iter().filter(|(name, _)| *name != "omitted").max_by_key(size);
        let Some(name) = largest.map(|(name, _)| name.clone()) else { return encoded };
        data.remove(&name);
        omitted.push(name);
        data.insert("omitted".to_owned(), json!(omitted));
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{DateTime, doc};

    use super::*;

    #[test]
    fn fields_that_do_not_fit_are_left_out_and_named() {
        let data = json!({
            "status": "ended", "summary": "x".repeat(500), "dynamicVariables": { "a": "y".repeat(900) },
        });
        let fitted = |max_bytes| -> Value {
            serde_json::from_str(&fit(data.as_object().unwrap().clone(), max_bytes)).unwrap()
        };
        assert_eq!(fitted(5000), data);
        assert_eq!(fitted(660)["omitted"], json!(["dynamicVariables"]));
        assert_eq!(fitted(160), json!({ "status": "ended", "omitted": ["dynamicVariables", "summary"] }));
    }

    #[test]
    fn a_body_has_type_time_and_call_within_its_limit() {
        let id = ObjectId::from_bytes([7; 12]);
        let call = CallView::new(doc! {
            "_id": id, "callId": "\"CA1", "status": "busy", "summary": "x".repeat(900), "revision": 5_i64,
            "updatedAt": DateTime::from_millis(1_790_000_000_000),
        });
        let messages = of_change(&call, &[EventType::Created, EventType::Outcome].into(), 400);
        assert_eq!(messages.len(), 1, "the call has no outcome");
        let message = &messages[0];
        assert_eq!(
            (message.event, &*message.id),
            (EventType::Created, "070707070707070707070707:5:call.created")
        );
        assert!(message.body.len() <= 400);
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        let data = json!({
            "callId": "\"CA1", "status": "busy", "updatedAt": "2026-09-21T14:13:20.000Z", "revision": 5,
            "omitted": ["summary"],
        });
        assert_eq!(
            body,
            json!({ "type": "call.created", "timestamp": "2026-09-21T14:13:20.000Z", "data": data })
        );
    }
}
