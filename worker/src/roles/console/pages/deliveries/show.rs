//! `GET /deliveries/{id}`: one delivery with its attempts.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use jiff::Timestamp;

use super::Params;
use crate::{
    roles::console::{
        pages::{
            endpoints::SECTION,
            shell::{self, Shell},
        },
        state::Console,
        view::endpoint::{AttemptRow, DeliveryRow},
    },
    store::DeliveryRecord,
};

#[derive(Template)]
#[template(path = "delivery.html")]
struct Page {
    shell: Shell,
    row: DeliveryRow,
    facts: Vec<(&'static str, String)>,
    /// The attempts, the latest first.
    attempts: Vec<AttemptRow>,
    /// Whether earlier attempts are no longer kept.
    is_shortened: bool,
    /// Whether the message is sent again.
    is_sent: bool,
    /// Whether the endpoint was removed, so that nothing more is sent.
    is_removed: bool,
}

/// `GET /deliveries/{id}`
pub async fn show(State(console): State<Arc<Console>>, Path(id): Path<String>) -> Response {
    match find(&console, &id).await {
        Ok(record) => page(&console, &record, false).await,
        Err(page) => page,
    }
}

/// The page about `record`.
pub async fn page(console: &Console, record: &DeliveryRecord, is_sent: bool) -> Response {
    // If the database does not answer now, the page is shown all the same: something may have been sent.
    let endpoints = console.views.endpoint_ids().await.ok();
    let attempts = record.attempts.iter().rev().map(|attempt| AttemptRow::new(attempt, console.numbers));
    let delivery = &record.delivery;
    let template = Page {
        shell: Shell::new(console, SECTION),
        row: DeliveryRow::new(record, console.numbers, Timestamp::now()),
        facts: vec![
            ("Message", console.numbers.id(&delivery.message_id).into_owned()),
            ("Stored as", format!("number {} of {}", delivery.sequence, delivery.stream)),
        ],
        is_shortened: record.attempts.len() < usize::try_from(record.attempt_count).unwrap_or(usize::MAX),
        attempts: attempts.collect(),
        is_sent,
        is_removed: endpoints.is_some_and(|known| !known.contains(&delivery.endpoint)),
    };
    shell::render(StatusCode::OK, &template)
}

/// The delivery after which the page of the list begins. `None`: it is the first page.
///
/// # Errors
/// The page that says why the delivery cannot be shown.
pub async fn before(console: &Console, params: &Params) -> Result<Option<DeliveryRecord>, Response> {
    match params.before.as_str() {
        "" => Ok(None),
        id => find(console, id).await.map(Some),
    }
}

/// The delivery `id`, or the page that says why it cannot be shown.
pub async fn find(console: &Console, id: &str) -> Result<DeliveryRecord, Response> {
    match console.views.delivery(id).await {
        Ok(Some(record)) => Ok(record),
        Ok(None) => {
            let text = "It is older than 30 days, its call was erased, or the address is wrong.";
            Err(shell::message(console, SECTION, StatusCode::NOT_FOUND, "No such delivery", text))
        }
        Err(error) => Err(shell::database_unavailable(console, SECTION, &error)),
    }
}
