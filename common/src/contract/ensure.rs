//! Creates and updates the streams and the consumers.
//!
//! Idempotent. Missing streams and consumers are created. Size limits and placement that an operator has set are kept.
//! The copies and the retention of a stream are only raised; the retention of the object store follows the stream
//! `WEBHOOKS`. A stream with settings that lose accepted messages is refused.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    consumer::pull,
    object_store,
    stream::{Config, DiscardPolicy, PersistenceMode, RetentionPolicy, StorageType},
};

use super::{
    consumer::consumers,
    streams::{DAY, WEBHOOK_BODIES, WEBHOOKS, streams, worker_streams},
};

/// Why the streams or consumers could not be created or updated.
#[derive(Debug, thiserror::Error)]
pub enum EnsureError {
    /// The stream has a setting that loses accepted messages, or would have it after the update. It was not changed,
    /// because an operator has to decide. Other streams may have been created or updated before.
    #[error("stream {stream} loses accepted messages with {setting}; {remedy}")]
    UnsafeSetting {
        /// Name of the stream.
        stream: String,
        /// The offending setting.
        setting: &'static str,
        /// How an operator can correct it.
        remedy: &'static str,
    },
    /// The broker did not answer, or refused. A later try may succeed.
    #[error("{what}: {reason}")]
    Broker {
        /// The operation that failed.
        what: String,
        /// The error of the broker or the client.
        reason: String,
    },
}

impl EnsureError {
    fn broker(what: impl Into<String>, reason: &impl ToString) -> Self {
        Self::Broker { what: what.into(), reason: reason.to_string() }
    }
}

/// Creates or updates all streams, with `replicas` copies each, and the consumers.
///
/// Idempotent. Many processes may call it at the same time.
///
/// # Errors
/// See [`EnsureError`].
pub async fn ensure(context: &jetstream::Context, replicas: usize) -> Result<(), EnsureError> {
    ensure_streams(context, replicas).await?;
    for wanted in worker_streams(replicas) {
        Box::pin(ensure_stream(context, wanted)).await?;
    }
    for (stream, config) in consumers() {
        Box::pin(ensure_consumer(context, stream, config)).await?;
    }
    Ok(())
}

/// Creates or updates the streams that the gateway uses. The caller needs no permission to create consumers.
///
/// # Errors
/// See [`EnsureError`].
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
        // The next try creates the consumer again. Its position is lost, because the files held it.
        let _ignored = context.delete_consumer_from_stream(&name, stream).await;
    }
    Err(EnsureError::broker(format!("creating consumer {name} on {stream}"), &error))
}

/// Whether the error says that the files of the consumer are gone. In nats-server 2.15.1 this happens when one client
/// creates a consumer while another deletes it: the server deletes the files of the new consumer together
/// with the files of the old one. The consumer stays in memory, and every attempt to create or update it
/// fails.
fn has_lost_its_store(error: &impl ToString) -> bool {
    error.to_string().contains("no such file or directory")
}

/// Creates or updates the object store of large bodies. An object expires one day after the message that names it.
async fn ensure_bucket(context: &jetstream::Context, replicas: usize) -> Result<(), EnsureError> {
    let name = format!("OBJ_{WEBHOOK_BODIES}");
    let reading = |stream: &str, error: &dyn ToString| {
        EnsureError::broker(format!("reading stream {stream}"), &error.to_string())
    };
    let webhooks = context.get_stream(WEBHOOKS).await.map_err(|error| reading(WEBHOOKS, &error))?;
    let max_age = bodies_max_age(webhooks.cached_info().config.max_age);
    match context.get_stream(&name).await {
        Ok(found) => {
            let found = &found.cached_info().config;
            refuse_unsafe(found)?;
            let Some(config) = merge_bucket(found, max_age, replicas) else { return Ok(()) };
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
        Err(error) => Err(reading(&name, &error)),
    }
}

/// How long bodies are kept when messages are kept for `webhooks`. Zero means for ever.
fn bodies_max_age(webhooks: Duration) -> Duration {
    if webhooks.is_zero() { webhooks } else { webhooks + DAY }
}

async fn ensure_stream(context: &jetstream::Context, wanted: Config) -> Result<(), EnsureError> {
    let name = wanted.name.clone();
    let what = |verb: &str| format!("{verb} stream {name}");
    match context.get_stream(&name).await {
        Ok(stream) => {
            let found = &stream.cached_info().config;
            let merged = checked_merge(found, wanted)?;
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

/// Refuses a stream with settings that lose accepted messages.
fn refuse_unsafe(found: &Config) -> Result<(), EnsureError> {
    let (setting, remedy) = if found.discard == DiscardPolicy::Old && has_limit(found) {
        // The broker takes no scheduled messages with the discard policy 'new'.
        let remedy = if found.allow_message_schedules {
            "remove the limit"
        } else {
            "remove the limit or set discard to 'new'"
        };
        ("discard policy 'old' and a size limit", remedy)
    } else if found.max_messages_per_subject > 0 && !found.discard_new_per_subject {
        // At this limit the broker evicts messages even with the discard policy 'new', unless
        // `discard_new_per_subject` is set.
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
    Err(EnsureError::UnsafeSetting { stream: found.name.clone(), setting, remedy })
}

/// Whether the stream has a limit on bytes or messages.
fn has_limit(config: &Config) -> bool {
    config.max_bytes > 0 || config.max_messages > 0
}

/// The new settings of the stream of the object store. `None`: they need no change.
fn merge_bucket(found: &Config, max_age: Duration, replicas: usize) -> Option<Config> {
    let num_replicas = found.num_replicas.max(replicas);
    let is_right = found.max_age == max_age && found.num_replicas == num_replicas;
    (!is_right).then(|| Config { max_age, num_replicas, ..found.clone() })
}

/// [`merge`], unless the settings before or after it lose accepted messages: with the discard policy of the contract, a
/// limit that an operator has set may evict messages.
fn checked_merge(found: &Config, wanted: Config) -> Result<Config, EnsureError> {
    refuse_unsafe(found)?;
    let merged = merge(found, wanted);
    refuse_unsafe(&merged)?;
    Ok(merged)
}

/// The settings that the stream should have: values of `wanted` where the contract fixes them, the larger value for
/// copies and retention, values of `found` for all others.
fn merge(found: &Config, wanted: Config) -> Config {
    Config {
        subjects: wanted.subjects,
        discard: wanted.discard,
        duplicate_window: wanted.duplicate_window,
        // A longer retention or more replicas that an operator has set are kept.
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
    use super::{super::streams::TRANSCRIPTS, *};

    fn webhooks() -> Config {
        streams(1).into_iter().next().expect("WEBHOOKS is first")
    }

    #[test]
    fn the_object_store_has_as_many_copies_as_the_streams() {
        #[rustfmt::skip]
        let table = [ // found copies and age, wanted copies, merged copies and age
            ((1, DAY),     1, None),
            ((1, DAY),     3, Some((3, DAY))),
            ((3, DAY),     1, None),
            ((3, DAY * 2), 1, Some((3, DAY))),
        ];
        for ((num_replicas, max_age), replicas, expected) in table {
            let found =
                Config { num_replicas, max_age, description: Some("kept".to_owned()), ..Config::default() };
            let merged = merge_bucket(&found, DAY, replicas);
            assert!(merged.iter().all(|merged| merged.description == found.description));
            assert_eq!(merged.map(|merged| (merged.num_replicas, merged.max_age)), expected);
        }
    }

    #[test]
    fn settings_that_lose_messages_are_refused() {
        #[rustfmt::skip]
        let table = [
            ("defaults",        webhooks(),                                                       None),
            ("old, unlimited",  Config { discard: DiscardPolicy::Old, ..webhooks() },             None),
            ("old, limited",    Config { discard: DiscardPolicy::Old, max_messages: 9, ..webhooks() }, Some("discard")),
            ("per subject",     Config { max_messages_per_subject: 9, ..webhooks() },             Some("per subject")),
            ("work queue",      Config { retention: RetentionPolicy::WorkQueue, ..webhooks() },   Some("retention")),
            ("async",           Config { persist_mode: Some(PersistenceMode::Async), ..webhooks() }, Some("persist_mode")),
            ("memory",          Config { storage: StorageType::Memory, ..webhooks() },            Some("memory")),
            ("no ack",          Config { no_ack: true, ..webhooks() },                            Some("acknowledgements")),
        ];
        for (name, found, refused_for) in table {
            let error = refuse_unsafe(&found).err().map(|error| error.to_string());
            assert_eq!(error.is_some(), refused_for.is_some(), "{name}: {error:?}");
            if let (Some(error), Some(word)) = (error, refused_for) {
                assert!(error.contains(word) && error.contains("WEBHOOKS"), "{name}: {error}");
            }
        }
    }

    #[test]
    fn settings_that_an_operator_tuned_are_kept() {
        let tuned = Config { num_replicas: 3, max_bytes: 1 << 40, max_age: 60 * DAY, ..webhooks() };
        let merged = checked_merge(&tuned, webhooks()).unwrap();
        assert_eq!((merged.num_replicas, merged.max_bytes, merged.max_age), (3, 1 << 40, 60 * DAY));
        assert_eq!(checked_merge(&merged, webhooks()).unwrap(), merged, "a second start changes nothing");
    }

    #[test]
    fn the_discard_policy_is_set_unless_it_would_make_a_limit_evict_messages() {
        let old = Config { discard: DiscardPolicy::Old, ..webhooks() };
        assert_eq!(checked_merge(&old, webhooks()).unwrap().discard, DiscardPolicy::New);
        let jobs = || streams(1).into_iter().find(|stream| stream.name == TRANSCRIPTS).unwrap();
        let new = Config { discard: DiscardPolicy::New, ..jobs() };
        assert_eq!(checked_merge(&new, jobs()).unwrap().discard, DiscardPolicy::Old);
        let limited = Config { max_messages: 9, ..new };
        let error = checked_merge(&limited, jobs()).unwrap_err().to_string();
        assert!(error.contains("TRANSCRIPTS") && error.ends_with("remove the limit"), "{error}");
    }
}
