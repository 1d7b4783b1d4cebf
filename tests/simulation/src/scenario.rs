//! The scenario of a simulation: calls, their webhooks, when and how often each webhook is posted, and
//! webhooks that cannot be processed.

use std::time::Duration;

use aftercall_worker::elevenlabs::ConversationStatus;
use bytes::Bytes;
use rand::{RngExt as _, rngs::StdRng, seq::SliceRandom as _};
use serde_json::{Value, json};

/// Event types of webhooks.
const EVENTS: [&str; 12] = [
    "call.initiated",
    "call.ringing",
    "call.answered",
    "call.completed",
    "call.ended",
    "call.busy",
    "call.no_answer",
    "call.failed",
    "call.canceled",
    "call.unreachable",
    "call.rejected",
    "call_initiation_failure",
];
/// Calls whose webhooks are posted in bursts.
const BURST_CALLS: u32 = 100;
/// Bodies that cannot be parsed as an event.
const POISON: [&str; 4] = [
    r#"{"event_type":"call.busy"}"#,
    r#"{"event_type":"call.vanished","call_id":"c"}"#,
    r#"{"event_type":"call.busy","conversation_id":"../etc"}"#,
    "[]",
];

/// The webhooks that are posted, each with its time, and the conversations, each with its end and its final
/// status.
pub struct Scenario {
    pub posts: Vec<(Duration, Bytes)>,
    pub conversations: Vec<(String, Duration, ConversationStatus)>,
}

/// Draws a scenario whose webhooks are posted within `time`.
pub fn scenario(rng: &mut StdRng, time: Duration) -> Scenario {
    let mut scenario = Scenario { posts: Vec::new(), conversations: Vec::new() };
    for call in 0..rng.random_range(1..6) {
        add_call(&mut scenario, rng, time, call);
    }
    add_bursts(&mut scenario, rng, time);
    for _ in 0..rng.random_range(0..3) {
        let body = POISON[rng.random_range(0..POISON.len())];
        scenario.posts.push((time.mul_f64(rng.random_range(0.0..1.0)), body.into()));
    }
    scenario
}

/// Adds one call: its webhooks in any order, some of them several times, and its conversations.
fn add_call(scenario: &mut Scenario, rng: &mut StdRng, time: Duration, call: u32) {
    let begin = time.mul_f64(rng.random_range(0.0..0.8));
    let ids = rng.random_range(0..4);
    let mut bodies: Vec<_> =
        (0..rng.random_range(1..7)).map(|n| event(rng, call, n, ids).to_string()).collect();
    if rng.random_bool(0.3) {
        bodies.push(transcription(rng, call, ids).to_string());
    }
    // Some calls have a second conversation, and events that name no conversation.
    let has_second = ids < 2 && rng.random_bool(0.3);
    if has_second {
        let mut second: Vec<_> = (0..rng.random_range(1..4)).map(|n| event(rng, call, 10 + n, 0)).collect();
        second.extend((20..20 + rng.random_range(0..3)).map(|n| event(rng, call, n, 1)));
        second.push(transcription(rng, call, 0));
        for body in second {
            bodies.push(body.to_string().replace(&format!("\"v{call}\""), &format!("\"w{call}\"")));
        }
    }
    bodies.shuffle(rng);
    for body in bodies {
        for _ in 0..[1, 1, 1, 2, 5][rng.random_range(0..5)] {
            let at = begin + time.mul_f64(rng.random_range(0.0..0.2));
            scenario.posts.push((at, body.clone().into()));
        }
    }
    let outcome = match rng.random_range(0..6) {
        0 => return, // The provider does not know the conversations.
        1 => ConversationStatus::Failed,
        _ => ConversationStatus::Done,
    };
    let done = begin + Duration::from_secs(rng.random_range(0..120));
    scenario.conversations.push((format!("v{call}"), done, outcome));
    scenario.conversations.push((format!("w{call}"), done, outcome));
}

/// Adds bursts of webhooks, which the gateway publishes in batches. Some of the webhooks are stored before
/// their burst; the broker refuses a batch with such a webhook.
fn add_bursts(scenario: &mut Scenario, rng: &mut StdRng, time: Duration) {
    for _ in 0..rng.random_range(0..4) {
        let at = time.mul_f64(rng.random_range(0.0..1.0));
        for _ in 0..rng.random_range(5..40) {
            let body = burst_event(rng).to_string();
            let delay = Duration::from_millis(rng.random_range(0..30));
            scenario.posts.push((at + delay, body.into()));
        }
    }
    let done = |n| (format!("crowd_v{n}"), Duration::ZERO, ConversationStatus::Done);
    scenario.conversations.extend((0..BURST_CALLS).map(done));
}

/// A status event of a call. `ids` decides which ids it has: of call and conversation, of the call, of the
/// conversation, or a random choice.
fn event(rng: &mut StdRng, call: u32, n: u32, ids: u32) -> Value {
    let mut body = json!({ "event_type": EVENTS[rng.random_range(0..EVENTS.len())], "n": n });
    let (by_call, by_conversation) = match ids {
        0 => (true, true),
        1 => (true, false),
        2 => (false, true),
        _ => [(true, true), (true, false), (false, true)][rng.random_range(0..3)],
    };
    if by_call {
        body["call_id"] = format!("c{call}").into();
    }
    if by_conversation {
        body["conversation_id"] = format!("v{call}").into();
    }
    if rng.random_bool(0.6) {
        body["timestamp"] = (1_790_000_000 + rng.random_range(0..20)).into();
    }
    body
}

/// An event of one of the calls of the bursts. Most of these events name the call only.
fn burst_event(rng: &mut StdRng) -> Value {
    let n = rng.random_range(0..BURST_CALLS);
    let (call, conversation) = (format!("crowd{n}"), format!("crowd_v{n}"));
    match rng.random_range(0..20) {
        0 => json!({ "event_type": "call.ringing", "conversation_id": conversation }),
        1..3 => json!({ "event_type": "call.ringing", "call_id": call, "conversation_id": conversation }),
        3 => json!({ "event_type": "call.completed", "call_id": call, "conversation_id": conversation }),
        _ => json!({ "event_type": "call.ringing", "call_id": call }),
    }
}

/// The webhook of a transcript.
fn transcription(rng: &mut StdRng, call: u32, ids: u32) -> Value {
    let phone = if ids == 2 { Value::Null } else { json!({ "call_sid": format!("c{call}") }) };
    json!({ "type": "post_call_transcription", "event_timestamp": 1_790_000_000 + rng.random_range(0..20), "data": {
        "conversation_id": format!("v{call}"), "status": "done", "transcript": [{ "role": "user", "message": "hi" }],
        "metadata": { "phone_call": phone },
    } })
}
