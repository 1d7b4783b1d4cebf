//! The model of ElevenLabs: conversations that are done some time after their call, and an API in trouble.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aftercall_worker::{
    domain::event::ConversationId,
    elevenlabs::{ApiError, Conversation, ConversationStatus, Gate, Metadata},
    ports::TranscriptApi,
};
use jiff::Timestamp;
use reqwest::StatusCode;

use crate::worker::Worker;

/// How long an answer takes, at most.
const TAKES: Duration = Duration::from_millis(500);

/// When each conversation is done, and how.
#[derive(Debug, Default)]
pub struct Conversations(pub BTreeMap<String, (Timestamp, ConversationStatus)>);

/// A worker's access to it.
#[derive(Clone, Debug)]
pub struct Api {
    worker: Arc<Worker>,
    gate: Gate,
}

impl Api {
    pub fn new(worker: Arc<Worker>) -> Self {
        Self { worker, gate: Gate::default() }
    }

    fn trouble(&self) -> Option<ApiError> {
        let sim = &self.worker.sim;
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
    fn closed_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.gate.closed_until(now)
    }

    async fn conversation(&self, id: &ConversationId) -> Result<Conversation, ApiError> {
        let sim = &self.worker.sim;
        if self.gate.closed_until(sim.now()).is_some() {
            sim.violation(format!(
                "{}: asked for {} while the gate is closed",
                self.worker.name,
                id.as_str()
            ));
        }
        self.worker.act(TAKES).await;
        let answer = self.trouble().map_or_else(
            || {
                let known = sim.world().conversations.0.get(id.as_str()).copied();
                let (done_at, outcome) = known.ok_or(ApiError::NotFound)?;
                let status = if sim.now() < done_at { ConversationStatus::Processing } else { outcome };
                let (agent_id, transcript, metadata) = (None, Vec::new(), Metadata::default());
                Ok(Conversation { status, agent_id, transcript, metadata })
            },
            Err,
        );
        if let Err(error) = &answer {
            self.gate.close_after(error, sim.now());
        }
        sim.note(|| {
            let said = answer.as_ref().map_or_else(ApiError::label, |answer| answer.status.as_str());
            format!("{}: {} is {said}", self.worker.name, id.as_str())
        });
        answer
    }
}
