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

/// Longest time for one webhook, all attempts together. Once all attempts of all webhooks have failed for
/// this long, each webhook gets one attempt.
const GIVE_UP_AFTER: Duration = Duration::from_mins(1);
const MIN_RETRY_DELAY: Duration = Duration::from_millis(50);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Number of errors that each sender keeps.
const MAX_ERRORS: usize = 5;

/// Result of posting all webhooks.
#[derive(Debug, Default)]
pub struct Posted {
    /// Webhooks answered with 200.
    pub accepted: usize,
    /// Accepted webhooks that the broker knew already.
    pub duplicates: usize,
    /// Attempts after the first.
    pub retries: usize,
    /// The first errors of webhooks that were never accepted.
    pub refused: Vec<String>,
    /// Time from the first post to the last answer.
    pub elapsed: Duration,
    /// Time to the answer of each accepted webhook, all attempts together, sorted.
    pub latencies: Vec<Duration>,
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
    /// Start of the interval in which every attempt of every webhook has failed.
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
        total.refused.extend(posted.refused);
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
            Err(error) if posted.refused.len() < MAX_ERRORS => posted.refused.push(error),
            Err(_) => {}
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

    /// Posts one webhook until the gateway accepts it, refuses it for good, or too much time has passed.
    async fn post(&self, body: Bytes, retries: &mut usize) -> Result<Accepted, String> {
        let (begin, mut pause) = (Instant::now(), MIN_RETRY_DELAY);
        loop {
            let error = match self.try_post(body.clone()).await {
                Ok(accepted) => {
                    *self.failing_since() = None;
                    return Ok(accepted);
                }
                Err((error, true)) => return Err(error),
                Err((error, false)) => error,
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

    /// Makes one attempt. The error holds a text, and whether it is final.
    async fn try_post(&self, body: Bytes) -> Result<Accepted, (String, bool)> {
        let request = self.client.post(&self.url).header(CONTENT_TYPE, "application/json").body(body);
        let retryable = |error: reqwest::Error| (format!("no answer: {}", root_cause(&error)), false);
        let reply = request.send().await.map_err(retryable)?;
        let status = reply.status();
        let text = reply.text().await.map_err(retryable)?;
        if status == StatusCode::OK {
            return serde_json::from_str(&text).map_err(|_| (format!("answered 200 {text}"), true));
        }
        let is_final = status.is_client_error() && !matches!(status.as_u16(), 408 | 429);
        Err((format!("answered {status}: {}", text.trim()), is_final))
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
