//! The size limit of the JSON of a call. Pure.

use serde_json::{Value, json};

/// Fields that are left out of an answer that does not fit into one message.
const OMITTABLE: [&str; 8] = [
    "transcript",
    "rawResponse",
    "analysis",
    "metadata",
    "initiationFailure",
    "requestPayload",
    "history",
    "dynamicVariables",
];

/// What stands for a field that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Omitted {
    /// The value null.
    Null,
    /// Nothing.
    Absent,
}

/// The JSON of `call` in at most `max_bytes`. The largest fields are left out until it fits, and named in
/// `omitted`.
pub fn fit(mut call: Value, max_bytes: usize, omission: Omitted) -> Vec<u8> {
    let bytes = |value: &Value| serde_json::to_vec(value).expect("a Value is JSON");
    let mut encoded = bytes(&call);
    if encoded.len() <= max_bytes {
        return encoded;
    }
    let mut omitted: Vec<Value> = call["omitted"].as_array().cloned().unwrap_or_default();
    let size = |field| call.get(field).map(|value| (bytes(value).len(), field));
    let mut sizes: Vec<_> = OMITTABLE.into_iter().filter_map(size).collect();
    sizes.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    for (_, field) in sizes {
        if encoded.len() <= max_bytes {
            break;
        }
        omitted.push(field.into());
        match (omission, call.as_object_mut()) {
            (Omitted::Absent, Some(call)) => drop(call.shift_remove(field)),
            (Omitted::Null, _) | (Omitted::Absent, None) => call[field] = Value::Null,
        }
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
        assert_eq!(fit(call.clone(), 10_000, Omitted::Null), serde_json::to_vec(&call).unwrap());
        let small: Value = serde_json::from_slice(&fit(call.clone(), 1000, Omitted::Null)).unwrap();
        assert_eq!(
            (small.get("transcript"), &small["omitted"]),
            (Some(&Value::Null), &json!(["transcript"]))
        );
        assert_eq!(small["rawResponse"], json!({ "a": 1 }));
        let absent: Value = serde_json::from_slice(&fit(call, 1000, Omitted::Absent)).unwrap();
        assert_eq!((absent.get("transcript"), &absent["omitted"]), (None, &json!(["transcript"])));
    }
}
