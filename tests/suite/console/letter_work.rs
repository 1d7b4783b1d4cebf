//! Many dead letters in the console: their groups, work on several at once, the check of an edited body.

use std::time::Duration;

use aftercall_common::contract::streams::{self, header};
use mongodb::bson::doc;
use serde_json::json;

use super::{
    ConsoleStack,
    accessibility::findings,
    browser::{Browser, with_browser},
    start,
};
use crate::harness::{until, until_equal};

/// Publishes a dead letter with this reason and event type, whose body is about the call `call`.
async fn publish(shown: &ConsoleStack, number: usize, reason: &str, kind: &str, call: &str) {
    let body = json!({ "event_type": "call.busy", "call_id": call }).to_string();
    publish_body(shown, number, reason, kind, &body).await;
}

async fn publish_body(shown: &ConsoleStack, number: usize, reason: &str, kind: &str, body: &str) {
    let mut headers = async_nats::HeaderMap::new();
    let sequence = (900_000 + number).to_string();
    for (name, value) in [
        (header::DEAD_REASON, reason),
        (header::DEAD_DETAIL, "event type \"call.busy\" is not supported"),
        (header::DEAD_TYPE, kind),
        (header::DEAD_STREAM, "WEBHOOKS"),
        (header::DEAD_SEQUENCE, sequence.as_str()),
        (header::DEAD_SUBJECT, streams::subject::ELEVENLABS_CALL_STATUS),
    ] {
        headers.insert(name, value);
    }
    let subject = streams::subject::dead_letter("status");
    shown
        .stack
        .jetstream
        .publish_with_headers(subject, headers, body.to_owned().into())
        .await
        .unwrap()
        .await
        .unwrap();
}

async fn left(shown: &ConsoleStack) -> u64 {
    shown.stack.stored(streams::DEAD_LETTERS).await
}

async fn open(browser: &Browser, shown: &ConsoleStack, path: &str) {
    browser.open_live(&format!("{}{path}", shown.console)).await;
}

#[tokio::test]
async fn a_whole_group_is_sent_again_and_other_groups_stay() {
    with_browser(async |browser| {
        let shown = start(Duration::from_millis(50)).await;
        for n in 0..60 {
            publish(&shown, n, "unsupported_event", "call.busy", &format!("CAg{n}")).await;
        }
        publish(&shown, 60, "no_identifier", "", "CAother").await;
        browser.open(&shown.link()).await;
        open(browser, &shown, "/dead-letters").await;
        browser.read(".causes", "webhook of ElevenLabs").await;
        browser.read(".causes tbody tr:first-child", "call.busy").await;
        browser.read(".causes tbody tr:first-child .count", "60").await;
        browser.picture("dead-letters-groups").await;
        browser.click(".causes tbody tr:first-child a").await;
        browser.read("h1", "unsupported event · call.busy").await;
        assert_eq!(browser.count(".letters tbody tr").await, 50);
        assert!(
            !browser
                .eval("document.querySelector('#page').textContent")
                .await
                .to_string()
                .contains("no identifier")
        );
        browser.click("#page > .choices summary").await;
        browser.click("#page > .choices .primary").await;
        browser.read("h1", "Send dead letters again").await;
        browser.read("#work", "Finished. Workers have processed these messages, and none came back.").await;
        browser.read("#work", "60").await;
        assert_eq!(browser.count(".cancel").await, 1, "the page replaces the progress only");
        assert!(
            !browser.driver.find(thirtyfour::By::Css(".cancel")).await.unwrap().is_displayed().await.unwrap()
        );
        browser.picture("letter-work-done").await;
        assert_eq!(browser.serious_findings().await, Vec::<String>::new());
        for n in [0, 31, 59] {
            shown.stack.until_call(&format!("CAg{n}"), doc! { "status": "busy" }).await;
        }
        until_equal("dead letters", 1, async || left(&shown).await).await;
        open(browser, &shown, "/dead-letters").await;
        browser.read(".letters", "identifier").await;
        assert_eq!(browser.count(".causes tbody tr").await, 1);
        open(browser, &shown, "/audit").await;
        browser.read(".audit", "60 dead letters: unsupported event · call.busy").await;
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn messages_that_fail_again_are_counted() {
    let shown = start(Duration::from_millis(50)).await;
    // The console takes a body that can be processed, and two that cannot.
    for (n, body) in
        [r#"{"event_type":"call.busy","call_id":"CAfine"}"#, r#"{"call_id":"x"}"#, "{}"].iter().enumerate()
    {
        publish_body(&shown, n, "unsupported_event", "call.busy", body).await;
    }
    until("all are indexed", async || {
        let page = shown.page("/dead-letters").await.1;
        page.contains("<td role=\"cell\" class=\"count\">3</td>").then_some(())
    })
    .await;
    shown.post("/dead-letters/work", "work=replay&reason=unsupported_event&type=call.busy&end=99").await;
    let page = until("workers have processed the messages", async || {
        let page = shown.page("/dead-letters/work").await.1;
        (page.contains("Finished.") && !page.contains("not processed all")).then_some(page)
    })
    .await;
    for text in [
        "<dt>Sent again</dt><dd>3</dd>",
        "<dt>Dead letters again</dt><dd>2</dd>",
        "2 of 3 failed again. Each is a new dead letter",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!page.contains("hx-trigger"), "the page is final: {page}");
    assert_eq!(left(&shown).await, 2);
    publish(&shown, 3, "unsupported_event", "call.busy", "CAnew").await;
    let list = shown.page("/dead-letters").await.1;
    assert_eq!(list.matches(">sent again before</span>").count(), 2, "{list}");
    let (again, new) = (shown.page("/dead-letters/4").await.1, shown.page("/dead-letters/6").await.1);
    assert!(
        again.contains("<dt>Sent again before</dt>") && !new.contains("Sent again before"),
        "{again}{new}"
    );
}

#[tokio::test]
async fn selected_dead_letters_are_deleted_without_scripts() {
    let shown = start(Duration::from_millis(50)).await;
    for n in 0..5 {
        publish(&shown, n, "unsupported_event", "call.busy", &format!("CAs{n}")).await;
    }
    let page = shown.page("/dead-letters").await.1;
    assert_eq!(page.matches("type=\"checkbox\" name=\"number\"").count(), 5);
    for (form, status, text) in [
        ("work=delete", 422, "Select at least one"),
        ("number=2", 422, "does not say"),
        ("work=purge&number=2", 422, "does not say"),
        ("work=delete&reason=nothing&end=99", 404, "None of these"),
    ] {
        let (code, page) = shown.post("/dead-letters/work", form).await;
        assert!(code == status && page.contains(text), "{form}: {code} {page}");
    }
    assert_eq!(left(&shown).await, 5);
    let (status, page) = shown.post("/dead-letters/work", "work=delete&number=2&number=4&number=77").await;
    assert_eq!(status, 200, "{page}");
    assert!(page.contains("Delete dead letters") && page.contains("3 selected dead letters"), "{page}");
    until_equal("dead letters", 3, async || left(&shown).await).await;
    let finished = async || shown.page("/dead-letters/work").await.1.contains("Finished").then_some(());
    until("the work is finished", finished).await;
    let page = shown.page("/dead-letters/work").await.1;
    assert!(
        page.contains("<dt>Deleted</dt><dd>2</dd>") && page.contains("<dt>Gone before</dt><dd>1</dd>"),
        "{page}"
    );
    let page = shown.page("/dead-letters").await.1;
    for (number, is_left) in [(1, true), (2, false), (3, true), (4, false), (5, true)] {
        assert_eq!(page.contains(&format!("id=\"l-{number}\"")), is_left, "{number}");
    }
}

#[tokio::test]
async fn dead_letters_that_must_not_be_sent_stay_and_are_named() {
    let shown = start(Duration::from_millis(50)).await;
    publish(&shown, 1, "unsupported_event", "call.busy", "CAfine").await;
    let mut headers = async_nats::HeaderMap::new();
    for (name, value) in [
        (header::DEAD_REASON, "unsupported_event"),
        (header::DEAD_TYPE, "call.busy"),
        (header::DEAD_STREAM, "WEBHOOKS"),
        (header::DEAD_SEQUENCE, "1"),
        (header::DEAD_SUBJECT, "$JS.API.STREAM.PURGE.WEBHOOKS"),
    ] {
        headers.insert(name, value);
    }
    let subject = streams::subject::dead_letter("status");
    shown.stack.jetstream.publish_with_headers(subject, headers, "{}".into()).await.unwrap().await.unwrap();
    until("both are indexed", async || {
        let page = shown.page("/dead-letters").await.1;
        page.contains("<td role=\"cell\" class=\"count\">2</td>").then_some(())
    })
    .await;
    shown.post("/dead-letters/work", "work=replay&reason=unsupported_event&type=call.busy&end=99").await;
    shown.stack.until_call("CAfine", doc! { "status": "busy" }).await;
    let finished = async || shown.page("/dead-letters/work").await.1.contains("Finished").then_some(());
    until("the work is finished", finished).await;
    let page = shown.page("/dead-letters/work").await.1;
    assert!(page.contains("dead letter 2 is not sent again"), "{page}");
    assert_eq!(left(&shown).await, 1);
}

#[tokio::test]
async fn many_dead_letters_have_small_pages_and_work_that_can_be_canceled() {
    const COUNT: usize = 2_000;
    let shown = start(Duration::from_millis(50)).await;
    for chunk in (0..COUNT).collect::<Vec<_>>().chunks(200) {
        let sent = chunk.iter().map(|n| {
            let reason = if n % 40 == 0 { "no_identifier" } else { "unsupported_event" };
            publish(&shown, *n, reason, if n % 3 == 0 { "call.busy" } else { "call.ended" }, "CAmany")
        });
        futures_util::future::join_all(sent).await;
    }
    let counted =
        async || (!shown.page("/dead-letters").await.1.contains("still being counted")).then_some(());
    until("all are counted", counted).await;
    let rare = "/dead-letters?reason=no_identifier&type=call.ended";
    for path in ["/dead-letters", rare, "/dead-letters?reason=unsupported_event", "/dead-letters/work"] {
        let (status, page) = shown.page(path).await;
        assert!(status == 200 && page.len() < 120_000, "{path} has {} bytes", page.len());
    }
    assert!(shown.page(rare).await.1.contains("33 of 2,000"));

    let (status, _) =
        shown.post("/dead-letters/work", "work=replay&reason=unsupported_event&end=999999").await;
    assert_eq!(status, 200);
    let (status, page) = shown.post("/dead-letters/work", "work=delete&number=1").await;
    assert_eq!(status, 409, "{page}");
    shown.post("/dead-letters/work/cancel", "").await;
    let ended = async || shown.page("/dead-letters/work").await.1.contains("Canceled.").then_some(());
    until("the work ended", ended).await;
    let after = left(&shown).await;
    assert!(after > 50, "{after} are left");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(left(&shown).await, after, "nothing goes on");
    let (status, _) = shown.post("/dead-letters/work", "work=delete&reason=no_identifier&end=999999").await;
    assert_eq!(status, 200, "the next work can begin");
    until_equal("dead letters", after - 50, async || left(&shown).await).await;
}

#[tokio::test]
async fn an_edited_body_is_checked_and_shown_beside_the_original() {
    with_browser(async |browser| {
        let shown = start(Duration::from_millis(50)).await;
        let event = json!({ "event_type": "call.bussy", "call_id": "CAedit", "to_number": "+12025550123" });
        shown.stack.webhook(&event).await;
        until_equal("dead letters", 1, async || left(&shown).await).await;
        browser.open(&shown.link()).await;
        open(browser, &shown, "/dead-letters/1/edit").await;
        browser.read(".original", "+12025550123").await;
        let broken = "{\"event_type\": \"call.busy\", \"call_id\" \"CAedit\"}";
        browser.fill("#body", broken).await;
        browser.click(".editor button[type=submit]").await;
        browser
            .read("#problem", "Nothing was sent. The body is not JSON: expected `:`, at line 1, column 39.")
            .await;
        assert_eq!(browser.eval("document.querySelector('#body').value").await, broken);
        browser.read(".original", "call.bussy").await;
        browser.picture("edit-problem").await;
        assert_eq!(browser.serious_findings().await, Vec::<String>::new());
        assert_eq!(left(&shown).await, 1);

        browser.fill("#body", r#"{"event_type":"call.bussi","call_id":"CAedit"}"#).await;
        browser.click(".editor button[type=submit]").await;
        browser.read("#problem", "would become a dead letter again").await;
        browser.see(".editor button[name=anyway]").await;
        assert_eq!(left(&shown).await, 1);

        browser
            .fill("#body", r#"{"event_type":"call.busy","call_id":"CAedit","to_number":"+12025550123"}"#)
            .await;
        browser.click(".editor button[formaction]").await;
        browser.read("#difference", "-   \"event_type\": \"call.bussy\",").await;
        browser.read("#difference", "+   \"event_type\": \"call.busy\",").await;
        browser.read("#difference", "\n    \"call_id\": \"CAedit\",").await;
        assert_eq!(browser.count("#difference del").await, 1);
        assert_eq!(browser.count("#problem").await, 0);
        browser.picture("edit-difference").await;
        assert_eq!(browser.serious_findings().await, Vec::<String>::new());
        browser.narrow(true).await;
        browser.picture("edit-difference-narrow").await;
        assert_eq!(browser.serious_findings().await, Vec::<String>::new());
        browser.narrow(false).await;
        browser.click(".editor .primary").await;
        browser.read("#outcome", "It is part of call CAedit").await;
        shown.stack.until_call("CAedit", doc! { "status": "busy" }).await;

        // Somebody else has taken the dead letter meanwhile: the text stays.
        let body = "body=%7B%22event_type%22%3A%22call.busy%22%7D";
        for path in ["/dead-letters/1/replay", "/dead-letters/1/edit"] {
            let (status, page) = shown.post(path, body).await;
            assert_eq!(status, 404);
            assert!(page.contains("{&#34;event_type&#34;:&#34;call.busy&#34;}</textarea>"), "{page}");
        }
        assert_eq!(shown.page("/dead-letters/1/edit").await.0, 404);
        let mut complaints = browser.complaints().await;
        complaints.retain(|line| !line.contains("status of 422"));
        assert_eq!(complaints, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn pages_of_audit_and_work_pass_axe_core() {
    with_browser(async |browser| {
        let shown = start(Duration::from_millis(50)).await;
        for n in 0..3 {
            publish(&shown, n, "unsupported_event", "call.busy", &format!("CAa{n}")).await;
        }
        shown.post("/dead-letters/work", "work=delete&number=1&number=9").await;
        let finished = async || shown.page("/dead-letters/work").await.1.contains("Finished").then_some(());
        until("the work is finished", finished).await;
        browser.open(&shown.link()).await;
        let pages = [
            ("audit", "/audit"),
            ("letter-work", "/dead-letters/work"),
            ("dead-letters-group", "/dead-letters?reason=unsupported_event&type=call.busy"),
            ("dead-letters-grouped", "/dead-letters"),
        ];
        let findings = findings(browser, &shown, &pages).await;
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    })
    .await;
}
