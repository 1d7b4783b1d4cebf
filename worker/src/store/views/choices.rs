//! The values that a filter of the list of calls can have, read from the keys of an index.

use futures_util::TryStreamExt as _;
use mongodb::{
    bson::{Document, doc},
    options::Hint,
};

use super::{
    connection::{SERVER_TIME, Views},
    plan::{agent_index, index_of, reason_index},
    row::MAX_TEXT,
};
use crate::store::error::StoreError;

/// Most reasons that are read: the first ones in alphabetical order.
pub const MAX_KNOWN_REASONS: usize = 500;
/// Most agents, batches and campaigns that are offered.
const MAX_OFFERED: usize = 200;

/// An agent of stored calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its id.
    pub id: String,
    /// Its name in one of the calls. `None`: that call names none.
    pub name: Option<String>,
}

/// The values of stored calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// The reasons for which calls failed, in alphabetical order.
    pub reasons: Vec<String>,
    /// Agents.
    pub agents: Vec<Agent>,
    /// Ids of batches.
    pub batches: Vec<String>,
    /// Ids of campaigns.
    pub campaigns: Vec<String>,
}

impl Views {
    /// The values that a filter can have.
    pub async fn choices(&self) -> Result<Choices, StoreError> {
        let (reasons, agents, batches, campaigns) = tokio::try_join!(
            self.values("failureReason", doc! {}, reason_index(), MAX_KNOWN_REASONS),
            self.values("agentId", doc! { "name": { "$first": "$agentName" } }, agent_index(), MAX_OFFERED),
            self.values("batchCallId", doc! {}, index_of("batchCallId"), MAX_OFFERED),
            self.values("campaignId", doc! {}, index_of("campaignId"), MAX_OFFERED),
        )?;
        let text = |found: &Document, field: &str| found.get_str(field).ok().map(str::to_owned);
        let texts = |found: Vec<Document>| {
            let mut texts: Vec<_> = found.iter().filter_map(|found| text(found, "_id")).collect();
            texts.sort_unstable();
            texts
        };
        let agents = agents.iter().filter_map(|found| {
            Some(Agent { id: text(found, "_id")?, name: text(found, "name").filter(|name| !name.is_empty()) })
        });
        Ok(Choices {
            reasons: texts(reasons),
            agents: agents.collect(),
            batches: texts(batches),
            campaigns: texts(campaigns),
        })
    }

    /// The values of `field`, each once, with further `fields` of a group. The server jumps from value to value.
    async fn values(
        &self,
        field: &'static str,
        fields: Document,
        index: Document,
        most: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let calls = self.store.calls.clone();
        let mut group = doc! { "_id": format!("${field}") };
        group.extend(fields);
        self.ask(async move {
            let stages = [
                doc! { "$match": { field: { "$gt": "" } } },
                doc! { "$sort": { field: 1 } },
                doc! { "$group": group },
                doc! { "$limit": i64::try_from(most).unwrap_or(i64::MAX) },
                // A filter compares whole texts. A longer text would be cut and would match nothing, so it is not
                // offered.
                doc! { "$match": { "$expr": { "$lte": [{ "$strLenCP": "$_id" }, MAX_TEXT] } } },
            ];
            let cursor = calls.aggregate(stages).hint(Hint::Keys(index)).max_time(SERVER_TIME);
            cursor.await?.try_collect::<Vec<_>>().await
        })
        .await
    }
}
