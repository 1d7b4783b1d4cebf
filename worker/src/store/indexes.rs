//! Indexes of `agent_calls`.

use mongodb::{
    Collection, IndexModel,
    bson::{Document, doc},
    error::Result,
    options::IndexOptions,
};

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
        IndexModel::builder().keys(doc! { "transcriptState": 1 }).options(transcripts).build(),
    ];
    calls.create_indexes(indexes).await.map(drop)
}
