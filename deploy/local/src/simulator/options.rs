//! Options of the simulator: pace, receivers of webhooks, faults; and the calls it has placed.

use std::time::Duration;

use serde_json::{Map, Value};

/// Options of the simulator.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seed of outcomes and faults.
    pub seed: u64,
    /// Duration of one phase of a call.
    pub pace: Duration,
    /// URL of a webhook that is registered and bound from the start.
    pub webhook_url: Option<String>,
    /// Secret of its signatures.
    pub webhook_secret: String,
    /// Receiver of Twilio's status callbacks. `None`: there are no callbacks.
    pub twilio: Option<Twilio>,
    /// Faults at the start.
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

/// Receiver and signature of status callbacks.
#[derive(Clone, Debug)]
pub struct Twilio {
    /// URL that callbacks are posted to.
    pub url: String,
    /// Key of the signatures. `None`: callbacks are not signed.
    pub auth_token: Option<String>,
    /// The URL that is signed, if it is not [`Self::url`].
    pub public_url: Option<String>,
}

/// Probabilities of faults, from 0 to 1, and delays.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Webhooks that are never sent.
    pub lose: f64,
    /// Webhooks that are sent twice.
    pub duplicate: f64,
    /// Maximum of the random delay of each webhook. Delayed webhooks arrive out of order.
    pub late: Duration,
    /// Requests to place a call that are never answered, although the call is placed.
    pub hang_after_dial: f64,
    /// Requests to place a call that are never answered. No call is placed.
    pub hang_before_dial: f64,
    /// Requests to place a call that are answered with `success: false`. No call is placed.
    pub refuse: f64,
    /// Requests that are answered with 429.
    pub rate_limit: f64,
    /// Requests that are answered with 500. If they are requests to place a call, half of them place it
    /// nevertheless.
    pub fail: f64,
    /// Maximum of the random delay of each answer.
    pub slow: Duration,
}

/// The API that placed a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// `/v1/convai/twilio/outbound-call`
    Twilio,
    /// `/v1/convai/sip-trunk/outbound-call`
    Sip,
    /// `/v1/convai/exotel/outbound-call`
    Exotel,
    /// `/v1/convai/whatsapp/outbound-call`
    WhatsApp,
}

/// A placed call.
#[derive(Clone, Debug)]
pub struct Dialled {
    /// Id of the conversation.
    pub conversation_id: String,
    /// Twilio's `CallSid`, or the SIP call's id.
    pub call_sid: String,
    /// Id of the agent.
    pub agent_id: String,
    /// Id of the agent's phone number.
    pub agent_phone_number_id: String,
    /// Number that was called.
    pub to_number: String,
    /// Dynamic variables of the request.
    pub dynamic_variables: Map<String, Value>,
    /// The API that placed the call.
    pub carrier: Carrier,
}

/// The end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A person answered.
    Answered,
    /// Voicemail answered.
    Voicemail,
    /// The line was busy.
    Busy,
    /// Nobody picked up.
    NoAnswer,
    /// The call could not be initiated, for an unknown reason.
    Failed,
    /// The call connected; the conversation failed.
    ConversationFailed,
}

impl Outcome {
    /// All outcomes, weighted: half of the calls are answered.
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

    /// The outcome of a call to `number`: by the last two digits if they are 00 to 06, else by the random
    /// `drawn`.
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

    /// Whether a person or a machine answered.
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

    /// `failure_reason` of the webhook for a call that never connected.
    pub(super) fn failure_reason(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::NoAnswer => "no-answer",
            Self::Failed | Self::Answered | Self::Voicemail | Self::ConversationFailed => "unknown",
        }
    }
}

/// The facts of a call that is over.
#[derive(Clone, Debug)]
pub struct Truth {
    /// Id of the conversation.
    pub conversation_id: String,
    /// Twilio's `CallSid`, or the SIP call's id.
    pub call_sid: String,
    /// Number that was called.
    pub to_number: String,
    /// The end of the call.
    pub outcome: Outcome,
}
