//! Fills the stream with a backlog of webhooks, and measures how fast a worker drains it.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use aftercall_common::contract::streams::{self, consumer, subject};
use anyhow::{Context as _, ensure};
use async_nats::{
    Client,
    header::{NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE},
    jetstream::{self, consumer::PullConsumer},
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::{measure, raw};

/// Messages per atomic batch.
const BATCH: usize = 1000;
/// Longest time for a drain.
const TIMEOUT: Duration = Duration::from_mins(10);
/// Pause between two requests for the state of the consumer.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Content of the backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every webhook is the first of its call.
    Distinct,
    /// Every webhook is the second of its call. [`before`] is the first.
    Known,
    /// Five consecutive webhooks per call, the last with the transcript.
    Whole,
}

/// The webhook that has to be stored before webhook `n`, if any.
pub fn before(kind: Kind, n: usize) -> Option<Value> {
    (kind == Kind::Known).then(|| event(n, 0))
}

/// Webhook `n`, about 300 bytes.
pub fn webhook(kind: Kind, n: usize) -> Value {
    let (call, step) = match kind {
        Kind::Distinct | Kind::Known => (n, 1),
        Kind::Whole => (n / 5, n % 5),
    };
    event(call, step)
}

/// Start of all calls: an hour ago, so that the worker accepts the time stamps of the events.
static BEGIN: LazyLock<i64> = LazyLock::new(|| jiff::Timestamp::now().as_second() - 3600);

/// Event number `step` of a call. The last one carries the transcript.
fn event(call: usize, step: usize) -> Value {
    let note = "x".repeat(100);
    let (call_id, conversation_id) = (format!("bench_{call:09}"), format!("conv_{call:09}"));
    if step == 4 {
        return json!({ "type": "post_call_transcription", "event_timestamp": *BEGIN + 9, "data": {
            "conversation_id": conversation_id, "status": "done",
            "transcript": [{ "role": "agent", "message": "Good morning.", "time_in_call_secs": 0 }],
            "metadata": { "phone_call": { "call_sid": call_id } },
        } });
    }
    let status = ["initiated", "ringing", "answered", "completed"][step];
    json!({
        "event_type": format!("call.{status}"), "call_id": call_id, "conversation_id": conversation_id,
        "status": status, "timestamp": *BEGIN + i64::try_from(step).unwrap_or(0), "to_number": "+12025550123", "note": note,
    })
}

/// Stores `count` webhooks, starting with number `first`.
pub async fn fill(client: &Client, kind: Kind, first: usize, count: usize) -> anyhow::Result<()> {
    fill_these(client, (first..first + count).map(|n| (n, webhook(kind, n)))).await
}

/// Stores webhooks, each with a number that determines its id. The broker drops a webhook whose number is
/// already stored.
pub async fn fill_these(
    client: &Client,
    mut webhooks: impl Iterator<Item = (usize, Value)>,
) -> anyhow::Result<()> {
    let context = jetstream::new(client.clone());
    streams::ensure(&context, 1).await?;
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await?;
    loop {
        let batch: Vec<_> = webhooks.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            return Ok(());
        }
        let id = client.new_inbox();
        for (position, (n, webhook)) in (1..).zip(&batch) {
            let mut headers = raw::headers(&format!("{n:064x}"));
            headers.insert(NATS_BATCH_ID, id.as_str());
            headers.insert(NATS_BATCH_SEQUENCE, position.to_string());
            let (subject, body) = (subject::ELEVENLABS_CALL_STATUS, webhook.to_string().into());
            if position == batch.len() {
                headers.insert(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL);
                client.publish_with_reply_and_headers(subject, inbox.clone(), headers, body).await?;
            } else {
                client.publish_with_headers(subject, headers, body).await?;
            }
        }
        let answer = answers.next().await.context("the broker is gone")?;
        ensure!(!answer.payload.starts_with(b"{\"error"), "{}", String::from_utf8_lossy(&answer.payload));
    }
}

/// State of the consumer.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Acknowledged messages.
    pub acknowledged: u64,
    /// Messages that are not acknowledged.
    pub left: u64,
}

/// Asks for the state of the consumer, of `total` messages in the stream.
pub async fn progress(context: &jetstream::Context, total: u64) -> anyhow::Result<Progress> {
    let consumer: PullConsumer =
        context.get_consumer_from_stream(consumer::STATUS, streams::WEBHOOKS).await?;
    let info = consumer.cached_info();
    let left = info.num_pending + info.num_ack_pending as u64;
    Ok(Progress { acknowledged: total.saturating_sub(left), left })
}

/// Waits until `done` returns true. Returns the state of the consumer and the time.
pub async fn until(
    context: &jetstream::Context,
    total: u64,
    done: impl Fn(Progress) -> bool,
) -> anyhow::Result<(Progress, Instant)> {
    let begin = Instant::now();
    loop {
        let state = progress(context, total).await?;
        if done(state) {
            return Ok((state, Instant::now()));
        }
        ensure!(begin.elapsed() < TIMEOUT, "the backlog is not drained after {TIMEOUT:?}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Measures from the first acknowledged message of `total` to the last. Returns messages per second, and the
/// microseconds of processor time per message of each process.
pub async fn drained<const N: usize>(
    client: Client,
    total: usize,
    pids: [u32; N],
) -> anyhow::Result<(f64, [f64; N])> {
    let (context, total) = (jetstream::new(client), total as u64);
    let cpu = || pids.into_iter().map(measure::cpu_seconds).collect::<anyhow::Result<Vec<_>>>();
    let (first, began) = until(&context, total, |progress| progress.acknowledged > 0).await?;
    let before = cpu()?;
    let (last, ended) = until(&context, total, |progress| progress.left == 0).await?;
    let after = cpu()?;
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (count, time) = ((last.acknowledged - first.acknowledged) as f64, (ended - began).as_secs_f64());
    ensure!(count > 0.0, "the backlog was drained before the first measurement");
    Ok((count / time, std::array::from_fn(|n| (after[n] - before[n]) * 1e6 / count)))
}
