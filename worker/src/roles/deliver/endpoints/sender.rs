//! Sends one request to an endpoint.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use jiff::Timestamp;
use reqwest::{Client, redirect};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::{answer, request, resolver::Resolver};
use crate::{
    broker::outgoing::OutgoingMessage,
    domain::{
        delivery::{Attempt, Endpoint, Outcome, PrivateNetworks, SendError},
        time::rfc3339,
    },
};

/// Longest time for resolving the name and connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for a request and its answer. A large body gets [`TIME_PER_MIB`] more for each mebibyte.
const TIMEOUT: Duration = Duration::from_secs(15);
const TIME_PER_MIB: Duration = Duration::from_secs(1);
/// Unused connections that are kept for each host.
const IDLE_CONNECTIONS: usize = 16;

/// The HTTP client for endpoints. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sender {
    http: Client,
    networks: PrivateNetworks,
}

impl Sender {
    /// A client that connects only to `networks`. It uses no proxy, because a proxy would resolve names itself.
    ///
    /// # Errors
    /// The client cannot be set up.
    pub fn new(networks: PrivateNetworks) -> anyhow::Result<Self> {
        let http = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(Resolver(networks)))
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .user_agent(concat!("aftercall-worker/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("setting up the HTTP client of endpoints")?;
        Ok(Self { http, networks })
    }

    /// Posts an event of the type `test.ping` to `endpoint`, once and whatever its state.
    pub async fn send_test(&self, endpoint: &Endpoint) -> (Attempt, Outcome) {
        let id = format!("test_{:032x}", rand::random::<u128>());
        let now = rfc3339(Timestamp::now());
        let data = json!({ "endpointId": endpoint.id.as_str() });
        let body = Bytes::from(json!({ "type": "test.ping", "timestamp": now, "data": data }).to_string());
        self.post(endpoint, &OutgoingMessage::test(endpoint.kind, id, body.clone()), body).await
    }

    /// Posts `message` with its `body` to `endpoint`, once.
    pub async fn post(
        &self,
        endpoint: &Endpoint,
        message: &OutgoingMessage,
        body: Bytes,
    ) -> (Attempt, Outcome) {
        let (at, started) = (Timestamp::now(), Instant::now());
        let mebibytes = u32::try_from(body.len() / (1024 * 1024)).unwrap_or(u32::MAX);
        let deadline = started + TIMEOUT + TIME_PER_MIB * mebibytes;
        let mut attempt = Attempt { at, duration: Duration::ZERO, status: None, answer: None, error: None };
        let answered = self.send(endpoint, message, body, at, deadline).await;
        attempt.duration = started.elapsed();
        match answered {
            Ok(response) => {
                let outcome = answer::outcome(&response, Timestamp::now());
                attempt.status = Some(response.status().as_u16());
                attempt.answer = answer::excerpt(response, deadline).await;
                (attempt, outcome)
            }
            Err(error) => {
                attempt.error = Some(error.label().to_owned());
                (attempt, Outcome::Failed(error))
            }
        }
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        message: &OutgoingMessage,
        body: Bytes,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<reqwest::Response, SendError> {
        endpoint.url.check(self.networks).map_err(|_error| SendError::PrivateAddress)?;
        let headers = request::headers(endpoint, message, &body, now)?;
        let request = self.http.post(endpoint.url.url()).headers(headers).body(body);
        let sent = timeout_at(deadline, request.send()).await.map_err(|_elapsed| SendError::TimedOut)?;
        sent.map_err(|error| answer::classify(&error))
    }
}
