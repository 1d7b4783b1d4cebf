//! Notes on calls and marks of reviewed calls.

use std::time::Duration;

use futures_util::future::join_all;
use mongodb::{
    Collection,
    bson::{DateTime, Document, doc},
};
use serde_json::json;

use super::{ConsoleStack, TOKEN, accessibility::findings, browser::with_browser, event, start};
use crate::harness::{recently, until_equal};

fn notes(shown: &ConsoleStack) -> Collection<Document> {
    let calls = &shown.stack.calls;
    calls.client().database(&calls.namespace().db).collection("call_notes")
}

async fn count(shown: &ConsoleStack) -> u64 {
    notes(shown).count_documents(doc! {}).await.unwrap()
}

/// Writes a note as a browser does: with the time of the note that the page shows.
async fn write(shown: &ConsoleStack, call: &str, text: &str) -> (u16, String) {
    let page = shown.page(&format!("/calls/{call}")).await.1;
    let seen =
        page.split("name=\"seen\" value=\"").nth(1).map_or("", |rest| &rest[..rest.find('"').unwrap()]);
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("note", text), ("seen", seen)])
        .finish();
    shown.post(&format!("/calls/{call}/note"), &form).await
}

#[tokio::test]
async fn a_note_is_written_by_a_form_and_shown_with_its_author() {
    let shown = start(Duration::from_millis(50)).await;
    for call in ["CAone", "CAtwo"] {
        shown.stack.webhook(&event(call, "busy", recently())).await;
        shown.stack.document(doc! { "callId": call }).await;
    }
    let before = shown.stack.document(doc! { "callId": "CAone" }).await;
    let (status, page) = write(&shown, "CAone", "Asked for <b>terms</b>\r\ncall +65 8123 4567").await;
    assert_eq!(status, 200);
    assert!(
        page.contains("Asked for &#60;b&#62;terms&#60;/b&#62;\ncall +65") && !page.contains("8123 4567"),
        "{page}"
    );
    assert!(page.contains("operator (shared login), "), "{page}");
    let (status, page) = shown.post("/calls/CAone/review", "reviewed=yes").await;
    assert!(status == 200 && page.contains("Reviewed by <bdi>operator"), "{page}");
    let list = shown.page("/calls").await.1;
    assert_eq!(list.matches("title=\"Reviewed\"").count(), 1, "{list}");
    assert!(list.split("id=\"c-").any(|row| row.contains("CAone") && row.contains("title=\"Reviewed\"")));
    assert_eq!(shown.stack.document(doc! { "callId": "CAone" }).await, before, "the call is as it was");

    // What is refused keeps the text, and changes nothing.
    let too_much = "é".repeat(2001);
    let (status, page) = write(&shown, "CAone", &too_much).await;
    assert!(status == 422 && page.contains(&too_much), "{status}");
    let (status, page) = shown.post("/calls/CAone/note", "note=mine&seen=").await;
    assert!(status == 409 && page.contains("mine</textarea>"), "{page}");
    let (status, page) = shown.post("/calls/CAnone/note", "note=mine&seen=").await;
    assert!(status == 404 && page.contains("mine</textarea>"), "{page}");
    assert_eq!(shown.post("/calls/CAone/review", "reviewed=maybe").await.0, 422);
    assert_eq!(shown.post("/calls/CAnone/review", "reviewed=yes").await.0, 404);
    for (path, form) in [("note", "note=mine&seen="), ("review", "reviewed=yes")] {
        let post = || shown.stack.http.post(format!("{}/calls/CAtwo/{path}", shown.console)).body(form);
        let post = || post().header("content-type", "application/x-www-form-urlencoded");
        assert_eq!(post().send().await.unwrap().status(), 401);
        let link = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let session = link.get(format!("{}/?token={TOKEN}", shown.console)).send().await.unwrap();
        let cookie = session.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        let foreign = post().header("cookie", cookie).header("origin", "https://evil.example");
        assert_eq!(foreign.send().await.unwrap().status(), 403);
    }
    assert_eq!(count(&shown).await, 1);

    let (_, page) = write(&shown, "CAone", "").await;
    assert!(page.contains("Write a note") && page.contains("Reviewed by"), "the mark stays: {page}");
    let (_, page) = shown.post("/calls/CAone/review", "reviewed=no").await;
    assert!(page.contains("Not reviewed"), "{page}");
    assert!(!shown.page("/calls").await.1.contains("title=\"Reviewed\""));
    let audit = shown.page("/audit").await.1;
    for text in
        ["wrote a note", "removed the note", "marked as reviewed", "removed the reviewed mark", "call CAone"]
    {
        assert!(audit.contains(text), "{text}: {audit}");
    }
    let log = shown.stack.workers[0].log();
    assert!(!audit.contains("terms") && !log.contains("terms"), "{log}");
    // Fewer digits could be a part of a time.
    assert!(["8123 4567", "81234567"].iter().all(|number| !log.contains(number)), "{log}");
}

#[tokio::test]
async fn of_notes_that_are_written_at_the_same_time_one_is_kept() {
    let shown = start(Duration::from_millis(50)).await;
    shown.stack.webhook(&event("CAone", "busy", recently())).await;
    shown.stack.document(doc! { "callId": "CAone" }).await;
    let mut seen = String::new();
    for round in 0..4 {
        let writes = (0..24).map(|n| {
            let form = format!("note={round}{n}&seen={seen}");
            let shown = &shown;
            async move { shown.post("/calls/CAone/note", &form).await.0 }
        });
        let answers = join_all(writes).await;
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|status| [200, 409].contains(status)), "{answers:?}");
        let page = shown.page("/calls/CAone").await.1;
        seen = page.split("name=\"seen\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        assert!(!seen.is_empty());
    }
    assert_eq!(count(&shown).await, 1);
    // A review by somebody else at the same time makes no second document.
    let reviews = (0..4).map(|_| shown.post("/calls/CAone/review", "reviewed=yes"));
    assert!(join_all(reviews).await.iter().all(|(status, _)| *status == 200));
    assert_eq!(count(&shown).await, 1);
    // Control characters are no text.
    let (status, page) = write(&shown, "CAone", "a\u{0}b\u{1b}c").await;
    assert!(status == 200 && page.contains("abc"), "{page}");
}

#[tokio::test]
async fn notes_of_two_documents_survive_their_merge_and_are_erased_with_the_call() {
    let shown = start(Duration::from_millis(50)).await;
    let stack = &shown.stack;
    stack.webhook(&json!({ "event_type": "call.ringing", "call_id": "CAm", "timestamp": recently() })).await;
    stack.webhook(&json!({ "event_type": "call.answered", "conversation_id": "conv_m", "timestamp": recently() + 1 })).await;
    stack.webhook(&event("CAother", "busy", recently())).await;
    stack.document(doc! { "callId": "CAm" }).await;
    stack.document(doc! { "conversationId": "conv_m" }).await;
    stack.document(doc! { "callId": "CAother" }).await;
    assert_eq!(write(&shown, "CAm", "by the call").await.0, 200);
    assert_eq!(write(&shown, "conv_m", "by the conversation").await.0, 200);
    assert_eq!(write(&shown, "CAother", "of another call").await.0, 200);
    assert_eq!(shown.post("/calls/conv_m/review", "reviewed=yes").await.0, 200);
    stack
        .webhook(&json!({ "event_type": "call.ended", "call_id": "CAm", "conversation_id": "conv_m", "timestamp": recently() + 5 }))
        .await;
    stack.until_call("CAm", doc! { "conversationId": "conv_m" }).await;
    for name in ["CAm", "conv_m"] {
        let page = shown.page(&format!("/calls/{name}")).await.1;
        assert!(
            page.contains("by the call\n\nby the conversation") && page.contains("Reviewed by"),
            "{page}"
        );
        assert!(!page.contains("of another call"));
    }
    assert_eq!(shown.page("/calls").await.1.matches("title=\"Reviewed\"").count(), 1);
    assert_eq!(write(&shown, "CAm", "one note").await.0, 200);
    let page = shown.page("/calls/conv_m").await.1;
    assert!(
        page.contains("one note") && !page.contains("by the call") && page.contains("Reviewed by"),
        "{page}"
    );

    let (code, _, errors) = stack.command(&["forget", "--call-id", "conv_m", "--yes"], &[]).await;
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(stack.calls.count_documents(doc! {}).await.unwrap(), 1);
    until_equal("notes", 1, async || count(&shown).await).await;
    let left = notes(&shown).find_one(doc! {}).await.unwrap().unwrap();
    assert_eq!(left.get_document("note").unwrap().get_str("text").unwrap(), "of another call");
}

#[tokio::test]
async fn a_note_ends_with_the_retention_of_its_call() {
    let shown = start(Duration::from_millis(50)).await;
    let stored = DateTime::from_millis(DateTime::now().timestamp_millis() - 40 * 86_400_000);
    let call =
        doc! { "callId": "CAold", "status": "busy", "createdAt": DateTime::now(), "_storedAt": stored };
    shown.stack.calls.insert_one(call).await.unwrap();
    assert_eq!(write(&shown, "CAold", "old").await.0, 200);
    let note = notes(&shown).find_one(doc! {}).await.unwrap().unwrap();
    assert_eq!(note.get_datetime("storedAt").unwrap(), &stored, "it has the age of its call");
}

#[tokio::test]
async fn pages_with_notes_pass_axe_core_and_work_by_keyboard() {
    with_browser(async |browser| {
        let shown = start(Duration::from_millis(50)).await;
        shown.stack.webhook(&event("CAaxe", "busy", recently())).await;
        shown.stack.document(doc! { "callId": "CAaxe" }).await;
        browser.open(&shown.link()).await;
        browser.open_live(&format!("{}/calls/CAaxe", shown.console)).await;
        browser.click(".write summary").await;
        browser.fill("#note-text", "Wants the terms by post").await;
        browser.click(".write button").await;
        browser.read("#note", "Wants the terms by post").await;
        let button = browser.see("#notes form button").await;
        button.focus().await.unwrap();
        button.send_keys(thirtyfour::Key::Enter).await.unwrap();
        browser.read("#review", "Reviewed by operator").await;
        let findings =
            findings(browser, &shown, &[("call-noted", "/calls/CAaxe"), ("calls-reviewed", "/calls")]).await;
        assert!(findings.is_empty(), "{}", findings.join("\n"));
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    })
    .await;
}
