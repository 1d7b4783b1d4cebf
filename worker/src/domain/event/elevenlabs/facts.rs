//! The facts about a call that ElevenLabs' events state.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::payload::{MAX_DURATION, PLACEMENT_VARIABLE, at_path, whole_number};
use crate::domain::{
    call::{Fact, FactValue, Facts},
    event::{
        connection::{is_inbound, set, set_direction},
        parties,
        spelling::normalize,
    },
    text::{MAX_PARTY, MAX_REASON, MAX_SUMMARY, MAX_WORD},
};

/// A cost from here on is no real one.
const MAX_COST: i64 = 1_000_000_000_000_000;
/// The sources of conversations in a browser. They are one channel.
const WEB_SOURCES: [&str; 3] = ["widget", "js_sdk", "react_sdk"];
/// The prefixes of variables that are ElevenLabs' own or secret.
const HIDDEN_VARIABLES: [&str; 2] = ["system__", "secret__"];

/// The facts in the conversation `data`. `time` reads a time in Unix seconds; it gives `None` for a time that
/// cannot be right.
pub(super) fn of_conversation(
    data: &Map<String, Value>,
    time: impl Fn(Option<&Value>) -> Option<Timestamp>,
) -> Facts {
    let mut facts = Facts::new();
    let mut text = |fact: Fact, value: Option<&Value>, most: usize| {
        set(&mut facts, fact, value.and_then(Value::as_str), most);
    };
    text(Fact::AgentName, data.get("agent_name"), MAX_PARTY);
    text(Fact::TerminationReason, at_path(data, &["metadata", "termination_reason"]), MAX_REASON);
    text(Fact::Summary, at_path(data, &["analysis", "transcript_summary"]), MAX_SUMMARY);
    text(Fact::CallSuccessful, at_path(data, &["analysis", "call_successful"]), MAX_WORD);
    let batch = |path: &[&str]| at_path(data, &[&["metadata", "batch_call"], path].concat());
    text(Fact::BatchCallId, batch(&["batch_call_id"]), MAX_PARTY);
    text(Fact::BatchCallRecipientId, batch(&["batch_call_recipient_id"]), MAX_PARTY);
    text(Fact::CampaignId, batch(&["campaign", "campaign_id"]), MAX_PARTY);
    text(Fact::CampaignLeadId, batch(&["campaign", "campaign_lead_id"]), MAX_PARTY);
    connection(data, &mut facts);
    times(data, time, &mut facts);
    facts
}

/// The parts of a conversation that tell about its connection. At most one is there.
const CONNECTIONS: [&str; 3] = ["phone_call", "whatsapp", "sms"];

/// The name of the part of a conversation that tells about its connection.
fn connection_part(data: &Map<String, Value>) -> Option<&'static str> {
    CONNECTIONS.into_iter().find(|part| at_path(data, &["metadata", part]).is_some_and(Value::is_object))
}

/// The channel of a conversation.
pub fn channel(data: &Map<String, Value>) -> Option<&str> {
    let text = |path: &[&str]| at_path(data, path).and_then(Value::as_str);
    let source = text(&["metadata", "conversation_initiation_source"]);
    match connection_part(data) {
        Some("phone_call") => match text(&["metadata", "phone_call", "type"]) {
            Some("sip_trunking") => Some("sip_trunk"),
            kind => kind.or_else(|| source.and_then(channel_of_source)),
        },
        None => source.and_then(channel_of_source),
        part => part,
    }
}

/// The channel of a conversation that was begun by `source`, a word of ElevenLabs such as `widget`.
pub fn channel_of_source(source: &str) -> Option<&str> {
    match source {
        "unknown" => None,
        "twilio_sms" => Some("sms"),
        source if WEB_SOURCES.contains(&source) => Some("web"),
        source => Some(source),
    }
}

/// Direction, channel and caller of a conversation.
fn connection(data: &Map<String, Value>, facts: &mut Facts) {
    let text = |path: &[&str]| at_path(data, path).and_then(Value::as_str);
    let part = connection_part(data);
    let is_inbound = part.and_then(|part| text(&["metadata", part, "direction"])).map(is_inbound);
    let caller = if is_inbound == Some(true) { "external_number" } else { "agent_number" };
    set(facts, Fact::Channel, channel(data), MAX_WORD);
    set_direction(facts, is_inbound);
    let number = at_path(data, &["metadata", "phone_call", caller]).and_then(parties::read);
    set(facts, Fact::FromNumber, number.as_deref(), MAX_PARTY);
}

/// Begin, end, length and cost of a conversation.
fn times(data: &Map<String, Value>, time: impl Fn(Option<&Value>) -> Option<Timestamp>, facts: &mut Facts) {
    let metadata = |field: &str| at_path(data, &["metadata", field]);
    let time = |field: &str| time(metadata(field)).and_then(|at| Timestamp::from_second(at.as_second()).ok());
    let started_at = time("start_time_unix_secs");
    let duration = metadata("call_duration_secs").and_then(whole_number);
    let duration = duration.filter(|secs| (1..=MAX_DURATION).contains(secs));
    let status = data.get("status").and_then(Value::as_str).map(normalize);
    // Until the conversation is over, both are unknown.
    let is_over = !matches!(status.as_deref(), Some("initiated" | "inprogress"));
    let duration = duration.filter(|_| is_over);
    let ended_at = started_at
        .zip(duration)
        .and_then(|(start, secs)| Timestamp::from_second(start.as_second().saturating_add(secs)).ok());
    let times = [
        (Fact::StartedAt, started_at),
        (Fact::AnsweredAt, time("accepted_time_unix_secs")),
        (Fact::EndedAt, ended_at),
    ];
    facts.extend(times.into_iter().filter_map(|(fact, time)| Some((fact, FactValue::Time(time?)))));
    let cost = metadata("cost").and_then(whole_number).filter(|cost| is_over && (0..MAX_COST).contains(cost));
    let numbers = [(Fact::DurationSecs, duration), (Fact::Cost, cost)];
    facts.extend(numbers.into_iter().filter_map(|(fact, number)| Some((fact, FactValue::Number(number?)))));
}

/// The facts in the answer of Twilio or of a SIP trunk, which ElevenLabs passes on if a call was not connected.
pub(super) fn of_failure(data: &Map<String, Value>) -> Facts {
    let mut facts = of_conversation(data, |_| None);
    let body = |field: &str| at_path(data, &["metadata", "body", field]);
    let channel = match at_path(data, &["metadata", "type"]).and_then(Value::as_str) {
        Some("sip") => Some("sip_trunk"),
        kind => kind,
    };
    set(&mut facts, Fact::Channel, channel, MAX_WORD);
    // ElevenLabs sends this event for outbound calls alone.
    set_direction(&mut facts, Some(body("Direction").and_then(Value::as_str).is_some_and(is_inbound)));
    let caller = ["From", "Caller", "from_number"].into_iter().find_map(|field| parties::read(body(field)?));
    set(&mut facts, Fact::FromNumber, caller.as_deref(), MAX_PARTY);
    facts
}

/// What the caller gave the agent. `None` if that is nothing.
pub(super) fn dynamic_variables(data: &Map<String, Value>) -> Option<Value> {
    let variables =
        at_path(data, &["conversation_initiation_client_data", "dynamic_variables"])?.as_object()?;
    let is_given = |name: &str| {
        name != PLACEMENT_VARIABLE && !HIDDEN_VARIABLES.iter().any(|prefix| name.starts_with(prefix))
    };
    let given: Map<_, _> = variables
        .iter()
        .filter(|(name, value)| is_given(name) && !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    (!given.is_empty()).then_some(Value::Object(given))
}
