//! The simulated ElevenLabs API: the one route the worker reads, with every fault it must bear.
//!
//! `GET /v1/convai/conversations/{id}` answers what the conversation's script says: one
//! [`Answer`] a request, the last one for ever. Tests script conversations by id; a conversation
//! without a script is answered by the prefix of its id ([`PREFIXES`]), else by the default
//! script, which is [`Answer::Done`]. `GET /livez` says that the simulator runs.

mod conversation;
mod script;
mod server;

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use conversation::transcript;
pub use script::{Answer, PREFIXES};

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
    scripts: Mutex<Scripts>,
    requests: Mutex<VecDeque<Request>>,
}

#[derive(Debug)]
struct Scripts {
    default: Vec<Answer>,
    by_id: HashMap<String, VecDeque<Answer>>,
}

impl Simulator {
    /// Serves on `address`; port 0 takes a free one.
    pub async fn start(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("the simulated ElevenLabs API cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let scripts = Scripts { default: vec![Answer::Done], by_id: HashMap::new() };
        let state = Arc::new(State { scripts: Mutex::new(scripts), requests: Mutex::default() });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
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
    /// Notes the request and takes the next answer of the conversation's script.
    fn answer(&self, conversation_id: &str, authorized: bool, at: Instant) -> Answer {
        let mut requests = lock(&self.requests);
        if requests.len() == MAX_REQUESTS {
            requests.pop_front();
        }
        requests.push_back(Request { conversation_id: conversation_id.to_owned(), at, authorized });
        drop(requests);
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
