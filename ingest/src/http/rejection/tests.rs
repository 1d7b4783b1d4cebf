use aftercall_common::json::measure::TooComplex;
use http_body_util::BodyExt as _;

use super::*;
use crate::admission::signature::SignatureError;

fn signature(error: SignatureError) -> Rejection {
    Rejection::Authenticity(AuthenticityError::Signature(error))
}

fn unknown_sender(error: UnknownSender) -> Rejection {
    Rejection::Authenticity(AuthenticityError::UnknownSender(error))
}

fn worker(status: StatusCode, code: &str) -> Rejection {
    Rejection::Worker(WorkerRefusal { status, code: code.to_owned(), detail: "no such call".to_owned() })
}

#[test]
fn every_refusal_has_its_status_code_and_headers() {
    use AuthenticityError::{CrossSite, HeaderSecret, SourceNotAllowed, WrongToken};
    #[rustfmt::skip]
    let table = [
        (Rejection::NotFound,                                   404, "not_found",          None),
        (Rejection::RouteClosed { advice: "set a secret" },     404, "not_found",          None),
        (Rejection::MethodNotAllowed { allow: "POST" },         405, "method_not_allowed", Some(ALLOW)),
        (unknown_sender(UnknownSender::UntrustedProxy),         403, "untrusted_proxy",    None),
        (unknown_sender(UnknownSender::UnreadableHop),          403, "forwarded_for_unreadable", None),
        (CrossSite.into(),                                      403, "cross_site_request", None),
        (Rejection::UnsupportedMediaType { detail: "JSON" },    415, "unsupported_media_type", None),
        (SourceNotAllowed.into(),                               403, "source_not_allowed", None),
        (WrongToken.into(),                                     401, "unauthorized",       Some(WWW_AUTHENTICATE)),
        (Unauthorized("token").into(),                          401, "unauthorized",       Some(WWW_AUTHENTICATE)),
        (BodyError::TooLarge { limit: 1 }.into(),               413, "body_too_large",     Some(CONNECTION)),
        (BodyError::Timeout.into(),                             408, "body_timeout",       Some(CONNECTION)),
        (BodyError::Broken.into(),                              400, "body_incomplete",    Some(CONNECTION)),
        (BodyError::OverBudget.into(),                          503, "overloaded",         Some(RETRY_AFTER)),
        (signature(SignatureError::Missing),                    401, "signature_missing",  None),
        (signature(SignatureError::Invalid),                    401, "signature_invalid",  None),
        (signature(SignatureError::Expired),                    401, "signature_expired",  None),
        (JsonError::Invalid("at line 1".into()).into(),         400, "invalid_json",       None),
        (Rejection::Overloaded,                                 503, "overloaded",         Some(RETRY_AFTER)),
        (Rejection::NotStored(PublishError::TimedOut),          503, "not_stored",         Some(RETRY_AFTER)),
        (HeaderSecret.into(),                                   401, "header_secret_invalid", None),
        (Rejection::Form(FormError::Name),                      400, "invalid_form",       None),
        (Rejection::Form(FormError::TooManyParameters),         400, "too_complex",        None),
        (Rejection::Form(FormError::TooLarge),                  413, "body_too_large",     Some(CONNECTION)),
        (JsonError::TooComplex(TooComplex::Depth(1)).into(),    400, "too_complex",        None),
        (UnpackError::Unsupported.into(),                       415, "unsupported_encoding", Some(ACCEPT_ENCODING)),
        (UnpackError::Broken.into(),                            400, "invalid_encoding",   None),
        (UnpackError::TooLarge { limit: 1 }.into(),             413, "body_too_large",     Some(CONNECTION)),
        (UnpackError::OverBudget.into(),                        503, "overloaded",         Some(RETRY_AFTER)),
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
async fn answer_is_a_problem_document() {
    for (rejection, title, status, code, detail) in [
        (
            Rejection::Body(BodyError::TooLarge { limit: 1024 }),
            "Payload Too Large",
            413,
            "body_too_large",
            "The body is larger than 1024 bytes.",
        ),
        (
            Rejection::Authenticity(AuthenticityError::WrongToken),
            "Unauthorized",
            401,
            "unauthorized",
            "The bearer token is not one of EVENTS_TOKEN.",
        ),
    ] {
        let body = rejection.reply().into_body().collect().await.unwrap().to_bytes();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            problem,
            serde_json::json!({ "type": "about:blank", "title": title, "status": status,
                "code": code, "detail": detail })
        );
    }
}
