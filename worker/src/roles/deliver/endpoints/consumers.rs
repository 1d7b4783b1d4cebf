//! The two consumers of an endpoint at the broker. Pure.

use std::time::Duration;

use aftercall_common::contract::streams::{self, subject};
use async_nats::{
    datetime::DateTime,
    jetstream::consumer::{AckPolicy, DeliverPolicy, pull},
};
use jiff::Timestamp;

use crate::{
    broker::{consumer::Source, delivery_jobs::MessageStream},
    domain::delivery::{Endpoint, EndpointId, Kind},
};

/// Limit of unacknowledged messages of one consumer, over all workers. An endpoint has two consumers.
const MAX_ACK_PENDING: i64 = 256;
/// If the broker gets no acknowledgement or progress report of a message for this time, it delivers the message again. A
/// worker reports progress more often ([`PROGRESS_INTERVAL`](crate::broker::consumer::PROGRESS_INTERVAL)).
const ACK_WAIT: Duration = Duration::from_mins(1);
/// The broker removes a consumer after this time without a pull request. The streams keep messages for 30 days unless an
/// operator has changed that, so the consumer of a paused endpoint outlives its messages.
const INACTIVE_THRESHOLD: Duration = Duration::from_hours(35 * 24);
/// Most bytes pulled at a time.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// The stream that an endpoint of this kind reads.
pub fn stream(kind: Kind) -> MessageStream {
    match kind {
        Kind::Events => MessageStream::Calls,
        Kind::Raw => MessageStream::Webhooks,
    }
}

/// The consumer of new messages for `endpoint`. A batch holds at most `messages` of them.
pub fn new_message_source(endpoint: &Endpoint, messages: usize, replicas: usize) -> Source {
    let config = pull::Config {
        // If the broker has lost the consumer, the new one starts where the endpoint began. The endpoint then gets some
        // messages twice, and misses none.
        deliver_policy: DeliverPolicy::ByStartTime { start_time: date_time(endpoint.since) },
        filter_subject: endpoint.filter.subject(endpoint.kind).to_owned(),
        ..base_config(&endpoint.id)
    };
    source(stream(endpoint.kind).as_str(), config, messages, replicas)
}

/// The consumer of messages for the endpoint `id` whose next attempt is due. A batch holds at most `messages` of them.
pub fn due_message_source(id: &EndpointId, messages: usize, replicas: usize) -> Source {
    let config = pull::Config { filter_subject: subject::delivery_due(id.as_str()), ..base_config(id) };
    source(streams::DELIVERIES, config, messages, replicas)
}

fn source(stream: &'static str, config: pull::Config, messages: usize, replicas: usize) -> Source {
    let consumer = config.durable_name.clone().unwrap_or_default();
    Source { stream, consumer, config: Some(config), messages, bytes: MAX_BYTES, replicas }
}

/// The name of both consumers of the endpoint `id`. They belong to different streams: the stream of its new messages, and
/// `DELIVERIES`.
pub fn consumer_name(id: &EndpointId) -> String {
    format!("endpoint-{id}")
}

fn base_config(id: &EndpointId) -> pull::Config {
    pull::Config {
        durable_name: Some(consumer_name(id)),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_deliver: -1, // No limit. `domain::delivery` decides after which attempt a message is given up.
        max_ack_pending: MAX_ACK_PENDING,
        inactive_threshold: INACTIVE_THRESHOLD,
        ..pull::Config::default()
    }
}

fn date_time(time: Timestamp) -> DateTime {
    DateTime::from_unix_timestamp_nanos(time.as_nanosecond()).unwrap_or(DateTime::UNIX_EPOCH)
}
