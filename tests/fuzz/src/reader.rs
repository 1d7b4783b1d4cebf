//! The JSON reader of the worker, compared with the check of the gateway and with a strict parser.
//!
//! Input: a body.

use aftercall_common::json::{MAX_DEPTH, read, read_object};
use aftercall_ingest::admission::json::check;
use aftercall_worker::store::value_to_bson;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

/// Checks that the worker reads every body that the gateway accepts, that MongoDB can store the result, and
/// that the result equals that of a strict parser if MongoDB can store it.
pub fn run(data: &[u8]) {
    let found = read_object(data);
    if check(data).is_ok() {
        let object = found.as_ref().expect("the gateway accepts a body that the worker cannot read");
        let value = Value::Object(object.clone());
        assert!(depth(&value) <= MAX_DEPTH, "deeper than MongoDB allows");
        assert!(value_to_bson(&value).is_some(), "MongoDB cannot store it");
        assert!(
            serde_json::from_str::<Value>(&value.to_string()).is_ok(),
            "a strict parser refuses the result"
        );
    }
    if let Err(error) = &found {
        assert!(error.column <= data.len() + 1, "the column is beyond the body: {error}");
    }
    if let Ok(strict) = serde_json::from_slice::<Map<String, Value>>(data) {
        let strict = Value::Object(strict);
        if depth(&strict) <= MAX_DEPTH && value_to_bson(&strict).is_some() {
            assert_eq!(found.map(Value::Object), Ok(strict), "the result differs from a strict parser");
        }
    }
    // `read` accepts any JSON value, because answers of an API need not be objects.
    let without_mark = data.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(data);
    let is_json = std::str::from_utf8(without_mark).is_ok()
        && serde_json::from_slice::<IgnoredAny>(without_mark).is_ok();
    assert_eq!(read(data).is_ok(), is_json, "`read` disagrees with the grammar of JSON");
}

/// Number of nested arrays and objects.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
