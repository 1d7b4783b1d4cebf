//! The model of the ElevenLabs API: a conversation is finished some time after its call, and requests fail.

use std::{sync::Arc, time::Duration};

use aftercall_worker::{
    domain::event::ConversationId,
    elevenlabs::{ApiError, Conversation, ConversationStatus, Gate},
    ports::TranscriptApi,
};
use reqwest::StatusCode;
use serde_json::json;

use crate::process::Process;

/// Longest time until an answer.
const MAX_LATENCY: Duration = Duration::from_millis(500);

/// A conversation in this state. It says nothing about its call but how it ended.
pub fn conversation(status: ConversationStatus) -> Conversation {
    let fields = json!({ "status": status.as_str(), "transcript": [] });
    serde_json::from_value(fields).expect("a known status")
}

/// The API client of a worker.
#[derive(Clone, Debug)]
pub struct Api {
    process: Arc<Process>,
    gate: Gate,
}

impl Api {
    pub fn new(process: Arc<Process>) -> Self {
        Self { process, gate: Gate::default() }
    }

    /// The error of a request that fails by chance.
    fn draw_error(&self) -> Option<ApiError> {
        let sim = &self.process.sim;
        if !sim.happens(|faults| faults.provider) {
            return None;
        }
        let seconds = sim.below(20);
        Some(match sim.below(6) {
            0 => ApiError::RateLimited { retry_after: Some(Duration::from_secs(seconds)) },
            1 => ApiError::RateLimited { retry_after: None },
            2 => ApiError::Unauthorized(StatusCode::UNAUTHORIZED),
            3 => ApiError::NotFound,
            _ => ApiError::Unavailable("simulated"),
        })
    }
}

impl TranscriptApi for Api {
    fn closed_for(&self) -> Option<Duration> {
        self.gate.closed_for()
    }

    async fn conversation(&self, id: &ConversationId) -> Result<Conversation, ApiError> {
        let sim = &self.process.sim;
        if self.gate.closed_for().is_some() {
            sim.violation(format!(
                "{}: requested {} although the API asked for a pause",
                self.process.name,
                id.as_str()
            ));
        }
        self.process.act(MAX_LATENCY).await;
        let answer = self.draw_error().map_or_else(
            || {
                let known = sim.world().conversations.get(id.as_str()).copied();
                let (done_at, outcome) = known.ok_or(ApiError::NotFound)?;
                let status = if sim.now() < done_at { ConversationStatus::Processing } else { outcome };
                Ok(conversation(status))
            },
            Err,
        );
        if let Err(error) = &answer {
            self.gate.close_after(error);
        }
        sim.note(|| {
            let said = answer.as_ref().map_or_else(ApiError::label, |answer| answer.status().as_str());
            format!("{}: {} is {said}", self.process.name, id.as_str())
        });
        answer
    }
}
