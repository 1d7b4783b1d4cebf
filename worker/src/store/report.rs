//! Queries over many calls: how calls end, why they fail, which transcripts are slow. Read only.
//!
//! Invariant: every query uses an index, so that it never reads a whole collection. The test of
//! `aftercall-worker report` checks the server's plans.

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use mongodb::bson::{Bson, Document, doc};

use super::{
    connection::{COLLECTION, SERVER_TIME, Store},
    convert::{bson_date, count_if},
    error::StoreError,
    views::beginning,
};
use crate::domain::call::Status;

/// Most groups or hours in one answer.
const MAX_GROUPS: i64 = 1000;

/// Most calls of a batch that are read.
const MAX_BATCH_CALLS: i64 = 200_000;

/// One query.
#[derive(Clone, Debug)]
pub struct Question {
    /// Stable name.
    pub name: &'static str,
    stages: Vec<Document>,
}

impl Question {
    pub(super) fn new(name: &'static str, stages: Vec<Document>) -> Self {
        Self { name, stages }
    }

    pub(super) fn stages(&self) -> &[Document] {
        &self.stages
    }
}

/// How the server would run a query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The stages of the chosen plan, outermost first.
    pub stages: Vec<String>,
    /// The indexes that the plan uses.
    pub indexes: Vec<String>,
}

/// The statuses that count as failed in the queries of operators.
fn failed() -> Vec<&'static str> {
    Status::ALL.into_iter().filter(|status| status.is_failure()).map(Status::as_str).collect()
}

/// All queries about the calls that began between `since` and `until`. `named` is the number of calls that a
/// query lists by name.
pub fn questions(since: Timestamp, until: Timestamp, named: u32) -> [Question; 7] {
    let within = doc! { "createdAt": { "$gte": bson_date(since), "$lt": bson_date(until) } };
    let question = |name, stages: Vec<Document>| Question { name, stages };
    [
        question("statuses", groups(&within, "$status")),
        question("outcomes", groups(&with(&within, doc! { "outcome": { "$exists": true } }), "$outcome")),
        question("failures", failures(&within)),
        question("hours", hours(&within)),
        question("failed_calls", failed_calls(named)),
        question("slowest_transcripts", slowest_transcripts(&within, named)),
        question("owed_transcripts", owed_transcripts(until, named)),
    ]
}

/// The query for the calls of the batch `id`, the latest first.
pub fn calls_of_batch(id: &str) -> Question {
    let found = doc! { "$match": { "batchCallId": id } };
    let stages =
        vec![found, doc! { "$sort": { "createdAt": -1 } }, doc! { "$limit": MAX_BATCH_CALLS }, member()];
    Question { name: "calls", stages }
}

/// The query for the calls with these conversations.
pub fn calls_of_conversations(ids: &[&str]) -> Question {
    Question {
        name: "conversations",
        stages: vec![doc! { "$match": { "conversationId": { "$in": ids } } }, member()],
    }
}

/// The fields of a call that the report of a batch shows.
fn member() -> Document {
    doc! { "$project": {
        "_id": 0, "batchCallRecipientId": 1, "conversationId": 1, "toNumber": beginning("$toNumber"), "status": 1,
        "callId": { "$ifNull": ["$callId", "$sharedCallId"] }, "outcome": 1,
        "failureReason": beginning("$failureReason"),
    } }
}

fn by_count() -> Document {
    doc! { "$sort": { "calls": -1, "_id": 1 } }
}

/// The number of calls for each value of the field at `path`.
fn groups(within: &Document, path: &str) -> Vec<Document> {
    vec![
        doc! { "$match": within },
        doc! { "$group": { "_id": path, "calls": { "$sum": 1_i64 } } },
        by_count(),
    ]
}

fn failures(within: &Document) -> Vec<Document> {
    vec![
        doc! { "$match": with(within, doc! { "failureReason": { "$ne": null } }) },
        doc! { "$group": { "_id": "$failureReason", "calls": { "$sum": 1_i64 } } },
        by_count(),
        doc! { "$limit": MAX_GROUPS },
        doc! { "$set": { "_id": beginning("$_id") } },
    ]
}

fn hours(within: &Document) -> Vec<Document> {
    let is_failed = doc! { "$in": ["$status", failed()] };
    vec![
        doc! { "$match": within },
        doc! { "$group": {
            "_id": { "$dateTrunc": { "date": "$createdAt", "unit": "hour" } },
            "calls": { "$sum": 1_i64 },
            "failed": count_if(is_failed),
        } },
        doc! { "$sort": { "_id": 1 } },
        doc! { "$limit": MAX_GROUPS },
    ]
}

fn failed_calls(named: u32) -> Vec<Document> {
    vec![
        doc! { "$match": { "status": { "$in": failed() } } },
        doc! { "$sort": { "createdAt": -1 } },
        doc! { "$limit": i64::from(named) },
        doc! { "$project": {
            "_id": 0, "callId": 1, "conversationId": 1, "status": 1,
            "failureReason": beginning("$failureReason"), "at": "$statusUpdatedAt",
        } },
    ]
}

fn slowest_transcripts(within: &Document, named: u32) -> Vec<Document> {
    let fetched = doc! { "_transcriptSavedAt": { "$exists": true }, "_owedSince": { "$exists": true } };
    let delay = doc! { "$subtract": ["$_transcriptSavedAt", "$_owedSince"] };
    vec![
        doc! { "$match": with(within, fetched) },
        doc! { "$project": { "_id": 0, "callId": 1, "conversationId": 1, "delayMs": delay } },
        doc! { "$sort": { "delayMs": -1 } },
        doc! { "$limit": i64::from(named) },
    ]
}

fn owed_transcripts(until: Timestamp, named: u32) -> Vec<Document> {
    let age = doc! { "$subtract": [bson_date(until), "$_owedSince"] };
    vec![
        doc! { "$match": { "transcriptState": "owed" } },
        doc! { "$project": { "_id": 0, "callId": 1, "conversationId": 1, "delayMs": age } },
        doc! { "$sort": { "delayMs": -1 } },
        doc! { "$limit": i64::from(named) },
    ]
}

/// A filter with the conditions of both.
fn with(filter: &Document, more: Document) -> Document {
    let mut filter = filter.clone();
    filter.extend(more);
    filter
}

impl Store {
    /// The answer to `question`.
    pub async fn ask(&self, question: &Question) -> Result<Vec<Document>, StoreError> {
        let (calls, stages) = (self.calls.clone(), question.stages.clone());
        self.run(async move { calls.aggregate(stages).max_time(SERVER_TIME).await?.try_collect().await })
            .await
    }

    /// How the server would run `question`.
    pub async fn explain(&self, question: &Question) -> Result<Plan, StoreError> {
        let asked = doc! { "aggregate": COLLECTION, "pipeline": question.stages.clone(), "cursor": {} };
        let command = doc! { "explain": asked, "verbosity": "queryPlanner" };
        let database = self.database.clone();
        let answer = self.run(async move { database.run_command(command).await }).await?;
        let mut plan = Plan::default();
        collect_plan(&answer.into(), &mut plan);
        Ok(plan)
    }
}

/// Collects stages and indexes of the winning plans in an explanation. Servers nest them in different ways.
fn collect_plan(part: &Bson, plan: &mut Plan) {
    match part {
        Bson::Document(document) => {
            for (name, value) in document {
                match (name.as_str(), value) {
                    ("rejectedPlans", _) => {}
                    ("stage", Bson::String(stage)) => plan.stages.push(stage.clone()),
                    ("indexName", Bson::String(index)) => {
                        if !plan.indexes.contains(index) {
                            plan.indexes.push(index.clone());
                        }
                    }
                    (_, value) => collect_plan(value, plan),
                }
            }
        }
        Bson::Array(parts) => parts.iter().for_each(|part| collect_plan(part, plan)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_winning_plan_is_read() {
        let scan = doc! { "stage": "IXSCAN", "indexName": "a_1" };
        let answer = doc! { "stages": [ { "$cursor": { "queryPlanner": {
            "winningPlan": { "queryPlan": { "stage": "FETCH", "inputStage": scan }, "slotBasedPlan": {} },
            "rejectedPlans": [ { "stage": "COLLSCAN" } ],
        } } } ] };
        let mut plan = Plan::default();
        collect_plan(&answer.into(), &mut plan);
        assert_eq!(plan, Plan { stages: vec!["FETCH".into(), "IXSCAN".into()], indexes: vec!["a_1".into()] });
    }
}
