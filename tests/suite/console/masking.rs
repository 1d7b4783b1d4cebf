//! Masking of telephone numbers on the pages, in every notation that senders use.

use aftercall_common::contract::streams;
use mongodb::bson::doc;
use serde_json::{Value, json};

use super::{ConsoleStack, event, setup, start};
use crate::harness::until_equal;

/// Notations of one number.
const FORMS: [&str; 16] = [
    "+6581234567",
    "+65 8123 4567",
    "+65-8123-4567",
    "+65.8123.4567",
    "(65) 8123-4567",
    "call 6581234567 now",
    "006581234567 please",
    "tel:6581234567",
    "sip:6581234567@host",
    "%2B6581234567",
    "&#43;6581234567",
    "\u{ff0b}\u{ff16}\u{ff15}\u{ff18}\u{ff11}\u{ff12}\u{ff13}\u{ff14}\u{ff15}\u{ff16}\u{ff17}",
    "6 5 8 1 2 3 4 5 6 7",
    "https://x/?to=6581234567",
    "6581234567.",
    "請打6581234567給我",
];

/// The digits and mask characters of a page, in ASCII, without all other characters.
fn digits(page: &str) -> String {
    page.chars()
        .filter_map(|c| match c {
            '0'..='9' | '•' => Some(c),
            '\u{ff10}'..='\u{ff19}' => char::from_digit(u32::from(c) - 0xff10, 10),
            _ => None,
        })
        .collect()
}

fn report(failure: &str) -> Value {
    let mut turns: Vec<_> = FORMS.iter().map(|form| json!({ "role": "user", "message": form })).collect();
    // JSON within a text. A long one is shown as it is.
    let arguments = json!({ "reply": "Call:\n6581234567\tor\r6581234567" }).to_string();
    let result = json!({ "reply": "Call:\n6581234567", "more": "x".repeat(5000) }).to_string();
    turns.push(json!({ "role": "agent", "message": "I looked it up.",
        "tool_calls": [{ "request_id": "t", "tool_name": "look up", "params_as_json": arguments }],
        "tool_results": [{ "request_id": "t", "tool_name": "look up", "result_value": result }] }));
    json!({ "type": "post_call_transcription", "event_timestamp": 1_790_000_000, "data": {
        "agent_id": "a", "conversation_id": "conv_hidden", "status": "failed", "transcript": turns,
        "metadata": {
            "n": 6_581_234_567_u64, "+6581234567": "as a name", "list": FORMS, "start_time_unix_secs": 1_790_000_000,
            "phone_call": { "external_number": "+6581234567", "call_sid": "CA+6581234567" },
            "error": { "reason": failure },
        },
        "analysis": {
            "transcript_summary": "She asked to be called at 6581234567",
            "data_collection_results": {
                "phone": { "value": "6581234567 (mobile)" }, "nested": { "value": { "n": "x\n6581234567" } },
            },
        },
        "conversation_initiation_client_data": { "dynamic_variables": { "given": { "n": "x\n6581234567" } } },
    } })
}

async fn shown() -> ConsoleStack {
    let shown = start(std::time::Duration::from_millis(50)).await;
    shown.stack.webhook(&report("no route to 6581234567")).await;
    shown.stack.webhook(&json!({ "event_type": "call for +6581234567", "call_id": "m1" })).await;
    let form = "CallStatus=ringing&To=%2B6581234567&From=%2B6581234568";
    let post = shown.stack.jetstream.publish(streams::subject::TWILIO_CALL_STATUS, form.into());
    post.await.unwrap().await.unwrap();
    shown.stack.document(doc! { "conversationId": "conv_hidden" }).await;
    shown.stack.all_acknowledged().await;
    until_equal("dead letters", 2, async || shown.stack.stored(streams::DEAD_LETTERS).await).await;
    shown
}

#[tokio::test]
async fn every_page_masks_telephone_numbers_in_every_notation() {
    let shown = shown().await;
    let call = shown.stack.document(doc! { "conversationId": "conv_hidden" }).await;
    let call = format!("/calls/{}", call.get_object_id("_id").unwrap().to_hex());
    let (_, list) = shown.page("/calls").await;
    assert!(list.contains(&call), "the link contains an id with a number: {list}");
    let mut pages =
        vec!["/calls".to_owned(), call.clone(), "/overview".to_owned(), "/dead-letters".to_owned()];
    pages.extend(["rawResponse", "metadata", "analysis"].map(|field| format!("{call}/raw/{field}")));
    pages.push(format!("{call}/raw/metadata?download"));
    pages.extend([1, 2].map(|number| format!("/dead-letters/{number}")));
    for path in pages {
        let (status, page) = shown.page(&path).await;
        assert_eq!(status, 200, "{path}");
        for whole in ["6581234567", "6581234568"] {
            assert!(!digits(&page).contains(whole), "{path}: {page}");
        }
    }
    let (_, page) = shown.page(&call).await;
    assert_eq!(page.matches("class=\"said\"").count(), FORMS.len() + 1);
    assert!(page.contains("no route to 658•••••67") && page.contains("called at 658•••••67"), "{page}");
    let (_, raw) = shown.page(&format!("{call}/raw/metadata?download")).await;
    assert!(raw.contains("1790000000"), "{raw}");
    // The filter finds a masked reason, although the stored reason is not masked.
    let (_, found) =
        shown.page("/calls?reason=no+route+to+658%E2%80%A2%E2%80%A2%E2%80%A2%E2%80%A2%E2%80%A267").await;
    assert!(found.contains("id=\"c-"), "{found}");
    // No search tells digits that the pages do not show.
    for (query, finds) in [
        ("reason=no+route+to+658", true),
        ("reason=no+route+to+6581", false),
        ("reason=34567", false),
        ("q=CA", true),
        ("q=CA%2B6581", false),
        ("q=CA%2B6581234567", true),
    ] {
        let (status, found) = shown.page(&format!("/calls?{query}")).await;
        assert_eq!((status, found.contains("id=\"c-")), (200, finds), "{query}");
    }

    let (code, out, errors) = shown.stack.command(&["report"], &[]).await;
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.contains("no route to 658•••••67") && !out.contains("6581234567"), "{out}");
    for (args, vars) in [
        (&["report", "--show-numbers"][..], &[][..]),
        (&["report", "--json"][..], &[("CONSOLE_SHOW_NUMBERS", "true")][..]),
    ] {
        let (_, out, _) = shown.stack.command(args, vars).await;
        assert!(out.contains("no route to 6581234567"), "{out}");
    }
    assert!(!shown.stack.workers[0].log().contains("6581234567"));
}

#[tokio::test]
async fn numbers_are_shown_if_the_configuration_allows_it() {
    let (setup, console) = setup();
    let shown =
        ConsoleStack { stack: setup.worker_env("CONSOLE_SHOW_NUMBERS", "true").start().await, console };
    shown.stack.webhook(&event("CAwhole", "busy", 1_790_000_000)).await;
    shown.stack.all_acknowledged().await;
    assert!(shown.page("/calls").await.1.contains("+12025550123"));

    let (status, table) = shown.page("/calls.csv?q=%2B12025550123&outcome=busy").await;
    assert!(status == 200 && table.contains("+12025550123"), "{table}");
    assert_eq!(shown.page("/calls.csv?q=CA-of-no-call").await.0, 400);
    let (status, audit) = shown.page("/audit").await;
    assert_eq!(
        (status, audit.matches("exported with whole").count()),
        (200, 1),
        "only what was exported: {audit}"
    );
    assert!(audit.contains("exported with whole telephone numbers"), "{audit}");
    assert!(audit.contains("outcome=busy") && !audit.contains("2025550123"), "{audit}");
}

#[tokio::test]
async fn an_export_with_masked_numbers_needs_no_line_of_the_audit() {
    let shown = start(std::time::Duration::from_millis(50)).await;
    assert_eq!(shown.page("/calls.csv").await.0, 200);
    let (status, audit) = shown.page("/audit").await;
    assert!(status == 200 && !audit.contains("exported"), "{audit}");
}

#[tokio::test]
async fn long_stored_texts_do_not_make_a_list_large() {
    let shown = start(std::time::Duration::from_millis(50)).await;
    let long = "trunk said no ".repeat(100_000);
    let calls = (0..12).map(|n| {
        doc! {
            "callId": format!("CAlong{n}"), "toNumber": &long, "status": "failed",
            "failureReason": format!("{n} {long}"), "createdAt": mongodb::bson::DateTime::now(),
            "history": [{ "eventId": "e", "eventType": &long, "status": "failed", "at": mongodb::bson::DateTime::now() }],
        }
    });
    shown.stack.calls.insert_many(calls).await.unwrap();
    for path in ["/calls", "/calls?status=failed", "/overview", "/calls/CAlong3"] {
        let (status, page) = shown.page(path).await;
        assert_eq!(status, 200, "{path}");
        assert!(page.len() < 200_000, "{path} has {} bytes", page.len());
    }
    assert!(shown.page("/calls").await.1.contains("trunk said no"));
    let (code, out, errors) = shown.stack.command(&["report"], &[]).await;
    assert!(code == Some(0) && out.len() < 100_000, "{} {errors}", out.len());
}

#[tokio::test]
async fn a_hidden_number_cannot_be_found_by_many_searches() {
    let shown = start(std::time::Duration::from_millis(50)).await;
    shown.stack.webhook(&event("CAhidden", "busy", 1)).await;
    shown.stack.until_call("CAhidden", doc! { "status": "busy" }).await;
    let search = async |number: &str| shown.page(&format!("/calls?q=%2B{number}")).await;
    let mut refused = None;
    for n in 0..110 {
        // A search that finds the call does not count.
        assert!(n % 10 > 0 || n >= 100 || search("12025550123").await.1.contains("CAhidden"), "{n}");
        // Searches that find something are free, for live updates and tables too.
        let found = ["/events?topic=calls&q=0123", "/calls.csv?q=%2B12025550123"][n % 2];
        assert!(n % 10 > 0 || n >= 100 || shown.get(found).send().await.unwrap().status() == 200, "{n}");
        let (status, page) = search(&format!("1202555{:04}", 9000 + n)).await;
        if status != 200 {
            assert!(status == 429 && page.contains("too many searches for a number found nothing"), "{page}");
            refused = Some(n);
            break;
        }
    }
    assert_eq!(refused, Some(100));
    for path in [
        "/calls?q=0123",
        "/calls?q=%2B12025550123",
        "/calls.csv?q=%2B12025550123",
        "/events?topic=calls&q=0123",
    ] {
        assert_eq!(shown.page(path).await.0, 429, "{path}");
    }
    let (status, page) = shown.page("/calls?q=CAhidden&outcome=busy").await;
    assert!(status == 200 && page.contains("CAhidden"), "a search for an id: {page}");
}
