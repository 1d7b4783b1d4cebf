//! Compares the documents of generated conversations with each other and with the truth.

use std::collections::{BTreeMap, HashMap};

use aftercall_local::simulator::generated::{Evidence, Generated};
use futures_util::TryStreamExt as _;
use mongodb::{
    Collection,
    bson::{Bson, Document, doc},
};
use serde_json::Value;

use super::case::{Case, Way};

/// Fields that may differ between two documents of the same conversation, beside the internal ones (`_…`):
/// - `history` and `rawResponse` say which events came.
/// - `revision` counts the changes.
/// - `updatedAt` is the time at which the last of them was stored.
const EXCLUDED: [&str; 4] = ["history", "rawResponse", "revision", "updatedAt"];

/// The field with the time of the status.
const STATUS_TIME: &str = "statusUpdatedAt";

/// The documents by their conversations.
pub async fn documents(calls: &Collection<Document>) -> HashMap<String, Vec<Document>> {
    let found: Vec<Document> = calls.find(doc! {}).await.unwrap().try_collect().await.unwrap();
    let mut documents: HashMap<String, Vec<Document>> = HashMap::new();
    for document in found {
        let conversation = document.get_str("conversationId").unwrap_or_default().to_owned();
        documents.entry(conversation).or_default().push(document);
    }
    documents
}

/// Every difference: its kind, and an example.
pub fn differences(cases: &[Case], documents: &HashMap<String, Vec<Document>>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut first: HashMap<(u32, u32, usize), BTreeMap<String, Value>> = HashMap::new();
    let mut times: HashMap<(u32, u32, usize), Value> = HashMap::new();
    let no_document = Vec::new();
    for case in cases {
        for (part, one) in case.generated.iter().enumerate() {
            let example = || format!("{:?} {:?} {:?}", case.ways, case.evidence, one.plan);
            let of_case = documents.get(&one.ids.conversation).unwrap_or(&no_document);
            let document = match &of_case[..] {
                [document] => document,
                [] if !case.is_complete() => continue,
                several => {
                    let kind = format!("{} documents by {:?}", several.len(), case.ways);
                    found.push((kind, example()));
                    continue;
                }
            };
            let wrong = if case.is_complete() {
                wrong_values(one, case.evidence, document)
            } else {
                wrong_facts(one, document, false)
            };
            found.extend(wrong.into_iter().map(|kind| (kind, example())));
            if !case.is_complete() {
                continue;
            }
            let ours = comparable(case, one, document);
            let theirs = first.entry((case.n, case.group(), part)).or_default();
            if theirs.is_empty() {
                theirs.clone_from(&ours);
            }
            for field in ours.keys().chain(theirs.keys()).filter(|field| *field != STATUS_TIME) {
                if ours.get(field) != theirs.get(field) {
                    let kind = format!("{field} by {:?} and {:?}", case.ways, one.plan.ending);
                    let values = format!("{:?} {:?}", ours.get(field), theirs.get(field));
                    found.push((kind, format!("{values} {}", example())));
                }
            }
            // An OpenTelemetry webhook says when it was sent, and not when the conversation ended.
            if let Some(ours) = ours.get(STATUS_TIME).filter(|_| !case.ways.contains(&Way::Trace)) {
                let theirs = times.entry((case.n, case.group(), part)).or_insert_with(|| ours.clone());
                if ours != theirs {
                    found.push((format!("{STATUS_TIME} by {:?}", case.ways), example()));
                }
            }
        }
    }
    found
}

/// The compared fields of a document, with the ids that do not depend on the copy.
fn comparable(case: &Case, one: &Generated, document: &Document) -> BTreeMap<String, Value> {
    let json = serde_json::to_string(document).unwrap();
    let json =
        json.replace(&format!("gen{:x}n", case.label), "genn").replace(&format!("{:08x}", case.label), "");
    let fields: BTreeMap<String, Value> = serde_json::from_str(&json).unwrap();
    // Without a begin, the time of the event is all that is known, and only a webhook has one.
    let has_times = one.plan.has_start || one.plan.has_accepted;
    let is_compared = |field: &str| {
        !field.starts_with('_')
            && !EXCLUDED.contains(&field)
            && (has_times || !["createdAt", STATUS_TIME].contains(&field))
    };
    fields.into_iter().filter(|(field, _)| is_compared(field)).collect()
}

/// The values of `document` that differ from the truth.
pub fn wrong_values(one: &Generated, evidence: Evidence, document: &Document) -> Vec<String> {
    let text = |field: &str| document.get_str(field).ok();
    let mut wrong = wrong_facts(one, document, true);
    let (status, outcome) = (one.status(evidence), one.outcome(evidence));
    let is_failure = !["completed", "ended"].contains(&status);
    let has_turns = one.conversation["transcript"].as_array().is_some_and(|turns| !turns.is_empty());
    let id = if one.is_shared { "sharedCallId" } else { "callId" };
    for (field, expected) in [
        ("status", Some(status)),
        ("outcome", Some(outcome)),
        ("sipCode", one.sip_code(evidence)),
        (id, one.ids.call.as_deref()),
    ] {
        if text(field) != expected {
            wrong.push(format!("{field} is {:?} instead of {expected:?}", text(field)));
        }
    }
    if text("failureReason").is_some() != is_failure {
        wrong.push(format!("failureReason of {status}: {:?}", text("failureReason")));
    }
    if (text("transcriptState") == Some("saved")) != has_turns {
        wrong.push(format!("transcriptState of {:?}: {:?}", one.plan.ending, text("transcriptState")));
    }
    wrong
}

/// The facts of `document` that differ from the truth. If it is not `complete`, facts may be missing.
fn wrong_facts(one: &Generated, document: &Document, complete: bool) -> Vec<String> {
    let facts = one.facts();
    let wrong = facts.iter().filter_map(|(field, expected)| {
        let found = match document.get(field) {
            None if !complete => return None,
            None => Value::Null,
            Some(Bson::DateTime(time)) => (time.timestamp_millis() / 1000).into(),
            Some(value) => serde_json::to_value(value).unwrap(),
        };
        (found != *expected).then(|| format!("{field} of {:?} is not as it was", one.plan.channel))
    });
    wrong.collect()
}
