//! Why a request was refused: status, stable code, and the words the sender gets.
//!
//! Invariant: one variant, one status, one code; codes never change. Nothing of the request's
//! content is repeated, and nothing of our insides is told: reasons go to the log.

use aftercall_common::http::Reply;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};

use crate::{
    admission::{
        body::{BodyError, encoding::UnpackError},
        form::{self, FormError},
        json::JsonError,
        signature::SignatureError,
        source_ip::UnknownSender,
    },
    storage::publisher::PublishError,
};

/// Seconds after which a sender may try again: the broker is usually back by then.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// Why a request was refused.
#[derive(Debug, PartialEq, Eq)]
pub enum Rejection {
    /// No such path.
    NotFound,
    /// The route for Twilio, while `TWILIO_AUTH_TOKEN` is unset.
    RouteClosed,
    /// The path exists, the method does not.
    MethodNotAllowed {
        /// The methods that the path takes.
        allow: &'static str,
    },
    /// The sender's address cannot be known.
    UnknownSender(UnknownSender),
    /// The sender is not in `ALLOWED_SOURCES`.
    SourceNotAllowed,
    /// A web page of another origin sent the request, or it names a foreign host.
    CrossSite,
    /// The body is not of the type that this path takes.
    UnsupportedMediaType {
        /// The type it takes.
        detail: &'static str,
    },
    /// No valid bearer token, and the conditions for going without one are not met.
    Unauthorized {
        /// What is missing.
        detail: &'static str,
    },
    /// The body has more bytes than `limit`.
    BodyTooLarge {
        /// Largest body taken, in bytes.
        limit: usize,
    },
    /// The body did not arrive within `BODY_TIMEOUT`.
    BodyTimeout,
    /// The body ended before it was complete.
    BodyIncomplete,
    /// The signature is missing, wrong or too old.
    Signature(SignatureError),
    /// The header of `WEBHOOK_HEADER_SECRET` is missing or has another value.
    HeaderSecret,
    /// The body is not one JSON object.
    InvalidJson {
        /// What is wrong, with line and column.
        detail: String,
    },
    /// The body is no form of Twilio's.
    InvalidForm(FormError),
    /// The body has more values, levels or parameters than are accepted.
    TooComplex {
        /// Which limit it exceeds.
        detail: String,
    },
    /// The body is packed in a way that is not unpacked here.
    UnsupportedEncoding,
    /// The packed body cannot be unpacked.
    BrokenEncoding,
    /// The message is framed by another transfer coding than `chunked`.
    UnsupportedTransferEncoding,
    /// The `Idempotency-Key` cannot be used.
    InvalidRequest {
        /// What is wrong with it.
        detail: &'static str,
    },
    /// As much is in flight as may be.
    Overloaded,
    /// The broker did not confirm that the webhook is stored.
    NotStored(PublishError),
    /// No worker answered in time, or none is there.
    NoWorker,
    /// A worker was asked to place a call, and did not answer: it may have placed it.
    OutcomeUnknown,
    /// A worker answered what cannot be passed on.
    BadAnswer,
    /// A worker refused, for a reason of its own.
    Worker(WorkerRefusal),
}

/// A worker's refusal, checked: see [`super::agent_calls`].
#[derive(Debug, PartialEq, Eq)]
pub struct WorkerRefusal {
    /// One of those that workers choose from: see [`super::agent_calls`].
    pub status: StatusCode,
    /// Stable code.
    pub code: String,
    /// A sentence for the caller.
    pub detail: String,
}

impl Rejection {
    /// A body of at most `limit` bytes was not read.
    pub fn body(error: BodyError, limit: usize) -> Self {
        match error {
            BodyError::TooLarge => Self::BodyTooLarge { limit },
            BodyError::Timeout => Self::BodyTimeout,
            BodyError::OverBudget => Self::Overloaded,
            BodyError::Broken => Self::BodyIncomplete,
        }
    }

    /// A body was not unpacked to at most `limit` bytes.
    pub fn unpacking(error: UnpackError, limit: usize) -> Self {
        match error {
            UnpackError::TooLarge => Self::BodyTooLarge { limit },
            UnpackError::OverBudget => Self::Overloaded,
            UnpackError::Broken => Self::BrokenEncoding,
        }
    }

    /// The status, and the code that names it in the answer and the log.
    pub fn code(&self) -> (StatusCode, &str) {
        match self {
            Self::Worker(refusal) => (refusal.status, &refusal.code),
            other => {
                let (status, code, _) = other.fixed();
                (status, code)
            }
        }
    }

    /// The code in metrics, where a worker's own words must not make up new series.
    pub fn label(&self) -> &'static str {
        self.fixed().1
    }

    /// Whether it says nothing about the provider: anyone can send what is refused so.
    pub fn is_of_stranger(&self) -> bool {
        matches!(
            self,
            Self::UnknownSender(_) | Self::SourceNotAllowed | Self::CrossSite | Self::Unauthorized { .. }
        )
    }

    /// What an operator can do about it, where the code does not say it.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::UnknownSender(UnknownSender::UntrustedProxy) => Some(
                "a peer that is not in TRUSTED_PROXIES sent a forwarding header: add your proxy to TRUSTED_PROXIES",
            ),
            Self::UnknownSender(UnknownSender::UnreadableHop) => Some(
                "a proxy in TRUSTED_PROXIES sent an X-Forwarded-For that holds no address at the decisive place",
            ),
            Self::SourceNotAllowed => Some("the sender is not in ALLOWED_SOURCES"),
            Self::RouteClosed => Some("set TWILIO_AUTH_TOKEN and PUBLIC_URL to open the route for Twilio"),
            _ => None,
        }
    }

    /// Whether the connection ends with this answer, for the rest of the request is not waited for.
    pub fn closes(&self) -> bool {
        match self {
            Self::BodyTooLarge { .. }
            | Self::BodyTimeout
            | Self::BodyIncomplete
            | Self::UnsupportedTransferEncoding => true,
            Self::NotFound
            | Self::MethodNotAllowed { .. }
            | Self::UnknownSender(_)
            | Self::SourceNotAllowed
            | Self::CrossSite
            | Self::UnsupportedMediaType { .. }
            | Self::RouteClosed
            | Self::Unauthorized { .. }
            | Self::Signature(_)
            | Self::HeaderSecret
            | Self::InvalidJson { .. }
            | Self::InvalidForm(_)
            | Self::TooComplex { .. }
            | Self::UnsupportedEncoding
            | Self::BrokenEncoding
            | Self::InvalidRequest { .. }
            | Self::Overloaded
            | Self::NotStored(_)
            | Self::NoWorker
            | Self::OutcomeUnknown
            | Self::BadAnswer
            | Self::Worker(_) => false,
        }
    }

    fn fixed(&self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::NotFound | Self::RouteClosed => {
                (S::NOT_FOUND, "not_found", "There is nothing at this path.")
            }
            Self::MethodNotAllowed { .. } => (
                S::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "This method is not served here; see the Allow header.",
            ),
            Self::UnknownSender(UnknownSender::UntrustedProxy) => (
                S::FORBIDDEN,
                "untrusted_proxy",
                "The request was forwarded by a proxy that the gateway does not trust.",
            ),
            Self::UnknownSender(UnknownSender::UnreadableHop) => {
                (S::FORBIDDEN, "forwarded_for_unreadable", "An item of X-Forwarded-For is no address.")
            }
            Self::SourceNotAllowed => {
                (S::FORBIDDEN, "source_not_allowed", "Requests from this address are not accepted.")
            }
            Self::CrossSite => {
                (S::FORBIDDEN, "cross_site_request", "Requests of web pages are not accepted here.")
            }
            Self::UnsupportedMediaType { detail } => {
                (S::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
            }
            Self::Unauthorized { detail } => (S::UNAUTHORIZED, "unauthorized", detail),
            Self::BodyTooLarge { .. } => (S::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large."),
            Self::BodyTimeout => {
                (S::REQUEST_TIMEOUT, "body_timeout", "The body did not arrive within the time allowed.")
            }
            Self::BodyIncomplete => {
                (S::BAD_REQUEST, "body_incomplete", "The body ended before it was complete.")
            }
            Self::Signature(SignatureError::Missing) => {
                (S::UNAUTHORIZED, "signature_missing", "The header with the provider's signature is missing.")
            }
            Self::Signature(SignatureError::Invalid) => {
                (S::UNAUTHORIZED, "signature_invalid", "The signature does not match the body.")
            }
            Self::Signature(SignatureError::Expired) => {
                (S::UNAUTHORIZED, "signature_expired", "The signature's time is outside the tolerance.")
            }
            Self::HeaderSecret => (
                S::UNAUTHORIZED,
                "header_secret_invalid",
                "The agreed header is missing or has another value.",
            ),
            Self::InvalidForm(_) => (S::BAD_REQUEST, "invalid_form", "The body must be a form in UTF-8."),
            Self::TooComplex { .. } => {
                (S::BAD_REQUEST, "too_complex", "The body has too many values or levels.")
            }
            Self::UnsupportedEncoding => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_encoding",
                "The body must be sent as it is, or with Content-Encoding gzip or deflate.",
            ),
            Self::BrokenEncoding => {
                (S::BAD_REQUEST, "invalid_encoding", "The body is not packed as its Content-Encoding says.")
            }
            Self::UnsupportedTransferEncoding => (
                S::NOT_IMPLEMENTED,
                "unsupported_transfer_encoding",
                "The only transfer coding accepted is chunked; use Content-Encoding to compress a body.",
            ),
            Self::InvalidRequest { detail } => (S::BAD_REQUEST, "invalid_request", detail),
            Self::InvalidJson { .. } => (S::BAD_REQUEST, "invalid_json", "The body must be one JSON object."),
            Self::Overloaded => {
                (S::SERVICE_UNAVAILABLE, "overloaded", "Too much is in flight; try again later.")
            }
            Self::NotStored(_) => (
                S::SERVICE_UNAVAILABLE,
                "not_stored",
                "The webhook could not be stored durably; send it again later.",
            ),
            Self::NoWorker => (S::SERVICE_UNAVAILABLE, "no_worker", "No worker answered; try again later."),
            Self::OutcomeUnknown => (
                S::GATEWAY_TIMEOUT,
                "outcome_unknown",
                "The call may have been placed; repeat with the same Idempotency-Key to learn.",
            ),
            Self::BadAnswer => (S::BAD_GATEWAY, "bad_answer", "A worker answered what cannot be passed on."),
            Self::Worker(refusal) => (refusal.status, "refused_by_worker", "The worker refused the request."),
        }
    }

    /// The answer: an RFC 9457 problem.
    pub fn reply(&self) -> Reply {
        let (status, code) = self.code();
        let written;
        let detail = match self {
            Self::BodyTooLarge { limit } => {
                written = format!("The body is larger than {limit} bytes.");
                &written
            }
            Self::InvalidForm(error) => {
                written = error.to_string();
                &written
            }
            Self::InvalidJson { detail } | Self::TooComplex { detail } => detail.as_str(),
            Self::Worker(refusal) => &refusal.detail,
            other => other.fixed().2,
        };
        let problem = serde_json::json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or("Refused"),
            "status": status.as_u16(),
            "code": code,
            "detail": detail,
        });
        let mut reply = Response::new(Full::new(Bytes::from(problem.to_string())));
        *reply.status_mut() = status;
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        match self {
            Self::MethodNotAllowed { allow } => drop(headers.insert(ALLOW, HeaderValue::from_static(allow))),
            Self::Unauthorized { .. } => {
                drop(headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
            }
            Self::UnsupportedEncoding => {
                drop(headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate")));
            }
            _ => {}
        }
        if self.closes() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }
}

impl From<JsonError> for Rejection {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Invalid(detail) => Self::InvalidJson { detail },
            JsonError::TooComplex(error) => Self::TooComplex { detail: error.to_string() },
        }
    }
}

impl From<FormError> for Rejection {
    fn from(error: FormError) -> Self {
        match error {
            FormError::TooLarge => Self::BodyTooLarge { limit: form::MAX_BYTES },
            FormError::TooManyParameters => Self::TooComplex { detail: error.to_string() },
            error => Self::InvalidForm(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use aftercall_common::json::measure::TooComplex;

    use super::*;

    #[test]
    fn every_refusal_has_its_status_code_and_headers() {
        let worker = |status, code: &str| {
            Rejection::Worker(WorkerRefusal {
                status,
                code: code.to_owned(),
                detail: "no such call".to_owned(),
            })
        };
        #[rustfmt::skip]
        let table = [
            (Rejection::NotFound,                                   404, "not_found",          None),
            (Rejection::RouteClosed,                                404, "not_found",          None),
            (Rejection::MethodNotAllowed { allow: "POST" },         405, "method_not_allowed", Some(ALLOW)),
            (Rejection::UnknownSender(UnknownSender::UntrustedProxy), 403, "untrusted_proxy",  None),
            (Rejection::UnknownSender(UnknownSender::UnreadableHop), 403, "forwarded_for_unreadable", None),
            (Rejection::CrossSite,                                  403, "cross_site_request", None),
            (Rejection::UnsupportedMediaType { detail: "JSON" },    415, "unsupported_media_type", None),
            (Rejection::SourceNotAllowed,                           403, "source_not_allowed", None),
            (Rejection::Unauthorized { detail: "token" },           401, "unauthorized",       Some(WWW_AUTHENTICATE)),
            (Rejection::BodyTooLarge { limit: 1 },                  413, "body_too_large",     Some(CONNECTION)),
            (Rejection::BodyTimeout,                                408, "body_timeout",       Some(CONNECTION)),
            (Rejection::BodyIncomplete,                             400, "body_incomplete",    Some(CONNECTION)),
            (Rejection::Signature(SignatureError::Missing),         401, "signature_missing",  None),
            (Rejection::Signature(SignatureError::Invalid),         401, "signature_invalid",  None),
            (Rejection::Signature(SignatureError::Expired),         401, "signature_expired",  None),
            (Rejection::InvalidJson { detail: "at line 1".into() }, 400, "invalid_json",       None),
            (Rejection::Overloaded,                                 503, "overloaded",         Some(RETRY_AFTER)),
            (Rejection::NotStored(PublishError::TimedOut),          503, "not_stored",         Some(RETRY_AFTER)),
            (Rejection::HeaderSecret,                               401, "header_secret_invalid", None),
            (Rejection::InvalidForm(FormError::Name),               400, "invalid_form",       None),
            (FormError::TooManyParameters.into(),                   400, "too_complex",        None),
            (FormError::TooLarge.into(),                            413, "body_too_large",     Some(CONNECTION)),
            (JsonError::TooComplex(TooComplex::Depth(1)).into(),    400, "too_complex",        None),
            (Rejection::UnsupportedEncoding,                        415, "unsupported_encoding", Some(ACCEPT_ENCODING)),
            (Rejection::BrokenEncoding,                             400, "invalid_encoding",   None),
            (Rejection::UnsupportedTransferEncoding,                501, "unsupported_transfer_encoding", Some(CONNECTION)),
            (Rejection::InvalidRequest { detail: "key" },           400, "invalid_request",    None),
            (Rejection::OutcomeUnknown,                             504, "outcome_unknown",    None),
            (Rejection::NoWorker,                                   503, "no_worker",          Some(RETRY_AFTER)),
            (Rejection::BadAnswer,                                  502, "bad_answer",         None),
            (worker(StatusCode::NOT_FOUND, "not_found"),            404, "not_found",          None),
            (worker(StatusCode::TOO_MANY_REQUESTS, "overloaded"),   429, "overloaded",         Some(RETRY_AFTER)),
        ];
        let all = [ACCEPT_ENCODING, ALLOW, WWW_AUTHENTICATE, CONNECTION, RETRY_AFTER];
        for (rejection, status, code, header) in table {
            let reply = rejection.reply();
            assert_eq!((reply.status().as_u16(), rejection.code().1), (status, code));
            assert_eq!(reply.headers()[CONTENT_TYPE], "application/problem+json");
            let found: Vec<_> = all.iter().filter(|&name| reply.headers().contains_key(name)).collect();
            assert_eq!(found, header.iter().collect::<Vec<_>>(), "{code}");
        }
    }

    #[tokio::test]
    async fn the_answer_is_a_problem() {
        use http_body_util::BodyExt as _;
        let body =
            Rejection::BodyTooLarge { limit: 1024 }.reply().into_body().collect().await.unwrap().to_bytes();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            problem,
            serde_json::json!({ "type": "about:blank", "title": "Payload Too Large", "status": 413,
                "code": "body_too_large", "detail": "The body is larger than 1024 bytes." })
        );
    }
}
