//! The command `report --by`: its sums are those of the stored calls.

use std::collections::BTreeMap;

use mongodb::bson::{DateTime, Document, doc, oid::ObjectId};
use serde_json::{Value, json};

use crate::{
    harness::{Mongo, within},
    inserts,
};

/// 24 October 2026, 22:00 UTC: midnight in Berlin. Summer time ends there at 01:00 UTC of the next day.
const BEGIN: i64 = 1_792_879_200;
/// The end of the period, 50 hours later.
const END: i64 = BEGIN + 50 * 3600;
const OUTCOMES: [&str; 9] = [
    "answered",
    "voicemail",
    "busy",
    "no_answer",
    "rejected",
    "unreachable",
    "canceled",
    "failed",
    "unknown",
];

/// Calls in the period and at its ends, some of them without some of the facts.
fn calls() -> Vec<Document> {
    let call = |n: i64| {
        let at = DateTime::from_millis((BEGIN + n * 97 - 600) * 1000);
        let mut call =
            doc! { "_id": ObjectId::new(), "callId": format!("c{n}"), "createdAt": at, "updatedAt": at };
        let mut known = |modulus: i64, field: &str, value: mongodb::bson::Bson| {
            if n % modulus != 0 {
                call.insert(field, value);
            }
        };
        known(5, "outcome", OUTCOMES[usize::try_from(n * n % 9).unwrap()].into());
        known(7, "agentId", format!("agent_{}", n % 3).into());
        known(7, "agentName", format!("Agent {}", n % 3).into());
        known(2, "batchCallId", format!("btcal_{}", n % 4).into());
        known(11, "direction", ["inbound", "outbound"][usize::from(n % 3 == 0)].into());
        known(3, "durationSecs", (n % 300).into());
        known(3, "cost", (n % 50).into());
        known(4, "callSuccessful", ["success", "failure", "unknown"][usize::try_from(n % 3).unwrap()].into());
        call
    };
    (0..2000).map(call).collect()
}

/// The sums of `calls`, as the report prints them.
fn sums(calls: &[&Document]) -> Value {
    let count = |field: &str, word: &str| {
        let found = calls.iter().filter(|call| call.get_str(field).is_ok_and(|value| value == word)).count();
        u32::try_from(found).unwrap()
    };
    let sum = |field: &str| {
        let sum = calls.iter().filter_map(|call| call.get_i64(field).ok()).sum::<i64>();
        u32::try_from(sum).unwrap()
    };
    let outcomes: BTreeMap<_, _> = OUTCOMES.iter().map(|word| (*word, count("outcome", word))).collect();
    let over = outcomes.values().sum();
    let rate = |part, whole: u32| (whole > 0).then(|| f64::from(part) / f64::from(whole));
    let (success, failure) = (count("callSuccessful", "success"), count("callSuccessful", "failure"));
    let sums = json!({
        "calls": calls.len(), "over": over, "outcomes": outcomes,
        "answerRate": rate(outcomes["answered"], over), "minutes": f64::from(sum("durationSecs")) / 60.0,
        "cost": sum("cost"), "success": success, "failure": failure,
        "successRate": rate(success, success + failure),
    });
    // A number that was written and read can differ in its last digit.
    sums.to_string().parse().unwrap()
}

/// The time in Berlin: RFC 3339.
fn berlin(call: &Document) -> String {
    const SUMMER_TIME_ENDS: i64 = 1_792_890_000;
    let second = call.get_datetime("createdAt").unwrap().timestamp_millis() / 1000;
    let hours = if second < SUMMER_TIME_ENDS { 2 } else { 1 };
    let local = jiff::Timestamp::from_second(second + hours * 3600).unwrap();
    local.strftime(&format!("%Y-%m-%dT%H:00:00+0{hours}:00")).to_string()
}

/// The group of a call.
fn group(by: &str, call: &Document) -> Option<String> {
    let text = |field: &str| call.get_str(field).ok().map(str::to_owned);
    match by {
        "agent" => text("agentId"),
        "batch" => text("batchCallId"),
        "outcome" => text("outcome"),
        "direction" => text("direction"),
        "day" => Some(berlin(call)[..10].to_owned()),
        _ => Some(berlin(call)),
    }
}

struct Reported {
    uri: String,
    database: &'static str,
}

impl Reported {
    async fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_aftercall-tests"));
        command.env_clear().env("MONGODB_URI", &self.uri).env("MONGODB_DATABASE", self.database);
        let output = within("the report ends", command.args(["worker", "report"]).args(args).output());
        let output = output.await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}

async fn reported(database: &'static str, calls: Vec<Document>) -> Reported {
    let mongo = Mongo::shared().await;
    let (_store, collection) = inserts::store(&mongo, database).await;
    collection.insert_many(calls).await.unwrap();
    Reported { uri: mongo.uri(), database }
}

#[tokio::test]
async fn sums_of_every_group_are_those_of_the_stored_calls() {
    let calls = calls();
    let reported = reported("report_by", calls.clone()).await;
    let bound = |second| jiff::Timestamp::from_second(second).unwrap().to_string();
    let (since, until) = (bound(BEGIN), bound(END));
    let within = |call: &&Document| {
        let second = call.get_datetime("createdAt").unwrap().timestamp_millis() / 1000;
        (BEGIN..END).contains(&second)
    };
    let calls: Vec<_> = calls.iter().filter(within).collect();
    assert!((1500..2000).contains(&calls.len()), "{}", calls.len());
    for by in ["agent", "day", "hour", "outcome", "batch", "direction"] {
        let args =
            ["--json", "--since", &since, "--until", &until, "--time-zone", "Europe/Berlin", "--by", by];
        let (code, out, errors) = reported.run(&args).await;
        assert_eq!(code, Some(0), "{errors}");
        let report: Value = serde_json::from_str(&out).unwrap();
        let mut expected = BTreeMap::<_, Vec<&Document>>::new();
        for call in &calls {
            expected.entry(group(by, call)).or_default().push(call);
        }
        let rows = report["rows"].as_array().unwrap();
        assert_eq!(rows.len(), expected.len(), "{by}");
        for row in rows {
            let is = row["is"].as_str().map(str::to_owned);
            let mut expected = sums(&expected[&is]);
            expected["is"] = json!(is);
            if by == "agent"
                && let Some(is) = is
            {
                expected["agentName"] = is.replace("agent_", "Agent ").into();
            }
            assert_eq!(*row, expected, "{by}");
        }
        let (total, more) = (&report["total"], &report["more"]);
        assert_eq!((total, more), (&sums(&calls), &json!(false)), "{by}");
        let stages = report["plan"]["stages"].to_string();
        assert!(stages.contains("IXSCAN") && !stages.contains("COLLSCAN"), "{by}: {stages}");
        if matches!(by, "day" | "hour") {
            let is: Vec<_> = rows.iter().map(|row| row["is"].as_str().unwrap()).collect();
            let mut first =
                calls.iter().map(|call| (call.get_datetime("createdAt").unwrap(), group(by, call).unwrap()));
            let mut in_order: Vec<_> = first.by_ref().collect();
            in_order.sort();
            in_order.dedup_by(|a, b| a.1 == b.1);
            assert!(is.iter().eq(in_order.iter().map(|(_, is)| is)), "{is:?}");
        }
    }
    let hours = reported.run(&["--by", "hour", "--since", &since, "--until", &until]).await.1;
    assert!(hours.contains("2026-10-24T22:00:00Z"), "{hours}");
}

#[tokio::test]
async fn table_has_a_line_for_each_group_and_no_terminal_codes() {
    let mut calls = calls();
    for call in &mut calls {
        call.insert("agentId", "agent\u{1b}[2J_+12025550123");
        call.insert("agentName", "+12025550123");
    }
    let reported = reported("report_by_table", calls).await;
    let args = ["--by", "agent", "--since", "2026-10-01T00:00:00Z", "--until", "2026-11-01T00:00:00Z"];
    let (code, out, errors) = reported.run(&args).await;
    assert_eq!((code, out.lines().count()), (Some(0), 5), "{errors}{out}");
    let lines: Vec<_> = out.lines().collect();
    assert!(lines[0].starts_with("2000 calls from 2026-10-01T00:00:00Z to 2026-11-01"), "{out}");
    assert!(lines[2].trim_start().starts_with("CALLS   ANSWERED") && lines[2].ends_with("AGENT"), "{out}");
    assert!(lines[3].ends_with("agent [2J_+12•••••••23 (+12•••••••23)"), "{out}");
    assert!(lines[4].ends_with("all calls"), "{out}");
    let shown = reported.run(&[&args[..], &["--show-numbers"]].concat()).await.1;
    assert!(shown.contains("(+12025550123)"), "{shown}");
}

#[tokio::test]
async fn more_groups_than_fit_are_said_to_be_missing() {
    let at = |n: i64| DateTime::from_millis((BEGIN + n) * 1000);
    let calls =
        (0..1100).map(|n| doc! { "createdAt": at(n), "updatedAt": at(n), "batchCallId": format!("b{n}") });
    let reported = reported("report_by_many", calls.collect()).await;
    let args = ["--by", "batch", "--since", "2026-10-01T00:00:00Z", "--until", "2026-11-01T00:00:00Z"];
    let (_, out, _) = reported.run(&args).await;
    assert!(out.contains("only 1000 groups are shown; choose a shorter period"), "{out}");
    let (_, out, _) = reported.run(&[&args[..], &["--json"]].concat()).await;
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["rows"].as_array().unwrap().len(), 1000);
    assert_eq!((&report["more"], &report["total"]["calls"]), (&json!(true), &json!(1100)));
}

#[tokio::test]
async fn unknown_group_and_unknown_time_zone_are_refused() {
    let reported = reported("report_by_refusals", vec![doc! { "createdAt": DateTime::from_millis(0) }]).await;
    for (args, status, reason) in [
        (
            &["--by", "day", "--time-zone", "Mars/Olympus"][..],
            1,
            "MongoDB knows no time zone \"Mars/Olympus\"",
        ),
        (&["--by", "day", "--time-zone", "$createdAt"], 1, "knows no time zone"),
        (&["--by", "week"], 2, "agent, day, hour, outcome, batch, direction"),
        (&["--time-zone", "UTC"], 2, "--by"),
        (&["--by", "day", "--batch", "btcal_1"], 2, "cannot be used with"),
    ] {
        let (code, _, errors) = reported.run(args).await;
        assert!(code == Some(status) && errors.contains(reason), "{args:?}: {errors}");
    }
    let (code, _, errors) = reported.run(&["--by", "day", "--time-zone", "+02:00"]).await;
    assert_eq!(code, Some(0), "{errors}");
}
