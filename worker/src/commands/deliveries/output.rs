//! Deliveries and attempts as JSON. Telephone numbers are masked unless `CONSOLE_SHOW_NUMBERS=true`.

use aftercall_common::phone_numbers::Numbers;
use serde_json::{Value, json};

use crate::{
    Context,
    domain::{delivery::Attempt, time::rfc3339},
    store::DeliveryRecord,
};

/// Whether numbers are shown.
pub(super) fn numbers(context: &Context) -> Numbers {
    Numbers::shown(context.config.console_show_numbers)
}

/// An attempt. A field that has no value is absent.
pub(crate) fn attempt_json(context: &Context, attempt: &Attempt) -> Value {
    let milliseconds = u64::try_from(attempt.duration.as_millis()).unwrap_or(u64::MAX);
    let mut fields = json!({ "at": rfc3339(attempt.at), "durationMs": milliseconds });
    if let Some(status) = attempt.status {
        fields["status"] = status.into();
    }
    if let Some(error) = &attempt.error {
        fields["error"] = error.as_str().into();
    }
    if let Some(answer) = &attempt.answer {
        fields["answer"] = numbers(context).text(answer).into();
    }
    fields
}

/// A delivery with its attempts.
pub(super) fn delivery_json(context: &Context, record: &DeliveryRecord) -> Value {
    let delivery = &record.delivery;
    let attempts: Vec<_> = record.attempts.iter().map(|attempt| attempt_json(context, attempt)).collect();
    let mut fields = json!({
        "id": delivery.id,
        "endpointId": delivery.endpoint,
        "messageId": delivery.message_id,
        "type": delivery.event_type,
        "state": record.state.as_str(),
        "attemptCount": record.attempt_count,
        "createdAt": rfc3339(record.created_at),
        "stream": delivery.stream,
        "sequence": delivery.sequence,
    });
    for (name, id) in [("callId", &delivery.call_id), ("conversationId", &delivery.conversation_id)] {
        if let Some(id) = id {
            fields[name] = numbers(context).id(id).into();
        }
    }
    if let Some(next) = record.next_attempt_at {
        fields["nextAttemptAt"] = rfc3339(next).into();
    }
    fields["attempts"] = attempts.into();
    fields
}
