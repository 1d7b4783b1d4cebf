//! `GET /overview`: figures about calls and webhooks.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{RawQuery, State},
    http::StatusCode,
    response::Response,
};

use super::figures::{CallFigures, WebhookFigures, call_figures, webhook_figures};
use crate::{
    roles::console::{
        pages::shell::{self, Shell},
        state::Console,
        view::chart::{HEIGHT, WIDTH},
    },
    store::views::Window,
};

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    shell: Shell,
    window: Window,
    /// `None`: the calls are not counted yet.
    calls: Option<CallFigures>,
    /// `None`: the broker has not been sampled yet.
    webhooks: Option<WebhookFigures>,
}

impl Overview {
    fn windows() -> [(Window, &'static str); 3] {
        Window::ALL.map(|window| (window, name(window)))
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

/// `GET /overview?window=`
pub async fn show(State(console): State<Arc<Console>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let window = query.strip_prefix("window=").and_then(Window::from_word).unwrap_or(Window::Day);
    let figures = console.figures.get(&console.views, console.health(), &console.tasks, window).await;
    let template = Overview {
        shell: Shell::new(&console, "/overview"),
        window,
        calls: figures.map(|figures| call_figures(&figures, console.numbers)),
        webhooks: webhook_figures(&console.broker.all()),
    };
    shell::render(StatusCode::OK, &template)
}
