//! The command `report`, and the monitoring queries of operators. All of them use indexes.

use std::collections::BTreeMap;

use aftercall_local::simulator::Answer as Course;
use mongodb::bson::{Bson, Document, doc};
use serde_json::{Value, json};

use crate::harness::TestStack;

/// Posts webhooks of eight calls.
async fn calls(stack: &TestStack) {
    stack.simulator.script("v1", [Course::Processing, Course::Done]);
    for (n, (event, reason)) in [
        ("call.ended", None),
        ("call.busy", None),
        ("call.busy", Some("+1500 is\nengaged")),
        ("call.no_answer", None),
        ("call.no_answer", None),
        ("call.no_answer", None),
        ("call.ringing", None),
    ]
    .into_iter()
    .enumerate()
    {
        let mut event = json!({ "event_type": event, "call_id": format!("c{n}"), "failure_reason": reason });
        if n == 0 {
            event["conversation_id"] = "v1".into();
        }
        stack.webhook(&event).await;
    }
    let days_ago = jiff::Timestamp::now().as_second() - 10 * 86_400;
    let old = json!({ "event_type": "call.failed", "call_id": "old", "timestamp": days_ago });
    stack.webhook(&old).await;
    stack.until_call("c0", doc! { "transcriptState": "saved" }).await;
    stack.until_call("old", doc! { "status": "failed" }).await;
    stack.all_acknowledged().await;
}

fn counts(rows: &Value) -> BTreeMap<&str, i64> {
    rows.as_array()
        .unwrap()
        .iter()
        .map(|row| (row["is"].as_str().unwrap(), row["calls"].as_i64().unwrap()))
        .collect()
}

#[tokio::test]
async fn report_is_right_and_every_query_uses_an_index() {
    let stack = TestStack::start().await;
    calls(&stack).await;
    let (code, out, errors) = stack.command(&["report", "--json"], &[]).await;
    assert_eq!(code, Some(0), "{errors}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&report["calls"], &report["failed"]), (&json!(7), &json!(5)), "{report}");
    assert!((report["failureRate"].as_f64().unwrap() - 5.0 / 7.0).abs() < 1e-9);
    let statuses = [("busy", 2), ("ended", 1), ("no_answer", 3), ("ringing", 1)];
    assert_eq!(counts(&report["statuses"]["rows"]), BTreeMap::from(statuses));
    let reasons = [("Recipient was busy", 1), ("+1500 is\nengaged", 1), ("No answer from recipient", 3)];
    assert_eq!(counts(&report["failures"]["rows"]), BTreeMap::from(reasons));
    assert_eq!(
        report["failed_calls"]["rows"].as_array().unwrap().len(),
        6,
        "failed calls are listed regardless of the period: {report}"
    );
    let slowest = &report["slowest_transcripts"]["rows"][0];
    assert_eq!(slowest["conversationId"], "v1");
    assert!(slowest["delayMs"].as_i64().unwrap() >= 1000, "the transcript needed two requests: {slowest}");
    let outcomes = [("answered", 1), ("busy", 2), ("no_answer", 3)];
    assert_eq!(counts(&report["outcomes"]["rows"]), BTreeMap::from(outcomes));
    let questions = [
        "statuses",
        "outcomes",
        "failures",
        "hours",
        "failed_calls",
        "slowest_transcripts",
        "owed_transcripts",
    ];
    for question in questions {
        let plan = &report[question]["plan"];
        let stages: Vec<_> =
            plan["stages"].as_array().unwrap().iter().map(|stage| stage.as_str().unwrap()).collect();
        assert!(stages.contains(&"IXSCAN") && !stages.contains(&"COLLSCAN"), "{question}: {plan}");
        assert!(!plan["indexes"].as_array().unwrap().is_empty(), "{question}: {plan}");
    }

    let (code, out, _) =
        stack.command(&["report", "--since", "2025-12-31T00:00:00Z", "--calls", "2"], &[]).await;
    assert_eq!(code, Some(0));
    for line in ["8 calls from", "6 failed: 75.0 %", "no_answer", "LATEST FAILED CALLS", "TRANSCRIPTS OWED"] {
        assert!(out.contains(line), "{line} in\n{out}");
    }
    assert!(out.contains("+1500 is engaged"), "a reason is not on one line:\n{out}");

    let (code, _, errors) = stack.command(&["report", "--since", "1h", "--until", "2h"], &[]).await;
    assert_eq!((code, errors.lines().count()), (Some(1), 1), "{errors}");
    let (code, _, errors) = stack.command(&["report"], &[("MONGODB_URI", "mongodb://127.0.0.1:1")]).await;
    assert!(code == Some(1) && errors.lines().last().unwrap().contains("MongoDB"), "{errors}");
}

/// Collects the stages of the winning plan from an explanation of the server.
fn stages(part: &Bson, found: &mut Vec<String>) {
    match part {
        Bson::Document(document) => {
            for (name, value) in document {
                match (name.as_str(), value) {
                    ("rejectedPlans", _) => {}
                    ("stage", Bson::String(stage)) => found.push(stage.clone()),
                    (_, value) => stages(value, found),
                }
            }
        }
        Bson::Array(parts) => parts.iter().for_each(|part| stages(part, found)),
        _ => {}
    }
}

#[tokio::test]
async fn documented_queries_of_operators_use_an_index() {
    let stack = TestStack::start().await;
    calls(&stack).await;
    let failed = ["busy", "no_answer", "failed", "unreachable", "rejected", "initiation_failed"];
    let day =
        mongodb::bson::DateTime::from_millis(mongodb::bson::DateTime::now().timestamp_millis() - 86_400_000);
    let aggregate =
        |pipeline: Vec<Document>| doc! { "aggregate": "agent_calls", "pipeline": pipeline, "cursor": {} };
    let by = |field: &str| doc! { "$group": { "_id": field, "count": { "$sum": 1 } } };
    let database = stack.calls.client().database(&stack.calls.namespace().db);
    for query in [
        doc! { "find": "agent_calls", "filter": { "status": { "$in": failed } } },
        aggregate(vec![
            doc! { "$match": { "failureReason": { "$ne": null } } },
            by("$failureReason"),
            doc! { "$sort": { "count": -1 } },
        ]),
        aggregate(vec![doc! { "$match": { "createdAt": { "$gte": day } } }, by("$status")]),
    ] {
        let plan = database
            .run_command(doc! { "explain": query.clone(), "verbosity": "queryPlanner" })
            .await
            .unwrap();
        let mut found = Vec::new();
        stages(&plan.into(), &mut found);
        assert!(
            found.contains(&"IXSCAN".to_owned()) && !found.contains(&"COLLSCAN".to_owned()),
            "{query}: {found:?}"
        );
    }
}
