//! The answer of a status lookup: its fields, and its size limit.

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

/// Fields that are left out of an answer that does not fit into one message.
const OMITTABLE: [&str; 7] =
    ["transcript", "rawResponse", "analysis", "metadata", "initiationFailure", "requestPayload", "history"];

/// The answer as at most `max_bytes` of JSON. The largest fields are left out until it fits, and named in
/// `omitted`.
pub fn fit(mut call: Value, max_bytes: usize) -> Vec<u8> {
    let bytes = |value: &Value| serde_json::to_vec(value).expect("a Value is JSON");
    let mut encoded = bytes(&call);
    if encoded.len() <= max_bytes {
        return encoded;
    }
    let mut omitted: Vec<Value> = call["omitted"].as_array().cloned().unwrap_or_default();
    let mut sizes = OMITTABLE.map(|field| (bytes(&call[field]).len(), field));
    sizes.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    for (_, field) in sizes {
        if encoded.len() <= max_bytes {
            break;
        }
        omitted.push(field.into());
        call[field] = Value::Null;
        call["omitted"] = json!(omitted);
        encoded = bytes(&call);
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_do_not_fit_are_left_out_and_named() {
        let call = json!({ "status": "ended", "transcript": "x".repeat(5000), "rawResponse": {"a": 1}, "history": [] });
        assert_eq!(fit(call.clone(), 10_000), serde_json::to_vec(&call).unwrap());
        let small: Value = serde_json::from_slice(&fit(call, 1000)).unwrap();
        assert_eq!((&small["transcript"], &small["omitted"]), (&Value::Null, &json!(["transcript"])));
        assert_eq!(small["rawResponse"], json!({ "a": 1 }));
    }
}
