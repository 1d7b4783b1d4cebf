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
const FIELDS: [(EventType, &str); EventType::OF_A_CHANGE.len()] = [
    (EventType::Status, "status"),
    (EventType::Outcome, "outcome"),
    (EventType::Transcript, "transcriptState"),
];

/// A change of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallChange {
    /// The `_id` of the call's document. An erased call has the same `_id` in `erased_calls`.
    pub id: ObjectId,
    /// The events that the change causes, if the call has the changed field.
    pub events: Vec<EventType>,
}

/// A position in the change stream: everything before it was published.
#[derive(Clone, Debug)]
pub struct Position {
    /// Continues the stream after this position. `None`: no change was read yet, so calls are scanned from `time` on.
    pub token: Option<ResumeToken>,
    /// All changes that were committed before this time are before the position. It comes from the clocks of the
    /// server and of the workers, so it may be off by their difference.
    pub time: Timestamp,
}

/// Why changes cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangesError {
    /// The server no longer has the changes after the position.
    #[error("MongoDB no longer has the changes since the last published one")]
    HistoryLost,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The changes of all calls after a position, in the order of their commits.
pub struct CallChanges {
    changes: ChangeStream<RawDocumentBuf>,
    /// See [`Position::time`].
    time: Timestamp,
    /// When the server was last asked.
    asked_at: Option<Timestamp>,
}

impl Store {
    /// Opens the stream of changes after `position`. Without a token, the stream starts so early that each change is in
    /// the stream, or visible to every later read.
    ///
    /// # Errors
    /// See [`ChangesError`].
    pub async fn changes_since(&self, position: Position) -> Result<CallChanges, ChangesError> {
        let database = self.database.clone();
        let Position { token, time } = position;
        let opened = self.run(async move {
            let changes = database.watch().pipeline(stages()).max_await_time(MAX_AWAIT);
            let changes = match token {
                Some(token) => changes.resume_after(token),
                None => changes.start_at_operation_time(committed_time(&database).await?),
            };
            match changes.await {
                Ok(changes) => Ok(Ok(changes.with_type())),
                Err(error) if is_history_lost(&error) => Ok(Err(ChangesError::HistoryLost)),
                Err(error) => Err(error),
            }
        });
        Ok(CallChanges { changes: opened.await??, time, asked_at: None })
    }
}

impl CallChanges {
    /// Waits for the next change. Returns it with the position after it. No change: none came within half a second,
    /// or a document changed that is no call of a worker.
    ///
    /// The future must not be dropped before it is done (RUST-937).
    ///
    /// # Errors
    /// See [`ChangesError`].
    pub async fn next(&mut self) -> Result<(Option<CallChange>, Position), ChangesError> {
        // The driver may answer once without asking the server, from what came when the stream was opened. So if there is no
        // change, the time of the question before this one counts.
        let asked_before = self.asked_at.replace(Timestamp::now());
        let event = match self.changes.next_if_any().await {
            Ok(event) => event,
            Err(error) if is_history_lost(&error) => return Err(ChangesError::HistoryLost),
            Err(error) => return Err(StoreError::from(error).into()),
        };
        let time = if let Some(event) = &event {
            let time = event.get_timestamp("clusterTime").ok();
            time.and_then(|time| Timestamp::from_second(i64::from(time.time)).ok())
        } else {
            check_alive(&self.changes)?;
            asked_before
        };
        self.time = time.unwrap_or(self.time);
        let position = self.position();
        if position.token.is_none() {
            return Err(StoreError::Unavailable(
                "MongoDB returned a change stream without a token".to_owned(),
            )
            .into());
        }
        Ok((event.as_ref().and_then(change), position))
    }

    /// The position after the last change that was returned. Before the first one, it has no token if the stream begins
    /// with changes that the server knows already: then the driver has no token of its begin.
    pub fn position(&self) -> Position {
        Position { token: self.changes.resume_token(), time: self.time }
    }
}

/// The latest time of which every write is committed by a majority, so that reads see it. The stream must not start at
/// the current time: a write may have an earlier time and not be committed yet. Then neither the stream nor a read would
/// have the write.
async fn committed_time(database: &Database) -> Result<BsonTimestamp, Error> {
    let mut session = database.client().start_session().await?;
    database.collection::<Document>(COLLECTION).find_one(doc! { "_id": null }).session(&mut session).await?;
    session.operation_time().ok_or_else(|| Error::custom("MongoDB returned no operationTime"))
}

/// The stages that select the changes and reduce them to what [`change`] reads.
fn stages() -> [Document; 2] {
    let mut fields = doc! {
        "operationType": 1, "clusterTime": 1, "collection": "$ns.coll", "id": "$documentKey._id",
    };
    let mut any_field = Vec::new();
    for (_, field) in FIELDS {
        let path = format!("updateDescription.updatedFields.{field}");
        fields.insert(field, doc! { "$ne": [{ "$type": format!("${path}") }, "missing"] });
        any_field.push(doc! { path: { "$exists": true } });
    }
    let of_calls = doc! {
        "ns.coll": COLLECTION,
        "$or": [
            { "operationType": { "$in": ["insert", "replace"] } },
            { "operationType": "update", "$or": any_field },
        ],
    };
    let of_erased = doc! { "ns.coll": ERASED, "operationType": { "$in": ["insert", "replace"] } };
    [doc! { "$match": { "$or": [of_calls, of_erased] } }, doc! { "$project": fields }]
}

/// Reads a change that [`stages`] reduced. `None`: the id of the document is not an `ObjectId`, so no worker wrote it.
fn change(event: &RawDocumentBuf) -> Option<CallChange> {
    let id = event.get_object_id("id").ok()?;
    let is_updated = |field: &str| event.get_bool(field).unwrap_or(true);
    let updated = FIELDS.into_iter().filter(|(_, field)| is_updated(field)).map(|(event, _)| event);
    let events = match (event.get_str("collection").ok()?, event.get_str("operationType").ok()?) {
        (ERASED, _) => vec![EventType::Erased],
        (_, "insert") => [EventType::Created].into_iter().chain(EventType::OF_A_CHANGE).collect(),
        (_, "update") => updated.collect(),
        _ => EventType::OF_A_CHANGE.to_vec(), // What a replacement changes is unknown.
    };
    Some(CallChange { id, events })
}

/// Fails if the stream of changes has ended. A stream without a change at the moment goes on.
pub(super) fn check_alive<T: DeserializeOwned>(changes: &ChangeStream<T>) -> Result<(), StoreError> {
    if changes.is_alive() {
        return Ok(());
    }
    Err(StoreError::Unavailable("the change stream has ended".to_owned()))
}

/// Whether the server no longer has the changes after a token: the codes of `InvalidResumeToken`,
/// `ChangeStreamFatalError`, `ChangeStreamHistoryLost`, and of a token that the server cannot read.
fn is_history_lost(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(command) if matches!(command.code, 260 | 280 | 286 | 50_811))
}
