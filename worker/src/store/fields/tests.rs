use std::collections::BTreeSet;

use jiff::Timestamp;
use mongodb::bson::{Bson, RawDocumentBuf};
use serde_json::json;

use super::*;
use crate::{
    domain::{
        call::{
            Fact, FactType, FactValue, FieldClaim, HistoryEntry, NumberSuffixes, Outcome, OutcomeClaim,
            Placement, Status, StatusClaim, TranscriptState,
        },
        event::{CallId, ConversationId, Parties, PlacementId},
    },
    store::{answer_json, call_view::CallView, insert},
};

fn second(n: usize) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + i64::try_from(n).unwrap()).unwrap()
}

/// A patch with a value in every field. The values of two samples differ, except the identifiers.
fn sample(n: usize) -> CallPatch {
    // A permutation, so that no field of the samples is ordered as another one.
    let at = |k: usize| second((n * k + k) % 3);
    let event_id = format!("$e{n}");
    let claim = |k: usize| FieldClaim {
        at: at(k % 2 + 1),
        event_id: event_id.clone(),
        value: json!({ "n": n, "$k": [k, "$x", null, 1.5] }),
    };
    let status = [Status::Busy, Status::Answered, Status::Rejected][n];
    let patch = CallPatch {
        call_id: Some(CallId::new("$call").unwrap()),
        conversation_id: Some(ConversationId::new("v").unwrap()),
        parent_call_id: Some(CallId::new(format!("$parent{}", (n + 1) % 3)).unwrap()),
        placement: Some(Placement {
            id: PlacementId::new("p").unwrap(),
            request: json!({ "to": "$x", "$y": {} }).as_object().cloned(),
        }),
        parties: Parties {
            agent_id: Some(format!("$agent{n}")),
            agent_phone_number_id: Some(format!("number{}", 2 - n)),
            to_number: Some(format!("+{}", (n + 2) % 3)),
        },
        status: Some(StatusClaim {
            status,
            at: at(1),
            event_id: event_id.clone(),
            failure_reason: status.is_failure().then(|| format!("$reason{n}")),
        }),
        number_suffixes: NumberSuffixes::of([format!("+000{n}").as_str(), "+1111"]),
        facts: Fact::ALL
            .into_iter()
            .enumerate()
            .map(|(k, fact)| (fact, fact_value(fact, (n * k + k + n) % 3)))
            .collect(),
        outcome: Some(OutcomeClaim {
            outcome: [Outcome::Voicemail, Outcome::Answered, Outcome::Busy][n],
            at: at(1),
            event_id: event_id.clone(),
            is_over: n != 2,
        }),
        fields: Field::ALL.into_iter().enumerate().map(|(k, field)| (field, claim(k))).collect(),
        history: vec![HistoryEntry {
            event_id: event_id.clone(),
            event_type: "$type".to_owned(),
            status: (n != 1).then(|| status.as_str().to_owned()),
            received_status: (n == 0).then(|| "$received".to_owned()),
            origin: (n != 2).then(|| "elevenlabs".to_owned()),
            signature: (n == 1).then(|| "verified".to_owned()),
            at: at(2),
            time_ignored: n == 0,
            stored_at: (n != 0).then(|| at(1)),
            names_call_alone: n == 2,
        }],
        transcript: Some(TranscriptState::ALL[(n + 1) % 3]),
        pending_since: Some(second(6 + (n * 2 + 2) % 3)),
        leg_ended: Some(second(3 + (n + 1) % 3)),
        created_at: at(1),
        first_stored: at(2),
        updated_at: at(1),
        is_replay: false,
        call_part: None,
    };
    patch.clone().join(patch)
}

fn fact_value(fact: Fact, n: usize) -> FactValue {
    match fact.value_type() {
        FactType::Text => FactValue::Text(format!("$text{n}")),
        FactType::Time => FactValue::Time(second(n)),
        FactType::Number => FactValue::Number(i64::try_from(n).unwrap()),
    }
}

/// For each row, the names of its fields and of the other fields that are needed to read the row.
fn rows(scope: Scope) -> Vec<Vec<&'static str>> {
    let values = VALUES.iter().filter(|row| scope.includes(row.scope)).map(|row| match row.name.as_str() {
        "requestPayload" => vec!["requestPayload", "_placementId"],
        name => vec![name],
    });
    let status = vec!["status", "statusUpdatedAt", "failureReason", "_status"];
    let latest = Field::ALL.into_iter().map(|field| vec![field.name(), field.key_name()]);
    let outcome = vec!["outcome", "_outcome"];
    let facts = Fact::ALL.into_iter().map(|fact| vec![fact.name()]);
    values.chain([status, outcome]).chain(facts).chain(latest).collect()
}

fn appended(patch: &CallPatch, scope: Scope) -> Document {
    let mut fields = RawDocumentBuf::new();
    append(&mut fields, patch, scope).unwrap();
    fields.try_into().unwrap()
}

/// The patch with the fields of one row, and with the fields that every call has.
fn only(row: &[&str], patch: &CallPatch, scope: Scope) -> CallPatch {
    let always = ["createdAt", "_storedAt", "updatedAt"];
    let fields = appended(patch, scope).into_iter();
    let kept = fields.filter(|(name, _)| row.contains(&name.as_str()) || always.contains(&name.as_str()));
    read(&kept.collect(), scope, Payloads::Included).unwrap()
}

#[test]
fn every_row_is_read_as_it_was_written() {
    for scope in [Scope::Document, Scope::Call] {
        for row in rows(scope) {
            for n in 0..3 {
                let patch = only(&row, &sample(n), scope);
                let written = appended(&patch, scope);
                assert_eq!(read(&written, scope, Payloads::Included).as_ref(), Some(&patch), "{row:?}");
                // Another sample has no outcome yet.
                for name in row.iter().filter(|_| n == 0) {
                    assert!(written.contains_key(name), "{name} is not sampled");
                }
            }
        }
    }
}

#[test]
fn without_payloads_the_keys_of_events_are_read() {
    let mut document = appended(&sample(0), Scope::Document);
    for field in Field::ALL {
        document.remove(field.name());
    }
    let read = read(&document, Scope::Document, Payloads::Excluded).unwrap();
    let mut expected = sample(0);
    expected.fields.values_mut().for_each(|claim| claim.value = json!(null));
    assert_eq!(CallPatch { call_part: None, ..read }, CallPatch { call_part: None, ..expected });
}

#[test]
fn a_document_has_no_field_without_a_row() {
    for scope in [Scope::Document, Scope::Call] {
        let document = appended(&sample(0), scope);
        let fields: BTreeSet<_> = document.keys().map(String::as_str).collect();
        assert_eq!(fields, rows(scope).into_iter().flatten().collect());
    }
}

#[test]
fn an_outcome_is_shown_once_the_call_is_over() {
    let machine = |n: usize| {
        let mut patch = sample(n);
        patch.outcome.as_mut().unwrap().is_over = false;
        patch
    };
    assert!(!document(&machine(0)).contains_key("outcome"));
    // The end of the call comes before or after the greater claim.
    for joined in [machine(0).join(sample(1)), sample(1).join(machine(0))] {
        assert_eq!(document(&joined).get_str("outcome").unwrap(), "voicemail");
    }
}

#[test]
fn a_claim_of_a_later_version_is_replaced_only_by_a_greater_one() {
    let mut document = appended(&sample(0), Scope::Document);
    let rank =
        |document: &Document, name: &str| document.get_document(name).unwrap().get_i32("rank").unwrap();
    let (status, outcome) = (rank(&document, "_status"), rank(&document, "_outcome"));
    assert_eq!(UnknownClaims::read(&document), UnknownClaims::default());
    document.insert("status", "levitating");
    document.get_document_mut("_outcome").unwrap().insert("outcome", "levitated");
    let kept = |add: i32| {
        let mut document = document.clone();
        document.get_document_mut("_status").unwrap().insert("rank", status + add);
        document.get_document_mut("_outcome").unwrap().insert("rank", outcome + add);
        let patch = UnknownClaims::read(&document).prevailing(sample(0));
        (patch.status.is_some(), patch.outcome.is_some())
    };
    assert_eq!([kept(1), kept(-1)], [(false, false), (true, true)]);
}

#[test]
fn every_field_that_is_not_internal_is_in_the_answer() {
    let document = appended(&sample(0), Scope::Document);
    let public: Vec<_> = document.keys().filter(|name| !name.starts_with('_')).cloned().collect();
    let answer = answer_json(&CallView::new(document), false);
    for name in public {
        assert!(answer.get(&name).is_some(), "{name}");
    }
}

/// The document of a new call, without its revision.
fn document(patch: &CallPatch) -> Document {
    insert::document(patch).unwrap().try_into().unwrap()
}

#[test]
fn a_document_without_the_dates_of_a_call_is_not_read() {
    let document = appended(&sample(0), Scope::Document);
    for name in ["createdAt", "updatedAt"] {
        let mut without = document.clone();
        without.insert(name, Bson::Null);
        assert_eq!(read(&without, Scope::Document, Payloads::Included), None, "{name}");
    }
    // Earlier versions did not store `_storedAt`.
    let mut earlier = document;
    earlier.remove("_storedAt");
    let patch = read(&earlier, Scope::Document, Payloads::Included).unwrap();
    assert_eq!(patch.first_stored, patch.created_at);
}
