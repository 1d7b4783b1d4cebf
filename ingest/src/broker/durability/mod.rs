//! Finds out whether the broker has a webhook on disk when it acknowledges the webhook. The gateway answers
//! 200 after the acknowledgement.
//!
//! By default a NATS server acknowledges a message before the message is on disk, and a power cut loses the
//! last two minutes. The setting (`sync_interval`) is visible only at the server's monitoring endpoint, which
//! `NATS_MONITOR_URL` names. The gateway reads the settings, derives a [`Grade`] from them, logs it and
//! exports it as a metric.

mod grade;
mod monitoring;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use aftercall_common::{contract::streams, process::broker};
use async_nats::{
    Client,
    jetstream::{self, stream::PersistenceMode},
};
use tokio_util::sync::CancellationToken;

pub use self::grade::{Grade, StorageSettings, SyncPolicy};
use super::streams::Streams;
use crate::{
    config::MonitorUrls,
    metrics::{GradeLabels, Metrics},
};

/// Interval at which the gateway checks for a reconnect, and retries after a failed read.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Pause before the next request to a monitoring endpoint that did not report its policy.
const RETRY_DELAY: Duration = Duration::from_secs(30);

/// Keeps the durability metric up to date until `stop`. The settings are read at the start, after every
/// reconnect, and again while a monitoring endpoint does not report its policy. `is_local` says whether the spool takes
/// webhooks before the broker.
pub async fn watch(
    client: Client,
    streams: Arc<Streams>,
    is_local: impl Fn() -> bool + Send,
    monitors: MonitorUrls,
    metrics: Metrics,
    stop: CancellationToken,
) {
    export(Grade::Unknown, &metrics);
    stop.run_until_cancelled(watch_forever(&client, &streams, is_local, &monitors, &metrics)).await;
}

async fn watch_forever(
    client: &Client,
    streams: &Streams,
    is_local: impl Fn() -> bool,
    monitors: &MonitorUrls,
    metrics: &Metrics,
) {
    let grade =
        |settings: StorageSettings| if is_local() { settings.local_grade() } else { settings.grade() };
    let statistics = client.statistics();
    let context = jetstream::new(client.clone());
    let mut last_read: Option<(u64, StorageSettings)> = None;
    let mut exported = Grade::Unknown;
    loop {
        let connection = statistics.connects.load(Ordering::Relaxed);
        let present = last_read.map_or(Grade::Unknown, |(_, settings)| grade(settings));
        if present != exported {
            export(present, metrics);
            exported = present;
        }
        let is_new = last_read.is_none_or(|(seen, _)| seen != connection);
        let is_incomplete =
            last_read.is_some_and(|(_, settings)| settings.sync.is_none()) && !monitors.is_empty();
        if !broker::is_connected(client) || !streams.are_ensured() || !(is_new || is_incomplete) {
            tokio::time::sleep(POLL_INTERVAL).await;
            continue;
        }
        match read_settings(&context, monitors).await {
            Ok(settings) => {
                exported = grade(settings);
                export(exported, metrics);
                if is_new || last_read.is_none_or(|(_, before)| before != settings) {
                    log(settings, exported, is_local(), monitors);
                }
                last_read = Some((connection, settings));
                if settings.sync.is_none() && !monitors.is_empty() {
                    tokio::time::sleep(RETRY_DELAY).await;
                }
            }
            Err(error) => {
                tracing::debug!(%error, stream = streams::WEBHOOKS, "cannot read the settings of the stream");
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
    }
}

async fn read_settings(
    context: &jetstream::Context,
    monitors: &MonitorUrls,
) -> Result<StorageSettings, async_nats::Error> {
    let stream = context.get_stream(streams::WEBHOOKS).await?;
    let config = &stream.cached_info().config;
    Ok(StorageSettings {
        replicas: config.num_replicas,
        is_asynchronous: matches!(config.persist_mode, Some(PersistenceMode::Async)),
        sync: monitoring::sync_policy(monitors).await,
    })
}

/// Sets the series of `grade` to 1 and those of all other grades to 0.
fn export(grade: Grade, metrics: &Metrics) {
    for other in Grade::ALL {
        let labels = GradeLabels { grade: other.label() };
        metrics.durability.get_or_create(&labels).set(i64::from(other == grade));
    }
}

/// Logs the grade: as a warning or an error if a power cut can lose a webhook that was answered 200.
fn log(settings: StorageSettings, grade: Grade, is_local: bool, monitors: &MonitorUrls) {
    let (label, replicas) = (grade.label(), settings.replicas);
    let sync = match settings.sync {
        Some(SyncPolicy::Always) => "always".to_owned(),
        Some(SyncPolicy::Interval(interval)) => format!("{interval:?}"),
        None => "unknown".to_owned(),
    };
    match grade {
        Grade::Synced => {
            tracing::info!(
                grade = label,
                sync,
                replicas,
                "a 200 means that the webhook is on the broker's disk"
            );
        }
        Grade::SyncedLocal => tracing::info!(
            grade = label,
            sync,
            replicas,
            "a 200 means that the webhook is on the gateway's disk, from where it goes to the broker's disk"
        ),
        Grade::PageCache if is_local => tracing::error!(
            grade = label,
            sync,
            replicas,
            "a 200 means that the webhook is on the gateway's disk, but from there it goes to the memory of the broker, \
             and a power cut loses it. Set sync_interval: always on the broker"
        ),
        Grade::Replicated => tracing::warn!(
            grade = label,
            sync,
            replicas,
            "a 200 means that most servers of the broker have the webhook in memory; a power cut of all of them \
             loses it. Set sync_interval: always on the broker"
        ),
        Grade::PageCache => tracing::error!(
            grade = label,
            sync,
            replicas,
            "a 200 means that one server has the webhook in memory; a power cut loses it. Set sync_interval: \
             always on the broker"
        ),
        Grade::Unknown if monitors.is_empty() => tracing::warn!(
            grade = label,
            replicas,
            "unknown whether a 200 means that the webhook is on disk: set NATS_MONITOR_URL, and sync_interval: \
             always on the broker"
        ),
        Grade::Unknown => tracing::warn!(
            grade = label,
            replicas,
            "unknown whether a 200 means that the webhook is on disk: NATS_MONITOR_URL does not report it"
        ),
    }
}
