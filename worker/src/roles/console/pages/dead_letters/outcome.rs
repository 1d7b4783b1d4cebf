//! `GET /sent`: the outcome of a dead letter that was sent again.
//!
//! The address contains all that is needed to find the outcome, so the server stores nothing between
//! requests.

use std::sync::Arc;

use aftercall_common::{
    contract::streams::{TRANSCRIPTS, WEBHOOKS},
    phone_numbers::Numbers,
};
use askama::Template;
use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::Response,
};
use jiff::Timestamp;
use serde::Deserialize;

use super::queue::{self, SECTION};
use crate::{
    broker::message::origin,
    dead_letters::Redriven,
    domain::event::{self, CallId, ConversationId, Envelope},
    roles::console::{
        pages::shell::{self, Shell},
        state::Console,
        view::{address, format},
    },
};

/// A message that was sent again, as the address of its page describes it.
#[derive(Debug, Deserialize)]
pub struct SentMessage {
    stream: String,
    sequence: u64,
    /// When the message was sent, new dead letters had this number or a higher one.
    after: u64,
    /// Id of the event.
    event: String,
    /// Id of the call. Empty: the body names none.
    #[serde(default)]
    call: String,
}

impl SentMessage {
    fn address(&self) -> String {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("stream", &self.stream)
            .append_pair("sequence", &self.sequence.to_string())
            .append_pair("after", &self.after.to_string())
            .append_pair("event", &self.event)
            .append_pair("call", &self.call)
            .finish();
        format!("/sent?{query}")
    }
}

/// The address of the page for `sent`, a message with this subject and body. `after` is the lowest number
/// that a new dead letter can have. An id with a telephone number that pages do not show is left out.
pub fn address(subject: &str, sent: &Redriven, body: &[u8], after: u64, numbers: Numbers) -> String {
    let parsed = origin(subject).and_then(|origin| {
        let envelope = Envelope::new(sent.id.clone(), Timestamp::UNIX_EPOCH, origin);
        event::parse(&envelope, body).ok()
    });
    let call = parsed.and_then(|event| {
        let conversation = event.conversation_id.as_ref().map(ConversationId::as_str);
        event.call_id.as_ref().map(CallId::as_str).or(conversation).map(str::to_owned)
    });
    let sent = SentMessage {
        stream: sent.stream.to_owned(),
        sequence: sent.sequence,
        after,
        event: sent.id.clone(),
        call: call.filter(|id| numbers.id(id) == id.as_str()).unwrap_or_default(),
    };
    sent.address()
}

/// The outcome of a message that was sent again.
enum Outcome {
    /// No worker has processed the message yet.
    Waiting,
    /// The message is part of this call.
    Applied { href: String, name: String },
    /// A worker has processed the message. Its call is unknown.
    Processed,
    /// The message is a dead letter again.
    Dead { number: u64, reason: String, detail: String },
}

#[derive(Template)]
#[template(path = "sent.html")]
struct Page {
    shell: Shell,
    stream: String,
    sequence: u64,
    outcome: Outcome,
    address: String,
}

/// `GET /sent`
pub async fn outcome(
    State(console): State<Arc<Console>>,
    message: Result<Query<SentMessage>, QueryRejection>,
) -> Response {
    let Ok(Query(message)) = message else {
        let text = "This address names no message. Open it from the page of a dead letter.";
        return shell::message(&console, SECTION, StatusCode::NOT_FOUND, "No such message", text);
    };
    // The broker ends a connection that asks it for a very long name.
    if ![WEBHOOKS, TRANSCRIPTS].contains(&message.stream.as_str()) {
        let text = format!("Messages are sent to {WEBHOOKS} or {TRANSCRIPTS}.");
        return shell::message(&console, SECTION, StatusCode::NOT_FOUND, "No such stream", &text);
    }
    let template = Page {
        shell: Shell::new(&console, SECTION),
        address: message.address(),
        outcome: find_outcome(&console, &message).await,
        stream: message.stream,
        sequence: message.sequence,
    };
    shell::render(StatusCode::OK, &template)
}

async fn find_outcome(console: &Console, message: &SentMessage) -> Outcome {
    let jetstream = &console.context.jetstream;
    // Asked first: a worker writes the call or the dead letter before it acknowledges the message.
    let is_acknowledged = queue::is_acknowledged(jetstream, &message.stream, message.sequence).await;
    let letter = queue::query(jetstream, async |queue| {
        queue.of_message(&message.stream, message.sequence, message.after).await
    });
    if let Some(Some(letter)) = letter.await {
        let detail = format::sender_text(&letter.detail, console.numbers);
        return Outcome::Dead { number: letter.number, reason: letter.reason.replace('_', " "), detail };
    }
    let in_call = !message.call.is_empty()
        && console.health().mongodb
        && console.views.has_event(&message.call, &message.event).await.unwrap_or(false);
    if in_call {
        let href = address::of_call(&message.call);
        return Outcome::Applied { href, name: format::id(&message.call, console.numbers) };
    }
    if is_acknowledged { Outcome::Processed } else { Outcome::Waiting }
}
