//! The checker: reads stream and database back, and compares them with the history. And its table.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Write as _,
    time::{Duration, Instant},
};

use aftercall_common::contract::streams;
use anyhow::Context as _;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use futures_util::StreamExt as _;

use super::{Fault, load::Sent, stack::Stack};
use crate::{disk::Lost, send::check};

/// Documents that are not right get this long without any change before they count as wrong.
const PATIENCE: Duration = Duration::from_mins(1);
/// Most complaints shown.
const SHOWN: usize = 10;

/// What came out.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Webhooks posted, duplicates included.
    pub posted: usize,
    /// Of those, answered 200.
    pub accepted: usize,
    /// Of those, answered so because they were in the spool.
    pub spooled: usize,
    /// Answered 200, and not in the stream: ids.
    pub lost: Vec<String>,
    /// Calls whose document is not what their webhooks say: id and difference.
    pub wrong: Vec<(String, String)>,
    /// Messages stored more than once under one id.
    pub twice: usize,
    /// Messages stored by an atomic batch, and one by one.
    pub batched: (usize, usize),
    /// What power cuts took, which nobody had been told was safe.
    pub toll: Lost,
    /// Messages neither settled nor pending delivery any more.
    pub stuck: usize,
    /// Dead letters, and how many there must be.
    pub dead: (usize, usize),
    /// How long each fault took to be recovered from after it ended.
    pub recoveries: BTreeMap<Fault, Vec<Duration>>,
}

impl Verdict {
    /// Whether nothing was lost, wrong, stuck or buried, and every recovery took `most` at most.
    pub fn is_good(&self, most: Duration) -> bool {
        self.lost.is_empty()
            && self.wrong.is_empty()
            && self.stuck == 0
            && self.dead.0 == self.dead.1
            && self.accepted == self.posted
            && self.recoveries.values().flatten().all(|took| *took <= most)
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut line = |cells: [&str; 5]| {
            let [fault, rows, times, median, worst] = cells;
            writeln!(text, "{fault:<18} {rows:<8} {times:>5} {median:>14} {worst:>14}")
                .expect("a String takes all");
        };
        line(["FAULT", "ROWS", "TIMES", "RECOVERED IN", "AT MOST"]);
        for (fault, took) in &self.recoveries {
            let mut sorted = took.clone();
            sorted.sort_unstable();
            let seconds = |took: Option<&Duration>| {
                took.map_or_else(String::new, |took| format!("{:.1} s", took.as_secs_f64()))
            };
            let (median, worst) = (seconds(sorted.get(sorted.len() / 2)), seconds(sorted.last()));
            line([fault.name(), fault.rows(), &took.len().to_string(), &median, &worst]);
        }
        let (dead, poison) = self.dead;
        writeln!(
            text,
            "\nposted {}, answered 200 {}, lost {}, wrong {}, stored twice {}, stuck {}, dead letters {dead} of {poison}",
            self.posted,
            self.accepted,
            self.lost.len(),
            self.wrong.len(),
            self.twice,
            self.stuck,
        )
        .expect("a String takes all");
        let ((batched, alone), Lost { pages, changes }) = (self.batched, self.toll);
        writeln!(
            text,
            "by the spool {}, in batches {batched}, one by one {alone}; power cuts took {pages} unsynced pages and {changes} changes of names",
            self.spooled,
        )
        .expect("a String takes all");
        for id in self.lost.iter().take(SHOWN) {
            writeln!(text, "lost: {id}").expect("a String takes all");
        }
        for (id, difference) in self.wrong.iter().take(SHOWN) {
            writeln!(text, "wrong: {id}: {difference}").expect("a String takes all");
        }
        text
    }
}

/// Compares what is there with what was sent. Nothing is broken any more.
pub(super) async fn reach(stack: &Stack, sent: &Sent, run: &str) -> anyhow::Result<Verdict> {
    let mut verdict = Verdict {
        posted: sent.history.len(),
        accepted: sent.history.iter().filter(|posted| posted.accepted_at.is_some()).count(),
        spooled: sent.history.iter().filter(|posted| posted.spooled).count(),
        ..Verdict::default()
    };
    verdict.stuck = usize::from(stack.until_recovered(&stack.http, PATIENCE).await.is_err());

    let (stored, batched) = stored(stack).await?;
    let all: usize = stored.values().sum();
    (verdict.batched, verdict.toll) = ((batched, all - batched), stack.toll);
    verdict.twice = stored.values().filter(|count| **count > 1).count();
    let accepted = sent.history.iter().filter(|posted| posted.accepted_at.is_some());
    let lost: HashSet<_> = accepted.map(|posted| &posted.id).filter(|id| !stored.contains_key(*id)).collect();
    verdict.lost = lost.into_iter().cloned().collect();

    let graves = stack.jetstream.get_stream(streams::DEAD_LETTERS).await?;
    verdict.dead = (usize::try_from(graves.cached_info().state.messages)?, stack.poison);
    // What is lost makes documents wrong, and no time mends that.
    let patience = if verdict.lost.is_empty() { PATIENCE } else { Duration::ZERO };
    verdict.wrong = wrong(stack, sent, run, patience).await?;
    Ok(verdict)
}

/// How often each id is in the stream, and how many messages an atomic batch brought.
async fn stored(stack: &Stack) -> anyhow::Result<(HashMap<String, usize>, usize)> {
    let stream = stack.jetstream.get_stream(streams::WEBHOOKS).await?;
    let config = pull::OrderedConfig {
        deliver_policy: DeliverPolicy::All,
        headers_only: true,
        ..pull::OrderedConfig::default()
    };
    let mut left = stream.cached_info().state.messages;
    let mut messages = stream.create_consumer(config).await?.messages().await?;
    let (mut stored, mut batched) = (HashMap::new(), 0);
    while left > 0 {
        let message = messages.next().await.context("the stream ended")??;
        let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id"));
        if let Some(id) = id {
            *stored.entry(id.as_str().to_owned()).or_default() += 1;
        }
        batched +=
            usize::from(message.headers.as_ref().is_some_and(|all| all.get("Nats-Batch-Id").is_some()));
        left -= 1;
    }
    Ok((stored, batched))
}

/// The calls that are not right, once nothing changes any more.
async fn wrong(
    stack: &Stack,
    sent: &Sent,
    run: &str,
    patience: Duration,
) -> anyhow::Result<Vec<(String, String)>> {
    let (mut last, mut changed) = (None, Instant::now());
    loop {
        let found = check::read(&stack.calls, run).await.context("cannot read the documents back")?;
        let comparison = check::compare(&sent.calls, &found);
        if comparison.wrong.is_empty() {
            return Ok(Vec::new());
        }
        if last.as_ref() != Some(&found) {
            (last, changed) = (Some(found), Instant::now());
        }
        if changed.elapsed() >= patience {
            return Ok(comparison.wrong);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
