//! Stores calls for the console to show.

use aftercall_local::progress::Progress;
use futures_util::{StreamExt as _, stream};
use mongodb::{
    Collection,
    bson::{DateTime, Document, doc, oid::ObjectId},
};

/// Documents per insert.
const BATCH: u32 = 5000;

/// Stores calls of the last thirty days with realistic statuses: about one in four failed.
pub async fn seed(calls: &Collection<Document>, count: u32, progress: &Progress) -> anyhow::Result<()> {
    let now = jiff::Timestamp::now().as_millisecond();
    let span = 30 * 24 * 3600 * 1000_i64;
    let batches = (0..count).step_by(BATCH as usize).map(|first| {
        let documents: Vec<_> =
            (first..count.min(first + BATCH)).map(|n| call(n, count, now, span)).collect();
        let calls = calls.clone();
        async move { calls.insert_many(documents).ordered(false).await.map(drop) }
    });
    let mut done = 0;
    let mut inserting = stream::iter(batches).buffer_unordered(3);
    while let Some(inserted) = inserting.next().await {
        inserted?;
        done += BATCH;
        progress.step(&format!("storing calls: {} of {count}", done.min(count)));
    }
    Ok(())
}

fn call(n: u32, count: u32, now: i64, span: i64) -> Document {
    // A permutation of the numbers, so that every run stores the same calls.
    let scattered = n.wrapping_mul(2_654_435_761);
    let at = now - span * i64::from(n) / i64::from(count) - 60_000;
    let (status, reason) = match scattered % 1000 {
        0..100 => ("busy", Some("Recipient was busy".to_owned())),
        100..180 => ("no_answer", Some("No answer from recipient".to_owned())),
        180..220 => ("failed", Some(format!("trunk {} refused the call", scattered % 40))),
        220..221 => ("unreachable", Some("Recipient was unreachable".to_owned())),
        221..240 => ("initiation_failed", Some("unknown: Service Unavailable (SIP 503)".to_owned())),
        240..243 => ("ringing", None),
        _ => ("ended", None),
    };
    let event = |kind: &str, status: &str, after: i64| {
        doc! {
            "eventId": format!("{scattered:08x}{kind:>56}"), "eventType": format!("call.{kind}"), "status": status,
            "at": DateTime::from_millis(at + after), "origin": "elevenlabs", "signature": "verified",
            "storedAt": DateTime::from_millis(at + after + 40),
        }
    };
    let steps = [event("initiated", "initiated", 0), event("ringing", "ringing", 2000)];
    let history: Vec<_> = steps.into_iter().chain([event(status, status, 40_000)]).collect();
    let (outcome, length) = match status {
        "ended" if scattered.is_multiple_of(11) => (Some("voicemail"), Some(i64::from(scattered % 30))),
        "ended" => (Some("answered"), Some(i64::from(scattered % 300))),
        "ringing" => (None, None),
        "initiation_failed" => (Some("failed"), None),
        other => (Some(other), None),
    };
    let mut call = doc! {
        "_id": ObjectId::new(), "callId": format!("CA{scattered:032x}"), "conversationId": format!("conv_{n:024x}"),
        "agentId": format!("agent_{}", scattered % 40), "agentPhoneNumberId": "phnum_7", "toNumber": format!("+1{:010}", 2_000_000_000_u64 + u64::from(scattered % 700_000)),
        "status": status, "failureReason": reason, "_status": { "rank": 5, "eventId": "e" },
        "history": history, "rawResponse": { "event_type": format!("call.{status}"), "note": "x".repeat(200) },
        "createdAt": DateTime::from_millis(at), "statusUpdatedAt": DateTime::from_millis(at + 40_000),
        "updatedAt": DateTime::from_millis(at + 40_040), "channel": "twilio",
        "direction": if scattered % 40 < 8 { "inbound" } else { "outbound" },
        "fromNumber": format!("+1800555{:04}", scattered / 40 % 10), "agentName": "Anna", "batchCallId": format!("btcal_{}", scattered % 50),
        "startedAt": DateTime::from_millis(at), "endedAt": DateTime::from_millis(at + 40_000),
        "dynamicVariables": { "name": "Ben", "order": format!("{n}") },
        "revision": at + 40_040,
    };
    if scattered.is_multiple_of(5) {
        call.insert("campaignId", format!("campaign_{}", scattered / 5 % 30));
    }
    if scattered.is_multiple_of(4) {
        call.insert("_metadata", vec![format!("team=team {}", scattered / 4 % 5)]);
    }
    if let Some(outcome) = outcome {
        call.insert("outcome", outcome);
    }
    if let Some(length) = length {
        call.insert("durationSecs", length);
        call.insert("cost", length * 10);
        call.insert("callSuccessful", ["success", "failure", "unknown"][scattered as usize % 3]);
        call.insert("summary", "They talked about the delivery of the order and agreed on a new date.");
    }
    call
}
