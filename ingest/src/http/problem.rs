//! The problems that the gateway answers with (RFC 9457): status, stable code and text of each.

use hyper::StatusCode;

use crate::admission::{checks::AuthenticityError, signature::SignatureError, source_ip::UnknownSender};

/// Declares [`Problem`] from one row for each problem: name, status, code, text.
macro_rules! problems {
    ($($name:ident: $status:ident, $code:literal, $detail:literal;)+) => {
        /// The reason of a refusal, as the sender sees it. Codes never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Problem {
            $(#[doc = $detail] $name,)+
        }

        impl Problem {
            /// Every problem.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The status of the answer. A worker's refusal has a status of its own.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)+ }
            }

            /// The stable code in answers, metrics and logs.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// The text for the sender. Some rejections replace it with a more precise text.
            pub const fn detail(self) -> &'static str {
                match self { $(Self::$name => $detail,)+ }
            }
        }
    };
}

problems! {
    NotFound: NOT_FOUND, "not_found", "There is nothing at this path.";
    MethodNotAllowed: METHOD_NOT_ALLOWED, "method_not_allowed",
        "This method is not served here; see the Allow header.";
    UntrustedProxy: FORBIDDEN, "untrusted_proxy",
        "The request was forwarded by a proxy that the gateway does not trust.";
    ForwardedForUnreadable: FORBIDDEN, "forwarded_for_unreadable", "An item of X-Forwarded-For is not an address.";
    SourceNotAllowed: FORBIDDEN, "source_not_allowed", "Requests from this address are not accepted.";
    CrossSiteRequest: FORBIDDEN, "cross_site_request", "Requests of web pages are not accepted here.";
    UnsupportedMediaType: UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type",
        "The Content-Type is not accepted here.";
    Unauthorized: UNAUTHORIZED, "unauthorized", "A valid bearer token is required.";
    SignatureMissing: UNAUTHORIZED, "signature_missing",
        "The header with the provider's signature is missing.";
    SignatureInvalid: UNAUTHORIZED, "signature_invalid", "The signature is not valid for this request.";
    SignatureExpired: UNAUTHORIZED, "signature_expired", "The signature's time is outside the tolerance.";
    HeaderSecretInvalid: UNAUTHORIZED, "header_secret_invalid",
        "The agreed header is missing or has another value.";
    BodyTooLarge: PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large.";
    BodyTimeout: REQUEST_TIMEOUT, "body_timeout", "The body did not arrive within the time allowed.";
    BodyIncomplete: BAD_REQUEST, "body_incomplete", "The body ended before it was complete.";
    InvalidForm: BAD_REQUEST, "invalid_form", "The body must be a form in UTF-8.";
    InvalidJson: BAD_REQUEST, "invalid_json", "The body must be one JSON object.";
    TooComplex: BAD_REQUEST, "too_complex", "The body has too many values or levels.";
    UnsupportedEncoding: UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding",
        "The body must be sent as it is, or with Content-Encoding gzip or deflate.";
    InvalidEncoding: BAD_REQUEST, "invalid_encoding", "The body does not match its Content-Encoding.";
    UnsupportedTransferEncoding: NOT_IMPLEMENTED, "unsupported_transfer_encoding",
        "The only transfer coding accepted is chunked; use Content-Encoding to compress a body.";
    RangeNotSatisfiable: RANGE_NOT_SATISFIABLE, "range_not_satisfiable",
        "The range begins after the end of the content; see the Content-Range header.";
    InvalidRequest: BAD_REQUEST, "invalid_request", "The request is not valid.";
    Overloaded: SERVICE_UNAVAILABLE, "overloaded", "The gateway is overloaded; try again later.";
    NotStored: SERVICE_UNAVAILABLE, "not_stored",
        "The webhook could not be stored durably; send it again later.";
    NoWorker: SERVICE_UNAVAILABLE, "no_worker", "No worker answered; try again later.";
    OutcomeUnknown: GATEWAY_TIMEOUT, "outcome_unknown",
        "The call may have been placed; repeat with the same Idempotency-Key to learn the outcome.";
    BadAnswer: BAD_GATEWAY, "bad_answer", "The answer of the worker is invalid.";
    RefusedByWorker: BAD_GATEWAY, "refused_by_worker", "The worker refused the request.";
}

impl Problem {
    /// Whether a webhook can be refused with this problem.
    pub fn is_of_webhooks(self) -> bool {
        match self {
            Self::UnsupportedMediaType
            | Self::RangeNotSatisfiable
            | Self::InvalidRequest
            | Self::NoWorker
            | Self::OutcomeUnknown
            | Self::BadAnswer
            | Self::RefusedByWorker => false,
            Self::NotFound
            | Self::MethodNotAllowed
            | Self::UntrustedProxy
            | Self::ForwardedForUnreadable
            | Self::SourceNotAllowed
            | Self::CrossSiteRequest
            | Self::Unauthorized
            | Self::SignatureMissing
            | Self::SignatureInvalid
            | Self::SignatureExpired
            | Self::HeaderSecretInvalid
            | Self::BodyTooLarge
            | Self::BodyTimeout
            | Self::BodyIncomplete
            | Self::InvalidForm
            | Self::InvalidJson
            | Self::TooComplex
            | Self::UnsupportedEncoding
            | Self::InvalidEncoding
            | Self::UnsupportedTransferEncoding
            | Self::Overloaded
            | Self::NotStored => true,
        }
    }

    /// Whether the connection is closed after the answer, because the gateway does not read the rest of the
    /// request.
    pub fn closes_connection(self) -> bool {
        matches!(
            self,
            Self::BodyTooLarge | Self::BodyTimeout | Self::BodyIncomplete | Self::UnsupportedTransferEncoding
        )
    }
}

impl From<AuthenticityError> for Problem {
    fn from(error: AuthenticityError) -> Self {
        match error {
            AuthenticityError::UnknownSender(UnknownSender::UntrustedProxy) => Self::UntrustedProxy,
            AuthenticityError::UnknownSender(UnknownSender::UnreadableHop) => Self::ForwardedForUnreadable,
            AuthenticityError::SourceNotAllowed => Self::SourceNotAllowed,
            AuthenticityError::WrongToken => Self::Unauthorized,
            AuthenticityError::CrossSite => Self::CrossSiteRequest,
            AuthenticityError::Signature(SignatureError::Missing) => Self::SignatureMissing,
            AuthenticityError::Signature(SignatureError::Invalid) => Self::SignatureInvalid,
            AuthenticityError::Signature(SignatureError::Expired) => Self::SignatureExpired,
            AuthenticityError::HeaderSecret => Self::HeaderSecretInvalid,
        }
    }
}
