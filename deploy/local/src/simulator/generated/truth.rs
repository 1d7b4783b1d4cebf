//! What the document of a generated conversation must say. Follows from the plan, not from the worker's code.

use serde_json::{Map, Value, json};

use super::{
    plan::{Channel, Ending, Ids, Plan, after},
    shapes::{AGENT_NAME, AGENT_NUMBER, analysis, other_number, termination_reason},
};

/// What the worker has received about a call, beside its conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Twilio's callbacks.
    pub callbacks: bool,
    /// The webhook of a call that was not connected.
    pub failure: bool,
    /// The webhook of the answering machine detection.
    pub detection: bool,
}

/// The status that follows from the conversation and from `evidence`.
pub fn status(plan: &Plan, evidence: Evidence) -> &'static str {
    match plan.ending {
        Ending::Answered | Ending::Voicemail | Ending::DetectedMachine if evidence.callbacks => "ended",
        Ending::Answered | Ending::Voicemail | Ending::DetectedMachine => "completed",
        // Twilio says `rejected`, and the conversation `busy`. The later of the two counts: a conversation
        // without a length ends when it begins.
        Ending::Rejected if evidence.callbacks && plan.length.is_none() => "rejected",
        Ending::Busy | Ending::Rejected => "busy",
        Ending::NoAnswer => "no_answer",
        Ending::NotConnected if evidence.failure => "initiation_failed",
        Ending::NotConnected | Ending::Failed => "failed",
    }
}

/// The outcome that follows from the conversation and from `evidence`.
pub fn outcome(plan: &Plan, evidence: Evidence) -> &'static str {
    match plan.ending {
        Ending::DetectedMachine if evidence.callbacks || evidence.detection => "voicemail",
        Ending::Answered | Ending::DetectedMachine => "answered",
        Ending::Voicemail => "voicemail",
        Ending::Rejected if evidence.callbacks || evidence.failure => "rejected",
        Ending::Busy | Ending::Rejected => "busy",
        Ending::NoAnswer => "no_answer",
        Ending::NotConnected | Ending::Failed => "failed",
    }
}

/// The reason of the failure, if the status is one and Twilio's callbacks are not known.
pub fn reason(plan: &Plan, evidence: Evidence) -> Option<&'static str> {
    Some(match plan.ending {
        Ending::Answered | Ending::Voicemail | Ending::DetectedMachine => return None,
        Ending::Failed => "simulated failure",
        Ending::NoAnswer => termination_reason(plan),
        Ending::Busy | Ending::Rejected => "Recipient was busy",
        Ending::NotConnected if evidence.failure && plan.channel == Channel::Twilio => {
            "unknown: Service Unavailable (SIP 503)"
        }
        Ending::NotConnected if evidence.failure => "unknown: simulated: the trunk did not connect (SIP 503)",
        Ending::NotConnected => "Call failed",
    })
}

/// The SIP response code with which the call failed, if `evidence` has one.
pub fn sip_code(plan: &Plan, evidence: Evidence) -> Option<&'static str> {
    let is_known = match plan.channel {
        Channel::Twilio => evidence.callbacks || evidence.failure,
        Channel::SipTrunk => evidence.failure,
        _ => false,
    };
    let is_trunk = plan.channel == Channel::SipTrunk;
    Some(match plan.ending {
        _ if !is_known => return None,
        Ending::Busy if is_trunk => "486",
        Ending::NoAnswer if is_trunk => "480",
        Ending::Rejected if !is_trunk => "603",
        Ending::Rejected | Ending::NotConnected => "503",
        _ => return None,
    })
}

/// Every fact that the conversation states. Dates are Unix seconds. Null: the field must be absent.
pub fn facts(plan: &Plan, ids: &Ids) -> Map<String, Value> {
    let time = |known: bool, at: jiff::Timestamp| known.then(|| at.as_second());
    let (has_parties, other) = (!matches!(plan.channel, Channel::Web | Channel::Unnamed), other_number(plan));
    let agent = (plan.channel != Channel::WhatsApp).then(|| AGENT_NUMBER.to_owned());
    let (from, to) = if plan.is_inbound { (Some(other), agent) } else { (agent, Some(other)) };
    let direction = if plan.is_inbound { "inbound" } else { "outbound" };
    let number_id = if plan.channel == Channel::WhatsApp { "wapn_simulated" } else { "phnum_simulated" };
    let reason = Some(termination_reason(plan)).filter(|reason| !reason.is_empty());
    let mut variables = plan.variables.clone();
    variables.retain(|name, value| !name.contains("__") && !value.is_null());
    let facts = json!({
        "conversationId": ids.conversation, "agentId": ids.agent, "agentName": AGENT_NAME,
        "channel": channel(plan.channel), "direction": has_parties.then_some(direction),
        "fromNumber": from.filter(|_| has_parties), "toNumber": to.filter(|_| has_parties),
        "agentPhoneNumberId": has_parties.then_some(number_id),
        "startedAt": time(plan.has_start, plan.began),
        "answeredAt": time(plan.has_accepted, after(plan.began, plan.rings)),
        "endedAt": plan.length.and_then(|length| time(plan.has_start, after(plan.began, length))),
        "durationSecs": plan.length, "cost": plan.cost, "terminationReason": reason,
        "callSuccessful": analysis(plan).map(|(result, _)| result), "summary": analysis(plan).map(|(_, text)| text),
        "batchCallId": plan.batch.map(|batch| format!("btcal_{batch}")),
        "batchCallRecipientId": plan.batch.map(|_| format!("rcpt_{}", plan.digits)),
        "campaignId": plan.campaign.map(|campaign| format!("camp_{campaign}")),
        "campaignLeadId": plan.campaign.map(|_| format!("lead_{}", plan.digits)),
        "dynamicVariables": (!variables.is_empty()).then_some(variables),
    });
    facts.as_object().cloned().unwrap_or_default()
}

fn channel(channel: Channel) -> Option<&'static str> {
    Some(match channel {
        Channel::Twilio => "twilio",
        Channel::SipTrunk => "sip_trunk",
        Channel::Exotel => "exotel",
        Channel::WhatsApp => "whatsapp",
        Channel::Sms => "sms",
        Channel::Web => "web",
        Channel::Unnamed => return None,
    })
}
