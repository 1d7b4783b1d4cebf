//! `/test-call`: places a call at the simulated provider. Offered only where the configuration says that
//! calls are not real.

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

use super::{
    Console,
    filter::segment,
    page::{self, Shell},
};
use crate::roles::api;

const HERE: &str = "/test-call";

/// Numbers whose simulated calls end as it says, and what it says.
const NUMBERS: [(&str, &str); 6] = [
    ("+15005550000", "is answered"),
    ("+15005550001", "is busy"),
    ("+15005550002", "is not answered"),
    ("+15005550003", "fails"),
    ("+15005550004", "reaches a voicemail"),
    ("+15005550005", "is answered, and the conversation fails"),
];

/// What is filled in.
#[derive(Clone, Debug, Deserialize)]
pub struct Order {
    agent: String,
    from: String,
    to: String,
    key: String,
}

#[derive(Template)]
#[template(path = "test_call.html")]
struct Page {
    shell: Shell,
    order: Order,
    numbers: [(&'static str, &'static str); 6],
    problem: Option<String>,
}

fn shown(console: &Console, order: Order, problem: Option<(StatusCode, String)>) -> Response {
    let (status, problem) = problem.map_or((StatusCode::OK, None), |(status, text)| (status, Some(text)));
    let order = Order { key: key(), ..order };
    page::page(status, &Page { shell: Shell::new(console, HERE), order, numbers: NUMBERS, problem })
}

/// A name for one order: the same form sent twice is one call.
fn key() -> String {
    format!("console-{:032x}", rand::random::<u128>())
}

fn not_offered(console: &Arc<Console>) -> Response {
    page::message(
        console,
        "",
        StatusCode::NOT_FOUND,
        "Not found",
        "Calls here would be real: none is placed from here.",
    )
}

/// `GET /test-call`
pub async fn form(State(console): State<Arc<Console>>) -> Response {
    if !console.context.config.console_test_calls {
        return not_offered(&console);
    }
    let word = str::to_owned;
    let order =
        Order { agent: word("agent_1"), from: word("phnum_1"), to: word(NUMBERS[0].0), key: String::new() };
    shown(&console, order, None)
}

/// `POST /test-call`
pub async fn place(State(console): State<Arc<Console>>, Form(order): Form<Order>) -> Response {
    if !console.context.config.console_test_calls {
        return not_offered(&console);
    }
    let payload = json!({
        "agentId": order.agent.trim(), "agentPhoneNumberId": order.from.trim(), "toNumber": order.to.trim(),
    });
    let key = Some(order.key.clone()).filter(|key| !key.is_empty());
    let placed =
        api::place(&console.context, console.api.as_ref(), payload.to_string().as_bytes(), key).await;
    console.context.metrics.placement(placed.as_ref().map_or_else(api::NotPlaced::code, |_| "placed"));
    match placed {
        Ok(call) => {
            let id = |field: &str| call[field].as_str();
            let name = id("callId").or(id("conversationId")).or(id("placementId")).unwrap_or_default();
            tracing::info!("test call placed from the console");
            Redirect::to(&format!("/calls/{}", segment(name))).into_response()
        }
        Err(why) => {
            let status =
                u16::try_from(why.status()).ok().and_then(|status| StatusCode::from_u16(status).ok());
            shown(&console, order, Some((status.unwrap_or(StatusCode::BAD_GATEWAY), why.to_string())))
        }
    }
}
