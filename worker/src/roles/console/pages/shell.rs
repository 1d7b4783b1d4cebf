//! The frame that all pages share, and pages with a single message.

use askama::Template;
use axum::{
    http::StatusCode,
    response::{Html, IntoResponse as _, Response},
};

use crate::{
    roles::console::{
        assets::{ASSETS, Assets},
        state::Console,
        view::format,
    },
    store::StoreError,
};

/// The frame around a page.
pub struct Shell {
    pub assets: &'static Assets,
    /// Address of the section to which the page belongs. Empty: the page belongs to no section.
    pub section: &'static str,
    pub mongodb: bool,
    pub nats: bool,
    /// Number of dead letters. `None`: not counted yet.
    pub dead_letters: Option<u64>,
    /// Whether test calls are offered.
    pub test_calls: bool,
    /// Address of the event stream that keeps the page up to date.
    pub events: String,
}

impl Shell {
    /// The frame of a page in `section`. Its event stream has no events about calls.
    pub fn new(console: &Console, section: &'static str) -> Self {
        let health = console.health();
        Self {
            assets: &ASSETS,
            section,
            mongodb: health.mongodb,
            nats: health.nats,
            dead_letters: console.broker.dead_letters(),
            test_calls: console.context.config.console_test_calls,
            events: "/events".to_owned(),
        }
    }

    /// The links of the navigation.
    pub fn navigation(&self) -> impl Iterator<Item = NavigationLink> {
        let test = self.test_calls.then_some(("/test-call", "Test call"));
        let all = [("/calls", "Calls"), ("/overview", "Overview"), ("/dead-letters", "Dead letters")];
        let section = self.section;
        all.into_iter().chain(test).map(move |(href, name)| NavigationLink {
            href,
            name,
            is_current: href == section,
            has_dead_letter_count: href == "/dead-letters",
        })
    }

    /// The number of dead letters; a dash if it is unknown.
    pub fn dead_letter_count(&self) -> String {
        self.dead_letters.map_or_else(|| "–".to_owned(), format::count)
    }

    /// The number of dead letters in the navigation. Empty: the number is zero or unknown.
    pub fn dead_letter_badge(&self) -> String {
        self.dead_letters.filter(|count| *count > 0).map(format::count).unwrap_or_default()
    }
}

/// A link of the navigation.
pub struct NavigationLink {
    pub href: &'static str,
    pub name: &'static str,
    pub is_current: bool,
    pub has_dead_letter_count: bool,
}

/// Renders a page.
pub fn render(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page of the console was not rendered");
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

/// A page with a title and one message.
pub fn message(
    console: &Console,
    section: &'static str,
    status: StatusCode,
    title: &str,
    text: &str,
) -> Response {
    render(status, &Message { shell: Shell::new(console, section), title, text })
}

/// The page that is shown if the database did not return the data of a page in time.
pub fn database_unavailable(console: &Console, section: &'static str, error: &StoreError) -> Response {
    tracing::info!(%error, "a page of the console could not be shown because MongoDB did not answer");
    let text = "MongoDB did not answer in time. This page reloads when MongoDB is available again.";
    message(console, section, StatusCode::SERVICE_UNAVAILABLE, "Temporarily unavailable", text)
}

/// The page that is shown if the broker did not return the data of a page in time.
pub fn broker_unavailable(console: &Console, section: &'static str) -> Response {
    let text = "NATS did not answer in time. This page reloads when NATS is available again.";
    message(console, section, StatusCode::SERVICE_UNAVAILABLE, "Temporarily unavailable", text)
}
