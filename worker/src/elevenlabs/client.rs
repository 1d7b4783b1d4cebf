//! The HTTP client of the API.

use std::time::Duration;

use aftercall_common::http::ProgressDeadline;
use anyhow::Context as _;
use bytes::Bytes;
use jiff::Timestamp;
use reqwest::{
    Client, Method, RequestBuilder,
    header::{self, HeaderValue},
    redirect,
};
use tokio::time::{Instant, timeout_at};

use super::{ApiError, Conversation, Gate, answer, error::classify};
use crate::{
    config::{BaseUrl, Config, key_header},
    domain::event::ConversationId,
    metrics::Metrics,
    retry::Pauses,
};

/// The header that carries the key.
const KEY_HEADER: &str = "xi-api-key";
/// Longest time for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for one request, and longest pause in the body of its answer. A large body may take longer: see
/// [`ProgressDeadline`].
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read. A MongoDB document has at most 16 MiB, and BSON is a little larger than JSON.
pub(super) const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
/// The request that shows whether the key is accepted. Each key that may read conversations may send it.
const KEY_CHECK_PATH: &str = "/v1/convai/conversations?page_size=1";
/// Longest time for the request that checks the key.
const KEY_CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// First and longest pause between two attempts of one request.
const RETRY_DELAY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));
/// Longest time for all attempts of one request.
const RETRY_TIMEOUT: Duration = Duration::from_secs(3);

/// The client with its key. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ElevenLabs {
    http: Client,
    base: BaseUrl,
    key: HeaderValue,
    /// The gate of all requests.
    pub gate: Gate,
    pub(super) metrics: Metrics,
}

impl ElevenLabs {
    /// A client with the URL and the key of `config`. `None` without a key.
    ///
    /// # Errors
    /// The key cannot be sent in a header, or the HTTP client cannot be set up.
    pub fn new(config: &Config, metrics: Metrics) -> anyhow::Result<Option<Self>> {
        let Some(key) = &config.elevenlabs_api_key else { return Ok(None) };
        let mut key = key_header(key).context("ELEVENLABS_API_KEY cannot be sent in a header")?;
        key.set_sensitive(true); // So that debug output does not contain the key.
        let http = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // The key must not follow a redirect to another host.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("aftercall-worker/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("setting up the HTTP client")?;
        Ok(Some(Self { http, base: config.elevenlabs_base_url.clone(), key, gate: Gate::default(), metrics }))
    }

    /// Fetches one conversation (`GET /v1/convai/conversations/{id}`).
    ///
    /// Repeats the request for a few seconds while the network or the server fails, and closes the [`Gate`]
    /// if the answer concerns every request.
    pub async fn conversation(&self, id: &ConversationId) -> Result<Conversation, ApiError> {
        let path = format!("/v1/convai/conversations/{}", id.as_str());
        self.send_with_retries(self.request(Method::GET, &path), answer::read).await
    }

    /// Sends `request`. Repeats it for a few seconds while the network or the server fails, and closes the
    /// [`Gate`] if the answer concerns every request. Only for requests that may be repeated.
    pub(super) async fn send_with_retries<T>(
        &self,
        request: RequestBuilder,
        read: fn(&[u8]) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        self.fetch_with_retries(request, MAX_BODY_BYTES, read).await
    }

    /// Like [`Self::send_with_retries`], for an answer of at most `limit` bytes.
    pub(super) async fn fetch_with_retries<T>(
        &self,
        request: RequestBuilder,
        limit: usize,
        read: fn(&[u8]) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let mut pauses = Pauses::within(RETRY_DELAY.0, RETRY_DELAY.1, RETRY_TIMEOUT);
        loop {
            let copy = request.try_clone().expect("the body of a request is never a stream");
            let started = Instant::now();
            let answer = self.send(copy, limit).await.and_then(|body| read(&body));
            self.metrics.api_time(started.elapsed());
            match self.concluded(answer).await {
                // An answer that cannot be read may have ended early.
                Err(error @ (ApiError::Unavailable(_) | ApiError::Unreadable)) => match pauses.pause() {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(error),
                },
                answer => return answer,
            }
        }
    }

    /// Finds out whether an error concerns every request, counts the answer, and closes the [`Gate`] if necessary.
    pub(super) async fn concluded<T>(&self, answer: Result<T, ApiError>) -> Result<T, ApiError> {
        let answer = match answer {
            Err(error) => Err(self.check_key(error).await),
            answer => answer,
        };
        self.metrics.api_answer(answer.as_ref().map_or_else(ApiError::label, |_| "ok"));
        if let Err(error) = &answer {
            self.gate.close_after(error);
        }
        answer
    }

    /// After [`ApiError::Unauthorized`], checks the key by a neutral request: listing conversations.
    ///
    /// If the key is refused as well, the error stays [`ApiError::Unauthorized`], which concerns every
    /// request. If the key is accepted, the error is [`ApiError::Refused`], which concerns this one
    /// conversation, call or setting.
    pub(super) async fn check_key(&self, error: ApiError) -> ApiError {
        let ApiError::Unauthorized(status) = error else { return error };
        let answer = self
            .send(self.request(Method::GET, KEY_CHECK_PATH).timeout(KEY_CHECK_TIMEOUT), MAX_BODY_BYTES)
            .await;
        match answer {
            Err(error @ (ApiError::Unauthorized(_) | ApiError::RateLimited { .. })) => error,
            Err(ApiError::Unavailable(_)) => {
                ApiError::Unavailable("it refuses the request, and the key could not be checked")
            }
            // Each of these answers shows that the key is accepted.
            Ok(_)
            | Err(ApiError::NotFound | ApiError::Refused(_) | ApiError::TooLarge | ApiError::Unreadable) => {
                tracing::warn!(status = status.as_u16(), "ElevenLabs refuses one request, not the API key");
                ApiError::Refused(status)
            }
        }
    }

    /// A request with the key to `path`, which begins with a slash.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base.as_str()))
            .header(KEY_HEADER, self.key.clone())
    }

    /// Sends `request` once. Returns the body of a successful answer, of at most `limit` bytes.
    pub(super) async fn send(&self, request: RequestBuilder, limit: usize) -> Result<Vec<u8>, ApiError> {
        let mut answer = self.open(request).await?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > limit {
                return Err(ApiError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Sends `request` once, and waits for the head of its answer. Only a successful answer is returned.
    pub(super) async fn open(&self, request: RequestBuilder) -> Result<AnswerBody, ApiError> {
        let deadline = ProgressDeadline::new(REQUEST_TIMEOUT, Instant::now());
        let response = timeout_at(deadline.end(), request.send()).await.map_err(|_elapsed| LATE)?;
        let response = response.map_err(|error| unavailable(&error))?;
        let status = response.status();
        if !status.is_success() {
            let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok());
            return Err(classify(status, retry_after, Timestamp::now()));
        }
        Ok(AnswerBody { response, deadline })
    }
}

/// The body of an answer. Its deadline follows its progress.
#[derive(Debug)]
pub(super) struct AnswerBody {
    response: reqwest::Response,
    deadline: ProgressDeadline,
}

impl AnswerBody {
    /// The next bytes. `None` at the end of the body.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        let chunk = timeout_at(self.deadline.end(), self.response.chunk()).await.map_err(|_elapsed| LATE)?;
        let chunk = chunk.map_err(|error| unavailable(&error))?;
        self.deadline.receive(chunk.as_ref().map_or(0, Bytes::len), Instant::now());
        Ok(chunk)
    }
}

/// No answer, or no more of it, within the time.
const LATE: ApiError = ApiError::Unavailable("no answer in time");

/// The error of a network failure. It does not contain the client's own text, because that holds the URL and
/// with it a conversation id.
fn unavailable(error: &reqwest::Error) -> ApiError {
    if error.is_timeout() {
        LATE
    } else if error.is_connect() {
        ApiError::Unavailable("cannot connect")
    } else {
        ApiError::Unavailable("connection lost")
    }
}
