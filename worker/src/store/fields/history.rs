//! The entries of a call's history.

use mongodb::bson::{Bson, RawArrayBuf, RawBson, RawDocumentBuf, raw::cstr, rawdoc};

use crate::{
    domain::call::HistoryEntry,
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
    if entry.names_call_alone {
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
        names_call_alone: entry.get_bool("ofCall").unwrap_or(false),
    })
}

/// The entries in the order of time. BSON dates have milliseconds, so finer parts of a
/// time are ignored.
pub(super) fn sorted(entries: &[HistoryEntry]) -> RawArrayBuf {
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by_key(|entry| (entry.at.as_millisecond(), &entry.event_id));
    entries.into_iter().map(entry_to_bson).collect()
}

/// Entries that follow those of a stored history.
pub(in crate::store) fn entries(entries: &[HistoryEntry]) -> RawArrayBuf {
    entries.iter().map(entry_to_bson).collect()
}

/// A text, or null.
pub(super) fn text_or_null(text: Option<&str>) -> RawBson {
    text.map_or(RawBson::Null, RawBson::from)
}
