//! Posts webhooks as the providers do: signed, and repeated only in the cases in which the provider repeats
//! them.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha1::Sha1;
use sha2::Sha256;

use super::{
    options::Twilio,
    state::{State, lock},
};

/// Attempts to deliver a webhook whose retries are enabled.
const ATTEMPTS: u32 = 6;

/// A webhook of ElevenLabs.
pub(super) struct Event {
    pub agent: String,
    /// Name of the event in the binding of a webhook.
    pub bound_as: &'static str,
    /// The body.
    pub body: Value,
}

impl Event {
    /// The event `kind` of now.
    pub(super) fn now(agent: &str, bound_as: &'static str, kind: &str, data: &Value) -> Self {
        let body = json!({ "type": kind, "event_timestamp": Timestamp::now().as_second(), "data": data });
        Self { agent: agent.to_owned(), bound_as, body }
    }
}

/// Sends `event` to the webhook that is bound to it, subject to the faults of the simulator.
pub(super) async fn send(state: &Arc<State>, event: Event) {
    let Some(webhook) = lock(&state.registry).bound(&event.agent, event.bound_as) else { return };
    let body = event.body.to_string();
    // ElevenLabs retries only webhooks with transcripts.
    let attempts = if webhook.retry_enabled && event.bound_as == "transcript" { ATTEMPTS } else { 1 };
    for _ in 0..state.delay_and_count().await {
        let mut pause = state.options.pace;
        for _ in 0..attempts {
            let mut request = state.http.post(&webhook.url).body(body.clone());
            for (name, value) in &webhook.headers {
                request = request.header(name, value);
            }
            let signature = signature(&webhook.secret, Timestamp::now().as_second(), &body);
            let request = request.header("content-type", "application/json");
            let sent = request.header("elevenlabs-signature", signature).send().await;
            let status = sent.map_or(0, |answer| answer.status().as_u16());
            if let Some(webhook) = lock(&state.registry).find(&webhook.id) {
                webhook.delivered(status);
            }
            if status == 200 || (400..500).contains(&status) && !matches!(status, 408 | 429) {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 4).min(Duration::from_secs(5));
        }
    }
}

/// Posts a status callback of Twilio `times` times. Twilio repeats a failed callback once.
pub(super) async fn call_back(
    state: &Arc<State>,
    twilio: &Twilio,
    parameters: &Map<String, Value>,
    times: usize,
) {
    let pairs = parameters.iter().map(|(name, value)| (name, value.as_str().unwrap_or_default()));
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let signed = twilio.public_url.as_ref().unwrap_or(&twilio.url);
    let signature = twilio.auth_token.as_ref().map(|token| twilio_signature(token, signed, parameters));
    for _ in 0..times {
        for _ in 0..2 {
            let request = state.http.post(&twilio.url).body(body.clone());
            let mut request = request.header("content-type", "application/x-www-form-urlencoded");
            if let Some(signature) = &signature {
                request = request.header("x-twilio-signature", signature);
            }
            if request.send().await.is_ok_and(|answer| answer.status().is_success()) {
                break;
            }
        }
    }
}

/// `ElevenLabs-Signature` of `body` at `now`, Unix seconds.
fn signature(secret: &str, now: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(format!("{now}.{body}").as_bytes());
    format!("t={now},v0={}", hex::encode(mac.finalize().into_bytes()))
}

fn twilio_signature(token: &str, url: &str, parameters: &Map<String, Value>) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(token.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(url.as_bytes());
    let mut sorted: Vec<_> = parameters.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    for (name, value) in sorted {
        mac.update(name.as_bytes());
        mac.update(value.as_str().unwrap_or_default().as_bytes());
    }
    BASE64_STANDARD.encode(mac.finalize().into_bytes())
}
