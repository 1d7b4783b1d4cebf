//! Reads the documents of a run, and compares them with the expected ones.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use futures_util::TryStreamExt as _;
use mongodb::{
    Collection,
    bson::{Bson, Document, doc},
};
use serde_json::{Map, Value};

use super::scenario::{Call, Expected, id_prefixes};

/// The compared values of a stored document.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    call_id: Option<String>,
    conversation_id: Option<String>,
    status: Option<String>,
    failure_reason: Option<String>,
    transcript_state: Option<String>,
    has_transcript: bool,
    /// Event type of `rawResponse`, the latest payload.
    latest: Option<String>,
    /// Further fields. Dates are Unix seconds.
    facts: Map<String, Value>,
}

/// The fields that [`Expected::facts`] may name.
const FACTS: [&str; 22] = [
    "outcome",
    "agentId",
    "agentName",
    "channel",
    "direction",
    "fromNumber",
    "toNumber",
    "agentPhoneNumberId",
    "startedAt",
    "answeredAt",
    "endedAt",
    "durationSecs",
    "cost",
    "terminationReason",
    "callSuccessful",
    "summary",
    "batchCallId",
    "batchCallRecipientId",
    "campaignId",
    "campaignLeadId",
    "dynamicVariables",
    // The facts of a generated conversation contain it.
    "conversationId",
];

/// Result of a comparison.
#[derive(Debug, Default)]
pub struct Comparison {
    /// By status: number of calls expected and found.
    pub statuses: BTreeMap<String, (usize, usize)>,
    /// Number of transcripts expected and found.
    pub transcripts: (usize, usize),
    /// Number of documents expected and found.
    pub documents: (usize, usize),
    /// What is wrong: the id of a call or of a document that belongs to no call, and the difference.
    pub wrong: Vec<(String, String)>,
}

/// Longest time for one reading of the documents.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads all documents of `run`.
pub async fn read(collection: &Collection<Document>, run: &str) -> mongodb::error::Result<Vec<Found>> {
    read_with(collection, run, None).await
}

/// Reads all documents of `run`, and those whose conversation ids begin with `prefix`.
pub async fn read_with(
    collection: &Collection<Document>,
    run: &str,
    prefix: Option<String>,
) -> mongodb::error::Result<Vec<Found>> {
    let (call, mut conversations) = id_prefixes(run);
    conversations.extend(prefix);
    let with_prefix =
        |field: &str, prefix: &str| doc! { field: { "$gte": prefix, "$lt": format!("{prefix}~") } };
    let mut filters = vec![with_prefix("callId", &call)];
    filters.extend(conversations.iter().map(|prefix| with_prefix("conversationId", prefix)));
    // Every type but null is greater than null.
    let mut fields = doc! {
        "callId": 1, "conversationId": 1, "status": 1, "failureReason": 1, "transcriptState": 1,
        "rawResponse.event_type": 1, "hasTranscript": { "$gt": ["$transcript", null] },
    };
    fields.extend(FACTS.map(|fact| (fact.to_owned(), 1.into())));
    let find = collection.find(doc! { "$or": filters }).projection(fields).sort(doc! { "_id": 1 });
    let cursor = find.max_time(READ_TIMEOUT).await?;
    cursor.map_ok(|document| compared_values(&document)).try_collect().await
}

fn compared_values(document: &Document) -> Found {
    let text = |field: &str| document.get_str(field).ok().map(str::to_owned);
    Found {
        call_id: text("callId"),
        conversation_id: text("conversationId"),
        status: text("status"),
        failure_reason: text("failureReason"),
        transcript_state: text("transcriptState"),
        has_transcript: document.get_bool("hasTranscript").unwrap_or(false),
        latest: document
            .get_document("rawResponse")
            .and_then(|raw| raw.get_str("event_type"))
            .ok()
            .map(str::to_owned),
        facts: FACTS
            .into_iter()
            .filter_map(|fact| Some((fact.to_owned(), fact_value(document.get(fact)?))))
            .collect(),
    }
}

fn fact_value(value: &Bson) -> Value {
    match value {
        Bson::DateTime(time) => (time.timestamp_millis() / 1000).into(),
        // A value that is no JSON differs from every expected one.
        value => serde_json::to_value(value).unwrap_or_else(|error| error.to_string().into()),
    }
}

/// Compares every call with the documents that have one of its ids.
pub fn compare(calls: &[Call], found: &[Found]) -> Comparison {
    let mut by_id: HashMap<&str, Vec<usize>> = HashMap::new();
    for (n, document) in found.iter().enumerate() {
        for id in [&document.call_id, &document.conversation_id].into_iter().flatten() {
            by_id.entry(id).or_default().push(n);
        }
    }
    let mut comparison = Comparison { documents: (calls.len(), found.len()), ..Comparison::default() };
    let mut matched = vec![false; found.len()];
    for document in found {
        let status = document.status.clone().unwrap_or_else(|| "(none)".to_owned());
        comparison.statuses.entry(status).or_default().1 += 1;
        comparison.transcripts.1 += usize::from(document.has_transcript);
    }
    for Call { expected, .. } in calls {
        comparison.statuses.entry(expected.status.to_owned()).or_default().0 += 1;
        comparison.transcripts.0 += usize::from(expected.transcript);
        let ids = [&expected.call_id, &expected.conversation_id];
        let mut documents: Vec<usize> =
            ids.into_iter().flatten().filter_map(|id| by_id.get(id.as_str())).flatten().copied().collect();
        documents.sort_unstable();
        documents.dedup();
        for n in &documents {
            matched[*n] = true;
        }
        let problem = match documents.as_slice() {
            [] => Some("no document".to_owned()),
            [n] => difference(expected, &found[*n]),
            several => Some(format!("{} documents instead of one", several.len())),
        };
        if let Some(problem) = problem {
            let id = ids.into_iter().flatten().next().cloned().unwrap_or_default();
            comparison.wrong.push((id, problem));
        }
    }
    for (document, _) in found.iter().zip(matched).filter(|(_, matched)| !matched) {
        let id = document.call_id.clone().or_else(|| document.conversation_id.clone()).unwrap_or_default();
        comparison.wrong.push((id, "a document that belongs to no call".to_owned()));
    }
    comparison
}

fn difference(expected: &Expected, found: &Found) -> Option<String> {
    let saved = expected.transcript.then_some("saved");
    let fields = [
        ("callId", expected.call_id.as_deref(), found.call_id.as_deref()),
        ("conversationId", expected.conversation_id.as_deref(), found.conversation_id.as_deref()),
        ("status", Some(expected.status), found.status.as_deref()),
        ("failureReason", expected.failure_reason.as_deref(), found.failure_reason.as_deref()),
        // The next three are compared only if the call expects a value. An unexpected transcript is no error.
        ("rawResponse", expected.latest, found.latest.as_deref().filter(|_| expected.latest.is_some())),
        ("transcriptState", saved, found.transcript_state.as_deref().filter(|_| expected.transcript)),
        ("transcript", saved, (expected.transcript && found.has_transcript).then_some("saved")),
    ];
    let wrong = fields.into_iter().filter(|(_, expected, found)| expected != found);
    let text: Vec<_> = wrong
        .map(|(field, expected, found)| {
            format!("{field} is {}, expected {}", found.unwrap_or("absent"), expected.unwrap_or("absent"))
        })
        .collect();
    let value = |field: &str| found.facts.get(field).unwrap_or(&Value::Null);
    let facts = expected.facts.iter().filter(|(field, expected)| value(field) != *expected);
    let facts = facts.map(|(field, expected)| format!("{field} is {}, expected {expected}", value(field)));
    let text: Vec<_> = text.into_iter().chain(facts).collect();
    (!text.is_empty()).then(|| text.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        let expected = Expected {
            call_id: Some("c".into()),
            conversation_id: Some("v".into()),
            status: "busy",
            failure_reason: Some("Line engaged".into()),
            latest: Some("call.busy"),
            transcript: true,
            facts: Map::from_iter([("cost".to_owned(), 7.into())]),
        };
        Call { webhooks: Vec::new(), expected }
    }

    fn matching() -> Found {
        Found {
            call_id: Some("c".into()),
            conversation_id: Some("v".into()),
            status: Some("busy".into()),
            failure_reason: Some("Line engaged".into()),
            transcript_state: Some("saved".into()),
            has_transcript: true,
            latest: Some("call.busy".into()),
            facts: Map::from_iter([("cost".to_owned(), 7.into())]),
        }
    }

    #[test]
    fn compare_reports_each_kind_of_difference() {
        let stranger = Found { call_id: Some("other".into()), conversation_id: None, ..matching() };
        let halves =
            vec![Found { conversation_id: None, ..matching() }, Found { call_id: None, ..matching() }];
        #[rustfmt::skip]
        let table = [
            ("equal",        vec![matching()],                                                  None),
            ("missing",      vec![],                                                         Some("no document")),
            ("not merged",   halves,                                                         Some("2 documents")),
            ("one too many", vec![matching(), stranger],                                         Some("a document that belongs to no call")),
            ("wrong id",     vec![Found { conversation_id: Some("w".into()), ..matching() }],   Some("conversationId is w, expected v")),
            ("wrong call",   vec![Found { call_id: Some("w".into()), ..matching() }],           Some("callId is w, expected c")),
            ("no state",     vec![Found { transcript_state: None, ..matching() }],              Some("transcriptState is absent, expected saved")),
            ("no turns",     vec![Found { has_transcript: false, ..matching() }],               Some("transcript is absent, expected saved")),
            ("wrong event",  vec![Found { latest: None, ..matching() }],                        Some("rawResponse is absent, expected call.busy")),
            ("wrong status", vec![Found { status: Some("ended".into()), ..matching() }],        Some("status is ended, expected busy")),
            ("wrong fact",   vec![Found { facts: Map::new(), ..matching() }],                   Some("cost is null, expected 7")),
            ("no reason",    vec![Found { failure_reason: None, ..matching() }],                Some("failureReason is absent")),
        ];
        for (name, found, expected) in table {
            let wrong = compare(&[call()], &found).wrong;
            match expected {
                None => assert!(wrong.is_empty(), "{name}: {wrong:?}"),
                Some(text) => assert!(wrong.len() == 1 && wrong[0].1.contains(text), "{name}: {wrong:?}"),
            }
        }
    }
}
