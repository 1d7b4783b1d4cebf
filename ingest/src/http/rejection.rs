//! Why a request is refused, and the answer that the sender gets.
//!
//! Invariants:
//! - Each reason has one [`Problem`], and so one status and one code.
//! - An answer of the gateway itself contains no part of the request and no secret. The detail that a worker gives is
//!   passed on as it is. The log has the details.

use std::borrow::Cow;

use aftercall_common::http::Reply;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{
        ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
        WWW_AUTHENTICATE,
    },
};

use super::problem::Problem;
use crate::{
    admission::{
        access::Unauthorized,
        body::{BodyError, encoding::UnpackError},
        checks::{AuthenticityError, CheckError},
        form::{self, FormError},
        json::JsonError,
        provider::ContentError,
        source_ip::UnknownSender,
    },
    storage::publisher::PublishError,
};

/// Seconds after which a sender may try again. The broker is usually available again by then.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub enum Rejection {
    /// No route has this path.
    NotFound,
    /// The route of a provider for which no secret is set.
    RouteClosed {
        /// How the operator can open the route.
        advice: &'static str,
    },
    /// The route does not have this method.
    MethodNotAllowed {
        /// The methods of the route.
        allow: &'static str,
    },
    /// The message is framed by another transfer coding than `chunked`.
    UnsupportedTransferEncoding,
    /// The sender is not allowed, or the webhook may not come from its provider.
    Authenticity(AuthenticityError),
    /// The request to the API lacks the access that it needs.
    Unauthorized(Unauthorized),
    /// The body does not have the type that the route needs.
    UnsupportedMediaType {
        /// The type that the route needs, in a sentence for the sender.
        detail: &'static str,
    },
    /// Reading the body failed.
    Body(BodyError),
    /// Decompressing the body failed.
    Unpack(UnpackError),
    /// The body is not the JSON that is expected.
    Json(JsonError),
    /// The body is not the form that is expected.
    Form(FormError),
    /// The `Idempotency-Key`, the path or the query is invalid.
    InvalidRequest {
        /// What is wrong, in a sentence for the sender.
        detail: &'static str,
    },
    /// No byte of the content is in the requested range.
    RangeNotSatisfiable {
        /// Size of the content in bytes.
        length: u64,
    },
    /// The queue of the publisher is full, or too many answers to readers are being sent.
    Overloaded,
    /// The broker did not confirm that the webhook is stored.
    NotStored(PublishError),
    /// No worker is connected, or none answered in time.
    NoWorker,
    /// A worker was asked to place a call and did not answer. It may have placed the call.
    OutcomeUnknown,
    /// The answer of the worker is invalid.
    BadAnswer,
    /// The worker refused the request.
    Worker(WorkerRefusal),
}

/// A worker's refusal, as [`super::agent_calls`] has checked it.
#[derive(Debug, PartialEq, Eq)]
pub struct WorkerRefusal {
    /// One of the statuses that a worker may choose.
    pub status: StatusCode,
    /// The stable code.
    pub code: String,
    /// A sentence for the caller.
    pub detail: String,
}

impl Rejection {
    /// The problem that the sender sees.
    pub fn problem(&self) -> Problem {
        match self {
            Self::NotFound | Self::RouteClosed { .. } => Problem::NotFound,
            Self::MethodNotAllowed { .. } => Problem::MethodNotAllowed,
            Self::UnsupportedTransferEncoding => Problem::UnsupportedTransferEncoding,
            Self::Authenticity(error) => Problem::from(*error),
            Self::Unauthorized(_) => Problem::Unauthorized,
            Self::UnsupportedMediaType { .. } => Problem::UnsupportedMediaType,
            Self::Body(BodyError::Timeout) => Problem::BodyTimeout,
            Self::Body(BodyError::Broken) => Problem::BodyIncomplete,
            Self::Body(BodyError::TooLarge { .. })
            | Self::Unpack(UnpackError::TooLarge { .. })
            | Self::Form(FormError::TooLarge) => Problem::BodyTooLarge,
            Self::Body(BodyError::OverBudget) | Self::Unpack(UnpackError::OverBudget) | Self::Overloaded => {
                Problem::Overloaded
            }
            Self::Unpack(UnpackError::Unsupported) => Problem::UnsupportedEncoding,
            Self::Unpack(UnpackError::Broken) => Problem::InvalidEncoding,
            Self::Json(JsonError::Invalid(_)) => Problem::InvalidJson,
            Self::Json(JsonError::TooComplex(_)) | Self::Form(FormError::TooManyParameters) => {
                Problem::TooComplex
            }
            Self::Form(FormError::NotText | FormError::Name | FormError::Duplicate | FormError::NoCall) => {
                Problem::InvalidForm
            }
            Self::InvalidRequest { .. } => Problem::InvalidRequest,
            Self::RangeNotSatisfiable { .. } => Problem::RangeNotSatisfiable,
            Self::NotStored(_) => Problem::NotStored,
            Self::NoWorker => Problem::NoWorker,
            Self::OutcomeUnknown => Problem::OutcomeUnknown,
            Self::BadAnswer => Problem::BadAnswer,
            Self::Worker(_) => Problem::RefusedByWorker,
        }
    }

    /// The status, and the code that names the refusal in answer and log.
    pub fn code(&self) -> (StatusCode, &str) {
        match self {
            Self::Worker(refusal) => (refusal.status, &refusal.code),
            other => (other.problem().status(), other.problem().code()),
        }
    }

    /// The code in metrics. A worker's own code is not used here, because it could create new series.
    pub fn label(&self) -> &'static str {
        self.problem().code()
    }

    /// Advice for the operator, if the code alone does not show what to do.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Authenticity(AuthenticityError::UnknownSender(UnknownSender::UntrustedProxy)) => Some(
                "a peer that is not in TRUSTED_PROXIES sent a forwarding header: add your proxy to TRUSTED_PROXIES",
            ),
            Self::Authenticity(AuthenticityError::UnknownSender(UnknownSender::UnreadableHop)) => Some(
                "a proxy in TRUSTED_PROXIES sent an X-Forwarded-For in which the client's address cannot be read",
            ),
            Self::Authenticity(AuthenticityError::SourceNotAllowed) => {
                Some("the sender is not in ALLOWED_SOURCES")
            }
            Self::RouteClosed { advice } => Some(advice),
            _ => None,
        }
    }

    /// A sentence for the sender.
    fn detail(&self) -> Cow<'_, str> {
        let too_large = |limit| Cow::Owned(format!("The body is larger than {limit} bytes."));
        match self {
            Self::Body(BodyError::TooLarge { limit }) | Self::Unpack(UnpackError::TooLarge { limit }) => {
                too_large(*limit)
            }
            Self::Form(FormError::TooLarge) => too_large(form::MAX_BYTES),
            Self::Form(error) => Cow::Owned(error.to_string()),
            Self::Json(error) => Cow::Owned(error.to_string()),
            Self::Authenticity(AuthenticityError::WrongToken) => {
                Cow::Borrowed("The bearer token is not one of EVENTS_TOKEN.")
            }
            Self::Unauthorized(Unauthorized(detail))
            | Self::UnsupportedMediaType { detail }
            | Self::InvalidRequest { detail } => Cow::Borrowed(detail),
            Self::Worker(refusal) => Cow::Borrowed(&refusal.detail),
            other => Cow::Borrowed(other.problem().detail()),
        }
    }

    /// The answer: an RFC 9457 problem.
    pub fn reply(&self) -> Reply {
        let (status, code) = self.code();
        let body = serde_json::json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or("Refused"),
            "status": status.as_u16(),
            "code": code,
            "detail": self.detail(),
        });
        let mut reply = Response::new(Full::new(Bytes::from(body.to_string())));
        *reply.status_mut() = status;
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        let problem = self.problem();
        if problem == Problem::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if problem == Problem::UnsupportedEncoding {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate"));
        }
        if problem.closes_connection() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Self::RangeNotSatisfiable { length } = self
            && let Ok(range) = HeaderValue::try_from(format!("bytes */{length}"))
        {
            headers.insert(CONTENT_RANGE, range);
        }
        if let Self::MethodNotAllowed { allow } = self {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        reply
    }
}

impl From<AuthenticityError> for Rejection {
    fn from(error: AuthenticityError) -> Self {
        Self::Authenticity(error)
    }
}

impl From<Unauthorized> for Rejection {
    fn from(error: Unauthorized) -> Self {
        Self::Unauthorized(error)
    }
}

impl From<BodyError> for Rejection {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

impl From<UnpackError> for Rejection {
    fn from(error: UnpackError) -> Self {
        Self::Unpack(error)
    }
}

impl From<JsonError> for Rejection {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

impl From<CheckError> for Rejection {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Authenticity(error) => Self::Authenticity(error),
            CheckError::Content(ContentError::Unpack(error)) => Self::Unpack(error),
            CheckError::Content(ContentError::Json(error)) => Self::Json(error),
            CheckError::Content(ContentError::Form(error)) => Self::Form(error),
        }
    }
}

#[cfg(test)]
mod tests;
