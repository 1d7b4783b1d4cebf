//! Conversions between BSON, JSON and times.

use jiff::Timestamp;
use mongodb::bson::{Bson, DateTime, Document, RawArrayBuf, RawBson, RawDocumentBuf, doc, raw::CStr};
use serde_json::{Map, Value};

use crate::domain::time::rfc3339;

/// A time as a BSON date, which has milliseconds.
pub fn bson_date(time: Timestamp) -> DateTime {
    DateTime::from_millis(time.as_millisecond())
}

/// The condition: a document comes after the one with this time in `field` and this `_id`, in a list with the latest
/// first.
pub(super) fn listed_after(field: &str, at: Timestamp, id: impl Into<Bson>) -> Document {
    let at = bson_date(at);
    // The first condition is a bound of the index.
    doc! { field: { "$lte": at }, "$or": [{ field: { "$lt": at } }, { field: at, "_id": { "$lt": id } }] }
}

/// A sum in a group: the number of documents that meet the expression `condition`.
pub(super) fn count_if(condition: impl Into<Bson>) -> Document {
    doc! { "$sum": { "$cond": [condition, 1_i64, 0_i64] } }
}

/// JSON as BSON, value for value. `None` if a field name holds a NUL, because BSON cannot express it. A whole
/// number beyond 64 bits becomes a floating point number, as in most JSON readers.
pub(super) fn json_to_bson(object: &Map<String, Value>) -> Option<Document> {
    object
        .iter()
        .map(|(name, value)| Some((name.clone(), value_to_bson(value)?)).filter(|_| !name.contains('\0')))
        .collect()
}

/// JSON as BSON, value for value. `None` if a field name holds a NUL.
pub fn value_to_bson(value: &Value) -> Option<Bson> {
    Some(match value {
        Value::Null => Bson::Null,
        Value::Bool(truth) => Bson::Boolean(*truth),
        Value::Number(number) => number.as_i64().map_or_else(
            || Bson::Double(number.as_f64().unwrap_or(f64::MAX)),
            |whole| i32::try_from(whole).map_or(Bson::Int64(whole), Bson::Int32),
        ),
        Value::String(text) => Bson::String(text.clone()),
        Value::Array(items) => Bson::Array(items.iter().map(value_to_bson).collect::<Option<_>>()?),
        Value::Object(object) => Bson::Document(json_to_bson(object)?),
    })
}

/// JSON as raw BSON, without an intermediate tree. Same result as [`json_to_bson`].
pub(super) fn json_to_raw(object: &Map<String, Value>) -> Option<RawDocumentBuf> {
    let mut document = RawDocumentBuf::new();
    for (name, value) in object {
        append_value(&mut document, name, value)?;
    }
    Some(document)
}

/// Appends a field. `None` if a name in it holds a NUL.
pub(super) fn append_value(document: &mut RawDocumentBuf, name: &str, value: &Value) -> Option<()> {
    let name: &CStr = name.try_into().ok()?;
    match value {
        Value::String(text) => document.append(name, text.as_str()),
        Value::Array(items) => document.append(name, array_to_raw(items)?),
        Value::Object(object) => document.append(name, json_to_raw(object)?),
        plain => document.append(name, RawBson::try_from(value_to_bson(plain)?).ok()?),
    }
    Some(())
}

fn array_to_raw(items: &[Value]) -> Option<RawArrayBuf> {
    let mut array = RawArrayBuf::new();
    for item in items {
        match item {
            Value::String(text) => array.push(text.as_str()),
            Value::Array(items) => array.push(array_to_raw(items)?),
            Value::Object(object) => array.push(json_to_raw(object)?),
            plain => array.push(RawBson::try_from(value_to_bson(plain)?).ok()?),
        }
    }
    Some(array)
}

/// BSON as JSON. A date becomes a text in the form of answers.
pub(super) fn bson_to_value(bson: &Bson) -> Value {
    match bson {
        Bson::Null | Bson::Undefined => Value::Null,
        Bson::Boolean(truth) => (*truth).into(),
        Bson::Int32(number) => (*number).into(),
        Bson::Int64(number) => (*number).into(),
        Bson::Double(number) => (*number).into(),
        Bson::String(text) => text.as_str().into(),
        Bson::Array(items) => items.iter().map(bson_to_value).collect(),
        Bson::Document(document) => document_to_json(document).into(),
        Bson::DateTime(date) => {
            Timestamp::from_millisecond(date.timestamp_millis()).map_or(Value::Null, |t| rfc3339(t).into())
        }
        // The worker stores no other type, but an operator may have.
        other => other.to_string().into(),
    }
}

/// A document as JSON.
pub(super) fn document_to_json(document: &Document) -> Map<String, Value> {
    document.iter().map(|(name, value)| (name.clone(), bson_to_value(value))).collect()
}

/// A BSON date as a time. `None` for any other value.
pub(super) fn timestamp(value: &Bson) -> Option<Timestamp> {
    Timestamp::from_millisecond(value.as_datetime()?.timestamp_millis()).ok()
}

/// The time in a field of `document`. `None` if the field is no date.
pub(super) fn date(document: &Document, field: &str) -> Option<Timestamp> {
    timestamp(document.get(field)?)
}

/// The whole number in a field of `document`. `None` for any other value and for a negative number.
pub(super) fn whole_number(document: &Document, field: &str) -> Option<u64> {
    match document.get(field)? {
        Bson::Int32(number) => u64::try_from(*number).ok(),
        Bson::Int64(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_unchanged_by_the_conversion_to_bson_and_back() {
        let payload = json!({
            "a": null, "b": true, "c": 1, "d": 5_000_000_000_i64, "e": 1.5, "f": "$x", "g": [1, [2], {}],
            "$date": "not a date", "h.i": { "$oid": "text" }, "ü": "✓",
        });
        let object = payload.as_object().unwrap();
        assert_eq!(&document_to_json(&json_to_bson(object).unwrap()), object);
        let raw = Document::try_from(json_to_raw(object).unwrap()).unwrap();
        assert_eq!(raw, json_to_bson(object).unwrap(), "raw BSON and BSON are the same");
    }

    #[test]
    fn a_name_with_a_nul_is_refused_and_a_number_beyond_64_bits_becomes_a_float() {
        let nul = json!({ "a": [{ "b\u{0}": 1 }] });
        assert_eq!((value_to_bson(&nul), json_to_raw(nul.as_object().unwrap())), (None, None));
        assert_eq!(value_to_bson(&json!(u64::MAX)), Some(Bson::Double(18_446_744_073_709_551_615.0)));
    }
}
