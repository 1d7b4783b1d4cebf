//! What ElevenLabs and Twilio send about a planned conversation.
//!
//! The conversation has the shape of the SDK's model `GetConversationResponseModel` (`elevenlabs` 2.78.0).
//! Guessed, because ElevenLabs documents neither: the payload of an answering machine detection, the spans of a
//! trace, and the state of the conversation of a call that was not connected.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::plan::{Channel, Ending, Ids, Plan, after};
use crate::simulator::conversation::transcript;

/// The number of the agent.
pub const AGENT_NUMBER: &str = "+15005550006";
/// The name of every agent.
pub const AGENT_NAME: &str = "Simulated agent";

/// The number of the other party. `WhatsApp` numbers have no `+`.
pub fn other_number(plan: &Plan) -> String {
    let plus = if plan.channel == Channel::WhatsApp { "" } else { "+" };
    format!("{plus}{}", plan.number)
}

/// Why the conversation ended, in the words of ElevenLabs.
pub fn termination_reason(plan: &Plan) -> &'static str {
    match plan.ending {
        Ending::Failed => "",
        ending if ending.connects() => "end_call tool was used",
        Ending::NoAnswer => "simulated: nobody answered",
        _ => "",
    }
}

/// The analysis of the conversation: result and summary.
pub fn analysis(plan: &Plan) -> Option<(&'static str, &'static str)> {
    match plan.ending {
        Ending::Answered => Some(("success", "Simulated conversation, no call took place.")),
        Ending::Voicemail | Ending::DetectedMachine => {
            Some(("unknown", "Simulated message to a machine, no call took place."))
        }
        Ending::Failed => Some(("failure", "Simulated failure.")),
        _ => None,
    }
}

/// The body of the answer to `GET /v1/convai/conversations/{id}`. `dialogue` chooses the turns.
pub fn conversation(plan: &Plan, ids: &Ids, dialogue: &str) -> Value {
    let has_turns = plan.status == "done" && plan.ending.connects();
    let turns = if has_turns { transcript(dialogue) } else { Vec::new() };
    let mut variables = plan.variables.clone();
    if let (Channel::Twilio, Some(sid)) = (plan.channel, &ids.call) {
        variables.insert("system__call_sid".to_owned(), sid.as_str().into());
    }
    let analysis = analysis(plan).map(|(result, summary)| {
        json!({
            "call_successful": result, "transcript_summary": summary, "call_summary_title": "Simulated",
            "evaluation_criteria_results": {}, "data_collection_results": {},
        })
    });
    json!({
        "agent_id": ids.agent, "agent_name": AGENT_NAME, "conversation_product": "agent",
        "conversation_id": ids.conversation, "status": plan.status, "user_id": null,
        "branch_id": null, "version_id": null, "environment": "production",
        "has_audio": has_turns, "has_user_audio": has_turns, "has_response_audio": has_turns,
        "has_auxiliary_audio": false, "transcript": turns, "metadata": metadata(plan, ids), "analysis": analysis,
        "user_message_count": turns.len() / 2, "agent_message_count": turns.len().div_ceil(2),
        "conversation_initiation_client_data": { "dynamic_variables": variables },
    })
}

fn metadata(plan: &Plan, ids: &Ids) -> Value {
    let failed = plan.ending == Ending::Failed;
    let batch = plan.batch.map(|batch| {
        let campaign = plan.campaign.map(|campaign| {
            json!({
                "campaign_id": format!("camp_{campaign}"), "campaign_lead_id": format!("lead_{}", plan.digits),
                "cold_attempt": 1, "conversation_type": null,
            })
        });
        json!({
            "batch_call_id": format!("btcal_{batch}"), "batch_call_recipient_id": format!("rcpt_{}", plan.digits),
            "campaign": campaign,
        })
    });
    let mut metadata = json!({
        "start_time_unix_secs": if plan.has_start { plan.began.as_second() } else { 0 },
        "accepted_time_unix_secs": plan.has_accepted.then(|| plan.began.as_second() + plan.rings),
        "call_duration_secs": plan.length.unwrap_or(0), "cost": plan.cost, "cost_fiat": null,
        "termination_reason": termination_reason(plan),
        "error": failed.then(|| json!({ "code": 1011, "reason": "simulated failure" })),
        "main_language": "en", "text_only": plan.channel == Channel::Sms, "batch_call": batch,
        "conversation_initiation_source": source(plan.channel), "phone_call": null, "whatsapp": null, "sms": null,
    });
    let direction = if plan.is_inbound { "inbound" } else { "outbound" };
    match plan.channel {
        Channel::WhatsApp => {
            metadata["whatsapp"] = json!({
                "direction": direction, "whatsapp_phone_number_id": "wapn_simulated",
                "whatsapp_user_id": other_number(plan), "call_result": call_result(plan),
            });
        }
        Channel::Sms => {
            metadata["sms"] = json!({
                "direction": direction, "phone_number_id": "phnum_simulated",
                "sms_user_phone_number": other_number(plan), "agent_phone_number": AGENT_NUMBER,
            });
        }
        Channel::Twilio | Channel::SipTrunk | Channel::Exotel => {
            metadata["phone_call"] = phone_call(plan, ids, direction);
        }
        Channel::Web | Channel::Unnamed => {}
    }
    metadata
}

fn phone_call(plan: &Plan, ids: &Ids, direction: &str) -> Value {
    let kind = match plan.channel {
        Channel::SipTrunk => "sip_trunking",
        Channel::Exotel => "exotel",
        _ => "twilio",
    };
    let mut call = json!({
        "type": kind, "direction": direction, "phone_number_id": "phnum_simulated",
        "agent_number": AGENT_NUMBER, "external_number": other_number(plan), "call_sid": ids.call,
        "call_result": call_result(plan),
    });
    if plan.channel != Channel::SipTrunk {
        call["stream_sid"] = ids.call.as_ref().map(|sid| sid.replacen("CA", "MZ", 1)).into();
    }
    call
}

fn source(channel: Channel) -> &'static str {
    match channel {
        Channel::Twilio => "twilio",
        Channel::SipTrunk => "sip_trunk",
        Channel::Exotel => "exotel",
        Channel::WhatsApp => "whatsapp",
        Channel::Sms => "twilio_sms",
        Channel::Web => "widget",
        Channel::Unnamed => "unknown",
    }
}

fn call_result(plan: &Plan) -> Option<&'static str> {
    let result = match plan.ending {
        Ending::Answered | Ending::DetectedMachine | Ending::Failed => "answered",
        Ending::Voicemail => "voicemail",
        Ending::Busy | Ending::Rejected => "busy",
        Ending::NoAnswer => "no_answer",
        Ending::NotConnected => "failed",
    };
    (plan.has_result && !plan.is_inbound).then_some(result)
}

/// The conversation while ElevenLabs makes its transcript.
pub fn in_processing(conversation: &Value) -> Value {
    let mut conversation = conversation.clone();
    conversation["status"] = "processing".into();
    conversation["transcript"] = json!([]);
    conversation["analysis"] = Value::Null;
    conversation["metadata"]["cost"] = Value::Null;
    conversation
}

/// The entry in the list of conversations, which has neither a telephony id nor a number. It has a begin even
/// if the conversation has none.
pub fn summary(plan: &Plan, ids: &Ids) -> Value {
    let direction = if plan.is_inbound { "inbound" } else { "outbound" };
    json!({
        "agent_id": ids.agent, "agent_name": AGENT_NAME, "conversation_id": ids.conversation,
        "status": plan.status, "start_time_unix_secs": plan.began.as_second(),
        "call_duration_secs": plan.length.unwrap_or(0), "message_count": 5,
        "call_successful": analysis(plan).map_or("unknown", |(result, _)| result), "direction": direction,
        "termination_reason": termination_reason(plan), "transcript_summary": null, "call_summary_title": null,
        "conversation_initiation_source": source(plan.channel),
    })
}

/// The webhook of the conversation, sent at `at`.
pub fn webhook(conversation: &Value, at: Timestamp) -> Value {
    json!({ "type": "post_call_transcription", "event_timestamp": at.as_second(), "data": conversation })
}

/// The webhook of the conversation in the format `opentelemetry`.
pub fn trace(conversation: &Value, at: Timestamp) -> Value {
    let span = json!({ "traceId": "00000000000000000000000000000001", "spanId": "0000000000000001",
        "name": "conversation", "kind": 1, "attributes": [] });
    let spans = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] });
    json!({ "type": "post_call_transcription_otel", "event_timestamp": at.as_second(), "data": {
        "agent_id": conversation["agent_id"], "conversation_id": conversation["conversation_id"],
        "otlp_traces": spans,
    } })
}

/// The webhook of a telephone call that was not connected. `None`: the call has none. ElevenLabs documents it for
/// calls by Twilio and by a SIP trunk.
pub fn failure(plan: &Plan, ids: &Ids) -> Option<Value> {
    if plan.ending.connects() || !matches!(plan.channel, Channel::Twilio | Channel::SipTrunk) {
        return None;
    }
    let metadata = if plan.channel == Channel::Twilio {
        json!({ "type": "twilio", "body": callback(plan, ids, twilio_status(plan), 2, after(plan.began, plan.rings)) })
    } else {
        json!({ "type": "sip", "body": {
            "from_number": AGENT_NUMBER, "to_number": other_number(plan), "call_sid": ids.call,
            "sip_status_code": match plan.ending { Ending::Busy => 486, Ending::NoAnswer => 480, _ => 503 },
            "error_reason": "simulated: the trunk did not connect", "sip_status": "simulated",
        } })
    };
    let reason = match plan.ending {
        Ending::Busy | Ending::Rejected => "busy",
        Ending::NoAnswer => "no-answer",
        _ => "unknown",
    };
    let at = after(plan.ended(), 7).as_second();
    Some(json!({ "type": "call_initiation_failure", "event_timestamp": at, "data": {
        "agent_id": ids.agent, "conversation_id": ids.conversation, "failure_reason": reason, "metadata": metadata,
    } }))
}

/// The webhook of the answering machine detection. It arrives during the call, or after its end.
pub fn detection(plan: &Plan, ids: &Ids) -> Option<Value> {
    let at = if plan.digits.is_multiple_of(2) {
        after(plan.began, plan.rings + 3)
    } else {
        after(plan.ended(), 2)
    };
    plan.is_detected.then(|| {
        json!({ "type": "answering_machine_detection", "event_timestamp": at.as_second(), "data": {
            "agent_id": ids.agent, "conversation_id": ids.conversation, "call_sid": ids.call,
            "answered_by": "machine_end_beep",
        } })
    })
}

/// A webhook of another product of ElevenLabs, which concerns no call.
pub fn foreign(n: u32) -> Value {
    let kinds = ["voice_removal_notice", "speech_to_text_transcription", "flows_generation"];
    json!({ "type": kinds[n as usize % kinds.len()], "event_timestamp": Timestamp::now().as_second(),
        "data": { "request_id": format!("simulated_{n}") } })
}

/// The status callbacks of Twilio until `ended`, the end of the last conversation of the telephone call. Empty
/// for other channels.
pub fn callbacks(plan: &Plan, ids: &Ids, ended: Timestamp) -> Vec<Map<String, Value>> {
    if plan.channel != Channel::Twilio {
        return Vec::new();
    }
    let rings = if plan.is_inbound { "ringing" } else { "initiated" };
    let mut callbacks = vec![callback(plan, ids, rings, 0, plan.began)];
    let answered = after(plan.began, plan.rings);
    if plan.ending.connects() {
        callbacks.push(callback(plan, ids, "in-progress", 2, answered));
        let mut last = callback(plan, ids, "completed", 3, ended);
        if plan.is_detected {
            last.insert("AnsweredBy".to_owned(), "machine_end_beep".into());
        }
        callbacks.push(last);
    } else {
        callbacks.push(callback(plan, ids, "ringing", 1, after(plan.began, 2)));
        callbacks.push(callback(plan, ids, twilio_status(plan), 2, answered));
    }
    callbacks
}

fn twilio_status(plan: &Plan) -> &'static str {
    match plan.ending {
        Ending::Busy | Ending::Rejected => "busy",
        Ending::NoAnswer => "no-answer",
        Ending::NotConnected => "failed",
        _ => "completed",
    }
}

fn callback(plan: &Plan, ids: &Ids, status: &str, n: u32, at: Timestamp) -> Map<String, Value> {
    let timestamp = jiff::fmt::rfc2822::to_string(&at.to_zoned(jiff::tz::TimeZone::UTC));
    let (agent, other) = (AGENT_NUMBER.to_owned(), other_number(plan));
    let (from, to) = if plan.is_inbound { (other, agent) } else { (agent, other) };
    let code = match plan.ending {
        Ending::Rejected => Some("603"),
        Ending::NotConnected => Some("503"),
        _ => None,
    };
    let code = code.filter(|_| matches!(status, "busy" | "failed"));
    let mut parameters = Map::new();
    for (name, value) in [
        ("AccountSid", "AC00000000000000000000000000000001".to_owned()),
        ("ApiVersion", "2010-04-01".to_owned()),
        ("CallSid", ids.call.clone().unwrap_or_default()),
        ("CallStatus", status.to_owned()),
        ("CallbackSource", "call-progress-events".to_owned()),
        ("Direction", if plan.is_inbound { "inbound" } else { "outbound-api" }.to_owned()),
        ("From", from.clone()),
        ("Caller", from),
        ("To", to.clone()),
        ("Called", to),
        ("SequenceNumber", n.to_string()),
        ("Timestamp", timestamp.unwrap_or_default()),
    ] {
        parameters.insert(name.to_owned(), value.into());
    }
    if let Some(code) = code {
        parameters.insert("SipResponseCode".to_owned(), code.into());
    }
    parameters
}
