//! Outbound calls (`POST /v1/convai/{twilio,sip-trunk}/outbound-call`).
//!
//! Invariant: once bytes may have left, nothing is sent again. An answer that does not come, or says
//! that the server failed, says nothing about the call.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Method, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{ApiError, ElevenLabs, answer};
use crate::{
    domain::{
        event::{CallId, ConversationId, lenient_id},
        text::cut,
    },
    retry::Pauses,
};

const MAX_ANSWER: usize = 256 * 1024;
/// Tries to connect, as long as nothing was sent.
const CONNECT_FIRST: Duration = Duration::from_millis(200);
const CONNECT_MOST: Duration = Duration::from_secs(1);
const CONNECT_TOTAL: Duration = Duration::from_secs(3);
/// Longest text of ElevenLabs that is kept of a refusal.
const MAX_WORDS: usize = 200;

/// Who carries a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Twilio.
    Twilio,
    /// A SIP trunk.
    Sip,
}

/// A call that ElevenLabs accepted. It is being dialled, no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its conversation, where the answer names it.
    pub conversation_id: Option<ConversationId>,
    /// Twilio's or the trunk's id of it.
    pub call_id: Option<CallId>,
}

/// Why a call is not known to be dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutboundError {
    /// Nothing is dialled.
    Refused {
        /// The class of the refusal.
        class: Refused,
        /// ElevenLabs' own words, for the document only.
        words: String,
    },
    /// It may be dialled.
    Unknown,
}

/// Classes of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Answered with `success: false`.
    Declined,
    /// 401, 403: the key may not.
    Unauthorized,
    /// 402: the plan does not allow it.
    Payment,
    /// 404: no such agent or number.
    NotFound,
    /// 400, 422 and other 4xx: the request is wrong.
    Invalid,
    /// 429: too many requests, or too many calls at a time.
    RateLimited,
    /// No connection came about.
    Unreachable,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Declined,
        Self::Unauthorized,
        Self::Payment,
        Self::NotFound,
        Self::Invalid,
        Self::RateLimited,
        Self::Unreachable,
    ];

    /// The stable code of the problem, also in the document.
    pub fn code(self) -> &'static str {
        match self {
            Self::Declined => "call_refused",
            Self::Unauthorized => "elevenlabs_unauthorized",
            Self::Payment => "payment_required",
            Self::NotFound => "agent_or_number_not_found",
            Self::Invalid => "call_invalid",
            Self::RateLimited => "rate_limited",
            Self::Unreachable => "elevenlabs_unavailable",
        }
    }
}

impl ElevenLabs {
    /// Has ElevenLabs place the call that `body` describes, once, and waits `time` for the answer.
    pub async fn place(
        &self,
        carrier: Carrier,
        body: &Map<String, Value>,
        time: Duration,
    ) -> Result<Accepted, OutboundError> {
        let path = match carrier {
            Carrier::Twilio => "/v1/convai/twilio/outbound-call",
            Carrier::Sip => "/v1/convai/sip-trunk/outbound-call",
        };
        let mut pauses = Pauses::within(CONNECT_FIRST, CONNECT_MOST, CONNECT_TOTAL);
        loop {
            match self.request(Method::POST, path).json(body).timeout(time).send().await {
                Ok(response) => return self.read(response).await,
                Err(error) if error.is_connect() => match pauses.pause() {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(refused(Refused::Unreachable, "no connection came about")),
                },
                Err(_) => return Err(OutboundError::Unknown),
            }
        }
    }

    async fn read(&self, mut response: reqwest::Response) -> Result<Accepted, OutboundError> {
        let status = response.status();
        let retry_after = response.headers().get(header::RETRY_AFTER).cloned();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|_| OutboundError::Unknown)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(OutboundError::Unknown);
            }
            body.extend_from_slice(&chunk);
        }
        let outcome = outcome(status, &body);
        let mut label = match &outcome {
            Ok(_) => "ok",
            Err(OutboundError::Unknown) => "unavailable",
            Err(OutboundError::Refused { class, .. }) => class.code(),
        };
        if let Err(OutboundError::Refused { class: Refused::RateLimited | Refused::Unauthorized, .. }) =
            outcome
        {
            let retry_after = retry_after.as_ref().and_then(|value| value.to_str().ok());
            let now = Timestamp::now();
            let error = self.judge(answer::classify(status, retry_after, now)).await;
            if matches!(error, ApiError::Refused(_)) {
                label = error.label(); // This order alone: no reason to look at the key.
            }
            self.gate.heed(&error, now);
        }
        self.metrics.api_answer(label);
        outcome
    }
}

fn refused(class: Refused, words: &str) -> OutboundError {
    OutboundError::Refused { class, words: cut(words, MAX_WORDS) }
}

/// What an answer says of the call. Pure.
fn outcome(status: StatusCode, body: &[u8]) -> Result<Accepted, OutboundError> {
    #[derive(Deserialize)]
    struct Answer {
        success: bool,
        #[serde(default)]
        message: Option<String>,
        #[serde(default)]
        conversation_id: Value,
        #[serde(default, rename = "callSid", alias = "sip_call_id", alias = "call_sid")]
        call_id: Value,
    }
    let class = match status {
        status if status.is_success() => {
            // A success that cannot be read may stand for a call.
            let answer: Answer = answer::read(body).map_err(|_| OutboundError::Unknown)?;
            if !answer.success {
                let words = answer.message.unwrap_or_default();
                return Err(refused(Refused::Declined, &words));
            }
            return Ok(Accepted {
                conversation_id: lenient_id(&answer.conversation_id, ConversationId::new),
                call_id: lenient_id(&answer.call_id, CallId::new),
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

/// ElevenLabs' own words in one of the shapes of its errors; of what `FastAPI` finds wrong, the place.
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
mod tests {
    use super::*;

    #[test]
    fn every_answer_says_whether_something_is_dialled() {
        let unknown = || "unknown".to_owned();
        #[rustfmt::skip]
        let table = [
            (200, r#"{"success":true,"message":"","conversation_id":"v","callSid":"c"}"#, "v c".to_owned()),
            (200, r#"{"success":true,"message":"","conversation_id":"v","sip_call_id":"c"}"#, "v c".to_owned()),
            (200, r#"{"success":true,"message":"","conversation_id":null,"callSid":null}"#, "- -".to_owned()),
            (200, r#"{"success":true,"message":"","conversation_id":" ","callSid":""}"#, "- -".to_owned()),
            (200, r#"{"success":true,"message":"\ud83d","conversation_id":" v ","callSid":7}"#, "v 7".to_owned()),
            (200, r#"{"success":false,"message":"no","conversation_id":null,"callSid":null}"#, "call_refused: no".to_owned()),
            (200, r#"{"success":tr"#,                                              unknown()),
            (200, "",                                                              unknown()),
            (400, r#"{"detail":{"status":"x","message":"m"}}"#,                    "call_invalid: m".to_owned()),
            (422, r#"{"detail":[{"loc":["body","to_number"],"msg":"+15"}]}"#,      "call_invalid: to_number".to_owned()),
            (401, r#"{"detail":"text"}"#,                                          "elevenlabs_unauthorized: text".to_owned()),
            (402, "{}",                                                            "payment_required: ".to_owned()),
            (404, "<html>",                                                        "agent_or_number_not_found: ".to_owned()),
            (429, "",                                                              "rate_limited: ".to_owned()),
            (408, "",                                                              unknown()),
            (500, "",                                                              unknown()),
            (503, "",                                                              unknown()),
            (302, "",                                                              unknown()),
        ];
        for (status, body, expected) in table {
            let found = match outcome(StatusCode::from_u16(status).unwrap(), body.as_bytes()) {
                Ok(accepted) => {
                    let conversation = accepted.conversation_id.as_ref().map_or("-", ConversationId::as_str);
                    format!("{conversation} {}", accepted.call_id.as_ref().map_or("-", CallId::as_str))
                }
                Err(OutboundError::Unknown) => unknown(),
                Err(OutboundError::Refused { class, words }) => format!("{}: {words}", class.code()),
            };
            assert_eq!(found, expected, "{status} {body}");
        }
    }
}
