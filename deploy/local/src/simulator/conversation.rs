//! Conversations in the vendor's JSON shape, derived from the conversation id. The same id always has the
//! same transcript, and every transcript says that it is simulated.

use std::sync::LazyLock;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const DIALOGUES: [[&str; 4]; 4] = [
    [
        "Good morning, this is the clinic's reminder service.",
        "Hello.",
        "Your appointment is tomorrow at ten.",
        "I will be there.",
    ],
    [
        "Hello, I am calling about your delivery.",
        "Yes, when will it come?",
        "Today between two and four.",
        "Perfect, thank you.",
    ],
    [
        "Good evening, is this a good moment to talk?",
        "One minute, please. Go on.",
        "Your contract ends next month.",
        "Then please renew it.",
    ],
    [
        "Hi, you asked us to call you back.",
        "Yes, about my invoice.",
        "A corrected one is on its way.",
        "Great, that was quick.",
    ],
];
/// Earliest start of a conversation that no call of the simulator began: some minutes before the first request.
static FIRST_START: LazyLock<i64> = LazyLock::new(|| jiff::Timestamp::now().as_second() - 240);

/// The conversation `id` in `status`. Conversations that are `done` or `failed` have an analysis; only
/// conversations that are `done` have a transcript. `filler` bytes are added to the transcript.
pub fn conversation(id: &str, status: &str, filler: usize) -> Value {
    let seed = Sha256::digest(id.as_bytes());
    let start = start_in(id).unwrap_or_else(|| *FIRST_START + i64::from(seed[1]) % 60);
    let duration = 20 + i64::from(seed[2]) % 100;
    let (is_done, is_over) = (status == "done", matches!(status, "done" | "failed"));
    let mut turns = if is_done { transcript(id) } else { Vec::new() };
    if filler > 0 {
        turns.push(turn("agent", &"simulated ".repeat(filler.div_ceil(10)), duration));
    }
    let has_audio = is_done;
    json!({
        "agent_id": "agent_simulated", "agent_name": "Simulated agent",
        "conversation_id": id, "status": status, "user_id": null, "environment": "production",
        "has_audio": has_audio, "has_user_audio": has_audio, "has_response_audio": has_audio,
        "has_auxiliary_audio": false,
        "transcript": turns,
        "metadata": {
            "start_time_unix_secs": start, "accepted_time_unix_secs": start + 4,
            "call_duration_secs": if is_over { duration } else { 0 }, "cost": 0,
            "termination_reason": if is_done { "simulated: end_call tool was used" } else { "" },
            "error": (status == "failed").then(|| json!({ "code": 1011, "reason": "simulated failure" })),
            "main_language": "en", "conversation_initiation_source": "twilio", "phone_call": null,
        },
        "analysis": is_over.then(|| json!({
            "call_successful": if is_done { "success" } else { "failure" },
            "transcript_summary": "Simulated conversation, no call took place.",
            "evaluation_criteria_results": {}, "data_collection_results": {},
        })),
        "conversation_initiation_client_data": { "dynamic_variables": { "simulated": true } },
    })
}

/// The start in Unix seconds that the end of an id names: `…_at` and hexadecimal digits. The conversations of
/// `cargo local send` begin when their calls do.
fn start_in(id: &str) -> Option<i64> {
    i64::from_str_radix(id.rsplit_once("_at")?.1, 16).ok()
}

/// The turns of the finished conversation `id`.
pub fn transcript(id: &str) -> Vec<Value> {
    let dialogue = DIALOGUES[usize::from(Sha256::digest(id.as_bytes())[0]) % DIALOGUES.len()];
    let opening = turn("agent", &format!("[simulated, conversation {id}]"), 0);
    let spoken = dialogue.iter().zip(["agent", "user", "agent", "user"]).zip(1..);
    std::iter::once(opening).chain(spoken.map(|((text, role), n)| turn(role, text, n * 4))).collect()
}

fn turn(role: &str, message: &str, seconds: i64) -> Value {
    json!({
        "role": role, "message": message, "time_in_call_secs": seconds, "tool_calls": [], "tool_results": [],
        "interrupted": false, "conversation_turn_metrics": null,
    })
}

/// An error body in the vendor's shape of 2026.
pub fn error(status: u16) -> Value {
    let (kind, code, message) = match status {
        401 => ("authentication_error", "invalid_api_key", "Invalid API key"),
        403 => ("authorization_error", "forbidden", "This API key may not read conversations"),
        404 => ("not_found", "conversation_not_found", "Conversation not found"),
        405 => ("invalid_request", "method_not_allowed", "Method not allowed"),
        429 => ("rate_limit_error", "rate_limit_exceeded", "Too many requests"),
        503 => ("service_unavailable", "service_unavailable", "Service unavailable"),
        500..=599 => ("internal_error", "internal_error", "Internal error"),
        _ => ("invalid_request", "invalid_request", "Invalid request"),
    };
    let message = format!("{message} (simulated)");
    json!({ "detail": {
        "type": kind, "code": code, "message": message, "status": code, "request_id": "simulated", "param": null,
    } })
}
