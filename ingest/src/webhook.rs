//! The checks of a webhook, in order: source, size, body, signature, form, publish.
//!
//! Invariant: each check comes before the cost of the next. Under `SOURCE_POLICY=observe` what source
//! and signature speak against goes on, marked with the refusal it would have met.

use std::{net::IpAddr, sync::Arc, time::Duration};

use aftercall_common::{
    stream::{header as ours, subject},
    trace::Kind,
};
use async_nats::{HeaderName, Subject};
use hyper::{
    body::{Body as _, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    http::request::Parts,
};
use jiff::Timestamp;

use crate::{
    body::{self, Body, Budget, Trust},
    encoding::{self, Encoding},
    form::{self, Form},
    json,
    message::{self, WebhookId},
    policy::Policy,
    publisher::{PublishError, Webhook},
    rejection::Rejection,
    routes::{Gateway, Route, Scope},
    signature::{Signature, SignatureError, elevenlabs, twilio},
    storage::Accepted,
};

/// From this size on a body is looked at on a thread of its own: it takes longer than others are to wait.
const LARGE_BYTES: usize = 256 * 1024;
/// Largest body of a sender from elsewhere that is read merely to tell who it is.
const GLANCE_BYTES: usize = 256 * 1024;
/// Time such a body gets.
const GLANCE_TIME: Duration = Duration::from_secs(1);

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

    /// Twilio has no fixed addresses: where its signature is required, that decides alone.
    fn allows(self, client: Option<IpAddr>, policy: &Policy) -> bool {
        (self == Self::Twilio && !policy.twilio_auth_token.is_empty())
            || client.is_some_and(|client| policy.allowed_sources.contain(client))
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
                let callback = twilio::Callback {
                    path_and_query: parts.uri.path_and_query().map_or("/", |path| path.as_str()),
                    body: &body.whole(),
                    is_form: !is_json(parts),
                };
                let secrets = &policy.twilio_auth_token;
                let (signature, settings) = (header(ours::TWILIO_SIGNATURE), header(twilio::SETTINGS_HEADER));
                twilio::verify(signature, settings, &callback, policy.public_url.as_ref(), secrets)
            }
        }
    }

    /// Refuses what the signature headers alone speak against, before a byte of the body is read.
    fn precheck(self, policy: &Policy, parts: &Parts, now: i64) -> Result<(), SignatureError> {
        match self {
            Self::ElevenLabs => {
                let lines =
                    parts.headers.get_all(ours::ELEVENLABS_SIGNATURE).iter().map(HeaderValue::as_bytes);
                let secrets = &policy.elevenlabs_webhook_secret;
                elevenlabs::precheck(lines, secrets, policy.tolerance(), now).map(drop)
            }
            Self::Twilio => {
                let header = |name| parts.headers.get(name).map(HeaderValue::as_bytes);
                let (signature, settings) = (header(ours::TWILIO_SIGNATURE), header(twilio::SETTINGS_HEADER));
                twilio::precheck(signature, settings, &policy.twilio_auth_token).map(drop)
            }
        }
    }

    /// What is known of its senders before a body, and the largest body they may send.
    fn trust(self, policy: &Policy, most: usize) -> (Trust, usize) {
        match self {
            Self::ElevenLabs => (Trust::Provider, most),
            Self::Twilio if policy.twilio_auth_token.is_empty() => {
                (Trust::Provider, most.min(form::MAX_BYTES))
            }
            Self::Twilio => (Trust::Unverified, most.min(form::MAX_BYTES)),
        }
    }

    /// The id of a webhook whose body is as it must be.
    fn check_form(self, parts: &Parts, body: &Body) -> Result<WebhookId, Rejection> {
        let path = parts.uri.path();
        if self == Self::ElevenLabs || is_json(parts) {
            json::check_pieces(body.pieces())?;
            return Ok(message::webhook_id(path, body.pieces()));
        }
        let canonical = Form::parse(&body.whole())?.canonical();
        Ok(message::webhook_id(path, &[canonical]))
    }
}

fn is_json(parts: &Parts) -> bool {
    let value = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("application/json"))
}

/// What a webhook is judged by, besides its body.
#[derive(Clone, Copy)]
struct Sight<'a> {
    provider: Provider,
    /// Whether its source is.
    allowed: bool,
    policy: &'a Arc<Policy>,
    parts: &'a Parts,
    /// In seconds.
    now: i64,
    unpacking: Unpacking<'a>,
}

/// How a packed body is unpacked.
#[derive(Clone, Copy)]
struct Unpacking<'a> {
    encoding: Encoding,
    most: usize,
    joined: usize,
    budget: &'a Budget,
}

impl Unpacking<'_> {
    /// Replaces a packed `body`.
    fn unpack(self, body: &mut Body) -> Result<(), Rejection> {
        let Self { encoding, most, joined, budget } = self;
        if encoding != Encoding::Identity {
            *body = encoding::unpack(body, encoding, most, joined, budget)
                .map_err(|error| Rejection::unpacking(error, most))?;
        }
        Ok(())
    }
}

/// What a look at a body brought.
struct Seen {
    /// Of the signature.
    verdict: Result<Signature, SignatureError>,
    /// Its id, and what speaks against its sender but is merely observed; or why it is refused.
    outcome: Result<(WebhookId, Option<Rejection>), Rejection>,
}

impl Sight<'_> {
    /// Looks at `body`, which is given back unpacked.
    async fn of(self, mut body: Body) -> (Body, Seen) {
        if body.len() < LARGE_BYTES && self.unpacking.encoding == Encoding::Identity {
            let seen = self.look(&mut body);
            return (body, seen);
        }
        let Self { provider, allowed, policy, parts, now, unpacking } = self;
        let (policy, parts, budget) = (policy.clone(), parts.clone(), unpacking.budget.clone());
        let Unpacking { encoding, most, joined, .. } = unpacking;
        let looking = tokio::task::spawn_blocking(move || {
            let unpacking = Unpacking { encoding, most, joined, budget: &budget };
            let sight = Sight { provider, allowed, policy: &policy, parts: &parts, now, unpacking };
            let seen = sight.look(&mut body);
            (body, seen)
        });
        looking.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// Signature, form, id; each before the cost of the next.
    fn look(self, body: &mut Body) -> Seen {
        let Self { provider, allowed, policy, parts, now, unpacking } = self;
        // ElevenLabs signs the bytes it sends, Twilio the parameters in them.
        let early = if provider == Provider::Twilio { unpacking.unpack(body) } else { Ok(()) };
        let verdict = provider.verify(policy, parts, body, now);
        let agreed = provider == Provider::Twilio
            || policy.webhook_header_secret.as_ref().is_none_or(|secret| secret.is_carried(&parts.headers));
        let doubt = match verdict {
            _ if !allowed => Some(Rejection::SourceNotAllowed),
            Err(error) => Some(Rejection::Signature(error)),
            Ok(_) if !agreed => Some(Rejection::HeaderSecret),
            Ok(_) => None,
        };
        let outcome = match doubt {
            Some(rejection) if !policy.observes() => Err(rejection),
            doubt => early
                .and_then(|()| if provider == Provider::Twilio { Ok(()) } else { unpacking.unpack(body) })
                .and_then(|()| provider.check_form(parts, body))
                .map(|id| (id, doubt)),
        };
        Seen { verdict, outcome }
    }
}

impl Gateway {
    /// Takes in a webhook that the client of `scope`, or failing that its peer, sent.
    pub(crate) async fn webhook(
        &self,
        provider: Provider,
        scope: &Scope<'_>,
        parts: &Parts,
        body: &mut Incoming,
        bytes: &mut usize,
    ) -> Result<(WebhookId, Accepted), Rejection> {
        let Scope { policy, span, peer, client } = *scope;
        let received_at = Timestamp::now();
        let route = Route::Webhook(provider).label();
        let allowed = provider.allows(client, policy);
        if !allowed && !policy.observes() {
            let verdict = self.glance(provider, policy, parts, body, received_at).await;
            self.metrics.origin(route, allowed, verdict);
            if verdict == Signature::Verified.label() {
                self.metrics.webhook(route, false); // Our own provider, at a new address.
            }
            return Err(Rejection::SourceNotAllowed);
        }
        let (encoding, now) = (encoding::encoding(&parts.headers)?, received_at.as_second());
        if !policy.observes()
            && let Err(error) = provider.precheck(policy, parts, now)
        {
            self.metrics.origin(route, allowed, error.label());
            return Err(Rejection::Signature(error));
        }
        let (trust, most) = provider.trust(policy, self.config.max_body_bytes.get());
        let joined = self.storage.room();
        let body = self.read(trust, body, most, joined, bytes).await?;
        let unpacking = Unpacking { encoding, most, joined, budget: self.budgets.of(trust) };
        let sight = Sight { provider, allowed, policy, parts, now, unpacking };
        let (body, Seen { verdict, outcome }) = sight.of(body).await;
        self.metrics.origin(route, allowed, verdict.map_or_else(SignatureError::label, Signature::label));
        let signature = verdict.unwrap_or_else(Signature::Doubtful);
        let (id, doubt) = outcome?;

        let source = client.unwrap_or(peer);
        let mut headers = message::headers(id, &parts.headers, source, signature, received_at);
        if let Some(doubt) = doubt {
            headers.insert(HeaderName::from_static(ours::WOULD_REFUSE), self.observe(&doubt));
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

    /// What the signature says of a sender from elsewhere: it tells our own provider at a new address
    /// from noise. Only what claims to be signed, and is small, is read for that.
    async fn glance(
        &self,
        provider: Provider,
        policy: &Policy,
        parts: &Parts,
        body: &mut Incoming,
        now: Timestamp,
    ) -> &'static str {
        const UNCHECKED: &str = "unchecked";
        let small = body.size_hint().exact().is_some_and(|bytes| bytes <= GLANCE_BYTES as u64);
        let claims = provider.is_signed(parts) && provider.precheck(policy, parts, now.as_second()).is_ok();
        if !small || !claims {
            return UNCHECKED;
        }
        let limits = body::Limits { most: GLANCE_BYTES, joined: GLANCE_BYTES, time: GLANCE_TIME };
        match body::read(body, limits, self.budgets.of(Trust::Stranger)).await {
            Ok(body) => provider
                .verify(policy, parts, &body, now.as_second())
                .map_or_else(SignatureError::label, Signature::label),
            Err(_) => UNCHECKED,
        }
    }
}
