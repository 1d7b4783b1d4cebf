//! Every stream, subject, header and consumer of Aftercall, in one place.
//!
//! Both binaries bring the streams into being with [`ensure_streams`], and workers the consumers with [`ensure`],
//! idempotently: what is missing is made, what an operator has tuned (replicas, size limits, placement) is kept, and a stream that
//! exists with settings that would lose messages is refused.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, PriorityPolicy, pull},
    object_store,
    stream::{Config, DiscardPolicy, PersistenceMode, RetentionPolicy, StorageType},
};

/// Raw webhooks, as received.
pub const WEBHOOKS: &str = "WEBHOOKS";
/// Jobs to fetch one transcript.
pub const TRANSCRIPTS: &str = "TRANSCRIPTS";
/// Messages that no retry can help, kept for an operator.
pub const DEAD_LETTERS: &str = "DEAD_LETTERS";

/// Object store of the bodies that are too large for a message, which then only names its object.
pub const WEBHOOK_BODIES: &str = "WEBHOOK_BODIES";

/// Subjects, by what they carry.
pub mod subject {
    /// Webhooks posted to `/api/webhooks/elevenlabs/call-status`.
    pub const ELEVENLABS_CALL_STATUS: &str = "webhooks.elevenlabs.call-status";
    /// Webhooks posted to `/api/webhooks/twilio/call-status`.
    pub const TWILIO_CALL_STATUS: &str = "webhooks.twilio.call-status";
    /// What reconciliation learned from ElevenLabs' API, in the envelope of its webhooks.
    pub const RECONCILED: &str = "webhooks.elevenlabs.reconciled";
    /// A transcript job that is due now.
    pub const TRANSCRIPT_DUE: &str = "transcripts.due";

    /// A transcript job that waits. One subject a conversation, so that a conversation never has
    /// more than one job waiting: a later schedule replaces the earlier.
    pub fn transcript_later(conversation_key: &str) -> String {
        format!("transcripts.later.{conversation_key}")
    }

    /// Where a message that `consumer` gave up on is buried.
    pub fn dead_letter(consumer: &str) -> String {
        format!("dead-letters.{consumer}")
    }
}

/// Header names on stream messages. `Nats-Msg-Id` is [`async_nats::header::NATS_MESSAGE_ID`].
pub mod header {
    /// When the gateway took the webhook in, RFC 3339.
    pub const RECEIVED_AT: &str = "Aftercall-Received-At";
    /// The address the webhook came from, after trusted proxies.
    pub const SOURCE_IP: &str = "Aftercall-Source-Ip";
    /// `verified` or `absent`; `missing`, `invalid` or `expired` where the gateway merely observes;
    /// `edited` on a dead letter that an operator changed and sent again.
    pub const SIGNATURE: &str = "Aftercall-Signature";
    /// Code of the refusal the webhook would have met, had the gateway not merely observed.
    pub const WOULD_REFUSE: &str = "Aftercall-Would-Refuse";
    /// Content type the sender declared.
    pub const CONTENT_TYPE: &str = "Content-Type";
    /// The provider's own signature, kept for audits.
    pub const ELEVENLABS_SIGNATURE: &str = "ElevenLabs-Signature";
    /// Twilio's own signature, kept for audits.
    pub const TWILIO_SIGNATURE: &str = "X-Twilio-Signature";
    /// Query of the URL that Twilio called with a form as the body: parameters of the operator's own.
    pub const QUERY: &str = "Aftercall-Query";
    /// Name of the object in [`super::WEBHOOK_BODIES`] that holds the body; the message's own is empty.
    pub const BODY_OBJECT: &str = "Aftercall-Body-Object";
    /// Length of that body, bytes.
    pub const BODY_BYTES: &str = "Aftercall-Body-Bytes";
    /// W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";

    /// Why a message is a dead letter.
    pub const DEAD_REASON: &str = "Aftercall-Reason";
    /// A sentence for the operator. Of the body it repeats an event type at most, cut short, and names of
    /// fields.
    pub const DEAD_DETAIL: &str = "Aftercall-Detail";
    /// How often the message was delivered before it was given up.
    pub const DEAD_ATTEMPTS: &str = "Aftercall-Attempts";
    /// The id the dead letter had there.
    pub const DEAD_ID: &str = "Aftercall-Origin-Id";
    /// The stream a dead letter came from.
    pub const DEAD_STREAM: &str = "Aftercall-Origin-Stream";
    /// Its sequence there.
    pub const DEAD_SEQUENCE: &str = "Aftercall-Origin-Sequence";
    /// Its subject there.
    pub const DEAD_SUBJECT: &str = "Aftercall-Origin-Subject";

    /// When the broker shall publish this message to [`SCHEDULE_TARGET`] (ADR-51).
    pub const SCHEDULE: &str = "Nats-Schedule";
    /// Subject a scheduled message goes to.
    pub const SCHEDULE_TARGET: &str = "Nats-Schedule-Target";
}

/// Durable consumer names.
pub mod consumer {
    /// Turns webhooks into the state of calls.
    pub const STATUS: &str = "status";
    /// Fetches transcripts.
    pub const TRANSCRIPTS: &str = "transcripts";
    /// Shows the webhooks of now while `status` is far behind. Not durable.
    pub const LIVE: &str = "status-live";

    /// The group that every request to [`STATUS`] is of (ADR-42).
    pub const WORKERS: &str = "workers";
}

const DAY: Duration = Duration::from_hours(24);
/// How long webhooks can be replayed.
const WEBHOOKS_MAX_AGE: Duration = Duration::from_hours(30 * 24);

/// How long a delivered message may stay unsettled before another worker gets it. Workers extend it
/// while they wait for the database. Short, since a worker that was killed is missed only then.
pub const ACK_WAIT: Duration = Duration::from_secs(10);
/// The same for transcript jobs, each of which waits for the provider.
const JOB_ACK_WAIT: Duration = Duration::from_secs(30);

/// How long the broker collapses publishes of the same id: longer than ElevenLabs' retry span of
/// about 45 minutes.
pub const DUPLICATE_WINDOW: Duration = Duration::from_hours(2);

/// The three streams, with `replicas` copies of each.
pub fn streams(replicas: usize) -> [Config; 3] {
    let base = |name: &str, subjects: &str, max_age: Duration| Config {
        name: name.to_owned(),
        subjects: vec![subjects.to_owned()],
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        // A full stream must refuse, so that the gateway answers 503. The default deletes the oldest
        // message, read or not.
        discard: DiscardPolicy::New,
        duplicate_window: DUPLICATE_WINDOW,
        num_replicas: replicas,
        allow_direct: true,
        max_age,
        ..Config::default()
    };
    [
        Config { allow_atomic_publish: true, ..base(WEBHOOKS, "webhooks.>", WEBHOOKS_MAX_AGE) },
        Config {
            allow_message_schedules: true,
            allow_rollup: true, // Schedules imply it: a later one on the same subject replaces the earlier.
            // The server refuses schedules beside `New` (2.15.1, error 10052). Nothing is lost: without
            // a size limit only age removes a job, and it is younger than this when it is given up.
            discard: DiscardPolicy::Old,
            ..base(TRANSCRIPTS, "transcripts.>", 7 * DAY)
        },
        base(DEAD_LETTERS, "dead-letters.>", 90 * DAY),
    ]
}

/// The durable consumers and the stream each reads.
pub fn consumers() -> [(&'static str, pull::Config); 2] {
    let base = |name: &str, filter: &str, ack_wait, max_ack_pending| pull::Config {
        durable_name: Some(name.to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait,
        max_deliver: -1, // Poison goes to the dead letters by our own decision, never by a count.
        filter_subject: filter.to_owned(),
        max_ack_pending,
        ..pull::Config::default()
    };
    [
        (
            WEBHOOKS,
            pull::Config {
                // Of the workers that wait, one is served until it has what it asked for. By default the
                // broker deals messages out in turn, and the events of a call to several workers.
                priority_policy: PriorityPolicy::Prioritized,
                priority_groups: vec![consumer::WORKERS.to_owned()],
                ..base(consumer::STATUS, "webhooks.>", ACK_WAIT, 20_000)
            },
        ),
        (TRANSCRIPTS, base(consumer::TRANSCRIPTS, subject::TRANSCRIPT_DUE, JOB_ACK_WAIT, 1_000)),
    ]
}

/// What all workers take the webhooks of now from while the durable consumer is far behind. Nothing is
/// acknowledged: each comes once more, by that one. The broker forgets it when nobody uses it.
pub fn live_consumer() -> pull::Config {
    pull::Config {
        name: Some(consumer::LIVE.to_owned()),
        deliver_policy: DeliverPolicy::New,
        ack_policy: AckPolicy::None,
        filter_subject: "webhooks.>".to_owned(),
        inactive_threshold: Duration::from_secs(30),
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    }
}

/// Why the topology could not be brought into being.
#[derive(Debug, thiserror::Error)]
pub enum EnsureError {
    /// The stream exists with a setting under which accepted webhooks get lost. An operator has to
    /// decide; nothing was changed.
    #[error("stream {stream} exists with {setting}, which loses accepted messages; {remedy}")]
    Contradiction {
        /// Name of the stream.
        stream: String,
        /// The offending setting.
        setting: &'static str,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The broker did not answer, or refused. Worth another try.
    #[error("{what}: {reason}")]
    Broker {
        /// What was asked for.
        what: String,
        /// The broker's or the client's words.
        reason: String,
    },
}

impl EnsureError {
    fn broker(what: impl Into<String>, reason: &impl ToString) -> Self {
        Self::Broker { what: what.into(), reason: reason.to_string() }
    }
}

/// Creates or updates the streams and the consumers.
///
/// Idempotent and safe to run from many processes at once.
pub async fn ensure(context: &jetstream::Context, replicas: usize) -> Result<(), EnsureError> {
    ensure_streams(context, replicas).await?;
    for (stream, config) in consumers() {
        Box::pin(ensure_consumer(context, stream, config)).await?;
    }
    Ok(())
}

/// Creates or updates the streams alone: whoever only stores messages needs no right to make consumers.
pub async fn ensure_streams(context: &jetstream::Context, replicas: usize) -> Result<(), EnsureError> {
    for wanted in streams(replicas) {
        Box::pin(ensure_stream(context, wanted)).await?;
    }
    ensure_bucket(context, replicas).await
}

async fn ensure_consumer(
    context: &jetstream::Context,
    stream: &str,
    config: pull::Config,
) -> Result<(), EnsureError> {
    let name = config.durable_name.clone().unwrap_or_default();
    let Err(error) = context.create_consumer_on_stream(config, stream).await else { return Ok(()) };
    if has_lost_its_store(&error) {
        // To be made anew by the next try. It has no position that would outlive the broker.
        let _gone_already = context.delete_consumer_from_stream(&name, stream).await;
    }
    Err(EnsureError::broker(format!("creating consumer {name} on {stream}"), &error))
}

/// Whether the broker has a consumer whose files are gone. nats-server (2.15.1) makes one where somebody makes a
/// consumer while another deletes it: the files of the new one go with those of the old. It lives on in memory,
/// and cannot be made, found right or changed any more.
fn has_lost_its_store(error: &impl ToString) -> bool {
    error.to_string().contains("no such file or directory")
}

/// The object store of large bodies. Its objects outlive the messages that name them by a day, so
/// that none is missed, and what no message names any more goes by itself.
async fn ensure_bucket(context: &jetstream::Context, replicas: usize) -> Result<(), EnsureError> {
    let name = format!("OBJ_{WEBHOOK_BODIES}");
    let reading =
        |error: &dyn ToString| EnsureError::broker(format!("reading stream {name}"), &error.to_string());
    let webhooks = context.get_stream(WEBHOOKS).await.map_err(|error| reading(&error))?;
    let max_age = bodies_max_age(webhooks.cached_info().config.max_age);
    match context.get_stream(&name).await {
        Ok(found) if found.cached_info().config.max_age == max_age => Ok(()),
        Ok(found) => {
            let config = Config { max_age, ..found.cached_info().config.clone() };
            let updated = context.update_stream(config).await;
            updated.map(drop).map_err(|error| EnsureError::broker(format!("updating stream {name}"), &error))
        }
        Err(error) if is_not_found(&error) => {
            let config = object_store::Config {
                bucket: WEBHOOK_BODIES.to_owned(),
                description: Some("Bodies of webhooks too large for a message".to_owned()),
                max_age,
                storage: StorageType::File,
                num_replicas: replicas,
                ..object_store::Config::default()
            };
            let created = context.create_object_store(config).await;
            created
                .map(drop)
                .map_err(|error| EnsureError::broker(format!("creating object store {name}"), &error))
        }
        Err(error) => Err(reading(&error)),
    }
}

/// How long bodies are kept whose messages are kept for `webhooks`; zero is for ever.
fn bodies_max_age(webhooks: Duration) -> Duration {
    if webhooks.is_zero() { webhooks } else { webhooks + DAY }
}

async fn ensure_stream(context: &jetstream::Context, wanted: Config) -> Result<(), EnsureError> {
    let name = wanted.name.clone();
    let what = |verb: &str| format!("{verb} stream {name}");
    match context.get_stream(&name).await {
        Ok(stream) => {
            let found = &stream.cached_info().config;
            contradiction(found)?;
            let merged = merge(found, wanted);
            if merged != *found {
                context
                    .update_stream(merged)
                    .await
                    .map_err(|error| EnsureError::broker(what("updating"), &error))?;
            }
        }
        Err(error) if is_not_found(&error) => {
            context
                .create_stream(wanted)
                .await
                .map_err(|error| EnsureError::broker(what("creating"), &error))?;
        }
        Err(error) => return Err(EnsureError::broker(what("reading"), &error)),
    }
    Ok(())
}

fn is_not_found(error: &jetstream::context::GetStreamError) -> bool {
    use jetstream::{ErrorCode, context::GetStreamErrorKind::JetStream};
    matches!(error.kind(), JetStream(cause) if cause.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Refuses a stream whose settings lose accepted webhooks.
fn contradiction(found: &Config) -> Result<(), EnsureError> {
    let (setting, remedy) = if found.discard == DiscardPolicy::Old && has_limit(found) {
        ("discard policy 'old' and a size limit", "remove the limit or set discard to 'new'")
    } else if found.max_messages_per_subject > 0 && !found.discard_new_per_subject {
        // Evicts whatever the discard policy is.
        ("a limit of messages per subject", "remove the limit")
    } else if found.retention != RetentionPolicy::Limits {
        ("a retention other than 'limits'", "retention cannot be edited: move the messages and recreate it")
    } else if matches!(found.persist_mode, Some(PersistenceMode::Async)) {
        ("persist_mode 'async'", "it cannot be edited: move the messages and recreate it")
    } else if found.storage != StorageType::File {
        ("memory storage", "storage cannot be edited: move the messages and recreate it")
    } else if found.no_ack {
        ("acknowledgements off", "set no_ack to false")
    } else {
        return Ok(());
    };
    Err(EnsureError::Contradiction { stream: found.name.clone(), setting, remedy })
}

/// Whether anything but age can make the stream full.
fn has_limit(config: &Config) -> bool {
    config.max_bytes > 0 || config.max_messages > 0
}

/// What the stream should be: ours where the contract speaks, the operator's everywhere else.
fn merge(found: &Config, wanted: Config) -> Config {
    Config {
        subjects: wanted.subjects,
        discard: wanted.discard,
        duplicate_window: wanted.duplicate_window,
        // An operator's longer retention or extra replicas are kept.
        max_age: if found.max_age.is_zero() { found.max_age } else { found.max_age.max(wanted.max_age) },
        num_replicas: found.num_replicas.max(wanted.num_replicas),
        allow_direct: wanted.allow_direct,
        allow_rollup: found.allow_rollup || wanted.allow_rollup,
        allow_atomic_publish: found.allow_atomic_publish || wanted.allow_atomic_publish,
        allow_message_schedules: found.allow_message_schedules || wanted.allow_message_schedules,
        ..found.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhooks() -> Config {
        streams(1).into_iter().next().expect("three streams")
    }

    #[test]
    fn settings_that_lose_messages_are_refused() {
        #[rustfmt::skip]
        let table = [
            ("as we make it",   webhooks(),                                                       None),
            ("old, unlimited",  Config { discard: DiscardPolicy::Old, ..webhooks() },             None),
            ("old, limited",    Config { discard: DiscardPolicy::Old, max_messages: 9, ..webhooks() }, Some("discard")),
            ("per subject",     Config { max_messages_per_subject: 9, ..webhooks() },             Some("per subject")),
            ("work queue",      Config { retention: RetentionPolicy::WorkQueue, ..webhooks() },   Some("retention")),
            ("async",           Config { persist_mode: Some(PersistenceMode::Async), ..webhooks() }, Some("persist_mode")),
            ("memory",          Config { storage: StorageType::Memory, ..webhooks() },            Some("memory")),
            ("no ack",          Config { no_ack: true, ..webhooks() },                            Some("acknowledgements")),
        ];
        for (name, found, refused_for) in table {
            let verdict = contradiction(&found).err().map(|error| error.to_string());
            assert_eq!(verdict.is_some(), refused_for.is_some(), "{name}: {verdict:?}");
            if let (Some(verdict), Some(word)) = (verdict, refused_for) {
                assert!(verdict.contains(word) && verdict.contains("WEBHOOKS"), "{name}: {verdict}");
            }
        }
    }

    #[test]
    fn what_an_operator_tuned_is_kept() {
        let tuned = Config {
            num_replicas: 3,
            max_bytes: 1 << 40,
            max_age: 60 * DAY,
            discard: DiscardPolicy::Old,
            ..webhooks()
        };
        let merged = merge(&tuned, webhooks());
        assert_eq!((merged.num_replicas, merged.max_bytes, merged.max_age), (3, 1 << 40, 60 * DAY));
        assert_eq!(merged.discard, DiscardPolicy::New);
        assert_eq!(merge(&merged, webhooks()), merged, "a second start changes nothing");
    }
}
