//! Every address of the console, and what each request passes on its way there.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use tower_http::compression::{
    CompressionLayer,
    predicate::{DefaultPredicate, NotForContentType, Predicate},
};

use super::{
    Console, assets, audio, auth::Denied, call, calls, csrf, dead_letters, overview, page, place, sent, sse,
};

/// Longest an answer takes to begin. Above `PLACE_TIMEOUT`'s default.
const ANSWER: Duration = Duration::from_mins(1);
/// How long a wrong login waits for its answer: guessing is slow.
const WRONG_LOGIN: Duration = Duration::from_millis(300);
/// Largest form: an edited dead letter.
const MAX_FORM_BYTES: usize = 4 * 1024 * 1024;

/// Nothing from elsewhere, nothing inline, in nobody's frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The whole console.
pub fn router(console: Arc<Console>) -> Router {
    Router::new()
        .route("/", get(async || Redirect::to("/calls")))
        .route("/calls", get(calls::list))
        .route("/calls/{name}", get(call::show))
        .route("/calls/{name}/raw/{field}", get(call::raw))
        .route("/calls/{name}/audio", get(audio::serve))
        .route("/overview", get(overview::show))
        .route("/dead-letters", get(dead_letters::list))
        .route("/dead-letters/{sequence}", get(dead_letters::show))
        .route("/dead-letters/{sequence}/edit", get(dead_letters::edit))
        .route("/dead-letters/{sequence}/replay", post(dead_letters::replay))
        .route("/dead-letters/{sequence}/drop", post(dead_letters::remove))
        .route("/sent", get(sent::show))
        .route("/test-call", get(place::form).post(place::place))
        .route("/events", get(sse::events))
        .route("/assets/{name}", get(assets::serve))
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
        .layer(CompressionLayer::new().compress_when(compressible()))
        .layer(middleware::from_fn_with_state(console.clone(), guard))
        .with_state(console)
}

/// Not event streams, which the default leaves alone, and not recordings, of which parts are asked for.
fn compressible() -> impl Predicate {
    DefaultPredicate::new().and(NotForContentType::const_new("audio/"))
}

/// Lets in who may enter, within a bound of time, and dresses every answer.
async fn guard(State(console): State<Arc<Console>>, request: Request, next: Next) -> Response {
    let mut answer = match console.access.admit(request.headers()) {
        Ok(caller) if csrf::is_ours(request.method(), request.headers(), caller) => {
            let answer = tokio::time::timeout(ANSWER, next.run(request)).await;
            answer
                .unwrap_or_else(|_| (StatusCode::SERVICE_UNAVAILABLE, "no answer in time\n").into_response())
        }
        Ok(_) => {
            tracing::warn!("a request of another site was refused");
            (StatusCode::FORBIDDEN, "this request was not made by the console's own page\n").into_response()
        }
        Err(denied) => refuse(denied).await,
    };
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Searches stand in addresses, and telephone numbers in searches.
        (header::REFERRER_POLICY, "no-referrer"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}

async fn refuse(denied: Denied) -> Response {
    match denied {
        Denied::OtherHost => {
            let text = "without a login the console answers to the names of this machine only\n";
            (StatusCode::MISDIRECTED_REQUEST, text).into_response()
        }
        Denied::Missing | Denied::Wrong => {
            if denied == Denied::Wrong {
                tracing::warn!("wrong login at the console");
                tokio::time::sleep(WRONG_LOGIN).await;
            }
            let challenge =
                [(header::WWW_AUTHENTICATE, r#"Basic realm="Aftercall console", charset="UTF-8""#)];
            (StatusCode::UNAUTHORIZED, challenge, "a login is needed\n").into_response()
        }
    }
}

async fn not_found(State(console): State<Arc<Console>>) -> Response {
    page::message(&console, "", StatusCode::NOT_FOUND, "Not found", "There is no such page.")
}
