//! The load, and its history: what was posted, to whom, and what was answered.
//!
//! A sender repeats a webhook until it is answered 200, and then never again (but for the duplicates that
//! are part of the load): so a webhook that was answered 200 and lost stays lost, and is found.

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
use bytes::Bytes;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::stack::WEBHOOK_PATH;
use crate::send::{
    story::{self, Call},
    traffic,
};

/// Calls made up at a time; the webhooks of one lot are shuffled.
const LOT: u32 = 20;
/// Enough that what gathers during a slow sync is a batch for the gateway, and not single messages.
const SENDERS: usize = 128;
/// Longest one answer is waited for.
const ANSWER: Duration = Duration::from_secs(12);
const PAUSE: Duration = Duration::from_millis(100);

/// How fast, and how much of it twice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Webhooks a second.
    pub rate: f64,
    /// Share of webhooks that are sent twice. A batch with one that the broker knows is refused whole and
    /// stored one by one: batches need few of them.
    pub duplicates: f64,
}

/// One webhook that was posted.
#[derive(Clone, Debug)]
pub(super) struct Posted {
    /// Its id: the `Nats-Msg-Id` it must be stored under.
    pub id: String,
    /// Tries that were not answered 200, by what was answered instead; 0 is no answer.
    pub refused: Vec<u16>,
    /// Since the beginning, milliseconds, when it was answered 200. None: never.
    pub accepted_at: Option<u128>,
    /// Whether it was answered 200 because it was in the spool, not in the stream.
    pub spooled: bool,
}

/// What all senders share.
struct Shared {
    urls: Vec<String>,
    http: reqwest::Client,
    begin: Instant,
    accepted: AtomicUsize,
    history: Mutex<Vec<Posted>>,
    /// No new lots.
    stop: CancellationToken,
    /// No new tries either.
    give_up: CancellationToken,
}

/// Running senders.
pub(super) struct Load {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    calls: tokio::task::JoinHandle<Vec<Call>>,
}

/// What was sent.
pub(super) struct Sent {
    pub calls: Vec<Call>,
    pub history: Vec<Posted>,
}

impl Load {
    /// Posts webhooks to `urls`, made up from `seed`.
    pub fn start(urls: Vec<String>, http: reqwest::Client, seed: u64, pace: Pace) -> Self {
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
        let calls = tasks.spawn(make_up(shared.clone(), queue, seed, pace));
        let posts = Arc::new(AsyncMutex::new(posts));
        for n in 0..SENDERS {
            tasks.spawn(send(shared.clone(), posts.clone(), n));
        }
        tasks.close();
        Self { shared, tasks, calls }
    }

    /// Webhooks answered 200 so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Ends: what is on its way gets `patience` to be accepted.
    pub async fn finish(self, patience: Duration) -> anyhow::Result<Sent> {
        self.shared.stop.cancel();
        if tokio::time::timeout(patience, self.tasks.wait()).await.is_err() {
            self.shared.give_up.cancel();
            self.tasks.wait().await;
        }
        let calls = self.calls.await?;
        let mut history = self.shared.history.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Sent { calls, history: std::mem::take(&mut history) })
    }
}

async fn make_up(shared: Arc<Shared>, queue: mpsc::Sender<Bytes>, seed: u64, pace: Pace) -> Vec<Call> {
    let mut rng = StdRng::seed_from_u64(seed);
    // The run is part of every id; two runs of one seed are told apart by their databases.
    let run = format!("chaos{seed:x}");
    let mut calls = Vec::new();
    let mut due = tokio::time::Instant::now();
    while !shared.stop.is_cancelled() {
        let first = u32::try_from(calls.len()).unwrap_or(u32::MAX);
        let now = jiff::Timestamp::now();
        let lot: Vec<_> = (first..first + LOT).map(|n| story::call(&mut rng, &run, n, now)).collect();
        for body in traffic::posts(&lot, pace.duplicates, false, &mut rng) {
            due = (due + Duration::from_secs_f64(1.0 / pace.rate)).max(tokio::time::Instant::now());
            tokio::time::sleep_until(due).await;
            if !matches!(shared.give_up.run_until_cancelled(queue.send(body)).await, Some(Ok(()))) {
                return calls;
            }
        }
        calls.extend(lot);
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
            let answer = shared.http.post(url).body(body.clone()).timeout(ANSWER).send().await;
            match answer {
                // The status is the word that counts: a sender need not read any further.
                Ok(answer) if answer.status() == 200 => {
                    posted.accepted_at = Some(shared.begin.elapsed().as_millis());
                    shared.accepted.fetch_add(1, Ordering::Relaxed);
                    posted.spooled = answer.text().await.is_ok_and(|text| text.contains(r#""spooled":true"#));
                }
                answer => {
                    posted.refused.push(answer.map_or(0, |answer| answer.status().as_u16()));
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        shared.history.lock().unwrap_or_else(PoisonError::into_inner).push(posted);
    }
}

/// Writes the history as one JSON object a line.
pub(super) fn keep(history: &[Posted], path: &Path) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for posted in history {
        let Posted { id, refused, accepted_at, spooled } = posted;
        let line = json!({ "id": id, "refused": refused, "acceptedAtMs": accepted_at, "spooled": spooled });
        writeln!(file, "{line}")?;
    }
    file.flush()
}
