//! The overview: sums by agent and by batch, and what needs attention.

use std::time::Duration;

use aftercall_common::contract::streams;
use mongodb::bson::{DateTime, Document, doc};
use serde_json::json;

use super::{filters::call, start};
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
        ("/calls?evaluation=failure&#38;period=24h", "1 conversation was not successful"),
        ("/dead-letters", "1 dead letter: unsupported event"),
        ("/endpoints/ep_0123456789abcdef", "endpoint ep_0123456789abcdef is paused"),
        ("/calls?agent=agent_2&#38;period=7d", "agent_2: no webhook in this period, after 1 call"),
    ];
    for (href, text) in links {
        let link = format!("<a href=\"{href}\">{text}");
        assert!(page.contains(&link), "{link}: {page}");
    }
    let (_, sorted) = shown.page("/overview?window=24h&sort=answer-rate").await;
    assert!(sorted.contains("<th scope=\"col\" aria-sort=\"ascending\">"), "{sorted}");
    assert!(page.len() < 120_000, "{} bytes", page.len());
    for age in ["id=\"counted\">Counted <time data-age=\"", "Summed up <time data-age=\""] {
        assert!(page.contains(age), "every figure says how old it is: {page}");
    }
}
