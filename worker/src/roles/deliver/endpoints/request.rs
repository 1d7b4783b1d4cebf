//! The headers of a request to an endpoint. Pure.

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};

use crate::{
    broker::outgoing::{Content, OutgoingMessage},
    domain::delivery::{Endpoint, SendError},
};

/// The headers of a request with `message` to `endpoint`.
///
/// An event is signed by every valid secret (Standard Webhooks). A webhook has the provider's signature instead.
///
/// # Errors
/// [`SendError::Unsendable`]
pub fn headers(
    endpoint: &Endpoint,
    message: &OutgoingMessage,
    body: &[u8],
    now: Timestamp,
) -> Result<HeaderMap, SendError> {
    let mut headers = HeaderMap::new();
    headers.insert(HEADER_WEBHOOK_ID, value(&message.id)?);
    match &message.content {
        Content::Event { .. } => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(HEADER_WEBHOOK_TIMESTAMP, now.as_second().into());
            headers.insert(HEADER_WEBHOOK_SIGNATURE, signatures(endpoint, &message.id, body, now)?);
        }
        Content::Webhook { headers: original, .. } => {
            for (name, text) in original {
                let name = HeaderName::try_from(*name).map_err(|_error| SendError::Unsendable)?;
                headers.insert(name, value(text)?);
            }
        }
    }
    Ok(headers)
}

/// The signatures by all valid secrets, with spaces between them.
fn signatures(endpoint: &Endpoint, id: &str, body: &[u8], now: Timestamp) -> Result<HeaderValue, SendError> {
    let sign = |secret: &str| Webhook::new(secret)?.sign(id, now.as_second(), body);
    let signatures: Result<Vec<_>, _> =
        endpoint.secrets.valid(now).map(|secret| sign(secret.expose())).collect();
    value(&signatures.map_err(|_error| SendError::Unsendable)?.join(" "))
}

fn value(text: &str) -> Result<HeaderValue, SendError> {
    HeaderValue::from_str(text).map_err(|_error| SendError::Unsendable)
}
