//! The simulated APIs of ElevenLabs and Twilio: calls, conversations, webhooks, and faults.
//!
//! A placed call goes through its phases, each of which takes [`Options::pace`]. It is listed, and signed webhooks report
//! its end. `GET /v1/convai/conversations/{id}` answers for every id, by the first of these that exists:
//!
//! 1. a call that was placed,
//! 2. a conversation of [`Simulator::serve`],
//! 3. a generated conversation, by its id,
//! 4. the script of the id: one [`Answer`] per request, the last one for all later requests,
//! 5. the script of the id's prefix ([`PREFIXES`]),
//! 6. the default script, [`Answer::Done`] at first.
//!
//! `GET /livez` answers 200 while the simulator runs.

mod batches;
mod calls;
mod conversation;
pub mod demo;
mod endpoints;
pub mod generated;
mod life;
mod options;
mod registry;
mod reports;
mod script;
mod sender;
mod server;
mod state;

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::state::{Served, State, lock};
pub use self::{
    conversation::transcript,
    options::{Carrier, Dialled, Faults, Options, Outcome, Truth, Twilio},
    script::{Answer, AudioAnswer, PREFIXES},
    state::Request,
};

/// A running simulator. Dropping it stops the server.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    state: Arc<State>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Simulator {
    /// Serves on `address` with the default options. Port 0 selects a free port.
    pub async fn start(address: SocketAddr) -> anyhow::Result<Self> {
        Self::start_with(address, Options::default()).await
    }

    /// Serves on `address`. Fails if the address cannot be bound, or if no HTTP client can be made.
    pub async fn start_with(address: SocketAddr, options: Options) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("the simulated ElevenLabs API cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let state = Arc::new(State::new(options, stop.clone())?);
        tasks.spawn(server::serve(listener, state.clone(), stop.clone()));
        tasks.close();
        Ok(Self { address, state, stop, tasks })
    }

    /// Base URL of the API, for `ELEVENLABS_BASE_URL`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets the answers for one conversation, one per request. The last answer repeats. Replaces an earlier
    /// script.
    pub fn script(&self, conversation_id: impl Into<String>, answers: impl IntoIterator<Item = Answer>) {
        let answers = answers.into_iter().collect();
        lock(&self.state.scripts).by_id.insert(conversation_id.into(), answers);
    }

    /// Sets the answers to requests for the recording of one conversation. The last answer repeats.
    pub fn script_audio(
        &self,
        conversation_id: impl Into<String>,
        answers: impl IntoIterator<Item = AudioAnswer>,
    ) {
        let answers = answers.into_iter().collect();
        lock(&self.state.scripts).audio.insert(conversation_id.into(), answers);
    }

    /// Number of requests for the recording of `conversation_id`.
    pub fn audio_request_count(&self, conversation_id: &str) -> usize {
        lock(&self.state.scripts).audio_requests.get(conversation_id).copied().unwrap_or(0)
    }

    /// Sets the default script, for conversations without a script of their own or of their prefix. The last answer
    /// repeats.
    pub fn script_default(&self, answers: impl IntoIterator<Item = Answer>) {
        lock(&self.state.scripts).default = answers.into_iter().collect();
    }

    /// Serves `conversation` under its `conversation_id`, and lists it if there is a `summary`. Replaces an earlier one
    /// with this id. Panics if it has no id.
    pub fn serve(&self, conversation: serde_json::Value, summary: Option<serde_json::Value>) {
        let id = conversation["conversation_id"].as_str().expect("a conversation has an id").to_owned();
        lock(&self.state.served).insert(id, Served { conversation, summary });
    }

    /// Serves and lists these conversations, and sends their webhooks and callbacks.
    pub fn report(&self, conversations: Vec<generated::Generated>) {
        for generated in &conversations {
            self.serve(generated.conversation.clone(), Some(generated.summary()));
        }
        reports::send(&self.state, conversations);
    }

    /// Places the demo calls of `campaigns`. Returns once the last webhook is sent, with the number of calls.
    pub async fn place_demo(&self, campaigns: &[demo::Campaign]) -> usize {
        demo::place(&self.state, campaigns).await
    }

    /// Replaces the faults for later requests and webhooks.
    pub fn set_faults(&self, faults: Faults) {
        *lock(&self.state.faults) = faults;
    }

    /// Answers every later request with 401, or accepts every API key again.
    pub fn refuse_key(&self, refuses: bool) {
        self.state.refuses_key.store(refuses, Ordering::Relaxed);
    }

    /// Answers every later request for agents with 403, as for a key without this permission, or allows them
    /// again.
    pub fn refuse_agents(&self, refuses: bool) {
        self.state.refuses_agents.store(refuses, Ordering::Relaxed);
    }

    /// All calls, in the order in which they were dialled.
    pub fn dialled(&self) -> Vec<Dialled> {
        lock(&self.state.calls).iter().map(|call| call.dialled.clone()).collect()
    }

    /// The facts of every call that is over.
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

    /// Whether every call is over, and no webhook will be sent any more.
    pub fn settled(&self) -> bool {
        self.state.tasks.is_empty()
    }

    /// The webhooks of the workspace as JSON, with their secrets.
    pub fn webhooks(&self) -> Vec<serde_json::Value> {
        lock(&self.state.registry).list(true)
    }

    /// Disables a webhook as an operator does, or, with `auto`, as ElevenLabs does after failures. Panics if there is no
    /// such webhook.
    pub fn disable_webhook(&self, id: &str, auto: bool, last_error: Option<u16>) {
        let mut registry = lock(&self.state.registry);
        let webhook = registry.find(id).expect("a registered webhook");
        webhook.is_auto_disabled |= auto;
        webhook.is_disabled |= !auto;
        if let Some(status) = last_error {
            webhook.delivered(status);
        }
    }

    /// The latest requests for conversations, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.state.requests).iter().cloned().collect()
    }

    /// Number of requests for `conversation_id` among the latest ones.
    pub fn request_count(&self, conversation_id: &str) -> usize {
        lock(&self.state.requests).iter().filter(|request| request.conversation_id == conversation_id).count()
    }

    /// Stops the server, and waits until its port is free.
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

#[cfg(test)]
mod tests;
