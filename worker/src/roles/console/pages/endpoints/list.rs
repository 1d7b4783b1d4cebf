//! `GET /endpoints`: the list of endpoints.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, http::StatusCode, response::Response};
use jiff::Timestamp;

use super::SECTION;
use crate::{
    roles::console::{
        pages::shell::{self, Shell},
        state::Console,
        view::endpoint::EndpointRow,
    },
    store::StoreError,
};

#[derive(Template)]
#[template(path = "endpoints.html")]
struct List {
    shell: Shell,
    endpoints: Vec<EndpointRow>,
}

/// `GET /endpoints`
pub async fn list(State(console): State<Arc<Console>>) -> Response {
    match rows(&console).await {
        Ok(endpoints) => {
            shell::render(StatusCode::OK, &List { shell: Shell::new(&console, SECTION), endpoints })
        }
        Err(error) => shell::database_unavailable(&console, SECTION, &error),
    }
}

async fn rows(console: &Console) -> Result<Vec<EndpointRow>, StoreError> {
    let endpoints = console.views.endpoints().await?;
    let figures = console.views.delivery_figures(&endpoints).await?;
    let now = Timestamp::now();
    let rows = endpoints.iter().zip(&figures);
    Ok(rows.map(|(endpoint, figures)| EndpointRow::new(endpoint, figures, console.numbers, now)).collect())
}
