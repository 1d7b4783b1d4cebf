//! The list of calls: filters, addresses and pages.

use std::{collections::HashSet, time::Duration};

use mongodb::bson::{DateTime, Document, doc, oid::ObjectId};

use super::{ConsoleStack, browser::with_browser, event, setup, start};
use crate::harness::recently;

/// The link of a page with this `rel`.
pub fn link(page: &str, rel: &str) -> Option<String> {
    let start = page.find(&format!("rel=\"{rel}\" href=\""))? + rel.len() + 13;
    let href = &page[start..start + page[start..].find('"')?];
    Some(href.replace("&#38;", "&").replace("&amp;", "&"))
}

/// Ids of the calls on a page, in their order.
fn ids(page: &str) -> Vec<String> {
    let rows = page.split("<a href=\"/calls/CA").skip(1);
    rows.map(|row| format!("CA{}", &row[..row.find('"').unwrap()])).collect()
}

fn call(n: u32, status: &str, reason: Option<&str>, second: i64) -> Document {
    doc! {
        "_id": ObjectId::new(), "callId": format!("CA{n:04}"), "toNumber": format!("+1202555{:04}", n % 7),
        "_numberSuffixes": [format!("{:04}", n % 7)], "status": status, "failureReason": reason, "history": [], "createdAt": DateTime::from_millis(second * 1000),
        "statusUpdatedAt": DateTime::from_millis(second * 1000), "updatedAt": DateTime::from_millis(second * 1000),
    }
}

#[tokio::test]
async fn every_call_is_on_exactly_one_page() {
    let shown = start(Duration::from_millis(50)).await;
    // Many calls of the same millisecond, which the cursor must distinguish.
    let calls: Vec<_> = (0..173).map(|n| call(n, "ended", None, 1_790_000_000 + i64::from(n / 80))).collect();
    shown.stack.calls.insert_many(calls).await.unwrap();
    for filter in ["", "?status=ended", "?status=ended%2Cbusy"] {
        let (mut address, mut seen, mut pages) = (format!("/calls{filter}"), Vec::new(), Vec::new());
        loop {
            let (status, page) = shown.page(&address).await;
            assert_eq!(status, 200);
            seen.extend(ids(&page));
            pages.push(ids(&page));
            match link(&page, "next") {
                Some(next) => address = next,
                None => break,
            }
        }
        assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 173, "{filter}");
        assert_eq!((seen.len(), pages.len()), (173, 4), "{filter}");
        // The links to newer calls lead back.
        let (_, last) = shown.page(&address).await;
        let (_, before) = shown.page(&link(&last, "prev").unwrap()).await;
        assert_eq!(ids(&before), pages[2], "{filter}");
    }
}

async fn found(shown: &ConsoleStack, query: &str) -> Vec<String> {
    let (status, page) = shown.page(&format!("/calls{query}")).await;
    assert_eq!(status, 200, "{query}");
    let mut found = ids(&page);
    found.sort();
    found
}

#[tokio::test]
async fn calls_are_found_by_id_number_status_reason_and_time() {
    let shown = start(Duration::from_millis(50)).await;
    let mut calls = vec![
        call(1, "ended", None, 1_790_000_000),
        call(2, "busy", Some("Recipient was busy"), 1_790_000_060),
        call(3, "failed", Some("trunk refused the call"), 1_790_000_120),
        call(8, "busy", Some("Recipient was busy"), 1_790_000_180),
    ];
    calls[0].insert("conversationId", "conv_abc");
    shown.stack.calls.insert_many(calls).await.unwrap();
    #[rustfmt::skip]
    let table: [(&str, &[&str]); 15] = [
        ("?q=CA0002",                                       &["CA0002"]),
        ("?q=CA000",                                        &["CA0001", "CA0002", "CA0003", "CA0008"]),
        ("?q=conv_abc",                                     &["CA0001"]),
        ("?q=%2B12025550001",                               &["CA0001", "CA0008"]),
        ("?q=1202+555+0001",                                &["CA0001", "CA0008"]),
        ("?q=0001",                                         &["CA0001", "CA0008"]),
        ("?q=0001&status=busy",                             &["CA0008"]),
        ("?q=%2B1202555000",                                &[]),
        ("?q=CA000&status=busy",                            &["CA0002", "CA0008"]),
        ("?q=%2B12025550001&status=busy",                   &["CA0008"]),
        ("?status=busy%2Cfailed",                           &["CA0002", "CA0003", "CA0008"]),
        ("?reason=BUSY",                                    &["CA0002", "CA0008"]),
        ("?status=failed&reason=busy",                      &[]),
        ("?reason=nobody+knows",                            &[]),
        ("?since=2026-09-21T14%3A14&until=2026-09-21T14%3A15", &["CA0002", "CA0003"]),
    ];
    for (query, expected) in table {
        assert_eq!(found(&shown, query).await, expected, "{query}");
    }
    // Unknown filters have no effect, and the address is normalised.
    let answer = shown.get("/calls?q=&status=&period=").send().await.unwrap();
    assert_eq!((answer.url().path(), answer.url().query()), ("/calls", None));
    assert_eq!(shown.page("/calls/unheard-of").await.0, 404);
    assert_eq!(shown.page("/nowhere").await.0, 404);
}

#[tokio::test]
async fn ids_that_are_steps_of_a_path_or_ids_of_documents_lead_to_their_calls() {
    let shown = start(Duration::from_millis(50)).await;
    shown.stack.webhook(&event("..", "busy", recently())).await;
    let call = shown.stack.document(doc! { "callId": ".." }).await;
    let id = call.get_object_id("_id").unwrap().to_hex();
    let list = shown.page("/calls").await.1;
    assert!(list.contains(&format!("href=\"/calls/{id}\"")), "{list}");
    // A sender cannot put another call in its place.
    shown.stack.webhook(&event(&id, "failed", recently())).await;
    shown.stack.document(doc! { "callId": &id }).await;
    let page = shown.page(&format!("/calls/{id}")).await.1;
    assert!(page.contains("<title>Busy") || page.contains("busy ·"), "{page}");
}

#[tokio::test]
async fn a_call_is_found_by_the_last_four_digits_of_its_number() {
    let shown = start(Duration::from_millis(50)).await;
    let ended = serde_json::json!({
        "event_type": "call.ended", "call_id": "CA5001", "to_number": "+12025550188", "timestamp": 1_790_000_001,
    });
    shown.stack.webhook(&ended).await;
    shown.stack.all_acknowledged().await;
    assert_eq!(found(&shown, "?q=0188").await, ["CA5001"]);
    // While numbers are masked, more digits are a whole number.
    assert_eq!(found(&shown, "?q=50188").await, [""; 0]);
    assert_eq!(found(&shown, "?q=1-202-555-0188").await, ["CA5001"]);
}

#[tokio::test]
async fn last_digits_of_any_length_are_found_if_numbers_are_shown() {
    let (setup, console) = setup();
    let shown =
        ConsoleStack { stack: setup.worker_env("CONSOLE_SHOW_NUMBERS", "true").start().await, console };
    let numbers = ["+1 (202) 555-0188", "sip:+12025550188@10.0.0.0188", "+491715550188", "+4930188"];
    let calls = numbers.into_iter().zip(1..).map(|(number, n)| {
        let mut call = call(n, "ended", None, 1_790_000_000);
        call.extend(doc! { "toNumber": number, "_numberSuffixes": ["0188"] });
        call
    });
    shown.stack.calls.insert_many(calls).await.unwrap();
    for (query, expected) in [
        ("0188", &["CA0001", "CA0002", "CA0003", "CA0004"][..]),
        ("5550188", &["CA0001", "CA0002", "CA0003"]),
        ("0171+5550188", &["CA0003"]),
        ("202-555-0188", &["CA0001", "CA0002"]),
        ("00188", &["CA0001", "CA0002", "CA0003", "CA0004"]),
        ("70188", &[]),
    ] {
        assert_eq!(found(&shown, &format!("?q={query}")).await, expected, "{query}");
    }
}

/// More calls of an earlier version than one part of the work has.
const EARLIER: u16 = 1203;

#[tokio::test]
async fn calls_of_an_earlier_version_are_found_by_the_last_digits_after_the_start_of_a_worker() {
    let (setup, console) = setup();
    let mut stack = setup.without_worker().start().await;
    let earlier = (0..EARLIER).map(|n| {
        let mut call = call(n.into(), "ended", None, 1_790_000_000);
        let mut id = [0x60; 12];
        id[10..].copy_from_slice(&n.to_be_bytes());
        call.remove("_numberSuffixes");
        call.extend(doc! { "_id": ObjectId::from_bytes(id), "toNumber": format!("+49 30 555-{n:04}"), "revision": 7_i64 });
        call
    });
    stack.calls.insert_many(earlier).await.unwrap();
    // Another worker has visited the first calls, and workers of the earlier version ran until a short time ago.
    let state =
        stack.calls.client().database(&stack.calls.namespace().db).collection::<Document>("reconciliation");
    let mut position = [0x60; 12];
    position[10..].copy_from_slice(&600_u16.to_be_bytes());
    let begun_at = DateTime::from_millis(DateTime::now().timestamp_millis() - 2 * 3_600_000);
    let visited =
        doc! { "_id": "numberSuffixes", "begunAt": begun_at, "position": ObjectId::from_bytes(position) };
    state.insert_one(visited).await.unwrap();
    stack.add_worker().await;
    let shown = ConsoleStack { stack, console };
    // The second pass finds the first calls as well.
    for query in ["?q=0002", "?q=0599", "?q=0600", "?q=0601", "?q=1202"] {
        let expected = vec![format!("CA{}", &query[3..])];
        crate::harness::until_equal("the call", expected, async || found(&shown, query).await).await;
    }
    crate::harness::until("the end of the work", async || {
        state.find_one(doc! { "_id": "numberSuffixes", "isComplete": true }).await.unwrap()
    })
    .await;
    let changed = doc! { "$or": [{ "revision": { "$ne": 7_i64 } }, { "_numberSuffixes": null }] };
    assert_eq!(
        shown.stack.calls.count_documents(changed).await.unwrap(),
        0,
        "nobody outside sees the change"
    );
}

#[tokio::test]
async fn filters_are_in_the_address_and_the_back_button_restores_them() {
    with_browser(async |browser| {
        let shown = start(Duration::from_millis(50)).await;
        browser.open(&shown.link()).await;
        for (n, status) in ["busy", "ended", "no_answer"].into_iter().enumerate() {
            let at = 1_790_000_000 + i64::try_from(n).unwrap();
            shown.stack.webhook(&event(&format!("CAf{n}"), status, at)).await;
        }
        shown.stack.all_acknowledged().await;
        browser.open_live(&format!("{}/calls", shown.console)).await;
        assert_eq!(browser.count("#results tbody tr").await, 3);

        browser.click(".filters details.menu summary").await;
        browser.click("input[value=busy]").await;
        browser.see("#results tbody a[href='/calls/CAf0']").await;
        browser.read("#outcome-value", "busy").await;
        crate::harness::until_equal(
            "the address has the filter",
            "/calls?outcome=busy".to_owned(),
            async || browser.address().await,
        )
        .await;
        assert_eq!(browser.count("#results tbody tr").await, 1);

        browser.fill("#q", "CAf2").await;
        crate::harness::until_equal("both filters", "/calls?q=CAf2&outcome=busy".to_owned(), async || {
            browser.address().await
        })
        .await;
        browser.read(".empty", "No call matches").await;

        browser.driver.back().await.unwrap();
        crate::harness::until_equal("one filter again", "/calls?outcome=busy".to_owned(), async || {
            browser.address().await
        })
        .await;
        browser.see("#results tbody a[href='/calls/CAf0']").await;
        assert_eq!(browser.eval("document.querySelector('#q').value").await, "");
        assert_eq!(browser.eval("document.querySelector('input[value=busy]').checked").await, true);

        browser.click("#results tbody a").await;
        browser.read("h1", "busy").await;
        // The way back to the list keeps the filters.
        browser.click(".crumb a").await;
        browser.see("#results tbody a[href='/calls/CAf0']").await;
        assert_eq!(browser.address().await, "/calls?outcome=busy");
        assert_eq!(browser.complaints().await, Vec::<String>::new());

        // The filters work by keyboard: the field, the menu, and a box in it.
        browser.open_live(&format!("{}/calls", shown.console)).await;
        let keys = browser.see("#q").await;
        keys.send_keys(thirtyfour::Key::Tab + thirtyfour::Key::Tab).await.unwrap();
        assert_eq!(browser.eval("document.activeElement.tagName").await, "SUMMARY");
        browser.driver.active_element().await.unwrap().send_keys(thirtyfour::Key::Enter + "").await.unwrap();
        browser.see("input[value=busy]").await;
    })
    .await;
}
