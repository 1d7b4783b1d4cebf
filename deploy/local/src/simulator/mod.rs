//! The simulated ElevenLabs API: its endpoints for calls, conversations and webhooks, and the webhooks
//! themselves, with every fault the worker must bear.
//!
//! A call that is placed here lives its phases ([`Options::pace`]), is listed, and reports by signed
//! webhooks how it ended. Beside these calls, `GET /v1/convai/conversations/{id}` answers for ids that
//! tests make up: what the conversation's script says, one [`Answer`] a request, the last one for
//! ever; without a script by the prefix of the id ([`PREFIXES`]), else [`Answer::Done`]. `GET /livez`
//! says that the simulator runs.

mod calls;
mod conversation;
mod endpoints;
mod life;
mod options;
mod registry;
mod script;
mod sender;
mod server;

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{calls::Call, registry::Registry};
pub use self::{
    conversation::transcript,
    options::{Carrier, Dialled, Faults, Options, Outcome, Truth, Twilio},
    script::{Answer, PREFIXES},
};

/// Longest a webhook's receiver may take.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests remembered; older ones are forgotten.
const MAX_REQUESTS: usize = 100_000;

/// A request that was made for a conversation.
#[derive(Clone, Debug)]
pub struct Request {
    /// The conversation's id.
    pub conversation_id: String,
    /// When it arrived.
    pub at: Instant,
    /// Whether it carried an API key.
    pub authorized: bool,
}

/// A running simulator. Dropping it ends it.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    state: Arc<State>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct State {
    options: Options,
    faults: Mutex<Faults>,
    refuses_key: AtomicBool,
    scripts: Mutex<Scripts>,
    requests: Mutex<VecDeque<Request>>,
    calls: Mutex<Vec<Call>>,
    registry: Mutex<Registry>,
    rng: Mutex<StdRng>,
    http: reqwest::Client,
    /// What lives by itself: calls and their webhooks.
    lives: TaskTracker,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Scripts {
    default: Vec<Answer>,
    by_id: HashMap<String, VecDeque<Answer>>,
}

impl Simulator {
    /// Serves on `address`; port 0 takes a free one.
    pub async fn start(address: SocketAddr) -> anyhow::Result<Self> {
        Self::start_with(address, Options::default()).await
    }

    /// Serves on `address` as `options` say.
    pub async fn start_with(address: SocketAddr, options: Options) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("the simulated ElevenLabs API cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let scripts = Scripts { default: vec![Answer::Done], by_id: HashMap::new() };
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let mut registry = Registry::new();
        if let Some(url) = &options.webhook_url {
            let secret = Some(options.webhook_secret.clone());
            let id = registry.create("simulated", url, &serde_json::Value::Null, secret).id.clone();
            if let Some(webhook) = registry.find(&id) {
                webhook.retry_enabled = true;
            }
            registry.bind(&id, &["transcript", "call_initiation_failure", "audio"]);
        }
        let state = Arc::new(State {
            faults: Mutex::new(options.faults),
            refuses_key: AtomicBool::new(false),
            scripts: Mutex::new(scripts),
            requests: Mutex::default(),
            calls: Mutex::default(),
            registry: Mutex::new(registry),
            rng: Mutex::new(StdRng::seed_from_u64(options.seed)),
            http: crate::http_client(WEBHOOK_TIMEOUT)?,
            lives: TaskTracker::new(),
            stop: stop.clone(),
            options,
        });
        tasks.spawn(server::serve(listener, state.clone(), stop.clone()));
        tasks.close();
        Ok(Self { address, state, stop, tasks })
    }

    /// What `ELEVENLABS_BASE_URL` is to be.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets the answers for one conversation; the last one repeats. Replaces an earlier script.
    pub fn script(&self, conversation_id: impl Into<String>, answers: impl IntoIterator<Item = Answer>) {
        let answers = answers.into_iter().collect();
        lock(&self.state.scripts).by_id.insert(conversation_id.into(), answers);
    }

    /// Sets the answers for every conversation that has no script yet; the last one repeats.
    pub fn script_default(&self, answers: impl IntoIterator<Item = Answer>) {
        lock(&self.state.scripts).default = answers.into_iter().collect();
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        *lock(&self.state.faults) = faults;
    }

    /// Refuses every key from now on with 401, or takes every key again.
    pub fn refuse_key(&self, refuses: bool) {
        self.state.refuses_key.store(refuses, Ordering::Relaxed);
    }

    /// Every call that was dialled, in order.
    pub fn dialled(&self) -> Vec<Dialled> {
        lock(&self.state.calls).iter().map(|call| call.dialled.clone()).collect()
    }

    /// What is true of every call that is over.
    pub fn truth(&self) -> Vec<Truth> {
        let calls = lock(&self.state.calls);
        let over = calls.iter().filter(|call| call.is_over()).map(|call| Truth {
            conversation_id: call.dialled.conversation_id.clone(),
            call_sid: call.dialled.call_sid.clone(),
            to_number: call.dialled.to_number.clone(),
            outcome: call.outcome,
        });
        over.collect()
    }

    /// Whether every call is over, and every webhook that will ever be sent was answered or given up.
    pub fn settled(&self) -> bool {
        self.state.lives.is_empty()
    }

    /// The workspace webhooks, with their secrets.
    pub fn webhooks(&self) -> Vec<serde_json::Value> {
        lock(&self.state.registry).list(true)
    }

    /// Switches a webhook off as an operator would, or as the vendor does after failures.
    pub fn disable_webhook(&self, id: &str, auto: bool, last_error: Option<u16>) {
        if let Some(webhook) = lock(&self.state.registry).find(id) {
            webhook.is_auto_disabled |= auto;
            webhook.is_disabled |= !auto;
            if let Some(status) = last_error {
                webhook.delivered(status);
            }
        }
    }

    /// Every request for a conversation so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.state.requests).iter().cloned().collect()
    }

    /// How often `conversation_id` was asked for.
    pub fn request_count(&self, conversation_id: &str) -> usize {
        lock(&self.state.requests).iter().filter(|request| request.conversation_id == conversation_id).count()
    }

    /// Stops serving and waits until the port is free again.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl State {
    fn faults(&self) -> Faults {
        *lock(&self.faults)
    }

    /// Whether what happens in `share` of all cases happens now.
    fn happens(&self, share: f64) -> bool {
        share > 0.0 && lock(&self.rng).random_bool(share.min(1.0))
    }

    fn call(&self, conversation_id: &str) -> Option<Call> {
        lock(&self.calls).iter().find(|call| call.dialled.conversation_id == conversation_id).cloned()
    }

    /// How often a webhook is sent, after the time it is held back for.
    async fn copies(&self) -> usize {
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

    /// Runs `life` until it ends or the simulator does.
    fn spawn(&self, life: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.lives.spawn(async move { stop.run_until_cancelled(life).await });
    }

    /// Notes a request for a conversation.
    fn note(&self, conversation_id: &str, authorized: bool, at: Instant) {
        let mut requests = lock(&self.requests);
        if requests.len() == MAX_REQUESTS {
            requests.pop_front();
        }
        requests.push_back(Request { conversation_id: conversation_id.to_owned(), at, authorized });
    }

    /// Notes the request and takes the next answer of the conversation's script.
    fn answer(&self, conversation_id: &str, authorized: bool, at: Instant) -> Answer {
        self.note(conversation_id, authorized, at);
        if authorized { lock(&self.scripts).next(conversation_id) } else { Answer::Status(401) }
    }
}

impl Scripts {
    fn next(&mut self, conversation_id: &str) -> Answer {
        if let Some(script) = self.by_id.get_mut(conversation_id) {
            let next = if script.len() > 1 { script.pop_front() } else { script.front().copied() };
            return next.unwrap_or(Answer::Done);
        }
        let script = script::of_prefix(conversation_id).unwrap_or(&self.default);
        let first = script.first().copied().unwrap_or(Answer::Done);
        if script.len() > 1 {
            // Only a conversation in the middle of its script takes up memory.
            let rest = script[1..].iter().copied().collect();
            self.by_id.insert(conversation_id.to_owned(), rest);
        }
        first
    }
}

/// A panic while the lock is held leaves the collections whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
