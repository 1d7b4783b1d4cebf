//! Outbound calls (`POST /v1/convai/{twilio,sip-trunk,exotel,whatsapp}/outbound-call`).
//!
//! Invariant: a request is not repeated once bytes of it may have been sent. If no answer comes, or the
//! answer is a server error, ElevenLabs may have placed the call.

use std::time::Duration;

use aftercall_common::contract::agent_calls::Refusal;
use jiff::Timestamp;
use reqwest::{Method, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    ApiError, ElevenLabs, answer,
    error::{UNAVAILABLE, classify},
};
use crate::{
    domain::{
        event::{CallId, ConversationId, lenient_id},
        text::cut,
    },
    retry::Pauses,
};

/// Largest answer that is read.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// First and longest pause between two attempts to connect.
const RETRY_DELAY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));
/// Longest time for all attempts to connect.
const RETRY_TIMEOUT: Duration = Duration::from_secs(3);
/// Most characters that are kept of ElevenLabs' text about a refusal.
const MAX_TEXT_CHARS: usize = 200;

/// The carrier of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Twilio.
    Twilio,
    /// A SIP trunk.
    Sip,
    /// Exotel.
    Exotel,
    /// `WhatsApp`. Its answers name no call id.
    WhatsApp,
}

/// A call that ElevenLabs accepted. It is being dialled; its outcome is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The id of its conversation, if the answer names it.
    pub conversation_id: Option<ConversationId>,
    /// The id of the call at Twilio or at the SIP trunk.
    pub call_id: Option<CallId>,
}

/// Why a call is not dialled, or why it is unknown whether the call is dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutboundError {
    /// ElevenLabs does not dial.
    Refused {
        /// The class of the refusal.
        class: Refused,
        /// ElevenLabs' own text about the refusal. Only the document may contain this text.
        words: String,
    },
    /// It is unknown whether ElevenLabs dials: its answer is missing or not understood.
    Unknown,
}

/// Classes of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Answered with `success: false`.
    Declined,
    /// 401 or 403: the key is not allowed to place the call.
    Unauthorized,
    /// 402: the plan does not allow the call.
    Payment,
    /// 404: the agent or the telephone number does not exist.
    NotFound,
    /// 400, 422 or another 4xx: the request is not valid.
    Invalid,
    /// 429: too many requests, or too many calls at a time.
    RateLimited,
    /// No connection could be made.
    Unreachable,
}

impl Refused {
    /// Every class.
    pub const ALL: [Self; 7] = [
        Self::Declined,
        Self::Unauthorized,
        Self::Payment,
        Self::NotFound,
        Self::Invalid,
        Self::RateLimited,
        Self::Unreachable,
    ];

    /// What the caller is told. Its code is in metrics and documents, too.
    pub fn refusal(self) -> Refusal {
        match self {
            Self::Declined => Refusal::CallRefused,
            Self::Unauthorized => Refusal::ElevenLabsUnauthorized,
            Self::Payment => Refusal::PaymentRequired,
            Self::NotFound => Refusal::AgentOrNumberNotFound,
            Self::Invalid => Refusal::CallInvalid,
            Self::RateLimited => Refusal::RateLimited,
            Self::Unreachable => Refusal::ElevenLabsUnavailable,
        }
    }
}

impl ElevenLabs {
    /// Asks ElevenLabs once to place the call that `body` describes, and waits for the answer up to
    /// `timeout`.
    pub async fn place(
        &self,
        carrier: Carrier,
        body: &Map<String, Value>,
        timeout: Duration,
    ) -> Result<Accepted, OutboundError> {
        let path = match carrier {
            Carrier::Twilio => "/v1/convai/twilio/outbound-call",
            Carrier::Sip => "/v1/convai/sip-trunk/outbound-call",
            Carrier::Exotel => "/v1/convai/exotel/outbound-call",
            Carrier::WhatsApp => "/v1/convai/whatsapp/outbound-call",
        };
        let mut pauses = Pauses::within(RETRY_DELAY.0, RETRY_DELAY.1, RETRY_TIMEOUT);
        loop {
            let error = match self.request(Method::POST, path).json(body).timeout(timeout).send().await {
                Ok(response) => return self.read_outcome(response).await,
                Err(error) => error,
            };
            if error.is_connect()
                && let Some(pause) = pauses.pause()
            {
                tokio::time::sleep(pause).await;
                continue;
            }
            self.metrics.api_answer(UNAVAILABLE);
            return Err(if error.is_connect() {
                refused(Refused::Unreachable, "no connection could be made")
            } else {
                OutboundError::Unknown
            });
        }
    }

    /// Reads the answer, counts it, and closes the gate if the answer concerns every request.
    async fn read_outcome(&self, mut response: reqwest::Response) -> Result<Accepted, OutboundError> {
        let status = response.status();
        let retry_after = response.headers().get(header::RETRY_AFTER).cloned();
        let outcome = match read_body(&mut response).await {
            Some(body) => outcome(status, &body),
            // A refusal is known by its status.
            None if status.is_client_error() => outcome(status, &[]),
            None => Err(OutboundError::Unknown),
        };
        let mut label = match &outcome {
            Ok(_) => "ok",
            Err(OutboundError::Unknown) => UNAVAILABLE,
            Err(OutboundError::Refused { class, .. }) => class.refusal().code(),
        };
        if let Err(OutboundError::Refused { class: Refused::RateLimited | Refused::Unauthorized, .. }) =
            outcome
        {
            let retry_after = retry_after.as_ref().and_then(|value| value.to_str().ok());
            let now = Timestamp::now();
            let error = self.check_key(classify(status, retry_after, now)).await;
            if matches!(error, ApiError::Refused(_)) {
                label = error.label(); // Refused for this call only, and not because of the key.
            }
            self.gate.close_after(&error);
        }
        self.metrics.api_answer(label);
        outcome
    }
}

/// The body of an answer. `None`: it breaks off, or is too large.
async fn read_body(response: &mut reqwest::Response) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}

fn refused(class: Refused, words: &str) -> OutboundError {
    OutboundError::Refused { class, words: cut(words, MAX_TEXT_CHARS) }
}

/// The outcome that an answer reports. Pure.
fn outcome(status: StatusCode, body: &[u8]) -> Result<Accepted, OutboundError> {
    #[derive(Deserialize)]
    struct Answer {
        success: bool,
        #[serde(default)]
        message: Option<String>,
        #[serde(default)]
        conversation_id: Value,
        // Twilio's routes name the call by the first or second field, the SIP route by the third.
        #[serde(default, rename = "callSid")]
        call_sid: Value,
        #[serde(default, rename = "call_sid")]
        call_sid_snake: Value,
        #[serde(default)]
        sip_call_id: Value,
    }
    let class = match status {
        status if status.is_success() => {
            // If the answer to a success cannot be read, it is unknown whether the call is dialled.
            let answer: Answer = answer::read(body).map_err(|_| OutboundError::Unknown)?;
            if !answer.success {
                let words = answer.message.unwrap_or_default();
                return Err(refused(Refused::Declined, &words));
            }
            return Ok(Accepted {
                conversation_id: lenient_id(&answer.conversation_id, ConversationId::new),
                call_id: [answer.call_sid, answer.call_sid_snake, answer.sip_call_id]
                    .iter()
                    .find_map(|id| lenient_id(id, CallId::new)),
            });
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Refused::Unauthorized,
        StatusCode::PAYMENT_REQUIRED => Refused::Payment,
        StatusCode::NOT_FOUND => Refused::NotFound,
        StatusCode::TOO_MANY_REQUESTS => Refused::RateLimited,
        StatusCode::REQUEST_TIMEOUT => return Err(OutboundError::Unknown),
        status if status.is_client_error() => Refused::Invalid,
        _ => return Err(OutboundError::Unknown),
    };
    Err(refused(class, &words(body)))
}

/// ElevenLabs' own text about an error, from any of the forms of its errors. For a validation error of
/// `FastAPI`, the names of the fields.
fn words(body: &[u8]) -> String {
    let error: Value = answer::read(body).unwrap_or_default();
    match &error["detail"] {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let places = items.iter().filter_map(|item| item["loc"].as_array()?.last()?.as_str());
            places.collect::<Vec<_>>().join(", ")
        }
        detail => detail["message"].as_str().or(detail["code"].as_str()).unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests;
