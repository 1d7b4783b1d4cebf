//! Generated conversations of every channel and every ending: what ElevenLabs and Twilio send about each, and
//! what its document must say.
//!
//! Pure. The same seed, number and time give the same conversation. `label` only changes its ids, so that the
//! same conversation can be stored several times.

mod plan;
pub(super) mod shapes;
mod truth;

use jiff::Timestamp;
use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::{Map, Value};

pub(super) use self::plan::after;
pub(super) use self::shapes::{foreign, trace};
use self::truth::{facts, outcome, reason, sip_code, status};
pub use self::{
    plan::{Channel, Ending, Ids, Plan},
    truth::Evidence,
};

/// Seconds from the end of a conversation to its webhook.
const ANALYSIS: i64 = 20;

/// A generated conversation.
#[derive(Clone, Debug)]
pub struct Generated {
    /// What happened.
    pub plan: Plan,
    /// Its ids.
    pub ids: Ids,
    /// The body of the answer to `GET /v1/convai/conversations/{id}`.
    pub conversation: Value,
    /// The status callbacks of Twilio. They name the telephone call alone. The first conversation of a call has
    /// all of them.
    pub callbacks: Vec<Map<String, Value>>,
    /// Whether the telephone call has another conversation.
    pub is_shared: bool,
    /// Whether Twilio sends callbacks of the telephone call.
    pub has_callbacks: bool,
}

/// Generates conversation number `n`, and the second conversation of its telephone call if there is one.
pub fn generate(seed: u64, n: u32, label: u32, now: Timestamp) -> Vec<Generated> {
    build(seed, n, &format!("conv_gen{label:x}"), label, now)
}

/// As [`generate`], with ids from which [`of_id`] generates the conversations again. `now` counts in whole
/// seconds.
pub fn sent(seed: u32, n: u32, now: Timestamp) -> Vec<Generated> {
    let second = now.as_second();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the ids of calls only have to differ"
    )]
    let label = seed ^ second as u32;
    build(seed.into(), n, &sent_prefix(seed, now), label, plan::after(now, 0))
}

/// The beginning of the ids that [`sent`] gives.
pub fn sent_prefix(seed: u32, now: Timestamp) -> String {
    format!("conv_sent{seed:x}t{:x}", now.as_second())
}

/// The conversation with an id that [`sent`] gave. `None`: another id.
pub fn of_id(id: &str) -> Option<Generated> {
    let (seed, rest) = id.strip_prefix("conv_sent")?.split_once('t')?;
    let (second, rest) = rest.split_once('n')?;
    let (n, part) = rest.split_once('p')?;
    let now = Timestamp::from_second(i64::from_str_radix(second, 16).ok()?).ok()?;
    let all = sent(u32::from_str_radix(seed, 16).ok()?, n.parse().ok()?, now);
    all.into_iter().nth(part.parse().ok()?)
}

fn build(seed: u64, n: u32, prefix: &str, label: u32, now: Timestamp) -> Vec<Generated> {
    let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(n.into()));
    let plan = Plan::draw(&mut rng, now);
    let second = plan.is_transferred.then(|| plan.continued(&mut rng));
    let ended = second.as_ref().map_or(plan.ended(), Plan::ended);
    let call = match plan.channel {
        Channel::Twilio | Channel::Exotel => Some(format!("CA{label:08x}{n:024x}")),
        Channel::SipTrunk => Some(format!("{label:08x}-0000-4000-8000-{n:012x}")),
        _ => None,
    };
    let is_shared = second.is_some();
    let conversations = std::iter::once(plan).chain(second).enumerate().map(|(part, plan)| {
        let ids = Ids {
            conversation: format!("{prefix}n{n}p{part}"),
            call: call.clone(),
            agent: format!("agent_{}", n % 3),
        };
        let conversation = shapes::conversation(&plan, &ids, &format!("{seed}:{n}:{part}"));
        let callbacks = if part == 0 { shapes::callbacks(&plan, &ids, ended) } else { Vec::new() };
        let has_callbacks = plan.channel == Channel::Twilio;
        Generated { plan, ids, conversation, callbacks, is_shared, has_callbacks }
    });
    conversations.collect()
}

impl Generated {
    /// The conversation while ElevenLabs makes its transcript. `None`: there is no such state, because nobody
    /// spoke.
    pub fn in_processing(&self) -> Option<Value> {
        self.plan.ending.connects().then(|| shapes::in_processing(&self.conversation))
    }

    /// The entry in the list of conversations.
    pub fn summary(&self) -> Value {
        shapes::summary(&self.plan, &self.ids)
    }

    /// The webhook of the conversation.
    pub fn webhook(&self) -> Value {
        shapes::webhook(&self.conversation, after(self.plan.ended(), ANALYSIS))
    }

    /// The webhook of the conversation with the setting `exclude_transcript`.
    pub fn webhook_without_turns(&self) -> Value {
        let mut webhook = self.webhook();
        webhook["data"]["transcript"] = Value::Array(Vec::new());
        webhook
    }

    /// The webhook of the conversation in the format `opentelemetry`. ElevenLabs sends none for a call that was
    /// not connected.
    pub fn trace(&self) -> Option<Value> {
        let at = after(self.plan.ended(), ANALYSIS + 1);
        self.plan.ending.connects().then(|| shapes::trace(&self.conversation, at))
    }

    /// The webhook of a telephone call that was not connected. `None`: the call has none.
    pub fn failure(&self) -> Option<Value> {
        shapes::failure(&self.plan, &self.ids)
    }

    /// The webhook of the answering machine detection. `None`: the call has none.
    pub fn detection(&self) -> Option<Value> {
        shapes::detection(&self.plan, &self.ids)
    }

    /// The status of the document, if `evidence` arrived beside the conversation.
    pub fn status(&self, evidence: Evidence) -> &'static str {
        status(&self.plan, self.existing(evidence))
    }

    /// The outcome in the document, if `evidence` arrived beside the conversation.
    pub fn outcome(&self, evidence: Evidence) -> &'static str {
        outcome(&self.plan, self.existing(evidence))
    }

    /// Why the call failed, if its status is a failure.
    pub fn reason(&self, evidence: Evidence) -> Option<&'static str> {
        reason(&self.plan, self.existing(evidence))
    }

    /// The SIP response code in the document, if `evidence` arrived beside the conversation.
    pub fn sip_code(&self, evidence: Evidence) -> Option<&'static str> {
        sip_code(&self.plan, self.existing(evidence))
    }

    /// Every fact that the document must have. Dates are Unix seconds. Null: the field must be absent.
    pub fn facts(&self) -> Map<String, Value> {
        facts(&self.plan, &self.ids)
    }

    /// The part of `evidence` that exists for this conversation.
    fn existing(&self, evidence: Evidence) -> Evidence {
        Evidence {
            callbacks: evidence.callbacks && self.has_callbacks,
            failure: evidence.failure && self.failure().is_some(),
            detection: evidence.detection && self.plan.is_detected,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_few_hundred_conversations_cover_every_channel_and_every_ending() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let all: Vec<_> = (0..400).flat_map(|n| generate(1, n, 0, now)).collect();
        let kinds = |kind: fn(&Generated) -> String| all.iter().map(kind).collect::<BTreeSet<_>>().len();
        assert_eq!(kinds(|one| format!("{:?}", one.plan.channel)), 7);
        assert_eq!(kinds(|one| format!("{:?}", one.plan.ending)), 8);
        assert_eq!(kinds(|one| one.plan.status.to_owned()), 3);
        assert!(all.iter().any(|one| one.is_shared) && all.iter().any(|one| !one.plan.has_start));
        assert_eq!(kinds(|one| one.ids.conversation.clone()), all.len());
    }

    #[test]
    fn a_sent_conversation_is_generated_again_from_its_id() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        for one in (0..50).flat_map(|n| sent(7, n, now)) {
            assert_eq!(of_id(&one.ids.conversation).unwrap().conversation, one.conversation);
        }
        assert!(of_id("conv_sent7").is_none() && of_id("conv_1").is_none());
    }

    #[test]
    fn the_label_changes_ids_alone() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        for n in 0..50 {
            let same = |label: u32| {
                let text = format!("{:?}", generate(7, n, label, now));
                text.replace(&format!("gen{label:x}n"), "genn").replace(&format!("{label:08x}"), "")
            };
            assert_eq!(same(0xab01), same(0xab02));
        }
    }
}
