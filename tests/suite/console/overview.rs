//! The overview: sums by agent and by batch, and what needs attention.

use std::time::Duration;

use aftercall_common::contract::streams;
use mongodb::bson::{DateTime, Document, doc};
use serde_json::json;

use super::{browser::with_browser, filters::call, start};
use crate::harness::{until, until_equal};

/// The cells of the row of a table whose heading is `name`, without their markup.
fn cells(page: &str, name: &str) -> Vec<String> {
    let row = page
        .split("<tr>")
        .find(|row| row.contains(&format!("{name}<")))
        .unwrap_or_else(|| panic!("{name}: {page}"));
    let cells = row.split("<td>").skip(1).map(|cell| cell[..cell.find('<').unwrap()].to_owned());
    cells.collect()
}

#[tokio::test]
async fn overview_compares_agents_and_batches_with_the_day_before_and_lists_what_needs_attention() {
    let shown = start(Duration::from_millis(50)).await;
    let anna = |fields: Document| {
        let mut all = doc! { "status": "ended", "agentId": "agent_1", "agentName": "Anna" };
        all.extend(fields);
        all
    };
    let day = 24 * 60;
    let calls = [
        call(
            1,
            5,
            anna(
                doc! { "outcome": "answered", "durationSecs": 60_i64, "cost": 1100_i64, "callSuccessful": "success", "batchCallId": "btc_1" },
            ),
        ),
        call(
            2,
            6,
            anna(
                doc! { "outcome": "answered", "durationSecs": 30_i64, "cost": 50_i64, "callSuccessful": "failure", "batchCallId": "btc_1" },
            ),
        ),
        call(3, 7, anna(doc! { "outcome": "voicemail", "durationSecs": 10_i64 })),
        call(4, 8, anna(doc! { "status": "busy", "outcome": "busy" })),
        call(5, 180, anna(doc! { "status": "ringing" })),
        call(6, day + 5, anna(doc! { "outcome": "answered" })),
        call(7, day + 6, anna(doc! { "outcome": "answered" })),
        call(
            8,
            day + 7,
            doc! { "status": "ended", "outcome": "answered", "agentId": "agent_2", "batchCallId": "btc_0" },
        ),
    ];
    shown.stack.calls.insert_many(calls).await.unwrap();
    let endpoint = doc! {
        "_id": "ep_0123456789abcdef", "url": "https://example.com/hook", "kind": "events", "types": [], "agents": [],
        "batches": [], "secrets": [], "state": "paused", "reason": "failing", "since": DateTime::now(),
        "createdAt": DateTime::now(),
    };
    let database = shown.stack.calls.client().database(&shown.stack.calls.namespace().db);
    database.collection::<Document>("endpoints").insert_one(endpoint).await.unwrap();
    shown.stack.webhook(&json!({ "event_type": "call.teleported", "call_id": "CAdead" })).await;
    until_equal("dead letters", 1, async || shown.stack.stored(streams::DEAD_LETTERS).await).await;

    let page = until("the overview shows its sums", async || {
        let (_, page) = shown.page("/overview").await;
        (page.contains("By batch") && page.contains("By outcome")).then_some(page)
    })
    .await;
    assert_eq!(cells(&page, "Anna"), ["5", "+150 %", "2", "50 %", "50 %", "2", "1,150"]);
    assert_eq!(cells(&page, "btc_1"), ["2", "new", "2", "100 %", "50 %", "2", "1,150"]);
    assert_eq!(cells(&page, "All calls"), ["5", "+67 %", "2", "50 %", "50 %", "2", "1,150"]);
    let links = [
        ("/calls?agent=agent_1&#38;period=24h", "Anna"),
        ("/batches/btc_1", "btc_1"),
        ("/calls?outcome=stuck", "1 call is stuck"),
        (
            "/calls?outcome=voicemail%2Cbusy%2Cno_answer%2Crejected%2Cunreachable%2Ccanceled&#38;period=24h",
            "show them",
        ),
        ("/calls?evaluation=failure&#38;period=24h", "1 conversation was not successful"),
        ("/dead-letters?reason=unsupported_event", "1 dead letter: unsupported event"),
        ("/endpoints/ep_0123456789abcdef", "endpoint ep_0123456789abcdef is paused"),
        ("/calls?agent=agent_2&#38;period=7d", "agent_2: no webhook in this period, after 1 call"),
    ];
    for (href, text) in links {
        let link = format!("<a href=\"{href}\">{text}");
        assert!(page.contains(&link), "{link}: {page}");
    }
    assert!(page.contains("2 calls were not answered ("), "{page}");
    // One point for each half hour.
    let charts = page.split("class=\"spark small\"").skip(1).map(|chart| {
        let points = chart.split("points=\"").nth(1).unwrap();
        points[..points.find('"').unwrap()].split(' ').count()
    });
    assert_eq!(charts.collect::<Vec<_>>(), [48, 48], "one chart for the agent and one for the batch: {page}");
    let (_, sorted) = shown.page("/overview?window=24h&sort=answer-rate").await;
    assert!(sorted.contains("<th scope=\"col\" aria-sort=\"ascending\">"), "{sorted}");
    assert!(page.len() < 120_000, "{} bytes", page.len());
    for age in ["id=\"counted\">Counted <time data-age=\"", "Summed up <time data-age=\""] {
        assert!(page.contains(age), "every figure says how old it is: {page}");
    }
    until("the overview says when the latest webhook came", async || {
        let (_, page) = shown.page("/overview").await;
        let latest = page.split("<dt>Latest webhook</dt>").nth(1)?.split("</div>").next()?;
        (latest.contains("ElevenLabs: <time") && !latest.contains("Twilio")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn overview_shows_sip_codes_rising_reasons_and_problems_of_the_webhook() {
    let shown = start(Duration::from_millis(50)).await;
    let failed = |n: i64, minutes, reason: &str, code: &str| {
        call(
            n,
            minutes,
            doc! { "status": "failed", "outcome": "failed", "failureReason": reason, "sipCode": code },
        )
    };
    let day = 24 * 60;
    let rising = (0..12).map(|n| failed(n, 5, "trunk <b>refused", "503"));
    let steady = (20..32).map(|n| failed(n, 6, "no route", "404"));
    let before = (40..52).map(|n| failed(n, day + 5, "no route", "404"));
    let few = (60..66).map(|n| failed(n, day + 6, "trunk <b>refused", "503"));
    shown.stack.calls.insert_many(rising.chain(steady).chain(before).chain(few)).await.unwrap();
    let database = shown.stack.calls.client().database(&shown.stack.calls.namespace().db);
    let check = doc! { "$set": { "checkedAt": DateTime::now(), "problems": ["auto_disabled", "of_a_later_version"] } };
    let checks = database.collection::<Document>("reconciliation");
    checks.update_one(doc! { "_id": "webhook" }, check).upsert(true).await.unwrap();

    let page = until("the overview shows its sums", async || {
        let (_, page) = shown.page("/overview").await;
        (page.contains("Needs attention") && page.contains("SIP codes")).then_some(page)
    })
    .await;
    for expected in [
        "<a href=\"/calls?sip=503&#38;period=24h\">503 Service Unavailable</a>",
        "<a href=\"/calls?sip=404&#38;period=24h\">404 Not Found</a>",
        "<a href=\"/calls?reason=trunk+%3Cb%3Erefused&#38;period=24h\">12 calls ended with “trunk &#60;b&#62;refused”; 6 in the period before</a>",
        "ElevenLabs disabled the webhook after failed deliveries",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    assert!(!page.contains("“no route”"), "it is as frequent as before: {page}");
    let (_, list) = shown.page("/calls?sip=503&period=24h").await;
    assert!(list.contains("12 of about 42 calls"), "{list}");
}

#[tokio::test]
async fn opened_table_stays_open_while_the_page_updates_itself() {
    with_browser(async |browser| {
        let shown = start(Duration::from_millis(50)).await;
        shown.stack.webhook(&json!({ "event_type": "call.busy", "call_id": "c0" })).await;
        browser.open(&shown.link()).await;
        browser.open_live(&format!("{}/overview", shown.console)).await;
        browser.read("#arrival", "as often as usual").await;
        browser.click("details.numbers summary").await;
        let counted = "Number(document.querySelector('#counted time').dataset.age)";
        let before = browser.eval(counted).await;
        let updates = async || (browser.eval(counted).await != before).then_some(());
        until("the page is updated", updates).await;
        assert_eq!(browser.count("details.numbers[open]").await, 1);
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    })
    .await;
}
