//! Reads stream and database back, and compares them with the history of the load.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use aftercall_common::contract::streams;
use aftercall_local::send::check as documents;
use anyhow::Context as _;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use futures_util::StreamExt as _;

use super::{load::Sent, report::Report, system::System};

/// If no document changes for this time, the documents are final.
const SETTLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Compares stream and database with the history of the load. All faults have ended.
pub(super) async fn check(system: &System, sent: &Sent, run: &str) -> anyhow::Result<Report> {
    let mut report = Report {
        posted: sent.history.len(),
        accepted: sent.history.iter().filter(|posted| posted.accepted_at.is_some()).count(),
        spooled: sent.history.iter().filter(|posted| posted.spooled).count(),
        ..Report::default()
    };
    report.stuck = usize::from(system.until_recovered(&system.http, SETTLE_TIMEOUT).await.is_err());

    let (stored, batched) = stored(system).await?;
    let all: usize = stored.values().sum();
    (report.batched, report.power_cut_loss) = ((batched, all - batched), system.power_cut_loss);
    report.twice = stored.values().filter(|count| **count > 1).count();
    let accepted = sent.history.iter().filter(|posted| posted.accepted_at.is_some());
    let lost: HashSet<_> = accepted.map(|posted| &posted.id).filter(|id| !stored.contains_key(*id)).collect();
    report.lost = lost.into_iter().cloned().collect();

    let dead_letters = system.jetstream.get_stream(streams::DEAD_LETTERS).await?;
    report.dead = (usize::try_from(dead_letters.cached_info().state.messages)?, system.poison);
    // A lost webhook leaves a document wrong for ever, so there is nothing to wait for.
    let timeout = if report.lost.is_empty() { SETTLE_TIMEOUT } else { Duration::ZERO };
    report.wrong = wrong_calls(system, sent, run, timeout).await?;
    Ok(report)
}

/// Number of messages in the stream for each id, and number of messages that were stored by atomic batches.
async fn stored(system: &System) -> anyhow::Result<(HashMap<String, usize>, usize)> {
    let stream = system.jetstream.get_stream(streams::WEBHOOKS).await?;
    let config = pull::OrderedConfig {
        deliver_policy: DeliverPolicy::All,
        headers_only: true,
        ..pull::OrderedConfig::default()
    };
    let mut remaining = stream.cached_info().state.messages;
    let mut messages = stream.create_consumer(config).await?.messages().await?;
    let (mut stored, mut batched) = (HashMap::new(), 0);
    while remaining > 0 {
        let message = messages.next().await.context("the stream ended")??;
        let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id"));
        if let Some(id) = id {
            *stored.entry(id.as_str().to_owned()).or_default() += 1;
        }
        batched +=
            usize::from(message.headers.as_ref().is_some_and(|all| all.get("Nats-Batch-Id").is_some()));
        remaining -= 1;
    }
    Ok((stored, batched))
}

/// Waits until all documents are right, or until no document has changed for `timeout`. Returns the calls
/// whose documents are still wrong.
async fn wrong_calls(
    system: &System,
    sent: &Sent,
    run: &str,
    timeout: Duration,
) -> anyhow::Result<Vec<(String, String)>> {
    let (mut last, mut changed) = (None, Instant::now());
    loop {
        let found = documents::read(&system.calls, run).await.context("cannot read the documents back")?;
        let comparison = documents::compare(&sent.calls, &found);
        if comparison.wrong.is_empty() {
            return Ok(Vec::new());
        }
        if last.as_ref() != Some(&found) {
            (last, changed) = (Some(found), Instant::now());
        }
        if changed.elapsed() >= timeout {
            return Ok(comparison.wrong);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
