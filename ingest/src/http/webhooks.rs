//! Accepts webhooks: runs the checks of [`checks`](crate::admission::checks), reads the body between them,
//! and stores the webhook.
//!
//! Invariant: the headers are checked before the body is read, and a webhook is stored only after it has
//! passed every check.

use std::{sync::Arc, time::Duration};

use aftercall_common::{
    contract::streams::header as names,
    process::{
        blocking,
        trace::{Kind, Tracer},
    },
};
use async_nats::{HeaderMap, HeaderName, Subject};
use jiff::Timestamp;

use super::{
    problem::Problem,
    rejection::Rejection,
    request::{RequestBody, RequestHead},
};
use crate::{
    admission::{
        body::{
            Body, Budgets, Limits, Trust,
            encoding::{self, Encoding, Unpacking},
        },
        checks::{AuthenticityError, CheckInput, CheckOutcome},
        provider::{self, Provider},
        signature::{Signature, UNCHECKED},
        webhook_id::WebhookId,
    },
    config::Config,
    metrics::{Metrics, SourceLabel},
    storage::{
        Accepted, Storage,
        message::{self, Webhook},
        publisher::PublishError,
    },
};

/// Bodies of at least this size, in bytes, and compressed ones are checked on a blocking thread, so that other requests do
/// not wait.
const LARGE_BYTES: usize = 256 * 1024;
/// Largest body of an unlisted sender that is read, in bytes.
const UNLISTED_BYTES: usize = 256 * 1024;
/// Longest time until the body of an unlisted sender is complete.
const UNLISTED_TIMEOUT: Duration = Duration::from_secs(1);

/// Accepts and stores webhooks.
#[derive(Debug)]
pub(crate) struct Webhooks {
    storage: Arc<Storage>,
    budgets: Budgets,
    metrics: Metrics,
    tracer: Tracer,
    max_body_bytes: usize,
    body_timeout: Duration,
}

impl Webhooks {
    /// Stores webhooks in `storage`, within the limits of `config`.
    pub fn new(
        config: &Config,
        storage: Arc<Storage>,
        budgets: Budgets,
        metrics: Metrics,
        tracer: Tracer,
    ) -> Self {
        let (max_body_bytes, body_timeout) = (config.max_body_bytes.get(), config.body_timeout);
        Self { storage, budgets, metrics, tracer, max_body_bytes, body_timeout }
    }

    /// Checks and stores a webhook of `provider`.
    ///
    /// # Errors
    /// The reason why the webhook was refused, or why it is not known to be stored.
    pub async fn accept(
        &self,
        provider: Provider,
        head: &RequestHead,
        body: &mut RequestBody,
    ) -> Result<(WebhookId, Accepted), Rejection> {
        let received_at = Timestamp::now();
        let input = CheckInput::new(provider, &head.policy, &head.parts, received_at.as_second());
        let outcome = self.check_and_store(input, received_at, head, body).await;
        // Only what the provider has sent shows a problem with it.
        let concerns_provider = !input.has_token
            && match &outcome {
                Err(Rejection::Authenticity(error)) if error.is_unlisted_sender() => false,
                // Without known addresses, any sender can cause the refusals before the signature is verified.
                Err(Rejection::NotStored(_) | Rejection::Overloaded) | Ok(_) => true,
                Err(_) => provider::has_known_addresses(provider),
            };
        if concerns_provider {
            self.metrics.record_webhook(provider.route_label(), outcome.is_ok());
        }
        outcome
    }

    async fn check_and_store(
        &self,
        input: CheckInput<'_>,
        received_at: Timestamp,
        head: &RequestHead,
        body: &mut RequestBody,
    ) -> Result<(WebhookId, Accepted), Rejection> {
        let provider = input.provider;
        let authenticity_error = self.check_headers(input, head, body).await?;
        let (body, CheckOutcome { signature, id }) = self.check_body(input, authenticity_error, body).await?;
        let source = source_label(authenticity_error);
        self.metrics.count_authenticity(provider.route_label(), source, signature.label());
        let (id, authenticity_error) = id?;

        let source = head.sender.map_or(head.peer, |sender| sender.address);
        let mut headers = message::headers(id, &head.parts.headers, source, signature, received_at);
        let would_refuse = authenticity_error.map(|error| Problem::from(error).code());
        if let Some(code) = would_refuse {
            headers.insert(HeaderName::from_static(names::WOULD_REFUSE), code);
        }
        if let Some((name, query)) = message::query_header(provider::own_query(provider, &head.parts)) {
            headers.insert(name, query);
        }
        let accepted = self.store(provider, head, id, headers, body).await?;
        if let Some(code) = would_refuse {
            self.observe(id, code);
        }
        Ok((id, accepted))
    }

    /// Checks the headers. Returns the error that `SOURCE_POLICY=observe` overrides.
    async fn check_headers(
        &self,
        input: CheckInput<'_>,
        head: &RequestHead,
        body: &mut RequestBody,
    ) -> Result<Option<AuthenticityError>, AuthenticityError> {
        let Err(error) = input.check_headers(head.sender) else { return Ok(None) };
        if input.policy.observes() {
            return Ok(Some(error));
        }
        let (route, source) = (input.provider.route_label(), source_label(Some(error)));
        let signature = match error {
            AuthenticityError::Signature(error) => Some(Signature::Doubtful(error)),
            _ if source == SourceLabel::Refused => self.check_unlisted_sender(input, body).await,
            _ => None,
        };
        self.metrics.count_authenticity(route, source, signature.map_or(UNCHECKED, Signature::label));
        if source == SourceLabel::Refused && signature == Some(Signature::Verified) {
            // The signature shows that the sender is the provider, at an unlisted address.
            self.metrics.record_webhook(route, false);
        }
        Err(error)
    }

    /// Checks the signature of an unlisted sender, to find out whether it is the provider at a new address.
    /// `None`: not checked. The body is read only if it is small, and if the signature header is well formed
    /// and in time.
    async fn check_unlisted_sender(
        &self,
        input: CheckInput<'_>,
        body: &mut RequestBody,
    ) -> Option<Signature> {
        let CheckInput { provider, policy, parts, now, .. } = input;
        let is_small = body.announced().is_some_and(|bytes| bytes <= UNLISTED_BYTES as u64);
        let is_signed =
            provider::is_signed(provider, parts) && provider::precheck(provider, policy, parts, now).is_ok();
        if !is_small || !is_signed {
            return None;
        }
        let limits =
            Limits { max_bytes: UNLISTED_BYTES, max_joined_bytes: UNLISTED_BYTES, timeout: UNLISTED_TIMEOUT };
        let body = body.read(limits, &self.budgets, Trust::Unlisted).await.ok()?;
        let verified = provider::verify(provider, policy, parts, &body, now);
        Some(verified.unwrap_or_else(Signature::Doubtful))
    }

    /// Reads and checks the body. Returns it decompressed.
    async fn check_body(
        &self,
        input: CheckInput<'_>,
        authenticity_error: Option<AuthenticityError>,
        body: &mut RequestBody,
    ) -> Result<(Body, CheckOutcome), Rejection> {
        let encoding = encoding::encoding(&input.parts.headers)?;
        let (trust, max_bytes) = provider::budget(input.provider, self.max_body_bytes);
        let (budget, max_joined_bytes) = (self.budgets.of(trust), self.storage.max_message_body());
        let content = if let Some(form) = provider::form_of_get(input.parts) {
            Body::unbudgeted(form)
        } else {
            let limits = Limits { max_bytes, max_joined_bytes, timeout: self.body_timeout };
            body.read(limits, &self.budgets, trust).await?
        };
        Ok(check(
            input,
            content,
            authenticity_error,
            Unpacking { encoding, max_bytes, max_joined_bytes, budget },
        )
        .await)
    }

    /// Publishes the webhook, in a span of its own.
    async fn store(
        &self,
        provider: Provider,
        head: &RequestHead,
        id: WebhookId,
        mut headers: HeaderMap,
        body: Body,
    ) -> Result<Accepted, Rejection> {
        let mut span = self.tracer.child(provider.publish_span(), Kind::Producer, &head.span);
        span.set("messaging.system", || "nats");
        span.set("messaging.message.id", || id.to_string());
        if let Some(context) = span.traceparent() {
            headers.insert(HeaderName::from_static(names::TRACEPARENT), context);
        }
        let webhook = Webhook { subject: Subject::from_static(provider.subject()), id, headers, body };
        self.storage.store(webhook).await.map_err(|error| {
            span.fail(error.label());
            match error {
                PublishError::QueueFull => Rejection::Overloaded,
                error => Rejection::NotStored(error),
            }
        })
    }

    /// Counts and logs a stored webhook that `SOURCE_POLICY=enforce` would refuse with this `code`.
    fn observe(&self, id: WebhookId, code: &'static str) {
        self.metrics.count_observed(code);
        tracing::warn!(%id, code, "webhook accepted because SOURCE_POLICY is observe; enforce would refuse it");
    }
}

/// Whether the sender is listed, by the result of the checks of the headers.
fn source_label(error: Option<AuthenticityError>) -> SourceLabel {
    if error.is_some_and(AuthenticityError::is_unlisted_sender) {
        SourceLabel::Refused
    } else {
        SourceLabel::Allowed
    }
}

/// Checks `body`, a large or compressed one on a blocking thread. Returns it decompressed.
async fn check(
    input: CheckInput<'_>,
    mut body: Body,
    authenticity_error: Option<AuthenticityError>,
    unpacking: Unpacking<'_>,
) -> (Body, CheckOutcome) {
    if body.len() < LARGE_BYTES && unpacking.encoding == Encoding::Identity {
        let outcome = input.check_body(&mut body, authenticity_error, unpacking);
        return (body, outcome);
    }
    let CheckInput { provider, policy, parts, now, has_token } = input;
    let Unpacking { encoding, max_bytes, max_joined_bytes, budget } = unpacking;
    let (policy, parts, budget) = (policy.clone(), parts.clone(), budget.clone());
    blocking::run(move || {
        let unpacking = Unpacking { encoding, max_bytes, max_joined_bytes, budget: &budget };
        let input = CheckInput { provider, policy: &policy, parts: &parts, now, has_token };
        let outcome = input.check_body(&mut body, authenticity_error, unpacking);
        (body, outcome)
    })
    .await
}
