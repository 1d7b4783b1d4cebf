//! Webhooks → the state of calls: pull, parse, join, write, settle.
//!
//! Two writes are under way at a time; what is pulled meanwhile is parsed, joined and waits at the desk.
//! So a lone webhook is applied at once, and a backlog in large batches.

mod bodies;
mod desk;
mod live;
mod traces;
mod work;

use std::{collections::VecDeque, sync::Arc};

use aftercall_common::stream::{self, consumer};
use async_nats::jetstream::{self, AckKind, Message};
use bytes::Bytes;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::bodies::{NoBody, fetch};
use self::desk::{Busy, Desk};
use crate::{
    Context,
    dead_letters::Cause,
    event::{self, Event, ParseError},
    outside::{Outside, REDELIVER_AFTER, Stored},
    pull::{Batches, Pull, Source},
};

const MAX_MESSAGES: usize = 500;
const MAX_BYTES: usize = 32 * 1024 * 1024;
/// Writes under way at a time. The database works on one command by one core.
const WRITES: usize = 2;
/// Large bodies fetched at a time, and messages without a body that wait for that.
const BODIES: (usize, usize) = (1, 100);

/// The body of a stored webhook, wherever it is; an error where it cannot be had.
pub async fn body_of(context: &jetstream::Context, message: &Message) -> Result<Bytes, Cause> {
    let Some(object) = message.object() else { return Ok(message.payload.clone()) };
    Box::pin(bodies::fetch(context, object)).await.map_err(|error| match error {
        NoBody::Dead(cause) => cause,
        NoBody::Later(detail) => Cause { label: "body_missing", detail },
    })
}

/// What a stored webhook says, its body given.
pub fn read(message: &impl Stored, body: &[u8]) -> Result<Event, Cause> {
    event::parse(&message.envelope()?, body)
        .map_err(|error: ParseError| Cause { label: error.label(), detail: error.to_string() })
}

/// What a stored webhook says.
pub async fn stored_event(context: &jetstream::Context, message: &Message) -> Result<Event, Cause> {
    read(message, &body_of(context, message).await?)
}

/// Runs the role until `stop`.
pub async fn run(context: Arc<Context>, stop: CancellationToken) {
    let source = Source {
        stream: stream::WEBHOOKS,
        consumer: consumer::STATUS,
        messages: MAX_MESSAGES,
        bytes: MAX_BYTES,
        replicas: context.config.stream_replicas.get(),
    };
    let mut batches = Batches::new(context.jetstream.clone(), source);
    let served = serve(context.clone(), &mut batches, &stop);
    let (unsettled, ()) = tokio::join!(served, live::run(&context, &stop));
    batches.release(unsettled).await;
}

/// What a task has done.
enum Done<M> {
    /// A batch, but for these messages.
    Batch(Busy, Vec<M>),
    /// The body of a message that has none itself.
    Body(M, Result<Bytes, NoBody>),
}

/// Applies what `pull` gives until `stop`; the messages that are not settled.
pub async fn serve<O: Outside>(
    outside: Arc<O>,
    pull: &mut impl Pull<Message = O::Message>,
    stop: &CancellationToken,
) -> Vec<O::Message> {
    let (mut desk, mut large) = (Desk::default(), VecDeque::new());
    let (mut writes, mut fetches) = (JoinSet::new(), JoinSet::new());
    let mut unsettled = Vec::new();
    let mut progress = tokio::time::interval(stream::ACK_WAIT / 3);
    loop {
        while writes.len() < WRITES
            && !stop.is_cancelled()
            && let Some(batch) = desk.next()
        {
            writes.spawn(write(outside.clone(), batch, stop.clone()));
        }
        if fetches.len() < BODIES.0
            && desk.has_room()
            && let Some(message) = large.pop_front()
        {
            fetches.spawn(fetch_large(outside.clone(), message));
        }
        let done = tokio::select! {
            biased;
            Some(done) = writes.join_next() => done,
            Some(done) = fetches.join_next() => done,
            _ = progress.tick() => {
                for message in desk.messages().chain(&large) {
                    outside.settle(message, AckKind::Progress).await;
                }
                continue;
            }
            pulled = pull.next(stop), if desk.has_room() && large.len() < BODIES.1 => {
                let Some(messages) = pulled else { break };
                for message in messages {
                    if message.delivered() > 1 {
                        outside.metrics().redelivered(consumer::STATUS);
                    }
                    if message.object().is_some() {
                        large.push_back(message);
                    } else {
                        let body = message.payload();
                        let read = read(&message, &body);
                        desk.take_in(message, read, body.len());
                    }
                }
                continue;
            }
            () = stop.cancelled() => break,
        };
        match done.expect("no task panics or is aborted") {
            Done::Batch(busy, messages) => {
                desk.done(busy);
                unsettled.extend(messages);
            }
            Done::Body(message, body) => take_in_large(&*outside, &mut desk, message, body).await,
        }
    }
    unsettled.extend(desk.clear().chain(large));
    while let Some(done) = writes.join_next().await {
        if let Ok(Done::Batch(_, messages)) = done {
            unsettled.extend(messages);
        }
    }
    while let Some(done) = fetches.join_next().await {
        if let Ok(Done::Body(message, _)) = done {
            unsettled.push(message);
        }
    }
    unsettled
}

async fn write<O: Outside>(
    outside: Arc<O>,
    mut batch: desk::Batch<O::Message>,
    stop: CancellationToken,
) -> Done<O::Message> {
    let busy = batch.busy();
    Done::Batch(busy, work::work(&*outside, batch, &stop).await)
}

async fn fetch_large<O: Outside>(outside: Arc<O>, message: O::Message) -> Done<O::Message> {
    let fetching = outside.fetch(message.object().unwrap_or_default());
    let body = work::at_work(&*outside, || std::iter::once(&message), fetching).await;
    Done::Body(message, body)
}

async fn take_in_large<O: Outside>(
    outside: &O,
    desk: &mut Desk<O::Message>,
    message: O::Message,
    body: Result<Bytes, NoBody>,
) {
    match body {
        Ok(body) => {
            let read = read(&message, &body);
            desk.take_in(message, read, body.len());
        }
        Err(NoBody::Dead(cause)) => desk.take_in(message, Err(cause), 0),
        Err(NoBody::Later(why)) => {
            tracing::warn!(
                object = message.object(),
                why,
                "the body of a webhook could not be read; trying again"
            );
            outside.settle(&message, AckKind::Nak(Some(REDELIVER_AFTER))).await;
        }
    }
}
