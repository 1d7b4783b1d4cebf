//! The checks of a webhook, in order: sender, signature headers, signature, format. Pure: time is an
//! argument.
//!
//! Invariant: a check runs only after all cheaper checks have passed, and the headers are checked before the
//! body is read. Under `SOURCE_POLICY=observe`, a webhook with an [`AuthenticityError`] is not refused: the
//! webhook is accepted, and marked with the error.

use std::sync::Arc;

use hyper::http::request::Parts;

use super::{
    access::{bearer, is_foreign_page},
    body::{Body, encoding::Unpacking},
    provider::{self, ContentError, Provider},
    signature::{Signature, SignatureError},
    source_ip::{Sender, UnknownSender},
    webhook_id::WebhookId,
};
use crate::config::Policy;

/// The reason why a webhook may not come from its provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticityError {
    /// The address of the sender is unknown.
    UnknownSender(UnknownSender),
    /// The sender is not in `ALLOWED_SOURCES`.
    SourceNotAllowed,
    /// The bearer token is not one of `EVENTS_TOKEN`.
    WrongToken,
    /// A web page of another origin sent the request, or the request names a foreign host.
    CrossSite,
    /// The signature is missing, invalid or expired.
    Signature(SignatureError),
    /// The header of `WEBHOOK_HEADER_SECRET` is missing or has another value.
    HeaderSecret,
}

impl AuthenticityError {
    /// Every error.
    pub const ALL: [Self; 9] = [
        Self::UnknownSender(UnknownSender::UntrustedProxy),
        Self::UnknownSender(UnknownSender::UnreadableHop),
        Self::SourceNotAllowed,
        Self::WrongToken,
        Self::CrossSite,
        Self::Signature(SignatureError::Missing),
        Self::Signature(SignatureError::Invalid),
        Self::Signature(SignatureError::Expired),
        Self::HeaderSecret,
    ];

    /// Whether the sender is not one that the operator has listed. Any sender can cause such an error, so it
    /// does not show a problem with the provider.
    pub fn is_unlisted_sender(self) -> bool {
        match self {
            Self::UnknownSender(_) | Self::SourceNotAllowed | Self::WrongToken | Self::CrossSite => true,
            Self::Signature(_) | Self::HeaderSecret => false,
        }
    }
}

/// Why a webhook is refused after its body was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckError {
    /// The webhook may not come from its provider.
    Authenticity(AuthenticityError),
    /// The content of the webhook is refused.
    Content(ContentError),
}

/// The input of the checks, besides the sender and the body.
#[derive(Clone, Copy, Debug)]
pub struct CheckInput<'a> {
    /// The provider whose route received it.
    pub provider: Provider,
    /// The policy for the whole request.
    pub policy: &'a Arc<Policy>,
    /// The head of the request.
    pub parts: &'a Parts,
    /// Time of receipt, Unix time in seconds.
    pub now: i64,
    /// Whether the sender authenticated with one of `EVENTS_TOKEN`.
    pub has_token: bool,
}

/// The result of [`CheckInput::check_body`].
#[derive(Debug)]
pub struct CheckOutcome {
    /// The result of the signature check.
    pub signature: Signature,
    /// The id of the webhook, and the error that `observe` overrides, if any. `Err`: the webhook is refused.
    pub id: Result<(WebhookId, Option<AuthenticityError>), CheckError>,
}

impl<'a> CheckInput<'a> {
    /// The input for a webhook of `provider` that was received at `now`.
    pub fn new(provider: Provider, policy: &'a Arc<Policy>, parts: &'a Parts, now: i64) -> Self {
        let has_token = provider::takes_events_token(provider)
            && bearer(&parts.headers).is_some_and(|given| policy.events_token.contains(given));
        Self { provider, policy, parts, now, has_token }
    }

    /// Runs the checks of the headers, before the body is read.
    ///
    /// # Errors
    /// See [`AuthenticityError`].
    pub fn check_headers(self, sender: Result<Sender, UnknownSender>) -> Result<(), AuthenticityError> {
        let Self { provider, policy, parts, now, has_token } = self;
        let sender = sender.map_err(AuthenticityError::UnknownSender)?;
        if has_token {
            return Ok(());
        }
        if provider::takes_events_token(provider)
            && !policy.events_token.is_empty()
            && !provider::is_signed(provider, parts)
            && bearer(&parts.headers).is_some()
        {
            return Err(AuthenticityError::WrongToken);
        }
        if !provider::allows(provider, sender, policy) {
            return Err(AuthenticityError::SourceNotAllowed);
        }
        provider::precheck(provider, policy, parts, now).map_err(AuthenticityError::Signature)?;
        // A browser on an allowed machine has an allowed address, so the requests of web pages need this
        // check.
        if provider::trusts_address_alone(provider, policy) && is_foreign_page(&parts.headers) {
            return Err(AuthenticityError::CrossSite);
        }
        match provider::required_header(provider, policy) {
            Some(secret) if !secret.is_carried(&parts.headers) => Err(AuthenticityError::HeaderSecret),
            Some(_) | None => Ok(()),
        }
    }

    /// Checks signature and format, decompresses `body` in place, and returns the id of the webhook.
    /// `authenticity_error` is the error of [`Self::check_headers`] that `observe` overrides.
    pub fn check_body(
        self,
        body: &mut Body,
        authenticity_error: Option<AuthenticityError>,
        unpacking: Unpacking<'_>,
    ) -> CheckOutcome {
        let Self { provider, policy, parts, now, has_token } = self;
        let check_format = |body: &mut Body| {
            unpacking.replace(body)?;
            provider::check_format(provider, parts, body)
        };
        let early_format = provider::signs_parameters(provider).then(|| check_format(body));
        let verified = if has_token {
            Ok(Signature::Token)
        } else {
            provider::verify(provider, policy, parts, body, now)
        };
        let authenticity_error =
            authenticity_error.or_else(|| verified.err().map(AuthenticityError::Signature));
        let id = match (early_format, authenticity_error) {
            (Some(Err(error)), _) => Err(CheckError::Content(error)),
            (_, Some(error)) if !policy.observes() => Err(CheckError::Authenticity(error)),
            (Some(Ok(id)), authenticity_error) => Ok((id, authenticity_error)),
            (None, authenticity_error) => {
                check_format(body).map(|id| (id, authenticity_error)).map_err(CheckError::Content)
            }
        };
        CheckOutcome { signature: verified.unwrap_or_else(Signature::Doubtful), id }
    }
}

#[cfg(test)]
mod tests;
