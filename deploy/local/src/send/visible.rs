//! Measures the time from a webhook to its document, one webhook at a time.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mongodb::{
    Collection,
    bson::{Document, doc},
};
use serde_json::json;

/// Longest wait for one document.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two reads of the database, which is the precision of the measurement.
const POLL_INTERVAL: Duration = Duration::from_micros(200);

/// Measured times, sorted.
pub struct Times {
    /// Time from the post to the 200.
    pub answered: Vec<Duration>,
    /// Time from the post to the document.
    pub visible: Vec<Duration>,
}

/// Posts `count` webhooks one after the other.
pub async fn measure(
    url: &str,
    calls: &Collection<Document>,
    run: &str,
    count: u32,
) -> anyhow::Result<Times> {
    let http = crate::http_client(TIMEOUT)?;
    let mut times = Times { answered: Vec::new(), visible: Vec::new() };
    for n in 0..count {
        let id = format!("visible_{run}_{n}");
        let body = json!({ "event_type": "call.ringing", "call_id": id }).to_string();
        let begin = Instant::now();
        let answer = http.post(url).header("content-type", "application/json").body(body).send().await?;
        ensure!(answer.status() == 200, "the gateway answered {}", answer.status());
        times.answered.push(begin.elapsed());
        while calls.find_one(doc! { "callId": &id }).await.context("cannot read the document back")?.is_none()
        {
            ensure!(begin.elapsed() < TIMEOUT, "no document for {id} within {TIMEOUT:?}");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        times.visible.push(begin.elapsed());
    }
    times.answered.sort_unstable();
    times.visible.sort_unstable();
    Ok(times)
}
