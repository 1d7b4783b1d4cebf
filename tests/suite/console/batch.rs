//! The page of a batch: its progress, its outcomes, and the recipients to try again.

use std::time::Duration;

use mongodb::bson::{Document, doc};

use super::{
    ConsoleStack, accessibility::findings, browser::with_browser, call_page::report, filters::call, start,
};
use crate::harness::until;

/// A call of the batch to the recipient `recipient` with this outcome.
fn batched(n: i64, minutes: i64, recipient: &str, outcome: &str, fields: Document) -> Document {
    let mut all = doc! {
        "status": "ended", "outcome": outcome, "agentId": "agent_1", "batchCallId": "btcal_1",
        "batchCallRecipientId": recipient, "toNumber": format!("+120255501{n:02}"),
    };
    if outcome == "none" {
        all.remove("outcome");
        all.insert("status", "ringing");
    }
    all.extend(fields);
    call(n, minutes, all)
}

/// The calls of two batches.
fn calls() -> Vec<Document> {
    let answered = |seconds: i64, success: &str| doc! { "durationSecs": seconds, "cost": seconds * 9, "callSuccessful": success };
    vec![
        batched(1, 300, "reached", "answered", answered(90, "success")),
        batched(2, 299, "reached-later", "no_answer", doc! {}),
        batched(3, 200, "reached-later", "answered", answered(60, "failure")),
        batched(4, 298, "voicemail", "voicemail", answered(20, "failure")),
        batched(5, 297, "twice", "busy", doc! { "failureReason": "=1+1" }),
        batched(6, 199, "twice", "no_answer", doc! {}),
        batched(7, 296, "rejected", "no_answer", doc! {}),
        batched(8, 198, "rejected", "rejected", doc! {}),
        batched(9, 295, "canceled", "canceled", doc! {}),
        batched(10, 294, "unreachable", "unreachable", doc! {}),
        batched(11, 293, "failed", "failed", doc! {}),
        batched(12, 292, "unknown", "unknown", doc! {}),
        batched(13, 291, "going", "busy", doc! {}),
        batched(14, 5, "going", "none", doc! {}),
        batched(15, 200, "stuck", "none", doc! {}),
        batched(16, 5, "other", "no_answer", doc! { "batchCallId": "btcal_2" }),
    ]
}

/// The page of the batch when its calls are counted.
async fn counted(shown: &ConsoleStack, path: &str) -> String {
    until("the calls of the batch are counted", async || {
        let (status, page) = shown.page(path).await;
        assert_eq!(status, 200, "{page}");
        page.contains("By outcome").then_some(page)
    })
    .await
}

#[tokio::test]
async fn a_batch_shows_its_progress_and_the_recipients_to_try_again() {
    let shown = start(Duration::from_millis(50)).await;
    shown.stack.calls.insert_many(calls()).await.unwrap();
    let (_, overview) = until("the overview shows its sums", async || {
        let found = shown.page("/overview").await;
        found.1.contains("By batch").then_some(found)
    })
    .await;
    assert!(overview.contains("<a href=\"/batches/btcal_1\">btcal_1</a>"), "{overview}");
    let page = counted(&shown, "/batches/btcal_1").await;
    for text in [
        "13 of 15 calls are over (87 %); 1 in progress, 1 stuck.",
        "<dt>Recipients called</dt><dd>11<small>2 with a call that is not over</small>",
        "<dt>Reached</dt><dd>2<small>18 % of the recipients</small>",
        "<dt>Answered by people</dt><dd>2<small>15 % of the calls that are over</small>",
        "<dt>Success</dt><dd>33 %<small>of 3 calls that ElevenLabs judged",
        "<dt>Minutes</dt><dd>3</dd>",
        "<dt>Credits</dt><dd>1,530</dd>",
        "Counted <time data-age=\"",
        "4 recipients can be called again",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    // Each count leads to a list with as many calls.
    for (outcome, calls) in [("no_answer", 3), ("answered", 2), ("going", 1), ("stuck", 1), ("rejected", 1)] {
        let href = format!("/calls?outcome={outcome}&#38;batch=btcal_1");
        let share = page.split("<li class=").find(|row| row.contains(&href)).expect(&href);
        assert!(share.contains(&format!("<span class=\"n\">{calls}</span>")), "{share}");
        let (_, list) = shown.page(&href.replace("&#38;", "&")).await;
        assert!(list.contains(&format!(">{calls} of about 16 calls<")), "{list}");
        assert!(list.contains("<a href=\"/batches/btcal_1\">Progress of this batch</a>"), "{list}");
    }
    let (_, of_call) = shown.page("/calls/CA00001").await;
    assert!(of_call.contains("<a href=\"/batches/btcal_1\">btcal_1</a>"), "{of_call}");

    let answer = shown.get("/batches/btcal_1/retry.csv").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/csv; charset=utf-8");
    let name = answer.headers()["content-disposition"].to_str().unwrap();
    assert!(name.starts_with("attachment; filename=\"to-try-again-btcal_1-2"), "{name}");
    let table = answer.text().await.unwrap();
    let rows: Vec<_> = table.lines().skip(1).map(|row| row[1..8].to_owned()).collect();
    assert_eq!(rows, ["CA00006", "CA00011", "CA00010", "CA00004"], "{table}");
    assert!(
        table.contains(",twice,") && table.contains(",+12•••••••06,") && !table.contains("+1202555"),
        "{table}"
    );

    let (status, nothing) = shown.page("/batches/btcal_none").await;
    assert_eq!(status, 404);
    assert!(nothing.contains("No stored call belongs to a batch with this id"), "{nothing}");
    assert_eq!(shown.page("/batches/btcal_none/retry.csv").await.0, 404);
}

#[tokio::test]
async fn the_id_of_a_batch_that_holds_a_number_is_masked_and_has_no_links() {
    let shown = start(Duration::from_millis(50)).await;
    let with_number =
        batched(1, 5, "r", "busy", doc! { "batchCallId": "batch +6581234567/a", "toNumber": "+65" });
    shown.stack.calls.insert_one(with_number).await.unwrap();
    let page = counted(&shown, "/batches/batch%20+6581234567%2Fa").await;
    assert!(page.contains("<bdi>batch +65••••••67/a</bdi>") && !page.contains("6581234567"), "{page}");
    let (_, of_call) = shown.page("/calls/CA00001").await;
    assert!(of_call.contains("batch +65••••••67/a") && !of_call.contains("6581234567"), "{of_call}");
}

#[tokio::test]
async fn the_page_of_a_batch_passes_axe_core_and_updates_itself() {
    with_browser(async |browser| {
        let shown = start(Duration::from_millis(50)).await;
        shown.stack.calls.insert_many(calls()).await.unwrap();
        shown.stack.webhook(&report("CAtold")).await;
        shown.stack.all_acknowledged().await;
        browser.open(&shown.link()).await;
        counted(&shown, "/batches/btcal_1").await;
        let pages = [("batch", "/batches/btcal_1"), ("batch-unknown", "/batches/none")];
        let findings = findings(browser, &shown, &pages).await;
        assert!(findings.is_empty(), "{}", findings.join("\n"));
        drop(browser.complaints().await); // The browser logs each answer 404.

        browser.narrow(false).await;
        browser.open_live(&format!("{}/batches/btcal_1", shown.console)).await;
        browser.read("#progress", "13 of 15 calls").await;
        let over = doc! { "$set": { "outcome": "answered", "status": "ended" } };
        shown.stack.calls.update_one(doc! { "callId": "CA00014" }, over).await.unwrap();
        browser.read("#progress", "14 of 15 calls").await;
        browser.click(".shares a[href='/calls?outcome=answered&batch=btcal_1']").await;
        browser.see("#results tbody a[href='/calls/CA00014']").await;
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    })
    .await;
}
