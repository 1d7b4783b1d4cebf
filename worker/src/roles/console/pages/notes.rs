//! The note on a call, and the mark that somebody has reviewed it.

use std::sync::Arc;

use axum::{
    Form,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};
use jiff::Timestamp;
use serde::Deserialize;

use super::shell;
use crate::{
    domain::{
        audit::{Action, Login, Object, ObjectKind, Person},
        note::{CallNotes, MAX_NOTE, NoteText},
    },
    roles::console::{
        access::user,
        audit,
        pages::shell::{RejectedText, rejected_text},
        state::Console,
        view::{address, format},
    },
    store::{NoteWrite, NotedCall, StoreError},
};

/// Address of the section to which the pages belong.
const SECTION: &str = "/calls";

/// The form with a note.
#[derive(Deserialize)]
pub struct NoteForm {
    note: String,
    /// Time of the latest note that the page showed, in Unix milliseconds. Empty if the page showed no note.
    #[serde(default)]
    seen: String,
}

/// The form that sets or removes the mark.
#[derive(Deserialize)]
pub struct ReviewForm {
    reviewed: String,
}

/// The notes and the review mark of a call, as texts for the page.
pub struct NotesView {
    /// All notes as one text. Empty if nobody wrote one.
    pub text: String,
    /// Who wrote each note, and when.
    pub authors: Vec<String>,
    /// When the latest note was written, in Unix milliseconds. Empty if nobody wrote one.
    pub seen: String,
    /// Who has reviewed the call, and when. `None`: nobody.
    pub review: Option<String>,
}

impl NotesView {
    /// The texts for `notes`.
    pub fn new(notes: &CallNotes) -> Self {
        Self {
            text: notes.text(),
            authors: notes.notes.iter().map(|note| signed(&note.by, note.at)).collect(),
            seen: notes.latest().map(|at| at.as_millisecond().to_string()).unwrap_or_default(),
            review: notes.review.as_ref().map(|review| signed(&review.by, review.at)),
        }
    }
}

/// The line under a note or a mark: who wrote it, and when.
fn signed(by: &Person, at: Timestamp) -> String {
    let shared = if by.login == Login::Shared { " (shared login)" } else { "" };
    format!("{}{shared}, {}", by.name, format::moment(at))
}

/// `POST /calls/{name}/note`
pub async fn write(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    Form(form): Form<NoteForm>,
) -> Response {
    let entered = form.note.replace("\r\n", "\n");
    let answer = |status: StatusCode, title: &'static str, text: &str| {
        let page = RejectedText { section: SECTION, back: &address::of_call(&name), title, text };
        rejected_text(&console, status, &page, &entered)
    };
    let refuse = |status: StatusCode, text: &str| answer(status, "The note was not saved", text);
    let Ok(text) = NoteText::new(&entered) else {
        let most = format::count(MAX_NOTE as u64);
        let reason = format!("A note has at most {most} characters.");
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, &reason);
    };
    let unavailable = |error: &StoreError| {
        tracing::info!(%error, "MongoDB did not confirm in time that a note was saved");
        let text = "MongoDB did not answer in time. Look at the call before you try again.";
        answer(StatusCode::SERVICE_UNAVAILABLE, "The note may not have been saved", text)
    };
    let call = match console.views.noted_call(&name).await {
        Ok(Some(call)) => call,
        Ok(None) => {
            return refuse(StatusCode::NOT_FOUND, "There is no call with this id. It may have been erased.");
        }
        Err(error) => return unavailable(&error),
    };
    // If the form does not say what the page showed, a note that is there is not overwritten.
    let seen = form.seen.parse().ok().and_then(|at| Timestamp::from_millisecond(at).ok());
    match console.context.store.write_note(&call, &text, &user::author(), seen).await {
        Ok(NoteWrite::Written) => {
            let action = if text.as_str().is_empty() { Action::RemoveNote } else { Action::WriteNote };
            audit::record(&console, action, Object::new(ObjectKind::Call, &name)).await;
            back(&name)
        }
        Ok(NoteWrite::Unchanged) => back(&name),
        Ok(NoteWrite::Conflict) => refuse(
            StatusCode::CONFLICT,
            "Somebody has changed the note meanwhile. Look at it before you save yours.",
        ),
        Err(error) => unavailable(&error),
    }
}

/// `POST /calls/{name}/review`
pub async fn review(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    Form(form): Form<ReviewForm>,
) -> Response {
    let is_reviewed = match form.reviewed.as_str() {
        "yes" => true,
        "no" => false,
        _ => {
            let text = "The form does not say whether the call was reviewed.";
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return shell::message(&console, SECTION, status, "Nothing was changed", text);
        }
    };
    let call = match console.views.noted_call(&name).await {
        Ok(Some(call)) => call,
        Ok(None) => {
            let text = "There is no call with this id. It may have been erased.";
            return shell::message(&console, SECTION, StatusCode::NOT_FOUND, "No such call", text);
        }
        Err(error) => return shell::not_confirmed(&console, SECTION, &error),
    };
    match set_mark(&console, &call, is_reviewed).await {
        Ok(is_changed) => {
            if is_changed {
                let action = if is_reviewed { Action::MarkReviewed } else { Action::UnmarkReviewed };
                audit::record(&console, action, Object::new(ObjectKind::Call, &name)).await;
            }
            back(&name)
        }
        Err(error) => shell::not_confirmed(&console, SECTION, &error),
    }
}

/// Sets or removes the mark. Returns whether that changed anything.
async fn set_mark(console: &Console, call: &NotedCall, is_reviewed: bool) -> Result<bool, StoreError> {
    let store = &console.context.store;
    if is_reviewed {
        store.mark_reviewed(call, &user::author()).await.map(|()| true)
    } else {
        store.unmark_reviewed(call).await
    }
}

fn back(name: &str) -> Response {
    Redirect::to(&format!("{}#notes", address::of_call(name))).into_response()
}
