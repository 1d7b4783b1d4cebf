//! Cross-origin requests of web pages to the routes about calls, for the origins of `API_CORS_ORIGINS`.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
    time::Duration,
};

use hyper::{
    Method, Request,
    header::{
        ACCEPT_RANGES, ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE,
        CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, IF_RANGE, LOCATION, RANGE, RETRY_AFTER,
    },
    http::request::Parts,
};
use tower_http::cors::{AllowOrigin, Cors};
use tower_service::Service as _;

use super::{body::Answer, request_id::X_REQUEST_ID};
use crate::config::Origins;

/// How long a browser may remember the answer to a preflight request.
const MAX_AGE: Duration = Duration::from_hours(1);
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Adds the headers that tell a browser whether a page of another origin may read `answer`. A preflight request
/// gets an answer of its own.
pub async fn apply(origins: &Origins, parts: &Parts, answer: Answer) -> Answer {
    let is_plain_options =
        parts.method == Method::OPTIONS && !parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if origins.is_empty() || is_plain_options {
        return answer;
    }
    let mut request = Request::new(());
    request.method_mut().clone_from(&parts.method);
    request.headers_mut().clone_from(&parts.headers);
    let mut cors = Cors::new(Answered(Some(answer)))
        .allow_origin(AllowOrigin::list(origins.iter().cloned()))
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers([
            AUTHORIZATION,
            CONTENT_TYPE,
            IF_NONE_MATCH,
            IF_RANGE,
            RANGE,
            IDEMPOTENCY_KEY,
            X_REQUEST_ID,
        ])
        .expose_headers([
            ACCEPT_RANGES,
            CONTENT_LENGTH,
            CONTENT_RANGE,
            ETAG,
            LOCATION,
            RETRY_AFTER,
            IDEMPOTENT_REPLAYED,
            X_REQUEST_ID,
        ])
        .max_age(MAX_AGE);
    match cors.call(request).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}

/// A service that has its answer already.
struct Answered(Option<Answer>);

impl tower_service::Service<Request<()>> for Answered {
    type Response = Answer;
    type Error = Infallible;
    type Future = Ready<Result<Answer, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<()>) -> Self::Future {
        ready(Ok(self.0.take().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use hyper::{
        Response,
        header::{ACCESS_CONTROL_ALLOW_ORIGIN, ORIGIN, VARY},
    };

    use super::*;

    #[tokio::test]
    async fn only_a_listed_origin_may_read_an_answer() {
        let origins = Origins::try_from("https://crm.example".to_owned()).unwrap();
        let apply = async |origins: &Origins, origin: &str, method: Method| {
            let request = Request::builder().method(method).header(ORIGIN, origin);
            let request = request.header(ACCESS_CONTROL_REQUEST_METHOD, "GET");
            let (parts, ()) = request.body(()).unwrap().into_parts();
            let answer = apply(origins, &parts, Response::default()).await;
            let allowed = answer.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN).cloned();
            (allowed.map(|origin| origin.to_str().unwrap().to_owned()), answer.headers().contains_key(VARY))
        };
        let own = Some("https://crm.example".to_owned());
        for method in [Method::GET, Method::OPTIONS] {
            assert_eq!(apply(&origins, "https://crm.example", method.clone()).await, (own.clone(), true));
            for other in ["https://evil.example", "http://crm.example", "https://crm.example:8443", "null"] {
                assert_eq!(apply(&origins, other, method.clone()).await, (None, true), "{other}");
            }
            assert_eq!(apply(&Origins::default(), "https://crm.example", method).await, (None, false));
        }
    }
}
