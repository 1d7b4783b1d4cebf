//! Placed calls: each is dialled once, even if provider, network or workers fail.

use std::{collections::HashMap, time::Duration};

use aftercall_local::{
    process::Signal,
    simulator::{Carrier, Faults, Options},
};
use futures_util::{StreamExt as _, future::join_all};
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::harness::{HttpResponse, TestStack, TestStackBuilder, scaled_setting, until, until_equal};

pub const PLACE: &str = "/api/agent-calls";

/// The request for a call to `number`.
fn order(number: &str) -> Value {
    json!({ "agentId": "agent_1", "agentPhoneNumberId": "phnum_1", "toNumber": number })
}

pub async fn place(stack: &TestStack, order: &Value, key: Option<&str>) -> HttpResponse {
    let mut request = stack.http.post(format!("{}{PLACE}", stack.base)).body(order.to_string());
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    stack.send(request).await
}

fn setup() -> TestStackBuilder {
    let options = Options { pace: Duration::from_millis(20), ..Options::default() };
    TestStack::builder()
        .simulator(options)
        .worker_env("PLACE_TIMEOUT", &scaled_setting(Duration::from_millis(500)))
}

async fn start_with(faults: Faults) -> TestStack {
    let stack = setup().start().await;
    stack.simulator.set_faults(faults);
    stack
}

async fn documents(stack: &TestStack) -> Vec<Document> {
    let found = stack.calls.find(doc! {}).await.unwrap();
    found.map(Result::unwrap).collect().await
}

#[tokio::test]
async fn placed_call_is_one_document_from_the_request_to_the_transcript() {
    let stack = setup().start().await;
    let mut body = order("+15005550000");
    body["conversationInitiationClientData"] = json!({ "dynamic_variables": { "order_ref": "Z-17" } });
    let answer = place(&stack, &body, None).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let (call, conversation) =
        (answer.body["callId"].as_str().unwrap(), answer.body["conversationId"].as_str());
    assert!(call.starts_with("CA"), "{call}");
    // The answer has the stored status, and the webhook of the simulated conversation may have been applied already.
    assert!([json!("initiated"), json!("completed")].contains(&answer.body["status"]), "{}", answer.body);
    let found = stack.until_call(call, doc! { "status": "completed", "transcriptState": "saved" }).await;
    assert_eq!(found.get_str("conversationId").ok(), conversation);
    assert_eq!(found.get_str("toNumber").unwrap(), "+15005550000");
    let request = found.get_document("requestPayload").unwrap();
    let data = request.get_document("conversation_initiation_client_data").unwrap();
    let variables = data.get_document("dynamic_variables").unwrap();
    assert_eq!(variables.get_str("order_ref").unwrap(), "Z-17");
    assert_eq!(
        Some(variables.get_str("aftercall_placement_id").unwrap()),
        answer.body["placementId"].as_str()
    );
    assert_eq!(stack.simulator.dialled().len(), 1);

    body = order("+15005550100");
    body["provider"] = "sip".into();
    assert_eq!(place(&stack, &body, None).await.status, 201);
    assert_eq!(stack.simulator.dialled()[1].carrier, Carrier::Sip);
    until_equal("documents", 2, async || documents(&stack).await.len()).await;
}

#[tokio::test]
async fn exotel_and_whatsapp_calls_are_placed_and_metadata_is_kept() {
    let stack = setup().start().await;
    let mut exotel = order("+15005550000");
    exotel["provider"] = "exotel".into();
    let whatsapp = json!({
        "agentId": "agent_1", "provider": "whatsapp", "whatsappPhoneNumberId": "w1", "whatsappUserId": "15005550000",
        "whatsappCallPermissionRequestTemplateName": "t", "whatsappCallPermissionRequestTemplateLanguageCode": "en",
    });
    for (mut body, channel, carrier) in
        [(exotel, "exotel", Carrier::Exotel), (whatsapp, "whatsapp", Carrier::WhatsApp)]
    {
        body["metadata"] = json!({ "order": "Z-17", "customer": "+6580001234" });
        let answer = place(&stack, &body, None).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        assert_eq!(answer.body["callId"].is_null(), carrier == Carrier::WhatsApp, "{}", answer.body);
        assert_eq!(stack.simulator.dialled().last().unwrap().carrier, carrier);
        let conversation = answer.body["conversationId"].as_str().unwrap();
        let wanted = doc! { "conversationId": conversation, "transcriptState": "saved", "channel": channel };
        let call = stack.document(wanted).await;
        assert_eq!(call.get_str("outcome").unwrap(), "answered");
        let kept = call.get_document("placementMetadata").unwrap();
        assert_eq!(kept, &doc! { "order": "Z-17", "customer": "+6580001234" });
        let lookup = stack.lookup(json!({ "conversation_id": conversation })).await;
        assert_eq!(lookup.body["placementMetadata"], body["metadata"], "{}", lookup.body);
    }
    let args = ["forget", "--to-number", "+6580001234", "--mentions", "--yes"];
    let (code, _, errors) = stack.command(&args, &[]).await;
    assert_eq!((code, documents(&stack).await.len()), (Some(0), 0), "{errors}");
}

#[tokio::test]
async fn failure_reported_before_the_answer_is_in_the_same_document() {
    let stack = setup().start().await;
    for n in 0..10 {
        let answer = place(&stack, &order(&format!("+1500555{n:02}06")), None).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let call = answer.body["callId"].as_str().unwrap();
        stack.until_call(call, doc! { "outcome": "busy", "failureReason": { "$exists": true } }).await;
    }
    stack.all_acknowledged().await;
    let found = documents(&stack).await;
    assert_eq!(found.len(), 10);
    assert!(found.iter().all(|call| call.get_document("requestPayload").is_ok()));
}

#[tokio::test]
async fn failed_placements_name_the_reason_and_dial_nothing() {
    let stack = setup().start().await;
    let with = |name: &str, value: Value| {
        let mut body = order("+15005550000");
        body[name] = value;
        body
    };
    #[rustfmt::skip]
    let table = [
        (with("toNumber", json!("12")),             400, "invalid_request"),
        (with("tonumber", json!("+15005550000")),   400, "invalid_request"),
        (with("agentId", json!({ "$ne": 1 })),      400, "invalid_request"),
        (with("conversationInitiationClientData", json!({ "a\u{0}b": 1 })), 400, "invalid_request"),
        (with("agentId", json!("agent_missing")),   404, "agent_or_number_not_found"),
    ];
    for (body, status, code) in table {
        let answer = place(&stack, &body, None).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{}", answer.body);
    }
    for (faults, status, code) in [
        (Faults { refuse: 1.0, ..Faults::default() }, 502, "call_refused"),
        (Faults { hang_before_dial: 1.0, ..Faults::default() }, 504, "outcome_unknown"),
        (Faults { rate_limit: 1.0, ..Faults::default() }, 429, "rate_limited"),
    ] {
        stack.simulator.set_faults(faults);
        for attempt in ["first", "again"] {
            let answer = place(&stack, &order("+15005550000"), Some(code)).await;
            assert_eq!((answer.status, answer.code()), (status, code), "{attempt}: {}", answer.body);
        }
    }
    let refused = stack.document(doc! { "_placement.code": "call_refused" }).await;
    assert_eq!(refused.get_str("status").unwrap(), "initiation_failed");
    assert_eq!(refused.get_str("failureReason").unwrap(), "simulated refusal");
    let unknown = stack.document(doc! { "_placement.state": "unknown" }).await;
    assert_eq!(unknown.get_str("status").unwrap(), "initiated");
    assert_eq!((stack.simulator.dialled().len(), documents(&stack).await.len()), (0, 4));
    assert!(!stack.workers[0].log().contains("+15005550000"));
}

#[tokio::test]
async fn refused_request_does_not_stop_other_requests_and_a_refused_key_does() {
    let stack = setup().start().await;
    let mut foreign = order("+15005550000");
    foreign["agentId"] = "agent_foreign".into();
    let answer = place(&stack, &foreign, None).await;
    assert_eq!((answer.status, answer.code()), (502, "elevenlabs_unauthorized"), "{}", answer.body);
    let answer = place(&stack, &order("+15005550000"), None).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    // If the API key itself is refused, the worker sends no requests for a while.
    stack.simulator.refuse_key(true);
    let answer = place(&stack, &order("+15005550000"), None).await;
    assert_eq!((answer.status, answer.code()), (502, "elevenlabs_unauthorized"), "{}", answer.body);
    let answer = place(&stack, &order("+15005550000"), None).await;
    assert_eq!((answer.status, answer.code()), (429, "rate_limited"), "{}", answer.body);
}

#[tokio::test]
async fn one_idempotency_key_is_one_call() {
    let mut stack = setup().start().await;
    stack.add_worker().await;
    let answers = join_all((0..24).map(|_| {
        let stack = &stack;
        async move { place(stack, &order("+15005550000"), Some("key-1")).await }
    }));
    for answer in answers.await {
        assert!(answer.status == 201 || answer.code() == "in_progress", "{}", answer.body);
    }
    let again = place(&stack, &order("+15005550000"), Some("key-1")).await;
    assert_eq!(again.status, 201);
    assert_eq!(again.body["callId"], stack.simulator.dialled()[0].call_sid.as_str());
    let other = place(&stack, &order("+15005550001"), Some("key-1")).await;
    assert_eq!((other.status, other.code()), (409, "idempotency_conflict"));
    assert_eq!(stack.simulator.dialled().len(), 1);
}

#[tokio::test]
async fn worker_killed_while_dialling_leads_to_no_second_call() {
    let mut stack = start_with(Faults { hang_after_dial: 1.0, ..Faults::default() }).await;
    let request = stack.http.post(format!("{}{PLACE}", stack.base)).body(order("+15005550000").to_string());
    let mut asking = tokio::task::JoinSet::new();
    asking
        .spawn(request.header("idempotency-key", "key-1").header("content-type", "application/json").send());
    until("the call is dialled", async || (stack.simulator.dialled().len() == 1).then_some(())).await;
    stack.workers[0].signal(Signal::SIGKILL);
    stack.workers[0].ended().await;
    stack.add_worker().await;
    // The webhook of the call contains the id of the placement, so that the repetition finds the call.
    let call = stack.document(doc! { "status": "completed", "requestPayload": { "$exists": true } }).await;
    let again = place(&stack, &order("+15005550000"), Some("key-1")).await;
    assert_eq!(
        (again.status, again.body["callId"].as_str()),
        (201, call.get_str("callId").ok()),
        "{}",
        again.body
    );
    assert_eq!((stack.simulator.dialled().len(), documents(&stack).await.len()), (1, 1));
}

#[tokio::test]
async fn a_thousand_calls_with_faults_are_dialled_at_most_once_and_none_is_lost() {
    const CALLS: usize = 1000;
    let stack = start_with(Faults {
        hang_after_dial: 0.05,
        hang_before_dial: 0.05,
        refuse: 0.05,
        fail: 0.1,
        ..Faults::default()
    })
    .await;
    let number = |n: usize| format!("+1555{n:07}");
    let placing = (0..CALLS).map(|n| {
        let stack = &stack;
        async move {
            let key = format!("key-{n}");
            let mut codes = Vec::new();
            for _ in 0..3 {
                let answer = place(stack, &order(&number(n)), Some(&key)).await;
                codes.push((answer.status, answer.code().to_owned()));
                if answer.status == 201 {
                    break;
                }
            }
            (number(n), codes)
        }
    });
    let answers: HashMap<_, _> = futures_util::stream::iter(placing).buffer_unordered(48).collect().await;
    until("every simulated call has ended", async || stack.simulator.settled().then_some(())).await;
    stack.all_acknowledged().await;

    let mut dialled: HashMap<String, usize> = HashMap::new();
    for call in stack.simulator.dialled() {
        *dialled.entry(call.to_number).or_default() += 1;
    }
    assert!(dialled.values().all(|&times| times == 1), "dialled twice");
    assert!((700..1000).contains(&dialled.len()), "{}", dialled.len());
    for (number, codes) in &answers {
        let last = codes.last().unwrap();
        if last.0 == 201 {
            assert!(dialled.contains_key(number), "{codes:?}");
        }
        if last.1 == "call_refused" {
            assert!(!dialled.contains_key(number), "{codes:?}");
        }
    }
    let mut by_number: HashMap<String, Vec<Document>> = HashMap::new();
    for call in documents(&stack).await {
        by_number.entry(call.get_str("toNumber").unwrap().to_owned()).or_default().push(call);
    }
    assert_eq!(by_number.len(), CALLS, "every request has a document");
    for truth in stack.simulator.truth() {
        let found = &by_number[&truth.to_number];
        let placed = found.iter().filter(|call| call.get_document("requestPayload").is_ok()).count();
        assert_eq!(placed, 1);
        if truth.outcome.connects() {
            // The webhook contains the id of the placement. Calls that did not connect wait for
            // reconciliation.
            assert_eq!(found.len(), 1, "{truth:?}");
            assert_eq!(found[0].get_str("callId").unwrap(), truth.call_sid);
        }
    }
}
