//! Builds the webhook of a conversation.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::status::ConversationStatus;
use crate::domain::event::{
    ConversationId, ConversationTimes, FIRST_CONVERSATION, PLACEMENT_VARIABLE, PlacementId, TRANSCRIPTION,
    never_connected, read_time,
};

/// 2100-01-01 in Unix seconds. A start at or after this time is invalid. The parser checks whether a start lies in the
/// future, because only the parser knows when the event was stored.
const MAX_START: i64 = 4_102_444_800;

/// The webhook that a conversation would have had.
#[derive(Clone, Debug, PartialEq)]
pub struct MissingWebhook {
    /// Id of the event. It comes from the id of the conversation, so an event that is found in several ways counts once.
    pub id: String,
    /// Body. The same conversation always gives the same body.
    pub body: Value,
}

/// The id of the event of a conversation. `is_final`: ElevenLabs will not change the conversation any more.
pub fn event_id(conversation: &ConversationId, is_final: bool) -> String {
    let kind = if is_final { TRANSCRIPTION } else { "unconnected" };
    format!("reconciled:{}:{kind}", conversation.as_str())
}

/// Builds the webhook that `conversation` would have had. `None`: the conversation is in progress.
///
/// `conversation` is the body that ElevenLabs returns for `id`. `listed_start` is the start according to the
/// list of conversations; it is used if the conversation has no valid start.
pub fn missing_webhook(
    id: &ConversationId,
    mut conversation: Map<String, Value>,
    listed_start: Option<Timestamp>,
) -> Option<MissingWebhook> {
    let status = conversation.get("status").and_then(ConversationStatus::read);
    let is_final = status.is_some_and(ConversationStatus::is_final);
    // The status of a call that was not connected may never become final.
    if !is_final && !never_connected(&conversation) {
        return None;
    }
    // The event carries the requested id, even if the body names another id.
    conversation.insert("conversation_id".to_owned(), id.as_str().into());
    let is_possible = |at: &Timestamp| (FIRST_CONVERSATION..MAX_START).contains(&at.as_second());
    let times = ConversationTimes::read(&conversation, |value| read_time(value?).filter(is_possible));
    let start = times.began_at().or(listed_start.filter(is_possible));
    // The time of the conversation, not of the pass, so that a second pass builds the same event. Without a
    // time, the parser uses the time at which the event is stored.
    let at = start.and_then(|start| times.conclusion_after(start)).map(Timestamp::as_second);
    let mut body = json!({ "type": TRANSCRIPTION, "event_timestamp": at, "data": conversation });
    if let (None, Some(body)) = (at, body.as_object_mut()) {
        body.shift_remove("event_timestamp");
    }
    Some(MissingWebhook { id: event_id(id, is_final), body })
}

/// The placement that the conversation belongs to.
pub fn placement_of(conversation: &Map<String, Value>) -> Option<PlacementId> {
    let data = conversation.get("conversation_initiation_client_data")?;
    PlacementId::new(data["dynamic_variables"][PLACEMENT_VARIABLE].as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        call::Status,
        event::{Envelope, Origin, parse},
    };

    fn build(conversation: Map<String, Value>) -> Option<Value> {
        Some(missing_webhook(&ConversationId::new("v").unwrap(), conversation, None)?.body)
    }

    fn conversation(status: &str, call_result: &str, carrier: &str) -> Map<String, Value> {
        let conversation = json!({
            "agent_id": "a", "conversation_id": "v", "status": status, "transcript": [{ "role": "user" }],
            "metadata": { "start_time_unix_secs": 1_790_000_000, "call_duration_secs": 60, "phone_call": {
                "type": carrier, "call_sid": "c", "external_number": "+6580000001", "call_result": call_result,
            } },
            "conversation_initiation_client_data": { "dynamic_variables": { PLACEMENT_VARIABLE: "p" } },
        });
        conversation.as_object().unwrap().clone()
    }

    #[test]
    fn the_body_is_parsed_like_its_webhook() {
        #[rustfmt::skip]
        let table = [
            ("done",      "answered",  "twilio",       Status::Completed, None),
            ("failed",    "answered",  "twilio",       Status::Failed,    Some("Call failed")),
            ("failed",    "busy",      "twilio",       Status::Busy,      Some("Recipient was busy")),
            ("initiated", "no_answer", "sip_trunking", Status::NoAnswer,  Some("No answer from recipient")),
            ("failed",    "failed",    "sip_trunking", Status::Failed,    Some("Call failed")),
        ];
        for (status, result, carrier, expected, reason) in table {
            let made = build(conversation(status, result, carrier)).unwrap();
            assert_eq!(
                build(conversation(status, result, carrier)).as_ref(),
                Some(&made),
                "the same conversation gives the same event"
            );
            let (stored_at, origin) = ("2026-11-28T00:00:00Z".parse().unwrap(), Origin::Reconciliation);
            let envelope = Envelope::new("e", stored_at, origin);
            let event = parse(&envelope, made.to_string().as_bytes()).unwrap();
            assert_eq!(
                (event.event_type, event.status),
                (TRANSCRIPTION, Some(expected)),
                "{status} {result}"
            );
            assert_eq!(event.failure_reason.as_deref(), reason);
            assert_eq!(event.at.as_second(), 1_790_000_060);
            assert_eq!(event.call_id.as_ref().map(crate::domain::event::CallId::as_str), Some("c"));
            assert_eq!(event.placement_id, Some(PlacementId::new("p").unwrap()));
            assert_eq!(event.parties.to_number.as_deref(), Some("+6580000001"));
        }
        assert_eq!(build(conversation("in-progress", "", "twilio")), None);
        assert_eq!(placement_of(&conversation("done", "", "twilio")), Some(PlacementId::new("p").unwrap()));
    }

    #[test]
    fn an_event_without_a_valid_start_gets_the_time_of_its_storage() {
        let listed = Timestamp::from_second(1_790_000_000).unwrap();
        #[rustfmt::skip]
        let table = [ // start, accepted, length, start in the list, time of the event
            (json!(1_780_000_000),  json!(null),          json!(60),   Some(listed), Some(1_780_000_060)),
            (json!(1_780_000_000.7), json!(null),         json!(60.9), None,         Some(1_780_000_060)),
            (json!(0),              json!(1_780_000_000), json!(60),   Some(listed), Some(1_780_000_060)),
            (json!(null),           json!(null),          json!(60),   Some(listed), Some(1_790_000_060)),
            (json!(-5),             json!(null),          json!(60),   None,         None),
            (json!("soon"),         json!(null),          json!(60),   None,         None),
            (json!(1e18),           json!(null),          json!(60),   None,         None),
            (json!(1_780_000_000),  json!(null),          json!(-60),  None,         Some(1_780_000_000)),
            (json!(1_780_000_000),  json!(null),          json!(1e12), None,         Some(1_780_000_000)),
        ];
        let id = ConversationId::new("v").unwrap();
        for (start, accepted, length, listed, expected) in table {
            let mut conversation = conversation("done", "answered", "twilio");
            conversation["metadata"]["start_time_unix_secs"] = start.clone();
            conversation["metadata"]["accepted_time_unix_secs"] = accepted;
            conversation["metadata"]["call_duration_secs"] = length;
            conversation.insert("conversation_id".to_owned(), " ".into());
            let made = missing_webhook(&id, conversation, listed).unwrap().body;
            let time = made.get("event_timestamp").map(|at| at.as_i64().unwrap());
            assert_eq!(time, expected, "{start}");
            let stored_at = "2026-11-28T00:00:00Z".parse().unwrap();
            let envelope = Envelope::new("e", stored_at, Origin::Reconciliation);
            let event = parse(&envelope, made.to_string().as_bytes()).unwrap();
            assert_eq!(event.at.as_second(), expected.unwrap_or(stored_at.as_second()), "{start}");
            assert_eq!((event.time_ignored, event.conversation_id), (false, Some(id.clone())), "{start}");
        }
    }
}
