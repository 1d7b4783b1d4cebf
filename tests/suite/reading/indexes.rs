//! Every filter and every pair of filters is answered from an index, by the server's own account of its work.

use futures_util::TryStreamExt as _;
use mongodb::{
    Database,
    bson::{Bson, Document, doc},
};

use super::{CALLS, call, get};
use crate::harness::TestStack;

/// Stored calls. Most filters below meet thousands of them.
const STORED: i64 = 12_000;
/// Most keys that the server may examine for a page of 50 calls: a thousand to see how far each of two indexes
/// reaches, a thousand for the page, and the beginnings of the scans that are merged.
const MAX_KEYS: i64 = 3300;
/// The same for a page whose filters one index covers.
const MAX_EXACT_KEYS: i64 = 320;

/// The filters, each with a frequent value, and one that no call has together with many others.
const FILTERS: [(&str, &str); 12] = [
    ("status", "status=ended"),
    ("status", "status=rejected"),
    ("outcome", "outcome=answered"),
    ("direction", "direction=inbound"),
    ("agentId", "agentId=agent_1"),
    ("agentId", "agentId=nobody"),
    ("batchCallId", "batchCallId=batch"),
    ("campaignId", "campaignId=campaign"),
    ("toNumber", "toNumber=6580000001"),
    ("fromNumber", "fromNumber=6580000002"),
    ("failureReason", "failureReason=Recipient+was+busy"),
    ("metadata", "metadata.team=sales"),
];

/// Pairs of fields that one index covers.
const EXACT: [&[&str]; 3] =
    [&["agentId", "direction", "outcome"], &["outcome", "direction"], &["failureReason", "status"]];

/// A call whose fields exclude each other as far as possible: a page of two filters often finds nothing.
fn stored(n: i64) -> Document {
    let failed = n % 3 == 0;
    let (status, outcome) = if failed { ("busy", "busy") } else { ("ended", "answered") };
    let mut fields = doc! {
        "status": status, "outcome": outcome, "agentId": format!("agent_{}", n % 2),
        "direction": if n % 2 == 0 { "inbound" } else { "outbound" },
    };
    let name = match n % 4 {
        0 => ("batchCallId", Bson::from("batch")),
        1 => ("campaignId", "campaign".into()),
        2 => ("toNumber", "+6580000001".into()),
        _ => ("fromNumber", "+6580000002".into()),
    };
    fields.insert(name.0, name.1);
    if failed {
        fields.insert("failureReason", "Recipient was busy");
    } else {
        fields.insert("_metadata", vec!["team=sales"]);
    }
    call(&format!("c{n}"), n, fields)
}

/// The work of the server for the requests of the API since the last time.
async fn work(database: &Database) -> Vec<Document> {
    let filter = doc! { "ns": format!("{}.agent_calls", database.name()), "appName": "aftercall-api" };
    let profile = database.collection::<Document>("system.profile");
    profile.find(filter).sort(doc! { "ts": 1 }).await.unwrap().try_collect().await.unwrap()
}

#[tokio::test]
async fn each_filter_and_each_pair_is_answered_from_an_index() {
    let stack = TestStack::start().await;
    for first in (0..STORED).step_by(3000) {
        stack.calls.insert_many((first..first + 3000).map(stored)).await.unwrap();
    }
    let database = stack.calls.client().database(&stack.calls.namespace().db);
    let singles = FILTERS.iter().map(|(name, query)| (vec![*name], (*query).to_owned()));
    let pairs = FILTERS.iter().enumerate().flat_map(|(n, a)| FILTERS[..n].iter().map(move |b| (a, b)));
    let pairs = pairs.filter(|(a, b)| a.0 != b.0).map(|(a, b)| (vec![a.0, b.0], format!("{}&{}", a.1, b.1)));
    let with_time = [(vec!["time"], String::new()), (vec!["time"], "since=2026-09-21T14:13:22Z".to_owned())];
    for (names, query) in singles.chain(pairs).chain(with_time) {
        let is_exact =
            names.len() == 1 || EXACT.iter().any(|exact| names.iter().all(|name| exact.contains(name)));
        let most = if is_exact { MAX_EXACT_KEYS } else { MAX_KEYS };
        let mut path = format!("{CALLS}?{query}");
        // The first page, and the page after it.
        for _ in 0..2 {
            database.run_command(doc! { "profile": 0 }).await.unwrap();
            database.collection::<Document>("system.profile").drop().await.unwrap();
            database.run_command(doc! { "profile": 2 }).await.unwrap();
            let answer = get(&stack, &path).await;
            assert_eq!(answer.status, 200, "{query}");
            let work = work(&database).await;
            assert!(!work.is_empty(), "{query}: nothing is profiled");
            let number = |one: &Document, name: &str| one.get(name).and_then(Bson::as_i32).unwrap_or(0);
            let keys: i64 = work.iter().map(|one| i64::from(number(one, "keysExamined"))).sum();
            for one in &work {
                let plan = one.get_str("planSummary").unwrap();
                assert!(plan.contains("IXSCAN") && !plan.contains("COLLSCAN"), "{query}: {plan}");
                assert!(!one.get_bool("hasSortStage").unwrap_or(false), "{query}: {plan}");
                assert!(i64::from(number(one, "docsExamined")) <= most, "{query}: {plan}");
            }
            let plans: Vec<_> = work.iter().map(|one| one.get_str("planSummary").unwrap()).collect();
            assert!(keys <= most, "{query}: {keys} keys, {plans:?}");
            let Some(cursor) = answer.json()["nextCursor"].as_str().map(str::to_owned) else { break };
            path = format!("{CALLS}?{query}&cursor={cursor}");
        }
    }
    database.run_command(doc! { "profile": 0 }).await.unwrap();
}
