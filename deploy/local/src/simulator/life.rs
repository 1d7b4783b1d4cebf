//! Moves a call through its phases. Twilio's callbacks and ElevenLabs' webhooks report each phase as in
//! reality.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{
    calls::{Call, Phase},
    generated,
    options::{Carrier, Outcome},
    sender::{self, Event},
    state::{State, lock},
};

/// Runs the call from its dialling to its last webhook.
pub(super) async fn run(state: Arc<State>, id: String) {
    callback(&state, &id, "initiated", 0);
    for phase in [Phase::Ringing, Phase::InProgress, Phase::Processing, Phase::Over] {
        tokio::time::sleep(state.options.pace).await;
        let Some(call) = advance(&state, &id, phase) else { return };
        match phase {
            Phase::Ringing => callback(&state, &id, "ringing", 1),
            Phase::InProgress if call.outcome.connects() => callback(&state, &id, "in-progress", 2),
            Phase::Processing => callback(&state, &id, "completed", 3),
            Phase::Initiated | Phase::InProgress | Phase::Over => {}
        }
        if call.is_over() {
            return end(&state, &call).await;
        }
    }
}

/// Ends a call that fails while it is dialled, and sends its webhook.
pub(super) async fn fail_at_once(state: &Arc<State>, id: &str) {
    if let Some(call) = advance(state, id, Phase::Over) {
        end(state, &call).await;
    }
}

/// Moves the call to `phase`. A call that does not connect is over instead of in progress.
fn advance(state: &State, id: &str, phase: Phase) -> Option<Call> {
    let mut calls = lock(&state.calls);
    let call = calls.iter_mut().find(|call| call.dialled.conversation_id == id)?;
    let connects = call.outcome.connects();
    call.phase = if phase >= Phase::InProgress && !connects { Phase::Over } else { phase };
    if call.phase >= Phase::Processing && call.seconds == 0 {
        call.seconds = (jiff::Timestamp::now().as_second() - call.began.as_second()).max(1);
    }
    Some(call.clone())
}

/// Sends a status callback of Twilio, if the call is placed by Twilio and callbacks are configured.
fn callback(state: &Arc<State>, id: &str, status: &'static str, n: u32) {
    let Some(twilio) = state.options.twilio.clone() else { return };
    let call = lock(&state.calls).iter().find(|call| call.dialled.conversation_id == id).cloned();
    let Some(call) = call.filter(|call| call.dialled.carrier == Carrier::Twilio) else { return };
    let parameters = call.twilio(status, n);
    state.spawn({
        let state = state.clone();
        async move {
            let times = state.delay_and_count().await;
            sender::call_back(&state, &twilio, &parameters, times).await;
        }
    });
}

/// Sends the webhooks of a call that is over.
async fn end(state: &Arc<State>, call: &Call) {
    let agent = call.dialled.agent_id.clone();
    let event = |bound_as, kind, data: Value| Event::now(&agent, bound_as, kind, &data);
    if call.outcome.connects() {
        let audio = json!({
            "agent_id": agent, "conversation_id": call.dialled.conversation_id,
            "full_audio": BASE64_STANDARD.encode(recording(call.seconds)),
        });
        let is_trace = lock(&state.registry).format(&agent) == "opentelemetry";
        let transcript = if is_trace {
            let trace = generated::trace(&call.detail(), jiff::Timestamp::now());
            Event { agent: agent.clone(), bound_as: "transcript", body: trace }
        } else {
            event("transcript", "post_call_transcription", call.detail())
        };
        if call.outcome != Outcome::ConversationFailed {
            let (state, audio) = (state.clone(), event("audio", "post_call_audio", audio));
            state.clone().spawn(async move { sender::send(&state, audio).await });
        }
        sender::send(state, transcript).await;
    } else {
        callback(state, &call.dialled.conversation_id, call.outcome.twilio_status(), 2);
        let failure = "call_initiation_failure";
        sender::send(state, event(failure, failure, call.initiation_failure())).await;
    }
}

/// A recording of silence as MP3 of this many seconds, but at most four minutes.
pub(super) fn recording(seconds: i64) -> Vec<u8> {
    // MPEG 1 layer III, 32 kbit/s, 44.1 kHz, mono: a frame has 104 bytes, and only its header is not zero.
    const FRAME: usize = 104;
    const FRAMES_PER_SECOND: u64 = 38;
    let mut frame = [0; FRAME];
    frame[..4].copy_from_slice(&[0xff, 0xfb, 0x10, 0xc4]);
    let seconds = u64::try_from(seconds).unwrap_or(1).clamp(1, 240);
    frame.repeat(usize::try_from(seconds * FRAMES_PER_SECOND).unwrap_or(1))
}
