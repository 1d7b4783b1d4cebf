//! The page of one call: how it turned out, its analysis, its tools, its recording.

use std::time::Duration;

use mongodb::bson::doc;
use serde_json::{Value, json};

use super::{browser::with_browser, event, start, transcription};
use crate::harness::{recently, until};

/// The transcription webhook of the call `id` with an analysis and tools.
pub fn report(id: &str) -> Value {
    let turns = json!([
        { "role": "agent", "message": "Good morning, this is the clinic. Shall I renew the contract?", "time_in_call_secs": 0 },
        { "role": "user", "message": "Yes, please.", "time_in_call_secs": 4 },
        { "role": "agent", "message": "One moment.", "time_in_call_secs": 6, "tool_calls": [
            { "request_id": "t1", "tool_name": "renew_contract", "params_as_json": "{\"months\":12,\"notify\":\"+12025550123\"}" },
        ] },
        { "role": "agent", "message": "Done, for twelve months.", "time_in_call_secs": 9, "tool_results": [
            { "request_id": "t1", "tool_name": "renew_contract", "result_value": "{\"ok\":true}", "is_error": false, "tool_latency_secs": 1.24 },
        ] },
        { "role": "user", "message": "Thank you, call +12025550123 then.", "time_in_call_secs": 15, "interrupted": true },
    ]);
    let mut report = transcription(id, &turns, "The customer renewed the contract for twelve months.");
    report["data"]["analysis"]["evaluation_criteria_results"] = json!({
        "renewal_agreed": { "criteria_id": "renewal_agreed", "result": "success", "rationale": "He said yes at 0:04." },
        "recording_disclosed": { "criteria_id": "recording_disclosed", "result": "failure", "rationale": "The agent never mentioned it." },
        "asked_for_feedback": { "criteria_id": "asked_for_feedback", "result": "unknown", "rationale": "" },
    });
    report["data"]["analysis"]["data_collection_results"] = json!({
        "contract_months": { "data_collection_id": "contract_months", "value": 12, "rationale": "He was told so." },
        "email": { "data_collection_id": "email", "value": null, "rationale": "Nobody asked for it." },
    });
    report["data"]["metadata"]["cost"] = 412.into();
    report["data"]["conversation_initiation_client_data"] =
        json!({ "dynamic_variables": { "customer": "Ada", "secret__key": "hidden" } });
    report
}

#[tokio::test]
async fn a_call_says_how_it_turned_out_and_why() {
    with_browser(async |browser| {
        let shown = start(Duration::from_millis(50)).await;
        shown.stack.webhook(&event("CAtold", "ringing", recently())).await;
        shown.stack.webhook(&report("CAtold")).await;
        shown.stack.until_call("CAtold", doc! { "transcriptState": "saved" }).await;
        browser.open(&shown.link()).await;
        browser.open_live(&format!("{}/calls/CAtold", shown.console)).await;
        browser.read("#told", "Spoke 1:01; successful; not met: recording disclosed.").await;
        browser.read(".card.done", "He said yes").await;
        browser.read(".card.failed", "never mentioned").await;
        browser.read(".collected", "12").await;
        browser.read(".collected", "not given").await;
        let (_, page) = shown.page("/calls/CAtold").await;
        for absent in ["null", "secret__key", "class=\"tag\"", "+12025550123"] {
            assert!(!page.contains(absent), "{absent}: {page}");
        }
        assert!(page.contains("412 credits") && page.contains("<dd dir=\"auto\">Ada</dd>"), "{page}");

        // The tool stands where it was called, with its result, folded.
        browser.read(".tool summary", "renew_contract").await;
        browser.read(".tool summary", "1.2 s").await;
        browser.click(".tool summary").await;
        browser.read(".tool", "\"months\": 12").await;
        browser.read(".tool", "\"ok\": true").await;
        let sides = "[...document.querySelectorAll('.turn')].map((turn) => turn.querySelector('.said').getBoundingClientRect()).map((box) => Math.round(box.left))";
        let sides = browser.eval(sides).await;
        let left = |n: usize| sides[n].as_i64().unwrap();
        assert!(left(1) > left(0) && left(4) > left(2), "the callee is on the right: {sides}");

        // Of the history, the event that decides is open.
        assert_eq!(browser.count(".timeline details[open]").await, 1);
        browser.read(".step.decides", "The status of the call comes from this event.").await;
        browser.read(".side .why", "ElevenLabs reported at").await;

        // Printed, the page has everything that is folded on the screen, and no navigation.
        let visible = "document.querySelector('.step:not(.decides) details p').checkVisibility()";
        assert_eq!(browser.eval(visible).await, false);
        browser.print().await;
        assert_eq!(browser.eval(visible).await, true);
        assert_eq!(browser.eval("getComputedStyle(document.querySelector('.top')).display").await, "none");
        browser.picture("call-printed").await;
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn a_turn_seeks_the_recording_and_playing_marks_the_turn() {
    with_browser(async |browser| {
        let shown = start(Duration::from_millis(50)).await;
        browser.open(&shown.link()).await;
        browser.open(&format!("{}/test-call", shown.console)).await;
        browser.click("form.order button[type=submit]").await;
        browser.see("article.call audio").await;
        browser.see(".turn[data-second]").await;
        let plays = async || (browser.eval("document.querySelector('audio').duration > 0").await == true).then_some(());
        until("the recording can be played", plays).await;
        let last = ".turn[data-second]:last-child";
        browser.click(&format!("{last} .said")).await;
        browser.see(&format!("{last}[aria-current]")).await;
        assert_eq!(browser.count(".turn[aria-current]").await, 1);
        let sought = "Math.abs(document.querySelector('audio').currentTime - Math.min(document.querySelector('audio').duration, Number(document.querySelector('.turn[data-second]:last-child').dataset.second))) < 1";
        until("the recording is sought", async || (browser.eval(sought).await == true).then_some(())).await;
        // Playing from the beginning marks the first turn again.
        browser.driver.execute("document.querySelector('audio').currentTime = 0", vec![]).await.unwrap();
        browser.see(".turn[data-second]:first-child[aria-current]").await;
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    })
    .await;
}
