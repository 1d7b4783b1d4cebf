//! The change stream of the calls, as the role `deliver` reads it.
//!
//! Erased calls come from the collection `erased_calls`: a deletion of a document may also mean that the
//! document was merged into another one, and it does not say which call the document held.

use std::time::Duration;

use jiff::Timestamp;
use mongodb::{
    Database,
    bson::{Document, RawDocumentBuf, Timestamp as BsonTimestamp, doc, oid::ObjectId},
    change_stream::{ChangeStream, event::ResumeToken},
    error::{Error, ErrorKind},
};
use serde::de::DeserializeOwned;

use super::{
    connection::{COLLECTION, ERASED, Store},
    error::StoreError,
};
use crate::domain::delivery::EventType;

/// Longest time that the server waits for a change before it answers that nothing changed.
pub(super) const MAX_AWAIT: Duration = Duration::from_millis(500);

/// The events of [`EventType::OF_A_CHANGE`], each with the field whose change causes it.
const PARTS: [(EventType, &str); EventType::OF_A_CHANGE.len()] = [
    (EventType::Status, "status"),
    (EventType::Outcome, "outcome"),
    (EventType::Transcript, "transcriptState"),
];

/// A change of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallChange {
    /// The `_id` of the document of the call, or of its ids in `erased_calls`.
    pub id: ObjectId,
    /// The events that the change causes, if the call has the changed part.
    pub events: Vec<EventType>,
}

/// A position in the change stream: everything before it was read.
#[derive(Clone, Debug)]
pub struct Position {
    /// Continues the stream behind this position.
    pub token: ResumeToken,
    /// All changes that were committed before this time are before the position.
    pub time: Timestamp,
}

/// Why changes cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangesError {
    /// The server no longer has the changes behind the position.
    #[error("MongoDB no longer has the changes since the last published one")]
    HistoryLost,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The changes of all calls behind a position, in the order of their commits.
pub struct CallChanges {
    changes: ChangeStream<RawDocumentBuf>,
    position: Position,
}

impl Store {
    /// Opens the stream of changes behind `position`. Without a position, it has every change that a later read may
    /// not see.
    ///
    /// # Errors
    /// See [`ChangesError`].
    pub async fn changes_since(&self, position: Option<ResumeToken>) -> Result<CallChanges, ChangesError> {
        let (database, now) = (self.database.clone(), Timestamp::now());
        let opened = self.run(async move {
            let changes = database.watch().pipeline(stages()).max_await_time(MAX_AWAIT);
            let changes = match position {
                Some(position) => changes.resume_after(position),
                None => changes.start_at_operation_time(committed_time(&database).await?),
            };
            match changes.await {
                Ok(changes) => Ok(Ok(changes.with_type())),
                Err(error) if is_history_lost(&error) => Ok(Err(ChangesError::HistoryLost)),
                Err(error) => Err(error),
            }
        });
        let changes: ChangeStream<RawDocumentBuf> = opened.await??;
        let token = changes.resume_token().ok_or_else(without_token)?;
        Ok(CallChanges { changes, position: Position { token, time: now } })
    }
}

impl CallChanges {
    /// The next change, or `None` if nothing changes within half a second. [`Self::position`] is behind it
    /// then. The future must not be dropped before it is done.
    ///
    /// # Errors
    /// See [`ChangesError`].
    pub async fn next(&mut self) -> Result<Option<CallChange>, ChangesError> {
        let asked_at = Timestamp::now();
        let event = match self.changes.next_if_any().await {
            Ok(event) => event,
            Err(error) if is_history_lost(&error) => return Err(ChangesError::HistoryLost),
            Err(error) => return Err(StoreError::from(error).into()),
        };
        if event.is_none() {
            check_alive(&self.changes)?;
        }
        self.position.token = self.changes.resume_token().ok_or_else(without_token)?;
        let Some(event) = event else {
            self.position.time = asked_at;
            return Ok(None);
        };
        if let Ok(time) = event.get_timestamp("clusterTime") {
            let time = Timestamp::from_second(i64::from(time.time)).unwrap_or(Timestamp::UNIX_EPOCH);
            self.position.time = self.position.time.max(time);
        }
        Ok(change(&event))
    }

    /// The position behind the last change that was returned.
    pub fn position(&self) -> &Position {
        &self.position
    }
}

/// The time up to which a read sees every write. A write may be later and still be on its way to a majority; a stream
/// from now on would begin behind it, and a read would not see it yet.
async fn committed_time(database: &Database) -> Result<BsonTimestamp, Error> {
    let mut session = database.client().start_session().await?;
    database.collection::<Document>(COLLECTION).find_one(doc! { "_id": null }).session(&mut session).await?;
    session.operation_time().ok_or_else(|| Error::custom("the server tells no operation time".to_owned()))
}

/// The stages that select the changes and reduce them to what [`change`] reads.
fn stages() -> [Document; 2] {
    let mut fields = doc! {
        "operationType": 1, "clusterTime": 1, "collection": "$ns.coll", "id": "$documentKey._id",
    };
    let mut some_part = Vec::new();
    for (_, field) in PARTS {
        let path = format!("updateDescription.updatedFields.{field}");
        fields.insert(field, doc! { "$ne": [{ "$type": format!("${path}") }, "missing"] });
        some_part.push(doc! { path: { "$exists": true } });
    }
    let of_calls = doc! {
        "ns.coll": COLLECTION,
        "$or": [
            { "operationType": { "$in": ["insert", "replace"] } },
            { "operationType": "update", "$or": some_part },
        ],
    };
    let of_erased = doc! { "ns.coll": ERASED, "operationType": { "$in": ["insert", "replace"] } };
    [doc! { "$match": { "$or": [of_calls, of_erased] } }, doc! { "$project": fields }]
}

/// Reads a change that [`stages`] reduced. `None` if the id of the document is not an `ObjectId`, as no
/// document of a worker has it.
fn change(event: &RawDocumentBuf) -> Option<CallChange> {
    let id = event.get_object_id("id").ok()?;
    let is_updated = |field: &str| event.get_bool(field).unwrap_or(true);
    let updated = PARTS.into_iter().filter(|(_, field)| is_updated(field)).map(|(event, _)| event);
    let events = match (event.get_str("collection").ok()?, event.get_str("operationType").ok()?) {
        (ERASED, _) => vec![EventType::Erased],
        (_, "insert") => [EventType::Created].into_iter().chain(EventType::OF_A_CHANGE).collect(),
        (_, "update") => updated.collect(),
        _ => EventType::OF_A_CHANGE.to_vec(), // What a replacement changes is unknown.
    };
    Some(CallChange { id, events })
}

/// Fails if the stream of changes has ended. A stream that has no change at the moment has not.
pub(super) fn check_alive<T: DeserializeOwned>(changes: &ChangeStream<T>) -> Result<(), StoreError> {
    if changes.is_alive() {
        return Ok(());
    }
    Err(StoreError::Unavailable("the change stream has ended".to_owned()))
}

/// Whether the server no longer has the changes behind a token: the codes of `InvalidResumeToken`,
/// `ChangeStreamFatalError`, `ChangeStreamHistoryLost`, and of a token that the server cannot read.
fn is_history_lost(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(command) if matches!(command.code, 260 | 280 | 286 | 50_811))
}

fn without_token() -> StoreError {
    StoreError::Unavailable("the change stream has no resume token".to_owned())
}
