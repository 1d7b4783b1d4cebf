//! `/dead-letters`: what can never work, looked at, sent again after a look or a change, or dropped.

use std::{sync::Arc, time::Duration};

use aftercall_common::{
    json::{
        self,
        measure::{LIMITS, measure},
    },
    phone_numbers::Numbers,
};
use askama::Template;
use axum::{
    Form,
    extract::{Path, RawQuery, State},
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    Console, format,
    page::{self, Shell},
    redriven,
};
use crate::{
    broker::large_bodies,
    dead_letters::{BrokerUnavailable, DeadLetterQueue, DeadLetterView, RedriveError},
};

const HERE: &str = "/dead-letters";
/// Most characters shown of a body.
const MAX_BODY: usize = 100_000;
/// Largest body that is edited in a page.
const MAX_EDITED: usize = 1024 * 1024;
/// Longest the broker is waited for.
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Template)]
#[template(path = "dead_letters.html")]
struct List {
    shell: Shell,
    letters: Vec<Line>,
    count: String,
    older: Option<u64>,
    is_first: bool,
}

/// A letter, in words.
struct Line {
    number: u64,
    age: String,
    iso: String,
    moment: String,
    reason: String,
    detail: String,
    size: String,
}

impl Line {
    fn new(letter: &DeadLetterView, numbers: Numbers, now: Timestamp) -> Self {
        Self {
            number: letter.number,
            age: format::age(letter.dead_lettered_at, now),
            iso: letter.dead_lettered_at.to_string(),
            moment: format::moment(letter.dead_lettered_at),
            reason: format::sent(&letter.reason, Numbers::Whole).replace('_', " "),
            detail: format::sent(&letter.detail, numbers),
            size: format::bytes(letter.bytes as u64),
        }
    }
}

#[derive(Template)]
#[template(path = "dead_letter.html")]
struct One {
    shell: Shell,
    line: Line,
    facts: Vec<(&'static str, String)>,
    body: String,
    editable: bool,
    /// What has to be known of the body as it is shown.
    notes: Vec<&'static str>,
}

#[derive(Template)]
#[template(path = "edit.html")]
struct Edit {
    shell: Shell,
    line: Line,
    body: String,
}

/// Asks the broker, within a bound.
pub async fn asked<T>(asking: impl Future<Output = Result<T, BrokerUnavailable>>) -> Option<T> {
    match tokio::time::timeout(TIMEOUT, asking).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::info!(%error, "a page of the console without the broker");
            None
        }
        Err(_elapsed) => None,
    }
}

/// `GET /dead-letters?before=`
pub async fn list(State(console): State<Arc<Console>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let before = query.strip_prefix("before=").and_then(|number| number.parse().ok());
    if !console.health().nats {
        return page::without_broker(&console, HERE);
    }
    let jetstream = &console.context.jetstream;
    let read = asked(async {
        let queue = DeadLetterQueue::open(jetstream).await?;
        let page = queue.page(before.unwrap_or(u64::MAX)).await?;
        Ok((page, queue.count()))
    });
    let Some(((letters, more), count)) = read.await else { return page::without_broker(&console, HERE) };
    let now = Timestamp::now();
    let mut shell = Shell::new(&console, HERE);
    shell.letters = Some(count);
    let template = List {
        shell,
        older: letters.last().filter(|_| more).map(|letter| letter.number),
        letters: letters.iter().map(|letter| Line::new(letter, console.numbers, now)).collect(),
        count: format::count(count),
        is_first: before.is_none(),
    };
    page::page(StatusCode::OK, &template)
}

/// The letter `number`, or the page that says why it is not to be had.
async fn letter(console: &Arc<Console>, number: u64) -> Result<DeadLetterView, Response> {
    let jetstream = &console.context.jetstream;
    if !console.health().nats {
        return Err(page::without_broker(console, HERE));
    }
    match asked(async { DeadLetterQueue::open(jetstream).await?.get(number).await }).await {
        Some(Some(letter)) => Ok(letter),
        Some(None) => Err(gone(console)),
        None => Err(page::without_broker(console, HERE)),
    }
}

fn gone(console: &Arc<Console>) -> Response {
    let text = "It was sent again or dropped, perhaps by somebody else.";
    page::message(console, HERE, StatusCode::NOT_FOUND, "No such dead letter", text)
}

/// Whether the body can be changed in a page without changing more than was meant.
fn is_editable(letter: &DeadLetterView) -> bool {
    letter.object.is_none() && letter.body.len() <= MAX_EDITED && std::str::from_utf8(&letter.body).is_ok()
}

/// The body as it is read best, and whether it is shown whole.
fn readable(body: &[u8], numbers: Numbers) -> (String, bool) {
    // Parsed, a body takes a multiple of its bytes: of a large one the beginning is shown, as text.
    let is_large = body.len() > MAX_EDITED || measure([body], LIMITS).is_err();
    let body = if is_large { &body[..body.len().min(4 * MAX_BODY + 4)] } else { body };
    let text = if let Ok(mut json) = json::read(body) {
        numbers.payload(&mut json);
        serde_json::to_string_pretty(&json).unwrap_or_default()
    } else {
        // Cut first: what is not shown need not be looked through.
        let text = String::from_utf8_lossy(body);
        let end = text.char_indices().nth(MAX_BODY + 1).map_or(text.len(), |(end, _)| end);
        numbers.text(&text[..end]).into_owned()
    };
    match text.char_indices().nth(MAX_BODY) {
        Some((end, _)) => (text[..end].to_owned(), true),
        None => (text, false),
    }
}

/// `GET /dead-letters/{number}`
pub async fn show(State(console): State<Arc<Console>>, Path(number): Path<u64>) -> Response {
    let letter = match letter(&console, number).await {
        Ok(letter) => letter,
        Err(page) => return page,
    };
    let elsewhere = match &letter.object {
        Some(object) => {
            let body =
                tokio::time::timeout(TIMEOUT, large_bodies::fetch(&console.context.jetstream, object)).await;
            Some(body.ok().and_then(Result::ok).unwrap_or_default())
        }
        None => None,
    };
    let (body, cut) = readable(elsewhere.as_ref().unwrap_or(&letter.body), console.numbers);
    let facts = [
        ("Buried", format::moment(letter.dead_lettered_at)),
        (
            "Delivered",
            if letter.attempts == "1" { "once".to_owned() } else { format!("{} times", letter.attempts) },
        ),
        ("From", format!("{} {} · {}", letter.origin.0, letter.origin.1, letter.subject)),
        ("Received", letter.received_at.clone()),
        ("Sender", letter.source_ip.clone()),
        ("Signature", letter.signature.clone()),
        ("Size", format::bytes(letter.bytes as u64)),
    ];
    let notes = [
        (cut, "This is its beginning."),
        (elsewhere.is_some(), "It is large, and kept in the object store: it can be sent again as it is."),
        (console.numbers == Numbers::Masked, "Telephone numbers are hidden here, not in what is sent."),
    ];
    let template = One {
        shell: Shell::new(&console, HERE),
        line: Line::new(&letter, console.numbers, Timestamp::now()),
        facts: facts.into_iter().filter(|(_, fact)| !fact.is_empty()).collect(),
        body,
        editable: is_editable(&letter),
        notes: notes.into_iter().filter_map(|(applies, note)| applies.then_some(note)).collect(),
    };
    page::page(StatusCode::OK, &template)
}

/// `GET /dead-letters/{number}/edit`
pub async fn edit(State(console): State<Arc<Console>>, Path(number): Path<u64>) -> Response {
    match letter(&console, number).await {
        Ok(letter) if is_editable(&letter) => {
            let body = String::from_utf8_lossy(&letter.body).into_owned();
            let line = Line::new(&letter, console.numbers, Timestamp::now());
            page::page(StatusCode::OK, &Edit { shell: Shell::new(&console, HERE), line, body })
        }
        Ok(_) => {
            let text = "Its body is too large, or no text: it can be sent again as it is.";
            page::message(&console, HERE, StatusCode::UNPROCESSABLE_ENTITY, "Not to be edited here", text)
        }
        Err(page) => page,
    }
}

/// The form of a replay.
#[derive(Deserialize)]
pub struct Replay {
    body: Option<String>,
}

/// `POST /dead-letters/{number}/replay`
pub async fn replay(
    State(console): State<Arc<Console>>,
    Path(number): Path<u64>,
    Form(form): Form<Replay>,
) -> Response {
    let letter = match letter(&console, number).await {
        Ok(letter) => letter,
        Err(page) => return page,
    };
    // Browsers end the lines of a form with CR LF whatever they were before.
    let lines = |text: &str| text.replace("\r\n", "\n");
    let body = form.body.map(|body| lines(&body));
    let body = body.filter(|body| *body != lines(&String::from_utf8_lossy(&letter.body)));
    if body.is_some() && !is_editable(&letter) {
        return gone(&console);
    }
    let edited = body.is_some();
    let shown = body.clone().map_or_else(|| letter.body.clone(), Bytes::from);
    let jetstream = &console.context.jetstream;
    let sending = asked(async {
        let queue = DeadLetterQueue::open(jetstream).await?;
        Ok((queue.redrive(number, body.map(Bytes::from)).await?, queue.end()))
    });
    let (sent, end) = match sending.await {
        Some((Some(Ok(sent)), end)) => (sent, end),
        Some((Some(Err(error)), _)) => {
            tracing::warn!(%error, "a dead letter was not sent again");
            let text = error.to_string();
            let status = match error {
                RedriveError::NotRedrivable(..) => StatusCode::UNPROCESSABLE_ENTITY,
                RedriveError::NotConfirmed(..) | RedriveError::NotRemoved(..) => StatusCode::BAD_GATEWAY,
            };
            return page::message(&console, HERE, status, "Not sent again", &text);
        }
        Some((None, _)) => return gone(&console),
        None => return page::without_broker(&console, HERE),
    };
    tracing::info!(
        letter = number,
        sequence = sent.sequence,
        edited,
        "dead letter sent again from the console"
    );
    Redirect::to(&redriven::address(&letter.subject, &sent, &shown, end)).into_response()
}

/// `POST /dead-letters/{number}/drop`
pub async fn remove(State(console): State<Arc<Console>>, Path(number): Path<u64>) -> Response {
    if let Err(page) = letter(&console, number).await {
        return page;
    }
    let jetstream = &console.context.jetstream;
    match asked(async { DeadLetterQueue::open(jetstream).await?.remove(number).await }).await {
        Some(true) => {
            tracing::info!(letter = number, "dead letter dropped from the console");
            if let Some(letters) = console.broker.look_for_letters(jetstream).await {
                console.live.tell(super::broadcast::News::Letters(letters));
            }
            Redirect::to(HERE).into_response()
        }
        Some(false) => gone(&console),
        None => page::without_broker(&console, HERE),
    }
}
