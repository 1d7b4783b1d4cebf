//! `deliveries list` and `deliveries show`.

use anyhow::Context as _;

use super::{
    options::Filter,
    output::{attempt_json, delivery_json},
};
use crate::{
    Context,
    commands::{
        print_line,
        table::{self, Column, printable},
    },
    domain::time::rfc3339,
    store::DeliveryRecord,
};

/// Deliveries that are read at a time.
const PAGE: usize = 200;
const COLUMNS: [Column; 6] = [
    Column::text("FIRST ATTEMPT", 24),
    Column::text("STATE", 9),
    Column::number("ATTEMPTS", 8),
    Column::text("LAST RESULT", 15),
    Column::text("TYPE", 15),
    Column::text("DELIVERY", 0),
];

/// Prints at most `limit` deliveries that match `filter`.
pub async fn list(context: &Context, filter: &Filter, limit: usize, as_json: bool) -> anyhow::Result<()> {
    let conditions = filter.conditions();
    let (mut last, mut printed): (Option<DeliveryRecord>, usize) = (None, 0);
    while printed < limit {
        let size = i64::try_from(PAGE.min(limit - printed)).unwrap_or(i64::MAX);
        let page = context.store.deliveries(&conditions, last.as_ref(), size).await?;
        for record in &page {
            if as_json {
                print_line(delivery_json(context, record))?;
            } else {
                if printed == 0 {
                    print_line(table::header(&COLUMNS))?;
                }
                print_line(row(record))?;
            }
            printed += 1;
        }
        let Some(end) = page.into_iter().last() else { break };
        last = Some(end);
    }
    if printed == 0 && !as_json {
        print_line("no deliveries")?;
    }
    Ok(())
}

fn row(record: &DeliveryRecord) -> String {
    let result = record.attempts.last().map_or_else(String::new, |attempt| {
        attempt.status.map_or_else(|| attempt.error.clone().unwrap_or_default(), |status| status.to_string())
    });
    let (at, attempts) = (rfc3339(record.created_at), record.attempt_count.to_string());
    let (event_type, id) = (printable(&record.delivery.event_type), printable(&record.delivery.id));
    table::row(&COLUMNS, [&at, record.state.as_str(), &attempts, &result, &event_type, &id])
}

/// Prints the delivery `id` with its attempts.
pub async fn show(context: &Context, id: &str, as_json: bool) -> anyhow::Result<()> {
    let record = context.store.delivery(id).await?;
    let record = record.with_context(|| format!("there is no delivery {id}; `deliveries list` shows all"))?;
    let fields = delivery_json(context, &record);
    if as_json {
        return print_line(fields);
    }
    let fields = fields.as_object().into_iter().flatten().filter(|(name, _)| *name != "attempts");
    for (name, value) in fields {
        let value = value.as_str().map_or_else(|| value.to_string(), printable);
        print_line(format!("{name:<15} {value}"))?;
    }
    for attempt in &record.attempts {
        let fields = attempt_json(context, attempt);
        let result =
            fields.get("status").or_else(|| fields.get("error")).map(|result| match result.as_str() {
                Some(error) => error.to_owned(),
                None => format!("status {result}"),
            });
        let milliseconds = attempt.duration.as_millis();
        let at = rfc3339(attempt.at);
        print_line(format!("\n{at}  {} after {milliseconds} ms", result.unwrap_or_default()))?;
        if let Some(answer) = fields["answer"].as_str() {
            print_line(format!("  {}", printable(answer)))?;
        }
    }
    Ok(())
}
