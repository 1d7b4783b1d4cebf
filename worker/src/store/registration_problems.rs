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

    /// The labels of the problems that a check at `since` or later found. Empty if there was no check.
    pub async fn registration_problems(&self, since: Timestamp) -> Result<Vec<String>, StoreError> {
        let collection = self.leases();
        let found =
            self.run(async move { collection.find_one(doc! { "_id": ID }).max_time(SERVER_TIME).await });
        let Some(found) = found.await?.filter(|found| date(found, "checkedAt").is_some_and(|at| at >= since))
        else {
            return Ok(Vec::new());
        };
        let problems = found.get_array("problems").into_iter().flatten();
        Ok(problems.filter_map(Bson::as_str).map(str::to_owned).collect())
    }
}
