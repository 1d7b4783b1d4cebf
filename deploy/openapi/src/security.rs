//! How a sender shows who it is.

use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
};

const ELEVENLABS: &str = "elevenLabsSignature";
const TWILIO: &str = "twilioSignature";
const EVENTS: &str = "eventsToken";
const FULL: &str = "apiToken";
const READ: &str = "apiReadToken";

/// Every way, with its name.
pub fn schemes() -> [(&'static str, SecurityScheme); 5] {
    [
        (ELEVENLABS, header("ElevenLabs-Signature", "`t=…,v0=…` by the secret of the webhook.")),
        (TWILIO, header("X-Twilio-Signature", "By the auth token of the account.")),
        (EVENTS, bearer("A token of `EVENTS_TOKEN`, for your own dialler.")),
        (FULL, bearer("A token of `API_TOKEN`.")),
        (READ, bearer("A token of `API_READ_TOKEN`, which may only read.")),
    ]
}

/// Webhooks of ElevenLabs.
pub fn of_elevenlabs() -> Vec<SecurityRequirement> {
    vec![requirement(ELEVENLABS), requirement(EVENTS)]
}

/// Webhooks of Twilio.
pub fn of_twilio() -> Vec<SecurityRequirement> {
    vec![requirement(TWILIO)]
}

/// Requests that read.
pub fn of_readers() -> Vec<SecurityRequirement> {
    vec![requirement(FULL), requirement(READ)]
}

/// Requests that place calls.
pub fn of_placing() -> Vec<SecurityRequirement> {
    vec![requirement(FULL)]
}

fn requirement(name: &str) -> SecurityRequirement {
    SecurityRequirement::new(name, [] as [&str; 0])
}

fn header(name: &str, description: &str) -> SecurityScheme {
    SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(name, description)))
}

fn bearer(description: &str) -> SecurityScheme {
    let mut bearer = Http::new(HttpAuthScheme::Bearer);
    bearer.description = Some(description.to_owned());
    SecurityScheme::Http(bearer)
}
