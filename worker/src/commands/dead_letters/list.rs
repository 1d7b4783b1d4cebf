//! `dead-letters list` and `dead-letters show`.

use aftercall_common::contract::streams::header;
use async_nats::jetstream::stream::Stream;

use super::{letters, options::Filter};
use crate::commands::{
    print_line,
    table::{self, Column},
};

const COLUMNS: [Column; 5] = [
    Column::text("NUMBER", 8),
    Column::text("REJECTED AT", 20),
    Column::text("REASON", 20),
    Column::number("BYTES", 9),
    Column::text("DETAIL", 0),
];

/// Prints the dead letters that match `filter`.
pub async fn list(stream: &Stream, filter: &Filter, json: bool) -> anyhow::Result<()> {
    let (mut from, mut printed) = (1, 0);
    while let Some(letter) = letters::next(stream, from).await? {
        from = letter.0.sequence + 1;
        if !filter.matches(&letter) {
            continue;
        }
        if json {
            print_line(letter.json())?;
        } else {
            if printed == 0 {
                print_line(table::header(&COLUMNS))?;
            }
            let cells = [
                &letter.0.sequence.to_string(),
                &format!("{:.0}", letter.dead_lettered_at()),
                letter.header(header::DEAD_REASON),
                &letter.bytes().to_string(),
                letter.header(header::DEAD_DETAIL),
            ];
            print_line(table::row(&COLUMNS, cells))?;
        }
        printed += 1;
    }
    if printed == 0 && !json {
        print_line("no dead letters")?;
    }
    Ok(())
}

/// Prints the dead letter `number` with its body.
pub async fn show(stream: &Stream, number: u64, json: bool) -> anyhow::Result<()> {
    let letter = letters::get(stream, number).await?;
    let body = String::from_utf8_lossy(&letter.0.payload);
    let mut fields = letter.json();
    if json {
        fields["body"] = body.into_owned().into();
        return print_line(fields);
    }
    for (name, value) in fields.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        print_line(format!("{name:<15} {value}"))?;
    }
    print_line(format!("\n{body}"))
}
