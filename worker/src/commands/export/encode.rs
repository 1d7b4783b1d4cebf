//! Calls as lines of the output. Pure.

use aftercall_common::phone_numbers::Numbers;
use serde_json::{Map, Value};

use super::options::Format;
use crate::store::{csv_header, csv_rows, mask_numbers};

/// The header of a file. Empty if the form has none.
pub(super) fn header(format: Format) -> anyhow::Result<Vec<u8>> {
    match format {
        Format::Csv => Ok(csv_header()?),
        Format::Ndjson => Ok(Vec::new()),
    }
}

/// The lines of `calls`, with telephone numbers masked if `numbers` says so.
pub(super) fn lines(
    format: Format,
    numbers: Numbers,
    calls: Vec<Map<String, Value>>,
) -> anyhow::Result<Vec<u8>> {
    let calls = calls.into_iter().map(|mut call| {
        mask_numbers(&mut call, numbers);
        call
    });
    match format {
        Format::Csv => Ok(csv_rows(calls)?),
        Format::Ndjson => {
            let mut lines = Vec::new();
            for call in calls {
                serde_json::to_writer(&mut lines, &call)?;
                lines.push(b'\n');
            }
            Ok(lines)
        }
    }
}
