//! One row of the list of calls. Pure.

use aftercall_common::phone_numbers::Numbers;
use askama::Template;
use jiff::Timestamp;

use super::{
    address, format,
    tone::{self, Tone},
};
use crate::store::views::CallRow;

/// A row of the list, as texts.
#[derive(Template)]
#[template(path = "row.html")]
pub struct Row {
    /// `_id` of the document, in hexadecimal.
    pub id: String,
    /// Creation time in Unix milliseconds.
    pub at: i64,
    /// Address of the call's page. Empty: the call has no id yet.
    pub href: String,
    pub name: String,
    /// The number called. Empty: unknown.
    pub number: String,
    pub glyph: &'static str,
    pub tone: &'static str,
    pub status: &'static str,
    pub reason: String,
    pub duration: String,
    pub age: String,
    /// Creation time in RFC 3339.
    pub iso: String,
    /// Creation time as a readable text.
    pub moment: String,
}

impl Row {
    /// The texts for `row`.
    pub fn new(row: &CallRow, numbers: Numbers, now: Timestamp) -> Self {
        Self {
            id: row.id.to_hex(),
            at: row.created_at.as_millisecond(),
            href: row.name().map(|name| address::of_row(row, name, numbers)).unwrap_or_default(),
            name: row.name().map_or_else(|| "no id yet".to_owned(), |name| format::id(name, numbers)),
            number: row
                .to_number
                .as_deref()
                .map(|number| numbers.number(&format::cut(number, format::MAX_TEXT)).into_owned())
                .unwrap_or_default(),
            glyph: tone::glyph(row.status),
            tone: Tone::of(row.status).class(),
            status: tone::status_text(row.status),
            reason: row
                .failure_reason
                .as_deref()
                .map(|reason| format::sender_text(reason, numbers))
                .unwrap_or_default(),
            duration: row.duration.map(format::talk_time).unwrap_or_default(),
            age: format::age(row.created_at, now),
            iso: row.created_at.to_string(),
            moment: format::moment(row.created_at),
        }
    }
}

/// The HTML of one row.
pub fn html(row: &CallRow, numbers: Numbers, now: Timestamp) -> String {
    Row::new(row, numbers, now).render().unwrap_or_default()
}
