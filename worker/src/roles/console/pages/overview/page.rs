//! `GET /overview`: figures about calls and webhooks.

use std::sync::Arc;

use aftercall_common::phone_numbers::Numbers;
use askama::Template;
use axum::{
    extract::{RawQuery, State},
    http::StatusCode,
    response::Response,
};
use jiff::Timestamp;

use super::{
    attention::{self, DeadLetterCounts, Item},
    figures::{Arrival, CallFigures, WebhookFigures, arrival, call_figures, webhook_figures},
    groups::{self, By, GroupRow, Groups, Sort},
};
use crate::{
    roles::console::{
        pages::shell::{self, Shell},
        state::Console,
        view::{
            chart::{HEIGHT, WIDTH},
            format,
        },
    },
    store::views::{PeriodFigures, Window},
};

/// Address of the section.
pub const SECTION: &str = "/overview";

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    shell: Shell,
    window: Window,
    sort: Sort,
    /// `None`: the calls are not counted yet.
    calls: Option<CallFigures>,
    /// `None`: the calls are not summed up yet.
    period: Option<Period>,
    /// `None`: the broker has not been sampled yet.
    webhooks: Option<WebhookFigures>,
    /// `None`: there is nothing to compare.
    arrival: Option<Arrival>,
}

/// Sums by agent and by batch, and what needs attention, as texts.
struct Period {
    attention: Vec<Item>,
    /// How long before the count the webhook at ElevenLabs was checked and found right. `None`: it was not.
    webhook_checked: Option<String>,
    total: GroupRow,
    tables: [Groups; 2],
    /// When the calls were summed up: Unix milliseconds, and the age as a text.
    counted_at: i64,
    age: String,
}

impl Period {
    fn new(
        figures: &PeriodFigures,
        letters: &DeadLetterCounts,
        sort: Sort,
        numbers: Numbers,
        now: Timestamp,
    ) -> Self {
        let period = figures.window.as_str();
        Self {
            attention: attention::items(figures, letters, numbers),
            webhook_checked: figures
                .registration
                .as_ref()
                .filter(|check| check.problems.is_empty())
                .map(|check| format::age(check.at, figures.at)),
            total: groups::row(&figures.total.now, &figures.total.before),
            tables: [
                groups::groups(By::Agent, &figures.agents, sort, period, numbers),
                groups::groups(By::Batch, &figures.batches, sort, period, numbers),
            ],
            counted_at: figures.at.as_millisecond(),
            age: format::age(figures.at, now),
        }
    }
}

impl Overview {
    fn windows() -> [(Window, &'static str); 3] {
        Window::ALL.map(|window| (window, name(window)))
    }

    /// Whether the page loads itself again soon, because its figures are missing or old.
    fn is_incomplete(&self) -> bool {
        self.period.is_none() || self.calls.as_ref().is_none_or(|calls| calls.is_old)
    }

    /// The window before, as the table of changes names it.
    fn window_before(&self) -> &'static str {
        match self.window {
            Window::Hour => "the hour before",
            Window::Day => "the day before",
            Window::Week => "the week before",
        }
    }

    /// The time of one step of a chart.
    fn step_name(&self) -> &'static str {
        match self.window {
            Window::Hour => "a minute",
            Window::Day => "half an hour",
            Window::Week => "four hours",
        }
    }

    fn window_name(&self) -> String {
        name(self.window).to_lowercase()
    }
}

fn name(window: Window) -> &'static str {
    match window {
        Window::Hour => "Last hour",
        Window::Day => "Last 24 hours",
        Window::Week => "Last 7 days",
    }
}

/// `GET /overview?window=&sort=`
pub async fn show(State(console): State<Arc<Console>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let parameter = |name: &str| {
        form_urlencoded::parse(query.as_bytes()).find(|(found, _)| found == name).map(|(_, value)| value)
    };
    let window = parameter("window").map_or(Some(Window::Day), |word| Window::from_word(&word));
    let Some(window) = window else {
        let words = Window::ALL.map(Window::as_str).join(", ");
        return shell::unreadable(&console, SECTION, "window", &words);
    };
    let Some(sort) = parameter("sort").map_or(Some(Sort::default()), |word| Sort::from_word(&word)) else {
        return shell::unreadable(&console, SECTION, "sort", "a column, as the links of the table have it");
    };
    let can_count = console.health().mongodb;
    let (views, summed) = (console.views.clone(), console.views.clone());
    let count = async move { views.figures(window, Timestamp::now()).await };
    let sum = async move { summed.period_figures(window, Timestamp::now()).await };
    let (figures, period, letters) = tokio::join!(
        console.figures.get(&console.tasks, can_count, window, count),
        console.periods.get(&console.tasks, can_count, window, sum),
        letters(&console),
    );
    let (numbers, now) = (console.numbers, Timestamp::now());
    let latest = console.broker.latest();
    let newest = latest.iter().map(|(_, at)| *at).max();
    let template = Overview {
        shell: Shell::new(&console, SECTION),
        window,
        sort,
        arrival: figures.as_ref().and_then(|figures| arrival(window, figures.total().calls(), newest, now)),
        calls: figures.map(|figures| call_figures(&figures, numbers, now)),
        period: period.map(|period| Period::new(&period, &letters, sort, numbers, now)),
        webhooks: webhook_figures(&console.broker.all(), latest, now),
    };
    shell::render(StatusCode::OK, &template)
}

/// The dead letters by reason. If the broker does not answer in time, they are those of the latest answer.
async fn letters(console: &Console) -> DeadLetterCounts {
    let is_complete = console.update_letters().await;
    let index = console.letters.get();
    DeadLetterCounts::new(&index.groups(), is_complete && !index.is_cut())
}
