//! The streams of Aftercall: their names and settings.
//!
//! The gateway creates and updates its [`streams`] and the object store with [`ensure_streams`]. The worker creates and
//! updates all streams, the object store and the consumers with [`ensure`].

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};

pub use super::{
    consumer::{self, ACK_WAIT, consumers, live_consumer},
    ensure::{EnsureError, ensure, ensure_streams},
    header, subject,
};

/// Raw webhooks, as received.
pub const WEBHOOKS: &str = "WEBHOOKS";
/// Jobs to fetch one transcript.
pub const TRANSCRIPTS: &str = "TRANSCRIPTS";
/// Messages that cannot be processed, kept for an operator.
pub const DEAD_LETTERS: &str = "DEAD_LETTERS";
/// Changes of calls, for services of the operator.
pub const CALLS: &str = "CALLS";
/// Jobs to repeat the delivery of one message to one endpoint.
pub const DELIVERIES: &str = "DELIVERIES";

/// Object store of bodies that are too large for a message. The message then only names the object.
pub const WEBHOOK_BODIES: &str = "WEBHOOK_BODIES";

pub(super) const DAY: Duration = Duration::from_hours(24);
/// How long webhooks are kept. They can be replayed for this time.
const WEBHOOKS_MAX_AGE: Duration = Duration::from_hours(30 * 24);
/// How long changes of calls are kept. A subscriber that is away for a shorter time misses none.
const CALLS_MAX_AGE: Duration = Duration::from_hours(30 * 24);

/// The broker drops a publish if it has stored the same id within this time. ElevenLabs repeats a webhook for
/// about 45 minutes.
pub const DUPLICATE_WINDOW: Duration = Duration::from_hours(2);

/// The streams that gateway and worker use, with `replicas` copies of each.
pub fn streams(replicas: usize) -> [Config; 3] {
    [
        Config {
            allow_atomic_publish: true,
            ..stream(WEBHOOKS, subject::ALL_WEBHOOKS, WEBHOOKS_MAX_AGE, replicas)
        },
        Config {
            allow_message_schedules: true,
            allow_rollup: true, // A later schedule on a subject replaces the earlier one.
            // nats-server 2.15.1 refuses scheduled messages in a stream with `New` (error 10052). The stream has no size
            // limit, so only age removes a job. Each attempt stores the job anew, and a job that is lost because no
            // worker ran for so long is restored from the document of its call.
            discard: DiscardPolicy::Old,
            ..stream(TRANSCRIPTS, subject::ALL_TRANSCRIPTS, 7 * DAY, replicas)
        },
        stream(DEAD_LETTERS, subject::ALL_DEAD_LETTERS, 90 * DAY, replicas),
    ]
}

/// The streams that only the worker uses, with `replicas` copies of each. The gateway needs no permissions for
/// them.
pub fn worker_streams(replicas: usize) -> [Config; 2] {
    [
        Config { allow_atomic_publish: true, ..stream(CALLS, subject::ALL_CALLS, CALLS_MAX_AGE, replicas) },
        // A job is kept as long as a message of `CALLS`: the jobs of a paused endpoint wait until it is resumed.
        Config {
            allow_message_schedules: true,
            allow_rollup: true,
            discard: DiscardPolicy::Old, // `New` is refused, as for `TRANSCRIPTS`.
            ..stream(DELIVERIES, subject::ALL_DELIVERIES, CALLS_MAX_AGE, replicas)
        },
    ]
}

/// The settings that all streams share.
fn stream(name: &str, subjects: &str, max_age: Duration, replicas: usize) -> Config {
    Config {
        name: name.to_owned(),
        subjects: vec![subjects.to_owned()],
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        // A full stream refuses new messages, and the gateway answers 503. With the default, `Old`, the broker would
        // delete the oldest message, even if no consumer has read it.
        discard: DiscardPolicy::New,
        duplicate_window: DUPLICATE_WINDOW,
        num_replicas: replicas,
        allow_direct: true,
        max_age,
        ..Config::default()
    }
}
