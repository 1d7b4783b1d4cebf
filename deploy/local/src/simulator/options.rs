//! What the simulator is told: its pace, whom it reports to, and how badly it behaves.

use std::time::Duration;

use serde_json::{Map, Value};

/// How the simulated provider is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Makes the same outcomes and faults again.
    pub seed: u64,
    /// How long one phase of a call lasts.
    pub pace: Duration,
    /// A webhook that is registered and bound from the start.
    pub webhook_url: Option<String>,
    /// What it is signed with.
    pub webhook_secret: String,
    /// Where Twilio's side of a call is reported.
    pub twilio: Option<Twilio>,
    /// What goes wrong.
    pub faults: Faults,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            pace: Duration::from_millis(50),
            webhook_url: None,
            webhook_secret: "wsec_simulated".to_owned(),
            twilio: None,
            faults: Faults::default(),
        }
    }
}

/// Where status callbacks go, and how they are signed.
#[derive(Clone, Debug)]
pub struct Twilio {
    /// Posted to.
    pub url: String,
    /// Signs them; none: no signature.
    pub auth_token: Option<String>,
    /// The URL that is signed, where it is not the one posted to.
    pub public_url: Option<String>,
}

/// Shares of what goes wrong, from 0 to 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Webhooks that are never sent.
    pub lose: f64,
    /// Webhooks that are sent twice.
    pub duplicate: f64,
    /// Each webhook is held back for a random time up to this, so they come out of order.
    pub late: Duration,
    /// Placed calls whose answer never comes.
    pub hang_after_dial: f64,
    /// Requests for a call that are neither followed nor answered.
    pub hang_before_dial: f64,
    /// Requests for a call that are answered `success: false`.
    pub refuse: f64,
    /// Requests answered 429.
    pub rate_limit: f64,
    /// Requests answered 500; of those for a call every second one is followed nevertheless.
    pub fail: f64,
    /// Every answer takes a random time up to this.
    pub slow: Duration,
}

/// Which API placed a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// `/v1/convai/twilio/outbound-call`
    Twilio,
    /// `/v1/convai/sip-trunk/outbound-call`
    Sip,
}

/// A call that was dialled.
#[derive(Clone, Debug)]
pub struct Dialled {
    /// Its conversation.
    pub conversation_id: String,
    /// Twilio's `CallSid`, or the SIP call's id.
    pub call_sid: String,
    /// Who speaks.
    pub agent_id: String,
    /// From where.
    pub agent_phone_number_id: String,
    /// To whom.
    pub to_number: String,
    /// What was given as such.
    pub dynamic_variables: Map<String, Value>,
    /// By which API.
    pub carrier: Carrier,
}

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A conversation was held.
    Answered,
    /// A machine took the call.
    Voicemail,
    /// The line was busy.
    Busy,
    /// Nobody picked up.
    NoAnswer,
    /// It could not be initiated, for a reason nobody knows.
    Failed,
    /// It connected, and the conversation failed.
    ConversationFailed,
}

impl Outcome {
    /// All of them, answered calls being the most frequent.
    const DRAWN: [Self; 10] = [
        Self::Answered,
        Self::Answered,
        Self::Answered,
        Self::Answered,
        Self::Answered,
        Self::Voicemail,
        Self::Busy,
        Self::NoAnswer,
        Self::Failed,
        Self::ConversationFailed,
    ];

    /// The outcome of a call to `number`: by its last two digits where they are 00 to 06, else by `drawn`.
    pub(super) fn of(number: &str, drawn: usize) -> Self {
        match number.get(number.len().saturating_sub(2)..) {
            Some("00") => Self::Answered,
            Some("01" | "06") => Self::Busy,
            Some("02") => Self::NoAnswer,
            Some("03") => Self::Failed,
            Some("04") => Self::Voicemail,
            Some("05") => Self::ConversationFailed,
            _ => Self::DRAWN[drawn % Self::DRAWN.len()],
        }
    }

    /// Whether somebody or something took the call.
    pub fn connects(self) -> bool {
        matches!(self, Self::Answered | Self::Voicemail | Self::ConversationFailed)
    }

    /// `call_result` of the conversation's `phone_call`.
    pub fn call_result(self) -> &'static str {
        match self {
            Self::Answered | Self::ConversationFailed => "answered",
            Self::Voicemail => "voicemail",
            Self::Busy => "busy",
            Self::NoAnswer => "no_answer",
            Self::Failed => "failed",
        }
    }

    /// Twilio's final `CallStatus`.
    pub(super) fn twilio_status(self) -> &'static str {
        match self {
            Self::Answered | Self::Voicemail | Self::ConversationFailed => "completed",
            Self::Busy => "busy",
            Self::NoAnswer => "no-answer",
            Self::Failed => "failed",
        }
    }

    /// `failure_reason` of the webhook that tells of a call which never connected.
    pub(super) fn failure_reason(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::NoAnswer => "no-answer",
            Self::Failed | Self::Answered | Self::Voicemail | Self::ConversationFailed => "unknown",
        }
    }
}

/// What is true of a call that is over.
#[derive(Clone, Debug)]
pub struct Truth {
    /// Its conversation.
    pub conversation_id: String,
    /// Its telephony id.
    pub call_sid: String,
    /// Whom it called.
    pub to_number: String,
    /// How it ended.
    pub outcome: Outcome,
}
