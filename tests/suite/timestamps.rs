//! Times of events, the start of retention, and the format of times in answers.

use jiff::Timestamp;
use mongodb::bson::{DateTime, Document, doc};
use serde_json::{Value, json};

use crate::harness::{TestStack, recently, until_equal};

/// Longest distance from now, in milliseconds, of a time that was taken during the test.
const NEAR: i64 = 600_000;

fn is_near(call: &Document, field: &str) -> bool {
    let now = Timestamp::now().as_millisecond();
    call.get_datetime(field).is_ok_and(|time| (time.timestamp_millis() - now).abs() < NEAR)
}

#[tokio::test]
async fn implausible_time_of_an_event_is_ignored() {
    let stack = TestStack::start().await;
    let times = [
        json!(0),
        json!(-1),
        json!(12.5),
        json!("0001-01-01T00:00:00Z"),
        json!("-000044-03-15T00:00:00Z"),
        json!("1999-01-01T00:00:00Z"),
        json!("2099-01-01T00:00:00Z"),
        json!("9999-12-31T23:59:59Z"),
        json!("8640000000000000"),
    ];
    for (n, time) in times.iter().enumerate() {
        let id = format!("CA{n}");
        let event =
            json!({ "event_type": "call.busy", "call_id": id, "timestamp": time, "failure_reason": "first" });
        stack.webhook(&event).await;
        let call = stack.until_call(&id, doc! { "failureReason": "first" }).await;
        for field in ["createdAt", "statusUpdatedAt", "updatedAt", "_storedAt"] {
            assert!(is_near(&call, field), "{time}: {field} in {call}");
        }
        let entry = call.get_array("history").unwrap()[0].as_document().unwrap();
        assert!(entry.get_bool("timeIgnored").unwrap(), "{time}");
        let now = Timestamp::now().to_string();
        let event = json!({ "event_type": "call.rejected", "call_id": id, "timestamp": now, "failure_reason": "second" });
        stack.webhook(&event).await;
        let call = stack.until_call(&id, doc! { "status": "rejected", "failureReason": "second" }).await;
        assert!(is_near(&call, "createdAt"), "{time}");
        let entry = call.get_array("history").unwrap()[1].as_document().unwrap();
        assert!(!entry.contains_key("timeIgnored"), "{entry}");
    }
}

#[tokio::test]
async fn retention_counts_from_the_first_storage_of_a_call() {
    let stack = TestStack::builder().own_mongod().worker_env("RETENTION_DAYS", "7").start().await;
    // A call that began before the retention period and is stored now, and a call with a wrong time.
    let twenty_days_ago = Timestamp::now().as_second() - 20 * 86_400;
    let event = json!({ "event_type": "call.busy", "call_id": "new", "timestamp": twenty_days_ago });
    stack.webhook(&event).await;
    stack.webhook(&json!({ "event_type": "call.busy", "call_id": "wrong", "timestamp": 0 })).await;
    let new = stack.until_call("new", doc! { "status": "busy" }).await;
    assert_eq!(new.get_datetime("createdAt").unwrap().timestamp_millis(), twenty_days_ago * 1000);
    stack.until_call("wrong", doc! { "status": "busy" }).await;
    // Calls that were stored long ago, with and without a time of storage, as earlier versions wrote them.
    let date = |days: i64| DateTime::from_millis((Timestamp::now().as_second() - days * 86_400) * 1000);
    let call = |id: &str| doc! { "callId": id, "status": "busy", "history": [], "updatedAt": date(1) };
    let mut old = call("old");
    old.extend(doc! { "createdAt": date(1), "_storedAt": date(8) });
    let (mut unmarked, mut young) = (call("unmarked"), call("young"));
    unmarked.insert("createdAt", date(8));
    young.insert("createdAt", date(6));
    stack.calls.insert_many([old, unmarked, young]).await.unwrap();
    let gone = doc! { "callId": { "$in": ["old", "unmarked"] } };
    until_equal("expired calls", 0, async || stack.count(gone.clone()).await).await;
    assert_eq!(stack.count(doc! { "callId": { "$in": ["new", "wrong", "young"] } }).await, 3);
}

#[tokio::test]
async fn dates_in_answers_have_milliseconds() {
    let stack = TestStack::start().await;
    let event = json!({ "event_type": "call.busy", "call_id": "CAt", "timestamp": recently() });
    stack.webhook(&event).await;
    stack.until_call("CAt", doc! { "status": "busy" }).await;
    let call = stack.lookup(json!({ "callSid": "CAt" })).await.body;
    let dates = [&call["createdAt"], &call["statusUpdatedAt"], &call["updatedAt"], &call["history"][0]["at"]];
    let (_, report, _) = stack.command(&["report", "--json"], &[]).await;
    let report: Value = serde_json::from_str(&report).unwrap();
    let hour = &report["hours"]["rows"][0]["is"];
    for date in dates.into_iter().chain([&report["since"], &report["until"], hour]) {
        let text = date.as_str().unwrap_or_else(|| panic!("{date} in {call} {report}"));
        let digits = text.strip_suffix('Z').and_then(|text| text.rsplit_once('.'));
        assert!(digits.is_some_and(|(_, digits)| digits.len() == 3), "{text}");
    }
    let second = Timestamp::from_second(recently()).unwrap();
    assert_eq!(call["statusUpdatedAt"], format!("{second:.3}"));
}
