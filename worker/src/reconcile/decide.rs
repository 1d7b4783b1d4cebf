//! What there is to make up for, and the event that does it. Pure.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    call::Status,
    elevenlabs::{ConversationStatus, Summary},
    event::{INITIATION_FAILURE, PLACEMENT_VARIABLE, PlacementId, TRANSCRIPTION, never_connected},
};

/// What is stored of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Status of its call.
    pub status: Option<Status>,
    /// Whether its placement is known, for calls placed through us.
    pub has_placement: bool,
}

/// Why a conversation is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No webhook told of it.
    Untold,
    /// It is over there and not here.
    Unfinished,
    /// It may be a placement of which nobody knows what became.
    Placement,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Untold, Self::Unfinished, Self::Placement];

    /// The word in metrics and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Untold => "untold",
            Self::Unfinished => "unfinished",
            Self::Placement => "placement",
        }
    }
}

/// Whether, and why, a conversation of the list is asked for. `placed_since` is when the oldest
/// placement began that is still looked for.
pub fn decide(listed: &Summary, known: Option<&Known>, placed_since: Option<Timestamp>) -> Option<Reason> {
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

/// The event that `conversation` (the body of its GET) should have had; `None` while it goes on.
pub fn synthesize(conversation: Map<String, Value>) -> Option<Synthetic> {
    let metadata = conversation.get("metadata").cloned().unwrap_or_default();
    let begin = metadata["start_time_unix_secs"].as_i64().unwrap_or(0);
    // Its own time: not ours, so that a second pass makes the same event.
    let at = begin.saturating_add(metadata["call_duration_secs"].as_i64().unwrap_or(0));
    let phone = &metadata["phone_call"];
    let envelope = |kind: &'static str, data: Value| Synthetic {
        kind,
        body: json!({ "type": kind, "event_timestamp": at, "data": data }),
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

/// The placement a conversation came from.
pub fn placement_of(conversation: &Map<String, Value>) -> Option<PlacementId> {
    let data = conversation.get("conversation_initiation_client_data")?;
    PlacementId::new(data["dynamic_variables"][PLACEMENT_VARIABLE].as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ConversationId, Envelope, Origin, parse};

    #[test]
    fn every_conversation_has_its_consequence() {
        use ConversationStatus::*;
        let at = |second| Timestamp::from_second(second).unwrap();
        let known = |status, has_placement| Some(Known { status: Some(status), has_placement });
        #[rustfmt::skip]
        let table = [ // there, here, a placement is looked for, consequence
            (Some(InProgress), None,                             None,         None),
            (Some(InProgress), None,                             Some(at(50)), Some(Reason::Placement)),
            (Some(Initiated),  known(Status::Ringing, false),    Some(at(50)), Some(Reason::Placement)),
            (Some(Initiated),  known(Status::Ringing, true),     Some(at(50)), None),
            (Some(Done),       None,                             None,         Some(Reason::Untold)),
            (Some(Failed),     None,                             None,         Some(Reason::Untold)),
            (None,             None,                             None,         None),
            (Some(Done),       Some(Known::default()),           None,         Some(Reason::Unfinished)),
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
            let made = synthesize(conversation(status, result, carrier)).unwrap();
            assert_eq!(
                synthesize(conversation(status, result, carrier)).as_ref(),
                Some(&made),
                "always the same"
            );
            let (stored_at, origin) = (Timestamp::UNIX_EPOCH, Origin::Reconciliation);
            let envelope = Envelope { id: "e".to_owned(), stored_at, origin, signature: None };
            let event = parse(&envelope, made.body.to_string().as_bytes()).unwrap();
            assert_eq!((event.event_type, event.status), (made.kind, Some(expected)), "{status} {result}");
            assert_eq!(event.failure_reason.as_deref(), reason);
            assert_eq!(event.at.as_second(), 1_790_000_060);
            assert_eq!(event.call_id.as_ref().map(crate::event::CallId::as_str), Some("c"));
            assert_eq!(event.placement_id, Some(PlacementId::new("p").unwrap()));
            assert_eq!(event.parties.to_number.as_deref(), Some("+6580000001"));
        }
        assert_eq!(synthesize(conversation("in-progress", "", "twilio")), None);
        assert_eq!(placement_of(&conversation("done", "", "twilio")), Some(PlacementId::new("p").unwrap()));
    }
}
