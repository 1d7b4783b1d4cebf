//! Draws what happens in a conversation. Pure.

use jiff::Timestamp;
use rand::{Rng, RngExt as _, seq::IndexedRandom as _};
use serde_json::{Map, Value, json};

/// The channel of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// A telephone call by Twilio.
    Twilio,
    /// A telephone call by a SIP trunk.
    SipTrunk,
    /// A telephone call by Exotel.
    Exotel,
    /// A call or messages by `WhatsApp`.
    WhatsApp,
    /// Text messages.
    Sms,
    /// A browser.
    Web,
    /// The conversation does not say it.
    Unnamed,
}

impl Channel {
    const ALL: [Self; 7] =
        [Self::Twilio, Self::SipTrunk, Self::Exotel, Self::WhatsApp, Self::Sms, Self::Web, Self::Unnamed];
}

/// How a conversation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A person talked to the agent.
    Answered,
    /// A machine answered, by the result of the call.
    Voicemail,
    /// A machine answered. Only the answering machine detection says so.
    DetectedMachine,
    /// The line was busy.
    Busy,
    /// The callee rejected the call. The result of the call is `busy`, with the SIP code 603.
    Rejected,
    /// Nobody answered.
    NoAnswer,
    /// The call failed before it was connected.
    NotConnected,
    /// The conversation failed.
    Failed,
}

impl Ending {
    /// Whether somebody or something answered.
    pub fn connects(self) -> bool {
        matches!(self, Self::Answered | Self::Voicemail | Self::DetectedMachine | Self::Failed)
    }
}

/// The ids of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Id of the conversation.
    pub conversation: String,
    /// Id of the telephone call. `None`: there is no telephone call.
    pub call: Option<String>,
    /// Id of the agent.
    pub agent: String,
}

/// What happens in one conversation.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each says one thing, independently of the others")]
pub struct Plan {
    /// The channel.
    pub channel: Channel,
    /// Whether the agent was called.
    pub is_inbound: bool,
    /// How the conversation ends.
    pub ending: Ending,
    /// The final state of the conversation, in ElevenLabs' words. A call that was not connected may stay
    /// `initiated`.
    pub status: &'static str,
    /// When the conversation began.
    pub began: Timestamp,
    /// Seconds until the callee answers, or until the caller gives up.
    pub rings: i64,
    /// Length in seconds, if the conversation says it.
    pub length: Option<i64>,
    /// Whether the conversation says when it began.
    pub has_start: bool,
    /// Whether the conversation says when the callee answered.
    pub has_accepted: bool,
    /// Whether the conversation says the result of its call.
    pub has_result: bool,
    /// Whether the answering machine detection was on.
    pub is_detected: bool,
    /// Credits.
    pub cost: Option<i64>,
    /// Number of the batch, if the call belongs to one.
    pub batch: Option<u32>,
    /// Number of the campaign, if the call belongs to one. It then belongs to a batch too.
    pub campaign: Option<u32>,
    /// The variables that the caller gave, ElevenLabs' own and secret ones included.
    pub variables: Map<String, Value>,
    /// The digits of the other party's number, with the code of the country.
    pub number: String,
    /// A number of the conversation among others, for ids.
    pub digits: u32,
    /// Whether a second conversation on the same telephone call follows.
    pub is_transferred: bool,
}

/// Age of a conversation that stays `initiated`, in seconds: longer than a call can last.
const STUCK: i64 = 3 * 3600;

impl Plan {
    /// Draws a conversation that ended before `now`.
    pub fn draw(rng: &mut impl Rng, now: Timestamp) -> Self {
        let channel = *Channel::ALL.choose(rng).unwrap_or(&Channel::Twilio);
        // Most conversations are calls by Twilio.
        let channel = if rng.random_bool(0.3) { Channel::Twilio } else { channel };
        let is_inbound = rng.random_bool(0.3);
        let ending = ending(rng, channel, is_inbound);
        let stays_initiated = !ending.connects() && rng.random_bool(0.15);
        let status = match ending {
            Ending::Failed => "failed",
            ending if ending.connects() => "done",
            _ if stays_initiated => "initiated",
            // It is not known which of the two ElevenLabs gives.
            _ => ["failed", "done"][rng.random_range(0..2)],
        };
        let age = if stays_initiated { STUCK } else { 1200 } + rng.random_range(0..3600);
        let rings = rng.random_range(3..25);
        let length = if ending.connects() { rings + rng.random_range(5..300) } else { rings + 3 };
        // A conversation without a begin is only one among others whose status its begin does not decide.
        let has_start = !ending.connects() || rng.random_bool(0.9);
        let batch = (!is_inbound && rng.random_bool(0.3)).then(|| rng.random_range(0..5));
        let plan = Self {
            channel,
            is_inbound,
            ending,
            status,
            began: Timestamp::from_second(now.as_second() - age).unwrap_or(now),
            rings,
            length: (ending.connects() || rng.random_bool(0.5)).then_some(length),
            has_start,
            has_accepted: ending.connects() && rng.random_bool(0.8),
            has_result: !matches!(ending, Ending::Answered | Ending::Failed) || rng.random_bool(0.7),
            is_detected: ending == Ending::DetectedMachine
                || (ending == Ending::Voicemail && has_start && rng.random_bool(0.5)),
            cost: rng.random_bool(0.8).then(|| rng.random_range(0..2000)),
            batch,
            campaign: batch.filter(|_| rng.random_bool(0.4)),
            variables: variables(rng),
            number: String::new(),
            digits: rng.random_range(0..10_000_000),
            is_transferred: channel == Channel::Twilio
                && ending == Ending::Answered
                && has_start
                && rng.random_bool(0.15),
        };
        Self { number: format!("658{:07}", plan.digits), ..plan }
    }

    /// The second conversation of the telephone call of this one.
    #[must_use]
    pub fn continued(&self, rng: &mut impl Rng) -> Self {
        let length = rng.random_range(5..300);
        Self {
            began: after(self.began, self.length.unwrap_or(0) + 1),
            rings: 0,
            length: Some(length),
            has_accepted: true,
            is_transferred: false,
            batch: None,
            campaign: None,
            ..self.clone()
        }
    }

    /// When the telephone call was over.
    pub fn ended(&self) -> Timestamp {
        after(self.began, self.length.unwrap_or(self.rings))
    }
}

/// `seconds` after `time`.
pub fn after(time: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_second(time.as_second() + seconds).unwrap_or(time)
}

fn ending(rng: &mut impl Rng, channel: Channel, is_inbound: bool) -> Ending {
    use Ending as E;
    let endings: &[Ending] = match channel {
        Channel::Twilio if !is_inbound => &[
            E::Answered,
            E::Answered,
            E::Voicemail,
            E::DetectedMachine,
            E::Busy,
            E::Rejected,
            E::NoAnswer,
            E::NotConnected,
            E::Failed,
        ],
        Channel::SipTrunk | Channel::Exotel if !is_inbound => {
            &[E::Answered, E::Voicemail, E::Busy, E::NoAnswer, E::NotConnected, E::Failed]
        }
        Channel::WhatsApp if !is_inbound => &[E::Answered, E::NoAnswer, E::NotConnected, E::Failed],
        _ => &[E::Answered, E::Answered, E::Answered, E::Failed],
    };
    *endings.choose(rng).unwrap_or(&E::Answered)
}

fn variables(rng: &mut impl Rng) -> Map<String, Value> {
    let mut variables = Map::new();
    if rng.random_bool(0.7) {
        variables.insert("order_ref".to_owned(), format!("Z-{}", rng.random_range(0..1000)).into());
        variables.insert("attempt".to_owned(), json!(rng.random_range(1..4)));
        variables.insert("note".to_owned(), Value::Null);
    }
    if rng.random_bool(0.5) {
        variables.insert("secret__token".to_owned(), "hidden".into());
        variables.insert("system__time_utc".to_owned(), "2026-11-28T00:00:00Z".into());
    }
    variables
}
