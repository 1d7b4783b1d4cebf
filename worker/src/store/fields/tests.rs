use std::collections::BTreeSet;

use jiff::Timestamp;
use mongodb::bson::{Bson, RawArrayBuf, RawDocumentBuf, doc, rawdoc};
use serde_json::json;

use self::evaluator::evaluate;
use super::*;
use crate::{
    domain::{
        call::{
            Fact, FactType, FactValue, FieldClaim, HISTORY_LIMIT, HistoryEntry, NumberSuffixes, Outcome,
            OutcomeClaim, Placement, Status, StatusClaim, TranscriptState,
        },
        event::{CallId, ConversationId, Parties, PlacementId},
    },
    store::{answer_json, call_view::CallView, insert, statement},
};

mod evaluator;

/// The time of every statement.
const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

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
            of_call: n == 2,
        }],
        transcript: Some(TranscriptState::ALL[(n + 1) % 3]),
        pending_since: Some(second(6 + (n * 2 + 2) % 3)),
        leg_ended: Some(second(3 + (n + 1) % 3)),
        created_at: at(1),
        first_stored: at(2),
        updated_at: at(1),
        joins_again: false,
        of_call: None,
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
    read(&kept.collect(), scope).unwrap()
}

/// `stored` after an update with `patch`.
fn updated(stored: &Document, patch: &CallPatch, scope: Scope) -> Document {
    let mut all = RawArrayBuf::new();
    all.push("$$ROOT");
    if scope == Scope::Document {
        all.push(document_layer(patch).unwrap());
    }
    for layer in call_layers("$", patch).unwrap() {
        all.push(layer);
    }
    evaluate(stored, &rawdoc! { "$mergeObjects": all }.try_into().unwrap())
}

fn bytes(document: &Document) -> Vec<u8> {
    RawDocumentBuf::try_from(document).unwrap().into_bytes()
}

#[test]
fn insert_update_read_and_join_agree_on_every_row() {
    for scope in [Scope::Document, Scope::Call] {
        for row in rows(scope) {
            let with = |n: usize| only(&row, &sample(n), scope);
            let patches = [only(&[], &sample(0), scope), with(0), with(1), with(2)];
            for patch in &patches {
                let inserted = appended(patch, scope);
                assert_eq!(bytes(&updated(&doc! {}, patch, scope)), bytes(&inserted), "{row:?}: update");
                assert_eq!(read(&inserted, scope).as_ref(), Some(patch), "{row:?}: read");
                for other in &patches {
                    let joined = appended(&patch.clone().join(other.clone()), scope);
                    assert_eq!(updated(&inserted, other, scope), joined, "{row:?}: join");
                }
            }
            for name in &row {
                assert!(appended(&patches[1], scope).contains_key(name), "{name} is not sampled");
            }
        }
    }
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
    assert_eq!(run(&document(&machine(0)), &sample(1)).get_str("outcome").unwrap(), "voicemail");
    assert_eq!(run(&document(&sample(1)), &machine(0)).get_str("outcome").unwrap(), "voicemail");
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

/// `stored` after the general statement of `patch`, without its revision.
fn run(stored: &Document, patch: &CallPatch) -> Document {
    run_stages(stored, &statement::general(patch, NOW).unwrap())
}

/// `stored` after `statement`, without its revision.
fn run_stages(stored: &Document, statement: &RawDocumentBuf) -> Document {
    let mut document = run_whole(stored, statement);
    document.remove("revision");
    document
}

fn run_whole(stored: &Document, statement: &RawDocumentBuf) -> Document {
    let statement = Document::try_from(statement).unwrap();
    statement.get_array("u").unwrap().iter().fold(stored.clone(), |stored, stage| {
        let stage = stage.as_document().unwrap();
        match stage.get_document("$set") {
            Ok(fields) => evaluate(&stored, &doc! { "$mergeObjects": ["$$ROOT", fields] }),
            Err(_) => evaluate(&stored, stage.get_document("$replaceWith").unwrap()),
        }
    })
}

#[test]
fn a_full_history_keeps_the_latest_events_of_each_kind() {
    let entries = |of_call: bool| {
        let entry = sample(0).history.remove(0);
        (0..HISTORY_LIMIT).map(move |n| {
            let event_id = format!("f{of_call}{n:03}");
            HistoryEntry { event_id, at: second(n / 2), of_call, ..entry.clone() }
        })
    };
    let mut full = CallPatch { history: Vec::new(), ..sample(0) };
    full.history = entries(false).chain(entries(true)).collect();
    for n in [1, 2] {
        let joined = full.clone().join(sample(n));
        assert_eq!(joined.history.len(), 2 * HISTORY_LIMIT);
        assert_eq!(run(&document(&full), &sample(n)), document(&joined));
    }
}

#[test]
fn a_statement_makes_the_document_that_the_join_makes() {
    let of_call = |n: usize| CallPatch { conversation_id: None, placement: None, ..sample(n) };
    // The end of a leg makes no transcript due as long as no conversation is known.
    let leg = |n: usize| CallPatch { transcript: None, pending_since: None, ..of_call(n) };
    let event = |n: usize| CallPatch { placement: None, ..sample(n) };
    let patches = [
        sample(0),
        sample(1),
        sample(2),
        event(0),
        event(1),
        event(2),
        of_call(0),
        of_call(1),
        of_call(2),
        leg(0),
        leg(1),
        leg(2),
    ];
    for patch in &patches {
        // An upsert starts with the fields of its filter.
        let inserted = run(&doc! { "callId": "$call" }, patch);
        assert_eq!(bytes(&inserted), bytes(&document(patch)));
        if statement::has_quick(patch) {
            let seeded = doc! { "callId": "$call", "conversationId": "v" };
            let inserted = run_stages(&seeded, &statement::statement(patch, NOW).unwrap());
            assert_eq!(bytes(&inserted), bytes(&document(patch)));
        }
        for other in &patches {
            let is_same_event = patch.history == other.history;
            let joined = document(&patch.clone().join(other.clone()));
            let expected = if is_same_event { &inserted } else { &joined };
            assert_eq!(&run(&inserted, other), expected);
            if statement::has_quick(other) && inserted.contains_key("conversationId") {
                assert_eq!(&run_stages(&inserted, &statement::statement(other, NOW).unwrap()), expected);
            }
        }
    }
}

#[test]
fn every_change_raises_the_revision_and_a_known_event_changes_nothing() {
    let later = NOW + std::time::Duration::from_secs(1);
    for n in [1, 2] {
        let event = |n: usize| CallPatch { placement: None, ..sample(n) };
        let inserted = insert::new_document(&event(0), NOW).unwrap();
        let upserted = run_whole(&doc! { "callId": "$call" }, &statement::general(&event(0), NOW).unwrap());
        assert_eq!(bytes(&upserted), inserted.as_bytes());
        for statement in [statement::general, statement::statement] {
            let run = |stored: &Document, n, now| run_whole(stored, &statement(&event(n), now).unwrap());
            let revision = |document: &Document| document.get_i64("revision").unwrap();
            assert_eq!(run(&upserted, 0, later), upserted);
            assert_eq!(revision(&run(&upserted, n, later)), later.as_millisecond());
            let earlier = Timestamp::UNIX_EPOCH;
            assert_eq!(revision(&run(&upserted, n, earlier)), NOW.as_millisecond() + 1);
            let mut of_earlier_version = upserted.clone();
            of_earlier_version.remove("revision");
            assert_eq!(revision(&run(&of_earlier_version, n, NOW)), NOW.as_millisecond());
        }
    }
}

#[test]
fn a_document_without_the_dates_of_a_call_is_not_read() {
    let document = appended(&sample(0), Scope::Document);
    for name in ["createdAt", "updatedAt"] {
        let mut without = document.clone();
        without.insert(name, Bson::Null);
        assert_eq!(read(&without, Scope::Document), None, "{name}");
    }
    // Earlier versions did not store `_storedAt`.
    let mut earlier = document;
    earlier.remove("_storedAt");
    let patch = read(&earlier, Scope::Document).unwrap();
    assert_eq!(patch.first_stored, patch.created_at);
}
