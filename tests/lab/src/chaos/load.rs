//! Posts webhooks during a round, and records the answer to each.
//!
//! A sender repeats a webhook until the gateway answers 200, and never posts it again, apart from the
//! duplicates of the load. A webhook that is lost after its 200 therefore stays lost, and the checker finds
//! it.

use std::{
    io::Write as _,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aftercall_ingest::storage::message;
use aftercall_local::send::{
    scenario::{self, Call},
    traffic,
};
use bytes::Bytes;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::system::WEBHOOK_PATH;

/// Calls that are generated at a time. Their webhooks are shuffled.
const CALLS_PER_CHUNK: u32 = 20;
/// Number of concurrent senders. It is so large that enough webhooks for a batch arrive during a slow sync.
const SENDERS: usize = 128;
/// Longest wait for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);
/// Pause before a webhook is posted again.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Rate of the load, and share of duplicates.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoadProfile {
    /// Webhooks per second.
    pub rate: f64,
    /// Share of webhooks that are sent twice. The broker refuses a batch with a duplicate, and the gateway
    /// then publishes its messages one by one; so batches need few duplicates.
    pub duplicates: f64,
}

/// A posted webhook and its answers.
#[derive(Clone, Debug)]
pub(super) struct Posted {
    /// Expected `Nats-Msg-Id` of the stored message.
    pub id: String,
    /// Status of each answer that was not 200. 0: no answer.
    pub refused: Vec<u16>,
    /// Time of the 200 in milliseconds since the start of the load. `None`: there was no 200.
    pub accepted_at: Option<u128>,
    /// Whether the 200 says that the webhook is in the spool.
    pub spooled: bool,
}

/// State that all senders share.
struct Shared {
    urls: Vec<String>,
    http: reqwest::Client,
    begin: Instant,
    accepted: AtomicUsize,
    history: Mutex<Vec<Posted>>,
    /// Ends the generation of calls.
    stop: CancellationToken,
    /// Ends all attempts.
    give_up: CancellationToken,
}

/// The running senders.
pub(super) struct Load {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    calls: tokio::task::JoinHandle<Vec<Call>>,
}

/// The generated calls, and the history of their webhooks.
pub(super) struct Sent {
    pub calls: Vec<Call>,
    pub history: Vec<Posted>,
}

impl Load {
    /// Starts to post webhooks to `urls`. `seed` determines their calls.
    pub fn start(urls: Vec<String>, http: reqwest::Client, seed: u64, profile: LoadProfile) -> Self {
        let shared = Arc::new(Shared {
            urls,
            http,
            begin: Instant::now(),
            accepted: AtomicUsize::new(0),
            history: Mutex::default(),
            stop: CancellationToken::new(),
            give_up: CancellationToken::new(),
        });
        let (queue, posts) = mpsc::channel(256);
        let tasks = TaskTracker::new();
        let calls = tasks.spawn(generate(shared.clone(), queue, seed, profile));
        let posts = Arc::new(AsyncMutex::new(posts));
        for n in 0..SENDERS {
            tasks.spawn(send(shared.clone(), posts.clone(), n));
        }
        tasks.close();
        Self { shared, tasks, calls }
    }

    /// Number of webhooks answered with 200 so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Ends the load. Webhooks that are being posted get up to `timeout` to be accepted.
    pub async fn finish(self, timeout: Duration) -> anyhow::Result<Sent> {
        self.shared.stop.cancel();
        if tokio::time::timeout(timeout, self.tasks.wait()).await.is_err() {
            self.shared.give_up.cancel();
            self.tasks.wait().await;
        }
        let calls = self.calls.await?;
        let mut history = self.shared.history.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Sent { calls, history: std::mem::take(&mut history) })
    }
}

async fn generate(
    shared: Arc<Shared>,
    queue: mpsc::Sender<Bytes>,
    seed: u64,
    profile: LoadProfile,
) -> Vec<Call> {
    let mut rng = StdRng::seed_from_u64(seed);
    // The run is part of every id. Two runs with the same seed use different databases.
    let run = format!("chaos{seed:x}");
    let mut calls = Vec::new();
    let mut due = tokio::time::Instant::now();
    while !shared.stop.is_cancelled() {
        let first = u32::try_from(calls.len()).unwrap_or(u32::MAX);
        let now = jiff::Timestamp::now();
        let chunk: Vec<_> =
            (first..first + CALLS_PER_CHUNK).map(|n| scenario::call(&mut rng, &run, n, now)).collect();
        for body in traffic::posts(&chunk, profile.duplicates, false, &mut rng) {
            due = (due + Duration::from_secs_f64(1.0 / profile.rate)).max(tokio::time::Instant::now());
            tokio::time::sleep_until(due).await;
            if !matches!(shared.give_up.run_until_cancelled(queue.send(body)).await, Some(Ok(()))) {
                return calls;
            }
        }
        calls.extend(chunk);
    }
    calls
}

async fn send(shared: Arc<Shared>, posts: Arc<AsyncMutex<mpsc::Receiver<Bytes>>>, sender: usize) {
    let mut rng = StdRng::seed_from_u64(sender as u64);
    loop {
        let Some(body) = posts.lock().await.recv().await else { return };
        let id = message::webhook_id(WEBHOOK_PATH, std::slice::from_ref(&body)).to_string();
        let mut posted = Posted { id, refused: Vec::new(), accepted_at: None, spooled: false };
        while posted.accepted_at.is_none() && !shared.give_up.is_cancelled() {
            let url = &shared.urls[rng.random_range(0..shared.urls.len())];
            let answer = shared.http.post(url).body(body.clone()).timeout(ANSWER_TIMEOUT).send().await;
            match answer {
                // A real sender may ignore the body, so the status alone counts.
                Ok(answer) if answer.status() == 200 => {
                    posted.accepted_at = Some(shared.begin.elapsed().as_millis());
                    shared.accepted.fetch_add(1, Ordering::Relaxed);
                    posted.spooled = answer.text().await.is_ok_and(|text| text.contains(r#""spooled":true"#));
                }
                answer => {
                    posted.refused.push(answer.map_or(0, |answer| answer.status().as_u16()));
                    tokio::time::sleep(RETRY_DELAY).await;
                }
            }
        }
        shared.history.lock().unwrap_or_else(PoisonError::into_inner).push(posted);
    }
}

/// Writes the history, one JSON object per line.
pub(super) fn write_history(history: &[Posted], path: &Path) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for posted in history {
        let Posted { id, refused, accepted_at, spooled } = posted;
        let line = json!({ "id": id, "refused": refused, "acceptedAtMs": accepted_at, "spooled": spooled });
        writeln!(file, "{line}")?;
    }
    file.flush()
}
