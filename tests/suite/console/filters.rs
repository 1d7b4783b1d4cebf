//! The filters of the list of calls: what they find, how many, and what they cost the database.

use std::{io::Read as _, time::Duration};

use flate2::read::GzDecoder;
use futures_util::TryStreamExt as _;
use mongodb::{
    Database,
    bson::{Bson, DateTime, Document, doc, oid::ObjectId},
};

use serde_json::json;

use super::{ConsoleStack, start};
use crate::harness::{until, within};

/// A call number `n` that began `minutes` ago. Calls of the same minute are in no certain order.
pub fn call(n: i64, minutes: i64, fields: Document) -> Document {
    let at = DateTime::from_millis(DateTime::now().timestamp_millis() - minutes * 60_000 - n);
    let mut call = doc! {
        "_id": ObjectId::new(), "callId": format!("CA{n:05}"), "history": [],
        "createdAt": at, "statusUpdatedAt": at, "updatedAt": at,
    };
    call.extend(fields);
    call
}

/// Call ids on the page at `query`, in alphabetical order, and the text with their number.
async fn found(shown: &ConsoleStack, query: &str) -> (Vec<String>, String) {
    let (status, page) = shown.page(&format!("/calls?{query}")).await;
    assert_eq!(status, 200, "{query}");
    let mut ids: Vec<_> =
        page.split("<a href=\"/calls/CA").skip(1).map(|row| format!("CA{}", &row[..5])).collect();
    ids.sort();
    let count = page.split("id=\"count\">").nth(1).unwrap();
    (ids, count[..count.find('<').unwrap()].to_owned())
}

#[tokio::test]
async fn calls_are_found_by_outcome_agent_batch_campaign_direction_and_evaluation() {
    let shown = start(Duration::from_millis(50)).await;
    let calls = [
        call(
            1,
            5,
            doc! { "status": "ended", "outcome": "answered", "agentId": "a1", "batchCallId": "b1", "direction": "outbound", "callSuccessful": "success", "durationSecs": 60_i64 },
        ),
        call(
            2,
            6,
            doc! { "status": "ended", "outcome": "voicemail", "agentId": "a1", "batchCallId": "b2", "direction": "outbound", "durationSecs": 9_i64 },
        ),
        call(
            3,
            7,
            doc! { "status": "busy", "outcome": "busy", "agentId": "a2", "campaignId": "b1", "direction": "inbound", "failureReason": "Recipient was busy" },
        ),
        call(
            4,
            8,
            doc! { "status": "ended", "outcome": "answered", "agentId": "a2", "direction": "inbound", "callSuccessful": "failure", "durationSecs": 301_i64 },
        ),
        call(5, 9, doc! { "status": "ringing", "agentId": "a1" }),
        call(6, 134, doc! { "status": "answered", "agentId": "a2" }),
        call(7, 136, doc! { "status": "ringing", "agentId": "a1" }),
        call(8, 60 * 24 * 5, doc! { "status": "initiated" }),
    ];
    shown.stack.calls.insert_many(calls).await.unwrap();
    #[rustfmt::skip]
    let table: [(&str, &[i64]); 18] = [
        ("outcome=answered",                             &[1, 4]),
        ("outcome=voicemail%2Cbusy",                     &[2, 3]),
        ("outcome=going",                                &[5, 6]),
        ("outcome=stuck",                                &[7, 8]),
        ("outcome=stuck&agent=a1",                       &[7]),
        ("outcome=stuck&period=24h",                     &[7]),
        ("agent=a1",                                     &[1, 2, 5, 7]),
        ("outcome=answered&agent=a2",                    &[4]),
        ("batch=b1",                                     &[1]),
        ("campaign=b1",                                  &[3]),
        ("direction=inbound",                            &[3, 4]),
        ("evaluation=failure",                           &[4]),
        ("duration=-10",                                 &[2]),
        ("duration=60-300",                              &[1]),
        ("agent=a2&duration=300-",                       &[4]),
        ("duration=9-61",                                &[1, 2]),
        ("agent=a2&direction=inbound&reason=BUSY",       &[3]),
        ("outcome=answered&agent=a1&batch=b1&direction=outbound&evaluation=success&period=1h", &[1]),
    ];
    for (query, expected) in table {
        let expected: Vec<_> = expected.iter().map(|n| format!("CA{n:05}")).collect();
        let count = format!("{} of about 8 calls", expected.len());
        assert_eq!(found(&shown, query).await, (expected, count), "{query}");
    }
    // Voicemail is not shown as a conversation, and a call that hangs is not shown as one in progress.
    let (_, page) = shown.page("/calls").await;
    let row = |id: &str| page.split("<tr ").find(|row| row.contains(id)).unwrap().to_owned();
    assert!(row("CA00002").contains("missed") && row("CA00002").contains("voicemail"), "{}", row("CA00002"));
    assert!(row("CA00007").contains("failed") && row("CA00007").contains("stuck"), "{}", row("CA00007"));
    let (_, overview) = shown.page("/overview").await;
    assert!(overview.contains("<dt>Answered by people</dt><dd>50 %"), "two of four: {overview}");
}

/// Stored calls of the next test: more than a count counts.
const STORED: i64 = 12_000;
/// Most calls that a page examines if no index covers its filter, and most calls that a count counts.
const MAX_EXAMINED: i64 = 2000;
const MAX_COUNTED: i64 = 10_000;

const FILTERS: [(&str, &str); 14] = [
    ("q", "q=0001"),
    ("q", "q=%2B12025550001"),
    ("outcome", "outcome=answered"),
    ("outcome", "outcome=stuck"),
    ("status", "status=ended"),
    ("agent", "agent=a1"),
    ("batch", "batch=b1"),
    ("campaign", "campaign=c1"),
    ("direction", "direction=outbound"),
    ("evaluation", "evaluation=failure"),
    ("duration", "duration=10-60"),
    ("reason", "reason=busy"),
    ("sip", "sip=486"),
    ("period", "period=30d"),
];

fn stored(n: i64) -> Document {
    let failed = n % 3 == 0;
    let (status, outcome) = if failed { ("busy", "busy") } else { ("ended", "answered") };
    let mut fields = doc! { "status": status, "outcome": outcome, "agentId": format!("a{}", n % 2), "direction": "outbound", "durationSecs": n % 400 };
    if n % 4 == 0 {
        fields.insert("batchCallId", "b1");
    } else {
        fields.insert("campaignId", "c1");
    }
    if failed {
        fields.extend(doc! { "failureReason": "Recipient was busy", "sipCode": "486" });
    } else {
        fields.insert("callSuccessful", "success");
    }
    if n % 5 == 0 {
        fields.extend(doc! { "toNumber": "+12025550001", "_numberSuffixes": ["0001"] });
    }
    call(n, 1, fields)
}

/// The work of the server for the console since the profile was emptied.
async fn work(database: &Database) -> Vec<Document> {
    let filter = doc! {
        "ns": format!("{}.agent_calls", database.name()), "appName": "aftercall-console",
        // The approximate number of stored calls needs no plan.
        "command.count": null,
    };
    let profile = database.collection::<Document>("system.profile");
    profile.find(filter).await.unwrap().try_collect().await.unwrap()
}

#[tokio::test]
async fn every_filter_and_every_pair_is_answered_from_an_index_within_a_bound() {
    let shown = start(Duration::from_millis(50)).await;
    for first in (0..STORED).step_by(3000) {
        shown.stack.calls.insert_many((first..first + 3000).map(stored)).await.unwrap();
    }
    let database = shown.stack.calls.client().database(&shown.stack.calls.namespace().db);
    let singles = FILTERS.iter().map(|(_, query)| (*query).to_owned());
    let pairs = FILTERS.iter().enumerate().flat_map(|(n, a)| FILTERS[..n].iter().map(move |b| (a, b)));
    let pairs = pairs.filter(|(a, b)| a.0 != b.0).map(|(a, b)| format!("{}&{}", a.1, b.1));
    for query in singles.chain(pairs) {
        database.run_command(doc! { "profile": 0 }).await.unwrap();
        database.collection::<Document>("system.profile").drop().await.unwrap();
        database.run_command(doc! { "profile": 2 }).await.unwrap();
        let (_, count) = found(&shown, &normalised(&query)).await;
        assert!(count.ends_with(" of about 12,000 calls"), "{query}: {count:?}");
        let work = work(&database).await;
        assert!(work.len() >= 2, "{query}: nothing is profiled");
        for one in &work {
            let number = |name: &str| i64::from(one.get(name).and_then(Bson::as_i32).unwrap_or(0));
            let plan = one.get_str("planSummary").unwrap();
            assert!(!plan.contains("COLLSCAN"), "{query}: {plan}");
            // Filters that exclude each other find nothing, which the server may sort.
            let sorts = one.get_bool("hasSortStage").unwrap_or(false) && number("docsExamined") > 0;
            assert!(!sorts, "{query}: {plan}");
            assert!(number("docsExamined") <= MAX_EXAMINED + 1, "{query}: {plan} {}", number("docsExamined"));
            assert!(
                number("keysExamined") <= MAX_COUNTED + 300,
                "{query}: {plan} {}",
                number("keysExamined")
            );
        }
    }
    database.run_command(doc! { "profile": 0 }).await.unwrap();
    assert_eq!(found(&shown, "direction=outbound").await.1, "10,000+ of about 12,000 calls");
}

/// The order of the parameters in an address of the console.
fn normalised(query: &str) -> String {
    let order = [
        "q=",
        "outcome",
        "status",
        "agent",
        "batch",
        "campaign",
        "direction",
        "evaluation",
        "duration",
        "reason",
        "sip",
        "period",
    ];
    let mut parts: Vec<_> = query.split('&').collect();
    parts.sort_by_key(|part| order.iter().position(|name| part.starts_with(name)));
    parts.join("&")
}

#[tokio::test]
async fn a_page_that_no_index_serves_goes_on_until_every_call_is_found() {
    let shown = start(Duration::from_millis(50)).await;
    // The calls that match are the oldest ones, behind more calls than a page examines.
    for first in (0..STORED).step_by(3000) {
        shown.stack.calls.insert_many((first..first + 3000).map(stored)).await.unwrap();
    }
    let old =
        (0..3).map(|n| call(90_000 + n, 9 + n, doc! { "status": "ended", "callSuccessful": "failure" }));
    shown.stack.calls.insert_many(old).await.unwrap();
    let (mut address, mut ids, mut pages) = ("/calls?evaluation=failure".to_owned(), Vec::new(), 0);
    loop {
        let (status, page) = shown.page(&address).await;
        assert_eq!(status, 200);
        ids.extend(page.split("<a href=\"/calls/CA").skip(1).map(|row| row[..5].to_owned()));
        pages += 1;
        let Some(next) = super::call_list::link(&page, "next") else { break };
        assert!(page.contains("The next page goes on"), "{page}");
        address = next;
    }
    assert_eq!((ids.join(" ").as_str(), pages), ("90000 90001 90002", 7));
}

#[tokio::test]
async fn a_filter_that_cannot_be_read_shows_and_exports_no_calls() {
    let shown = start(Duration::from_millis(50)).await;
    shown.stack.calls.insert_one(call(1, 1, doc! { "status": "failed", "sipCode": "503" })).await.unwrap();
    for (query, text) in [
        ("sip=50&period=24h", "The filter sip takes the SIP response code of a failure, 400 to 699."),
        ("agnet=agent_1", "There is no filter with the name “agnet”."),
        ("period=1h&period=30d", "The filter period is given twice."),
    ] {
        let (status, page) = shown.page(&format!("/calls?{query}")).await;
        assert_eq!(status, 422, "{query}");
        assert!(page.contains(text) && !page.contains("CA00001") && !page.contains("calls.csv"), "{page}");
        let (status, table) = shown.page(&format!("/calls.csv?{query}")).await;
        assert_eq!((status, table.as_str()), (422, format!("{text}\n").as_str()), "{query}");
        let (status, events) = shown.page(&format!("/events?topic=calls&seen=0&{query}")).await;
        assert_eq!((status, events.as_str()), (422, format!("{text}\n").as_str()), "{query}");
    }
    // What has no pages takes no position in the list, and a stream its own parameters only.
    for path in [
        "/calls.csv?older=1.507f1f77bcf86cd799439011",
        "/events?topic=calls&newer=1.507f1f77bcf86cd799439011",
        "/events?topic=CALLS",
        "/events?topic=call&id=CA00001",
        "/events?topic=calls&seen=new",
    ] {
        assert_eq!(shown.page(path).await.0, 422, "{path}");
    }
    assert_eq!(shown.page(&format!("/calls/CA00001?turns={}", u64::MAX)).await.0, 200);
    let (_, page) = shown.page("/calls?sip=50&period=24h").await;
    let without = page.split("role=\"alert\"").nth(1).unwrap().split("href=\"").nth(1).unwrap();
    let without = &without[..without.find('"').unwrap()];
    assert!(shown.page(without).await.1.contains("CA00001"), "{without}");
}

#[tokio::test]
async fn live_updates_know_reasons_that_are_new() {
    let shown = start(Duration::from_millis(50)).await;
    let mut stream = shown.get("/events?topic=calls&reason=zopp").send().await.unwrap();
    assert_eq!(stream.status(), 200);
    for (call, reason) in [("CAother", "other"), ("CAnew", "Some zopp thing")] {
        let webhook = json!({ "event_type": "call.failed", "call_id": call, "failure_reason": reason });
        shown.stack.webhook(&webhook).await;
        shown.stack.until_call(call, doc! { "status": "failed" }).await;
    }
    let read = async {
        let mut bytes = Vec::new();
        while !String::from_utf8_lossy(&bytes).contains("CAnew") {
            bytes.extend_from_slice(&stream.chunk().await.unwrap().unwrap());
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let text = within("the row of the new reason", read).await;
    let mut rows = text.split("event: row\n").skip(1).map(|row| row.split("event: ").next().unwrap());
    assert!(rows.all(|row| !row.contains("CAother")), "{text}");
}

#[tokio::test]
async fn a_list_that_leaves_out_failure_reasons_says_so() {
    let shown = start(Duration::from_millis(50)).await;
    let calls = (0..20).map(|n| {
        let reason = format!("gateway refused 65812345{n:02}");
        call(n, n, doc! { "status": "failed", "outcome": "failed", "failureReason": reason })
    });
    shown.stack.calls.insert_many(calls).await.unwrap();
    // The reasons are read now and then.
    until("the reasons are known", async || {
        let (_, page) = shown.page("/calls?reason=gateway").await;
        (page.contains("15 of about 20 calls") && page.contains("so calls are left out")).then_some(())
    })
    .await;
    let (status, table) = shown.page("/calls.csv?reason=gateway").await;
    assert!(status == 422 && table.starts_with("more failure reasons contain"), "{status} {table}");
    // A new reason is found at once, although the reasons for suggestions were read before.
    let new =
        call(30, 1, doc! { "status": "failed", "outcome": "failed", "failureReason": "freshly refused" });
    shown.stack.calls.insert_one(new).await.unwrap();
    assert_eq!(found(&shown, "reason=freshly+refused").await.0, ["CA00030"]);
}

#[tokio::test]
async fn the_calls_of_a_list_are_exported_with_masked_numbers() {
    let shown = start(Duration::from_millis(50)).await;
    // More calls than a page of the list and than a page of the export.
    let calls = (0..2100).map(|n| {
        let outcome = if n % 2 == 0 { "busy" } else { "answered" };
        call(
            n,
            1,
            doc! { "status": "ended", "outcome": outcome, "toNumber": "+6581234567", "summary": "=1+1", "durationSecs": n },
        )
    });
    shown.stack.calls.insert_many(calls).await.unwrap();
    let (_, page) = shown.page("/calls?outcome=busy").await;
    assert!(page.contains("href=\"/calls.csv?outcome=busy\""), "{page}");
    let answer = shown.get("/calls.csv?outcome=busy").send().await.unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/csv; charset=utf-8");
    assert!(header("content-disposition").starts_with("attachment; filename=\"calls-"));
    let table = answer.text().await.unwrap();
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 1 + 1050);
    assert!(lines[0].starts_with("placementId,callId,"), "{}", lines[0]);
    assert!(
        lines[1..].iter().all(|line| line.contains(",busy,") && line.contains(",+65••••••67,")),
        "{table}"
    );
    assert!(lines[1].contains(",'=1+1,"), "a cell is no formula: {}", lines[1]);
    // As a browser asks for it.
    let compressed =
        shown.get("/calls.csv?outcome=busy").header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(compressed.headers()["content-encoding"], "gzip");
    let bytes = compressed.bytes().await.unwrap();
    let mut unpacked = String::new();
    GzDecoder::new(&bytes[..]).read_to_string(&mut unpacked).unwrap();
    assert_eq!(unpacked, table);
    let (_, short) = shown.page("/calls.csv?outcome=busy&duration=-10").await;
    assert_eq!(short.lines().count(), 1 + 5, "{short}");
    assert_eq!(shown.page("/calls.csv?q=CA00001").await.0, 400);
    let without = shown.stack.http.get(format!("{}/calls.csv", shown.console)).send().await.unwrap();
    assert_eq!(without.status(), 401);
}
