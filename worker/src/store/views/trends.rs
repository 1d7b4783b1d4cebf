//! The calls of agents and of batches over time, for the small charts of the overview.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use mongodb::{
    bson::{Bson, Document, doc},
    options::Hint,
};

use super::{
    connection::Views,
    figures::{MAX_COUNTING_TIME, bucket_of},
    plan::{agent_index, index_of},
    window::Window,
};
use crate::store::{
    convert::{bson_date, whole_number},
    error::StoreError,
};

/// Most groups whose calls are counted over time.
const MAX_TRENDS: usize = 100;

/// The groups whose calls are counted over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TrendsOf {
    Agents,
    Batches,
}

impl TrendsOf {
    /// The field of the group, the index that begins with it, and the other fields of the index before the time.
    fn keys(self) -> (&'static str, Document, &'static [&'static str]) {
        match self {
            Self::Agents => ("agentId", agent_index(), &["direction", "outcome"]),
            Self::Batches => ("batchCallId", index_of("batchCallId"), &[]),
        }
    }
}

impl Views {
    /// For the first [`MAX_TRENDS`] of the groups `ids`, the calls in each step of `window` at `now`. The server reads
    /// only the keys of an index.
    pub(super) async fn trends(
        &self,
        of: TrendsOf,
        ids: impl IntoIterator<Item = &String>,
        window: Window,
        now: Timestamp,
    ) -> Result<HashMap<String, Vec<u64>>, StoreError> {
        let starts = window.starts(now);
        let since = starts.first().copied().unwrap_or(now);
        let (field, index, others) = of.keys();
        let ids: Vec<_> = ids.into_iter().take(MAX_TRENDS).collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let mut counted = doc! { field: { "$in": ids }, "createdAt": { "$gte": bson_date(since) } };
        // A condition that every value meets, so that the server jumps from one value to the next.
        for name in others {
            counted.insert(*name, doc! { "$gte": Bson::MinKey });
        }
        let key = doc! { "group": format!("${field}"), "n": bucket_of(since, window) };
        let stages = [doc! { "$match": counted }, doc! { "$group": { "_id": key, "calls": { "$sum": 1 } } }];
        let calls = self.store.calls.clone();
        let counts = self.store.run(async move {
            let counts = calls.aggregate(stages).hint(Hint::Keys(index)).max_time(MAX_COUNTING_TIME);
            counts.await?.try_collect::<Vec<Document>>().await
        });
        Ok(trends(&counts.await?, starts.len()))
    }
}

/// For each group, the calls in each of `steps` steps. A wrong clock may date a call in the future. It counts as a call
/// of the last step.
fn trends(counts: &[Document], steps: usize) -> HashMap<String, Vec<u64>> {
    let mut trends: HashMap<String, Vec<u64>> = HashMap::new();
    for count in counts {
        let Ok(key) = count.get_document("_id") else { continue };
        let (Ok(group), Some(n)) = (key.get_str("group"), whole_number(key, "n")) else { continue };
        let trend = trends.entry(group.to_owned()).or_insert_with(|| vec![0; steps]);
        let n = usize::try_from(n).unwrap_or(usize::MAX).min(steps.saturating_sub(1));
        if let Some(calls) = trend.get_mut(n) {
            *calls += whole_number(count, "calls").unwrap_or(0);
        }
    }
    trends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trend_has_every_step_and_calls_of_the_future_count_in_the_last() {
        let count =
            |group: &str, n: i64, calls: i32| doc! { "_id": { "group": group, "n": n }, "calls": calls };
        let counts =
            [count("a", 0, 2), count("b", 1, 5), count("a", 2, 3), count("a", 7, 1), count("a", -1, 9)];
        let trends = trends(&counts, 3);
        assert_eq!(trends["a"], [2, 0, 4]);
        assert_eq!(trends["b"], [0, 5, 0]);
    }
}
