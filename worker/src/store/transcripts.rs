//! Finds and resolves pending transcripts.

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use mongodb::bson::{Bson, Document, doc};

use super::{
    connection::{SERVER_TIME, Store},
    convert::{bson_date, date},
    error::StoreError,
    revision,
};
use crate::domain::event::ConversationId;

/// Most characters of the reason why a transcript is unavailable.
const MAX_REASON: usize = 500;

/// The resolution of a pending transcript.
#[derive(Clone, Debug)]
pub enum TranscriptResolution {
    /// ElevenLabs gave the transcript.
    Saved {
        /// The turns, as ElevenLabs gives them.
        transcript: Bson,
        /// When the transcript was fetched.
        at: Timestamp,
        /// The number of attempts.
        attempts: u32,
    },
    /// The worker gave up.
    Unavailable {
        /// The reason, for people who read the document.
        reason: String,
        /// When the worker gave up.
        at: Timestamp,
    },
}

impl Store {
    /// Gives up the transcripts that are pending since before `before` and whose conversation id is still
    /// unknown. Returns their number.
    pub async fn give_up_unknown(&self, before: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        let (filter, update) = give_up_statement(before, now);
        let calls = self.calls.clone();
        let given_up = self.run(async move { calls.update_many(filter, update).await }).await?;
        Ok(given_up.modified_count)
    }

    /// Conversations whose transcript is pending, at most `most`.
    pub async fn pending_transcripts(&self, most: i64) -> Result<Vec<ConversationId>, StoreError> {
        self.pending("transcriptState", most).await
    }

    /// Conversations whose recording is pending, at most `most`. Only those with an earlier attempt: the document of
    /// another one does not say that its recording is to be fetched.
    pub async fn pending_recordings(&self, most: i64) -> Result<Vec<ConversationId>, StoreError> {
        self.pending("recordingState", most).await
    }

    async fn pending(&self, state: &'static str, most: i64) -> Result<Vec<ConversationId>, StoreError> {
        let calls = self.calls.clone();
        let documents: Vec<Document> = self
            .run(async move {
                let filter = doc! { state: "owed", "conversationId": { "$exists": true } };
                let found = calls.find(filter).projection(doc! { "conversationId": 1, "_id": 0 });
                found.limit(most).max_time(SERVER_TIME).await?.try_collect().await
            })
            .await?;
        Ok(documents
            .iter()
            .filter_map(|found| ConversationId::new(found.get_str("conversationId").ok()?).ok())
            .collect())
    }

    /// The number of pending transcripts, and the time at which the oldest of them became pending.
    pub async fn transcript_backlog(&self) -> Result<(u64, Option<Timestamp>), StoreError> {
        let calls = self.calls.clone();
        let found: Option<Document> = self
            .run(async move {
                // The index of pending transcripts answers this query. It is small even if many calls are
                // stored.
                let group =
                    doc! { "_id": null, "owed": { "$sum": 1_i64 }, "since": { "$min": "$_owedSince" } };
                let stages = [doc! { "$match": { "transcriptState": "owed" } }, doc! { "$group": group }];
                calls.aggregate(stages).max_time(SERVER_TIME).await?.try_next().await
            })
            .await?;
        let Some(found) = found else { return Ok((0, None)) };
        let count = found.get_i64("owed").ok().and_then(|count| u64::try_from(count).ok());
        Ok((count.unwrap_or(0), date(&found, "since")))
    }
}

/// Filter and update of [`Store::give_up_unknown`].
fn give_up_statement(before: Timestamp, now: Timestamp) -> (Document, Vec<Document>) {
    let filter = doc! {
        "transcriptState": "owed",
        "conversationId": { "$exists": false },
        "_owedSince": { "$lt": bson_date(before) },
    };
    let fields = doc! {
        "transcriptState": "unavailable",
        "_transcriptError": "its conversation never became known",
        "updatedAt": bson_date(now),
    };
    (filter, vec![doc! { "$set": fields }, revision::stage(now)])
}

/// Filter and update that resolve a transcript. A saved transcript is never replaced.
pub(super) fn resolve_statement(
    conversation: &ConversationId,
    resolution: TranscriptResolution,
) -> (Document, Vec<Document>) {
    let filter = doc! { "conversationId": conversation.as_str(), "transcriptState": { "$ne": "saved" } };
    let (fields, at) = match resolution {
        TranscriptResolution::Saved { transcript, at, attempts } => {
            let transcript = doc! { "$literal": transcript };
            let fields = doc! {
                "transcript": transcript, "transcriptState": "saved", "_transcriptSavedAt": bson_date(at),
                "_transcriptAttempts": i64::from(attempts),
            };
            (fields, at)
        }
        TranscriptResolution::Unavailable { reason, at } => {
            let reason: String = reason.chars().take(MAX_REASON).collect();
            let reason = doc! { "$literal": reason };
            (doc! { "_transcriptError": reason, "transcriptState": "unavailable" }, at)
        }
    };
    let touched = doc! { "$set": { "updatedAt": { "$max": ["$updatedAt", bson_date(at)] } } };
    (filter, vec![doc! { "$set": fields }, touched, revision::stage(at)])
}
