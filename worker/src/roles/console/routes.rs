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
    Console, assets, audio, backoff::Source, call, calls, csrf, dead_letters, login, overview, page,
    redriven, sse, test_call,
};

/// Longest an answer takes to begin. Above `PLACE_TIMEOUT`'s default.
const ANSWER: Duration = Duration::from_mins(1);
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
        .route("/sent", get(redriven::show))
        .route("/test-call", get(test_call::form).post(test_call::place))
        .route("/events", get(sse::events))
        .route("/assets/{name}", get(assets::serve))
        .route("/login", get(login::form).post(login::log_in))
        .route("/logout", post(login::log_out))
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
    let mut answer = enter(&console, request, next).await;
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Searches stand in addresses, and telephone numbers in searches; tokens stand in links.
    headers.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}

async fn enter(console: &Arc<Console>, mut request: Request, next: Next) -> Response {
    // The accept loop puts it there.
    let Some(source) = request.extensions().get::<Source>().cloned() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    if let Some(link) = login::Link::of(request.method(), request.uri()) {
        let headers = request.headers().clone();
        drop(request);
        return login::by_link(console, &link, &headers, &source).await;
    }
    let is_public = login::is_public(request.uri().path());
    let admitted = if is_public { None } else { Some(console.access.admit(request.headers(), &source)) };
    let caller = match admitted.transpose() {
        Ok(caller) => caller,
        Err(denied) => {
            let here =
                login::is_browser(request.headers()).then(|| login::here(request.method(), request.uri()));
            return login::refuse(denied, here).await;
        }
    };
    if !csrf::is_ours(request.method(), request.headers(), caller) {
        tracing::warn!("a request of another site was refused");
        let text = "this request was not made by the console's own page\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    let answer = tokio::time::timeout(ANSWER, next.run(request)).await;
    answer.unwrap_or_else(|_| (StatusCode::SERVICE_UNAVAILABLE, "no answer in time\n").into_response())
}

async fn not_found(State(console): State<Arc<Console>>) -> Response {
    page::message(&console, "", StatusCode::NOT_FOUND, "Not found", "There is no such page.")
}
