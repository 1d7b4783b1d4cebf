//! The report of a batch as text and as JSON. Pure.

use aftercall_common::phone_numbers::Numbers;
use serde_json::{Value, json};

use super::join::{Row, counts};
use crate::{
    commands::table::{self, Column, printable},
    elevenlabs::BatchCall,
    store::Plan,
};

const COUNTS: [Column; 3] =
    [Column::text("RECIPIENT STATUS", 16), Column::text("OUTCOME", 12), Column::number("RECIPIENTS", 10)];
const RECIPIENTS: [Column; 7] = [
    Column::text("RECIPIENT", 28),
    Column::text("NUMBER", 17),
    Column::text("RECIPIENT STATUS", 16),
    Column::text("STATUS", 17),
    Column::text("OUTCOME", 12),
    Column::text("CONVERSATION", 34),
    Column::text("FAILURE REASON", 0),
];

/// The report of the batch `id`.
pub(super) struct BatchReport<'a> {
    pub id: &'a str,
    /// The batch at ElevenLabs, or the reason why ElevenLabs did not return it.
    pub live: Result<&'a BatchCall, &'a str>,
    pub rows: &'a [Row],
    /// How the database executed the query for the calls of the batch.
    pub plan: &'a Plan,
    pub numbers: Numbers,
}

impl BatchReport<'_> {
    /// A line about the batch, the recipients by status and outcome, and a line for each recipient.
    pub(super) fn text(&self) -> String {
        let stored = self.rows.iter().filter(|row| row.calls > 0).count();
        let live = match self.live {
            Ok(batch) => {
                format!("{:?} is {} at ElevenLabs", printable(&batch.name), printable(&batch.status))
            }
            Err(_) => "only stored calls".to_owned(),
        };
        let recipients = self.rows.len();
        let mut lines =
            vec![format!("batch {}: {live}, {recipients} recipients, {stored} with a stored call", self.id)];
        lines.extend([String::new(), table::header(&COUNTS)]);
        let text = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), printable);
        for ((status, outcome), count) in counts(self.rows) {
            lines.push(table::row(&COUNTS, [&text(status), &text(outcome), &count.to_string()]));
        }
        lines.extend([String::new(), table::header(&RECIPIENTS)]);
        for row in self.rows {
            let cell = |name| text(self.value(row, name).as_deref());
            let cells = [
                cell("recipientId"),
                cell("number"),
                cell("recipientStatus"),
                cell("status"),
                cell("outcome"),
                cell("conversationId"),
                cell("failureReason"),
            ];
            lines.push(table::row(&RECIPIENTS, cells.each_ref().map(String::as_str)));
        }
        lines.join("\n")
    }

    /// The report as one JSON object.
    pub(super) fn json(&self) -> Value {
        let counts = counts(self.rows).into_iter().map(|((status, outcome), recipients)| {
            json!({ "recipientStatus": status, "outcome": outcome, "recipients": recipients })
        });
        let recipients = self.rows.iter().map(|row| {
            let value = |name| self.value(row, name);
            json!({
                "recipientId": value("recipientId"), "number": value("number"),
                "recipientStatus": value("recipientStatus"), "status": value("status"),
                "outcome": value("outcome"), "conversationId": value("conversationId"), "callId": value("callId"),
                "failureReason": value("failureReason"), "calls": row.calls,
            })
        });
        let (name, status) = self.live.map_or((None, None), |batch| (Some(&batch.name), Some(&batch.status)));
        json!({
            "batchCallId": self.id, "name": name, "status": status, "error": self.live.err(),
            "counts": counts.collect::<Vec<_>>(), "recipients": recipients.collect::<Vec<_>>(),
            "plan": { "stages": self.plan.stages, "indexes": self.plan.indexes },
        })
    }

    /// A value of a row. Telephone numbers are masked if [`Self::numbers`] says so.
    fn value(&self, row: &Row, name: &str) -> Option<String> {
        let (numbers, call) = (self.numbers, row.call.as_ref());
        let id = |id: &Option<String>| id.as_deref().map(|id| numbers.id(id).into_owned());
        match name {
            "recipientId" => id(&row.recipient_id),
            "number" => row.number.as_deref().map(|number| numbers.number(number).into_owned()),
            "recipientStatus" => row.recipient_status.clone(),
            "status" => call?.status.clone(),
            "outcome" => call?.outcome.clone(),
            "conversationId" => id(&call?.conversation_id),
            "callId" => id(&call?.call_id),
            _ => call?.failure_reason.as_deref().map(|reason| numbers.text(reason).into_owned()),
        }
    }
}
