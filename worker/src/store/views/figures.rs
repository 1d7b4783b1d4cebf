//! Calls in numbers, over a window of time.
//!
//! Counted from index keys alone, save the few calls whose wait for a transcript is looked at.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use mongodb::{
    Collection,
    bson::{Bson, Document, doc},
    error::Result,
    options::Hint,
};

use super::{
    Views,
    filter::{reason_index, time_index},
};
use crate::{
    domain::{call::Status, time::between},
    store::{
        StoreError,
        document::{bson_date, date},
    },
};

/// Longest the server counts.
const COUNTING: Duration = Duration::from_secs(15);
/// Transcripts whose wait is looked at: the latest.
const WAITS: i64 = 500;
/// Calls looked through for them.
const LOOKED_THROUGH: i64 = 5000;
/// Reasons told apart, the most frequent.
const REASONS: i64 = 8;

/// How far back is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// The last hour, by minutes.
    Hour,
    /// The last 24 hours, by half hours.
    Day,
    /// The last 7 days, by four hours.
    Week,
}

impl Window {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Week];

    /// The word in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
        }
    }

    /// The window a word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|window| window.as_str() == word)
    }

    /// Length of one bucket.
    pub fn step(self) -> Duration {
        match self {
            Self::Hour => Duration::from_mins(1),
            Self::Day => Duration::from_mins(30),
            Self::Week => Duration::from_hours(4),
        }
    }

    fn buckets(self) -> u32 {
        match self {
            Self::Hour => 60,
            Self::Day => 48,
            Self::Week => 42,
        }
    }

    /// The beginnings of the buckets at `now`: whole steps, of which the last is not over.
    fn starts(self, now: Timestamp) -> Vec<Timestamp> {
        let step = i64::try_from(self.step().as_secs()).expect("hours");
        let last = now.as_second().div_euclid(step) * step;
        let start = |n: u32| Timestamp::from_second(last - i64::from(n) * step).unwrap_or(now);
        (0..self.buckets()).rev().map(start).collect()
    }
}

/// Calls that were created within one step of time, by status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its beginning.
    pub at: Timestamp,
    /// Calls of each status, in the order of [`Status::ALL`].
    pub calls: [u64; 12],
}

/// What was counted.
#[derive(Clone, Debug)]
pub struct Figures {
    /// When.
    pub at: Timestamp,
    /// How far back.
    pub window: Window,
    /// Calls over time.
    pub buckets: Vec<Bucket>,
    /// The most frequent reasons of failures, and how many calls failed for them.
    pub reasons: Vec<(String, u64)>,
    /// Calls that failed, for whatever reason.
    pub failed: u64,
    /// How long the latest transcripts took from the end of their call, in order of length.
    pub waits: Vec<Duration>,
}

impl Figures {
    /// Calls of each status over the whole window.
    pub fn totals(&self) -> [u64; 12] {
        let mut totals = [0; 12];
        for bucket in &self.buckets {
            for (total, calls) in totals.iter_mut().zip(bucket.calls) {
                *total += calls;
            }
        }
        totals
    }
}

impl Views {
    /// Counts, which may take seconds where there are millions of calls.
    pub async fn figures(&self, window: Window, now: Timestamp) -> std::result::Result<Figures, StoreError> {
        let calls = self.store.calls.clone();
        let starts = window.starts(now);
        let since = starts.first().copied().unwrap_or(now);
        let counted = self.store.run(async move {
            let counts = by_time(&calls, since, window).await?;
            let (reasons, failed) = by_reason(&calls, since).await?;
            let waits = waits(&calls, since).await?;
            Ok((counts, reasons, failed, waits))
        });
        let (counts, reasons, failed, waits) = counted.await?;
        let mut buckets: Vec<_> = starts.into_iter().map(|at| Bucket { at, calls: [0; 12] }).collect();
        for (n, status, count) in counts {
            // A call of the future, by somebody's clock, is one of now.
            let bucket = usize::try_from(n).ok().map(|n| n.min(buckets.len() - 1));
            if let Some(bucket) = bucket.and_then(|n| buckets.get_mut(n)) {
                bucket.calls[status] += count;
            }
        }
        Ok(Figures { at: now, window, buckets, reasons, failed, waits })
    }
}

/// Calls by bucket and status, as positions.
async fn by_time(
    calls: &Collection<Document>,
    since: Timestamp,
    window: Window,
) -> Result<Vec<(i64, usize, u64)>> {
    let step = i64::try_from(window.step().as_millis()).expect("hours");
    let age = doc! { "$subtract": ["$createdAt", bson_date(since)] };
    let bucket = doc! { "$toLong": { "$floor": { "$divide": [age, step] } } };
    let stages = [
        doc! { "$match": { "createdAt": { "$gte": bson_date(since) } } },
        doc! { "$group": { "_id": { "n": bucket, "s": "$status" }, "calls": { "$sum": 1 } } },
    ];
    let cursor = calls.aggregate(stages).hint(Hint::Keys(time_index())).max_time(COUNTING).await?;
    let groups: Vec<Document> = cursor.try_collect().await?;
    Ok(groups
        .iter()
        .filter_map(|group| {
            let id = group.get_document("_id").ok()?;
            let status = Status::from_word(id.get_str("s").ok()?)?;
            let status = Status::ALL.iter().position(|other| *other == status)?;
            Some((number(id.get("n")?)?, status, u64::try_from(number(group.get("calls")?)?).ok()?))
        })
        .collect())
}

/// The most frequent reasons, and how many calls failed in all.
async fn by_reason(calls: &Collection<Document>, since: Timestamp) -> Result<(Vec<(String, u64)>, u64)> {
    let stages = [
        doc! { "$match": { "failureReason": { "$gt": "" }, "createdAt": { "$gte": bson_date(since) } } },
        doc! { "$group": { "_id": "$failureReason", "calls": { "$sum": 1 } } },
        doc! { "$sort": { "calls": -1, "_id": 1 } },
        doc! { "$facet": {
            "most": [{ "$limit": REASONS }, { "$set": { "_id": super::row::beginning("$_id") } }],
            "all": [{ "$group": { "_id": Bson::Null, "calls": { "$sum": "$calls" } } }],
        } },
    ];
    let cursor = calls.aggregate(stages).hint(Hint::Keys(reason_index())).max_time(COUNTING);
    let Some(found) = cursor.await?.try_next().await? else { return Ok((Vec::new(), 0)) };
    let groups = |name: &str| -> Vec<Document> {
        let array = found.get_array(name).map(Vec::as_slice).unwrap_or_default();
        array.iter().filter_map(Bson::as_document).cloned().collect()
    };
    let count = |group: &Document| {
        group.get("calls").and_then(number).and_then(|calls| u64::try_from(calls).ok()).unwrap_or(0)
    };
    let most = groups("most");
    let reasons = most.iter().filter_map(|group| Some((group.get_str("_id").ok()?.to_owned(), count(group))));
    Ok((reasons.collect(), groups("all").first().map_or(0, count)))
}

/// How long the latest transcripts took.
async fn waits(calls: &Collection<Document>, since: Timestamp) -> Result<Vec<Duration>> {
    let stages = [
        doc! { "$match": { "createdAt": { "$gte": bson_date(since) } } },
        doc! { "$sort": { "createdAt": -1, "_id": -1 } },
        doc! { "$limit": LOOKED_THROUGH },
        doc! { "$match": { "transcriptState": "saved", "_owedSince": { "$exists": true } } },
        doc! { "$limit": WAITS },
        doc! { "$project": {
            "_id": 0, "owed": "$_owedSince", "saved": { "$ifNull": ["$_transcriptSavedAt", "$_transcript.at"] },
        } },
    ];
    let cursor = calls.aggregate(stages).hint(Hint::Keys(time_index())).max_time(COUNTING).await?;
    let found: Vec<Document> = cursor.try_collect().await?;
    let wait = |call: &Document| Some(between(date(call, "owed")?, date(call, "saved")?));
    let mut waits: Vec<_> = found.iter().filter_map(wait).collect();
    waits.sort_unstable();
    Ok(waits)
}

fn number(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(number) => Some((*number).into()),
        Bson::Int64(number) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_whole_steps_up_to_now() {
        let now: Timestamp = "2026-11-25T14:17:23Z".parse().unwrap();
        for window in Window::ALL {
            let starts = window.starts(now);
            let step = i64::try_from(window.step().as_secs()).unwrap();
            assert!(starts.iter().all(|start| start.as_second() % step == 0), "{window:?}");
            assert!(starts.windows(2).all(|pair| pair[1].as_second() - pair[0].as_second() == step));
            let last = starts.last().unwrap();
            assert!(*last <= now && now.as_second() < last.as_second() + step, "{window:?}");
            assert_eq!(Window::from_word(window.as_str()), Some(window));
        }
    }
}
