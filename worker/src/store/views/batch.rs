//! The calls of a batch: their sums, and those of the recipients that may be called again.
//!
//! A recipient is known by its calls alone: ElevenLabs sends nothing about a recipient that it does not dial.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use mongodb::{
    bson::{Bson, Document, doc, oid::ObjectId},
    options::Hint,
};

use super::{
    connection::{SERVER_TIME, Views},
    plan::{Direction, index_of, order},
};
use crate::{
    domain::{
        call::{MAX_CALL, Outcome},
        time::before,
    },
    store::{
        answer::{Include, projection},
        call_view::CallView,
        convert::{bson_date, count_if, date, whole_number},
        error::StoreError,
        statistics::{Sums, sum_fields, sums, totals},
    },
};

/// The field with the id of the batch.
const BATCH: &str = "batchCallId";
/// Longest time that the server may work: it reads some ten thousand calls in a second.
const BATCH_TIME: Duration = Duration::from_mins(1);
/// Longest wait for the answer.
const BATCH_TIMEOUT: Duration = Duration::from_secs(70);

/// The calls of a batch, summed up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchFigures {
    /// The time of the count.
    pub at: Timestamp,
    /// The sums of all calls.
    pub sums: Sums,
    /// Calls that no event ended, although they began longer ago than a call can last.
    pub stuck: u64,
    /// The recipients of the calls.
    pub recipients: Recipients,
    /// When the first and the last call were created. `None`: there are no calls.
    pub created: Option<(Timestamp, Timestamp)>,
}

impl BatchFigures {
    /// Calls in progress.
    pub fn going(&self) -> u64 {
        self.sums.calls.saturating_sub(self.sums.over() + self.stuck)
    }
}

/// Recipients that have at least one call in the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recipients {
    /// All of them.
    pub all: u64,
    /// A person answered at least one call.
    pub reached: u64,
    /// Not reached yet, and at least one call is not over.
    pub unfinished: u64,
    /// Every call ended with an outcome that is worth another try.
    pub to_retry: u64,
}

impl Views {
    /// Whether a stored call belongs to the batch `id`.
    pub async fn has_batch(&self, id: &str) -> Result<bool, StoreError> {
        let (calls, filter) = (self.store.calls.clone(), doc! { BATCH: id });
        let found = self.ask(async move {
            calls.find_one(filter).projection(doc! { "_id": 1 }).max_time(SERVER_TIME).await
        });
        Ok(found.await?.is_some())
    }

    /// The sums of the batch `id` at `now`. Takes seconds if it has many calls.
    pub async fn batch_figures(&self, id: &str, now: Timestamp) -> Result<BatchFigures, StoreError> {
        let found = self.of_batch(figures_stages(id, now)).await?;
        Ok(BatchFigures { at: now, ..found.first().map(read).unwrap_or_default() })
    }

    /// The latest call of each recipient of the batch `id` that may be called again: every call to it in this batch
    /// ended with an outcome that is worth another try. The latest call comes first.
    pub async fn calls_to_retry(&self, id: &str) -> Result<Vec<ObjectId>, StoreError> {
        let found = self.of_batch(retry_stages(id)).await?;
        Ok(found.iter().filter_map(|call| call.get_object_id("call").ok()).collect())
    }

    /// Those of these calls whose outcome is still worth another try, the latest first, with the fields of an export.
    pub async fn retried_calls(&self, ids: Vec<ObjectId>) -> Result<Vec<CallView>, StoreError> {
        let calls = self.store.calls.clone();
        let query = doc! { "_id": { "$in": ids }, "outcome": { "$in": worth_another_try() } };
        let found: Vec<_> = self
            .ask(async move {
                let found =
                    calls.find(query).sort(order(Direction::Older)).projection(projection(Include::NONE));
                found.max_time(SERVER_TIME).await?.try_collect().await
            })
            .await?;
        Ok(found.into_iter().map(CallView::new).collect())
    }

    async fn of_batch(&self, stages: Vec<Document>) -> Result<Vec<Document>, StoreError> {
        let calls = self.store.calls.clone();
        let found = self.store.run_within(BATCH_TIMEOUT, async move {
            let asked = calls.aggregate(stages).hint(Hint::Keys(index_of(BATCH))).allow_disk_use(true);
            asked.max_time(BATCH_TIME).await?.try_collect().await
        });
        found.await
    }
}

/// The outcomes that are worth another try.
fn worth_another_try() -> Vec<&'static str> {
    let outcomes = Outcome::ALL.into_iter().filter(|outcome| outcome.is_worth_another_try());
    outcomes.map(Outcome::as_str).collect()
}

/// An expression for the recipient of a call. A call that names no recipient counts for its number, else for itself.
fn recipient() -> Document {
    doc! { "$ifNull": ["$batchCallRecipientId", "$toNumber", "$_id"] }
}

fn figures_stages(id: &str, now: Timestamp) -> Vec<Document> {
    let is_unfinished = doc! { "$lte": ["$outcome", Bson::Null] };
    let is_old = doc! { "$lt": ["$createdAt", bson_date(before(now, MAX_CALL))] };
    let mut sums = sum_fields();
    sums.insert("stuck", count_if(doc! { "$and": [&is_unfinished, is_old] }));
    let mut total = totals(&sums);
    let mut of_recipient = sums;
    of_recipient.insert("_id", recipient());
    of_recipient.insert("unfinished", count_if(is_unfinished));
    of_recipient.insert("retryable", count_if(doc! { "$in": ["$outcome", worth_another_try()] }));
    of_recipient.insert("first", doc! { "$min": "$createdAt" });
    of_recipient.insert("last", doc! { "$max": "$createdAt" });
    let is_reached = doc! { "$gt": [format!("${}", Outcome::Answered.as_str()), 0] };
    let is_open = doc! { "$gt": ["$unfinished", 0] };
    total.insert("_id", Bson::Null);
    total.insert("recipients", doc! { "$sum": 1_i64 });
    total.insert("unfinished", count_if(doc! { "$and": [{ "$not": &is_reached }, is_open] }));
    total.insert("reached", count_if(is_reached));
    total.insert("toRetry", count_if(doc! { "$eq": ["$retryable", "$calls"] }));
    total.insert("first", doc! { "$min": "$first" });
    total.insert("last", doc! { "$max": "$last" });
    vec![doc! { "$match": { BATCH: id } }, doc! { "$group": of_recipient }, doc! { "$group": total }]
}

fn retry_stages(id: &str) -> Vec<Document> {
    let is_worth = doc! { "$in": ["$outcome", worth_another_try()] };
    vec![
        doc! { "$match": { BATCH: id } },
        doc! { "$sort": order(Direction::Older) },
        doc! { "$group": {
            "_id": recipient(), "call": { "$first": "$_id" }, "at": { "$first": "$createdAt" },
            "others": count_if(doc! { "$not": is_worth }),
        } },
        doc! { "$match": { "others": 0 } },
        doc! { "$sort": { "at": -1, "call": -1 } },
        doc! { "$project": { "_id": 0, "call": 1 } },
    ]
}

fn read(found: &Document) -> BatchFigures {
    let number = |field| whole_number(found, field).unwrap_or(0);
    BatchFigures {
        at: Timestamp::default(),
        sums: sums(found),
        stuck: number("stuck"),
        recipients: Recipients {
            all: number("recipients"),
            reached: number("reached"),
            unfinished: number("unfinished"),
            to_retry: number("toRetry"),
        },
        created: date(found, "first").zip(date(found, "last")),
    }
}
