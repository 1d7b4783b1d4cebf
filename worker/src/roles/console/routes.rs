//! The routes of the console, and the checks that each request passes first.

use std::{sync::Arc, time::Duration};

use aftercall_common::http::Authenticated;
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
    access::{backoff::Source, csrf, named::Peer, user},
    assets,
    pages::{
        audio, audit, batch, call, calls, dead_letters, deliveries, endpoints, events, export, login, notes,
        overview, payload, shell, test_call,
    },
    state::Console,
};

/// Longest time until an answer begins. It is longer than the default of `PLACE_TIMEOUT`.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
/// The same for requests without a login, whose body may come slowly.
const PUBLIC_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest form, in bytes: the form with an edited dead letter.
const MAX_FORM_BYTES: usize = 4 * 1024 * 1024;
/// Largest login form, in bytes. Everybody can send one.
const MAX_LOGIN_BYTES: usize = 8 * 1024;

/// Allows content of the console only: nothing from other hosts, nothing inline, no frames.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// All routes of the console.
pub fn router(console: Arc<Console>) -> Router {
    Router::new()
        .route("/", get(async || Redirect::to("/calls")))
        .route("/calls", get(calls::list))
        .route("/calls.csv", get(export::csv))
        .route("/calls/{name}", get(call::show))
        .route("/calls/{name}/raw/{field}", get(payload::show))
        .route("/calls/{name}/note", post(notes::write))
        .route("/calls/{name}/review", post(notes::review))
        .route("/calls/{name}/audio", get(audio::serve))
        .route("/overview", get(overview::show))
        .route("/batches/{id}", get(batch::show))
        .route("/batches/{id}/retry.csv", get(batch::retry))
        .route("/dead-letters", get(dead_letters::list))
        .route("/dead-letters/work", get(dead_letters::show_work).post(dead_letters::start_work))
        .route("/dead-letters/work/cancel", post(dead_letters::cancel))
        .route("/dead-letters/{sequence}", get(dead_letters::show))
        .route("/dead-letters/{sequence}/edit", get(dead_letters::edit).post(dead_letters::compare))
        .route("/dead-letters/{sequence}/replay", post(dead_letters::redrive))
        .route("/dead-letters/{sequence}/drop", post(dead_letters::delete))
        .route("/sent", get(dead_letters::outcome))
        .route("/endpoints", get(endpoints::list).post(endpoints::add))
        .route("/endpoints/new", get(endpoints::form))
        .route("/endpoints/{id}", get(endpoints::show))
        .route("/endpoints/{id}/test", post(endpoints::test))
        .route("/endpoints/{id}/pause", post(endpoints::pause))
        .route("/endpoints/{id}/resume", post(endpoints::resume))
        .route("/endpoints/{id}/filter", post(endpoints::filter))
        .route("/endpoints/{id}/rotate", post(endpoints::rotate))
        .route("/endpoints/{id}/remove", post(endpoints::remove))
        .route("/deliveries", get(deliveries::list))
        .route("/deliveries/replay", post(deliveries::replay_all))
        .route("/deliveries/{id}", get(deliveries::show))
        .route("/deliveries/{id}/replay", post(deliveries::replay_one))
        .route("/audit", get(audit::list))
        .route("/test-call", get(test_call::form).post(test_call::place))
        .route("/events", get(events::events))
        .route("/assets/{name}", get(assets::serve))
        .route("/login", get(login::form).post(login::log_in).layer(DefaultBodyLimit::max(MAX_LOGIN_BYTES)))
        .route("/logout", post(login::log_out))
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
        .layer(CompressionLayer::new().compress_when(is_compressible()))
        .layer(middleware::from_fn_with_state(console.clone(), guard))
        .with_state(console)
}

/// Excludes event streams (by default) and recordings, because players request byte ranges of them.
fn is_compressible() -> impl Predicate {
    DefaultPredicate::new().and(NotForContentType::const_new("audio/"))
}

/// Authenticates a request, serves it, and adds the security headers to every answer.
async fn guard(State(console): State<Arc<Console>>, request: Request, next: Next) -> Response {
    let mut answer = authenticate(&console, request, next).await;
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
    // Addresses can contain telephone numbers (in searches) and tokens (in printed links). They must not
    // reach other sites or caches.
    headers.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}

async fn authenticate(console: &Arc<Console>, mut request: Request, next: Next) -> Response {
    // `server::run` adds it to every request.
    let (source, peer) = (request.extensions().get::<Source>(), request.extensions().get::<Peer>());
    let Some((source, Peer(peer))) = source.cloned().zip(peer.copied()) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let path = request.uri().path();
    let named = match console.access.named(peer, request.headers()) {
        Ok(named) => named,
        // The page that says so needs its style sheet.
        Err(_) if login::is_asset(path) => None,
        Err(unnamed) => return login::refuse_unnamed(&console.access, unnamed),
    };
    if let Some(link) = login::Link::of(request.method(), request.uri()) {
        let headers = request.headers().clone();
        drop(request);
        if named.is_some() {
            return Redirect::to(&link.address).into_response();
        }
        return login::log_in_by_link(console, &link, &headers, &source).await;
    }
    let is_public = login::is_public(request.uri().path());
    let is_needed = !is_public && named.is_none();
    let authenticated = is_needed.then(|| console.access.authenticate(request.headers(), &source));
    let caller = match authenticated.transpose() {
        Ok(caller) => caller.or(named),
        Err(denied) => {
            let is_browser = login::is_browser(request.headers());
            let return_to = is_browser.then(|| login::return_address(request.method(), request.uri()));
            return login::refuse(denied, return_to).await;
        }
    };
    if !csrf::is_allowed(request.method(), request.headers(), caller.as_ref()) {
        console.access.log_foreign(peer);
        let text = "this request was not sent by a page of the console\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    let person = caller.as_ref().map(|caller| console.access.person(caller));
    let is_logged_in = caller.is_some();
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    let is_action = !request.method().is_safe();
    let serving = user::serve_for(person, next.run(request));
    let answer = async {
        if !is_logged_in {
            return tokio::time::timeout(PUBLIC_TIMEOUT, serving).await.unwrap_or_else(|_elapsed| too_slow());
        }
        if is_action {
            let action = complete(console, serving);
            return tokio::time::timeout(ANSWER_TIMEOUT, action).await.unwrap_or_else(|_elapsed| goes_on());
        }
        tokio::time::timeout(ANSWER_TIMEOUT, serving).await.unwrap_or_else(|_elapsed| no_answer())
    };
    let mut answer = answer.await;
    if is_logged_in {
        answer.extensions_mut().insert(Authenticated);
    }
    answer
}

/// Awaits an action. It goes on if the client goes away: what is done must also be recorded.
async fn complete(console: &Console, action: impl Future<Output = Response> + Send + 'static) -> Response {
    console.tasks.spawn(action).await.unwrap_or_else(|_panicked| no_answer())
}

fn no_answer() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "no answer in time\n").into_response()
}

fn goes_on() -> Response {
    let text = "no answer in time; what was begun goes on, so look at its result before you repeat it\n";
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

fn too_slow() -> Response {
    (StatusCode::REQUEST_TIMEOUT, "the request came too slowly\n").into_response()
}

async fn not_found(State(console): State<Arc<Console>>) -> Response {
    shell::message(&console, "", StatusCode::NOT_FOUND, "Not found", "There is no page at this address.")
}
