//! Webhooks → the state of calls: pull, parse, join, write, settle.
//!
//! Two writes are under way at a time; what is pulled meanwhile is parsed, joined and waits at the desk.
//! So a lone webhook is applied at once, and a backlog in large batches.
//!
//! What is parsed is bounded by an estimate of its memory, not by its bytes ([`Weight`]). A heavy message is parsed
//! and written while no other heavy one is, beside the light ones. A message that may have killed a worker is worked
//! on while nothing else is (`apart`).

mod batch;
mod buffer;
mod catch_up;
mod inbox;
mod parse;
mod suspects;
mod traces;
mod weight;

use std::{collections::VecDeque, sync::Arc};

use aftercall_common::contract::streams::{self, consumer};
use async_nats::jetstream::AckKind;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::{
    buffer::{Busy, Desk},
    inbox::Inbox,
};
pub use self::{
    parse::{body_of, read},
    weight::Weight,
};
use crate::{
    Context,
    broker::{
        consumer::{Batches, Pull, Source},
        message::Stored as _,
    },
    ports::{Outside, REDELIVER_AFTER},
};

/// Most messages and bytes pulled at a time.
const MAX_MESSAGES: usize = 500;
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Writes under way at a time. The database works on one command by one core.
const WRITES: usize = 2;

/// Runs the role until `stop`.
pub async fn run(context: Arc<Context>, stop: CancellationToken) {
    let source = Source {
        stream: streams::WEBHOOKS,
        consumer: consumer::STATUS,
        messages: MAX_MESSAGES,
        bytes: MAX_BYTES,
        replicas: context.config.stream_replicas.get(),
    };
    let mut batches = Batches::new(context.jetstream.clone(), source);
    let served = serve(context.clone(), &mut batches, &stop);
    let (unsettled, ()) = tokio::join!(served, catch_up::run(&context, &stop));
    batches.release(unsettled).await;
}

/// What a task has done.
enum Done<M> {
    /// A batch, but for these messages.
    Batch(Busy, Vec<M>),
    /// The body of a heavy message was read, or is to be read later for this reason.
    Heavy(M, Box<parse::Opened>),
    /// Suspects, but for these.
    Suspects(Vec<M>),
}

/// Applies what `pull` gives until `stop`; the messages that are not settled.
pub async fn serve<O: Outside>(
    outside: Arc<O>,
    pull: &mut impl Pull<Message = O::Message>,
    stop: &CancellationToken,
) -> Vec<O::Message> {
    let (mut inbox, mut desk) = (Inbox::default(), Desk::default());
    let (mut writes, mut heavy, mut apart) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
    let mut unsettled = Vec::new();
    let mut progress = tokio::time::interval(streams::ACK_WAIT / 3);
    loop {
        if stop.is_cancelled() {
            // Nothing new is begun.
        } else if inbox.has_suspects() || !apart.is_empty() {
            // Suspects wait until nothing else is worked on, and everything else waits for them.
            if writes.is_empty() && heavy.is_empty() && apart.is_empty() {
                apart.spawn(process_apart(outside.clone(), inbox.suspects(), stop.clone()));
            }
        } else {
            while desk.has_room()
                && let Some((message, weight)) = inbox.light()
            {
                let read = read(&message, &message.payload());
                desk.take_in(message, read, weight);
            }
            while writes.len() < WRITES
                && let Some(batch) = desk.next()
            {
                writes.spawn(write(outside.clone(), batch, stop.clone()));
            }
            if heavy.is_empty()
                && desk.has_room_for_heavy()
                && let Some(message) = inbox.heavy()
            {
                heavy.spawn(open_heavy(outside.clone(), message));
            }
        }
        let done = tokio::select! {
            biased;
            Some(done) = writes.join_next() => done,
            Some(done) = heavy.join_next() => done,
            Some(done) = apart.join_next() => done,
            _ = progress.tick() => {
                for message in desk.messages().chain(inbox.messages()) {
                    outside.settle(message, AckKind::Progress).await;
                }
                continue;
            }
            pulled = pull.next(stop), if desk.has_room() && inbox.has_room() => {
                let Some(messages) = pulled else { break };
                for message in messages {
                    if message.delivered() > 1 {
                        outside.metrics().redelivered(consumer::STATUS);
                    }
                    inbox.push(message);
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
            Done::Heavy(message, opened) => match *opened {
                Ok((read, weight)) => desk.take_in(message, read, weight),
                Err(why) => read_later(&*outside, &message, &why).await,
            },
            Done::Suspects(messages) => unsettled.extend(messages),
        }
    }
    unsettled.extend(desk.clear().chain(inbox.clear()));
    for tasks in [&mut writes, &mut heavy, &mut apart] {
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok(Done::Batch(_, messages) | Done::Suspects(messages)) => unsettled.extend(messages),
                Ok(Done::Heavy(message, _)) => unsettled.push(message),
                Err(_panicked) => {}
            }
        }
    }
    unsettled
}

async fn write<O: Outside>(
    outside: Arc<O>,
    mut batch: buffer::Batch<O::Message>,
    stop: CancellationToken,
) -> Done<O::Message> {
    let busy = batch.busy();
    Done::Batch(busy, batch::work(&*outside, batch, &stop).await)
}

async fn open_heavy<O: Outside>(outside: Arc<O>, message: O::Message) -> Done<O::Message> {
    let opening = parse::open(&*outside, &message);
    let opened = batch::at_work(&*outside, || std::iter::once(&message), opening).await;
    Done::Heavy(message, Box::new(opened))
}

async fn process_apart<O: Outside>(
    outside: Arc<O>,
    suspects: VecDeque<O::Message>,
    stop: CancellationToken,
) -> Done<O::Message> {
    Done::Suspects(suspects::process(outside, suspects, stop).await)
}

/// Hands back a message whose body cannot be had now.
async fn read_later<O: Outside>(outside: &O, message: &O::Message, why: &str) {
    tracing::warn!(object = message.object(), why, "the body of a webhook could not be read; trying again");
    outside.settle(message, AckKind::Nak(Some(REDELIVER_AFTER))).await;
}
