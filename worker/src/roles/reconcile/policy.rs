//! What there is to make up for, and the event that does it. Pure.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    domain::{
        call::Status,
        event::{
            ConversationId, FIRST_CONVERSATION, INITIATION_FAILURE, PLACEMENT_VARIABLE, PlacementId,
            TRANSCRIPTION, never_connected,
        },
        reconciliation::{Reason, StoredConversation},
    },
    elevenlabs::{ConversationStatus, Summary},
};

/// 2100-01-01, Unix seconds: what is later is no begin of a conversation. Whether it lies in the future is for the
/// parser to say, who knows when the event was stored.
const LAST_BEGIN: i64 = 4_102_444_800;
/// Longest conversation, seconds.
const LONGEST: i64 = 86_400;

/// Whether, and why, a conversation of the list is asked for. `placed_since` is when the oldest
/// placement began that is still looked for.
pub fn decide(
    listed: &Summary,
    known: Option<&StoredConversation>,
    placed_since: Option<Timestamp>,
) -> Option<Reason> {
    let over = matches!(listed.status, Some(ConversationStatus::Done | ConversationStatus::Failed));
    let began_since = placed_since.is_some_and(|since| listed.began.is_none_or(|began| began >= since));
    let may_be_placed = began_since && !known.is_some_and(|known| known.has_placement);
    match known {
        None if over => Some(Reason::Untold),
        Some(known) if over && !known.status.is_some_and(Status::is_finished) => Some(Reason::Unfinished),
        // What goes on will have a webhook, and if that gets lost too, a later pass sees it over. But a
        // placement whose call goes on must not be given up.
        _ => may_be_placed.then_some(Reason::Placement),
    }
}

/// An event as the webhook would have brought it.
#[derive(Clone, Debug, PartialEq)]
pub struct Synthetic {
    /// Its type.
    pub kind: &'static str,
    /// Its body: the same for the same conversation, whenever it is made.
    pub body: Value,
}

/// The event that `conversation` (the body of the GET of `id`) should have had; `None` while it goes on.
///
/// `listed_begin` is when it began according to the list, which counts where the conversation does not say.
pub fn synthesize(
    id: &ConversationId,
    mut conversation: Map<String, Value>,
    listed_begin: Option<Timestamp>,
) -> Option<Synthetic> {
    // Whatever it says itself: it was asked for by this id.
    conversation.insert("conversation_id".to_owned(), id.as_str().into());
    let metadata = conversation.get("metadata").cloned().unwrap_or_default();
    let begin = ["start_time_unix_secs", "accepted_time_unix_secs"]
        .into_iter()
        .filter_map(|field| whole_seconds(&metadata[field]))
        .chain(listed_begin.map(Timestamp::as_second))
        .find(|second| (FIRST_CONVERSATION..LAST_BEGIN).contains(second));
    let length =
        whole_seconds(&metadata["call_duration_secs"]).filter(|length| (0..=LONGEST).contains(length));
    // Its own time: not ours, so that a second pass makes the same event. Where nobody knows it, the time of
    // storage is right.
    let at = begin.map(|begin| begin + length.unwrap_or(0));
    let phone = &metadata["phone_call"];
    let envelope = |kind: &'static str, data: Value| {
        let mut body = json!({ "type": kind, "event_timestamp": at, "data": data });
        if let (None, Some(body)) = (at, body.as_object_mut()) {
            body.shift_remove("event_timestamp");
        }
        Synthetic { kind, body }
    };
    if let Some(reason) = phone["call_result"].as_str().and_then(never_connected) {
        let twilio = phone["type"] != "sip_trunking";
        let (sid, callee) = (&phone["call_sid"], &phone["external_number"]);
        let status = if reason == "unknown" { "failed" } else { reason };
        let carrier = if twilio {
            json!({ "type": "twilio", "body": { "CallSid": sid, "To": callee, "CallStatus": status } })
        } else {
            json!({ "type": "sip", "body": { "call_sid": sid, "to_number": callee } })
        };
        let field = |name: &str| conversation.get(name).cloned().unwrap_or_default();
        return Some(envelope(
            INITIATION_FAILURE,
            json!({
                "agent_id": field("agent_id"), "conversation_id": field("conversation_id"),
                "failure_reason": reason, "metadata": carrier,
                "conversation_initiation_client_data": field("conversation_initiation_client_data"),
            }),
        ));
    }
    let status = conversation.get("status").and_then(Value::as_str);
    matches!(status, Some("done" | "failed")).then(|| envelope(TRANSCRIPTION, Value::Object(conversation)))
}

/// A number of seconds, cut to whole ones.
fn whole_seconds(value: &Value) -> Option<i64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the cast saturates, and the caller checks the range"
    )]
    value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))
}

/// The placement a conversation came from.
pub fn placement_of(conversation: &Map<String, Value>) -> Option<PlacementId> {
    let data = conversation.get("conversation_initiation_client_data")?;
    PlacementId::new(data["dynamic_variables"][PLACEMENT_VARIABLE].as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{Envelope, Origin, parse};

    fn made(conversation: Map<String, Value>) -> Option<Synthetic> {
        synthesize(&ConversationId::new("v").unwrap(), conversation, None)
    }

    #[test]
    fn every_conversation_has_its_consequence() {
        use ConversationStatus::*;
        let at = |second| Timestamp::from_second(second).unwrap();
        let known = |status, has_placement| Some(StoredConversation { status: Some(status), has_placement });
        #[rustfmt::skip]
        let table = [ // there, here, a placement is looked for, consequence
            (Some(InProgress), None,                             None,         None),
            (Some(InProgress), None,                             Some(at(50)), Some(Reason::Placement)),
            (Some(Initiated),  known(Status::Ringing, false),    Some(at(50)), Some(Reason::Placement)),
            (Some(Initiated),  known(Status::Ringing, true),     Some(at(50)), None),
            (Some(Done),       None,                             None,         Some(Reason::Untold)),
            (Some(Failed),     None,                             None,         Some(Reason::Untold)),
            (None,             None,                             None,         None),
            (Some(Done),       Some(StoredConversation::default()),           None,         Some(Reason::Unfinished)),
            (Some(Done),       known(Status::Answered, true),    None,         Some(Reason::Unfinished)),
            (Some(Done),       known(Status::Completed, false),  None,         None),
            (Some(Failed),     known(Status::Busy, false),       None,         None),
            (Some(Failed),     known(Status::Busy, false),       Some(at(50)), Some(Reason::Placement)),
            (Some(Failed),     known(Status::Busy, true),        Some(at(50)), None),
            (Some(Failed),     known(Status::Busy, false),       Some(at(150)), None),
        ];
        for (status, known, placed_since, expected) in table {
            let id = ConversationId::new("v").unwrap();
            let listed = Summary { id, status, began: Some(at(100)) };
            assert_eq!(decide(&listed, known.as_ref(), placed_since), expected, "{status:?} {known:?}");
        }
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
    fn what_is_made_up_reads_like_the_webhook() {
        #[rustfmt::skip]
        let table = [
            ("done",      "answered",  "twilio",       Status::Completed,        None),
            ("failed",    "answered",  "twilio",       Status::Failed,           Some("Call failed")),
            ("failed",    "busy",      "twilio",       Status::InitiationFailed, Some("busy")),
            ("initiated", "no_answer", "sip_trunking", Status::InitiationFailed, Some("no-answer")),
            ("failed",    "failed",    "sip_trunking", Status::InitiationFailed, Some("unknown")),
            ("failed",    "failed",    "twilio",       Status::InitiationFailed, Some("unknown: failed")),
        ];
        for (status, result, carrier, expected, reason) in table {
            let made = super::tests::made(conversation(status, result, carrier)).unwrap();
            assert_eq!(
                super::tests::made(conversation(status, result, carrier)).as_ref(),
                Some(&made),
                "always the same"
            );
            let (stored_at, origin) = ("2026-11-28T00:00:00Z".parse().unwrap(), Origin::Reconciliation);
            let envelope = Envelope::new("e", stored_at, origin);
            let event = parse(&envelope, made.body.to_string().as_bytes()).unwrap();
            assert_eq!((event.event_type, event.status), (made.kind, Some(expected)), "{status} {result}");
            assert_eq!(event.failure_reason.as_deref(), reason);
            assert_eq!(event.at.as_second(), 1_790_000_060);
            assert_eq!(event.call_id.as_ref().map(crate::domain::event::CallId::as_str), Some("c"));
            assert_eq!(event.placement_id, Some(PlacementId::new("p").unwrap()));
            assert_eq!(event.parties.to_number.as_deref(), Some("+6580000001"));
        }
        assert_eq!(made(conversation("in-progress", "", "twilio")), None);
        assert_eq!(placement_of(&conversation("done", "", "twilio")), Some(PlacementId::new("p").unwrap()));
    }

    #[test]
    fn an_event_without_a_credible_begin_has_the_time_of_its_storage() {
        let listed = Timestamp::from_second(1_790_000_000).unwrap();
        #[rustfmt::skip]
        let table = [ // start, accepted, length, by the list, the event's time
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
            let made = synthesize(&id, conversation, listed).unwrap();
            let time = made.body.get("event_timestamp").map(|at| at.as_i64().unwrap());
            assert_eq!(time, expected, "{start}");
            let stored_at = "2026-11-28T00:00:00Z".parse().unwrap();
            let envelope = Envelope::new("e", stored_at, Origin::Reconciliation);
            let event = parse(&envelope, made.body.to_string().as_bytes()).unwrap();
            assert_eq!(event.at.as_second(), expected.unwrap_or(stored_at.as_second()), "{start}");
            assert_eq!((event.time_ignored, event.conversation_id), (false, Some(id.clone())), "{start}");
        }
    }
}
