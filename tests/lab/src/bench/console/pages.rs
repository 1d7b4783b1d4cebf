//! Times of the pages of the console.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mongodb::bson::doc;

use super::setup::ConsoleSetup;

/// Number of requests for each page.
const ROUNDS: usize = 40;
/// Longest wait for the counts of the overview.
const OVERVIEW_TIMEOUT: Duration = Duration::from_mins(10);
/// Number of pages that are visited by following links.
const DEPTH: usize = 60;

/// Times of several requests for one page, sorted.
pub struct Timed {
    pub name: String,
    pub times: Vec<Duration>,
}

impl Timed {
    /// The time within which this percentage of the requests was answered.
    pub fn percentile(&self, percent: usize) -> Duration {
        let n = (self.times.len() * percent / 100).min(self.times.len().saturating_sub(1));
        self.times.get(n).copied().unwrap_or_default()
    }
}

/// Requests a page. Returns the time and the page.
pub async fn ask(setup: &ConsoleSetup, path: &str) -> anyhow::Result<(Duration, String)> {
    let begun = Instant::now();
    let answer = setup.get(path).send().await?;
    let status = answer.status();
    let page = answer.text().await?;
    ensure!(status.is_success(), "{path} was answered {status}");
    Ok((begun.elapsed(), page))
}

/// Measures all kinds of pages.
pub async fn pages(setup: &ConsoleSetup) -> anyhow::Result<Vec<Timed>> {
    let last = setup.calls.find_one(doc! {}).sort(doc! { "createdAt": 1 }).await?.context("no calls")?;
    let (at, id) = (last.get_datetime("createdAt")?.timestamp_millis(), last.get_object_id("_id")?);
    let middle = at + 15 * 24 * 3600 * 1000;
    let call = last.get_str("callId")?.to_owned();
    let conversation = last.get_str("conversationId")?.to_owned();
    let number = last.get_str("toNumber")?.replace('+', "%2B");
    let paths = [
        ("the first page", "/calls".to_owned()),
        ("a page in the middle", format!("/calls?older={middle}.{id}")),
        ("the last page", format!("/calls?newer={at}.{id}")),
        ("a call id", format!("/calls?q={call}")),
        ("a conversation id", format!("/calls?q={conversation}")),
        ("the beginning of many ids", "/calls?q=CA".to_owned()),
        ("a number", format!("/calls?q={number}")),
        ("a number and a status", format!("/calls?q={number}&status=busy")),
        ("a frequent status", "/calls?status=ended".to_owned()),
        ("a rare status", "/calls?status=unreachable".to_owned()),
        ("a status without calls", "/calls?status=canceled".to_owned()),
        (
            "six statuses",
            "/calls?status=initiation_failed%2Cbusy%2Cno_answer%2Cfailed%2Cunreachable%2Crejected".to_owned(),
        ),
        ("a frequent reason", "/calls?reason=Recipient+was+busy".to_owned()),
        ("a part of many reasons", "/calls?reason=trunk".to_owned()),
        (
            "a reason and a status without common calls",
            "/calls?status=no_answer&reason=Recipient+was+busy".to_owned(),
        ),
        ("two outcomes", "/calls?outcome=answered%2Cvoicemail".to_owned()),
        ("stuck calls", "/calls?outcome=stuck".to_owned()),
        (
            "an agent, a direction and an outcome",
            "/calls?outcome=busy&agent=agent_7&direction=inbound".to_owned(),
        ),
        ("a batch and an agent", "/calls?agent=agent_7&batch=btcal_17".to_owned()),
        ("an evaluation, which no index serves", "/calls?evaluation=failure".to_owned()),
        ("a duration, which no index serves", "/calls?duration=300-".to_owned()),
        ("a duration of a batch", "/calls?batch=btcal_17&duration=10-60".to_owned()),
        ("a batch, counted in the background", "/batches/btcal_17".to_owned()),
        ("a period", "/calls?period=24h".to_owned()),
        ("a status in a period", "/calls?status=busy&period=7d".to_owned()),
        ("a reason and a status in a period", "/calls?status=busy&reason=busy&period=7d".to_owned()),
        ("one call", format!("/calls/{call}")),
        ("the overview, counted before", "/overview?window=24h".to_owned()),
    ];
    let mut all = Vec::new();
    for (name, path) in paths {
        if path.starts_with("/overview") {
            all.push(counting(setup, &path).await?);
        }
        // The first request counts, too, although the database may have to load its pages.
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            times.push(ask(setup, &path).await?.0);
        }
        times.sort_unstable();
        all.push(Timed { name: name.to_owned(), times });
    }
    all.push(followed(setup).await?);
    Ok(all)
}

/// Measures the time from the first request for the overview until its counts are complete.
async fn counting(setup: &ConsoleSetup, path: &str) -> anyhow::Result<Timed> {
    let begun = Instant::now();
    while !ask(setup, path).await?.1.contains("By outcome") {
        ensure!(begun.elapsed() < OVERVIEW_TIMEOUT, "the overview has no counts after {OVERVIEW_TIMEOUT:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let name = "first count for the overview, in the background".to_owned();
    Ok(Timed { name, times: vec![begun.elapsed()] })
}

/// Follows the links from page to page.
async fn followed(setup: &ConsoleSetup) -> anyhow::Result<Timed> {
    let (mut path, mut times) = ("/calls?status=busy".to_owned(), Vec::new());
    for _ in 0..DEPTH {
        let (time, page) = ask(setup, &path).await?;
        times.push(time);
        let Some((_, rest)) = page.split_once("rel=\"next\" href=\"") else { break };
        path = rest.split('"').next().unwrap_or_default().replace("&#38;", "&").replace("&amp;", "&");
    }
    times.sort_unstable();
    Ok(Timed { name: format!("{} pages, one after the other", times.len()), times })
}

/// Number of bytes that a browser receives for the first page with its assets.
pub async fn transferred(setup: &ConsoleSetup) -> anyhow::Result<u64> {
    let (_, page) = ask(setup, "/calls").await?;
    let links = page.split('"').filter(|part| part.starts_with("/assets/"));
    let mut bytes = 0;
    for path in links.chain(["/calls"]) {
        let request = setup.get(path).header("accept-encoding", "gzip");
        let answer = request.send().await?;
        let headers: usize =
            answer.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        bytes += headers as u64 + answer.bytes().await?.len() as u64;
    }
    Ok(bytes)
}
