//! Live updates of the pages.

use std::time::{Duration, Instant};

use mongodb::bson::doc;
use serde_json::json;

use super::{browser::with_browser, event, start};
use crate::harness::{recently, until};

#[tokio::test]
async fn placed_call_is_followed_live_to_its_transcript() {
    with_browser(async |browser| {
        let shown = start(Duration::from_millis(1500)).await;
        browser.open(&shown.link()).await;
        browser.open(&format!("{}/test-call", shown.console)).await;
        browser.click("form.order button[type=submit]").await;
        browser.see("article.call").await;
        assert!(browser.address().await.starts_with("/calls/"), "{}", browser.address().await);
        browser.until_live().await;
        // The variable is lost if the page is loaded again.
        browser.driver.execute("window.same = true", vec![]).await.unwrap();
        for outcome in ["ringing", "talking", "answered"] {
            browser.read("h1", outcome).await;
        }
        browser.read(".turns", "[simulated, conversation").await;
        browser.read(".timeline", "Twilio").await;
        browser.read(".why", "Twilio reported at").await;
        browser.see("audio").await;
        assert_eq!(browser.eval("window.same").await, json!(true), "the page was loaded again");
        let plays = async || {
            (browser.eval("document.querySelector('audio').duration > 0").await == true).then_some(())
        };
        until("the recording can be played", plays).await;
        let hidden = browser.eval("document.body.innerText.includes('+15005550000')").await;
        assert_eq!(hidden, json!(false), "numbers are masked");
        assert_eq!(browser.complaints().await, Vec::<String>::new());

        // A payload is loaded when it is opened.
        browser.click("#raw-rawResponse summary").await;
        browser.read("#raw-rawResponse pre", "post_call").await;
        let raw = browser.see("#raw-rawResponse pre").await.text().await.unwrap();
        assert!(!raw.contains("+15005550000"), "{raw}");
    })
    .await;
}

#[tokio::test]
async fn call_list_shows_changes_within_a_second() {
    with_browser(async |browser| {
        let shown = start(Duration::from_millis(50)).await;
        browser.open(&shown.link()).await;
        browser.open_live(&format!("{}/calls", shown.console)).await;
        browser.read(".empty", "No calls yet").await;
        shown.stack.webhook(&event("CAlive", "initiated", recently())).await;
        browser.read("#results tbody tr", "dialling").await;
        browser.read("#results tbody tr", "+12").await;
        let mut slowest = Duration::ZERO;
        for (status, shown_as) in [("ringing", "ringing"), ("answered", "talking"), ("ended", "answered")] {
            let posted = Instant::now();
            shown.stack.webhook(&event("CAlive", status, recently() + 1)).await;
            browser.read("#results tbody tr", shown_as).await;
            slowest = slowest.max(posted.elapsed());
        }
        assert!(slowest < Duration::from_secs(1), "shown after {slowest:?}");

        // New calls appear at the top. A call that no longer matches the filter stays, marked.
        shown.stack.webhook(&event("CAlater", "ringing", recently() + 100)).await;
        browser.see("#results tbody tr:first-child a[href='/calls/CAlater']").await;
        browser.open_live(&format!("{}/calls?status=ringing", shown.console)).await;
        browser.see("#results tbody a[href='/calls/CAlater']").await;
        assert_eq!(browser.count("#results tbody tr").await, 1);
        shown.stack.webhook(&event("CAlater", "busy", recently() + 101)).await;
        browser.see("#results tbody tr.left").await;
        shown.stack.webhook(&event("CAother", "busy", recently() + 200)).await;
        shown.stack.webhook(&event("CAthird", "ringing", recently() + 201)).await;
        browser.see("#results tbody tr:first-child a[href='/calls/CAthird']").await;
        assert_eq!(browser.count("#results tbody tr").await, 2, "the busy one is not shown");
        shown.stack.until_call("CAother", doc! { "status": "busy" }).await;
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    })
    .await;
}
