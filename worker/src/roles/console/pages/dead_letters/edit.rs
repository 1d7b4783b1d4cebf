//! The form in which the body of a dead letter is edited, beside the original.

use std::sync::Arc;

use aftercall_common::phone_numbers::Numbers;
use askama::Template;
use axum::{Form, extract::State, http::StatusCode, response::Response};
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    body::{display_text, is_editable, normalize_line_ends},
    check::{self, Problem},
    compute::compute,
    difference::{Line, difference},
    queue::{self, Missing, Number, SECTION},
    row::Row,
};
use crate::{
    dead_letters::DeadLetterView,
    domain::audit::{Action, Object},
    roles::console::{
        audit,
        pages::shell::{self, RejectedText, Shell, rejected_text},
        state::Console,
    },
};

/// The form with an edited body.
#[derive(Deserialize)]
pub struct EditForm {
    body: String,
}

#[derive(Template)]
#[template(path = "edit.html")]
struct Edit {
    shell: Shell,
    row: Row,
    /// The text in the form.
    body: String,
    original: String,
    /// Whether `original` is only the beginning.
    is_original_cut: bool,
    /// Where the original stays after the edited body is sent.
    kept: String,
    problem: Option<Problem>,
    is_compared: bool,
    difference: Vec<Line>,
}

impl Edit {
    fn can_be_forced(&self) -> bool {
        self.problem.as_ref().is_some_and(|problem| problem.can_be_forced)
    }
}

/// `GET /dead-letters/{number}/edit`
pub async fn edit(State(console): State<Arc<Console>>, Number(number): Number) -> Response {
    match queue::letter(&console, number).await {
        Ok(letter) if is_editable(&letter) => {
            let body = String::from_utf8_lossy(&letter.body).into_owned();
            page(&console, &letter, StatusCode::OK, body, None, false).await
        }
        Ok(_) => not_editable(&console),
        Err(missing) => missing.page(&console),
    }
}

/// `POST /dead-letters/{number}/edit`: shows the difference, and what is wrong with the edited body.
pub async fn compare(
    State(console): State<Arc<Console>>,
    Number(number): Number,
    Form(form): Form<EditForm>,
) -> Response {
    let body = normalize_line_ends(&form.body);
    match queue::letter(&console, number).await {
        Ok(letter) if is_editable(&letter) => {
            let problem = check::check(&letter.subject, &body).await.err();
            page(&console, &letter, StatusCode::OK, body, problem, true).await
        }
        Ok(_) => not_editable(&console),
        Err(missing) => unsent(&console, missing, &body),
    }
}

/// The form with `body`, and why it was not sent.
pub(super) async fn refused(
    console: &Console,
    letter: &DeadLetterView,
    body: String,
    problem: Problem,
) -> Response {
    page(console, letter, StatusCode::UNPROCESSABLE_ENTITY, body, Some(problem), true).await
}

async fn page(
    console: &Console,
    letter: &DeadLetterView,
    status: StatusCode,
    body: String,
    problem: Option<Problem>,
    is_compared: bool,
) -> Response {
    // The form has the whole telephone numbers, because the text in it is sent.
    let object = Object::dead_letter(letter.number);
    if let Err(error) = audit::record_first(console, Action::RevealNumbers, object).await {
        if is_compared {
            let text = "MongoDB did not answer in time, so the line of the audit about whole telephone numbers could not \
                be stored.";
            return unsent_page(console, StatusCode::SERVICE_UNAVAILABLE, "Nothing was sent", text, &body);
        }
        return shell::database_unavailable(console, SECTION, &error);
    }
    let (subject, received, edited) = (letter.subject.clone(), letter.body.clone(), body.clone());
    let ((original, is_original_cut), difference) = compute(move || {
        let original = display_text(&received, Numbers::Whole);
        let received = String::from_utf8_lossy(&received);
        let difference = is_compared.then(|| difference(&subject, &received, &edited));
        (original, difference.unwrap_or_default())
    })
    .await;
    let (stream, sequence) = &letter.origin;
    let edit = Edit {
        shell: Shell::new(console, SECTION),
        row: Row::new(letter, console.numbers, Timestamp::now()),
        difference,
        is_compared,
        original,
        is_original_cut,
        kept: format!("It stays in the stream {stream} as number {sequence} until it expires there."),
        body,
        problem,
    };
    shell::render(status, &edit)
}

/// The page for a body that was not sent, with the text that was entered.
pub(super) fn unsent(console: &Console, missing: Missing, body: &str) -> Response {
    let (status, title, text) = match missing {
        Missing::Gone => (
            StatusCode::NOT_FOUND,
            "This dead letter no longer exists",
            "Nothing was sent now. It was sent again or deleted before, or it has expired.",
        ),
        Missing::Unavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Nothing was sent",
            "NATS did not answer in time. Look at the dead letter before you try again.",
        ),
    };
    unsent_page(console, status, title, text, body)
}

/// A page with the text that was entered.
pub(super) fn unsent_page(
    console: &Console,
    status: StatusCode,
    title: &str,
    text: &str,
    body: &str,
) -> Response {
    rejected_text(console, status, &RejectedText { section: SECTION, back: SECTION, title, text }, body)
}

fn not_editable(console: &Console) -> Response {
    let text = "The body is too large, or it is not text. It can be sent again only unchanged.";
    let title = "This dead letter cannot be edited";
    shell::message(console, SECTION, StatusCode::UNPROCESSABLE_ENTITY, title, text)
}
