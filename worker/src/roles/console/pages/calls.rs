//! `GET /calls`: the list of calls.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};
use jiff::Timestamp;

use super::shell::{self, Shell};
use crate::{
    domain::call::Status,
    roles::console::{
        state::Console,
        view::{
            filter::{PERIODS, Params, Period},
            format,
            row::Row,
            tone::{self, Tone},
        },
    },
    store::views::{CallRow, Cursor, Direction, Listed, PAGE},
};

/// Most failure reasons that the form offers.
const MAX_REASONS: usize = 100;

#[derive(Template)]
#[template(path = "calls.html")]
struct Calls<'a> {
    shell: Shell,
    params: &'a Params,
    rows: Vec<Row>,
    reasons: Vec<String>,
    /// Number of stored calls. `None`: the database did not answer.
    total: Option<u64>,
    newer: Option<String>,
    older: Option<String>,
    /// Whether the database answered.
    answered: bool,
    /// Whether more calls match the id searched for than the page shows.
    too_many: bool,
}

impl Calls<'_> {
    fn statuses(&self) -> impl Iterator<Item = (Status, bool)> {
        Status::ALL.into_iter().map(|status| (status, self.params.statuses.contains(&status)))
    }

    fn periods(&self) -> impl Iterator<Item = (Period, bool)> {
        PERIODS.into_iter().map(|period| (period, self.params.period == Some(period)))
    }

    fn status_summary(&self) -> String {
        match self.params.statuses[..] {
            [] => "any status".to_owned(),
            [status] => tone::status_text(Some(status)).to_owned(),
            _ => format!("{} statuses", self.params.statuses.len()),
        }
    }

    fn is_first_page(&self) -> bool {
        self.params.cursor.is_none()
    }

    fn total_count(&self) -> String {
        self.total.map(format::count).unwrap_or_default()
    }
}

/// `GET /calls`
pub async fn list(State(console): State<Arc<Console>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let params = Params::read(&query);
    if params.query() != query {
        return Redirect::to(&params.address()).into_response(); // Every view has one address.
    }
    // The version is taken before the database is read, so that later changes reach the page as events.
    let seen = console.broadcast.version();
    let now = Timestamp::now();
    let (mut listed, mut answered, mut total) = (Listed::default(), false, None);
    let mut reasons: Arc<[String]> = Arc::new([]);
    let health = console.health();
    if health.mongodb {
        reasons = console.reasons.get(&console.views, health).await;
        let filter = params.filter(&reasons, now);
        let (found, counted) =
            tokio::join!(console.views.list(&filter, params.cursor), console.views.count());
        total = counted.ok();
        match found {
            Ok(found) if !found.more && matches!(params.cursor, Some((_, Direction::Newer))) => {
                // There are no newer calls than the ones found, so this is the first page.
                return Redirect::to(&params.page_at(None).address()).into_response();
            }
            Ok(found) => (listed, answered) = (found, true),
            Err(error) => tracing::info!(%error, "the console could not list calls"),
        }
    }
    let mut shell = Shell::new(&console, "/calls");
    let topic = params.page_at(None).query();
    shell.events = format!("/events?topic=calls&seen={seen}&{topic}");
    let (newer, older) = neighbours(&params, &listed);
    let offered = reasons.iter().take(MAX_REASONS);
    let template = Calls {
        shell,
        rows: listed.calls.iter().map(|row| Row::new(row, console.numbers, now)).collect(),
        reasons: offered.map(|reason| format::sender_text(reason, console.numbers)).collect(),
        total,
        newer,
        older,
        answered,
        too_many: listed.more && params.searches_id(),
        params: &params,
    };
    shell::render(if answered { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &template)
}

/// Addresses of the pages with newer and with older calls.
fn neighbours(params: &Params, listed: &Listed) -> (Option<String>, Option<String>) {
    let at = |call: &CallRow, direction| {
        params.page_at(Some((Cursor { at: call.created_at, id: call.id }, direction))).address()
    };
    let (has_newer, has_older) = match params.cursor {
        None => (false, listed.more),
        Some((_, Direction::Older)) => (true, listed.more),
        Some((_, Direction::Newer)) => (listed.more, true),
    };
    let newer = listed.calls.first().filter(|_| has_newer).map(|call| at(call, Direction::Newer));
    // A search for an id has only one page. The page asks the user for more characters of the id.
    let has_older = has_older && !params.searches_id();
    let older = listed.calls.last().filter(|_| has_older).map(|call| at(call, Direction::Older));
    (newer, older)
}
