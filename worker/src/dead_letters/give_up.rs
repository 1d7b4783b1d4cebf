//! Ends a message that cannot be processed.

use aftercall_common::phone_numbers::Numbers;
use async_nats::jetstream::AckKind;

use crate::{
    domain::cause::Cause,
    ports::{Outside, REDELIVER_AFTER},
};

/// Buries `message`, then terminates it. Where it could not be buried it comes again. What does not concern a
/// call is acknowledged and counted instead.
pub async fn give_up<O: Outside>(outside: &O, consumer: &'static str, message: &O::Message, cause: &Cause) {
    if let Some(family) = cause.foreign_family() {
        outside.settle(message, AckKind::Ack).await;
        outside.metrics().foreign(family);
        tracing::debug!(consumer, family, "a webhook does not concern a call; passed over");
        return;
    }
    let reason = cause.label;
    match outside.bury(consumer, message, cause).await {
        Ok(()) => {
            outside.settle(message, AckKind::Term).await;
            outside.metrics().dead_letter(reason);
            let detail = Numbers::Masked.text(&cause.detail);
            tracing::warn!(consumer, reason, %detail, "message is a dead letter");
        }
        Err(error) => {
            tracing::warn!(consumer, reason, %error, "dead letter could not be stored; trying again");
            outside.settle(message, AckKind::Nak(Some(REDELIVER_AFTER))).await;
        }
    }
}
