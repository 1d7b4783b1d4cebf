//! Made-up calls: their webhooks, when they are posted and how often, and poison.

use std::time::Duration;

use aftercall_worker::elevenlabs::ConversationStatus;
use bytes::Bytes;
use rand::{RngExt as _, rngs::StdRng, seq::SliceRandom as _};
use serde_json::{Value, json};

/// Steps and ends of calls.
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
/// Calls of the crowds.
const MANY: u32 = 100;
/// Bodies that can never become an event.
const POISON: [&str; 4] = [
    r#"{"event_type":"call.busy"}"#,
    r#"{"event_type":"call.vanished","call_id":"c"}"#,
    r#"{"event_type":"call.busy","conversation_id":"../etc"}"#,
    "[]",
];

/// Everything that is posted, and when conversations are done.
pub struct Story {
    pub posts: Vec<(Duration, Bytes)>,
    pub conversations: Vec<(String, Duration, ConversationStatus)>,
}

/// Within `time`.
pub fn story(rng: &mut StdRng, time: Duration) -> Story {
    let calls = rng.random_range(1..6);
    let mut story = Story { posts: Vec::new(), conversations: Vec::new() };
    for call in 0..calls {
        let begin = time.mul_f64(rng.random_range(0.0..0.8));
        let ids = rng.random_range(0..4);
        let mut bodies: Vec<_> =
            (0..rng.random_range(1..7)).map(|n| event(rng, call, n, ids).to_string()).collect();
        if rng.random_bool(0.3) {
            bodies.push(transcription(rng, call, ids).to_string());
        }
        // Some calls have a second conversation, and steps that name no conversation.
        let has_second = ids < 2 && rng.random_bool(0.3);
        if has_second {
            let mut second: Vec<_> =
                (0..rng.random_range(1..4)).map(|n| event(rng, call, 10 + n, 0)).collect();
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
                story.posts.push((at, body.clone().into()));
            }
        }
        let outcome = match rng.random_range(0..6) {
            0 => continue, // Never known.
            1 => ConversationStatus::Failed,
            _ => ConversationStatus::Done,
        };
        let done = begin + Duration::from_secs(rng.random_range(0..120));
        story.conversations.push((format!("v{call}"), done, outcome));
        story.conversations.push((format!("w{call}"), done, outcome));
    }
    // Crowds, for batches; some of their webhooks are known by then, which a batch must not hold.
    for _ in 0..rng.random_range(0..4) {
        let at = time.mul_f64(rng.random_range(0.0..1.0));
        for _ in 0..rng.random_range(5..40) {
            let body = one_of_many(rng).to_string();
            let delay = Duration::from_millis(rng.random_range(0..30));
            story.posts.push((at + delay, body.into()));
        }
    }
    let done = |n| (format!("crowd_v{n}"), Duration::ZERO, ConversationStatus::Done);
    story.conversations.extend((0..MANY).map(done));
    for _ in 0..rng.random_range(0..3) {
        let body = POISON[rng.random_range(0..POISON.len())];
        story.posts.push((time.mul_f64(rng.random_range(0.0..1.0)), body.into()));
    }
    story
}

fn event(rng: &mut StdRng, call: u32, n: u32, ids: u32) -> Value {
    let mut body = json!({ "event_type": EVENTS[rng.random_range(0..EVENTS.len())], "n": n });
    // Both, one, or sometimes one and sometimes the other.
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

/// An event of one of many calls, which names the call, mostly, its conversation, or both.
fn one_of_many(rng: &mut StdRng) -> Value {
    let n = rng.random_range(0..MANY);
    let (call, conversation) = (format!("crowd{n}"), format!("crowd_v{n}"));
    match rng.random_range(0..20) {
        0 => json!({ "event_type": "call.ringing", "conversation_id": conversation }),
        1..3 => json!({ "event_type": "call.ringing", "call_id": call, "conversation_id": conversation }),
        3 => json!({ "event_type": "call.completed", "call_id": call, "conversation_id": conversation }),
        _ => json!({ "event_type": "call.ringing", "call_id": call }),
    }
}

fn transcription(rng: &mut StdRng, call: u32, ids: u32) -> Value {
    let phone = if ids == 2 { Value::Null } else { json!({ "call_sid": format!("c{call}") }) };
    json!({ "type": "post_call_transcription", "event_timestamp": 1_790_000_000 + rng.random_range(0..20), "data": {
        "conversation_id": format!("v{call}"), "status": "done", "transcript": [{ "role": "user", "message": "hi" }],
        "metadata": { "phone_call": phone },
    } })
}
