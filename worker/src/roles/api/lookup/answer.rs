//! The answer of a status lookup.

use serde_json::{Value, json};

use super::error::LookupError;
use crate::{
    Context,
    domain::event::ConversationId,
    store::{CallView, answer_json},
};

/// The JSON of a call, or the reason why it cannot be given.
pub type Answer = Result<Value, LookupError>;

/// The answer for a stored call, with the ids of its other conversations. `stale`: ElevenLabs could not be
/// asked.
pub async fn answer(context: &Context, call: CallView, stale: bool) -> Answer {
    let others = context.store.other_conversations(&call).await?;
    let mut answer = answer_json(&call, stale);
    if !others.is_empty() {
        answer["otherConversations"] = others.iter().map(ConversationId::as_str).collect();
    }
    if let Some((file, bytes)) = call.transcript_file() {
        let fits = usize::try_from(bytes).is_ok_and(|bytes| bytes < context.nats.max_payload());
        answer["transcript"] = if fits {
            context.store.transcript_turns(&file, 0, usize::MAX).await?.into()
        } else {
            Value::Null
        };
        if !fits {
            answer["omitted"] = json!(["transcript"]);
        }
    }
    Ok(answer)
}
