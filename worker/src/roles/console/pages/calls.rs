//! `GET /calls`: the list of calls.

use std::{sync::Arc, time::Instant};

use aftercall_common::phone_numbers::Numbers;
use askama::Template;
use axum::{
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};
use jiff::Timestamp;

use super::shell::{self, Shell};
use crate::{
    roles::console::{
        access::user,
        state::Console,
        view::{
            address,
            chips::{Chip, chips},
            choices::Form,
            filter::{Params, Problem},
            format,
            row::Row,
        },
    },
    store::views::{CallRow, Choices, Cursor, Direction, Listed, Matches, PAGE},
};

#[derive(Template)]
#[template(path = "calls.html")]
struct Calls<'a> {
    shell: Shell,
    params: &'a Params,
    form: Form,
    chips: Vec<Chip>,
    rows: Vec<Row>,
    /// How many calls match, of how many. Empty: unknown.
    count: String,
    /// Address of the calls as a table. Empty: a search for an id is not exported, nor is a list with a problem.
    export: String,
    /// Address of the page of the batch to which all calls belong. Empty: none.
    batch: String,
    newer: Option<String>,
    older: Option<String>,
    /// What cannot be read of the filter. Such a list has no calls.
    problem: Option<Problem>,
    /// Whether the database answered.
    answered: bool,
    /// Why calls that match are left out. Empty: none are.
    left_out: &'static str,
    /// Whether the page ended before it was full, because no index covers the filter.
    is_partial: bool,
}

impl Calls<'_> {
    fn is_first_page(&self) -> bool {
        self.params.cursor.is_none()
    }
}

/// What the database answered for a page.
#[derive(Default)]
struct Answer {
    listed: Listed,
    matches: Option<Matches>,
    /// Number of stored calls. `None`: unknown.
    total: Option<u64>,
    answered: bool,
}

/// `GET /calls`
pub async fn list(State(console): State<Arc<Console>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let (params, problem) = Params::read(&query);
    if problem.is_none() && params.query() != query {
        return Redirect::to(&params.address()).into_response(); // Every view has one address.
    }
    let searches_number = problem.is_none() && params.searches_hidden_number(console.numbers);
    if searches_number && let Err(refused) = take_number_search(&console) {
        return refused;
    }
    // The version is taken before the database is read, so that later changes reach the page as events.
    let seen = console.broadcast.version();
    let now = Timestamp::now();
    let health = console.health();
    let (mut answer, mut choices) = (Answer::default(), Arc::new(Choices::default()));
    if health.mongodb {
        choices = console.choices.get(&console.views, health).await;
        if problem.is_none() {
            answer = ask(&console, &params, &choices, now).await;
        }
    }
    let listed = &answer.listed;
    if searches_number && !(answer.answered && listed.calls.is_empty()) {
        console.number_searches.give_back(&user::author().name);
    }
    if answer.answered && !listed.more && matches!(params.cursor, Some((_, Direction::Newer))) {
        // There are no newer calls than the ones found, so this is the first page.
        return Redirect::to(&params.page_at(None).address()).into_response();
    }
    let mut shell = Shell::new(&console, "/calls");
    if problem.is_none() {
        let topic = params.page_at(None).query();
        shell.events = format!("/events?topic=calls&seen={seen}&{topic}");
    }
    let status = match &problem {
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
        None if answer.answered => StatusCode::OK,
        None => StatusCode::SERVICE_UNAVAILABLE,
    };
    let (newer, older) = neighbours(&params, listed, console.numbers);
    let template = Calls {
        shell,
        form: Form::new(&params, &choices, console.numbers),
        chips: chips(&params, &choices, console.numbers),
        rows: listed.calls.iter().map(|row| Row::new(row, console.numbers, now)).collect(),
        count: count(answer.matches, answer.total, params.is_filtered()),
        export: if problem.is_some() || params.searches_id(console.numbers) {
            String::new()
        } else {
            params.csv_address()
        },
        batch: if params.batch.is_empty() {
            String::new()
        } else {
            address::of_batch(&params.batch, console.numbers)
        },
        newer,
        older,
        problem,
        answered: answer.answered,
        left_out: if listed.more && params.searches_id(console.numbers) {
            "More calls match. Enter more characters of the id."
        } else if params.searches_some_reasons(&choices.reasons, console.numbers) {
            "More failure reasons contain this text than one list can have, so calls are left out. Enter more of the reason."
        } else {
            ""
        },
        is_partial: listed.next.is_some() && listed.calls.len() < PAGE,
        params: &params,
    };
    shell::render(status, &template)
}

/// Takes one of the searches for a hidden number that the present person may make without finding anything.
///
/// # Errors
/// The page that says how long the person has to wait.
#[expect(clippy::result_large_err, reason = "the error is the answer")]
fn take_number_search(console: &Console) -> Result<(), Response> {
    let person = user::author().name;
    let Err(wait) = console.number_searches.take(&person, Instant::now()) else { return Ok(()) };
    tracing::warn!(by = person, "searches for numbers that find nothing have reached their limit");
    let text = format!(
        "Numbers are masked, and too many searches for a number found nothing. Search again in {}.",
        format::duration(wait)
    );
    let title = "Too many searches for numbers";
    Err(shell::message(console, "/calls", StatusCode::TOO_MANY_REQUESTS, title, &text))
}

/// Takes a search if `params` look for a hidden number, and gives it back if it finds a call.
///
/// # Errors
/// The page that says how long the person has to wait.
pub async fn search_number(console: &Console, params: &Params, now: Timestamp) -> Result<(), Response> {
    if !params.searches_hidden_number(console.numbers) {
        return Ok(());
    }
    take_number_search(console)?;
    let choices = console.choices.get(&console.views, console.health()).await;
    let filter = params.filter(&choices.reasons, console.numbers, now);
    let listed = console.views.list(&filter, params.cursor).await;
    if listed.map_or(true, |listed| !listed.calls.is_empty()) {
        console.number_searches.give_back(&user::author().name);
    }
    Ok(())
}

async fn ask(console: &Console, params: &Params, choices: &Choices, now: Timestamp) -> Answer {
    let (views, filter) = (&console.views, params.filter(&choices.reasons, console.numbers, now));
    let matches =
        async { if params.is_filtered() { views.matches(&filter).await.ok().flatten() } else { None } };
    let (found, matches, total) = tokio::join!(views.list(&filter, params.cursor), matches, views.count());
    match found {
        Ok(listed) => Answer { listed, matches, total: total.ok(), answered: true },
        Err(error) => {
            tracing::info!(%error, "the console could not list calls");
            Answer { matches, total: total.ok(), ..Answer::default() }
        }
    }
}

/// `1,284 of about 20,213 calls`. Empty: unknown.
fn count(matches: Option<Matches>, total: Option<u64>, is_filtered: bool) -> String {
    let matching = matches.map(|matches| {
        let more = if matches.is_complete { "" } else { "+" };
        format!("{}{more}", format::count(matches.calls))
    });
    match (matching, total.map(format::count)) {
        (Some(matching), Some(total)) => format!("{matching} of about {total} calls"),
        (Some(matching), None) => format!("{matching} calls"),
        (None, Some(total)) if !is_filtered => format!("about {total} calls"),
        (None, _) => String::new(),
    }
}

/// Addresses of the pages with newer and with older calls.
fn neighbours(params: &Params, listed: &Listed, numbers: Numbers) -> (Option<String>, Option<String>) {
    if params.searches_id(numbers) {
        return (None, None); // One page. The page asks the user for more characters of the id.
    }
    let to = |cursor: Option<Cursor>, direction| {
        cursor.map(|cursor| params.page_at(Some((cursor, direction))).address())
    };
    let of = |call: Option<&CallRow>| call.map(|call| Cursor { at: call.created_at, id: call.id });
    let (first, last) = (of(listed.calls.first()), of(listed.calls.last()));
    match params.cursor {
        None => (None, to(listed.next, Direction::Older)),
        Some((_, Direction::Older)) => (to(first, Direction::Newer), to(listed.next, Direction::Older)),
        Some((_, Direction::Newer)) => (to(listed.next, Direction::Newer), to(last, Direction::Older)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_count_says_that_there_may_be_more() {
        let matches = |calls, is_complete| Some(Matches { calls, is_complete });
        #[rustfmt::skip]
        let table = [
            (matches(1284, true),   Some(20_213), true,  "1,284 of about 20,213 calls"),
            (matches(10_000, false), Some(20_213), true, "10,000+ of about 20,213 calls"),
            (matches(3, true),      None,         true,  "3 calls"),
            (None,                  Some(20_213), false, "about 20,213 calls"),
            (None,                  Some(20_213), true,  ""),
            (None,                  None,         false, ""),
        ];
        for (matches, total, is_filtered, expected) in table {
            assert_eq!(count(matches, total, is_filtered), expected);
        }
    }
}
