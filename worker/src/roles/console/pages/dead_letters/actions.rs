//! Sends a dead letter again, or deletes it.

use std::sync::Arc;

use axum::{
    Form,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};
use bytes::Bytes;
use serde::Deserialize;

use super::{
    body::{is_editable, normalize_line_ends},
    check, edit, outcome,
    queue::{self, Missing, Number, SECTION},
};
use crate::{
    dead_letters::{DeadLetterView, RedriveError},
    domain::audit::{Action, Object},
    roles::console::{audit, pages::shell, state::Console},
};

/// The form that sends a dead letter again.
#[derive(Deserialize)]
pub struct RedriveForm {
    /// The edited body. `None`: the body is sent as it is.
    body: Option<String>,
    /// Set: an edited body is sent even if it would become a dead letter again.
    anyway: Option<String>,
}

/// `POST /dead-letters/{number}/replay`
pub async fn redrive(
    State(console): State<Arc<Console>>,
    Number(number): Number,
    Form(form): Form<RedriveForm>,
) -> Response {
    let entered = form.body.map(|body| normalize_line_ends(&body));
    let letter = match queue::letter(&console, number).await {
        Ok(letter) => letter,
        Err(missing) => return keep(&console, missing, entered.as_deref()),
    };
    let original = normalize_line_ends(&String::from_utf8_lossy(&letter.body));
    let edited = entered.filter(|body| *body != original);
    if edited.is_some() && !is_editable(&letter) {
        return queue::not_found(&console);
    }
    if let Some(body) = &edited
        && let Err(problem) = check::check(&letter.subject, body).await
        && !(problem.can_be_forced && form.anyway.is_some())
    {
        return edit::refused(&console, &letter, body.clone(), problem).await;
    }
    send(&console, &letter, edited).await
}

async fn send(console: &Arc<Console>, letter: &DeadLetterView, edited: Option<String>) -> Response {
    let (number, is_edited) = (letter.number, edited.is_some());
    let body = edited.clone().map_or_else(|| letter.body.clone(), Bytes::from);
    let sending = queue::query(&console.context.jetstream, async |queue| {
        Ok((queue.redrive(number, edited.clone().map(Bytes::from)).await?, queue.end()))
    });
    let (redriven, end) = match sending.await {
        Some((Some(redriven), end)) => (redriven, end),
        Some((None, _)) => return keep(console, Missing::Gone, edited.as_deref()),
        None => return keep(console, Missing::Unavailable, edited.as_deref()),
    };
    if matches!(redriven, Ok(_) | Err(RedriveError::NotRemoved(..))) {
        let action = if is_edited { Action::EditDeadLetter } else { Action::ReplayDeadLetter };
        audit::record(console, action, Object::dead_letter(number)).await;
    }
    let sent = match redriven {
        Ok(sent) => sent,
        Err(error) => return not_sent(console, &error, edited.as_deref()),
    };
    console.letters.get().remove(number);
    let sequence = sent.sequence;
    tracing::info!(letter = number, sequence, edited = is_edited, "dead letter sent again from the console");
    Redirect::to(&outcome::address(&letter.subject, &sent, &body, end, console.numbers)).into_response()
}

/// The page that says why a dead letter is not there, with the text that was entered.
fn keep(console: &Console, missing: Missing, entered: Option<&str>) -> Response {
    entered.map_or_else(|| missing.page(console), |body| edit::unsent(console, missing, body))
}

fn not_sent(console: &Console, error: &RedriveError, entered: Option<&str>) -> Response {
    tracing::warn!(%error, "the console could not send a dead letter again");
    let (status, title) = match error {
        RedriveError::NotRedrivable(..) => (StatusCode::UNPROCESSABLE_ENTITY, "Not sent again"),
        RedriveError::SentBefore(..) => (StatusCode::CONFLICT, "Not sent again"),
        RedriveError::NotConfirmed(..) => (StatusCode::BAD_GATEWAY, "Not confirmed"),
        RedriveError::NotRemoved(..) => (StatusCode::BAD_GATEWAY, "Sent again, and still in this list"),
    };
    let text = error.to_string();
    match entered {
        Some(body) => edit::unsent_page(console, status, title, &text, body),
        None => shell::message(console, SECTION, status, title, &text),
    }
}

/// `POST /dead-letters/{number}/drop`
pub async fn delete(State(console): State<Arc<Console>>, Number(number): Number) -> Response {
    if let Err(missing) = queue::letter(&console, number).await {
        return missing.page(&console);
    }
    let jetstream = &console.context.jetstream;
    match queue::query(jetstream, async |queue| queue.remove(number).await).await {
        Some(true) => {
            console.letters.get().remove(number);
            audit::record(&console, Action::DeleteDeadLetter, Object::dead_letter(number)).await;
            console.count_dead_letters().await;
            Redirect::to(SECTION).into_response()
        }
        Some(false) => queue::not_found(&console),
        None => shell::broker_unavailable(&console, SECTION),
    }
}
