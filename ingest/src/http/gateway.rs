//! The checks of a webhook, in order: sender, headers, size, body, signature, format, publish.
//!
//! Invariant: each check comes before the cost of the next, so the headers decide before a byte of the body
//! is read. Under `SOURCE_POLICY=observe` a webhook that fails a check of sender or signature is accepted,
//! and marked with the code of that refusal.

use std::{sync::Arc, time::Duration};

use aftercall_common::{contract::streams::header as ours, process::trace::Kind};
use async_nats::{HeaderName, Subject};
use hyper::{
    body::{Body as _, Incoming},
    http::request::Parts,
};
use jiff::Timestamp;

use super::{
    rejection::Rejection,
    routes::{Gateway, Route, Scope},
};
use crate::{
    admission::{
        access::{bearer, is_foreign_page},
        body::{
            self, Body, Trust,
            encoding::{self, Encoding, Unpacking},
        },
        policy::Policy,
        provider::{Provider, form_of_get},
        signature::{Signature, SignatureError},
        source_ip::{Sender, UnknownSender},
    },
    storage::{
        Accepted,
        message::{self, Webhook, WebhookId},
        publisher::PublishError,
    },
};

/// Bodies of at least this size are checked on a thread of their own, so that other requests do not wait.
const LARGE_BYTES: usize = 256 * 1024;
/// Largest body of a refused sender that is read, to tell the provider at a new address from noise.
const STRANGER_BYTES: usize = 256 * 1024;
/// Time such a body gets.
const STRANGER_TIME: Duration = Duration::from_secs(1);
/// Label of a signature that was not checked.
const UNCHECKED: &str = "unchecked";

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
    /// Checks everything that the headers decide, before a byte of the body is read.
    fn check_headers(&self, sender: Result<Sender, UnknownSender>) -> Result<(), Rejection> {
        let Self { provider, policy, parts, now, has_token } = *self;
        let sender = sender.map_err(Rejection::UnknownSender)?;
        if has_token {
            return Ok(());
        }
        let is_elevenlabs = provider == Provider::ElevenLabs;
        if is_elevenlabs
            && !policy.events_token.is_empty()
            && !provider.is_signed(parts)
            && bearer(&parts.headers).is_some()
        {
            return Err(Rejection::Unauthorized { detail: "The bearer token is none of EVENTS_TOKEN." });
        }
        if !provider.allows(sender, policy) {
            return Err(Rejection::SourceNotAllowed);
        }
        provider.precheck(policy, parts, now).map_err(Rejection::Signature)?;
        // Without a secret the address decides alone, and a browser on this machine has the machine's address.
        if is_elevenlabs && policy.elevenlabs_webhook_secret.is_empty() && is_foreign_page(&parts.headers) {
            return Err(Rejection::CrossSite);
        }
        let agreed =
            policy.webhook_header_secret.as_ref().is_none_or(|secret| secret.is_carried(&parts.headers));
        if is_elevenlabs && !agreed { Err(Rejection::HeaderSecret) } else { Ok(()) }
    }

    /// Checks `body`, and gives it back unpacked. `doubt` is what the headers spoke against while we observe.
    async fn check(
        self,
        mut body: Body,
        doubt: Option<Rejection>,
        unpacking: Unpacking<'_>,
    ) -> (Body, CheckOutcome) {
        if body.len() < LARGE_BYTES && unpacking.encoding == Encoding::Identity {
            let checked = self.check_body(&mut body, doubt, unpacking);
            return (body, checked);
        }
        let Self { provider, policy, parts, now, has_token } = self;
        let Unpacking { encoding, most, joined, budget } = unpacking;
        let (policy, parts, budget) = (policy.clone(), parts.clone(), budget.clone());
        let checking = tokio::task::spawn_blocking(move || {
            let unpacking = Unpacking { encoding, most, joined, budget: &budget };
            let input = CheckInput { provider, policy: &policy, parts: &parts, now, has_token };
            let checked = input.check_body(&mut body, doubt, unpacking);
            (body, checked)
        });
        checking.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// Signature, format, id; each before the cost of the next.
    fn check_body(self, body: &mut Body, doubt: Option<Rejection>, unpacking: Unpacking<'_>) -> CheckOutcome {
        let Self { provider, policy, parts, now, has_token } = self;
        let check_format =
            |body: &mut Body| unpacking.replace(body).and_then(|()| provider.check_format(parts, body));
        // ElevenLabs signs the bytes it sends. Twilio signs the parameters in them, so the form, which is small,
        // is read first.
        let form = (provider == Provider::Twilio).then(|| check_format(body));
        let verdict =
            if has_token { Ok(Signature::Token) } else { provider.verify(policy, parts, body, now) };
        let doubt = doubt.or_else(|| verdict.err().map(Rejection::Signature));
        let outcome = match (form, doubt) {
            (Some(Err(rejection)), _) => Err(rejection),
            (_, Some(rejection)) if !policy.observes() => Err(rejection),
            (Some(Ok(id)), doubt) => Ok((id, doubt)),
            (None, doubt) => check_format(body).map(|id| (id, doubt)),
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
                let verdict = match &rejection {
                    Rejection::Signature(error) => error.label(),
                    _ if allowed => UNCHECKED,
                    _ => self.check_stranger(input, body).await,
                };
                self.metrics.origin(route, allowed, verdict);
                if !allowed && verdict == Signature::Verified.label() {
                    self.metrics.webhook(route, false); // Our own provider, from an unknown address.
                }
                return Err(rejection);
            }
            checked => checked.err(),
        };
        let encoding = encoding::encoding(&parts.headers)?;
        let (trust, most) = provider.budget(self.config.max_body_bytes.get());
        let joined = self.storage.max_message_body();
        let body = match form_of_get(parts) {
            Some(form) => Body::unbudgeted(form),
            None => self.read(trust, body, most, joined, bytes).await?,
        };
        let unpacking = Unpacking { encoding, most, joined, budget: self.budgets.of(trust) };
        let (body, CheckOutcome { verdict, outcome }) = input.check(body, doubt, unpacking).await;
        self.metrics.origin(route, allowed, verdict.map_or_else(SignatureError::label, Signature::label));
        let signature = verdict.unwrap_or_else(Signature::Doubtful);
        let (id, doubt) = outcome?;

        let source = sender.map_or(peer, |sender| sender.address);
        let mut headers = message::headers(id, &parts.headers, source, signature, received_at);
        if let Some(doubt) = doubt {
            headers.insert(HeaderName::from_static(ours::WOULD_REFUSE), self.observe(&doubt));
        }
        if let Some((name, query)) = message::query_header(provider.own_query(parts)) {
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
    /// Only a small body whose headers claim a signature of now is read for that.
    async fn check_stranger(&self, input: CheckInput<'_>, body: &mut Incoming) -> &'static str {
        let CheckInput { provider, policy, parts, now, .. } = input;
        let is_small = body.size_hint().exact().is_some_and(|bytes| bytes <= STRANGER_BYTES as u64);
        let is_claimed = provider.is_signed(parts) && provider.precheck(policy, parts, now).is_ok();
        if !is_small || !is_claimed {
            return UNCHECKED;
        }
        let limits = body::Limits { most: STRANGER_BYTES, joined: STRANGER_BYTES, time: STRANGER_TIME };
        match body::read(body, limits, self.budgets.of(Trust::Stranger)).await {
            Ok(body) => provider
                .verify(policy, parts, &body, now)
                .map_or_else(SignatureError::label, Signature::label),
            Err(_) => UNCHECKED,
        }
    }
}
