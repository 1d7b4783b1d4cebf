//! Adds the last digits of numbers to the calls that workers of an earlier version stored: see
//! [`NumberEnds`].

use std::time::Duration;

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use mongodb::bson::{Document, RawDocumentBuf, doc, oid::ObjectId, rawdoc};

use super::{
    command::{self, Kind},
    connection::{SERVER_TIME, Store},
    convert::{bson_date, date},
    error::{StoreError, Unstorable},
    fields,
    leases::Lease,
    views::NUMBER_ENDS,
};
use crate::domain::{
    call::NumberEnds,
    time::{after, before},
};

/// Calls that are read together.
const PAGE: i64 = 500;
/// A worker may give a document its `_id` this long before the document is stored.
const LATEST_ID: Duration = Duration::from_secs(60);
/// Workers of the earlier version may run this long beside the first one of this version.
const UPGRADE: Duration = Duration::from_hours(1);

/// The state of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillState {
    /// There are more calls.
    Behind,
    /// All calls have their ends. Workers of the earlier version may still add others.
    UpToDate,
    /// The work is finished for ever.
    Complete,
}

impl Store {
    /// Whether all calls of earlier versions have their ends.
    pub async fn has_number_ends(&self) -> Result<bool, StoreError> {
        Ok(self.number_ends_state().await?.get_bool("isComplete").unwrap_or(false))
    }

    /// Adds the ends to the next calls, in the order in which they were first stored. The caller has the lease
    /// [`Lease::NumberEnds`], whose document keeps the position.
    pub async fn fill_number_ends(&self, now: Timestamp) -> Result<FillState, StoreError> {
        let state = self.number_ends_state().await?;
        let begun_at = date(&state, "begunAt").unwrap_or(now);
        let read = self.page(state.get_object_id("position").ok(), now).await?;
        let failed = command::run(self, Kind::Update, read.iter().filter_map(change)).await?;
        if !failed.is_empty() {
            let calls = failed.len();
            tracing::warn!(
                calls,
                "calls are not found by the last digits of their numbers: their documents are full"
            );
        }
        let is_behind = i64::try_from(read.len()).is_ok_and(|read| read == PAGE);
        let is_complete = !is_behind && now > after(begun_at, UPGRADE);
        let mut new = doc! { "begunAt": bson_date(begun_at), "isComplete": is_complete };
        if let Some(last) = read.last().and_then(|call| call.get_object_id("_id").ok()) {
            new.insert("position", last);
        }
        let (leases, filter) = (self.leases(), doc! { "_id": Lease::NumberEnds.id() });
        self.run(async move { leases.update_one(filter, doc! { "$set": new }).await }).await?;
        Ok(match (is_behind, is_complete) {
            (true, _) => FillState::Behind,
            (false, false) => FillState::UpToDate,
            (false, true) => FillState::Complete,
        })
    }

    async fn number_ends_state(&self) -> Result<Document, StoreError> {
        let (leases, filter) = (self.leases(), doc! { "_id": Lease::NumberEnds.id() });
        let found = self.run(async move { leases.find_one(filter).max_time(SERVER_TIME).await }).await?;
        Ok(found.unwrap_or_default())
    }

    async fn page(&self, position: Option<ObjectId>, now: Timestamp) -> Result<Vec<Document>, StoreError> {
        let mut ids = doc! { "$lt": first_id_at(before(now, LATEST_ID)) };
        ids.extend(position.map(|position| ("$gt".to_owned(), position.into())));
        let calls = self.calls.clone();
        self.run(async move {
            let fields = doc! { "toNumber": 1, "fromNumber": 1, NUMBER_ENDS: 1 };
            let found = calls.find(doc! { "_id": ids }).projection(fields);
            found.sort(doc! { "_id": 1 }).limit(PAGE).max_time(SERVER_TIME).await?.try_collect().await
        })
        .await
    }
}

/// The statement that adds the missing ends of a call. `None` if none is missing.
fn change(call: &Document) -> Option<Result<RawDocumentBuf, Unstorable>> {
    let numbers = ["toNumber", "fromNumber"].into_iter().filter_map(|field| call.get_str(field).ok());
    let ends = NumberEnds::of(numbers);
    let stored = call.get_array(NUMBER_ENDS).map(Vec::as_slice).unwrap_or_default();
    if ends.iter().all(|end| stored.iter().any(|stored| stored.as_str() == Some(end))) {
        return None;
    }
    // The revision stays: nobody outside sees the ends.
    let id = call.get_object_id("_id").ok()?;
    let filled = fields::number_ends_layer(&ends);
    Some(filled.map(|filled| rawdoc! { "q": { "_id": id }, "u": [{ "$set": filled }] }))
}

/// The smallest `_id` of a document that is created at `time`.
fn first_id_at(time: Timestamp) -> ObjectId {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&u32::try_from(time.as_second()).unwrap_or(0).to_be_bytes());
    ObjectId::from_bytes(bytes)
}
