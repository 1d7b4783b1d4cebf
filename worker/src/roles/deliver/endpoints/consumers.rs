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

/// Messages of one endpoint that all workers together may hold.
const MAX_ACK_PENDING: i64 = 256;
/// After this time without news of a message, the broker delivers it again. A worker that has it sends news at shorter
/// intervals ([`PROGRESS_INTERVAL`](crate::broker::consumer::PROGRESS_INTERVAL)).
const ACK_WAIT: Duration = Duration::from_mins(1);
/// The broker removes a consumer that nobody has used for this time: longer than messages are kept, so that a paused
/// endpoint keeps its position.
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

/// The new messages for `endpoint`, `messages` at a time.
pub fn new_messages(endpoint: &Endpoint, messages: usize, replicas: usize) -> Source {
    let config = pull::Config {
        // A consumer that the broker has lost starts where the endpoint began: some messages come twice, none is
        // missing.
        deliver_policy: DeliverPolicy::ByStartTime { start_time: date_time(endpoint.since) },
        filter_subject: endpoint.filter.subject(endpoint.kind).to_owned(),
        ..config(&endpoint.id)
    };
    source(stream(endpoint.kind).as_str(), config, messages, replicas)
}

/// The messages that are to be sent to the endpoint `id` again and are due, `messages` at a time.
pub fn due_messages(id: &EndpointId, messages: usize, replicas: usize) -> Source {
    let config = pull::Config { filter_subject: subject::delivery_due(id.as_str()), ..config(id) };
    source(streams::DELIVERIES, config, messages, replicas)
}

fn source(stream: &'static str, config: pull::Config, messages: usize, replicas: usize) -> Source {
    let consumer = config.durable_name.clone().unwrap_or_default();
    Source { stream, consumer, config: Some(config), messages, bytes: MAX_BYTES, replicas }
}

/// The name of the consumers of the endpoint `id`, one in each stream.
pub fn name(id: &EndpointId) -> String {
    format!("endpoint-{id}")
}

fn config(id: &EndpointId) -> pull::Config {
    pull::Config {
        durable_name: Some(name(id)),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_deliver: -1, // The schedule decides how often a message is sent, not a count of deliveries.
        max_ack_pending: MAX_ACK_PENDING,
        inactive_threshold: INACTIVE_THRESHOLD,
        ..pull::Config::default()
    }
}

fn date_time(time: Timestamp) -> DateTime {
    DateTime::from_unix_timestamp_nanos(time.as_nanosecond()).unwrap_or(DateTime::UNIX_EPOCH)
}
