//! The numbers of calls over a window of time.
//!
//! The server counts with the keys of an index alone. It reads documents only for the waiting times of
//! transcripts.

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
    connection::Views,
    plan::{index_of, outcome_index, reason_index, time_index},
    row::beginning,
    window::Window,
};
use crate::{
    domain::{call::Outcome, time::between},
    store::{
        convert::{bson_date, date},
        error::StoreError,
    },
};

/// Longest time that the server counts.
pub(super) const MAX_COUNTING_TIME: Duration = Duration::from_secs(15);
/// Number of transcripts whose waiting times are read: the latest ones.
const MAX_WAITS: i64 = 500;
/// Number of calls that are searched for these transcripts.
const MAX_SCANNED: i64 = 5000;
/// Number of reasons and of SIP codes that are listed: the most frequent ones.
const MAX_LISTED: i64 = 8;

/// The number of calls that were created within one step, by outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Start of the step.
    pub at: Timestamp,
    /// Number of calls with each outcome, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Number of calls without an outcome: they are not over, or a worker of an earlier version wrote them.
    pub open: u64,
}

impl Bucket {
    /// Number of all calls.
    pub fn calls(&self) -> u64 {
        self.outcomes.iter().sum::<u64>() + self.open
    }
}

/// The numbers of calls over a window.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The time of the count.
    pub at: Timestamp,
    /// The window.
    pub window: Window,
    /// Calls by the time of their creation.
    pub buckets: Vec<Bucket>,
    /// The most frequent reasons of failures, each with the number of calls.
    pub reasons: Vec<(String, u64)>,
    /// Number of calls that failed for any reason.
    pub failed: u64,
    /// The most frequent SIP codes of failures, each with the number of calls.
    pub sip_codes: Vec<(String, u64)>,
    /// Number of calls that failed with any SIP code.
    pub failed_by_sip: u64,
    /// The times from the end of a call to its transcript, for the latest transcripts, in ascending order.
    pub waits: Vec<Duration>,
}

impl Figures {
    /// The calls of the whole window, as one step.
    pub fn total(&self) -> Bucket {
        let mut total = Bucket { at: self.at, outcomes: [0; Outcome::ALL.len()], open: 0 };
        for bucket in &self.buckets {
            for (total, calls) in total.outcomes.iter_mut().zip(bucket.outcomes) {
                *total += calls;
            }
            total.open += bucket.open;
        }
        total
    }
}

impl Views {
    /// Counts the calls of the window. Takes seconds if there are millions of calls.
    pub async fn figures(&self, window: Window, now: Timestamp) -> std::result::Result<Figures, StoreError> {
        let calls = self.store.calls.clone();
        let starts = window.starts(now);
        let since = starts.first().copied().unwrap_or(now);
        let counted = self.store.run(async move {
            let counts = by_time(&calls, since, window).await?;
            let reasons = failures_by("failureReason", reason_index(), &calls, since).await?;
            let codes = failures_by("sipCode", index_of("sipCode"), &calls, since).await?;
            let waits = waits(&calls, since).await?;
            Ok((counts, reasons, codes, waits))
        });
        let (counts, (reasons, failed), (sip_codes, failed_by_sip), waits) = counted.await?;
        let empty = |at| Bucket { at, outcomes: [0; Outcome::ALL.len()], open: 0 };
        let mut buckets: Vec<_> = starts.into_iter().map(empty).collect();
        for (n, outcome, count) in counts {
            // A wrong clock may date a call in the future. It counts as a call of the last step.
            let bucket = usize::try_from(n).ok().map(|n| n.min(buckets.len() - 1));
            if let Some(bucket) = bucket.and_then(|n| buckets.get_mut(n)) {
                let number = outcome.map_or(&mut bucket.open, |outcome| &mut bucket.outcomes[outcome]);
                *number += count;
            }
        }
        Ok(Figures { at: now, window, buckets, reasons, failed, sip_codes, failed_by_sip, waits })
    }
}

/// Number of calls by the positions of bucket and outcome. A call without an outcome has no position.
async fn by_time(
    calls: &Collection<Document>,
    since: Timestamp,
    window: Window,
) -> Result<Vec<(i64, Option<usize>, u64)>> {
    // A condition that every value meets, so that the server jumps from one value to the next.
    let any = doc! { "$gte": Bson::MinKey };
    let stages = [
        doc! { "$match": { "outcome": &any, "direction": &any, "createdAt": { "$gte": bson_date(since) } } },
        doc! { "$group": { "_id": { "n": bucket_of(since, window), "outcome": "$outcome" }, "calls": { "$sum": 1 } } },
    ];
    let hint = Hint::Keys(outcome_index());
    let cursor = calls.aggregate(stages).hint(hint).max_time(MAX_COUNTING_TIME).await?;
    let groups: Vec<Document> = cursor.try_collect().await?;
    Ok(groups
        .iter()
        .filter_map(|group| {
            let id = group.get_document("_id").ok()?;
            let outcome = id.get_str("outcome").ok().and_then(Outcome::from_word);
            let outcome = outcome.and_then(|outcome| Outcome::ALL.iter().position(|other| *other == outcome));
            Some((number(id.get("n")?)?, outcome, u64::try_from(number(group.get("calls")?)?).ok()?))
        })
        .collect())
}

/// The expression for the step in which a call was created.
pub(super) fn bucket_of(since: Timestamp, window: Window) -> Document {
    let step = i64::try_from(window.step().as_millis()).expect("hours");
    let age = doc! { "$subtract": ["$createdAt", bson_date(since)] };
    doc! { "$toLong": { "$floor": { "$divide": [age, step] } } }
}

/// The most frequent values of `field`, and the number of all calls with a value. `index` begins with the field.
async fn failures_by(
    field: &str,
    index: Document,
    calls: &Collection<Document>,
    since: Timestamp,
) -> Result<(Vec<(String, u64)>, u64)> {
    let stages = [
        doc! { "$match": { field: { "$gt": "" }, "createdAt": { "$gte": bson_date(since) } } },
        doc! { "$group": { "_id": format!("${field}"), "calls": { "$sum": 1 } } },
        doc! { "$sort": { "calls": -1, "_id": 1 } },
        doc! { "$facet": {
            "most": [{ "$limit": MAX_LISTED }, { "$set": { "_id": beginning("$_id") } }],
            "all": [{ "$group": { "_id": Bson::Null, "calls": { "$sum": "$calls" } } }],
        } },
    ];
    let cursor = calls.aggregate(stages).hint(Hint::Keys(index)).max_time(MAX_COUNTING_TIME);
    let Some(found) = cursor.await?.try_next().await? else { return Ok((Vec::new(), 0)) };
    let groups = |name: &str| -> Vec<Document> {
        let array = found.get_array(name).map(Vec::as_slice).unwrap_or_default();
        array.iter().filter_map(Bson::as_document).cloned().collect()
    };
    let count = |group: &Document| {
        group.get("calls").and_then(number).and_then(|calls| u64::try_from(calls).ok()).unwrap_or(0)
    };
    let most = groups("most");
    let most = most.iter().filter_map(|group| Some((group.get_str("_id").ok()?.to_owned(), count(group))));
    Ok((most.collect(), groups("all").first().map_or(0, count)))
}

/// The waiting times of the latest transcripts.
async fn waits(calls: &Collection<Document>, since: Timestamp) -> Result<Vec<Duration>> {
    let stages = [
        doc! { "$match": { "createdAt": { "$gte": bson_date(since) } } },
        doc! { "$sort": { "createdAt": -1, "_id": -1 } },
        doc! { "$limit": MAX_SCANNED },
        doc! { "$match": { "transcriptState": "saved", "_owedSince": { "$exists": true } } },
        doc! { "$limit": MAX_WAITS },
        doc! { "$project": {
            "_id": 0, "owed": "$_owedSince", "saved": { "$ifNull": ["$_transcriptSavedAt", "$_transcript.at"] },
        } },
    ];
    let cursor = calls.aggregate(stages).hint(Hint::Keys(time_index())).max_time(MAX_COUNTING_TIME).await?;
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
