//! Adds the last digits of numbers to the calls that workers of an earlier version stored: see
//! [`NumberSuffixes`].

use std::time::Duration;

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use mongodb::bson::{Document, RawArrayBuf, RawDocumentBuf, doc, oid::ObjectId, rawdoc};

use super::{
    command::{self, Kind},
    connection::{SERVER_TIME, Store},
    convert::{bson_date, date},
    error::{Failure, StoreError},
    leases::Lease,
    views::NUMBER_SUFFIXES,
};
use crate::domain::{
    call::NumberSuffixes,
    time::{after, before},
};

/// Calls that are read together.
const PAGE: i64 = 500;
/// A worker may give a document its `_id` this long before the document is stored.
const LATEST_ID: Duration = Duration::from_mins(1);
/// Workers of the earlier version may run this long beside the first one of this version.
const UPGRADE: Duration = Duration::from_hours(1);

/// The state of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillState {
    /// There are more calls.
    Behind,
    /// All calls have their suffixes. Workers of the earlier version may still add others.
    UpToDate,
    /// No further pass is needed.
    Complete,
}

impl Store {
    /// Whether all calls of earlier versions have their suffixes.
    pub async fn has_number_suffixes(&self) -> Result<bool, StoreError> {
        Ok(self.number_suffixes_state().await?.get_bool("isComplete").unwrap_or(false))
    }

    /// Adds the suffixes to the next calls, in the order in which they were first stored. The caller has the lease
    /// [`Lease::NumberSuffixes`], whose document keeps the position.
    ///
    /// There are two passes. The second one begins when the workers of the earlier version are gone, because they may
    /// change calls that the first pass has visited.
    pub async fn fill_number_suffixes(&self, now: Timestamp) -> Result<FillState, StoreError> {
        let state = self.number_suffixes_state().await?;
        let begun_at = date(&state, "begunAt").unwrap_or(now);
        let is_second_pass = state.get_bool("isSecondPass").unwrap_or(false);
        let read = self.page(state.get_object_id("position").ok(), now).await?;
        self.add_suffixes(&read).await?;
        let is_behind = i64::try_from(read.len()).is_ok_and(|read| read == PAGE);
        let ends_pass = !is_behind && now > after(begun_at, UPGRADE);
        let is_complete = ends_pass && is_second_pass;
        let mut new = doc! {
            "begunAt": bson_date(begun_at), "isSecondPass": is_second_pass || ends_pass, "isComplete": is_complete,
        };
        let last = read.last().and_then(|call| call.get_object_id("_id").ok());
        let mut update = Document::new();
        if ends_pass && !is_second_pass {
            update.insert("$unset", doc! { "position": "" });
        } else if let Some(last) = last {
            new.insert("position", last);
        }
        update.insert("$set", new);
        let (leases, filter) = (self.leases(), doc! { "_id": Lease::NumberSuffixes.id() });
        self.run(async move { leases.update_one(filter, update).await }).await?;
        Ok(match (is_complete, is_behind || ends_pass) {
            (true, _) => FillState::Complete,
            (false, true) => FillState::Behind,
            (false, false) => FillState::UpToDate,
        })
    }

    async fn add_suffixes(&self, calls: &[Document]) -> Result<(), StoreError> {
        let failures = command::run(self, Kind::Update, calls.iter().filter_map(change).map(Ok)).await?;
        let transient = failures.iter().find_map(|(_, failure)| match failure {
            Failure::Transient(code) => Some(code),
            Failure::Duplicate | Failure::Outdated | Failure::Final(..) => None,
        });
        if let Some(code) = transient {
            return Err(StoreError::Unavailable(format!("an update failed with the code {code}")));
        }
        let calls = failures.iter().filter(|(_, failure)| matches!(failure, Failure::Final(..))).count();
        if calls > 0 {
            tracing::warn!(
                calls,
                "MongoDB refuses the last digits of the numbers of calls: their documents are full"
            );
        }
        Ok(())
    }

    async fn number_suffixes_state(&self) -> Result<Document, StoreError> {
        let (leases, filter) = (self.leases(), doc! { "_id": Lease::NumberSuffixes.id() });
        let found = self.run(async move { leases.find_one(filter).max_time(SERVER_TIME).await }).await?;
        Ok(found.unwrap_or_default())
    }

    async fn page(&self, position: Option<ObjectId>, now: Timestamp) -> Result<Vec<Document>, StoreError> {
        let mut ids = doc! { "$lt": first_id_at(before(now, LATEST_ID)) };
        ids.extend(position.map(|position| ("$gt".to_owned(), position.into())));
        let calls = self.calls.clone();
        self.run(async move {
            let fields = doc! { "toNumber": 1, "fromNumber": 1, NUMBER_SUFFIXES: 1 };
            let found = calls.find(doc! { "_id": ids }).projection(fields);
            found.sort(doc! { "_id": 1 }).limit(PAGE).max_time(SERVER_TIME).await?.try_collect().await
        })
        .await
    }
}

/// The statement that adds the missing suffixes of a call. `None` if none is missing.
fn change(call: &Document) -> Option<RawDocumentBuf> {
    let numbers = ["toNumber", "fromNumber"].into_iter().filter_map(|field| call.get_str(field).ok());
    let suffixes = NumberSuffixes::of(numbers);
    let stored = call.get_array(NUMBER_SUFFIXES).map(Vec::as_slice).unwrap_or_default();
    if suffixes.iter().all(|suffix| stored.iter().any(|stored| stored.as_str() == Some(suffix))) {
        return None;
    }
    // The revision stays: nobody outside sees the suffixes.
    let id = call.get_object_id("_id").ok()?;
    let suffixes: RawArrayBuf = suffixes.iter().collect();
    let stored = rawdoc! { "$ifNull": [format!("${NUMBER_SUFFIXES}"), []] };
    let union = rawdoc! { "$sortArray": { "input": { "$setUnion": [stored, suffixes] }, "sortBy": 1 } };
    Some(rawdoc! { "q": { "_id": id }, "u": [{ "$set": { "_numberSuffixes": union } }] })
}

/// The smallest `_id` of a document that is created at `time`.
fn first_id_at(time: Timestamp) -> ObjectId {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&u32::try_from(time.as_second()).unwrap_or(0).to_be_bytes());
    ObjectId::from_bytes(bytes)
}
