//! Deliveries to endpoints with their attempts: the collection `deliveries`.
//!
//! A record is information for people. Delivery itself depends on the broker alone, so a record that could not be
//! written delays nothing.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use mongodb::{
    Collection, IndexModel,
    bson::{Bson, Document, doc},
    error::Result as DriverResult,
    options::IndexOptions,
};

use super::{
    connection::{SERVER_TIME, Store},
    convert::{bson_date, date, listed_after},
    error::StoreError,
};
use crate::domain::delivery::{Attempt, Delivery, DeliveryState};

const COLLECTION: &str = "deliveries";
/// How long a record is kept, counted from its first attempt: as long as messages are.
const MAX_AGE: Duration = Duration::from_hours(30 * 24);
/// When the last attempt that succeeded began.
pub(super) const DELIVERED_AT: &str = "deliveredAt";
/// When the last attempt that failed began.
pub(super) const FAILED_AT: &str = "failedAt";
/// Attempts of a record that are kept, the latest. More than a schedule has, because of replays.
const MAX_ATTEMPTS: i32 = 20;

/// Conditions for records.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// The endpoint.
    pub endpoint: Option<String>,
    /// The state.
    pub state: Option<DeliveryState>,
    /// The call or conversation.
    pub call: Option<String>,
    /// The first attempt is not earlier.
    pub since: Option<Timestamp>,
    /// The first attempt is not later.
    pub until: Option<Timestamp>,
}

/// A stored record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// The message and its endpoint.
    pub delivery: Delivery,
    /// The state.
    pub state: DeliveryState,
    /// Number of attempts, including earlier ones that are no longer kept.
    pub attempt_count: u32,
    /// The latest attempts, the oldest first.
    pub attempts: Vec<Attempt>,
    /// When the next attempt is due.
    pub next_attempt_at: Option<Timestamp>,
    /// When the first attempt began.
    pub created_at: Timestamp,
}

impl Store {
    pub(super) fn deliveries_collection(&self) -> Collection<Document> {
        self.database.collection(COLLECTION)
    }

    /// Creates the indexes of the collection. Idempotent.
    pub(super) async fn prepare_deliveries(&self) -> Result<(), StoreError> {
        self.run(create_indexes(self.deliveries_collection())).await
    }

    /// Records an attempt of `delivery`, and the state after it. `next`: when the next attempt is due.
    pub async fn record_attempt(
        &self,
        delivery: &Delivery,
        attempt: &Attempt,
        state: DeliveryState,
        next: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let update = vec![doc! { "$set": recorded(delivery, attempt, state, next) }];
        let (deliveries, filter) = (self.deliveries_collection(), doc! { "_id": &delivery.id });
        self.run(async move { deliveries.update_one(filter, update).upsert(true).await }).await.map(drop)
    }

    /// The record `id`.
    pub async fn delivery(&self, id: &str) -> Result<Option<DeliveryRecord>, StoreError> {
        let found = self.run(find(self.deliveries_collection(), id.to_owned(), SERVER_TIME)).await?;
        Ok(found.as_ref().and_then(read))
    }

    /// At most `limit` records that match, the latest first, before the record `before` in this order.
    pub async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        before: Option<&DeliveryRecord>,
        limit: i64,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        let conditions = conditions(filter, before);
        let found = self.run(page(self.deliveries_collection(), conditions, limit, SERVER_TIME)).await?;
        Ok(found.iter().filter_map(read).collect())
    }

    /// The number of records of these calls, conversations and webhooks.
    pub async fn count_deliveries(&self, ids: &[String]) -> Result<u64, StoreError> {
        let (deliveries, filter) = (self.deliveries_collection(), about(ids));
        self.run(async move { deliveries.count_documents(filter).max_time(SERVER_TIME).await }).await
    }

    /// Erases the records of these calls, conversations and webhooks, and returns their number.
    pub async fn erase_deliveries(&self, ids: &[String]) -> Result<u64, StoreError> {
        let (deliveries, filter) = (self.deliveries_collection(), about(ids));
        Ok(self.run(async move { deliveries.delete_many(filter).await }).await?.deleted_count)
    }
}

/// The fields of the record of `delivery` after `attempt`, as expressions. Attempts may be recorded in another order
/// than they were made: the state is the one after the latest.
fn recorded(
    delivery: &Delivery,
    attempt: &Attempt,
    state: DeliveryState,
    next: Option<Timestamp>,
) -> Document {
    let at = bson_date(attempt.at);
    let of_latest = |name: &str, value: Bson| {
        doc! { "$cond": [{ "$gt": ["$updatedAt", at] }, format!("${name}"), value] }
    };
    let later = |name: &str| doc! { "$max": [format!("${name}"), at] };
    let result = if state == DeliveryState::Delivered { DELIVERED_AT } else { FAILED_AT };
    let attempts = doc! { "$concatArrays": [
        { "$ifNull": ["$attempts", []] }, [{ "$literal": written_attempt(attempt) }],
    ] };
    let first = |(name, value): (String, Bson)| {
        let kept = doc! { "$ifNull": [format!("${name}"), { "$literal": value }] };
        (name, Bson::from(kept))
    };
    let mut fields: Document = written(delivery, attempt.at).into_iter().map(first).collect();
    fields.extend(doc! {
        "state": of_latest("state", state.as_str().into()),
        "nextAttemptAt": of_latest("nextAttemptAt", next.map_or("$$REMOVE".into(), |at| bson_date(at).into())),
        result: later(result),
        "updatedAt": later("updatedAt"),
        "attempts": { "$slice": [attempts, -MAX_ATTEMPTS] },
        "attemptCount": { "$add": [{ "$ifNull": ["$attemptCount", 0] }, 1] },
    });
    fields
}

async fn create_indexes(deliveries: Collection<Document>) -> DriverResult<()> {
    let index =
        |keys: Document, options: IndexOptions| IndexModel::builder().keys(keys).options(options).build();
    let of_call = |field: &str| {
        let has = doc! { field: { "$exists": true } };
        index(doc! { field: 1 }, IndexOptions::builder().partial_filter_expression(has).build())
    };
    let expiry = IndexOptions::builder().expire_after(MAX_AGE).build();
    let latest = |field: &str| {
        let has = doc! { field: { "$exists": true } };
        let options = IndexOptions::builder().partial_filter_expression(has).build();
        index(doc! { "endpointId": 1, field: -1 }, options)
    };
    let indexes = [
        index(doc! { "createdAt": 1 }, expiry),
        index(doc! { "createdAt": -1, "_id": -1 }, IndexOptions::default()),
        index(doc! { "endpointId": 1, "state": 1, "createdAt": -1, "_id": -1 }, IndexOptions::default()),
        latest(DELIVERED_AT),
        latest(FAILED_AT),
        index(doc! { "messageId": 1 }, IndexOptions::default()),
        of_call("callId"),
        of_call("conversationId"),
    ];
    deliveries.create_indexes(indexes).await.map(drop)
}

/// The records of these calls, conversations and webhooks.
fn about(ids: &[String]) -> Document {
    let fields = ["callId", "conversationId", "messageId"];
    doc! { "$or": fields.map(|field| doc! { field: { "$in": ids } }).to_vec() }
}

/// Reads the record `id`.
pub(super) async fn find(
    deliveries: Collection<Document>,
    id: String,
    max_time: Duration,
) -> DriverResult<Option<Document>> {
    deliveries.find_one(doc! { "_id": id }).max_time(max_time).await
}

/// Reads at most `limit` records that match `conditions`, the latest first.
pub(super) async fn page(
    deliveries: Collection<Document>,
    conditions: Document,
    limit: i64,
    max_time: Duration,
) -> DriverResult<Vec<Document>> {
    let found = deliveries.find(conditions).sort(doc! { "createdAt": -1, "_id": -1 }).limit(limit);
    found.max_time(max_time).await?.try_collect().await
}

/// The records that match `filter` and come before the record `before`.
pub(super) fn conditions(filter: &DeliveryFilter, before: Option<&DeliveryRecord>) -> Document {
    let mut conditions = filter_conditions(filter);
    if let Some(before) = before {
        let earlier = listed_after("createdAt", before.created_at, &before.delivery.id);
        conditions = doc! { "$and": [conditions, earlier] };
    }
    conditions
}

fn filter_conditions(filter: &DeliveryFilter) -> Document {
    let mut conditions = Document::new();
    if let Some(endpoint) = &filter.endpoint {
        conditions.insert("endpointId", endpoint);
    }
    match filter.state {
        Some(state) => {
            conditions.insert("state", state.as_str());
        }
        // An index begins with endpoint and state. Of each state it has the latest first.
        None if filter.endpoint.is_some() => {
            conditions
                .insert("state", doc! { "$in": DeliveryState::ALL.map(DeliveryState::as_str).to_vec() });
        }
        None => {}
    }
    if let Some(call) = &filter.call {
        conditions.insert("$or", [doc! { "callId": call }, doc! { "conversationId": call }].to_vec());
    }
    let mut time = Document::new();
    time.extend(filter.since.map(|since| ("$gte".to_owned(), Bson::from(bson_date(since)))));
    time.extend(filter.until.map(|until| ("$lte".to_owned(), Bson::from(bson_date(until)))));
    if !time.is_empty() {
        conditions.insert("createdAt", time);
    }
    conditions
}

fn written(delivery: &Delivery, at: Timestamp) -> Document {
    let mut document = doc! {
        "endpointId": &delivery.endpoint,
        "messageId": &delivery.message_id,
        "type": &delivery.event_type,
        "stream": &delivery.stream,
        "sequence": i64::try_from(delivery.sequence).unwrap_or(i64::MAX),
        "createdAt": bson_date(at),
    };
    for (field, id) in [("callId", &delivery.call_id), ("conversationId", &delivery.conversation_id)] {
        if let Some(id) = id {
            document.insert(field, id);
        }
    }
    document
}

fn written_attempt(attempt: &Attempt) -> Document {
    let duration = i64::try_from(attempt.duration.as_millis()).unwrap_or(i64::MAX);
    let mut document = doc! { "at": bson_date(attempt.at), "durationMs": duration };
    if let Some(status) = attempt.status {
        document.insert("status", i32::from(status));
    }
    for (field, text) in [("answer", &attempt.answer), ("error", &attempt.error)] {
        if let Some(text) = text {
            document.insert(field, text);
        }
    }
    document
}

pub(super) fn read(document: &Document) -> Option<DeliveryRecord> {
    let text = |field: &str| document.get_str(field).ok().map(str::to_owned);
    let attempts = document.get_array("attempts").map(Vec::as_slice).unwrap_or_default();
    let attempts = attempts.iter().filter_map(|attempt| read_attempt(attempt.as_document()?));
    let mut attempts: Vec<_> = attempts.collect();
    attempts.sort_by_key(|attempt| attempt.at); // They may have been recorded in another order.
    Some(DeliveryRecord {
        delivery: Delivery {
            id: text("_id")?,
            endpoint: text("endpointId")?,
            message_id: text("messageId")?,
            event_type: text("type")?,
            call_id: text("callId"),
            conversation_id: text("conversationId"),
            stream: text("stream")?,
            sequence: u64::try_from(document.get_i64("sequence").ok()?).ok()?,
        },
        state: DeliveryState::parse(document.get_str("state").ok()?)?,
        attempt_count: u32::try_from(document.get_i32("attemptCount").ok()?).ok()?,
        attempts,
        next_attempt_at: date(document, "nextAttemptAt"),
        created_at: date(document, "createdAt")?,
    })
}

fn read_attempt(document: &Document) -> Option<Attempt> {
    let text = |field: &str| document.get_str(field).ok().map(str::to_owned);
    let milliseconds = u64::try_from(document.get_i64("durationMs").ok()?).ok()?;
    Some(Attempt {
        at: date(document, "at")?,
        duration: Duration::from_millis(milliseconds),
        status: document.get_i32("status").ok().and_then(|status| u16::try_from(status).ok()),
        answer: text("answer"),
        error: text("error"),
    })
}
