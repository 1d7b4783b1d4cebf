//! Gives up a message that cannot be processed.

use aftercall_common::phone_numbers::Numbers;
use async_nats::jetstream::AckKind;

use crate::{
    domain::cause::Cause,
    ports::{Ports, REDELIVER_AFTER},
};

/// Makes `message` a dead letter, then terminates it. If the dead letter cannot be stored, the broker
/// delivers the message again. A webhook that does not concern a call is acknowledged and counted instead.
pub async fn give_up<P: Ports>(ports: &P, consumer: &'static str, message: &P::Message, cause: &Cause) {
    if let Some(family) = cause.foreign_family() {
        ports.acknowledge(message, AckKind::Ack).await;
        ports.metrics().foreign(family);
        tracing::debug!(consumer, family, "webhook skipped: it does not concern a call");
        return;
    }
    let reason = cause.reason.label();
    match ports.dead_letter(consumer, message, cause).await {
        Ok(()) => {
            ports.acknowledge(message, AckKind::Term).await;
            ports.metrics().dead_letter(cause.reason);
            let detail = Numbers::Masked.text(&cause.detail);
            tracing::warn!(consumer, reason, %detail, "message cannot be processed and is a dead letter now");
        }
        Err(error) => {
            tracing::warn!(consumer, reason, %error, "dead letter could not be stored; trying again");
            ports.acknowledge(message, AckKind::Nak(Some(REDELIVER_AFTER))).await;
        }
    }
}
