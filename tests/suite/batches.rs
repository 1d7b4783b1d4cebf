//! `aftercall-worker report --batch`: the recipients of a batch call, those that were never dialled included.

use std::{collections::HashMap, time::Duration};

use aftercall_local::simulator::{Options, Outcome};
use mongodb::bson::doc;
use serde_json::{Value, json};

use crate::harness::{TestStack, until};

/// A stack without reconciliation, and a batch of `count` recipients whose calls are over. Returns the id of the
/// batch as well.
async fn batch(count: usize) -> (TestStack, String) {
    let options = Options { pace: Duration::from_millis(20), ..Options::default() };
    let stack = TestStack::builder()
        .simulator(options)
        .worker_env("ROLES", "status,transcripts,api")
        .worker_env("RECONCILE_RATE", "100")
        .start()
        .await;
    let recipients = (0..count).map(|n| json!({ "phone_number": format!("+1555{n:05}{:02}", n % 100) }));
    let order = json!({
        "call_name": "May", "agent_id": "agent_1", "agent_phone_number_id": "phnum_1",
        "recipients": recipients.collect::<Vec<_>>(),
    });
    let url = format!("{}/v1/convai/batch-calling/submit", stack.simulator.base_url());
    let sent = stack.http.post(url).header("xi-api-key", "simulated").body(order.to_string()).send().await;
    let answer: Value = sent.unwrap().json().await.unwrap();
    until("every simulated call has ended", async || stack.simulator.settled().then_some(())).await;
    stack.all_acknowledged().await;
    (stack, answer["id"].as_str().unwrap().to_owned())
}

/// The recipients at ElevenLabs: number, status and conversation by id.
async fn at_elevenlabs(stack: &TestStack, batch: &str) -> HashMap<String, Value> {
    let url = format!("{}/v1/convai/batch-calling/{batch}", stack.simulator.base_url());
    let answer = stack.http.get(url).header("xi-api-key", "simulated").send().await.unwrap();
    let mut answer: Value = answer.json().await.unwrap();
    let recipients: Vec<Value> = serde_json::from_value(answer["recipients"].take()).unwrap();
    recipients.into_iter().map(|item| (item["id"].as_str().unwrap().to_owned(), item)).collect()
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Answered => "answered",
        Outcome::Voicemail => "voicemail",
        Outcome::Busy => "busy",
        Outcome::NoAnswer => "no_answer",
        Outcome::Failed | Outcome::ConversationFailed => "failed",
    }
}

/// Runs `report --json --batch` with further arguments. The report must have been printed.
async fn report(stack: &TestStack, batch: &str, vars: &[(&str, &str)]) -> (Option<i32>, Value, String) {
    let args = ["report", "--json", "--show-numbers", "--batch", batch];
    let (code, out, errors) = stack.command(&args, vars).await;
    (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{errors}")), errors)
}

#[tokio::test]
async fn report_of_a_batch_agrees_with_elevenlabs_to_the_recipient() {
    let (stack, batch) = batch(200).await;
    let there = at_elevenlabs(&stack, &batch).await;
    let truth: HashMap<_, _> = stack
        .simulator
        .truth()
        .into_iter()
        .map(|truth| (truth.conversation_id.clone(), word(truth.outcome)))
        .collect();
    let compare = async || {
        let (code, report, errors) = report(&stack, &batch, &[]).await;
        assert_eq!(
            (code, &report["error"], &report["name"]),
            (Some(0), &Value::Null, &json!("May")),
            "{errors}"
        );
        let rows = report["recipients"].as_array().unwrap();
        assert_eq!((rows.len(), there.len(), truth.len()), (200, 200, 196));
        for row in rows {
            let recipient = &there[row["recipientId"].as_str().unwrap()];
            assert_eq!(row["number"], recipient["phone_number"]);
            assert_eq!(row["recipientStatus"], recipient["status"]);
            assert_eq!(row["conversationId"], recipient["conversation_id"]);
            let outcome = recipient["conversation_id"].as_str().map(|id| truth[id]);
            assert_eq!(row["outcome"].as_str(), outcome, "{row}");
            assert_eq!(row["calls"], u64::from(outcome.is_some()), "{row}");
        }
        let of = |status: &str| {
            let counts = report["counts"].as_array().unwrap().iter();
            let of_status = counts.filter(|count| count["recipientStatus"] == status);
            of_status.map(|count| count["recipients"].as_u64().unwrap()).sum::<u64>()
        };
        assert_eq!((of("pending"), of("cancelled")), (2, 2), "{}", report["counts"]);
        assert_eq!(report["plan"]["indexes"], json!(["batchCallId_1_createdAt_-1__id_-1"]));
        assert!(!report["plan"]["stages"].as_array().unwrap().contains(&json!("COLLSCAN")), "{report}");
    };
    compare().await;

    // A webhook about a call that was not connected names no batch. Reconciliation adds it.
    let named = stack.count(doc! { "batchCallId": &batch }).await;
    let failed =
        truth.values().filter(|outcome| matches!(**outcome, "busy" | "no_answer" | "failed")).count();
    assert!(named < 196 && named + failed as u64 >= 196, "{named} calls name the batch");
    let (code, _, errors) = stack.command(&["reconcile", "--since", "1h"], &[]).await;
    assert_eq!(code, Some(0), "{errors}");
    stack.all_acknowledged().await;
    let recipient = doc! { "batchCallId": &batch, "batchCallRecipientId": { "$exists": true } };
    assert_eq!(stack.count(recipient).await, 196, "calls that name the batch and the recipient");
    compare().await;
}

#[tokio::test]
async fn report_of_a_batch_masks_numbers_and_says_what_is_missing() {
    let (stack, batch) = batch(10).await;
    let (code, table, _) = stack.command(&["report", "--batch", &batch], &[]).await;
    assert_eq!(code, Some(0));
    let first =
        format!("batch {batch}: \"May\" is completed at ElevenLabs, 10 recipients, 10 with a stored call");
    assert_eq!(table.lines().next(), Some(first.as_str()));
    assert!(table.contains("NUMBER") && table.contains("no_answer"), "{table}");
    assert!(!table.contains("+1555") && !table.contains("155500000"), "{table}");

    // ElevenLabs is unavailable, or there is no key: the stored calls are shown.
    let unavailable = [("ELEVENLABS_BASE_URL", "http://127.0.0.1:1")];
    for (vars, why) in [
        (&unavailable[..], "ElevenLabs is unavailable"),
        (&[("ELEVENLABS_API_KEY", "")], "ELEVENLABS_API_KEY"),
    ] {
        let (code, report, errors) = report(&stack, &batch, vars).await;
        assert_eq!(code, Some(1));
        assert!(errors.contains(why) && errors.contains("never dialled"), "{errors}");
        assert!(report["error"].as_str().unwrap().contains(why), "{report}");
        let rows = report["recipients"].as_array().unwrap();
        assert_eq!(rows.len() as u64, stack.count(doc! { "batchCallId": &batch }).await);
        assert!(
            rows.iter().all(|row| row["recipientStatus"].is_null() && row["outcome"].is_string()),
            "{rows:?}"
        );
    }
    stack.simulator.refuse_key(true);
    let (code, _, errors) = stack.command(&["report", "--batch", &batch], &[]).await;
    assert!(code == Some(1) && errors.contains("refuses the API key"), "{errors}");
    stack.simulator.refuse_key(false);

    let (code, out, errors) = stack.command(&["report", "--batch", "btcal_none"], &[]).await;
    assert_eq!((code, out.as_str(), errors.lines().count()), (Some(1), "", 1), "{errors}");
    assert!(errors.contains("btcal_none") && errors.contains("ElevenLabs knows no such batch"), "{errors}");
    for wrong in [&["--batch", "../x"][..], &["--batch", "b", "--since", "1h"]] {
        let (code, _, errors) = stack.command(&[&["report"], wrong].concat(), &[]).await;
        assert!(code == Some(2) && errors.contains("--batch"), "{errors}");
    }
}
