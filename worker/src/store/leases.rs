//! Leases: of several workers, one does a piece of work.
//!
//! A lease ends by itself, so that another worker takes over the work of a killed one. All leases are in the
//! collection `reconciliation`, where earlier versions look for them.

use std::time::Duration;

use jiff::Timestamp;
use mongodb::{
    Collection,
    bson::{Document, doc},
    error::{Error, ErrorKind},
    options::ReturnDocument,
};

use super::{
    connection::Store,
    convert::bson_date,
    error::{DUPLICATE_KEY, StoreError},
};
use crate::domain::time::after;

const COLLECTION: &str = "reconciliation";

/// Work that one worker does at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// A pass of reconciliation.
    Pass,
    /// Registering the webhook at ElevenLabs.
    Registration,
    /// Publishing changes of calls.
    Deliver,
    /// Adding the last digits of numbers to calls of earlier versions.
    NumberSuffixes,
}

impl Lease {
    /// The `_id` of its document.
    pub(super) fn id(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Registration => "registration",
            Self::Deliver => "deliver",
            Self::NumberSuffixes => "numberSuffixes",
        }
    }
}

impl Store {
    /// Takes or extends a lease, until `time` from `now`. Returns whether `owner` has it.
    pub async fn lease(
        &self,
        lease: Lease,
        owner: &str,
        now: Timestamp,
        time: Duration,
    ) -> Result<bool, StoreError> {
        let filter = doc! { "_id": lease.id(), "$or": [
            { "owner": owner }, { "leaseUntil": { "$exists": false } }, { "leaseUntil": { "$lt": bson_date(now) } },
        ] };
        let update = doc! { "$set": { "owner": owner, "leaseUntil": bson_date(after(now, time)) } };
        let leases = self.leases();
        self.run(async move {
            let taken = leases.find_one_and_update(filter, update).upsert(true);
            match taken.return_document(ReturnDocument::After).await {
                Ok(_) => Ok(true),
                Err(error) if is_duplicate(&error) => Ok(false), // Another worker has the lease.
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Returns a lease that `owner` has.
    pub async fn end_lease(&self, lease: Lease, owner: &str) -> Result<(), StoreError> {
        let update = doc! { "$unset": { "leaseUntil": "", "owner": "" } };
        let (leases, filter) = (self.leases(), doc! { "_id": lease.id(), "owner": owner });
        self.run(async move { leases.update_one(filter, update).await }).await.map(drop)
    }

    pub(super) fn leases(&self) -> Collection<Document> {
        self.database.collection(COLLECTION)
    }
}

fn is_duplicate(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(error) if error.code == DUPLICATE_KEY)
}
