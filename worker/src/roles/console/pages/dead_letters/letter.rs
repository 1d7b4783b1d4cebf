//! `GET /dead-letters/{number}`: one dead letter.

use std::sync::Arc;

use aftercall_common::phone_numbers::Numbers;
use askama::Template;
use axum::{extract::State, http::StatusCode, response::Response};
use jiff::Timestamp;

use super::{
    body::{display_text, is_editable},
    compute::compute,
    queue::{self, Number, SECTION, TIMEOUT},
    row::Row,
};
use crate::{
    broker::large_bodies,
    dead_letters::DeadLetterView,
    roles::console::{
        pages::shell::{self, Shell},
        state::Console,
        view::format,
    },
};

#[derive(Template)]
#[template(path = "dead_letter.html")]
struct DeadLetter {
    shell: Shell,
    row: Row,
    facts: Vec<(&'static str, String)>,
    body: String,
    editable: bool,
    /// Remarks about the body.
    notes: Vec<&'static str>,
}

/// `GET /dead-letters/{number}`
pub async fn show(State(console): State<Arc<Console>>, Number(number): Number) -> Response {
    let letter = match queue::letter(&console, number).await {
        Ok(letter) => letter,
        Err(missing) => return missing.page(&console),
    };
    let large_body = match &letter.object {
        Some(object) => {
            let fetched = large_bodies::fetch(&console.context.jetstream, object);
            tokio::time::timeout(TIMEOUT, fetched).await.ok().and_then(Result::ok)
        }
        None => None,
    };
    let (text, numbers) = (large_body.clone().unwrap_or_else(|| letter.body.clone()), console.numbers);
    let (body, is_cut) = compute(move || display_text(&text, numbers)).await;
    let notes = [
        (is_cut, "Only the first 100,000 characters of the body are shown."),
        (
            letter.object.is_some(),
            "The body is large and kept in the object store. It can be sent again only unchanged.",
        ),
        (
            letter.object.is_some() && large_body.is_none(),
            "The object store did not return the body, so it is not shown.",
        ),
        (
            console.numbers == Numbers::Masked,
            "Telephone numbers are masked on this page, but not in the message that is sent.",
        ),
    ];
    let template = DeadLetter {
        shell: Shell::new(&console, SECTION),
        row: Row::new(&letter, console.numbers, Timestamp::now()),
        facts: facts(&letter),
        body,
        editable: is_editable(&letter),
        notes: notes.into_iter().filter_map(|(applies, note)| applies.then_some(note)).collect(),
    };
    shell::render(StatusCode::OK, &template)
}

/// Name and value of each fact about the dead letter. Facts without a value are left out.
fn facts(letter: &DeadLetterView) -> Vec<(&'static str, String)> {
    let delivered =
        if letter.attempts == "1" { "once".to_owned() } else { format!("{} times", letter.attempts) };
    let redriven = if letter.was_redriven { "yes, and then it was rejected again" } else { "" };
    let facts = [
        ("Sent again before", redriven.to_owned()),
        ("Rejected at", format::moment(letter.dead_lettered_at)),
        ("Delivered", delivered),
        ("Origin", format!("{} {} · {}", letter.origin.0, letter.origin.1, letter.subject)),
        ("Received", letter.received_at.clone()),
        ("Sender", letter.source_ip.clone()),
        ("Signature", letter.signature.clone()),
        ("Size", format::bytes(letter.bytes as u64)),
    ];
    facts.into_iter().filter(|(_, fact)| !fact.is_empty()).collect()
}
