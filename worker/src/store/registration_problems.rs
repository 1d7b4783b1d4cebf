//! The problems that the latest check of the webhook at ElevenLabs found. The role `reconcile` checks, and the console
//! of another worker shows them.

use jiff::Timestamp;
use mongodb::bson::{Bson, doc};

use super::{
    connection::{SERVER_TIME, Store},
    convert::{bson_date, date},
    error::StoreError,
};

/// The `_id` of the document in the collection of the leases.
const ID: &str = "webhook";

/// A check of the webhook at ElevenLabs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationCheck {
    /// When.
    pub at: Timestamp,
    /// The labels of the problems that it found.
    pub problems: Vec<String>,
}

impl Store {
    /// Keeps the labels of the problems that the check at `now` found.
    pub async fn record_registration_problems(
        &self,
        problems: &[&'static str],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let collection = self.leases();
        let update = doc! { "$set": { "checkedAt": bson_date(now), "problems": problems } };
        self.run(async move { collection.update_one(doc! { "_id": ID }, update).upsert(true).await })
            .await
            .map(drop)
    }

    /// The latest check. `None`: there was none at `since` or later.
    pub async fn registration_check(
        &self,
        since: Timestamp,
    ) -> Result<Option<RegistrationCheck>, StoreError> {
        let collection = self.leases();
        let found =
            self.run(async move { collection.find_one(doc! { "_id": ID }).max_time(SERVER_TIME).await });
        let Some(found) = found.await? else { return Ok(None) };
        let Some(at) = date(&found, "checkedAt").filter(|at| *at >= since) else { return Ok(None) };
        let problems = found.get_array("problems").into_iter().flatten();
        let problems = problems.filter_map(Bson::as_str).map(str::to_owned).collect();
        Ok(Some(RegistrationCheck { at, problems }))
    }
}
