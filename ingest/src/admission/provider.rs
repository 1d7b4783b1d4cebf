//! The providers whose webhooks the gateway takes: what each may send, from where, and how it signs.

use aftercall_common::contract::streams::{header as ours, subject};
use bytes::Bytes;
use hyper::{Method, header::HeaderValue, http::request::Parts};

use super::{
    body::{Body, Trust},
    form::{self, Form},
    json,
    policy::Policy,
    signature::{Signature, SignatureError, elevenlabs, twilio},
    source_ip::Sender,
};
use crate::{
    http::{
        rejection::Rejection,
        routes::{Route, is_json},
    },
    storage::message::{self, WebhookId},
};

/// Whose webhook it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// ElevenLabs: JSON.
    ElevenLabs,
    /// Twilio: a form.
    Twilio,
}

impl Provider {
    /// The subject that its webhooks are published to.
    pub(crate) fn subject(self) -> &'static str {
        match self {
            Self::ElevenLabs => subject::ELEVENLABS_CALL_STATUS,
            Self::Twilio => subject::TWILIO_CALL_STATUS,
        }
    }

    /// The span of a publish.
    pub(crate) fn span(self) -> &'static str {
        match self {
            Self::ElevenLabs => "send webhooks.elevenlabs.call-status",
            Self::Twilio => "send webhooks.twilio.call-status",
        }
    }

    /// Whether a webhook may come from `sender`. Twilio has no fixed addresses, so its signature decides alone.
    pub(crate) fn allows(self, sender: Sender, policy: &Policy) -> bool {
        self == Self::Twilio || policy.allowed_sources.contain(sender)
    }

    /// Whether the request claims to be signed.
    pub(crate) fn is_signed(self, parts: &Parts) -> bool {
        parts.headers.contains_key(match self {
            Self::ElevenLabs => ours::ELEVENLABS_SIGNATURE,
            Self::Twilio => ours::TWILIO_SIGNATURE,
        })
    }

    /// The budget for a body whose headers were checked, and the largest body of it, in bytes. Any address may
    /// send what looks like a callback of Twilio.
    pub(crate) fn budget(self, most: usize) -> (Trust, usize) {
        match self {
            Self::ElevenLabs => (Trust::Provider, most),
            Self::Twilio => (Trust::Unverified, most.min(form::MAX_BYTES)),
        }
    }

    /// Refuses what the signature headers alone speak against, before a byte of the body is read.
    pub(crate) fn precheck(self, policy: &Policy, parts: &Parts, now: i64) -> Result<(), SignatureError> {
        match self {
            Self::ElevenLabs => {
                let secrets = &policy.elevenlabs_webhook_secret;
                elevenlabs::precheck(elevenlabs_signatures(parts), secrets, policy.tolerance(), now).map(drop)
            }
            Self::Twilio => {
                let (signature, settings) = twilio_signature(parts);
                twilio::precheck(signature, settings, &policy.twilio_auth_token).map(drop)
            }
        }
    }

    /// Checks the signature. ElevenLabs signs the bytes that it sends, Twilio the URL and the parameters.
    pub(crate) fn verify(
        self,
        policy: &Policy,
        parts: &Parts,
        body: &Body,
        now: i64,
    ) -> Result<Signature, SignatureError> {
        match self {
            Self::ElevenLabs => elevenlabs::verify(
                elevenlabs_signatures(parts),
                body.pieces(),
                &policy.elevenlabs_webhook_secret,
                policy.tolerance(),
                now,
            ),
            Self::Twilio => {
                let path_and_query = parts.uri.path_and_query().map_or("/", |path| path.as_str());
                let (signature, settings) = twilio_signature(parts);
                let (url, secrets) = (policy.public_url.as_ref(), &policy.twilio_auth_token);
                if parts.method == Method::GET {
                    return twilio::verify_url(signature, settings, path_and_query, url, secrets);
                }
                let (body, is_form) = (&body.whole()[..], !is_json(&parts.headers));
                let callback = twilio::Callback { path_and_query, body, is_form };
                twilio::verify(signature, settings, &callback, url, secrets)
            }
        }
    }

    /// Checks the format of a body, and gives its webhook an id: the same however the path was spelt, and
    /// however the parameters that a signature covers were.
    pub(crate) fn check_format(self, parts: &Parts, body: &Body) -> Result<WebhookId, Rejection> {
        let path = Route::Webhook(self).path();
        let is_form = self == Self::Twilio && !is_json(&parts.headers);
        let canonical = if is_form {
            Some(Form::parse(&body.whole())?.canonical())
        } else {
            json::check_pieces(body.pieces())?;
            None
        };
        let pieces = canonical.as_ref().map_or(body.pieces(), std::slice::from_ref);
        Ok(match self.own_query(parts) {
            // Query and parameters without a separator, as they are signed: one signature, one id.
            Some(query) => {
                let query = Bytes::from(format!("?{query}"));
                message::webhook_id(path, &[&[query], pieces].concat())
            }
            None => message::webhook_id(path, pieces),
        })
    }

    /// The query of the URL, where it is a part of the webhook: with a callback of Twilio that is posted.
    pub(crate) fn own_query(self, parts: &Parts) -> Option<&str> {
        query(parts).filter(|_| self == Self::Twilio && parts.method == Method::POST)
    }
}

/// The form that a callback by GET has in place of a body.
pub(crate) fn form_of_get(parts: &Parts) -> Option<Bytes> {
    (parts.method == Method::GET).then(|| Bytes::copy_from_slice(query(parts).unwrap_or_default().as_bytes()))
}

fn query(parts: &Parts) -> Option<&str> {
    parts.uri.query().filter(|query| !query.is_empty())
}

fn elevenlabs_signatures(parts: &Parts) -> impl Iterator<Item = &[u8]> {
    parts.headers.get_all(ours::ELEVENLABS_SIGNATURE).iter().map(HeaderValue::as_bytes)
}

/// The signature, and the header that names its algorithm.
fn twilio_signature(parts: &Parts) -> (Option<&[u8]>, Option<&[u8]>) {
    let header = |name| parts.headers.get(name).map(HeaderValue::as_bytes);
    (header(ours::TWILIO_SIGNATURE), header(twilio::SETTINGS_HEADER))
}
