//! Dead letters in the console: shown, edited, redriven, dropped.

use std::time::Duration;

use aftercall_common::contract::streams;
use mongodb::bson::doc;
use serde_json::json;

use super::{browser::with_browser, start};
use crate::harness::until_equal;

#[tokio::test]
async fn edited_dead_letter_is_applied_to_its_call() {
    with_browser(async |browser| {
        let shown = start(Duration::from_millis(50)).await;
        browser.open(&shown.link()).await;
        browser.open_live(&format!("{}/dead-letters", shown.console)).await;
        browser.read("#page", "None. All received messages could be processed.").await;
        // A misspelt event type, and an unknown one.
        shown
            .stack
            .webhook(&json!({ "event_type": "call.bussy", "call_id": "CAdead", "to_number": "+12025550123" }))
            .await;
        shown.stack.webhook(&json!({ "event_type": "call.teleported", "call_id": "CAgone" })).await;
        browser.read(".letters", "call.bussy").await;
        browser.read("#letters", "2").await;

        browser.open(&format!("{}/dead-letters/1", shown.console)).await;
        browser.read("pre", "call.bussy").await;
        browser.read("pre", "+12•").await;
        browser.click("a.button").await;
        browser.fill("#body", r#"{"event_type":"call.busy","call_id":"CAdead"}"#).await;
        browser.click(".editor button[type=submit]").await;
        browser.read("#outcome", "It is part of call CAdead").await;
        let call = shown.stack.until_call("CAdead", doc! { "status": "busy" }).await;
        let entry = call.get_array("history").unwrap()[0].as_document().unwrap();
        assert_eq!(entry.get_str("signature").unwrap(), "edited");
        browser.click("#outcome a").await;
        browser.read(".timeline", "edited by an operator").await;

        // An unchanged dead letter becomes a dead letter again, with another number.
        browser.open(&format!("{}/dead-letters/2", shown.console)).await;
        browser.click(".choice:first-child summary").await;
        browser.click(".choice:first-child button").await;
        browser.read("#outcome", "It is a dead letter again: number 3").await;

        // Dropping needs a confirmation.
        browser.click("#outcome a").await;
        browser.click("summary.danger").await;
        browser.click("button.danger").await;
        browser.read("#page", "None.").await;
        until_equal("dead letters", 0, async || shown.stack.stored(streams::DEAD_LETTERS).await).await;
        assert_eq!(shown.page("/dead-letters/3").await.0, 404);
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn pages_of_dead_letters_skip_deleted_ones() {
    let shown = start(Duration::from_millis(50)).await;
    for n in 0..130 {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert(streams::header::DEAD_REASON, "unsupported_event");
        headers.insert(streams::header::DEAD_DETAIL, format!("letter {n}").as_str());
        let subject = streams::subject::dead_letter("status");
        shown
            .stack
            .jetstream
            .publish_with_headers(subject, headers, "{}".into())
            .await
            .unwrap()
            .await
            .unwrap();
    }
    let stream = shown.stack.jetstream.get_stream(streams::DEAD_LETTERS).await.unwrap();
    for number in 20..110 {
        stream.delete_message(number).await.unwrap();
    }
    let (_, first) = shown.page("/dead-letters").await;
    let numbers = |page: &str| -> Vec<u64> {
        let rows = page.split("<a href=\"/dead-letters/").skip(1);
        rows.filter_map(|row| row[..row.find('"')?].parse().ok()).collect()
    };
    let expected: Vec<u64> = (110..=130).rev().chain((1..20).rev()).collect();
    assert_eq!(numbers(&first), expected, "forty dead letters are left, the newest first");
    let (_, older) = shown.page("/dead-letters?before=110").await;
    assert_eq!(numbers(&older), (1..20).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn of_two_edits_of_one_dead_letter_one_is_sent() {
    let shown = start(Duration::from_millis(50)).await;
    shown.stack.webhook(&json!({ "event_type": "call.bussy", "call_id": "CAtwo" })).await;
    until_equal("dead letters", 1, async || {
        shown.stack.jetstream.get_stream(streams::DEAD_LETTERS).await.unwrap().cached_info().state.messages
    })
    .await;
    let edit = async |call: &str| {
        let body = json!({ "event_type": "call.busy", "call_id": call }).to_string();
        let form = form_urlencoded::Serializer::new(String::new()).append_pair("body", &body).finish();
        shown.post("/dead-letters/1/replay", &form).await
    };
    let (one, other) = tokio::join!(edit("CAone"), edit("CAother"));
    // The second may also be so late that it finds no dead letter any more. Its text is shown again.
    let edits = [("CAone", one), ("CAother", other)];
    let (sent, kept): (Vec<_>, Vec<_>) = edits.into_iter().partition(|(_, (status, _))| *status == 200);
    assert_eq!(sent.len(), 1, "{kept:?}");
    let (call, (status, page)) = &kept[0];
    assert!([404, 409].contains(status) && page.contains(call), "{page}");
    shown.stack.until_call(sent[0].0, doc! { "status": "busy" }).await;
    shown.stack.all_acknowledged().await;
    assert_eq!(shown.stack.calls.count_documents(doc! {}).await.unwrap(), 1);
    let (_, audit) = shown.page("/audit").await;
    assert_eq!(audit.matches("edited and sent again").count(), 1, "{audit}");
}

#[tokio::test]
async fn the_outcome_of_a_message_is_asked_of_known_streams_only() {
    let shown = start(Duration::from_millis(50)).await;
    // The broker would end the connection.
    let long = "A".repeat(5000);
    for (stream, status) in [("WEBHOOKS", 200), ("TRANSCRIPTS", 200), (long.as_str(), 404), ("CALLS", 404)] {
        let found = shown.page(&format!("/sent?stream={stream}&sequence=1&after=1&event=e")).await;
        assert_eq!(found.0, status, "{}", &stream[..5]);
    }
    for path in ["/sent", "/sent?stream=WEBHOOKS", "/dead-letters/abc", "/dead-letters/-1"] {
        let (status, page) = shown.page(path).await;
        assert!(status == 404 && page.contains("<h1>"), "{path}: {page}");
    }
}
