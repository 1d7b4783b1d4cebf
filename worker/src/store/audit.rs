//! What people did in the console: the collection `console_audit`.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use mongodb::{
    Collection, IndexModel,
    bson::{Document, doc},
    error::Result as DriverResult,
    options::IndexOptions,
};

use super::{
    connection::Store,
    convert::{bson_date, date, listed_after},
    error::StoreError,
    views::Cursor,
};
use crate::domain::audit::{Action, AuditEntry, Login, Object, ObjectKind, Person};

const COLLECTION: &str = "console_audit";
/// How long an entry is kept.
const MAX_AGE: Duration = Duration::from_hours(365 * 24);

impl Store {
    pub(super) fn audit_collection(&self) -> Collection<Document> {
        self.database.collection(COLLECTION)
    }

    /// Creates the indexes of the collection. Idempotent.
    pub(super) async fn prepare_audit(&self) -> Result<(), StoreError> {
        let audit = self.audit_collection();
        let expiry = IndexOptions::builder().expire_after(MAX_AGE).build();
        let indexes = [
            IndexModel::builder().keys(doc! { "at": 1 }).options(expiry).build(),
            IndexModel::builder().keys(doc! { "at": -1, "_id": -1 }).build(),
        ];
        self.run(async move { audit.create_indexes(indexes).await }).await.map(drop)
    }

    /// Adds an entry.
    pub async fn record_audit(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        let (audit, document) = (self.audit_collection(), to_document(entry));
        self.run(async move { audit.insert_one(document).await }).await.map(drop)
    }
}

/// Reads at most `limit` entries that are older than `before`, the latest first.
pub(super) async fn page(
    audit: Collection<Document>,
    before: Option<Cursor>,
    limit: i64,
    max_time: Duration,
) -> DriverResult<Vec<Document>> {
    let conditions = before.map_or_else(Document::new, |before| listed_after("at", before.at, before.id));
    let found = audit.find(conditions).sort(doc! { "at": -1, "_id": -1 }).limit(limit);
    found.max_time(max_time).await?.try_collect().await
}

fn to_document(entry: &AuditEntry) -> Document {
    doc! {
        "at": bson_date(entry.at),
        "by": &entry.by.name,
        "login": entry.by.login.as_str(),
        "action": entry.action.as_str(),
        "kind": entry.object.kind.as_str(),
        "object": &entry.object.name,
    }
}

/// The position of an entry in the list.
pub(super) fn position(document: &Document) -> Option<Cursor> {
    Some(Cursor { at: date(document, "at")?, id: document.get_object_id("_id").ok()? })
}

/// Reads an entry. `None`: it has an action, a login or a kind that this version does not know.
pub(super) fn from_document(document: &Document) -> Option<AuditEntry> {
    let text = |field: &str| document.get_str(field).ok();
    Some(AuditEntry {
        at: date(document, "at")?,
        by: Person { name: text("by")?.to_owned(), login: Login::parse(text("login")?)? },
        action: Action::parse(text("action")?)?,
        object: Object { kind: ObjectKind::parse(text("kind")?)?, name: text("object")?.to_owned() },
    })
}
