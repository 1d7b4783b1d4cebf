//! Indexes of `agent_calls`.

use std::time::Duration;

use mongodb::{
    Collection, IndexModel,
    bson::{Document, doc},
    error::Result,
    options::IndexOptions,
};

/// The index by which the server erases old calls.
const RETENTION: &str = "retention";

/// Names of indexes that nothing uses any more.
const OUTDATED: [&str; 1] = ["transcriptState_1"];

/// Makes the server erase calls that were created so long ago, or none.
pub(super) async fn retain(calls: Collection<Document>, time: Option<Duration>) -> Result<()> {
    let found = calls.list_index_names().await?.iter().any(|name| name == RETENTION);
    match time {
        None if found => calls.drop_index(RETENTION).await,
        None => Ok(()),
        Some(time) if found => {
            let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
            let database = calls.client().database(&calls.namespace().db);
            let index = doc! { "name": RETENTION, "expireAfterSeconds": seconds };
            database.run_command(doc! { "collMod": calls.name(), "index": index }).await.map(drop)
        }
        Some(time) => {
            let options = IndexOptions::builder().name(RETENTION.to_owned()).expire_after(time).build();
            let index = IndexModel::builder().keys(doc! { "createdAt": 1 }).options(options).build();
            calls.create_index(index).await.map(drop)
        }
    }
}

/// Creates what is missing. Idempotent.
pub(super) async fn create(calls: Collection<Document>) -> Result<()> {
    let unique = |field: &str| {
        // Partial, so that calls without the id do not collide on its absence.
        let options = IndexOptions::builder()
            .unique(true)
            .partial_filter_expression(doc! { field: { "$exists": true } })
            .build();
        IndexModel::builder().keys(doc! { field: 1 }).options(options).build()
    };
    let plain = |keys: Document| IndexModel::builder().keys(keys).build();
    let transcripts =
        IndexOptions::builder().partial_filter_expression(doc! { "transcriptState": "owed" }).build();
    let placements =
        IndexOptions::builder().partial_filter_expression(doc! { "_placement.open": true }).build();
    let indexes = [
        unique("callId"),
        unique("conversationId"),
        unique("_placementId"),
        unique("_idempotencyKey"),
        // The three monitoring queries: failed calls, failures by reason, distribution over a day.
        plain(doc! { "status": 1, "statusUpdatedAt": -1 }),
        plain(doc! { "failureReason": 1 }),
        plain(doc! { "createdAt": -1, "status": 1 }),
        // Only the placements of which nobody knows what became.
        IndexModel::builder().keys(doc! { "_placement.at": 1 }).options(placements).build(),
        // Only the transcripts still owed: small however many calls there are.
        IndexModel::builder()
            .keys(doc! { "transcriptState": 1, "conversationId": 1 })
            .options(transcripts)
            .build(),
    ];
    calls.create_indexes(indexes).await?;
    // Of earlier versions.
    let found = calls.list_index_names().await?;
    for name in found.iter().filter(|name| OUTDATED.contains(&name.as_str())) {
        calls.drop_index(name).await?;
    }
    Ok(())
}
