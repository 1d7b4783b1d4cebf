//! Indexes of `agent_calls` and `erased_calls`.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use mongodb::{
    Collection, IndexModel,
    bson::{Document, doc},
    error::Result,
    options::IndexOptions,
};

use super::views::{METADATA, list_indexes, time_index};

/// The indexes by which the server erases old calls: name and field. A document of an earlier version has no
/// `_storedAt`, so its age counts from its creation.
const RETENTION: [(&str, &str); 2] = [("retention", "_storedAt"), ("retention_by_creation", "createdAt")];

/// How long ids of erased calls are kept: as long as the messages of the stream `CALLS`.
const ERASED_MAX_AGE: Duration = Duration::from_hours(30 * 24);

/// Names of indexes of earlier versions, which are dropped.
const OUTDATED: [&str; 4] = [
    "transcriptState_1",
    "status_1_statusUpdatedAt_-1",
    "createdAt_-1_status_1",
    "batchCallId_1_createdAt_-1",
];

/// Makes the server erase calls that are older than `time`. `None`: calls are kept for ever.
pub(super) async fn retain(calls: Collection<Document>, time: Option<Duration>) -> Result<()> {
    let found: Vec<IndexModel> = calls.list_indexes().await?.try_collect().await?;
    for (name, field) in RETENTION {
        let keys = doc! { field: 1 };
        let mut found = found.iter().filter(|index| is_named(index, name));
        let is_there = match found.next() {
            // An earlier version made this index on another field.
            Some(index) if index.keys != keys => {
                calls.drop_index(name).await?;
                false
            }
            found => found.is_some(),
        };
        match time {
            None if is_there => calls.drop_index(name).await?,
            None => {}
            Some(time) if is_there => {
                let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
                let database = calls.client().database(&calls.namespace().db);
                let index = doc! { "name": name, "expireAfterSeconds": seconds };
                database.run_command(doc! { "collMod": calls.name(), "index": index }).await.map(drop)?;
            }
            Some(time) => {
                let mut options = IndexOptions::builder().name(name.to_owned()).expire_after(time).build();
                if field == "createdAt" {
                    options.partial_filter_expression = Some(doc! { "_storedAt": null });
                }
                calls.create_index(IndexModel::builder().keys(keys).options(options).build()).await?;
            }
        }
    }
    Ok(())
}

/// Makes the server delete old ids of erased calls. Idempotent.
pub(super) async fn retain_erased(erased: Collection<Document>) -> Result<()> {
    let options = IndexOptions::builder().expire_after(ERASED_MAX_AGE).build();
    let index = IndexModel::builder().keys(doc! { "updatedAt": 1 }).options(options).build();
    erased.create_index(index).await.map(drop)
}

fn is_named(index: &IndexModel, name: &str) -> bool {
    index.options.as_ref().is_some_and(|options| options.name.as_deref() == Some(name))
}

/// Creates the missing indexes and drops the indexes of earlier versions. Idempotent.
pub(super) async fn create(calls: Collection<Document>) -> Result<()> {
    let unique = |field: &str| {
        // Partial, because calls without the id must not collide.
        let options = IndexOptions::builder()
            .unique(true)
            .partial_filter_expression(doc! { field: { "$exists": true } })
            .build();
        IndexModel::builder().keys(doc! { field: 1 }).options(options).build()
    };
    let plain = |keys: Document| IndexModel::builder().keys(keys).build();
    let partial = |keys: Document, filter: Document| {
        let options = IndexOptions::builder().partial_filter_expression(filter).build();
        IndexModel::builder().keys(keys).options(options).build()
    };
    let mut indexes = vec![
        unique("callId"),
        unique("conversationId"),
        unique("_placementId"),
        unique("_idempotencyKey"),
        // Calls with several conversations.
        partial(doc! { "sharedCallId": 1 }, doc! { "sharedCallId": { "$exists": true } }),
        // Two of the three monitoring queries: failures by reason, and statuses over a day. The third one,
        // failed calls, uses an index of the lists.
        plain(doc! { "failureReason": 1 }),
        plain(time_index()),
        // Placements whose result is unknown.
        partial(doc! { "_placement.at": 1 }, doc! { "_placement.open": true }),
        // Pending transcripts and recordings. These indexes are small even if many calls are stored.
        partial(doc! { "transcriptState": 1, "conversationId": 1 }, doc! { "transcriptState": "owed" }),
        partial(doc! { "recordingState": 1, "conversationId": 1 }, doc! { "recordingState": "owed" }),
    ];
    let lists = list_indexes().map(|(keys, field)| match field {
        Some(field) => partial(keys, doc! { field: { "$gt": "" } }),
        None => plain(keys),
    });
    let (metadata, lists): (Vec<_>, Vec<_>) = lists.partition(|index| index.keys.contains_key(METADATA));
    indexes.extend(lists);
    calls.create_indexes(indexes).await?;
    let found = calls.list_index_names().await?;
    if !found.iter().any(|name| name.starts_with(METADATA)) {
        fill_metadata(&calls).await?;
    }
    calls.create_indexes(metadata).await?;
    for name in found.iter().filter(|name| OUTDATED.contains(&name.as_str())) {
        calls.drop_index(name).await?;
    }
    Ok(())
}

/// Adds the texts by which lists find the caller's metadata to the calls of an earlier version.
async fn fill_metadata(calls: &Collection<Document>) -> Result<()> {
    let filter = doc! { "_placementId": { "$exists": true }, "placementMetadata": { "$type": "object" } };
    let text = doc! { "$concat": ["$$text.k", "=", "$$text.v"] };
    let texts =
        doc! { "$map": { "input": { "$objectToArray": "$placementMetadata" }, "as": "text", "in": text } };
    calls.update_many(filter, vec![doc! { "$set": { METADATA: texts } }]).await.map(drop)
}
