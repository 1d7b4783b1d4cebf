//! Times of the lists of the reading API: every filter alone, and every pair of filters.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures_util::future::try_join_all;

use super::{pages::Timed, setup::ConsoleSetup};

/// Number of requests for each list.
const ROUNDS: usize = 20;
/// Readers at the same time, and requests of each.
const READERS: usize = 100;
const REQUESTS: usize = 10;

/// The filters: frequent, rare and absent values.
const FILTERS: [&str; 22] = [
    "status=ended",
    "status=unreachable",
    "status=canceled",
    "outcome=answered",
    "outcome=rejected",
    "direction=inbound",
    "direction=outbound",
    "agentId=agent_1",
    "agentId=agent_39",
    "agentId=nobody",
    "batchCallId=batch_7",
    "batchCallId=none",
    "campaignId=campaign_7",
    "toNumber=%2B12000000007",
    "toNumber=%2B19999999999",
    "fromNumber=%2B18005550003",
    "failureReason=Recipient+was+busy",
    "failureReason=trunk+7+refused+the+call",
    "metadata.team=team+3",
    "metadata.team=nobody",
    "since=2001-01-01T00:00:00Z",
    "until=2001-01-01T00:00:00Z",
];

/// Measures the lists. Returns the times of all requests, and of the list that took longest.
pub async fn lists(setup: &ConsoleSetup) -> anyhow::Result<[Timed; 3]> {
    let singles = FILTERS.iter().map(|filter| (*filter).to_owned());
    let pairs = FILTERS.iter().enumerate().flat_map(|(n, a)| FILTERS[..n].iter().map(move |b| (a, b)));
    let name = |filter: &str| filter.split_once('=').map(|(name, _)| name.to_owned());
    let pairs = pairs.filter(|(a, b)| name(a) != name(b)).map(|(a, b)| format!("{a}&{b}"));
    let (mut all, mut slowest) = (Vec::new(), Timed { name: String::new(), times: Vec::new() });
    for query in singles.chain(pairs).chain([String::new()]) {
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            times.push(ask(setup, &query).await?);
        }
        all.extend_from_slice(&times);
        times.sort_unstable();
        let one = Timed { name: format!("the slowest list: {query}"), times };
        if one.percentile(95) > slowest.percentile(95) {
            slowest = one;
        }
    }
    all.sort_unstable();
    let all = Timed { name: "a list, by any filter and by any two".to_owned(), times: all };
    Ok([all, slowest, together(setup).await?])
}

/// Measures the requests of many readers at once.
async fn together(setup: &ConsoleSetup) -> anyhow::Result<Timed> {
    let reader = async |n: usize| {
        let mut times = Vec::with_capacity(REQUESTS);
        for k in 0..REQUESTS {
            times.push(ask(setup, FILTERS[(n + k) % FILTERS.len()]).await?);
        }
        anyhow::Ok(times)
    };
    let times = try_join_all((0..READERS).map(reader)).await?;
    let mut times: Vec<_> = times.into_iter().flatten().collect();
    times.sort_unstable();
    Ok(Timed { name: format!("a list, with {READERS} readers at once"), times })
}

async fn ask(setup: &ConsoleSetup, query: &str) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let answer = setup.http.get(format!("{}?{query}", setup.lists)).send().await?;
    let status = answer.status();
    let page = answer.text().await?;
    ensure!(status.is_success(), "{query} was answered {status}: {page}");
    Ok(begun.elapsed())
}
