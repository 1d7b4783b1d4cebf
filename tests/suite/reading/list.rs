//! The list of calls: filters, pages, cursors.

use std::collections::BTreeSet;

use mongodb::bson::{Document, doc};
use serde_json::json;

use super::{FIRST, call, get, ids, page};
use crate::{harness::TestStack, placement::place};

#[tokio::test]
async fn each_filter_selects_its_calls() {
    let stack = TestStack::start().await;
    let fields: [Document; 6] = [
        doc! { "status": "busy", "outcome": "busy", "failureReason": "Recipient was busy", "agentId": "a" },
        doc! { "status": "ended", "outcome": "answered", "agentId": "a", "direction": "inbound", "fromNumber": "+6580000001" },
        doc! { "status": "completed", "outcome": "voicemail", "agentId": "b", "direction": "outbound" },
        doc! { "status": "ringing", "agentId": "b", "toNumber": "+6580000002", "batchCallId": "batch" },
        doc! { "status": "rejected", "outcome": "rejected", "toNumber": "6580000002", "campaignId": "campaign" },
        doc! { "status": "ended", "outcome": "answered", "toNumber": "sip:x@y", "_metadata": ["order=7", "team=a=b"] },
    ];
    let calls = (0_i64..).zip(fields).map(|(n, fields)| call(&format!("c{n}"), n * 1000, fields));
    stack.calls.insert_many(calls).await.unwrap();
    #[rustfmt::skip]
    let table: [(&str, &[u8]); 32] = [
        ("",                                        &[5, 4, 3, 2, 1, 0]),
        ("status=busy",                             &[0]),
        ("status=busy,ringing",                     &[3, 0]),
        ("status=busy&status=ringing",              &[3, 0]),
        ("status=canceled",                         &[]),
        ("outcome=answered",                        &[5, 1]),
        ("outcome=voicemail,rejected",              &[4, 2]),
        ("agentId=a",                               &[1, 0]),
        ("agentId=nobody",                          &[]),
        ("direction=inbound",                       &[1]),
        ("direction=inbound,outbound",              &[2, 1]),
        ("failureReason=Recipient+was+busy",        &[0]),
        ("failureReason=Recipient",                 &[]),
        ("batchCallId=batch",                       &[3]),
        ("campaignId=campaign",                     &[4]),
        ("toNumber=%2B6580000002",                  &[4, 3]),
        ("toNumber=+6580000002",                    &[4, 3]),
        ("toNumber=6580000002",                     &[4, 3]),
        ("toNumber=sip%3Ax%40y",                    &[5]),
        ("fromNumber=6580000001",                   &[1]),
        ("metadata.order=7",                        &[5]),
        ("metadata.team=a%3Db",                     &[5]),
        ("metadata.order=7&metadata.team=a%3Db",    &[5]),
        ("metadata.order=7&metadata.team=a",        &[]),
        ("agentId=a&outcome=busy",                  &[0]),
        ("agentId=b&status=ringing",                &[3]),
        ("agentId=b&toNumber=6580000002",           &[3]),
        ("outcome=answered&direction=inbound",      &[1]),
        ("since=2026-09-21T14:13:22Z",              &[5, 4, 3, 2]),
        ("until=2026-09-21T16:13:21.000%2B02:00",   &[1, 0]),
        ("since=2026-09-21T14:13:21Z&until=2026-09-21T14:13:21Z", &[1]),
        ("status=ended&since=2026-09-21T14:13:22Z", &[5]),
    ];
    for (query, expected) in table {
        let expected: Vec<_> = expected.iter().map(|n| format!("c{n}")).collect();
        let page = page(&stack, query).await;
        assert_eq!(ids(&page), expected, "{query}");
        assert_eq!(page.get("nextCursor"), None, "{query}");
    }
}

#[tokio::test]
async fn a_page_has_the_fields_of_calls_without_nulls_and_large_parts() {
    let stack = TestStack::start().await;
    let fields = doc! {
        "conversationId": "conv", "_placementId": "p-1", "agentId": "a", "durationSecs": 42_i64, "outcome": "answered",
        "transcript": [{ "role": "user", "message": "hello" }], "rawResponse": { "a": 1 }, "requestPayload": { "b": 1 },
        "history": [{ "eventId": "e", "eventType": "call.ended", "status": "ended" }], "_internal": 1,
    };
    stack.calls.insert_one(call("c", 7, fields)).await.unwrap();
    let mut expected = json!({
        "placementId": "p-1", "callId": "c", "conversationId": "conv", "agentId": "a", "status": "ended",
        "outcome": "answered", "durationSecs": 42, "createdAt": "2026-09-21T14:13:20.007Z",
        "statusUpdatedAt": "2026-09-21T14:13:20.007Z", "updatedAt": "2026-09-21T14:13:20.007Z", "revision": FIRST + 7,
    });
    assert_eq!(page(&stack, "").await, json!({ "calls": [expected] }));
    expected["transcript"] = json!([{ "role": "user", "message": "hello" }]);
    expected["rawResponse"] = json!({ "a": 1 });
    expected["requestPayload"] = json!({ "b": 1 });
    expected["history"] = json!([{ "eventId": "e", "eventType": "call.ended", "status": "ended" }]);
    assert_eq!(page(&stack, "include=transcript,payload,history").await["calls"][0], expected);
}

#[tokio::test]
async fn pages_have_each_call_once_while_calls_are_inserted() {
    const CALLS: i64 = 230;
    let stack = TestStack::start().await;
    // Seven calls have the same time.
    let before: Vec<_> =
        (0..CALLS).map(|n| call(&format!("c{n:03}"), n / 7 * 10, doc! { "agentId": "a" })).collect();
    stack.calls.insert_many(&before).await.unwrap();
    for filter in ["", "agentId=a&"] {
        let (mut seen, mut query, mut rounds) = (Vec::new(), format!("{filter}limit=9"), 0);
        loop {
            let page = page(&stack, &query).await;
            seen.extend(ids(&page));
            rounds += 1;
            // A new call, and a call whose webhook was late.
            let new = call(&format!("new{filter}{rounds}"), 1_000_000 + rounds, doc! { "agentId": "a" });
            let late = call(&format!("late{filter}{rounds}"), 5_000, doc! { "agentId": "a" });
            stack.calls.insert_many([new, late]).await.unwrap();
            let Some(cursor) = page["nextCursor"].as_str() else { break };
            query = format!("{filter}limit=9&cursor={cursor}");
        }
        let old: Vec<_> = seen.iter().filter(|id| id.starts_with('c')).cloned().collect();
        let newest_first: Vec<_> = (0..CALLS).rev().map(|n| format!("c{n:03}")).collect();
        assert_eq!(old, newest_first, "{filter}");
        assert_eq!(
            seen.iter().collect::<BTreeSet<_>>().len(),
            seen.len(),
            "{filter}: a call is on two pages"
        );
        stack.calls.delete_many(doc! { "callId": { "$not": { "$regex": "^c" } } }).await.unwrap();
    }
}

#[tokio::test]
async fn a_list_that_examines_many_calls_is_complete_over_its_pages() {
    const CALLS: i64 = 2600;
    let stack = TestStack::start().await;
    // Neither filter is rare, and few calls meet both.
    let fields = |n: i64| {
        let both = n % 1300 == 700;
        let status = if n % 2 == 0 || both { "busy" } else { "ended" };
        let from = if n % 2 == 1 || both { "+6580000001" } else { "+6580000002" };
        doc! { "status": status, "fromNumber": from }
    };
    let calls: Vec<_> = (0..CALLS).map(|n| call(&format!("c{n}"), n / 3, fields(n))).collect();
    stack.calls.insert_many(&calls).await.unwrap();
    let filter = "status=busy&fromNumber=6580000001&limit=2";
    let (mut seen, mut query, mut pages) = (Vec::new(), filter.to_owned(), 0);
    loop {
        let page = page(&stack, &query).await;
        seen.extend(ids(&page));
        pages += 1;
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        query = format!("{filter}&cursor={cursor}");
    }
    assert_eq!(seen, ["c2000", "c700"]);
    assert!((2..=4).contains(&pages), "{pages}");
}

#[tokio::test]
async fn a_page_of_large_calls_is_shorter_and_names_the_next_one() {
    let stack = TestStack::start().await;
    let large =
        |n: i64, bytes| call(&format!("c{n}"), n, doc! { "rawResponse": { "text": "x".repeat(bytes) } });
    let calls = [large(0, 200_000), large(1, 200_000), large(2, 900_000), large(3, 200_000)];
    stack.calls.insert_many(calls).await.unwrap();
    let (mut query, mut seen) = ("include=payload".to_owned(), Vec::new());
    loop {
        let answer = get(&stack, &format!("{}?{query}", super::CALLS)).await;
        assert!(answer.bytes.len() <= 512 * 1024, "{}", answer.bytes.len());
        let page = answer.json();
        seen.push(ids(&page));
        for call in page["calls"].as_array().unwrap().iter().filter(|call| call["callId"] == "c2") {
            assert_eq!((&call["omitted"], call.get("rawResponse")), (&json!(["rawResponse"]), None));
        }
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        query = format!("include=payload&cursor={cursor}");
    }
    assert_eq!(seen, [vec!["c3", "c2", "c1"], vec!["c0"]]);
}

#[tokio::test]
async fn a_placed_call_is_found_by_its_metadata() {
    let stack = TestStack::start().await;
    let order = json!({
        "agentId": "a", "agentPhoneNumberId": "p", "toNumber": "+15005550000",
        "metadata": { "order_id": "Z-17", "note": "a=b & c" },
    });
    let placed = place(&stack, &order, None).await;
    assert_eq!(placed.status, 201, "{}", placed.body);
    let found =
        page(&stack, "metadata.order_id=Z-17&metadata.note=a%3Db+%26+c&toNumber=%2B15005550000").await;
    assert_eq!(found["calls"][0]["placementId"], placed.body["placementId"], "{found}");
    assert_eq!(found["calls"][0]["placementMetadata"], order["metadata"], "{found}");
    assert_eq!(page(&stack, "metadata.order_id=Z-18").await, json!({ "calls": [] }));
}

#[tokio::test]
async fn metadata_of_an_earlier_version_is_found_after_the_start_of_a_worker() {
    let mut stack = TestStack::builder().without_worker().start().await;
    let fields = doc! { "_placementId": "p-1", "placementMetadata": { "order_id": "Z-17" } };
    stack.calls.insert_one(call("c", 0, fields)).await.unwrap();
    stack.add_worker().await;
    assert_eq!(ids(&page(&stack, "metadata.order_id=Z-17").await), ["c"]);
}
