//! Masks the telephone numbers in a call. Pure.

use std::borrow::Cow;

use aftercall_common::phone_numbers::Numbers;
use serde_json::{Map, Value};

/// Masks the telephone numbers in `call` if `numbers` says so.
pub fn mask_numbers(call: &mut Map<String, Value>, numbers: Numbers) {
    if numbers == Numbers::Whole {
        return;
    }
    for (name, value) in call {
        match value {
            Value::String(text) => {
                let masked = if name.ends_with("At") {
                    continue; // A time.
                } else if name.ends_with("Number") {
                    numbers.number(text)
                } else if name.ends_with("Id") {
                    numbers.id(text)
                } else {
                    numbers.text(text)
                };
                if let Cow::Owned(masked) = masked {
                    *text = masked;
                }
            }
            // Durations, costs and revisions.
            Value::Number(_) => {}
            other => numbers.payload(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_masked_and_times_and_quantities_are_not() {
        let call = json!({
            "callId": "CA6581234567", "conversationId": "conv_+6581234567", "toNumber": "+6581234567",
            "fromNumber": "sip:anna@example.com", "failureReason": "+6581234567 is busy",
            "createdAt": "2026-11-24T08:00:00.123Z", "cost": 6_581_234_567_i64, "revision": 1_795_000_000_123_i64,
            "dynamicVariables": { "phone": "+6581234567", "count": 6_581_234_567_i64 },
        });
        let Value::Object(call) = call else { unreachable!() };
        let (mut masked, mut whole) = (call.clone(), call.clone());
        mask_numbers(&mut masked, Numbers::Masked);
        mask_numbers(&mut whole, Numbers::Whole);
        assert_eq!(whole, call);
        let expected = json!({
            "callId": "CA6581234567", "conversationId": "conv_+65••••••67", "toNumber": "+65••••••67",
            "fromNumber": "sip•••••••••••••••om", "failureReason": "+65••••••67 is busy",
            "createdAt": "2026-11-24T08:00:00.123Z", "cost": 6_581_234_567_i64, "revision": 1_795_000_000_123_i64,
            "dynamicVariables": { "phone": "+65••••••67", "count": "658•••••67" },
        });
        assert_eq!(Value::Object(masked), expected);
    }
}
