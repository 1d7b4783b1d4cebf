//! `endpoints list`.

use super::output;
use crate::{
    Context,
    commands::{
        print_line,
        table::{self, Column},
    },
    domain::{delivery::Endpoint, time::rfc3339},
};

const COLUMNS: [Column; 6] = [
    Column::text("ENDPOINT", 19),
    Column::text("KIND", 6),
    Column::text("STATE", 18),
    Column::text("FAILING SINCE", 24),
    Column::text("URL", 40),
    Column::text("ONLY", 0),
];

/// Prints the endpoints.
pub async fn list(context: &Context, as_json: bool) -> anyhow::Result<()> {
    let endpoints = context.store.endpoints().await?;
    if as_json {
        return endpoints.iter().try_for_each(|endpoint| print_line(output::json(endpoint)));
    }
    if endpoints.is_empty() {
        return print_line("no endpoints; `endpoints add URL` adds one");
    }
    print_line(table::header(&COLUMNS))?;
    for endpoint in &endpoints {
        let state = endpoint.state.reason().map_or_else(
            || endpoint.state.as_str().to_owned(),
            |reason| format!("{} ({reason})", endpoint.state.as_str()),
        );
        let failing = endpoint.failing_since.map(rfc3339).unwrap_or_default();
        let (url, only) = (endpoint.url.to_string(), only(endpoint));
        let cells = [endpoint.id.as_str(), endpoint.kind.as_str(), &state, &failing, &url, &only];
        print_line(table::row(&COLUMNS, cells))?;
    }
    Ok(())
}

/// The filter in one line.
pub(super) fn only(endpoint: &Endpoint) -> String {
    let filter = &endpoint.filter;
    let lists = [("types", &filter.types), ("agents", &filter.agents), ("batches", &filter.batches)];
    let lists = lists.into_iter().filter(|(_, list)| !list.is_empty());
    let lists: Vec<_> = lists.map(|(name, list)| format!("{name} {}", list.join(","))).collect();
    table::printable(&lists.join("; "))
}
