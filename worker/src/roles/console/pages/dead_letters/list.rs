//! `GET /dead-letters`: the list of dead letters.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{RawQuery, State},
    http::StatusCode,
    response::Response,
};
use jiff::Timestamp;

use super::{
    queue::{self, SECTION},
    row::Row,
};
use crate::roles::console::{
    pages::shell::{self, Shell},
    state::Console,
    view::format,
};

#[derive(Template)]
#[template(path = "dead_letters.html")]
struct List {
    shell: Shell,
    letters: Vec<Row>,
    count: String,
    /// Number before which the next page begins. `None`: this is the last page.
    older: Option<u64>,
    is_first: bool,
}

/// `GET /dead-letters?before=`
pub async fn list(State(console): State<Arc<Console>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let before: Option<u64> = query.strip_prefix("before=").and_then(|number| number.parse().ok());
    if !console.health().nats {
        return shell::broker_unavailable(&console, SECTION);
    }
    let page = queue::query(&console.context.jetstream, async |queue| {
        let (letters, more) = queue.page(before.unwrap_or(u64::MAX)).await?;
        Ok((letters, more, queue.count()))
    });
    let Some((letters, more, count)) = page.await else {
        return shell::broker_unavailable(&console, SECTION);
    };
    let now = Timestamp::now();
    let mut shell = Shell::new(&console, SECTION);
    shell.dead_letters = Some(count);
    let template = List {
        shell,
        older: letters.last().filter(|_| more).map(|letter| letter.number),
        letters: letters.iter().map(|letter| Row::new(letter, console.numbers, now)).collect(),
        count: format::count(count),
        is_first: before.is_none(),
    };
    shell::render(StatusCode::OK, &template)
}
