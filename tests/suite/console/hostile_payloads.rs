//! Payloads with scripts, very long conversations, and unusual writing.

use std::time::{Duration, Instant};

use mongodb::bson::doc;
use serde_json::{Value, json};

use super::{browser::with_browser, event, start, transcription};
use crate::harness::recently;

const SCRIPT: &str = "<script>window.pwned = 1</script><img src=x onerror='window.pwned=1'>\"'>{{7*7}}";

#[tokio::test]
async fn scripts_in_payloads_are_shown_as_text() {
    with_browser(async |browser| {
        let shown = start(Duration::from_millis(50)).await;
        browser.open(&shown.link()).await;
        let turns = json!([
            { "role": SCRIPT, "message": SCRIPT, "time_in_call_secs": 1, "tool_calls": [{ "tool_name": SCRIPT }] },
            { "role": "user", "message": "javascript:alert(1)", "time_in_call_secs": "soon" },
            SCRIPT,
        ]);
        let mut report = transcription("CAevil", &turns, SCRIPT);
        report["data"]["analysis"]["data_collection_results"] = json!({ SCRIPT: { "value": SCRIPT } });
        shown.stack.webhook(&report).await;
        let mut failed = event("CA\"><script>1</script>", "failed", recently());
        failed["failure_reason"] = SCRIPT.into();
        failed["to_number"] = SCRIPT.into();
        failed["status"] = SCRIPT.into();
        shown.stack.webhook(&failed).await;
        shown.stack.webhook(&json!({ "event_type": SCRIPT, "call_id": "CAdead" })).await;
        shown.stack.until_call("CAevil", doc! { "transcriptState": "saved" }).await;
        shown.stack.all_acknowledged().await;

        for path in [
            "/calls",
            "/calls/CAevil",
            "/calls/CA%22%3E%3Cscript%3E1%3C%2Fscript%3E",
            "/calls/CAevil/raw/rawResponse",
            "/dead-letters",
            "/dead-letters/1",
            "/dead-letters/1/edit",
            "/overview?window=7d",
            "/calls?q=%22%3E%3Cscript%3Ewindow.pwned%3D1%3C%2Fscript%3E",
            "/calls?reason=%3Cscript%3E",
        ] {
            browser.open(&format!("{}{path}", shown.console)).await;
            browser.see("h1").await;
            assert_eq!(browser.eval("typeof window.pwned").await, "undefined", "{path}");
            assert_eq!(browser.complaints().await, Vec::<String>::new(), "{path}");
        }
        browser.open(&format!("{}/calls/CAevil", shown.console)).await;
        browser.read(".turns", "<script>window.pwned = 1</script>").await;
        browser.read(".turns", "{{7*7}}").await;

        // Live updates reach the page in another way.
        browser.open_live(&format!("{}/calls", shown.console)).await;
        failed["timestamp"] = json!(recently() + 500);
        failed["failure_reason"] = format!("later {SCRIPT}").into();
        shown.stack.webhook(&failed).await;
        browser.read("#results tbody", "later <script>").await;
        assert_eq!(browser.eval("typeof window.pwned").await, "undefined");
    })
    .await;
}

#[tokio::test]
async fn conversation_of_ten_thousand_turns_is_paginated() {
    with_browser(async |browser| {
        let shown = start(Duration::from_millis(50)).await;
        browser.open(&shown.link()).await;
        let turn = |n: usize| json!({ "role": "agent", "message": format!("turn number {n}"), "time_in_call_secs": n });
        let turns: Value = (0..10_000).map(turn).collect();
        shown.stack.webhook(&transcription("CAlong", &turns, "Long.")).await;
        shown.stack.until_call("CAlong", doc! { "transcriptState": "saved" }).await;
        let asked = Instant::now();
        let (status, page) = shown.page("/calls/CAlong").await;
        assert_eq!(status, 200);
        assert!(page.len() < 150_000 && asked.elapsed() < Duration::from_secs(2), "{} {:?}", page.len(), asked.elapsed());
        browser.open(&format!("{}/calls/CAlong", shown.console)).await;
        browser.read("#transcript", "Turns 1 to 200 of 10,000").await;
        browser.click("#transcript .pages a").await;
        browser.read("#transcript", "Turns 201 to 400 of 10,000").await;
        browser.read(".turns", "turn number 200").await;
        assert_eq!(browser.count(".turn").await, 200);
    })
    .await;
}

#[tokio::test]
async fn unusual_scripts_do_not_break_the_layout() {
    with_browser(async |browser| {
        let shown = start(Duration::from_millis(50)).await;
        browser.open(&shown.link()).await;
        let zalgo = format!("z{}", "\u{0301}\u{0336}\u{0353}".repeat(300));
        let turns = json!([
            { "role": "user", "message": "مرحبا، كيف حالك؟ +12025550123", "time_in_call_secs": 1 },
            { "role": "agent", "message": "\u{202e}desrever\u{202c} \u{2067}x 👩‍👩‍👧‍👦 𝕳𝖎 \u{0}\u{7}\u{1b}[31m", "time_in_call_secs": 2 },
            { "role": "user", "message": zalgo, "time_in_call_secs": 3 },
            { "role": "agent", "message": "W".repeat(5000), "time_in_call_secs": 4 },
        ]);
        shown.stack.webhook(&transcription("CAodd", &turns, "שלום \u{202e}evil")).await;
        shown.stack.until_call("CAodd", doc! { "transcriptState": "saved" }).await;
        for narrow in [false, true] {
            browser.narrow(narrow).await;
            browser.open(&format!("{}/calls/CAodd", shown.console)).await;
            browser.read(".turns", "مرحبا").await;
            browser.read(".turns", "👩‍👩‍👧‍👦").await;
            let fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth";
            assert_eq!(browser.eval(fits).await, true, "the page is wider than the window");
            let heading = browser.eval("getComputedStyle(document.querySelector('h1')).direction").await;
            assert_eq!(heading, "ltr", "the text changes the direction of the page");
            browser.picture(if narrow { "unusual-narrow" } else { "unusual-wide" }).await;
        }
    })
    .await;
}
