//! The frame that all pages share, and pages with a single message.

use aftercall_common::phone_numbers::Numbers;
use askama::Template;
use axum::{
    http::StatusCode,
    response::{Html, IntoResponse as _, Response},
};

use crate::{
    domain::audit::Person,
    roles::console::{
        access::user,
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
    /// Whether telephone numbers are masked.
    pub numbers: Numbers,
    /// The person for whom the page is made. `None`: nobody has logged in.
    pub person: Option<Person>,
    /// Address of the event stream that keeps the page up to date.
    pub events: String,
}

impl Shell {
    /// Whether telephone numbers are masked.
    pub fn masks_numbers(&self) -> bool {
        self.numbers == Numbers::Masked
    }

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
            numbers: console.numbers,
            person: user::person(),
            events: "/events".to_owned(),
        }
    }

    /// The links of the navigation.
    pub fn navigation(&self) -> impl Iterator<Item = NavigationLink> {
        let test = self.test_calls.then_some(("/test-call", "Test call"));
        let all = [
            ("/calls", "Calls"),
            ("/overview", "Overview"),
            ("/endpoints", "Endpoints"),
            ("/dead-letters", "Dead letters"),
            ("/audit", "Audit"),
        ];
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
    /// Whether the page is requested again when a server answers again.
    reloads: bool,
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
    let reloads = status == StatusCode::SERVICE_UNAVAILABLE;
    render(status, &Message { shell: Shell::new(console, section), reloads, title, text })
}

/// The page for a parameter of an address that cannot be read. `takes`: what it takes.
pub fn unreadable(console: &Console, section: &'static str, name: &str, takes: &str) -> Response {
    let text = format!("The parameter {name} takes {takes}.");
    message(console, section, StatusCode::UNPROCESSABLE_ENTITY, "The address cannot be read", &text)
}

#[derive(Template)]
#[template(path = "unsent.html")]
struct Unsent<'a> {
    shell: Shell,
    page: &'a RejectedText<'a>,
    entered: &'a str,
}

/// A page for a text that was not taken.
pub struct RejectedText<'a> {
    /// Address of the section to which the page belongs.
    pub section: &'static str,
    /// Address of the page to go back to.
    pub back: &'a str,
    pub title: &'a str,
    /// Why the text was not taken.
    pub text: &'a str,
}

/// A page that says why a text was not taken, with the text that was entered.
pub fn rejected_text(
    console: &Console,
    status: StatusCode,
    page: &RejectedText<'_>,
    entered: &str,
) -> Response {
    render(status, &Unsent { shell: Shell::new(console, page.section), page, entered })
}

/// The page that is shown if the database did not return the data of a page in time.
pub fn database_unavailable(console: &Console, section: &'static str, error: &StoreError) -> Response {
    tracing::info!(%error, "a page of the console could not be shown because MongoDB did not answer");
    let text = "MongoDB did not answer in time. This page reloads when MongoDB is available again.";
    message(console, section, StatusCode::SERVICE_UNAVAILABLE, "Temporarily unavailable", text)
}

/// The answer to a form, if MongoDB did not answer in time. Unlike [`database_unavailable`], the page does not load again
/// by itself, because that would send the form again.
pub fn not_confirmed(console: &Console, section: &'static str, error: &StoreError) -> Response {
    tracing::info!(%error, "MongoDB did not confirm in time what somebody did in the console");
    let text = "MongoDB did not answer in time, so this may not have been done. Look before you try again.";
    message(console, section, StatusCode::GATEWAY_TIMEOUT, "Not confirmed", text)
}

/// The page that is shown if the broker did not return the data of a page in time.
pub fn broker_unavailable(console: &Console, section: &'static str) -> Response {
    let text = "NATS did not answer in time. This page reloads when NATS is available again.";
    message(console, section, StatusCode::SERVICE_UNAVAILABLE, "Temporarily unavailable", text)
}
