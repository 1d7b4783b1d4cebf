//! `GET /calls`: the list.

use std::{borrow::Cow, sync::Arc};

use aftercall_common::phone_numbers::Numbers;
use askama::Template;
use axum::{
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};
use jiff::Timestamp;

use super::{
    Console,
    filter::{PERIODS, Params, Period, segment},
    format::{self, Tone},
    page::{self, Shell},
};
use crate::{
    domain::call::Status,
    store::views::{CallRow, Cursor, Direction, Listed, PAGE},
};

/// Most reasons offered in the form.
const OFFERED: usize = 100;

#[derive(Template)]
#[template(path = "calls.html")]
struct Calls<'a> {
    shell: Shell,
    params: &'a Params,
    rows: Vec<Row>,
    reasons: Vec<String>,
    total: Option<u64>,
    newer: Option<String>,
    older: Option<String>,
    answered: bool,
    too_many: bool,
}

impl Calls<'_> {
    fn statuses(&self) -> impl Iterator<Item = (Status, bool)> {
        Status::ALL.into_iter().map(|status| (status, self.params.statuses.contains(&status)))
    }

    fn periods(&self) -> impl Iterator<Item = (Period, bool)> {
        PERIODS.into_iter().map(|period| (period, self.params.period == Some(period)))
    }

    fn status_word(&self) -> String {
        match self.params.statuses[..] {
            [] => "any status".to_owned(),
            [status] => format::status(Some(status)).to_owned(),
            _ => format!("{} statuses", self.params.statuses.len()),
        }
    }

    fn is_first(&self) -> bool {
        self.params.cursor.is_none()
    }

    fn total_word(&self) -> String {
        self.total.map(format::count).unwrap_or_default()
    }
}

/// A line of the list, in words.
#[derive(Template)]
#[template(path = "row.html")]
pub struct Row {
    pub id: String,
    pub at: i64,
    pub href: String,
    pub name: String,
    pub number: String,
    pub glyph: &'static str,
    pub tone: &'static str,
    pub status: &'static str,
    pub reason: String,
    pub duration: String,
    pub age: String,
    pub iso: String,
    pub moment: String,
}

impl Row {
    /// The words for `row`.
    pub fn new(row: &CallRow, numbers: Numbers, now: Timestamp) -> Self {
        Self {
            id: row.id.to_hex(),
            at: row.created_at.as_millisecond(),
            href: row.name().map(|name| address(row, name, numbers)).unwrap_or_default(),
            name: row.name().map_or_else(|| "no id yet".to_owned(), |name| format::id(name, numbers)),
            number: row
                .to_number
                .as_deref()
                .map(|number| numbers.number(&format::cut(number, format::MAX_TEXT)).into_owned())
                .unwrap_or_default(),
            glyph: format::glyph(row.status),
            tone: Tone::of(row.status).class(),
            status: format::status(row.status),
            reason: row
                .failure_reason
                .as_deref()
                .map(|reason| format::sent(reason, numbers))
                .unwrap_or_default(),
            duration: row.duration.map(format::spoken).unwrap_or_default(),
            age: format::age(row.created_at, now),
            iso: row.created_at.to_string(),
            moment: format::moment(row.created_at),
        }
    }
}

/// The address of a call's page: its name, or where that holds a number that is hidden, its document.
fn address(row: &CallRow, name: &str, numbers: Numbers) -> String {
    match numbers.id(name) {
        Cow::Borrowed(name) => format!("/calls/{}", segment(name)),
        Cow::Owned(_) => format!("/calls/{}", row.id.to_hex()),
    }
}

/// A line of the list by itself.
pub fn row_html(row: &CallRow, numbers: Numbers, now: Timestamp) -> String {
    Row::new(row, numbers, now).render().unwrap_or_default()
}

/// `GET /calls`
pub async fn list(State(console): State<Arc<Console>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let params = Params::read(&query);
    if params.query() != query {
        return Redirect::to(&params.address()).into_response(); // One view, one address.
    }
    // Before anything is read: what changes from here on is told.
    let seen = console.live.seen();
    let now = Timestamp::now();
    let (mut listed, mut answered, mut total) = (Listed::default(), false, None);
    let mut reasons: Arc<[String]> = Arc::new([]);
    if console.health().mongodb {
        reasons = console.reasons.known(&console).await;
        let filter = params.filter(&reasons, now);
        let (found, counted) =
            tokio::join!(console.views.list(&filter, params.cursor), console.views.count());
        total = counted.ok();
        match found {
            Ok(found) if !found.more && matches!(params.cursor, Some((_, Direction::Newer))) => {
                return Redirect::to(&params.at(None).address()).into_response(); // Back at the first page.
            }
            Ok(found) => (listed, answered) = (found, true),
            Err(error) => tracing::info!(%error, "calls not listed"),
        }
    }
    let mut shell = Shell::new(&console, "/calls");
    let topic = params.at(None).query();
    shell.events = format!("/events?topic=calls&seen={seen}&{topic}");
    let (newer, older) = neighbours(&params, &listed);
    let template = Calls {
        shell,
        rows: listed.calls.iter().map(|row| Row::new(row, console.numbers, now)).collect(),
        reasons: reasons.iter().take(OFFERED).map(|reason| format::sent(reason, console.numbers)).collect(),
        total,
        newer,
        older,
        answered,
        too_many: listed.more && params.searches_id(),
        params: &params,
    };
    page::page(if answered { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &template)
}

/// Addresses of the pages before and behind this one.
fn neighbours(params: &Params, listed: &Listed) -> (Option<String>, Option<String>) {
    let at = |call: &CallRow, direction| {
        params.at(Some((Cursor { at: call.created_at, id: call.id }, direction))).address()
    };
    let (has_newer, has_older) = match params.cursor {
        None => (false, listed.more),
        Some((_, Direction::Older)) => (true, listed.more),
        Some((_, Direction::Newer)) => (listed.more, true),
    };
    let newer = listed.calls.first().filter(|_| has_newer).map(|call| at(call, Direction::Newer));
    // What an id finds is one page: more of the id is asked for instead.
    let has_older = has_older && !params.searches_id();
    let older = listed.calls.last().filter(|_| has_older).map(|call| at(call, Direction::Older));
    (newer, older)
}
