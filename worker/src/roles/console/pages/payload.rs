//! `GET /calls/{name}/raw/{field}`: one payload of a call as JSON.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Path, RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};

use super::shell::{self, Shell};
use crate::{
    roles::console::{state::Console, view::address},
    store::views::RAW_FIELDS,
};

/// Address of the section to which payloads belong.
const SECTION: &str = "/calls";
/// Most characters of a payload shown on the page. The download contains the whole payload.
const MAX_CHARS: usize = 200_000;

#[derive(Template)]
#[template(path = "payload.html")]
struct Payload {
    shell: Shell,
    path: String,
    field: &'static str,
    json: String,
    /// Whether the page shows only the beginning.
    cut: bool,
}

/// `GET /calls/{name}/raw/{field}`; with `?download` the whole payload as a file.
pub async fn show(
    State(console): State<Arc<Console>>,
    Path((name, field)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    let not_found = |text| shell::message(&console, SECTION, StatusCode::NOT_FOUND, "Not found", text);
    let Some(field) = RAW_FIELDS.into_iter().find(|known| *known == field) else {
        return not_found("Calls have no payload with this name.");
    };
    let mut value = match console.views.raw(&name, field).await {
        Ok(Some(value)) => value,
        Ok(None) => return not_found("This call does not have this payload."),
        Err(error) => return shell::database_unavailable(&console, SECTION, &error),
    };
    console.numbers.payload(&mut value);
    let mut json = serde_json::to_string_pretty(&value).unwrap_or_default();
    if query.as_deref() == Some("download") {
        let headers = [
            (header::CONTENT_TYPE, "application/json"),
            (header::CONTENT_DISPOSITION, "attachment; filename=\"payload.json\""),
        ];
        return (headers, json).into_response();
    }
    let cut = json.char_indices().nth(MAX_CHARS).map(|(end, _)| end);
    if let Some(end) = cut {
        json.truncate(end);
    }
    let (shell, path) = (Shell::new(&console, SECTION), address::of_call(&name));
    shell::render(StatusCode::OK, &Payload { shell, path, field, json, cut: cut.is_some() })
}
