//! What every page has in common.

use std::sync::Arc;

use askama::Template;
use axum::{
    http::StatusCode,
    response::{Html, IntoResponse as _, Response},
};

use super::{
    Console,
    assets::{ASSETS, Assets},
    format,
};
use crate::store::StoreError;

/// The frame around a page.
pub struct Shell {
    pub assets: &'static Assets,
    /// The address of the place this page belongs to.
    pub here: &'static str,
    pub mongodb: bool,
    pub nats: bool,
    pub letters: Option<u64>,
    pub test_calls: bool,
    /// Where this page hears of changes.
    pub events: String,
}

impl Shell {
    /// The frame of a page that hears of the servers and of time alone.
    pub fn new(console: &Console, here: &'static str) -> Self {
        let health = console.health();
        Self {
            assets: &ASSETS,
            here,
            mongodb: health.mongodb,
            nats: health.nats,
            letters: console.broker.letters(),
            test_calls: console.context.config.console_test_calls,
            events: "/events".to_owned(),
        }
    }

    /// The places one can go to.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        let test = self.test_calls.then_some(("/test-call", "Test call"));
        let all = [("/calls", "Calls"), ("/overview", "Overview"), ("/dead-letters", "Dead letters")];
        let here = self.here;
        all.into_iter().chain(test).map(move |(href, name)| Place {
            href,
            name,
            is_here: href == here,
            counts_letters: href == "/dead-letters",
        })
    }

    /// The number of dead letters, where it is known.
    pub fn letters_known(&self) -> String {
        self.letters.map_or_else(|| "–".to_owned(), format::count)
    }

    /// The number of dead letters, where there are any.
    pub fn letters_word(&self) -> String {
        self.letters.filter(|letters| *letters > 0).map(format::count).unwrap_or_default()
    }
}

/// A place one can go to.
pub struct Place {
    pub href: &'static str,
    pub name: &'static str,
    pub is_here: bool,
    pub counts_letters: bool,
}

/// The page itself.
pub fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page was not made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[derive(Template)]
#[template(path = "message.html")]
struct Message<'a> {
    shell: Shell,
    title: &'a str,
    text: &'a str,
}

/// A page that says one thing.
pub fn message(
    console: &Arc<Console>,
    here: &'static str,
    status: StatusCode,
    title: &str,
    text: &str,
) -> Response {
    page(status, &Message { shell: Shell::new(console, here), title, text })
}

/// A page without what the database has. What is wrong stands above it already.
pub fn without_database(console: &Arc<Console>, here: &'static str, error: &StoreError) -> Response {
    tracing::info!(%error, "a page of the console without the database");
    let text = "The database did not answer in time. The page comes back by itself when it does.";
    message(console, here, StatusCode::SERVICE_UNAVAILABLE, "Not to be had just now", text)
}

/// A page without what the broker has.
pub fn without_broker(console: &Arc<Console>, here: &'static str) -> Response {
    let text = "NATS did not answer in time. The page comes back by itself when it does.";
    message(console, here, StatusCode::SERVICE_UNAVAILABLE, "Not to be had just now", text)
}
