//! One row of the list of calls. Pure.

use aftercall_common::phone_numbers::Numbers;
use askama::Template;
use jiff::Timestamp;

use super::{
    address, format,
    tone::{self, Tone},
};
use crate::{domain::call::Disposition, store::views::CallRow};

/// Most characters of the summary or the reason in a row.
const MAX_NOTE: usize = 160;
/// Most characters of the agent's name in a row.
const MAX_AGENT: usize = 60;

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
    /// The id that is shown.
    pub name: String,
    /// The id that is copied: `name`, or the id of the document if `name` is masked.
    pub copied: String,
    /// The number of the person who talks with the agent. Empty: unknown.
    pub number: String,
    pub glyph: &'static str,
    pub tone: &'static str,
    /// How the call stands, in plain words.
    pub outcome: &'static str,
    /// Why the call failed. Empty: unknown.
    pub reason: String,
    /// Why the call failed, else the beginning of the summary of the conversation.
    pub note: String,
    /// Whether somebody has marked the call as reviewed.
    pub is_reviewed: bool,
    /// Name of the agent, else its id.
    pub agent: String,
    pub duration: String,
    /// ElevenLabs' credits.
    pub cost: String,
    /// Creation time in RFC 3339.
    pub iso: String,
    /// Creation time as a readable text with its date, in UTC.
    pub moment: String,
    /// Creation time as a short text, in UTC. The script replaces it by the local time.
    pub time: String,
}

impl Row {
    /// The texts for `row`.
    pub fn new(row: &CallRow, numbers: Numbers, now: Timestamp) -> Self {
        let disposition = Disposition::of(row.status, row.outcome, row.created_at, now);
        let text = |text: &str, max: usize| format::masked(text, max, numbers);
        let note = row.failure_reason.as_deref().or(row.summary.as_deref()).unwrap_or_default();
        let agent = match (&row.agent_name, &row.agent_id) {
            (Some(name), _) if !name.is_empty() => text(name, MAX_AGENT),
            (_, Some(id)) => format::masked_id(id, MAX_AGENT, numbers),
            _ => String::new(),
        };
        let name = row.name().map(|name| format::id(name, numbers));
        let is_whole = row.name().is_some_and(|whole| name.as_deref() == Some(whole));
        Self {
            id: row.id.to_hex(),
            at: row.created_at.as_millisecond(),
            href: row.name().map(|name| address::of_row(row, name, numbers)).unwrap_or_default(),
            copied: name.clone().filter(|_| is_whole).unwrap_or_else(|| row.id.to_hex()),
            name: name.unwrap_or_else(|| "no id yet".to_owned()),
            number: row
                .person_number()
                .map(|number| numbers.number(&format::cut(number, format::MAX_TEXT)).into_owned())
                .unwrap_or_default(),
            glyph: tone::disposition_glyph(disposition),
            tone: Tone::of_disposition(disposition).class(),
            outcome: tone::disposition_text(disposition),
            reason: row
                .failure_reason
                .as_deref()
                .map(|reason| format::sender_text(reason, numbers))
                .unwrap_or_default(),
            note: text(note, MAX_NOTE),
            is_reviewed: row.is_reviewed,
            agent,
            duration: row.duration.map(format::talk_time).unwrap_or_default(),
            cost: row.cost.map(format::count).unwrap_or_default(),
            iso: row.created_at.to_string(),
            moment: format::moment(row.created_at),
            time: format::short_moment(row.created_at),
        }
    }
}

/// The HTML of one row.
pub fn html(row: &CallRow, numbers: Numbers, now: Timestamp) -> String {
    Row::new(row, numbers, now).render().unwrap_or_default()
}
