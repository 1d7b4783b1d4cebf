//! The rules of each provider: its methods, its addresses, its formats and its signature. Pure.
//!
//! Every rule matches on [`Provider`] without a wildcard. A new provider is a row of [`Provider`], an arm
//! of each rule, and a module for its signature.

pub mod elevenlabs;
pub mod twilio;

pub use aftercall_common::contract::provider::Provider;
use bytes::Bytes;
use hyper::{Method, header::HeaderValue, http::request::Parts};

use super::{
    body::{Body, Trust, encoding::UnpackError},
    form::{self, Form, FormError},
    json::{self, JsonError, is_json},
    signature::{Signature, SignatureError},
    source_ip::Sender,
    webhook_id::{WebhookId, webhook_id},
};
use crate::config::{HeaderSecret, Policy};

/// Why the content of a body is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentError {
    /// The body cannot be decompressed.
    Unpack(UnpackError),
    /// The body is not one JSON object within the limits.
    Json(JsonError),
    /// The body is not a valid form.
    Form(FormError),
}

impl From<UnpackError> for ContentError {
    fn from(error: UnpackError) -> Self {
        Self::Unpack(error)
    }
}

impl From<JsonError> for ContentError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

impl From<FormError> for ContentError {
    fn from(error: FormError) -> Self {
        Self::Form(error)
    }
}

/// How the operator can open the route of the provider. `None`: the route is open.
pub(crate) fn advice_if_closed(provider: Provider, policy: &Policy) -> Option<&'static str> {
    match provider {
        Provider::Twilio if !policy.has_secrets_of(provider) => {
            Some("set TWILIO_AUTH_TOKEN and PUBLIC_URL to open the route for Twilio")
        }
        Provider::ElevenLabs | Provider::Twilio => None,
    }
}

/// The methods by which the provider sends webhooks, as the `Allow` header lists them.
pub(crate) fn methods(provider: Provider) -> &'static str {
    match provider {
        Provider::ElevenLabs => "POST",
        Provider::Twilio => "GET, POST",
    }
}

/// Whether the provider sends from known addresses only. Twilio has no fixed addresses, so only its signature
/// counts, and any address may send a request that looks like a callback of Twilio.
pub(crate) fn has_known_addresses(provider: Provider) -> bool {
    match provider {
        Provider::ElevenLabs => true,
        Provider::Twilio => false,
    }
}

/// Whether a webhook of the provider is accepted from `sender`.
pub(crate) fn allows(provider: Provider, sender: Sender, policy: &Policy) -> bool {
    !has_known_addresses(provider) || sender.is_in(&policy.allowed_sources)
}

/// Whether senders other than the provider may use its route with one of `EVENTS_TOKEN`.
pub(crate) fn takes_events_token(provider: Provider) -> bool {
    match provider {
        Provider::ElevenLabs => true,
        Provider::Twilio => false,
    }
}

/// Whether the source address decides alone, because no secret is set.
pub(crate) fn trusts_address_alone(provider: Provider, policy: &Policy) -> bool {
    match provider {
        Provider::ElevenLabs => !policy.has_secrets_of(provider),
        Provider::Twilio => false,
    }
}

/// The header that a webhook of the provider must carry besides its signature.
pub(crate) fn required_header(provider: Provider, policy: &Policy) -> Option<&HeaderSecret> {
    match provider {
        Provider::ElevenLabs => policy.webhook_header_secret.as_ref(),
        Provider::Twilio => None,
    }
}

/// Whether the request has a signature header.
pub(crate) fn is_signed(provider: Provider, parts: &Parts) -> bool {
    parts.headers.contains_key(provider.signature_header())
}

/// The budget for a body whose headers passed the checks, and its largest size in bytes. `max_body_bytes`
/// is the configured limit.
pub(crate) fn budget(provider: Provider, max_body_bytes: usize) -> (Trust, usize) {
    match provider {
        Provider::ElevenLabs => (Trust::Provider, max_body_bytes),
        Provider::Twilio => (Trust::Unverified, max_body_bytes.min(form::MAX_BYTES)),
    }
}

/// Checks the signature headers before the body is read. `now` is Unix time in seconds.
pub(crate) fn precheck(
    provider: Provider,
    policy: &Policy,
    parts: &Parts,
    now: i64,
) -> Result<(), SignatureError> {
    let secrets = policy.secrets_of(provider);
    match provider {
        Provider::ElevenLabs => {
            let tolerance = policy.tolerance();
            elevenlabs::precheck(elevenlabs_signatures(parts), secrets, tolerance, now).map(drop)
        }
        Provider::Twilio => {
            let (signature, settings) = twilio_signature(parts);
            twilio::precheck(signature, settings, secrets).map(drop)
        }
    }
}

/// Checks the signature. ElevenLabs signs the bytes that it sends, Twilio the URL and the parameters.
pub(crate) fn verify(
    provider: Provider,
    policy: &Policy,
    parts: &Parts,
    body: &Body,
    now: i64,
) -> Result<Signature, SignatureError> {
    let secrets = policy.secrets_of(provider);
    match provider {
        Provider::ElevenLabs => {
            let tolerance = policy.tolerance();
            elevenlabs::verify(elevenlabs_signatures(parts), body.pieces(), secrets, tolerance, now)
        }
        Provider::Twilio => {
            let path_and_query = parts.uri.path_and_query().map_or("/", |path| path.as_str());
            let (signature, settings) = twilio_signature(parts);
            let url = policy.public_url.as_ref();
            if parts.method == Method::GET {
                return twilio::verify_url(signature, settings, path_and_query, url, secrets);
            }
            let (body, is_form) = (&body.whole()[..], !is_json(&parts.headers));
            let callback = twilio::Callback { path_and_query, body, is_form };
            twilio::verify(signature, settings, &callback, url, secrets)
        }
    }
}

/// Whether the signature covers the parameters in the body, and not its bytes. The format is then checked
/// first, which is cheap because forms are small.
pub(crate) fn signs_parameters(provider: Provider) -> bool {
    match provider {
        Provider::ElevenLabs => false,
        Provider::Twilio => true,
    }
}

/// Checks the format of a body, and returns the id of its webhook. The id does not depend on the spelling
/// of the path, nor on the spelling or order of signed parameters.
pub(crate) fn check_format(
    provider: Provider,
    parts: &Parts,
    body: &Body,
) -> Result<WebhookId, ContentError> {
    let is_form = match provider {
        Provider::ElevenLabs => false,
        Provider::Twilio => !is_json(&parts.headers),
    };
    let canonical = if is_form {
        Some(Form::parse(&body.whole())?.canonical())
    } else {
        json::check_pieces(body.pieces())?;
        None
    };
    let pieces = canonical.as_ref().map_or(body.pieces(), std::slice::from_ref);
    Ok(match own_query(provider, parts) {
        // Twilio signs query and parameters without a separator, so the id has no separator either. Thus one
        // signature has one id.
        Some(query) => {
            let query = Bytes::from(format!("?{query}"));
            webhook_id(provider.path(), &[&[query], pieces].concat())
        }
        None => webhook_id(provider.path(), pieces),
    })
}

/// The query of the URL, if it belongs to the webhook. Only callbacks that Twilio posts have such a query.
pub(crate) fn own_query(provider: Provider, parts: &Parts) -> Option<&str> {
    match provider {
        Provider::ElevenLabs => None,
        Provider::Twilio => query(parts).filter(|_| parts.method == Method::POST),
    }
}

/// The form of a callback by GET. Its URL holds the form, and it has no body.
pub(crate) fn form_of_get(parts: &Parts) -> Option<Bytes> {
    (parts.method == Method::GET).then(|| Bytes::copy_from_slice(query(parts).unwrap_or_default().as_bytes()))
}

fn query(parts: &Parts) -> Option<&str> {
    parts.uri.query().filter(|query| !query.is_empty())
}

fn elevenlabs_signatures(parts: &Parts) -> impl Iterator<Item = &[u8]> {
    parts.headers.get_all(Provider::ElevenLabs.signature_header()).iter().map(HeaderValue::as_bytes)
}

/// The signature, and the header that names its algorithm.
fn twilio_signature(parts: &Parts) -> (Option<&[u8]>, Option<&[u8]>) {
    let header = |name| parts.headers.get(name).map(HeaderValue::as_bytes);
    (header(Provider::Twilio.signature_header()), header(twilio::SETTINGS_HEADER))
}
