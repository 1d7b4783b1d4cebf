//! Makes the calls of a campaign: what ElevenLabs and Twilio report about each. Pure: the same campaign has the same
//! calls, byte for byte.

use jiff::{Timestamp, civil::Date};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    agents::{Agent, agents, filled},
    talk::{self, Talk},
};
use crate::simulator::generated::{Channel, Ending, Ids, Plan, after, shapes};

const FIRST_NAMES: [&str; 20] = [
    "Ada", "Bruno", "Chloe", "Dmitri", "Elena", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kemi", "Lars",
    "Mina", "Noah", "Olga", "Priya", "Rosa", "Samir", "Tara", "Wim",
];
const LAST_NAMES: [&str; 17] = [
    "Okafor",
    "Lindqvist",
    "Moreau",
    "Petrov",
    "Silva",
    "Haddad",
    "Whitfield",
    "Brandt",
    "Costa",
    "Weber",
    "Adeyemi",
    "Nilsen",
    "Tanaka",
    "Berger",
    "Ivanova",
    "Raman",
    "Delgado",
];
/// Area codes. The numbers 555-0100 to 555-0199 of each are reserved for fiction.
const AREAS: [u32; 8] = [202, 212, 303, 312, 415, 512, 617, 702];
const DAYS: [&str; 5] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"];
const TIMES: [&str; 6] = ["8:30", "9:15", "10:00", "11:45", "14:00", "15:30"];
const PLANS: [&str; 3] = ["Home 100", "Home 250", "Fiber"];
/// Credits for a second of conversation.
const CREDITS_PER_SECOND: i64 = 9;
/// Distances of two calls in the order of endings and of scripts: the golden ratio and the root of 2, whose multiples
/// fill the interval from 0 to 1 evenly. Each ending has its share in any number of calls.
const ENDING_STEP: f64 = 0.618_033_988_749_894_9;
const SCRIPT_STEP: f64 = 0.414_213_562_373_095;
/// Most percent by which the number of calls of two days differs.
const DAY_CHANGE: u32 = 25;

/// The calls of one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Campaign {
    /// The day, by which the calls have their ids.
    pub day: Date,
    /// Every call is over before this time.
    pub until: Timestamp,
}

/// A call of the demo.
#[derive(Clone, Debug)]
pub struct DemoCall {
    /// Id of the agent.
    pub agent: String,
    /// Id of the batch.
    pub batch: Option<String>,
    /// The number that was called, or that called.
    pub number: String,
    /// How the call ends.
    pub ending: Ending,
    /// The body of the answer to `GET /v1/convai/conversations/{id}`.
    pub conversation: Value,
    /// The entry in the list of conversations.
    pub summary: Value,
    /// Webhooks: name of the event in the binding, body.
    pub webhooks: Vec<(&'static str, Value)>,
    /// The status callbacks of Twilio.
    pub callbacks: Vec<Map<String, Value>>,
}

impl Campaign {
    /// All calls, agent by agent.
    pub fn calls(&self) -> Vec<DemoCall> {
        let agents = agents();
        agents.iter().flat_map(|agent| (0..self.count(agent)).map(|n| self.call(agent, n))).collect()
    }

    /// Number of the calls of `agent`: a few less than on its busiest day.
    fn count(&self, agent: &Agent) -> u32 {
        let hash = Sha256::digest(format!("{} {}", self.day, agent.id).as_bytes());
        agent.calls - agent.calls * (u32::from(hash[0]) % DAY_CHANGE) / 100
    }

    /// The batch of the agent `agent`: id and name.
    pub fn batch(&self, agent: &Agent) -> Option<(String, String)> {
        let day = self.day.strftime("%Y%m%d");
        let name = format!("{}, {}", agent.name, self.day.strftime("%-d %b"));
        agent.batch.as_ref().map(|batch| (format!("btcal_{batch}_{day}"), name))
    }

    /// Call number `n` of `agent`.
    fn call(&self, agent: &Agent, n: u32) -> DemoCall {
        let name = format!("{}{}n{n}", self.day.strftime("%Y%m%d"), &agent.id["agent_".len()..]);
        let hash = Sha256::digest(name.as_bytes());
        let mut rng = StdRng::from_seed(hash.into());
        let share = |step: f64| (f64::from(n) * step + f64::from(self.day.day()) * 0.37).fract();
        let values = values(&mut rng, &hash);
        let ending = agent.ending(share(ENDING_STEP));
        let talk = Talk::of(ending, agent, share(SCRIPT_STEP), &values, rng.random_range(0.0..1.0));
        let plan = self.plan(agent, n, ending, &talk, &mut rng);
        let ids = Ids {
            conversation: format!("conv_demo{name}"),
            call: Some(call_id(&plan, &hash)),
            agent: agent.id.clone(),
        };
        let batch = self.batch(agent).map(|(id, _)| id);

        let mut conversation = shapes::conversation(&plan, &ids, "");
        conversation["agent_name"] = agent.name.as_str().into();
        conversation["transcript"] = talk.turns.clone().into();
        let metadata = &mut conversation["metadata"];
        metadata["phone_call"]["phone_number_id"] = agent.number_id.as_str().into();
        if ending == Ending::Rejected {
            // Only Twilio or the trunk tells a rejected call from a busy one.
            metadata["phone_call"]["call_result"] = "failed".into();
        }
        // A conversation begins when the callee answers.
        let began = after(plan.began, if ending.connects() { plan.rings } else { 0 }).as_second();
        let duration = ending.connects().then_some(talk.seconds);
        metadata["start_time_unix_secs"] = began.into();
        metadata["call_duration_secs"] = duration.into();
        metadata["termination_reason"] = talk.termination_reason.into();
        if ending == Ending::Failed {
            metadata["error"]["reason"] = "The language model did not answer in time".into();
        }
        if let Some(batch) = &batch {
            metadata["batch_call"] = json!({ "batch_call_id": batch, "batch_call_recipient_id": format!("rcpt_{name}"), "campaign": null });
        }
        conversation["analysis"] = talk.analysis.clone();
        let mut summary = shapes::summary(&plan, &ids);
        summary["agent_name"] = agent.name.as_str().into();
        summary["start_time_unix_secs"] = began.into();
        summary["call_duration_secs"] = duration.unwrap_or(0).into();
        summary["message_count"] = talk.turns.len().into();
        summary["call_successful"] =
            talk.analysis.get("call_successful").cloned().unwrap_or("unknown".into());

        let at_agent = |value: Value| filled(value, &[(shapes::AGENT_NUMBER, agent.number.clone())]);
        let conversation = at_agent(conversation);
        let transcript =
            ending.connects().then(|| shapes::webhook(&conversation, after(plan.ended(), talk::ANALYSIS)));
        let webhooks = [
            ("transcript", transcript),
            (
                "call_initiation_failure",
                shapes::failure(&plan, &ids).map(|failure| at_agent(with_sip(failure, ending, n))),
            ),
            ("answering_machine_detection", shapes::detection(&plan, &ids)),
        ];
        let callbacks = shapes::callbacks(&plan, &ids, plan.ended()).into_iter().map(|callback| {
            let mut callback = at_agent(Value::Object(callback)).as_object().cloned().unwrap_or_default();
            finish(&mut callback, ending, n);
            callback
        });
        DemoCall {
            agent: agent.id.clone(),
            batch,
            number: shapes::other_number(&plan),
            ending,
            summary,
            webhooks: webhooks.into_iter().filter_map(|(bound_as, body)| Some((bound_as, body?))).collect(),
            callbacks: callbacks.collect(),
            conversation,
        }
    }

    fn plan(&self, agent: &Agent, n: u32, ending: Ending, talk: &Talk, rng: &mut StdRng) -> Plan {
        let rings = if agent.inbound { 0 } else { rng.random_range(5..22) };
        let rings = if ending == Ending::NoAnswer { 40 } else { rings };
        let length = ending.connects().then_some(rings + talk.seconds);
        // Calls are spread evenly, with a little disorder.
        let (first, last) = (agent.from_minutes * 60, agent.to_minutes * 60);
        let step = (first - last) / i64::from(self.count(agent).max(1));
        let before = first - i64::from(n) * step - rng.random_range(0..step.max(1));
        let area = AREAS.choose(rng).copied().unwrap_or(AREAS[0]);
        let digits = rng.random_range(100..200);
        let variables =
            talk.variables.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        let variables = variables.collect::<Map<_, _>>();
        Plan {
            channel: agent.channel(),
            is_inbound: agent.inbound,
            ending,
            status: if ending == Ending::Failed || !ending.connects() { "failed" } else { "done" },
            began: after(self.until, -before.max(last)),
            rings,
            length,
            has_start: true,
            has_accepted: ending.connects(),
            has_result: true,
            is_detected: ending == Ending::Voicemail
                && agent.channel() == Channel::Twilio
                && n.is_multiple_of(2),
            cost: ending.connects().then_some(talk.seconds * CREDITS_PER_SECOND),
            batch: None,
            campaign: None,
            variables,
            number: format!("1{area}555{digits:04}"),
            digits: n,
            is_transferred: false,
        }
    }
}

/// The values of the placeholders of one call.
fn values(rng: &mut StdRng, hash: &[u8]) -> Vec<(&'static str, String)> {
    let mut pick = |from: &[&str]| from.choose(rng).copied().unwrap_or_default().to_owned();
    let mut values =
        vec![("{first}", pick(&FIRST_NAMES)), ("{last}", pick(&LAST_NAMES)), ("{plan}", pick(&PLANS))];
    // The two days differ, and so do the two times.
    values.extend([("{day}", pick(&DAYS[..2])), ("{time}", pick(&TIMES[..3]))]);
    values.extend([("{other_day}", pick(&DAYS[2..])), ("{other_time}", pick(&TIMES[3..]))]);
    values.push(("{reference}", format!("R-{}", hex::encode_upper(&hash[..3]))));
    values
}

fn call_id(plan: &Plan, hash: &[u8]) -> String {
    let digits = hex::encode(&hash[..16]);
    match plan.channel {
        Channel::SipTrunk => {
            format!(
                "{}-{}-4{}-8{}-{}",
                &digits[..8],
                &digits[8..12],
                &digits[13..16],
                &digits[17..20],
                &digits[20..32]
            )
        }
        _ => format!("CA{digits}"),
    }
}

/// The SIP code of a call that was not connected, and its words (RFC 3261, section 21). `None`: there was no error.
fn sip(ending: Ending, n: u32) -> Option<(&'static str, &'static str)> {
    match ending {
        Ending::Busy => Some(("486", "Busy Here")),
        Ending::Rejected => Some(("603", "Decline")),
        Ending::NoAnswer => Some(("487", "Request Terminated")),
        Ending::NotConnected if n.is_multiple_of(2) => Some(("404", "Not Found")),
        Ending::NotConnected => Some(("503", "Service Unavailable")),
        Ending::Answered | Ending::Voicemail | Ending::DetectedMachine | Ending::Failed => None,
    }
}

/// The webhook `failure` with the SIP code of the call.
fn with_sip(mut failure: Value, ending: Ending, n: u32) -> Value {
    let is_trunk = failure["data"]["metadata"]["type"] == "sip";
    if ending == Ending::Rejected {
        failure["data"]["failure_reason"] = "unknown".into();
    }
    let body = &mut failure["data"]["metadata"]["body"];
    if let Some((code, words)) = sip(ending, n) {
        if is_trunk {
            body["sip_status_code"] = code.parse::<u16>().unwrap_or_default().into();
            body["error_reason"] = words.into();
            body["sip_status"] = words.into();
        } else {
            body["SipResponseCode"] = code.into();
        }
    }
    failure
}

/// Adds to the last callback of a call what Twilio knows about its end.
fn finish(callback: &mut Map<String, Value>, ending: Ending, n: u32) {
    let status = callback.get("CallStatus").and_then(Value::as_str).unwrap_or_default().to_owned();
    if matches!(status.as_str(), "busy" | "failed" | "no-answer")
        && let Some((code, _)) = sip(ending, n)
    {
        callback.insert("SipResponseCode".to_owned(), code.into());
    }
    if status == "completed" && ending == Ending::Answered {
        callback.insert("AnsweredBy".to_owned(), "human".into());
    }
}
