//! Sends a dead letter again, or deletes it.

use std::sync::Arc;

use axum::{
    Form,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};
use bytes::Bytes;
use serde::Deserialize;

use super::{
    body::{is_editable, normalize_line_ends},
    outcome,
    queue::{self, SECTION},
};
use crate::{
    dead_letters::RedriveError,
    roles::console::{live::broadcast::Update, pages::shell, state::Console},
};

/// The form that sends a dead letter again.
#[derive(Deserialize)]
pub struct RedriveForm {
    /// The edited body. `None`: the body is sent as it is.
    body: Option<String>,
}

/// `POST /dead-letters/{number}/replay`
pub async fn redrive(
    State(console): State<Arc<Console>>,
    Path(number): Path<u64>,
    Form(form): Form<RedriveForm>,
) -> Response {
    let letter = match queue::letter(&console, number).await {
        Ok(letter) => letter,
        Err(page) => return page,
    };
    let original = normalize_line_ends(&String::from_utf8_lossy(&letter.body));
    let edited = form.body.map(|body| normalize_line_ends(&body)).filter(|body| *body != original);
    if edited.is_some() && !is_editable(&letter) {
        return queue::not_found(&console);
    }
    let is_edited = edited.is_some();
    let body = edited.clone().map_or_else(|| letter.body.clone(), Bytes::from);
    let sending = queue::query(&console.context.jetstream, async |queue| {
        Ok((queue.redrive(number, edited.map(Bytes::from)).await?, queue.end()))
    });
    let (sent, end) = match sending.await {
        Some((Some(Ok(sent)), end)) => (sent, end),
        Some((Some(Err(error)), _)) => {
            tracing::warn!(%error, "the console could not send a dead letter again");
            let status = match error {
                RedriveError::NotRedrivable(..) => StatusCode::UNPROCESSABLE_ENTITY,
                RedriveError::NotConfirmed(..) | RedriveError::NotRemoved(..) => StatusCode::BAD_GATEWAY,
            };
            return shell::message(&console, SECTION, status, "Not sent again", &error.to_string());
        }
        Some((None, _)) => return queue::not_found(&console),
        None => return shell::broker_unavailable(&console, SECTION),
    };
    let sequence = sent.sequence;
    tracing::info!(letter = number, sequence, edited = is_edited, "dead letter sent again from the console");
    Redirect::to(&outcome::address(&letter.subject, &sent, &body, end)).into_response()
}

/// `POST /dead-letters/{number}/drop`
pub async fn delete(State(console): State<Arc<Console>>, Path(number): Path<u64>) -> Response {
    if let Err(page) = queue::letter(&console, number).await {
        return page;
    }
    let jetstream = &console.context.jetstream;
    match queue::query(jetstream, async |queue| queue.remove(number).await).await {
        Some(true) => {
            tracing::info!(letter = number, "dead letter deleted from the console");
            if let Some(count) = console.broker.update_dead_letters(jetstream).await {
                console.broadcast.publish(Update::DeadLetters(count));
            }
            Redirect::to(SECTION).into_response()
        }
        Some(false) => queue::not_found(&console),
        None => shell::broker_unavailable(&console, SECTION),
    }
}
