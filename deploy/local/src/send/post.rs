//! Posts webhooks over keep-alive connections, and posts a webhook again if the gateway does not accept it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::Bytes;
use indicatif::ProgressBar;
use reqwest::{Client, StatusCode, header::CONTENT_TYPE};
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::client::http_client;

/// Text of the progress bar while webhooks are accepted.
pub const POSTING: &str = "posting";

/// Time after which a webhook is not tried again. If no webhook was accepted for this time, each further webhook gets one
/// attempt only.
const GIVE_UP_AFTER: Duration = Duration::from_mins(1);
const MIN_RETRY_DELAY: Duration = Duration::from_millis(50);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Number of errors that each sender keeps.
const MAX_ERRORS: usize = 5;
/// Longest part of an answer that an error shows, in characters.
const MAX_SHOWN: usize = 200;

/// Result of posting all webhooks.
#[derive(Debug, Default)]
pub struct Posted {
    /// Webhooks answered with 200.
    pub accepted: usize,
    /// Accepted webhooks that the broker knew already.
    pub duplicates: usize,
    /// Attempts after the first.
    pub retries: usize,
    /// Webhooks that were never accepted.
    pub rejected: usize,
    /// The first errors of these webhooks.
    pub errors: Vec<String>,
    /// Time from the first post to the last answer.
    pub elapsed: Duration,
    /// Time to the answer of each accepted webhook, all attempts together, sorted.
    pub latencies: Vec<Duration>,
}

/// Why an attempt failed.
enum PostError {
    /// Another attempt would get the same answer.
    Final(String),
    /// Another attempt may succeed.
    Temporary(String),
}

#[derive(Deserialize)]
struct Accepted {
    duplicate: bool,
}

/// State that all senders share.
struct Shared {
    client: Client,
    url: String,
    posts: Vec<Bytes>,
    next: AtomicUsize,
    rate: Option<f64>,
    begin: tokio::time::Instant,
    /// Time of the first failed attempt since a webhook was last accepted. `None`: no attempt has failed since.
    failing_since: Mutex<Option<Instant>>,
    bar: ProgressBar,
}

/// Posts all webhooks over `connections` connections, at most `rate` webhooks per second.
pub async fn all(
    url: &str,
    posts: Vec<Bytes>,
    connections: u16,
    rate: Option<f64>,
    bar: &ProgressBar,
) -> anyhow::Result<Posted> {
    let shared = Arc::new(Shared {
        client: http_client(REQUEST_TIMEOUT)?,
        url: url.to_owned(),
        posts,
        next: AtomicUsize::new(0),
        rate,
        begin: tokio::time::Instant::now(),
        failing_since: Mutex::default(),
        bar: bar.clone(),
    });
    let mut senders: JoinSet<Posted> = (0..connections).map(|_| send(shared.clone())).collect();
    let mut total = Posted::default();
    while let Some(posted) = senders.join_next().await {
        let posted = posted.context("a sender failed")?;
        total.accepted += posted.accepted;
        total.duplicates += posted.duplicates;
        total.retries += posted.retries;
        total.rejected += posted.rejected;
        total.errors.extend(posted.errors);
        total.latencies.extend(posted.latencies);
    }
    total.elapsed = shared.begin.elapsed();
    total.latencies.sort_unstable();
    Ok(total)
}

async fn send(shared: Arc<Shared>) -> Posted {
    let mut posted = Posted::default();
    while let Some((n, body)) = shared.take() {
        if let Some(rate) = shared.rate {
            #[expect(clippy::cast_precision_loss, reason = "a count, small")]
            let due = Duration::from_secs_f64(n as f64 / rate);
            tokio::time::sleep_until(shared.begin + due).await;
        }
        let begin = Instant::now();
        match shared.post(body, &mut posted.retries).await {
            Ok(accepted) => {
                posted.accepted += 1;
                posted.duplicates += usize::from(accepted.duplicate);
                posted.latencies.push(begin.elapsed());
            }
            Err(error) => {
                posted.rejected += 1;
                if posted.errors.len() < MAX_ERRORS {
                    posted.errors.push(error);
                }
            }
        }
        shared.bar.inc(1);
    }
    posted
}

impl Shared {
    fn take(&self) -> Option<(usize, Bytes)> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        self.posts.get(n).map(|body| (n, body.clone()))
    }

    /// Posts one webhook until the gateway accepts it or answers with a final error, or until [`GIVE_UP_AFTER`] has passed.
    async fn post(&self, body: Bytes, retries: &mut usize) -> Result<Accepted, String> {
        let (begin, mut pause) = (Instant::now(), MIN_RETRY_DELAY);
        loop {
            let error = match self.try_post(body.clone()).await {
                Ok(accepted) => {
                    if self.failing_since().take().is_some() {
                        self.bar.set_message(POSTING);
                    }
                    return Ok(accepted);
                }
                Err(PostError::Final(error)) => return Err(error),
                Err(PostError::Temporary(error)) => error,
            };
            let failing_since = *self.failing_since().get_or_insert_with(Instant::now);
            if failing_since.min(begin).elapsed() > GIVE_UP_AFTER {
                return Err(error);
            }
            self.bar.set_message(format!("retry: {}", error.chars().take(40).collect::<String>()));
            *retries += 1;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_RETRY_DELAY);
        }
    }

    fn failing_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.failing_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one attempt.
    async fn try_post(&self, body: Bytes) -> Result<Accepted, PostError> {
        let request = self.client.post(&self.url).header(CONTENT_TYPE, "application/json").body(body);
        let no_answer =
            |error: reqwest::Error| PostError::Temporary(format!("no answer: {}", root_cause(&error)));
        let reply = request.send().await.map_err(no_answer)?;
        let status = reply.status();
        let text = reply.text().await.map_err(no_answer)?;
        let shown: String = text.trim().chars().take(MAX_SHOWN).collect();
        let error = format!("answered {}: {shown}", status.as_u16());
        if status == StatusCode::OK {
            return serde_json::from_str(&text).map_err(|_| PostError::Final(error));
        }
        let is_final = status.is_client_error() && !matches!(status.as_u16(), 408 | 429);
        Err(if is_final { PostError::Final(error) } else { PostError::Temporary(error) })
    }
}

fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn webhook_gets_one_attempt_after_the_gateway_was_unreachable_for_long() {
        let shared = Shared {
            client: http_client(REQUEST_TIMEOUT).unwrap(),
            url: "http://127.0.0.1:9/never".to_owned(),
            posts: Vec::new(),
            next: AtomicUsize::new(0),
            rate: None,
            begin: tokio::time::Instant::now(),
            failing_since: Mutex::new(Instant::now().checked_sub(GIVE_UP_AFTER * 2)),
            bar: ProgressBar::hidden(),
        };
        let mut retries = 0;
        let posting = shared.post(Bytes::from_static(b"{}"), &mut retries);
        let posted = tokio::time::timeout(Duration::from_secs(10), posting).await.unwrap();
        assert!(posted.is_err_and(|error| error.starts_with("no answer")));
        assert_eq!(retries, 0);
    }
}
