//! What a 200 is worth: how the broker keeps what it has acknowledged. Read, graded, logged, exported.
//!
//! By default a broker answers before its disk has the message, and a power cut takes the last two minutes
//! of what was answered 200. An ordinary client cannot see that setting; the broker's monitoring endpoint
//! shows it (`NATS_MONITOR_URL`). Invariant: a grade is never better than what was seen.

use std::{sync::atomic::Ordering, time::Duration};

use aftercall_common::{
    contract::streams,
    http::client::{self, Bounds},
    process::broker,
};
use async_nats::{
    Client,
    jetstream::{self, stream::PersistenceMode},
};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode, Uri};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::streams::Topology;
use crate::{
    config::MonitorUrls,
    metrics::{GradeLabels, Metrics},
};

/// How often it is looked whether there was a reconnect.
const WATCH: Duration = Duration::from_millis(500);
/// After a monitoring endpoint that did not answer.
const AGAIN: Duration = Duration::from_secs(30);
const BOUNDS: Bounds = Bounds { time: Duration::from_secs(3), bytes: 256 * 1024 };
/// With so many copies of a stream, a majority of machines has what one of them acknowledges.
const REPLICATED: usize = 3;

/// When a server has its disk sync what it has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sync {
    /// Before it acknowledges.
    Always,
    /// So often, whatever it has acknowledged.
    Every(Duration),
}

/// What is known of how webhooks are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Copies of the stream.
    pub replicas: usize,
    /// The stream is written behind the acknowledgement, whatever the servers are told.
    pub asynchronous: bool,
    /// The weakest setting among the servers; none where one of them does not tell.
    pub sync: Option<Sync>,
}

/// What an acknowledged webhook survives, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// On disk: a power cut.
    Synced,
    /// In the memory of a majority of machines: the loss of one.
    Replicated,
    /// In the memory of one machine: a crash of the broker's process, no more.
    PageCache,
    /// Nobody can tell.
    Unknown,
}

impl Grade {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Synced, Self::Replicated, Self::PageCache, Self::Unknown];

    /// The word in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::Replicated => "replicated",
            Self::PageCache => "page-cache",
            Self::Unknown => "unknown",
        }
    }
}

/// What an acknowledgement is worth under `facts`. Pure.
pub fn grade(facts: Facts) -> Grade {
    match facts.sync {
        _ if facts.asynchronous => Grade::PageCache,
        Some(Sync::Always) => Grade::Synced,
        Some(Sync::Every(_)) | None if facts.replicas >= REPLICATED => Grade::Replicated,
        Some(Sync::Every(_)) => Grade::PageCache,
        None => Grade::Unknown,
    }
}

/// The weakest of what several servers say, each of them `None` where it does not. Pure.
fn weakest(answers: &[Option<Sync>]) -> Option<Sync> {
    let known = answers.iter().flatten().max().copied();
    let all = !answers.is_empty() && answers.iter().all(Option::is_some);
    known.filter(|sync| all || matches!(sync, Sync::Every(_)))
}

/// What a monitoring endpoint says of syncing (`/jsz`). Pure.
fn read(answer: &[u8]) -> Option<Sync> {
    #[derive(Deserialize)]
    struct Answer {
        config: Config,
    }
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        sync_always: bool,
        sync_interval: u64,
    }
    let Answer { config } = serde_json::from_slice(answer).ok()?;
    Some(if config.sync_always {
        Sync::Always
    } else {
        Sync::Every(Duration::from_nanos(config.sync_interval))
    })
}

/// Grades at the start, at every reconnect, and again while an endpoint does not answer, until `stop`.
pub async fn watch(
    client: Client,
    topology: std::sync::Arc<Topology>,
    monitors: MonitorUrls,
    metrics: Metrics,
    stop: CancellationToken,
) {
    export(Grade::Unknown, &metrics);
    stop.run_until_cancelled(forever(&client, &topology, &monitors, &metrics)).await;
}

async fn forever(client: &Client, topology: &Topology, monitors: &MonitorUrls, metrics: &Metrics) {
    let statistics = client.statistics();
    let context = jetstream::new(client.clone());
    let mut said: Option<(u64, Facts)> = None;
    loop {
        let connection = statistics.connects.load(Ordering::Relaxed);
        let is_new = said.is_none_or(|(seen, _)| seen != connection);
        let is_open = said.is_some_and(|(_, facts)| facts.sync.is_none()) && !monitors.is_empty();
        if !broker::is_connected(client) || !topology.is_ensured() || !(is_new || is_open) {
            tokio::time::sleep(WATCH).await;
            continue;
        }
        match facts(&context, monitors).await {
            Ok(facts) => {
                export(grade(facts), metrics);
                if is_new || said.is_none_or(|(_, before)| before != facts) {
                    say(facts, monitors);
                }
                said = Some((connection, facts));
                if facts.sync.is_none() && !monitors.is_empty() {
                    tokio::time::sleep(AGAIN).await;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the settings of the stream cannot be read");
                tokio::time::sleep(WATCH).await;
            }
        }
    }
}

async fn facts(context: &jetstream::Context, monitors: &MonitorUrls) -> Result<Facts, async_nats::Error> {
    let stream = context.get_stream(streams::WEBHOOKS).await?;
    let config = &stream.cached_info().config;
    let mut answers = Vec::new();
    for url in monitors.iter() {
        answers.push(ask(url).await);
    }
    Ok(Facts {
        replicas: config.num_replicas,
        asynchronous: matches!(config.persist_mode, Some(PersistenceMode::Async)),
        sync: weakest(&answers),
    })
}

/// Sets the series of `grade` to 1 and those of all other grades to 0.
fn export(grade: Grade, metrics: &Metrics) {
    for other in Grade::ALL {
        let labels = GradeLabels { grade: other.label() };
        metrics.durability.get_or_create(&labels).set(i64::from(other == grade));
    }
}

async fn ask(url: &Uri) -> Option<Sync> {
    let request = Request::get(format!("{}/jsz", url.to_string().trim_end_matches('/')));
    let request = request.body(Full::<Bytes>::default()).ok()?;
    match client::send(request, BOUNDS).await {
        Ok(answer) if answer.status() == StatusCode::OK => read(answer.body()),
        Ok(answer) => {
            tracing::warn!(%url, status = answer.status().as_u16(), "NATS_MONITOR_URL is not a broker's");
            None
        }
        Err(error) => {
            tracing::warn!(%url, %error, "NATS_MONITOR_URL does not answer");
            None
        }
    }
}

/// Loud where a 200 means less than "on disk".
fn say(facts: Facts, monitors: &MonitorUrls) {
    let (grade, replicas) = (grade(facts).label(), facts.replicas);
    let sync = match facts.sync {
        Some(Sync::Always) => "always".to_owned(),
        Some(Sync::Every(interval)) => format!("{interval:?}"),
        None => "unknown".to_owned(),
    };
    match self::grade(facts) {
        Grade::Synced => tracing::info!(grade, sync, replicas, "a 200 means: on the broker's disk"),
        Grade::Replicated => tracing::warn!(
            grade,
            sync,
            replicas,
            "a 200 means: in the memory of a majority of machines; a power cut of them all loses it. Set sync_interval: always"
        ),
        Grade::PageCache => tracing::error!(
            grade,
            sync,
            replicas,
            "a 200 means: in the memory of one machine; a power cut loses it. Set sync_interval: always on the broker"
        ),
        Grade::Unknown if monitors.is_empty() => tracing::warn!(
            grade,
            replicas,
            "nobody can tell whether a 200 means 'on disk': set NATS_MONITOR_URL, and sync_interval: always on the broker"
        ),
        Grade::Unknown => {
            tracing::warn!(
                grade,
                replicas,
                "nobody can tell whether a 200 means 'on disk': NATS_MONITOR_URL does not say"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAZY: Option<Sync> = Some(Sync::Every(Duration::from_mins(2)));
    const ALWAYS: Option<Sync> = Some(Sync::Always);

    #[test]
    fn every_setting_has_its_grade() {
        #[rustfmt::skip]
        let table = [ // sync, replicas, asynchronous, grade
            (ALWAYS, 1, false, Grade::Synced),
            (ALWAYS, 3, false, Grade::Synced),
            (LAZY,   1, false, Grade::PageCache),
            (LAZY,   2, false, Grade::PageCache),
            (LAZY,   3, false, Grade::Replicated),
            (LAZY,   5, false, Grade::Replicated),
            (None,   1, false, Grade::Unknown),
            (None,   3, false, Grade::Replicated),
            // It overrides what the servers are told, and is said to.
            (ALWAYS, 1, true,  Grade::PageCache),
            (ALWAYS, 3, true,  Grade::PageCache),
            (None,   1, true,  Grade::PageCache),
        ];
        for (sync, replicas, asynchronous, expected) in table {
            let facts = Facts { replicas, asynchronous, sync };
            assert_eq!(grade(facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn a_cluster_is_as_good_as_its_weakest_server_and_silence_proves_nothing() {
        #[rustfmt::skip]
        let table = [
            (vec![],                     None),
            (vec![ALWAYS],               ALWAYS),
            (vec![ALWAYS, ALWAYS],       ALWAYS),
            (vec![ALWAYS, LAZY, ALWAYS], LAZY),
            (vec![ALWAYS, None],         None),
            (vec![LAZY, None],           LAZY),
            (vec![None],                 None),
        ];
        for (answers, expected) in table {
            assert_eq!(weakest(&answers), expected, "{answers:?}");
        }
    }

    #[test]
    fn a_real_server_is_understood() {
        // nats-server 2.15.1's own words, shortened: it shows the interval beside `always` too.
        #[rustfmt::skip]
        let table = [
            (r#"{"memory":0,"config":{"store_dir":"/x","sync_interval":120000000000,"sync_always":true,"strict":true}}"#, ALWAYS),
            (r#"{"memory":0,"config":{"store_dir":"/x","sync_interval":120000000000,"strict":true}}"#, LAZY),
            (r#"{"disabled":true}"#, None),
            ("<html>", None),
        ];
        for (answer, expected) in table {
            assert_eq!(read(answer.as_bytes()), expected, "{answer}");
        }
    }
}
