//! Processes messages that may have ended a worker process.
//!
//! If a message was delivered several times and never acknowledged, there are two possible causes: outages,
//! or the message ends each process that works on it. The delivery count of the broker does not distinguish
//! the two. So the worker stops all other work while it processes a suspect, and before each attempt it
//! writes a record to the database. If a record exists when the message is delivered again, a process ended
//! during the attempt.
//!
//! Invariants:
//! - An outage leaves no record, even if it lasts long and the message is delivered many times: the record is
//!   removed at the end of each attempt. It remains only if the process ends before this.
//! - A message becomes a dead letter only after several attempts during which the process ended. In the last
//!   of these attempts, the process worked on this message alone. `suspicion` holds the number of attempts.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use aftercall_common::contract::streams::consumer;
use tokio_util::sync::CancellationToken;

use super::{
    apply::apply_batch,
    buffer::{Batch, Buffer},
    delivery::{redeliver_unread, with_progress},
    parse::{open, read},
    suspicion::{Treatment, treatment},
    weight::Weight,
};
use crate::{
    broker::message::StreamMessage,
    dead_letters::give_up,
    domain::{cause::Cause, reason::Reason},
    ports::Ports,
    store::StoreError,
};

/// First and longest pause between two attempts to reach the database.
const RETRY_DELAY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The id of a message in the records: the id of its webhook, which is the same for the same bytes.
fn record_id(message: &impl StreamMessage) -> String {
    message.envelope().map(|envelope| envelope.id).unwrap_or_default()
}

/// Processes `suspects`. The caller must not start other work before the end. Returns the messages that are
/// not acknowledged because the process stops.
pub(super) async fn process<P: Ports>(
    ports: Arc<P>,
    mut suspects: VecDeque<P::Message>,
    stop: CancellationToken,
) -> Vec<P::Message> {
    let ports = &*ports;
    let ids: Vec<_> = suspects.iter().map(record_id).collect();
    let request = retry_until_done(ports, &stop, || ports.attempts(&ids));
    let Some(attempts) = with_progress(ports, || suspects.iter(), request).await else {
        return suspects.into();
    };
    let (mut together, mut alone) = (VecDeque::new(), VecDeque::new());
    for attempts in attempts {
        let Some(message) = suspects.pop_front() else { break };
        let heavy = message.object().is_some() || Weight::of(&message.payload()).is_heavy();
        match treatment(attempts, heavy) {
            Treatment::Together => together.push_back(message),
            Treatment::Alone => alone.push_back((message, attempts)),
            Treatment::DeadLetter => {
                let detail =
                    format!("the worker ended {attempts} times while it worked on this message alone");
                let cause = Cause { reason: Reason::KillsTheWorker, detail };
                give_up(ports, consumer::STATUS, &message, &cause).await;
                end_attempt(ports, &[record_id(&message)], &stop).await;
            }
        }
    }
    let waiting = || alone.iter().map(|(message, _)| message);
    let mut unacknowledged = with_progress(ports, waiting, process_together(ports, together, &stop)).await;
    while let Some((message, attempts)) = alone.pop_front() {
        let waiting = || alone.iter().map(|(message, _)| message);
        let processing = process_alone(ports, message, attempts, &stop);
        unacknowledged.extend(with_progress(ports, waiting, processing).await);
    }
    unacknowledged
}

/// Processes light messages that have no unfinished attempt.
async fn process_together<P: Ports>(
    ports: &P,
    mut group: VecDeque<P::Message>,
    stop: &CancellationToken,
) -> Vec<P::Message> {
    let ids: Vec<_> = group.iter().map(record_id).collect();
    if ids.is_empty() || stop.is_cancelled() {
        return group.into();
    }
    let begin = retry_until_done(ports, stop, || ports.begin_attempt(&ids, 1));
    if with_progress(ports, || group.iter(), begin).await.is_none() {
        return group.into();
    }
    let (mut buffer, mut unacknowledged) = (Buffer::default(), Vec::new());
    loop {
        while buffer.has_room()
            && let Some(message) = group.pop_front()
        {
            let body = message.payload();
            let event = read(&message, &body);
            buffer.push(message, event, Weight::of(&body));
        }
        let Some(batch) = buffer.next_batch() else { break };
        unacknowledged.extend(process_batch(ports, &mut buffer, batch, &group, stop).await);
    }
    end_attempt(ports, &ids, stop).await;
    unacknowledged
}

/// Processes one message while the process does nothing else.
async fn process_alone<P: Ports>(
    ports: &P,
    message: P::Message,
    attempts: u32,
    stop: &CancellationToken,
) -> Vec<P::Message> {
    let ids = [record_id(&message)];
    let begin = retry_until_done(ports, stop, || ports.begin_attempt(&ids, attempts + 1));
    let held = || std::iter::once(&message);
    if stop.is_cancelled() || with_progress(ports, held, begin).await.is_none() {
        return vec![message];
    }
    tracing::info!(
        event_id = ids[0],
        delivered = message.delivered(),
        attempts,
        "a webhook that was delivered often and never acknowledged is processed alone"
    );
    let opened = with_progress(ports, held, open(ports, &message)).await;
    let unacknowledged = match opened {
        Ok((event, weight)) => {
            let mut buffer = Buffer::default();
            buffer.push(message, event, weight);
            match buffer.next_batch() {
                Some(batch) => process_batch(ports, &mut buffer, batch, &VecDeque::new(), stop).await,
                None => Vec::new(),
            }
        }
        Err(why) => {
            redeliver_unread(ports, &message, &why).await;
            Vec::new()
        }
    };
    end_attempt(ports, &ids, stop).await;
    unacknowledged
}

/// Applies a batch. During this time, reports progress on the other messages of the group.
async fn process_batch<P: Ports>(
    ports: &P,
    buffer: &mut Buffer<P::Message>,
    mut batch: Batch<P::Message>,
    waiting: &VecDeque<P::Message>,
    stop: &CancellationToken,
) -> Vec<P::Message> {
    let reservation = batch.take_reservation();
    let held: &Buffer<P::Message> = buffer;
    let rest = || held.messages().chain(waiting);
    let unacknowledged = with_progress(ports, rest, apply_batch(ports, batch, stop)).await;
    buffer.release(reservation);
    unacknowledged
}

/// Removes the records of ended attempts. If the process stops while the database is away, the records stay
/// and count as one unfinished attempt.
async fn end_attempt<P: Ports>(ports: &P, ids: &[String], stop: &CancellationToken) {
    if retry_until_done(ports, stop, || ports.end_attempt(ids)).await.is_none() {
        tracing::warn!(
            webhooks = ids.len(),
            "the process stops before MongoDB removed the attempts on suspect webhooks; they count as unfinished"
        );
    }
}

/// Repeats `action` until it succeeds. `None` if the process stops before.
async fn retry_until_done<T, F: Future<Output = Result<T, StoreError>>>(
    ports: &impl Ports,
    stop: &CancellationToken,
    action: impl Fn() -> F,
) -> Option<T> {
    let report = |error: StoreError| {
        tracing::warn!(%error, "attempts on suspect webhooks not read or recorded; trying again");
    };
    ports.pauses(RETRY_DELAY.0, RETRY_DELAY.1).until_done(stop, action, report).await
}
