//! The history of a call: its entries, and the union of two histories.

use mongodb::bson::{Bson, RawArrayBuf, RawBson, RawDocumentBuf, raw::cstr, rawdoc};

use super::literal::text_or_null;
use crate::{
    domain::call::{HISTORY_LIMIT, HistoryEntry},
    store::convert::{bson_date, date},
};

/// An entry as it is stored.
fn entry_to_bson(entry: &HistoryEntry) -> RawDocumentBuf {
    let mut fields = rawdoc! {
        "eventId": entry.event_id.as_str(),
        "eventType": entry.event_type.as_str(),
        "status": text_or_null(entry.status.as_deref()),
        "at": bson_date(entry.at),
    };
    let rest = [
        (cstr!("receivedStatus"), &entry.received_status),
        (cstr!("origin"), &entry.origin),
        (cstr!("signature"), &entry.signature),
    ];
    for (name, value) in rest {
        if let Some(value) = value {
            fields.append(name, value.as_str());
        }
    }
    if let Some(stored_at) = entry.stored_at {
        fields.append(cstr!("storedAt"), bson_date(stored_at));
    }
    if entry.time_ignored {
        fields.append(cstr!("timeIgnored"), true);
    }
    if entry.of_call {
        fields.append(cstr!("ofCall"), true);
    }
    fields
}

/// Reads a stored entry. `None` if it has no event or no time.
pub(in crate::store) fn read_entry(entry: &Bson) -> Option<HistoryEntry> {
    let entry = entry.as_document()?;
    let text = |field: &str| entry.get_str(field).ok().map(str::to_owned);
    Some(HistoryEntry {
        event_id: entry.get_str("eventId").ok()?.to_owned(),
        event_type: entry.get_str("eventType").ok()?.to_owned(),
        status: text("status"),
        received_status: text("receivedStatus"),
        origin: text("origin"),
        signature: text("signature"),
        at: date(entry, "at")?,
        time_ignored: entry.get_bool("timeIgnored").unwrap_or(false),
        stored_at: date(entry, "storedAt"),
        of_call: entry.get_bool("ofCall").unwrap_or(false),
    })
}

/// The entries in the order in which [`union`] sorts them. BSON dates have milliseconds, so finer parts of a
/// time are ignored.
pub(super) fn sorted(entries: &[HistoryEntry]) -> RawArrayBuf {
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by_key(|entry| (entry.at.as_millisecond(), &entry.event_id));
    entries.into_iter().map(entry_to_bson).collect()
}

/// The union of the history at `path` and of `entries`: each event once, in the order of time.
pub(super) fn union(path: &str, entries: RawBson) -> RawDocumentBuf {
    let unknown = rawdoc! { "$not": [{ "$in": ["$$this.eventId", stored_event_ids()] }] };
    let fresh = rawdoc! { "$filter": { "input": entries, "cond": unknown } };
    sort(rawdoc! { "$concatArrays": [{ "$ifNull": [path, []] }, fresh] })
}

/// The entries as an expression.
pub(super) fn literal_entries(entries: &[HistoryEntry]) -> RawDocumentBuf {
    let entries: RawArrayBuf = entries.iter().map(entry_to_bson).collect();
    rawdoc! { "$literal": entries }
}

/// The history of the document, and `entries`, which it does not have yet, in the order of time.
pub(in crate::store) fn extended_history(entries: &[HistoryEntry]) -> RawDocumentBuf {
    sort(rawdoc! { "$concatArrays": [{ "$ifNull": ["$history", []] }, literal_entries(entries)] })
}

/// The history of the document, at most [`HISTORY_LIMIT`] events of the call and as many of the conversation.
pub(in crate::store) fn bounded_history() -> RawDocumentBuf {
    let limit = i32::try_from(HISTORY_LIMIT).expect("a small constant");
    let latest = |cond: RawDocumentBuf| {
        rawdoc! { "$slice": [{ "$filter": { "input": "$history", "cond": cond } }, -limit] }
    };
    let of_call = rawdoc! { "$eq": ["$$this.ofCall", true] };
    let both = rawdoc! { "$concatArrays": [latest(rawdoc! { "$not": [of_call.clone()] }), latest(of_call)] };
    let fits = rawdoc! { "$lte": [{ "$size": "$history" }, limit] };
    rawdoc! { "$cond": [fits, "$history", sort(both)] }
}

fn sort(entries: RawDocumentBuf) -> RawDocumentBuf {
    rawdoc! { "$sortArray": { "input": entries, "sortBy": { "at": 1, "eventId": 1 } } }
}

/// The ids of the events in the stored history.
pub(in crate::store) fn stored_event_ids() -> RawDocumentBuf {
    rawdoc! { "$ifNull": ["$history.eventId", []] }
}
