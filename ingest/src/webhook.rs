//! The checks of a webhook, in order: sender, headers, size, body, signature, format, publish.
//!
//! Invariant: each check comes before the cost of the next, so the headers decide before a byte of the body
//! is read. Under `SOURCE_POLICY=observe` a webhook that sender or signature speak against goes on, marked
//! with the refusal it would have met.

use std::{sync::Arc, time::Duration};

use aftercall_common::{
    stream::{header as ours, subject},
    trace::Kind,
};
use async_nats::{HeaderName, Subject};
use bytes::Bytes;
use hyper::{
    Method,
    body::{Body as _, Incoming},
    header::HeaderValue,
    http::request::Parts,
};
use jiff::Timestamp;

use crate::{
    access::{bearer, is_foreign_page},
    body::{self, Body},
    json,
    message::{self, WebhookId},
    policy::Policy,
    publisher::{PublishError, Webhook},
    rejection::Rejection,
    routes::{Gateway, Route, Scope, is_json},
    signature::{Signature, SignatureError, elevenlabs, twilio},
    source_ip::{Sender, UnknownSender},
    storage::Accepted,
};

/// From this size on a body is looked at on a thread of its own: it takes longer than others are to wait.
const LARGE_BYTES: usize = 256 * 1024;
/// Largest body of a refused sender that is read, to tell the provider at a new address from noise.
const STRANGER_BYTES: usize = 256 * 1024;
/// Time such a body gets.
const STRANGER_TIME: Duration = Duration::from_secs(1);
/// Label of a signature that was not checked.
const UNCHECKED: &str = "unchecked";

/// Whose webhook it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// ElevenLabs: JSON.
    ElevenLabs,
    /// Twilio: a form.
    Twilio,
}

impl Provider {
    fn subject(self) -> &'static str {
        match self {
            Self::ElevenLabs => subject::ELEVENLABS_CALL_STATUS,
            Self::Twilio => subject::TWILIO_CALL_STATUS,
        }
    }

    /// The span of a publish.
    fn span(self) -> &'static str {
        match self {
            Self::ElevenLabs => "send webhooks.elevenlabs.call-status",
            Self::Twilio => "send webhooks.twilio.call-status",
        }
    }

    /// Whether a webhook may come from `sender`. Twilio has no fixed addresses, so its signature decides alone.
    fn allows(self, sender: Sender, policy: &Policy) -> bool {
        self == Self::Twilio || policy.allowed_sources.contain(sender)
    }

    fn is_signed(self, parts: &Parts) -> bool {
        parts.headers.contains_key(match self {
            Self::ElevenLabs => ours::ELEVENLABS_SIGNATURE,
            Self::Twilio => ours::TWILIO_SIGNATURE,
        })
    }

    fn verify(
        self,
        policy: &Policy,
        parts: &Parts,
        body: &Body,
        now: i64,
    ) -> Result<Signature, SignatureError> {
        match self {
            Self::ElevenLabs => elevenlabs::verify(
                parts.headers.get_all(ours::ELEVENLABS_SIGNATURE).iter().map(HeaderValue::as_bytes),
                body.pieces(),
                &policy.elevenlabs_webhook_secret,
                policy.tolerance(),
                now,
            ),
            Self::Twilio => {
                let header = |name| parts.headers.get(name).map(HeaderValue::as_bytes);
                let whole = body.whole();
                let callback = twilio::Callback {
                    path_and_query: parts.uri.path_and_query().map_or("/", |path| path.as_str()),
                    // The parameters of a callback by GET are in the URL, which is signed as it is.
                    body: if parts.method == Method::GET { &[] } else { &whole },
                    is_form: !is_json(&parts.headers),
                };
                let secrets = &policy.twilio_auth_token;
                let (signature, settings) = (header(ours::TWILIO_SIGNATURE), header(twilio::SETTINGS_HEADER));
                twilio::verify(signature, settings, &callback, policy.public_url.as_ref(), secrets)
            }
        }
    }

    /// The same for the same webhook, however its path was spelt. The query of a callback is a part of it.
    fn id(self, parts: &Parts, body: &Body) -> WebhookId {
        let path = Route::Webhook(self).path();
        match own_query(parts) {
            Some(query) if self == Self::Twilio && parts.method == Method::POST => {
                message::webhook_id(&format!("{path}?{query}"), body.pieces())
            }
            _ => message::webhook_id(path, body.pieces()),
        }
    }

    fn check_format(self, parts: &Parts, body: &Body) -> Result<(), Rejection> {
        if self == Self::ElevenLabs || is_json(&parts.headers) {
            return json::check_pieces(body.pieces()).map_err(|detail| Rejection::InvalidJson { detail });
        }
        let body = body.whole();
        let is_form = std::str::from_utf8(&body).is_ok() && form_urlencoded::parse(&body).next().is_some();
        if is_form { Ok(()) } else { Err(Rejection::InvalidForm) }
    }
}

/// The query of the request's URL, unless it is empty.
fn own_query(parts: &Parts) -> Option<&str> {
    parts.uri.query().filter(|query| !query.is_empty())
}

/// What a webhook is judged by, besides its body.
#[derive(Clone, Copy)]
struct CheckInput<'a> {
    provider: Provider,
    policy: &'a Arc<Policy>,
    parts: &'a Parts,
    /// Unix time in seconds.
    now: i64,
    /// Whether the sender showed one of our `EVENTS_TOKEN`.
    has_token: bool,
}

/// What the check of a body found.
struct CheckOutcome {
    /// Of the signature.
    verdict: Result<Signature, SignatureError>,
    /// The webhook's id, and the refusal that `observe` overrides; or the refusal.
    outcome: Result<(WebhookId, Option<Rejection>), Rejection>,
}

impl CheckInput<'_> {
    /// What the headers speak against, before a byte of the body is read.
    fn check_headers(&self, sender: Result<Sender, UnknownSender>) -> Result<(), Rejection> {
        let Self { provider, policy, parts, .. } = *self;
        let sender = sender.map_err(Rejection::UnknownSender)?;
        if self.has_token {
            return Ok(());
        }
        if provider == Provider::ElevenLabs
            && !policy.events_token.is_empty()
            && !provider.is_signed(parts)
            && bearer(&parts.headers).is_some()
        {
            return Err(Rejection::Unauthorized { detail: "The bearer token is none of EVENTS_TOKEN." });
        }
        if !provider.allows(sender, policy) {
            return Err(Rejection::SourceNotAllowed);
        }
        if provider == Provider::Twilio {
            return Ok(());
        }
        // Without a secret the address decides alone, and a browser on this machine has the machine's address.
        if policy.elevenlabs_webhook_secret.is_empty() && is_foreign_page(&parts.headers) {
            return Err(Rejection::CrossSite);
        }
        let agreed =
            policy.webhook_header_secret.as_ref().is_none_or(|secret| secret.is_carried(&parts.headers));
        if agreed { Ok(()) } else { Err(Rejection::HeaderSecret) }
    }

    /// Checks `body`, and gives it back. `doubt` is what the headers spoke against while we observe.
    async fn check(self, body: Body, doubt: Option<Rejection>) -> (Body, CheckOutcome) {
        if body.len() < LARGE_BYTES {
            let checked = self.check_body(&body, doubt);
            return (body, checked);
        }
        let Self { provider, policy, parts, now, has_token } = self;
        let (policy, parts) = (policy.clone(), parts.clone());
        let checking = tokio::task::spawn_blocking(move || {
            let input = CheckInput { provider, policy: &policy, parts: &parts, now, has_token };
            let checked = input.check_body(&body, doubt);
            (body, checked)
        });
        checking.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// Signature, format, id; each before the cost of the next.
    fn check_body(self, body: &Body, doubt: Option<Rejection>) -> CheckOutcome {
        let Self { provider, policy, parts, now, has_token } = self;
        let verdict =
            if has_token { Ok(Signature::Token) } else { provider.verify(policy, parts, body, now) };
        let doubt = doubt.or_else(|| verdict.err().map(Rejection::Signature));
        let outcome = match doubt {
            Some(rejection) if !policy.observes() => Err(rejection),
            doubt => provider.check_format(parts, body).map(|()| (provider.id(parts, body), doubt)),
        };
        CheckOutcome { verdict, outcome }
    }
}

impl Gateway {
    /// Checks and stores a webhook from the sender of `scope`.
    pub(crate) async fn webhook(
        &self,
        provider: Provider,
        scope: &Scope<'_>,
        parts: &Parts,
        body: &mut Incoming,
        bytes: &mut usize,
    ) -> Result<(WebhookId, Accepted), Rejection> {
        let Scope { policy, span, peer, sender } = *scope;
        let received_at = Timestamp::now();
        let route = Route::Webhook(provider).label();
        let has_token = provider == Provider::ElevenLabs
            && bearer(&parts.headers).is_some_and(|given| policy.events_token.contain(given));
        let input = CheckInput { provider, policy, parts, now: received_at.as_second(), has_token };
        let headers = input.check_headers(sender);
        let allowed = !headers.as_ref().is_err_and(Rejection::is_of_stranger);
        let doubt = match headers {
            Err(rejection) if !policy.observes() => {
                let verdict = if allowed { UNCHECKED } else { self.check_stranger(input, body).await };
                self.metrics.origin(route, allowed, verdict);
                if !allowed && verdict == Signature::Verified.label() {
                    self.metrics.webhook(route, false); // Our own provider, from an unknown address.
                }
                return Err(rejection);
            }
            checked => checked.err(),
        };
        let body = match own_query(parts) {
            Some(form) if parts.method == Method::GET => {
                Body::unbudgeted(Bytes::copy_from_slice(form.as_bytes()))
            }
            _ => self.read(body, self.config.max_body_bytes.get(), self.storage.room(), bytes).await?,
        };
        let (body, CheckOutcome { verdict, outcome }) = input.check(body, doubt).await;
        self.metrics.origin(route, allowed, verdict.map_or_else(SignatureError::label, Signature::label));
        let signature = verdict.unwrap_or_else(Signature::Doubtful);
        let (id, doubt) = outcome?;

        let source = sender.map_or(peer, |sender| sender.address);
        let mut headers = message::headers(id, &parts.headers, source, signature, received_at);
        if let Some(doubt) = doubt {
            headers.insert(HeaderName::from_static(ours::WOULD_REFUSE), self.observe(&doubt));
        }
        if provider == Provider::Twilio
            && parts.method == Method::POST
            && let Some((name, query)) = message::query_header(own_query(parts))
        {
            headers.insert(name, query);
        }
        let mut sending = self.tracer.child(provider.span(), Kind::Producer, span);
        sending.set("messaging.system", || "nats");
        sending.set("messaging.message.id", || id.to_string());
        if let Some(context) = sending.traceparent() {
            headers.insert(HeaderName::from_static(ours::TRACEPARENT), context);
        }
        let webhook = Webhook { subject: Subject::from_static(provider.subject()), id, headers, body };
        let accepted = self.storage.store(webhook).await.map_err(|error| {
            sending.fail(error.label());
            match error {
                PublishError::QueueFull => Rejection::Overloaded,
                error => Rejection::NotStored(error),
            }
        })?;
        Ok((id, accepted))
    }

    /// Counts and logs what would be refused; the code of it.
    fn observe(&self, doubt: &Rejection) -> &'static str {
        let code = doubt.label();
        self.metrics.observed(code);
        tracing::warn!(code, "this webhook would be refused, were SOURCE_POLICY not observe");
        code
    }

    /// What the signature says of a refused sender: it tells our own provider at a new address from noise.
    /// Only a small body that claims to be signed is read for that.
    async fn check_stranger(&self, input: CheckInput<'_>, body: &mut Incoming) -> &'static str {
        let CheckInput { provider, policy, parts, now, .. } = input;
        let small = body.size_hint().exact().is_some_and(|bytes| bytes <= STRANGER_BYTES as u64);
        if !small || !provider.is_signed(parts) {
            return UNCHECKED;
        }
        let limits = body::Limits { most: STRANGER_BYTES, joined: STRANGER_BYTES, time: STRANGER_TIME };
        match body::read(body, limits, &self.budget).await {
            Ok(body) => provider
                .verify(policy, parts, &body, now)
                .map_or_else(SignatureError::label, Signature::label),
            Err(_) => UNCHECKED,
        }
    }
}
