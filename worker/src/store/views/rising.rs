//! The failure reasons that became much more frequent.

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use mongodb::{
    bson::{Bson, Document, doc},
    options::Hint,
};

use super::{
    connection::Views, figures::MAX_COUNTING_TIME, plan::reason_index, row::beginning, window::Window,
};
use crate::{
    domain::time::before,
    store::{
        convert::{bson_date, whole_number},
        error::StoreError,
    },
};

/// Fewest failures in a window for a reason that rises. Fewer are chance.
const MIN_FAILURES: i32 = 10;
/// A reason rises if it has this many times the failures of the window before.
const FACTOR: i32 = 2;
/// Most reasons.
const MAX_RISING: i64 = 3;

/// A failure reason that rises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RisingReason {
    /// The reason.
    pub reason: String,
    /// Calls that failed for it in the window.
    pub now: u64,
    /// Calls that failed for it in the window before.
    pub before: u64,
}

impl Views {
    /// The reasons that rise most, compared with the window before. The server reads only the keys of an index.
    pub(super) async fn rising_reasons(
        &self,
        window: Window,
        now: Timestamp,
    ) -> Result<Vec<RisingReason>, StoreError> {
        let since = before(now, window.length());
        let calls = self.store.calls.clone();
        let found: Vec<Document> = self
            .store
            .run(async move {
                let counts = calls.aggregate(stages(since, before(since, window.length())));
                let counts = counts.hint(Hint::Keys(reason_index())).max_time(MAX_COUNTING_TIME);
                counts.await?.try_collect().await
            })
            .await?;
        let rising = found.iter().filter_map(|found| {
            Some(RisingReason {
                reason: found.get_str("_id").ok()?.to_owned(),
                now: whole_number(found, "now")?,
                before: whole_number(found, "before")?,
            })
        });
        Ok(rising.collect())
    }
}

fn stages(since: Timestamp, earliest: Timestamp) -> [Document; 7] {
    let is_now = doc! { "$gte": ["$createdAt", bson_date(since)] };
    let sum = |then: i32, otherwise: i32| doc! { "$sum": { "$cond": [&is_now, then, otherwise] } };
    let rises = doc! { "$gte": ["$now", { "$multiply": ["$before", FACTOR] }] };
    [
        // With every value of the field in between, the server jumps from one value to the next.
        doc! { "$match": {
            "failureReason": { "$gt": "" }, "status": { "$gte": Bson::MinKey },
            "createdAt": { "$gte": bson_date(earliest) },
        } },
        doc! { "$group": { "_id": "$failureReason", "now": sum(1, 0), "before": sum(0, 1) } },
        doc! { "$match": { "now": { "$gte": MIN_FAILURES }, "$expr": rises } },
        doc! { "$set": { "more": { "$subtract": ["$now", "$before"] } } },
        doc! { "$sort": { "more": -1, "_id": 1 } },
        doc! { "$limit": MAX_RISING },
        doc! { "$set": { "_id": beginning("$_id") } },
    ]
}
