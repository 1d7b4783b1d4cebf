//! Calls as a CSV table, by RFC 4180. Pure.

use std::borrow::Cow;

use csv::{Error, Terminator, Writer, WriterBuilder};
use serde_json::{Map, Value};

/// The columns, in their order. A later version adds columns at the end.
const COLUMNS: [&str; 38] = [
    "placementId",
    "callId",
    "conversationId",
    "agentId",
    "agentPhoneNumberId",
    "toNumber",
    "status",
    "outcome",
    "failureReason",
    "answeredBy",
    "direction",
    "channel",
    "fromNumber",
    "agentName",
    "startedAt",
    "answeredAt",
    "endedAt",
    "durationSecs",
    "cost",
    "sipCode",
    "terminationReason",
    "callSuccessful",
    "summary",
    "batchCallId",
    "batchCallRecipientId",
    "campaignId",
    "campaignLeadId",
    "dynamicVariables",
    "placementMetadata",
    "parentCallId",
    "transcriptState",
    "recordingState",
    "audio",
    "createdAt",
    "statusUpdatedAt",
    "updatedAt",
    "revision",
    "leftOut",
];

/// The header of a table.
///
/// # Errors
/// None in practice: the header is written to memory.
pub fn csv_header() -> Result<Vec<u8>, Error> {
    let mut table = writer();
    table.write_record(COLUMNS)?;
    written(table)
}

/// The rows of `calls`, which [`crate::store::call_json`] has made.
///
/// # Errors
/// None in practice: the rows are written to memory.
pub fn csv_rows(calls: impl IntoIterator<Item = Map<String, Value>>) -> Result<Vec<u8>, Error> {
    let mut table = writer();
    for call in calls {
        for cell in cells(&call) {
            table.write_field(cell.as_bytes())?;
        }
        table.write_record(None::<&[u8]>)?; // Ends the row.
    }
    written(table)
}

fn written(table: Writer<Vec<u8>>) -> Result<Vec<u8>, Error> {
    table.into_inner().map_err(|error| error.into_error().into())
}

/// A writer of rows into memory.
fn writer() -> Writer<Vec<u8>> {
    WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new())
}

/// The cells of a call. A field that the call does not have is an empty cell.
fn cells(call: &Map<String, Value>) -> impl Iterator<Item = Cow<'_, str>> {
    COLUMNS.into_iter().map(|name| call.get(name).map_or(Cow::Borrowed(""), cell))
}

/// The text of a value. An object is JSON.
fn cell(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => "".into(),
        Value::String(text) => guarded(text),
        other => other.to_string().into(),
    }
}

/// The text, with an apostrophe before it if a spreadsheet would execute it as a formula. A text that begins with
/// an apostrophe gets another one. So a reader gets the text back by removing one apostrophe.
///
/// The first characters are those that OWASP lists for CSV injection.
fn guarded(text: &str) -> Cow<'_, str> {
    const BEGINNINGS: [char; 12] =
        ['=', '+', '-', '@', '\t', '\r', '\n', '\'', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];
    if text.starts_with(BEGINNINGS) && !is_number(text) { format!("'{text}").into() } else { text.into() }
}

/// Whether the text is a number with a sign, such as a telephone number with `+`, whole or masked. As a formula it
/// has no effect, and a program that reads the table gets it without the apostrophe.
fn is_number(text: &str) -> bool {
    let Some(digits) = text.strip_prefix(['+', '-']) else { return false };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '•');
    is_digits(whole) && is_digits(fraction)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::store::{Include, json_fields};

    #[test]
    fn every_field_of_a_call_is_a_column() {
        let fields: BTreeSet<_> = json_fields(Include::NONE).collect();
        assert_eq!(BTreeSet::from(COLUMNS), fields);
    }

    #[test]
    fn a_text_is_no_formula_and_a_number_stays_as_it_is() {
        #[rustfmt::skip]
        let table = [
            ("",                      ""),
            ("busy",                  "busy"),
            ("+6581234567",           "+6581234567"),
            ("+65••••••67",           "+65••••••67"),
            ("-12.5",                 "-12.5"),
            ("=1+1",                  "'=1+1"),
            ("+1-202-555-0123",       "'+1-202-555-0123"),
            ("+6581234567=cmd|' /C'", "'+6581234567=cmd|' /C'"),
            ("+",                     "'+"),
            ("-1.",                   "'-1."),
            ("@SUM(A1)",              "'@SUM(A1)"),
            ("\t=1",                  "'\t=1"),
            ("\r\n=1",                "'\r\n=1"),
            ("＝1",                   "'＝1"),
            ("'quoted'",              "''quoted'"),
            ("a=1",                   "a=1"),
        ];
        for (text, expected) in table {
            assert_eq!(guarded(text), expected, "{text:?}");
        }
    }
}
