//! Accessibility of every page, wide and narrow, light and dark, checked by axe-core. A picture of each page
//! is kept.

use std::time::Duration;

use mongodb::bson::doc;
use serde_json::json;

use super::{
    ConsoleStack,
    browser::{Browser, with_browser},
    call_page::report,
    event, start,
};
use crate::harness::{recently, until};

/// Findings of axe-core on these pages, wide and narrow, light and dark. Keeps a picture of each, and checks that no page
/// is wider than the window.
pub async fn findings(browser: &Browser, shown: &ConsoleStack, pages: &[(&str, &str)]) -> Vec<String> {
    let mut findings = Vec::new();
    for (narrow, width) in [(false, "wide"), (true, "narrow")] {
        browser.narrow(narrow).await;
        for scheme in ["light", "dark"] {
            browser.scheme(scheme).await;
            for (name, path) in pages {
                browser.open_live(&format!("{}{path}", shown.console)).await;
                browser.picture(&format!("{name}-{width}-{scheme}")).await;
                let found = browser.serious_findings().await;
                findings
                    .extend(found.into_iter().map(|finding| format!("{name} {width} {scheme}: {finding}")));
                let fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth";
                assert_eq!(browser.eval(fits).await, true, "{name} {width} is wider than the window");
            }
        }
    }
    findings
}

#[tokio::test]
async fn every_page_passes_axe_core_wide_and_narrow_light_and_dark() {
    with_browser(async |browser| {
        let shown = start(Duration::from_millis(50)).await;
        browser.open(&shown.link()).await;
        let now = jiff::Timestamp::now().as_second();
        let ends = [
            "ended",
            "completed",
            "busy",
            "no_answer",
            "failed",
            "ringing",
            "answered",
            "initiated",
            "unreachable",
        ];
        for n in 0..64_i64 {
            let status = ends[usize::try_from(n * n % 13).unwrap() % ends.len()];
            let mut event = event(
                &format!("CA{:032x}", 0x9a3f_77d1_u64 * u64::try_from(n + 1).unwrap()),
                status,
                now - n * 420,
            );
            event["to_number"] = format!("+1202555{:04}", 1000 + n * 37).into();
            shown.stack.webhook(&event).await;
        }
        let agents = [("Renewals", "answered", 95), ("Renewals", "voicemail", 21), ("Reminders", "answered", 214), ("Survey", "rejected", 0)];
        let with_agents = (0..).zip(agents).map(|(n, (agent, outcome, seconds))| super::filters::call(n, 11 + n * 13, doc! {
            "status": "ended", "outcome": outcome, "agentId": format!("agent_{agent}"), "agentName": agent, "batchCallId": "btcal_november",
            "durationSecs": seconds, "cost": seconds * 9, "callSuccessful": if n == 0 { "success" } else { "failure" },
            "toNumber": "+12025550199", "summary": "The customer wants to renew the contract, and asked for the new terms by post before the end of the month.",
        }));
        shown.stack.calls.insert_many(with_agents).await.unwrap();
        shown.stack.calls.insert_one(super::filters::call(9, 300, doc! { "status": "ringing", "toNumber": "+12025550198" })).await.unwrap();
        shown.stack.webhook(&event("CAshown", "initiated", recently())).await;
        shown.stack.webhook(&event("CAshown", "ended", recently() + 70)).await;
        shown.stack.webhook(&event("CAshown", "ringing", recently() + 2)).await;
        shown.stack.webhook(&report("CAshown")).await;
        shown
            .stack
            .webhook(
                &json!({ "event_type": "call.teleported", "call_id": "CAdead", "to_number": "+12025550123" }),
            )
            .await;
        shown.stack.webhook(&json!({ "event_type": "call.busy", "note": "names no call" })).await;
        shown.stack.until_call("CAshown", doc! { "transcriptState": "saved", "status": "ended" }).await;
        shown.stack.all_acknowledged().await;
        let counted = async || shown.page("/overview?window=24h").await.1.contains("By batch").then_some(());
        until("the overview shows its counts", counted).await;

        let pages = [
            ("calls", "/calls"),
            ("filtered", "/calls?outcome=busy%2Cno_answer&period=24h"),
            ("nothing", "/calls?q=CAnone"),
            ("call", "/calls/CAshown"),
            ("payload", "/calls/CAshown/raw/rawResponse"),
            ("overview", "/overview"),
            ("dead-letters", "/dead-letters"),
            ("dead-letter", "/dead-letters/1"),
            ("edit", "/dead-letters/1/edit"),
            ("test-call", "/test-call"),
            ("not-found", "/nowhere"),
        ];
        let mut findings = findings(browser, &shown, &pages).await;
        for (narrow, width) in [(false, "wide"), (true, "narrow")] {
            browser.narrow(narrow).await;
            for scheme in ["light", "dark"] {
                browser.scheme(scheme).await;
                browser.open(&format!("{}/login", shown.console)).await;
                browser.picture(&format!("login-{width}-{scheme}")).await;
                let found = browser.serious_findings().await;
                findings
                    .extend(found.into_iter().map(|finding| format!("login {width} {scheme}: {finding}")));
            }
        }
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    })
    .await;
}
