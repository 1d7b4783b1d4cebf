//! The load of a rolling restart: webhooks at a fixed rate and lookups. Most webhooks use keep-alive
//! connections, some use a new connection each. No request is repeated, so every answer that is not 200
//! counts as a failure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aftercall_local::{http_client, http_client_builder};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Number of concurrent senders.
const SENDERS: usize = 96;
/// One in this many webhooks uses a new connection.
const NEW_CONNECTION_EVERY: usize = 10;
/// Event types of a call.
const EVENTS: [&str; 3] = ["call.initiated", "call.ringing", "call.busy"];
/// Longest wait for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Interval between two lookups.
const LOOKUP_INTERVAL: Duration = Duration::from_millis(20);

/// The answers to all requests.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Number of webhooks sent.
    pub webhooks: usize,
    /// Number of lookups sent.
    pub lookups: usize,
    /// Number of failures by description.
    pub failures: BTreeMap<String, usize>,
    /// Calls with a webhook that was answered with 200.
    pub calls: BTreeSet<usize>,
    /// Time to the answer of each webhook, sorted.
    pub latencies: Vec<Duration>,
    /// Duration of the load.
    pub elapsed: Duration,
}

struct Shared {
    base: String,
    kept: reqwest::Client,
    fresh: reqwest::Client,
    rate: f64,
    begin: tokio::time::Instant,
    next: AtomicUsize,
    stop: CancellationToken,
    answers: Mutex<Answers>,
}

/// The running senders.
pub struct Load {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    begun: Instant,
}

impl Load {
    /// Starts to post `rate` webhooks per second to the gateway at `base`.
    pub fn start(base: &str, rate: f64) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            base: base.to_owned(),
            kept: http_client(ANSWER_TIMEOUT)?,
            fresh: http_client_builder(ANSWER_TIMEOUT).pool_max_idle_per_host(0).build()?,
            rate,
            begin: tokio::time::Instant::now(),
            next: AtomicUsize::new(0),
            stop: CancellationToken::new(),
            answers: Mutex::default(),
        });
        let tasks = TaskTracker::new();
        for _ in 0..SENDERS {
            tasks.spawn(post(shared.clone()));
        }
        tasks.spawn(look_up(shared.clone()));
        tasks.close();
        Ok(Self { shared, tasks, begun: Instant::now() })
    }

    /// Number of webhooks, and number of failures of any kind, so far.
    pub fn counts(&self) -> (usize, usize) {
        let answers = self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner);
        (answers.webhooks, answers.failures.values().sum())
    }

    /// Stops the senders, and waits for the answers of open requests.
    pub async fn finish(self) -> Answers {
        self.shared.stop.cancel();
        self.tasks.wait().await;
        let mut answers = self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        answers.latencies.sort_unstable();
        answers.elapsed = self.begun.elapsed();
        answers
    }
}

async fn post(shared: Arc<Shared>) {
    loop {
        let n = shared.next.fetch_add(1, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "a count, small")]
        let due = shared.begin + Duration::from_secs_f64(n as f64 / shared.rate);
        if shared.stop.is_cancelled() {
            return;
        }
        tokio::time::sleep_until(due).await;
        let event =
            json!({ "event_type": EVENTS[n % EVENTS.len()], "call_id": format!("r{}", n / EVENTS.len()) });
        let client = if n.is_multiple_of(NEW_CONNECTION_EVERY) { &shared.fresh } else { &shared.kept };
        let began = Instant::now();
        let url = format!("{}/api/webhooks/elevenlabs/call-status", shared.base);
        let failure = failure(client.post(url).body(event.to_string())).await;
        let mut answers = shared.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.webhooks += 1;
        answers.latencies.push(began.elapsed());
        match failure {
            Some(failure) => *answers.failures.entry(format!("webhook: {failure}")).or_default() += 1,
            None => drop(answers.calls.insert(n / EVENTS.len())),
        }
    }
}

async fn look_up(shared: Arc<Shared>) {
    let url = format!("{}/api/agent-calls/status", shared.base);
    let question = json!({ "callSid": "r0" }).to_string();
    // The call is unknown until its first webhook is processed.
    while !shared.stop.is_cancelled()
        && failure(shared.kept.post(&url).body(question.clone())).await.is_some()
    {
        tokio::time::sleep(LOOKUP_INTERVAL).await;
    }
    while shared.stop.run_until_cancelled(tokio::time::sleep(LOOKUP_INTERVAL)).await.is_some() {
        let failure = failure(shared.kept.post(&url).body(question.clone())).await;
        let mut answers = shared.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.lookups += 1;
        if let Some(failure) = failure {
            *answers.failures.entry(format!("lookup: {failure}")).or_default() += 1;
        }
    }
}

/// Describes the failure of a request. `None`: the answer was 200.
async fn failure(request: reqwest::RequestBuilder) -> Option<String> {
    match request.header("content-type", "application/json").send().await {
        Ok(answer) if answer.status() == 200 => answer.bytes().await.err().map(|error| error.to_string()),
        Ok(answer) => {
            let status = answer.status();
            let problem: Value = answer.json().await.unwrap_or_default();
            Some(format!("{status} {}", problem["code"].as_str().unwrap_or_default()))
        }
        Err(error) => {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(source) = cause.source() {
                cause = source;
            }
            Some(cause.to_string())
        }
    }
}
