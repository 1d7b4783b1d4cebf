//! Requests of the tests to the gateway.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha1::Sha1;

use super::{
    stack::TestStack,
    timeouts::{scaled, until_equal},
};

/// The path of ElevenLabs' webhooks.
pub const CALL_STATUS: &str = "/api/webhooks/elevenlabs/call-status";
/// The path of Twilio's status callbacks.
pub const TWILIO_CALL_STATUS: &str = "/api/webhooks/twilio/call-status";
/// The path of the status lookup.
pub const LOOKUP: &str = "/api/agent-calls/status";
/// The secret with which Twilio signs its callbacks.
pub const TWILIO_TOKEN: &str = "twilio_t0ken";

/// The response to a request.
#[derive(Debug, PartialEq)]
pub struct HttpResponse {
    pub status: u16,
    /// The JSON body; `Null` if the body is not JSON.
    pub body: Value,
}

impl HttpResponse {
    /// The error code in the body. Empty if the body has no code.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

impl TestStack {
    /// Posts `body` without changes.
    pub async fn post_to(&self, path: &str, body: impl Into<reqwest::Body>) -> HttpResponse {
        self.send(self.http.post(format!("{}{path}", self.base)).body(body)).await
    }

    /// Sends `request` as JSON. Panics if there is no response.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> HttpResponse {
        let answer = request.header("content-type", "application/json").send().await.unwrap();
        let status = answer.status().as_u16();
        HttpResponse { status, body: answer.json().await.unwrap_or_default() }
    }

    /// Posts a signed status callback of Twilio: the URL-encoded `form`, to the path with `query`.
    pub async fn twilio_to(&self, query: &str, form: &str) -> HttpResponse {
        let url = format!("{}{TWILIO_CALL_STATUS}{query}", self.base);
        let signature = twilio_signature(&url, form);
        let request = self.http.post(url).body(form.to_owned()).header("x-twilio-signature", signature);
        let answer =
            request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
        HttpResponse { status: answer.status().as_u16(), body: answer.json().await.unwrap_or_default() }
    }

    /// Posts a status callback of Twilio. Panics if it is not accepted. Returns the body of the response.
    pub async fn twilio(&self, form: &str) -> Value {
        let answer = self.twilio_to("", form).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// Posts a webhook of ElevenLabs. Panics if it is not accepted. Returns the body of the response.
    pub async fn webhook(&self, body: &Value) -> Value {
        let answer = self.post_to(CALL_STATUS, body.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// Posts a webhook of ElevenLabs until it is accepted.
    pub async fn webhook_until_accepted(&self, body: &Value) {
        until_equal("the webhook is accepted", Ok(()), async || {
            let request = self.http.post(format!("{}{CALL_STATUS}", self.base)).body(body.to_string());
            match request.timeout(scaled(Duration::from_secs(10))).send().await {
                Ok(answer) if answer.status() == 200 => Ok(()),
                Ok(answer) => Err(format!("{:?}\n{}", answer.text().await, self.gateway.log())),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }

    /// Looks up the status of a call.
    pub async fn lookup(&self, query: Value) -> HttpResponse {
        self.post_to(LOOKUP, query.to_string()).await
    }
}

/// The value of `X-Twilio-Signature` for `form` posted to `url`.
pub fn twilio_signature(url: &str, form: &str) -> String {
    let form = form.trim_start_matches('\u{feff}');
    let mut parameters: Vec<_> = form_urlencoded::parse(form.as_bytes()).collect();
    parameters.sort();
    let mut mac = Hmac::<Sha1>::new_from_slice(TWILIO_TOKEN.as_bytes()).unwrap();
    mac.update(url.as_bytes());
    for (name, value) in parameters {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
    }
    BASE64_STANDARD.encode(mac.finalize().into_bytes())
}
