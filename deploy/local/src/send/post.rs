//! Posts webhooks as a sender would: over kept connections, again when the gateway cannot take one.

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

/// Time one webhook may take, all tries together. Where all tries of all webhooks have failed for so long, each is
/// tried once.
const GIVE_UP_AFTER: Duration = Duration::from_mins(1);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Most complaints that are kept of one sender.
const MAX_REFUSED: usize = 5;

/// What became of the webhooks.
#[derive(Debug, Default)]
pub struct Posted {
    /// Answered 200.
    pub accepted: usize,
    /// Of those, known to the broker already.
    pub duplicates: usize,
    /// Tries that had to be repeated.
    pub retries: usize,
    /// Complaints about webhooks that were never accepted; only the first few.
    pub refused: Vec<String>,
    /// From the first post to the last answer.
    pub elapsed: Duration,
    /// Time to the answer of each accepted webhook, all tries together, sorted.
    pub latencies: Vec<Duration>,
}

#[derive(Deserialize)]
struct Accepted {
    duplicate: bool,
}

/// What all senders share.
struct Work {
    client: Client,
    url: String,
    posts: Vec<Bytes>,
    next: AtomicUsize,
    rate: Option<f64>,
    begin: tokio::time::Instant,
    /// Since when every try of every webhook has failed.
    failing_since: Mutex<Option<Instant>>,
    bar: ProgressBar,
}

/// Posts everything by `connections` senders, at most `rate` webhooks a second.
pub async fn all(
    url: &str,
    posts: Vec<Bytes>,
    connections: u16,
    rate: Option<f64>,
    bar: &ProgressBar,
) -> anyhow::Result<Posted> {
    let work = Arc::new(Work {
        client: http_client(REQUEST_TIMEOUT)?,
        url: url.to_owned(),
        posts,
        next: AtomicUsize::new(0),
        rate,
        begin: tokio::time::Instant::now(),
        failing_since: Mutex::default(),
        bar: bar.clone(),
    });
    let mut senders: JoinSet<Posted> = (0..connections).map(|_| send(work.clone())).collect();
    let mut total = Posted::default();
    while let Some(posted) = senders.join_next().await {
        let posted = posted.context("a sender failed")?;
        total.accepted += posted.accepted;
        total.duplicates += posted.duplicates;
        total.retries += posted.retries;
        total.refused.extend(posted.refused);
        total.latencies.extend(posted.latencies);
    }
    total.elapsed = work.begin.elapsed();
    total.latencies.sort_unstable();
    Ok(total)
}

async fn send(work: Arc<Work>) -> Posted {
    let mut posted = Posted::default();
    while let Some((n, body)) = work.take() {
        if let Some(rate) = work.rate {
            #[expect(clippy::cast_precision_loss, reason = "a count, small")]
            let due = Duration::from_secs_f64(n as f64 / rate);
            tokio::time::sleep_until(work.begin + due).await;
        }
        let begin = Instant::now();
        match work.post(body, &mut posted.retries).await {
            Ok(accepted) => {
                posted.accepted += 1;
                posted.duplicates += usize::from(accepted.duplicate);
                posted.latencies.push(begin.elapsed());
            }
            Err(complaint) if posted.refused.len() < MAX_REFUSED => posted.refused.push(complaint),
            Err(_) => {}
        }
        work.bar.inc(1);
    }
    posted
}

impl Work {
    fn take(&self) -> Option<(usize, Bytes)> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        self.posts.get(n).map(|body| (n, body.clone()))
    }

    /// Posts one webhook until it is accepted, refused for good, or took too long.
    async fn post(&self, body: Bytes, retries: &mut usize) -> Result<Accepted, String> {
        let (begin, mut pause) = (Instant::now(), FIRST_PAUSE);
        loop {
            let complaint = match self.try_post(body.clone()).await {
                Ok(accepted) => {
                    *self.failing_since() = None;
                    return Ok(accepted);
                }
                Err((complaint, true)) => return Err(complaint),
                Err((complaint, false)) => complaint,
            };
            let failing_since = *self.failing_since().get_or_insert_with(Instant::now);
            if failing_since.min(begin).elapsed() > GIVE_UP_AFTER {
                return Err(complaint);
            }
            self.bar.set_message(format!("retry: {}", complaint.chars().take(40).collect::<String>()));
            *retries += 1;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn failing_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.failing_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One try. An error is a complaint, and whether another try would be in vain.
    async fn try_post(&self, body: Bytes) -> Result<Accepted, (String, bool)> {
        let request = self.client.post(&self.url).header(CONTENT_TYPE, "application/json").body(body);
        let again = |error: reqwest::Error| (format!("no answer: {}", root_cause(&error)), false);
        let reply = request.send().await.map_err(again)?;
        let status = reply.status();
        let text = reply.text().await.map_err(again)?;
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
    async fn a_gateway_that_was_silent_for_long_is_tried_once_for_each_webhook() {
        let work = Work {
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
        let posting = work.post(Bytes::from_static(b"{}"), &mut retries);
        let posted = tokio::time::timeout(Duration::from_secs(10), posting).await.unwrap();
        assert!(posted.is_err_and(|complaint| complaint.starts_with("no answer")));
        assert_eq!(retries, 0);
    }
}
