//! Input as senders really send it: half surrogate pairs, variants of names and shapes, further callbacks,
//! long texts.

use aftercall_common::contract::streams;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
};
use tokio_util::task::TaskTracker;

use crate::harness::{CALL_STATUS, TestStack, recently, until, until_equal, value};

/// Posts a callback of Twilio, which must be accepted.
async fn twilio(stack: &TestStack, form: &str) {
    stack.twilio(form).await;
}

/// Reason and detail of every dead letter.
async fn dead_letters(stack: &TestStack) -> Vec<(String, String)> {
    let mut letters = Vec::new();
    for n in 1..=stack.stored(streams::DEAD_LETTERS).await {
        let letter = stack.message(streams::DEAD_LETTERS, n).await;
        let header = |name: &str| letter.headers.get(name).map(ToString::to_string).unwrap_or_default();
        letters.push((header(streams::header::DEAD_REASON), header(streams::header::DEAD_DETAIL)));
    }
    letters
}

#[tokio::test]
async fn every_accepted_conversation_is_applied() {
    let stack = TestStack::start().await;
    let deep = format!("{}{}", "[".repeat(140), "]".repeat(140));
    let odd = [
        r#""note":"bye \ud83d""#.to_owned(),
        r#""note":1e400"#.to_owned(),
        format!(r#""note":{deep}"#),
        r#""no\u0000te":1"#.to_owned(),
    ];
    for (n, field) in odd.iter().enumerate() {
        let body = format!(
            r#"{{"type":"post_call_transcription","data":{{"conversation_id":"conv_{n}","status":"done",
            "transcript":[{{"role":"user","message":"bye \ud83d","extra":{deep}}}],{field},
            "metadata":{{"cost":1e400,"phone_call":{{"call_sid":"CA{n}"}}}}}}}}"#
        );
        let answer = stack.post_to(CALL_STATUS, body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let wanted = doc! { "status": "completed", "transcriptState": "saved" };
        let call = stack.until_call(&format!("CA{n}"), wanted).await;
        let turn = call.get_array("transcript").unwrap()[0].as_document().unwrap();
        assert_eq!(turn.get_str("message").unwrap(), "bye \u{FFFD}", "{field}");
    }
    stack.all_acknowledged().await;
    assert_eq!(dead_letters(&stack).await, []);
}

#[tokio::test]
async fn unambiguous_variants_of_events_are_applied() {
    let stack = TestStack::start().await;
    for (n, (word, status)) in
        [("Call.Completed", "completed"), ("call.no-answer ", "no_answer"), ("call.cancelled", "canceled")]
            .into_iter()
            .enumerate()
    {
        stack.webhook(&json!({ "event_type": word, "call_id": 700 + n })).await;
        stack.until_call(&(700 + n).to_string(), doc! { "status": status }).await;
    }
    twilio(&stack, "CallSid=CAw&CallStatus=cancelled").await;
    stack.until_call("CAw", doc! { "status": "canceled" }).await;
    let data = |id: &str| json!({ "conversation_id": id, "status": "done", "transcript": [{ "role": "agent", "message": "x" }] });
    let mut inlined = data("conv_inlined");
    inlined["type"] = "post_call_transcription".into();
    stack.webhook(&inlined).await;
    let text = json!({ "type": "post_call_transcription", "data": data("conv_text").to_string() });
    stack.webhook(&text).await;
    stack.webhook(&json!({ "data": data("conv_untyped") })).await;
    for id in ["conv_inlined", "conv_text", "conv_untyped"] {
        let wanted = doc! { "conversationId": id, "status": "completed", "transcriptState": "saved" };
        stack.document(wanted).await;
    }
    stack.all_acknowledged().await;
    assert_eq!(dead_letters(&stack).await, []);
}

#[tokio::test]
async fn unsupported_webhooks_become_dead_letters_with_their_reason_and_foreign_ones_do_not() {
    let stack = TestStack::start().await;
    for foreign in
        ["voice_removal_notice", "speech_to_text_transcription", "flows_generation", "dubbing_done"]
    {
        stack.webhook(&json!({ "type": foreign, "data": { "id": "x" } })).await;
    }
    let poison = [
        (json!({ "conversation": "c", "state": "busy" }), "no_event_type", "fields conversation, state"),
        (json!({ "type": "post_call_audio", "data": 7 }), "unexpected_shape", "fields type, data"),
        (json!({ "event_type": "call.teleported", "call_id": "c" }), "unsupported_event", "call.teleported"),
    ];
    for (n, (body, reason, detail)) in poison.iter().enumerate() {
        stack.webhook(body).await;
        until_equal("dead letters", n as u64 + 1, async || stack.stored(streams::DEAD_LETTERS).await).await;
        let letters = dead_letters(&stack).await;
        assert!(letters[n].0 == *reason && letters[n].1.contains(detail), "{letters:?}");
    }
    stack.all_acknowledged().await;
    assert_eq!(stack.count(doc! {}).await, 0);
    until("every family of foreign webhooks is counted", async || {
        let metrics = stack.workers[0].metrics(&stack.http).await;
        ["voice_removal", "speech_to_text", "flows", "dubbing"]
            .iter()
            .all(|family| {
                let name = format!("aftercall_foreign_webhooks_total{{family=\"{family}\"}}");
                value(&metrics, &name).is_some_and(|count| count >= 1.0)
            })
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn twilio_callbacks_without_a_status_are_kept_with_their_call() {
    let stack = TestStack::start().await;
    twilio(&stack, "CallSid=CAr&CallStatus=completed&CallDuration=12").await;
    for form in [
        "RecordingSid=RE0&RecordingStatus=completed&RecordingUrl=https%3A%2F%2Fapi.example%2FRE0",
        "StreamSid=MZ0&StreamEvent=stream-error&StreamError=31921",
        "ConferenceSid=CF0&StatusCallbackEvent=participant-leave",
        "AnsweredBy=human",
    ] {
        twilio(&stack, &format!("AccountSid=AC0&CallSid=CAr&{form}")).await;
    }
    stack.until_call("CAr", doc! { "status": "ended", "history": { "$size": 5 } }).await;
    let call = stack.lookup(json!({ "callSid": "CAr" })).await.body;
    assert_eq!(call["twilioRecording"]["RecordingUrl"], "https://api.example/RE0", "{call}");
    assert_eq!(call["twilioStream"]["StreamError"], "31921");
    assert_eq!(call["twilioConference"]["StatusCallbackEvent"], "participant-leave");
    assert_eq!((&call["twilioAmd"]["AnsweredBy"], &call["answeredBy"]), (&json!("human"), &json!("human")));
    assert_eq!(call["rawResponse"]["CallDuration"], "12", "the last status callback stays");
    assert_eq!(dead_letters(&stack).await, []);
}

#[tokio::test]
async fn query_parameters_of_a_callback_are_part_of_its_payload() {
    let stack = TestStack::start().await;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert(streams::header::QUERY, "lead=42&b=%C3%A9");
    let subject = streams::subject::TWILIO_CALL_STATUS;
    let body = "CallSid=CAq&CallStatus=ringing".into();
    stack.jetstream.publish_with_headers(subject, headers, body).await.unwrap().await.unwrap();
    let call = stack.until_call("CAq", doc! { "status": "ringing" }).await;
    let query = call.get_document("rawResponse").unwrap().get_document("query").unwrap();
    assert_eq!((query.get_str("lead").unwrap(), query.get_str("b").unwrap()), ("42", "é"));
}

#[tokio::test]
async fn legs_and_inbound_calls_expect_a_transcript_only_with_a_conversation() {
    let stack = TestStack::start().await;
    twilio(&stack, "CallSid=CAleg&ParentCallSid=CAparent&Direction=outbound-dial&CallStatus=completed").await;
    twilio(&stack, "CallSid=CAin&Direction=inbound&CallStatus=completed").await;
    twilio(&stack, "CallSid=CAout&Direction=outbound-api&CallStatus=completed").await;
    let leg = stack.until_call("CAleg", doc! { "status": "ended" }).await;
    assert_eq!(leg.get_str("parentCallId").unwrap(), "CAparent");
    let inbound = stack.until_call("CAin", doc! { "status": "ended" }).await;
    assert!(
        !leg.contains_key("transcriptState") && !inbound.contains_key("transcriptState"),
        "{leg} {inbound}"
    );
    stack.until_call("CAout", doc! { "transcriptState": "owed" }).await;
    // The conversation becomes known after the end of the call, and before it.
    let answered = |call: &str| json!({ "event_type": "call.answered", "call_id": call, "conversation_id": format!("conv_{call}") });
    stack.webhook(&answered("CAin")).await;
    stack.webhook(&answered("CAlater")).await;
    stack.until_call("CAlater", doc! { "status": "answered" }).await;
    twilio(&stack, "CallSid=CAlater&Direction=inbound&CallStatus=completed").await;
    for call in ["CAin", "CAlater"] {
        let wanted = doc! { "transcriptState": "saved", "_owedSince": { "$exists": true } };
        let call = stack.until_call(call, wanted).await;
        assert!(!call.get_array("transcript").unwrap().is_empty());
    }
    assert_eq!(stack.lookup(json!({ "callSid": "CAleg" })).await.body["parentCallId"], "CAparent");
}

#[tokio::test]
async fn recordings_are_decoded_from_every_form_of_base64() {
    let stack = TestStack::start().await;
    let written = ["SUQz\nSUQz\n", "SUQzAQ", "SUQz-_8=", "data:audio/mpeg;base64,SUQz"];
    for (n, audio) in written.iter().enumerate() {
        let data = json!({ "conversation_id": format!("conv_{n}"), "full_audio": audio });
        stack.webhook(&json!({ "type": "post_call_audio", "data": data })).await;
    }
    for (n, bytes) in [6, 4, 5, 3].into_iter().enumerate() {
        stack.document(doc! { "conversationId": format!("conv_{n}"), "audio.bytes": bytes }).await;
    }
    let data = json!({ "conversation_id": "conv_none", "full_audio": "not base64!" });
    stack.webhook(&json!({ "type": "post_call_audio", "data": data })).await;
    until_equal("dead letters", 1, async || stack.stored(streams::DEAD_LETTERS).await).await;
    assert_eq!(dead_letters(&stack).await[0].0, "invalid_audio");
}

#[tokio::test]
async fn long_texts_are_cut_in_listed_fields_and_whole_in_the_payload() {
    let stack = TestStack::start().await;
    let long = "r".repeat(200_000);
    let event = json!({ "event_type": "call.failed", "call_id": "CAlong", "failure_reason": long, "to_number": long,
        "agent_id": long, "status": long });
    stack.webhook(&event).await;
    let call = stack.until_call("CAlong", doc! { "status": "failed" }).await;
    let entry = call.get_array("history").unwrap()[0].as_document().unwrap();
    for text in [
        call.get_str("failureReason"),
        call.get_str("toNumber"),
        call.get_str("agentId"),
        entry.get_str("receivedStatus"),
    ] {
        let text = text.unwrap();
        assert!(text.len() < 1100 && text.ends_with('…'), "{} bytes", text.len());
    }
    assert_eq!(call.get_document("rawResponse").unwrap().get_str("failure_reason").unwrap().len(), 200_000);
}

/// Starts an API that lists four conversations: one answers with HTML, one has no start time, one has an
/// empty id. Returns its URL.
async fn odd_api() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let ids = ["conv_bad", "conv_half", "conv_undated", " "];
    let line = |id: &str| json!({ "conversation_id": id, "status": "done", "start_time_unix_secs": null });
    let list = json!({ "conversations": ids.map(line), "has_more": false }).to_string();
    let begin = recently();
    drop(TaskTracker::new().spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = String::new();
            let mut reader = BufReader::new(&mut socket);
            while reader.read_line(&mut request).await.is_ok_and(|read| read > 2) {}
            let conversation = |id: &str, start: &str| {
                format!(
                    r#"{{"conversation_id":"{id}","status":"done","agent_id":"a","transcript":[{{"role":"user","message":"bye \ud83d"}}],
                    "metadata":{{"cost":1e400,"start_time_unix_secs":{start},"call_duration_secs":60}}}}"#
                )
            };
            let body = if request.contains("/conversations?") {
                list.clone()
            } else if request.contains("/conversations/conv_half ") {
                conversation("conv_half", &begin.to_string())
            } else if request.contains("/conversations/conv_undated ") {
                conversation("conv_undated", "0")
            } else {
                "<html>".to_owned()
            };
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            drop(socket.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).await);
        }
    }));
    address
}

#[tokio::test]
async fn unusable_conversation_is_reported_and_reconciliation_continues() {
    let stack = TestStack::start().await;
    let api = odd_api().await;
    let vars = [("ELEVENLABS_BASE_URL", api.as_str())];
    let (code, said, stderr) = stack.command(&["reconcile", "--json", "--since", "2h"], &vars).await;
    assert_eq!(code, Some(0), "{stderr}");
    let report: Value = serde_json::from_str(&said).unwrap();
    let unusable = json!([{ "conversationId": "conv_bad", "reason": "unreported", "error": "unreadable" }]);
    assert_eq!(report["unusable"], unusable, "{report}");
    assert!(stderr.contains("conv_bad") && stderr.contains("cannot be reconciled"), "{stderr}");
    assert_eq!(report["events"].as_array().unwrap().len(), 2, "{report}");
    assert!(report["since"].as_str().is_some_and(|time| time.len() == "2026-11-28T10:00:00.000Z".len()));
    let call = |id: &str| stack.document(doc! { "conversationId": id.to_owned(), "status": "completed" });
    let created = |call: Document| call.get_datetime("createdAt").unwrap().timestamp_millis() / 1000;
    assert_eq!(created(call("conv_half").await), recently());
    let undated = call("conv_undated").await;
    assert!(!undated.get_array("history").unwrap()[0].as_document().unwrap().contains_key("timeIgnored"));
    assert!(created(undated) > recently() + 3000, "the time of storage is used");
    let (_, table, _) = stack.command(&["reconcile", "--dry-run", "--since", "2h"], &vars).await;
    assert!(table.contains("conv_bad") && table.contains("1 cannot be used"), "{table}");
}
