//! Client of the ElevenLabs API: one request at a time per caller, every answer classed once.

mod answer;
mod conversations;
mod gate;
mod outbound;
pub mod webhook_plan;
mod webhooks;

use std::time::{Duration, Instant};

use aftercall_common::process::config::Secret;
use anyhow::Context as _;
use jiff::Timestamp;
use reqwest::{
    Client, Method, RequestBuilder,
    header::{self, HeaderValue},
    redirect,
};

pub use self::{
    answer::{ApiError, Conversation, Metadata},
    conversations::{Page, Summary},
    gate::Gate,
    outbound::{Accepted, Carrier, OutboundError, Refused},
    webhooks::{NewWebhook, Scope, Webhook},
};
pub use crate::domain::conversation::ConversationStatus;
use crate::{
    config::{BaseUrl, Config},
    domain::event::ConversationId,
    metrics::Metrics,
    retry::Pauses,
};

/// The vendor's header for the key.
const KEY_HEADER: &str = "xi-api-key";
const CONNECT: Duration = Duration::from_secs(5);
/// Longest one request may take, its body included.
const REQUEST: Duration = Duration::from_secs(10);
/// Largest conversation taken: MongoDB documents end at 16 MiB, and BSON is a little larger than JSON.
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
/// The request that tells whether the key is refused.
const NEUTRAL: &str = "/v1/convai/conversations?page_size=1";
const NEUTRAL_TIME: Duration = Duration::from_secs(5);
/// Quick tries within one call, for a network that hiccups.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MOST: Duration = Duration::from_secs(1);
const RETRY_TOTAL: Duration = Duration::from_secs(3);

/// The API with its key.
#[derive(Clone, Debug)]
pub struct ElevenLabs {
    http: Client,
    base: BaseUrl,
    key: HeaderValue,
    /// Closed for everybody while the vendor asks for quiet or refuses the key.
    pub gate: Gate,
    metrics: Metrics,
}

impl ElevenLabs {
    /// The API as configured; `None` without a key.
    pub fn new(config: &Config, metrics: Metrics) -> anyhow::Result<Option<Self>> {
        let Some(key) = &config.elevenlabs_api_key else { return Ok(None) };
        let mut key = key_header(key).context("ELEVENLABS_API_KEY cannot be sent in a header")?;
        key.set_sensitive(true); // Prints as such.
        let http = Client::builder()
            .connect_timeout(CONNECT)
            .timeout(REQUEST)
            // The key must not follow a redirect to another host.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("aftercall-worker/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("setting up the HTTP client")?;
        Ok(Some(Self { http, base: config.elevenlabs_base_url.clone(), key, gate: Gate::default(), metrics }))
    }

    /// Fetches one conversation (`GET /v1/convai/conversations/{id}`).
    ///
    /// Asks again for a few seconds where the network or the server fails, and closes the
    /// [`Gate`] where the answer concerns every request.
    pub async fn conversation(&self, id: &ConversationId) -> Result<Conversation, ApiError> {
        let path = format!("/v1/convai/conversations/{}", id.as_str());
        self.persist(self.request(Method::GET, &path), answer::read).await
    }

    /// Sends `request` again for a few seconds where the network or the server fails, and closes the
    /// [`Gate`] where the answer concerns every request. Only for what may be asked twice.
    async fn persist<T>(
        &self,
        request: RequestBuilder,
        read: fn(&[u8]) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let mut pauses = Pauses::within(RETRY_FIRST, RETRY_MOST, RETRY_TOTAL);
        loop {
            let copy = request.try_clone().expect("no body of ours is a stream");
            let started = Instant::now();
            let answer = self.send(copy, MAX_BODY_BYTES).await.and_then(|body| read(&body));
            self.metrics.api_time(started.elapsed());
            let answer = match answer {
                Err(error) => Err(self.judge(error).await),
                answer => answer,
            };
            self.metrics.api_answer(answer.as_ref().map_or_else(ApiError::label, |_| "ok"));
            match answer {
                // An answer that is not understood may have broken off.
                Err(error @ (ApiError::Unavailable(_) | ApiError::Unreadable)) => match pauses.pause() {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(error),
                },
                Err(error) => {
                    self.gate.heed(&error, Timestamp::now());
                    return Err(error);
                }
                Ok(answer) => return Ok(answer),
            }
        }
    }

    /// Tells a key that is refused from a single thing that is refused to it, by a neutral request: listing
    /// conversations, which every key may do that reads any.
    ///
    /// The first stays [`ApiError::Unauthorized`] and concerns everybody; the second is
    /// [`ApiError::Refused`] and concerns that one conversation, order or setting.
    async fn judge(&self, error: ApiError) -> ApiError {
        let ApiError::Unauthorized(status) = error else { return error };
        let answer =
            self.send(self.request(Method::GET, NEUTRAL).timeout(NEUTRAL_TIME), MAX_BODY_BYTES).await;
        match answer {
            Err(error @ (ApiError::Unauthorized(_) | ApiError::RateLimited { .. })) => error,
            Err(ApiError::Unavailable(_)) => {
                ApiError::Unavailable("refused, for a reason that cannot be learned")
            }
            // Whatever the answer says, the key was taken.
            Ok(_)
            | Err(ApiError::NotFound | ApiError::Refused(_) | ApiError::TooLarge | ApiError::Unreadable) => {
                tracing::warn!(status = status.as_u16(), "ElevenLabs refuses one request, not the API key");
                ApiError::Refused(status)
            }
        }
    }

    /// A request to `path` (which begins with a slash) with the key.
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base.as_str()))
            .header(KEY_HEADER, self.key.clone())
    }

    /// Sends once; the body of a success, of at most `limit` bytes.
    async fn send(&self, request: RequestBuilder, limit: usize) -> Result<Vec<u8>, ApiError> {
        let mut response = request.send().await.map_err(|error| unavailable(&error))?;
        let status = response.status();
        if !status.is_success() {
            let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok());
            return Err(answer::classify(status, retry_after, Timestamp::now()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unavailable(&error))? {
            if body.len() + chunk.len() > limit {
                return Err(ApiError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// The key as it is sent. A key from a file often ends in a line feed, which is not part of it.
pub(crate) fn key_header(key: &Secret) -> Result<HeaderValue, header::InvalidHeaderValue> {
    HeaderValue::from_str(key.expose().trim())
}

/// The kind of a network failure. Its full text holds the URL and with it a conversation id, which
/// the caller logs as a field of its own.
fn unavailable(error: &reqwest::Error) -> ApiError {
    ApiError::Unavailable(if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "cannot connect"
    } else {
        "connection lost"
    })
}
