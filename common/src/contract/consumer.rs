//! The consumers of the streams: their names and settings.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PriorityPolicy, pull};

use super::{
    streams::{TRANSCRIPTS as TRANSCRIPTS_STREAM, WEBHOOKS},
    subject,
};

/// Turns webhooks into the state of calls. Durable.
pub const STATUS: &str = "status";
/// Fetches transcripts. Durable.
pub const TRANSCRIPTS: &str = "transcripts";
/// Delivers new webhooks while [`STATUS`] is far behind. Not durable.
pub const LIVE: &str = "status-live";

/// The priority group of every pull request to [`STATUS`] (NATS ADR-42).
pub const WORKERS: &str = "workers";

/// How long a worker may hold a message before the broker delivers it to another worker. A worker that waits
/// for the database extends it. It is short, because the messages of a killed worker wait that long for
/// another worker.
pub const ACK_WAIT: Duration = Duration::from_secs(10);
/// [`ACK_WAIT`] of transcript jobs. It is longer, because each job waits for the provider's API.
const JOB_ACK_WAIT: Duration = Duration::from_secs(30);

/// The durable consumers, each with the stream that it reads.
pub fn consumers() -> [(&'static str, pull::Config); 2] {
    let base = |name: &str, filter: &str, ack_wait, max_ack_pending| pull::Config {
        durable_name: Some(name.to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait,
        max_deliver: -1, // The worker decides what becomes a dead letter, not a count of deliveries.
        filter_subject: filter.to_owned(),
        max_ack_pending,
        ..pull::Config::default()
    };
    [
        (
            WEBHOOKS,
            pull::Config {
                // The broker serves one waiting worker until its request is full. By default the broker deals
                // messages out in turn, and the events of one call go to several workers.
                priority_policy: PriorityPolicy::Prioritized,
                priority_groups: vec![WORKERS.to_owned()],
                ..base(STATUS, subject::ALL_WEBHOOKS, ACK_WAIT, 20_000)
            },
        ),
        (TRANSCRIPTS_STREAM, base(TRANSCRIPTS, subject::TRANSCRIPT_DUE, JOB_ACK_WAIT, 1_000)),
    ]
}

/// The consumer from which all workers take new webhooks while the durable consumer is far behind. Nothing is
/// acknowledged: the durable consumer delivers each message once more. The broker deletes an unused consumer.
pub fn live_consumer() -> pull::Config {
    pull::Config {
        name: Some(LIVE.to_owned()),
        deliver_policy: DeliverPolicy::New,
        ack_policy: AckPolicy::None,
        filter_subject: subject::ALL_WEBHOOKS.to_owned(),
        inactive_threshold: Duration::from_secs(30),
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    }
}
