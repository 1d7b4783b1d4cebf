//! The facts about a call that ElevenLabs' events state.

use serde_json::{Map, Value};

use super::{
    connection::Connection,
    payload::{PLACEMENT_VARIABLE, at_path, sip_code, whole_number},
    times::{ConversationTimes, is_over},
};
use crate::domain::{
    call::{Fact, FactValue, Facts},
    event::{
        connection::{is_inbound, set, set_direction, set_sip_code},
        parties,
    },
    text::{MAX_PARTY, MAX_REASON, MAX_SUMMARY, MAX_WORD},
};

/// A cost from here on is no real one.
const MAX_COST: i64 = 1_000_000_000_000_000;
/// The prefixes of variables that are ElevenLabs' own or secret.
const HIDDEN_VARIABLES: [&str; 2] = ["system__", "secret__"];

/// The facts in the conversation `data`, which has these `times`.
pub(super) fn of_conversation(data: &Map<String, Value>, times: &ConversationTimes) -> Facts {
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
    let connection = Connection::read(data);
    set(&mut facts, Fact::Channel, connection.channel.as_deref(), MAX_WORD);
    set_direction(&mut facts, connection.is_inbound);
    set(&mut facts, Fact::FromNumber, connection.from_number.as_deref(), MAX_PARTY);
    let dates = [
        (Fact::StartedAt, times.started_at),
        (Fact::AnsweredAt, times.answered_at),
        (Fact::EndedAt, times.ended_at()),
    ];
    facts.extend(dates.into_iter().filter_map(|(fact, time)| Some((fact, FactValue::Time(time?)))));
    let cost = at_path(data, &["metadata", "cost"]).and_then(whole_number);
    // Until the conversation is over, its cost is unknown.
    let cost = cost.filter(|cost| is_over(data) && (0..MAX_COST).contains(cost));
    let numbers = [(Fact::DurationSecs, times.duration_secs), (Fact::Cost, cost)];
    facts.extend(numbers.into_iter().filter_map(|(fact, number)| Some((fact, FactValue::Number(number?)))));
    facts
}

/// The facts in the answer of Twilio or of a SIP trunk, which ElevenLabs passes on if a call was not connected.
pub(super) fn of_failure(data: &Map<String, Value>) -> Facts {
    let mut facts = of_conversation(data, &ConversationTimes::default());
    let body = |field: &str| at_path(data, &["metadata", "body", field]);
    let channel = match at_path(data, &["metadata", "type"]).and_then(Value::as_str) {
        Some("sip") => Some("sip_trunk"),
        kind => kind,
    };
    set(&mut facts, Fact::Channel, channel, MAX_WORD);
    // ElevenLabs sends this event for outbound calls alone.
    let is_inbound = body("Direction").and_then(Value::as_str).and_then(is_inbound);
    set_direction(&mut facts, Some(is_inbound == Some(true)));
    let caller =
        ["From", "Caller", "from_number"].into_iter().find_map(|field| parties::read_number(body(field)?));
    set(&mut facts, Fact::FromNumber, caller.as_deref(), MAX_PARTY);
    let code = at_path(data, &["metadata", "body"]).and_then(Value::as_object).and_then(sip_code);
    set_sip_code(&mut facts, code.as_deref());
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
