//! Every field of every call, in both forms.

use mongodb::bson::{Document, doc, oid::ObjectId};
use serde_json::{Map, Value, json};

use super::{Stored, call, created, read_ndjson};

/// Texts that a sender can put into a call.
const HOSTILE: [&str; 14] = [
    "=cmd|' /C calc'!A0",
    "+1+2",
    "-2+3",
    "@SUM(A1:A9)",
    "\t=1",
    "\r=1",
    "'already quoted",
    "a \"quoted\", text;\r\nwith\nlines\rand,commas",
    "\"",
    "üñî ✓ 漢字 🙂 \u{202e}rtl",
    "\u{feff}BOM",
    "nul \u{0} and \u{1b}[2J",
    "ends with a blank ",
    "{\"callId\":\"other\"}",
];

/// Calls with hostile texts in every field that a sender controls, and calls with few fields.
fn hostile() -> Vec<Document> {
    let mut calls = Vec::new();
    for (n, text) in (10_000_i64..).zip(HOSTILE) {
        let mut call = call(n);
        for field in ["toNumber", "fromNumber", "failureReason", "summary", "agentName", "terminationReason"]
        {
            call.insert(field, text);
        }
        call.insert("dynamicVariables", doc! { text.replace('\0', ""): text });
        calls.push(call);
        calls.push(doc! { "_id": ObjectId::new(), "createdAt": created(n), "updatedAt": created(n) });
        let placed = format!("p-{n}");
        calls.push(doc! {
            "_id": ObjectId::new(), "createdAt": created(n), "updatedAt": created(n), "_placementId": placed,
            "sharedCallId": "CA1", "conversationId": format!("conv_{n}"), "placementMetadata": { "order": text },
        });
    }
    calls
}

async fn stored(database: &'static str) -> Stored {
    let stored = Stored::empty(database).await;
    // More than two pages.
    stored.insert((0..4500).map(call).chain(hostile()).collect()).await;
    stored
}

#[tokio::test]
async fn ndjson_is_what_is_stored() {
    let stored = stored("export_ndjson").await;
    let expected = stored.expected(doc! {}).await;
    let text = stored.export(&["--format", "ndjson", "--show-numbers"]).await;
    assert_eq!(text.matches('\n').count(), expected.len(), "one line for each call");
    let exported = read_ndjson(&text);
    for (exported, expected) in exported.iter().zip(&expected) {
        assert_eq!(exported, expected);
    }
    assert_eq!(exported.len(), expected.len());
}

/// The text of a cell without the apostrophe that keeps spreadsheets from executing it.
fn unguarded(cell: &str) -> &str {
    cell.strip_prefix('\'').unwrap_or(cell)
}

#[tokio::test]
async fn csv_is_what_is_stored() {
    let stored = stored("export_csv").await;
    let expected = stored.expected(doc! {}).await;
    let text = stored.export(&["--show-numbers"]).await;
    let mut table = csv::Reader::from_reader(text.as_bytes());
    let columns = table.headers().unwrap().clone();
    for name in expected.iter().flat_map(Map::keys) {
        assert!(columns.iter().any(|column| column == name), "no column {name}");
    }
    let rows: Vec<_> = table.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), expected.len());
    for (row, call) in rows.iter().zip(&expected) {
        for (name, cell) in columns.iter().zip(row) {
            let text = match call.get(name) {
                None => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            assert_eq!(unguarded(cell), text, "{name} of {call:?}");
        }
    }
}

#[tokio::test]
async fn no_cell_is_a_formula() {
    let stored = stored("export_formulas").await;
    let text = stored.export(&["--show-numbers"]).await;
    let mut table = csv::Reader::from_reader(text.as_bytes());
    for row in table.records() {
        for cell in &row.unwrap() {
            let is_number = cell.strip_prefix('+').is_some_and(|digits| digits.parse::<u64>().is_ok());
            assert!(is_number || !cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']), "{cell:?}");
        }
    }
    assert!(text.contains(",+12025550000,"), "a telephone number is not changed");
}

#[tokio::test]
async fn numbers_are_masked_unless_they_are_asked_for() {
    let stored = Stored::empty("export_masks").await;
    let mut one = call(1);
    one.insert("failureReason", "+12025550123 is engaged");
    one.insert("dynamicVariables", doc! { "phone": "+12025550123", "count": 6_581_234_567_i64 });
    stored.insert(vec![one]).await;
    for format in ["csv", "ndjson"] {
        let masked = stored.export(&["--format", format]).await;
        for hidden in ["2025550", "5005550", "65812345"] {
            assert!(!masked.contains(hidden), "{hidden} in {masked}");
        }
        assert!(masked.contains("+12") && masked.contains("•"), "{masked}");
        let shown = stored.export(&["--format", format, "--show-numbers"]).await;
        assert!(shown.contains("+12025550123 is engaged") && shown.contains("6581234567"), "{shown}");
    }
    let mut allowed = stored.command(&["--format", "ndjson"]);
    let output = allowed.env("CONSOLE_SHOW_NUMBERS", "true").output().await.unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("+15005550006"), "the setting of the console");
    let masked = read_ndjson(&stored.export(&["--format", "ndjson"]).await);
    assert_eq!(masked[0]["createdAt"], json!("2026-09-21T14:13:20.000Z"), "a time is no number");
}
