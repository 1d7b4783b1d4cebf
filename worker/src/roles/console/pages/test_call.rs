//! `/test-call`: places a call at the simulated provider. The page exists only if `CONSOLE_TEST_CALLS` says
//! that calls are simulated.

use std::sync::Arc;

use askama::Template;
use axum::{
    Form,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};
use serde::Deserialize;
use serde_json::json;

use super::shell::{self, Shell};
use crate::roles::{
    api,
    console::{state::Console, view::address},
};

const SECTION: &str = "/test-call";

/// Numbers of the simulated provider, and the result of a call to each of them.
const NUMBERS: [(&str, &str); 6] = [
    ("+15005550000", "is answered"),
    ("+15005550001", "is busy"),
    ("+15005550002", "is not answered"),
    ("+15005550003", "fails"),
    ("+15005550004", "reaches a voicemail"),
    ("+15005550005", "is answered, and the conversation fails"),
];

/// The fields of the form.
#[derive(Clone, Debug, Deserialize)]
pub struct TestCallForm {
    agent: String,
    from: String,
    to: String,
    /// Idempotency key: a form that is sent twice places one call.
    key: String,
}

#[derive(Template)]
#[template(path = "test_call.html")]
struct Page {
    shell: Shell,
    form: TestCallForm,
    numbers: [(&'static str, &'static str); 6],
    problem: Option<String>,
}

fn render_form(console: &Console, form: TestCallForm, problem: Option<(StatusCode, String)>) -> Response {
    let (status, problem) = problem.map_or((StatusCode::OK, None), |(status, text)| (status, Some(text)));
    let form = TestCallForm { key: format!("console-{:032x}", rand::random::<u128>()), ..form };
    shell::render(status, &Page { shell: Shell::new(console, SECTION), form, numbers: NUMBERS, problem })
}

fn not_offered(console: &Console) -> Response {
    shell::message(
        console,
        "",
        StatusCode::NOT_FOUND,
        "Not found",
        "The console places test calls only. Here, calls would be real.",
    )
}

/// `GET /test-call`
pub async fn form(State(console): State<Arc<Console>>) -> Response {
    if !console.context.config.console_test_calls {
        return not_offered(&console);
    }
    let text = str::to_owned;
    let form = TestCallForm {
        agent: text("agent_1"),
        from: text("phnum_1"),
        to: text(NUMBERS[0].0),
        key: String::new(),
    };
    render_form(&console, form, None)
}

/// `POST /test-call`
pub async fn place(State(console): State<Arc<Console>>, Form(form): Form<TestCallForm>) -> Response {
    if !console.context.config.console_test_calls {
        return not_offered(&console);
    }
    let payload = json!({
        "agentId": form.agent.trim(), "agentPhoneNumberId": form.from.trim(), "toNumber": form.to.trim(),
    });
    let key = Some(form.key.clone()).filter(|key| !key.is_empty());
    let placed =
        api::place(&console.context, console.api.as_ref(), payload.to_string().as_bytes(), key).await;
    let code = placed.as_ref().map_or_else(|error| error.refusal().code(), |_| "placed");
    console.context.metrics.placement(code);
    match placed {
        Ok(placed) => {
            let id = |field: &str| placed.answer[field].as_str();
            let name = id("callId").or(id("conversationId")).or(id("placementId")).unwrap_or_default();
            tracing::info!("test call placed from the console");
            Redirect::to(&address::of_call(name)).into_response()
        }
        Err(why) => {
            let status = StatusCode::from_u16(why.refusal().status()).unwrap_or(StatusCode::BAD_GATEWAY);
            render_form(&console, form, Some((status, why.to_string())))
        }
    }
}
