//! The state that the server, the calls and the webhooks of a simulator share.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    batches::Batch,
    calls::Call,
    options::{Faults, Options},
    registry::Registry,
    script::{Answer, Scripts},
};

/// Longest time that the receiver of a webhook may take to answer.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// Most requests that are remembered. At the limit, the oldest one is forgotten.
const MAX_REQUESTS: usize = 100_000;

/// A request for a conversation.
#[derive(Clone, Debug)]
pub struct Request {
    /// Id of the conversation.
    pub conversation_id: String,
    /// Time at which the request arrived.
    pub at: Instant,
    /// Whether the request carried an API key that the simulator accepts.
    pub authorized: bool,
}

/// A conversation that no call of the simulator began.
#[derive(Clone, Debug)]
pub(super) struct Served {
    /// The body of the answer to `GET /v1/convai/conversations/{id}`.
    pub conversation: Value,
    /// The entry in the list of conversations. `None`: it is not listed.
    pub summary: Option<Value>,
}

#[derive(Debug)]
pub(super) struct State {
    pub options: Options,
    pub faults: Mutex<Faults>,
    pub refuses_key: AtomicBool,
    pub refuses_agents: AtomicBool,
    pub scripts: Mutex<Scripts>,
    pub requests: Mutex<VecDeque<Request>>,
    pub calls: Mutex<Vec<Call>>,
    pub batches: Mutex<Vec<Batch>>,
    /// Conversations that no call of the simulator began, by their ids.
    pub served: Mutex<BTreeMap<String, Served>>,
    /// The answers to `GET /v1/convai/batch-calling/{id}` about batches that no request has submitted.
    pub served_batches: Mutex<BTreeMap<String, Value>>,
    pub registry: Mutex<Registry>,
    pub rng: Mutex<StdRng>,
    pub http: reqwest::Client,
    /// Calls in progress and their webhooks.
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

impl State {
    /// The state without calls. Registers and binds the webhook of `options`, if there is one.
    pub fn new(options: Options, stop: CancellationToken) -> anyhow::Result<Self> {
        let mut registry = Registry::new();
        if let Some(url) = &options.webhook_url {
            let secret = Some(options.webhook_secret.clone());
            let id = registry.create("simulated", url, &Value::Null, secret).id.clone();
            if let Some(webhook) = registry.find(&id) {
                webhook.retry_enabled = true;
            }
            let events = ["transcript", "call_initiation_failure", "answering_machine_detection", "audio"];
            registry.bind(&id, &events);
        }
        Ok(Self {
            faults: Mutex::new(options.faults),
            refuses_key: AtomicBool::new(false),
            refuses_agents: AtomicBool::new(false),
            scripts: Mutex::default(),
            requests: Mutex::default(),
            calls: Mutex::default(),
            batches: Mutex::default(),
            served: Mutex::default(),
            served_batches: Mutex::default(),
            registry: Mutex::new(registry),
            rng: Mutex::new(StdRng::seed_from_u64(options.seed)),
            http: crate::http_client(WEBHOOK_TIMEOUT)?,
            tasks: TaskTracker::new(),
            stop,
            options,
        })
    }

    pub fn faults(&self) -> Faults {
        *lock(&self.faults)
    }

    /// Draws whether an event with probability `share` happens.
    pub fn happens(&self, share: f64) -> bool {
        share > 0.0 && lock(&self.rng).random_bool(share.min(1.0))
    }

    /// The call with this conversation id.
    pub fn call(&self, conversation_id: &str) -> Option<Call> {
        lock(&self.calls).iter().find(|call| call.dialled.conversation_id == conversation_id).cloned()
    }

    /// Waits for the random delay of a webhook. Returns how many times the webhook is sent: 0 to 2.
    pub async fn delay_and_count(&self) -> usize {
        let faults = self.faults();
        if self.happens(faults.lose) {
            return 0;
        }
        if !faults.late.is_zero() {
            let share = lock(&self.rng).random_range(0.0..1.0);
            tokio::time::sleep(faults.late.mul_f64(share)).await;
        }
        1 + usize::from(self.happens(faults.duplicate))
    }

    /// Runs `task` until it ends or the simulator stops.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move { stop.run_until_cancelled(task).await });
    }

    /// Records a request for a conversation.
    pub fn record(&self, conversation_id: &str, authorized: bool, at: Instant) {
        let mut requests = lock(&self.requests);
        if requests.len() == MAX_REQUESTS {
            requests.pop_front();
        }
        requests.push_back(Request { conversation_id: conversation_id.to_owned(), at, authorized });
    }

    /// Records the request and returns the next answer of the conversation's script.
    pub fn next_answer(&self, conversation_id: &str, authorized: bool, at: Instant) -> Answer {
        self.record(conversation_id, authorized, at);
        if authorized { lock(&self.scripts).next(conversation_id) } else { Answer::Status(401) }
    }
}

/// Locks `mutex`. A panic while the lock is held leaves the collections consistent, so poisoning is ignored.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
