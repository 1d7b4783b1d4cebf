//! The number of calls that a filter of the console shows.
//!
//! Invariant: a count examines a bounded number of keys, or of calls if no index covers the filter, however many
//! calls are stored.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use mongodb::{
    bson::{Bson, Document, doc},
    options::Hint,
};

use super::{
    connection::Views,
    filter::{Filter, Search},
    plan::{Plan, Range},
};
use crate::store::{convert::whole_number, error::StoreError};

/// Most calls that are counted. The keys of an index are enough for this.
const MAX_COUNTED: u64 = 10_000;
/// Most calls that are read for a count if no index covers the filter.
const MAX_EXAMINED: u64 = 2000;
/// Longest time that the server counts. The page does not wait longer for a number.
const MAX_COUNTING_TIME: Duration = Duration::from_secs(1);

/// The number of calls that match a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matches {
    /// The calls that were found.
    pub calls: u64,
    /// Whether these are all. Otherwise there are at least as many.
    pub is_complete: bool,
}

impl Views {
    /// The number of calls that `filter` shows. `None`: the filter searches for an id, which has few calls.
    pub async fn matches(&self, filter: &Filter) -> Result<Option<Matches>, StoreError> {
        if matches!(filter.search, Some(Search::Id(_))) {
            return Ok(None);
        }
        let plan = filter.conditions().plan_of_all();
        let most = if plan.is_exact() { MAX_COUNTED } else { MAX_EXAMINED };
        let (calls, stages, index) = (self.store.calls.clone(), stages(&plan, most), plan.index);
        let found: Option<Document> = self
            .ask(async move {
                let count = calls.aggregate(stages).hint(Hint::Keys(index)).max_time(MAX_COUNTING_TIME);
                count.await?.try_next().await
            })
            .await?;
        let number = |field| found.as_ref().and_then(|found| whole_number(found, field)).unwrap_or(0);
        let is_complete = number("seen") <= most;
        Ok(Some(Matches { calls: number("found").min(most), is_complete }))
    }
}

/// Counts up to `most` calls that meet the conditions of the index, and those of them that meet all.
fn stages(plan: &Plan, most: u64) -> [Document; 3] {
    let most = i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1);
    let found = doc! { "$sum": { "$cond": [plan.rest_expression(), 1, 0] } };
    [
        doc! { "$match": plan.bounds(Range::default()) },
        doc! { "$limit": most },
        doc! { "$group": { "_id": Bson::Null, "seen": { "$sum": 1 }, "found": found } },
    ]
}
