//! `GET /sent`: what becomes of a dead letter that was sent again. The address says all that is needed
//! to find out, so nothing is kept between requests.

use std::sync::Arc;

use aftercall_common::contract::streams::{self, consumer};
use askama::Template;
use axum::{
    extract::{Query, State},
    http::StatusCode,
    response::Response,
};
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    Console,
    dead_letters::asked,
    filter::segment,
    format,
    page::{self, Shell},
};
use crate::{
    broker::message::origin,
    dead_letters::{BrokerUnavailable, DeadLetterQueue, Redriven},
    domain::event::{self, CallId, ConversationId, Envelope},
};

/// Where to look.
#[derive(Debug, Deserialize)]
pub struct Trace {
    stream: String,
    sequence: u64,
    /// The first number that a new letter can have.
    after: u64,
    event: String,
    /// The call, where the body names one.
    #[serde(default)]
    call: String,
}

/// The address at which to see what becomes of `sent`, whose body this is.
pub fn address(subject: &str, sent: &Redriven, body: &[u8], after: u64) -> String {
    let parsed = origin(subject).and_then(|origin| {
        let envelope = Envelope::new(sent.id.clone(), Timestamp::UNIX_EPOCH, origin);
        event::parse(&envelope, body).ok()
    });
    let call = parsed.and_then(|event| {
        let conversation = event.conversation_id.as_ref().map(ConversationId::as_str);
        event.call_id.as_ref().map(CallId::as_str).or(conversation).map(str::to_owned)
    });
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("stream", &sent.stream)
        .append_pair("sequence", &sent.sequence.to_string())
        .append_pair("after", &after.to_string())
        .append_pair("event", &sent.id)
        .append_pair("call", &call.unwrap_or_default())
        .finish();
    format!("/sent?{query}")
}

/// What became of it.
enum Outcome {
    /// Nobody knows yet.
    Waiting,
    /// It is part of this call.
    Applied { href: String, name: String },
    /// It was taken, by whoever works on its stream.
    Done,
    /// It is a dead letter again.
    Dead { number: u64, reason: String, detail: String },
}

#[derive(Template)]
#[template(path = "sent.html")]
struct Page {
    shell: Shell,
    stream: String,
    sequence: u64,
    outcome: Outcome,
    here: String,
}

/// `GET /sent`
pub async fn show(State(console): State<Arc<Console>>, Query(trace): Query<Trace>) -> Response {
    let outcome = outcome(&console, &trace).await;
    let template = Page {
        shell: Shell::new(&console, "/dead-letters"),
        here: format!(
            "/sent?{}",
            form_urlencoded::Serializer::new(String::new())
                .append_pair("stream", &trace.stream)
                .append_pair("sequence", &trace.sequence.to_string())
                .append_pair("after", &trace.after.to_string())
                .append_pair("event", &trace.event)
                .append_pair("call", &trace.call)
                .finish()
        ),
        stream: trace.stream,
        sequence: trace.sequence,
        outcome,
    };
    page::page(StatusCode::OK, &template)
}

async fn outcome(console: &Console, trace: &Trace) -> Outcome {
    let jetstream = &console.context.jetstream;
    let buried = asked(async {
        DeadLetterQueue::open(jetstream).await?.of_message(&trace.stream, trace.sequence, trace.after).await
    });
    if let Some(Some(letter)) = buried.await {
        let (number, detail) = (letter.number, letter.detail);
        let detail = format::sent(&detail, console.numbers);
        return Outcome::Dead { number, reason: letter.reason.replace('_', " "), detail };
    }
    let in_call = !trace.call.is_empty()
        && console.health().mongodb
        && console.views.has_event(&trace.call, &trace.event).await.unwrap_or(false);
    if in_call {
        let href = format!("/calls/{}", segment(&trace.call));
        return Outcome::Applied { href, name: format::id(&trace.call, console.numbers) };
    }
    let name = if trace.stream == streams::TRANSCRIPTS { consumer::TRANSCRIPTS } else { consumer::STATUS };
    let passed = asked(async {
        let found = jetstream.get_stream(&trace.stream).await.map_err(BrokerUnavailable::new)?;
        let consumer = found.consumer_info(name).await.map_err(BrokerUnavailable::new)?;
        Ok(consumer.ack_floor.stream_sequence >= trace.sequence)
    });
    if passed.await == Some(true) { Outcome::Done } else { Outcome::Waiting }
}
