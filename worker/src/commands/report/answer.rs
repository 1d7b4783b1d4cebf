//! The answers of the report: the rows of each query, and the failure rate. Pure.

use aftercall_common::phone_numbers::Numbers;
use jiff::Timestamp;
use mongodb::bson::{Bson, Document};
use serde_json::{Map, Value, json};

use crate::{
    domain::{
        text::{MAX_REASON, cut},
        time::rfc3339,
    },
    store::Plan,
};

/// The answer to one question.
pub(super) struct Answer {
    /// Name of the question.
    pub name: &'static str,
    pub rows: Vec<Value>,
    /// How the database executed the query.
    pub plan: Plan,
}

/// A row as JSON. Dates become texts, and `_id` is renamed to `is`. Telephone numbers are masked if `numbers`
/// says so.
pub(super) fn row(document: Document, numbers: Numbers) -> Value {
    let cells = document.into_iter().map(|(name, value)| {
        let name = if name == "_id" { "is".to_owned() } else { name };
        let value = match value {
            Bson::DateTime(date) => Timestamp::from_millisecond(date.timestamp_millis())
                .map_or(Value::Null, |date| rfc3339(date).into()),
            Bson::String(id) if name.ends_with("Id") => numbers.id(&id).into(),
            // Documents of earlier versions hold texts of any length.
            Bson::String(text) => numbers.text(&cut(&text, MAX_REASON)).into(),
            Bson::Int32(number) => number.into(),
            Bson::Int64(number) => number.into(),
            Bson::Null => Value::Null,
            other => other.to_string().into(),
        };
        (name, value)
    });
    Value::Object(cells.collect())
}

/// The number of calls, and how many of them failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FailureRate {
    pub calls: u64,
    pub failed: u64,
}

impl FailureRate {
    /// Failed calls as a fraction of all calls. `None`: there were no calls.
    #[expect(clippy::cast_precision_loss, reason = "counts of calls")]
    pub fn share(self) -> Option<f64> {
        (self.calls > 0).then(|| self.failed as f64 / self.calls as f64)
    }
}

/// The failure rate over all hours of the report.
pub(super) fn failure_rate(answers: &[Answer]) -> FailureRate {
    let hours = answers.iter().find(|answer| answer.name == "hours");
    hours.iter().flat_map(|answer| &answer.rows).fold(FailureRate::default(), |sum, hour| FailureRate {
        calls: sum.calls + hour["calls"].as_u64().unwrap_or(0),
        failed: sum.failed + hour["failed"].as_u64().unwrap_or(0),
    })
}

/// The report as one JSON object.
pub(super) fn json(since: Timestamp, until: Timestamp, rate: FailureRate, answers: Vec<Answer>) -> Value {
    let mut report = Map::new();
    report.insert("since".to_owned(), rfc3339(since).into());
    report.insert("until".to_owned(), rfc3339(until).into());
    report.insert("calls".to_owned(), rate.calls.into());
    report.insert("failed".to_owned(), rate.failed.into());
    report.insert("failureRate".to_owned(), json!(rate.share()));
    for answer in answers {
        let plan = json!({ "stages": answer.plan.stages, "indexes": answer.plan.indexes });
        report.insert(answer.name.to_owned(), json!({ "rows": answer.rows, "plan": plan }));
    }
    Value::Object(report)
}
