//! Reports to the broker about a delivered message: progress, or that it has to be delivered again.

use std::pin::pin;

use aftercall_common::contract::streams;
use async_nats::jetstream::AckKind;

use crate::{
    broker::message::StreamMessage as _,
    ports::{Ports, REDELIVER_AFTER},
};

/// Awaits `work`. During this time, reports progress on `messages` to the broker. Without progress the broker
/// would deliver them to another worker after [`streams::ACK_WAIT`].
pub(super) async fn with_progress<'a, P: Ports, T, I: Iterator<Item = &'a P::Message>>(
    ports: &P,
    messages: impl Fn() -> I,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    let step = streams::ACK_WAIT / 3;
    // The first tick comes after one step. An immediate tick would add a timer of a millisecond to each call
    // of this function.
    let mut progress = tokio::time::interval_at(tokio::time::Instant::now() + step, step);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = progress.tick() => report_progress(ports, messages()).await,
        }
    }
}

/// Restarts the broker's acknowledgement timer of each message.
pub(super) async fn report_progress<'a, P: Ports>(ports: &P, messages: impl Iterator<Item = &'a P::Message>) {
    for message in messages {
        ports.acknowledge(message, AckKind::Progress).await;
    }
}

/// Asks the broker to deliver `message` again after a short delay. `why` says why its body cannot be read.
pub(super) async fn redeliver_unread<P: Ports>(ports: &P, message: &P::Message, why: &str) {
    tracing::warn!(object = message.object(), why, "the body of a webhook could not be read; trying again");
    ports.acknowledge(message, AckKind::Nak(Some(REDELIVER_AFTER))).await;
}
