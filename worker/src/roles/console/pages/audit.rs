//! `GET /audit`: what people did in the console, the latest first.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{RawQuery, State},
    http::StatusCode,
    response::Response,
};

use super::shell::{self, Shell};
use crate::{
    domain::audit::{AuditEntry, Login, Object, ObjectKind},
    roles::console::{
        state::Console,
        view::{
            address,
            filter::{cursor, cursor_text},
            format,
        },
    },
};

/// Address of the page.
const SECTION: &str = "/audit";

#[derive(Template)]
#[template(path = "audit.html")]
struct Page {
    shell: Shell,
    rows: Vec<Row>,
    /// Address of the next page. `None`: this is the last page.
    older: Option<String>,
    is_first: bool,
}

/// An entry, as texts.
struct Row {
    iso: String,
    moment: String,
    time: String,
    by: String,
    is_shared: bool,
    action: &'static str,
    object: String,
    /// Address of the object. Empty: it has no page.
    href: String,
}

impl Row {
    fn new(entry: &AuditEntry) -> Self {
        let (object, href) = described(&entry.object);
        Self {
            iso: entry.at.to_string(),
            moment: format::moment(entry.at),
            time: format::short_moment(entry.at),
            by: entry.by.name.clone(),
            is_shared: entry.by.login == Login::Shared,
            action: entry.action.text(),
            object,
            href,
        }
    }
}

/// An object in words, and the address of its page.
fn described(object: &Object) -> (String, String) {
    let name = &object.name;
    match object.kind {
        // The stored name of a call is masked, so an address with it leads nowhere.
        ObjectKind::Call if name.contains('•') => (format!("call {name}"), String::new()),
        ObjectKind::Call => (format!("call {name}"), address::of_call(name)),
        ObjectKind::Calls => (format!("calls: {name}"), String::new()),
        ObjectKind::DeadLetter => (format!("dead letter {name}"), format!("/dead-letters/{name}")),
        ObjectKind::DeadLetters => (name.clone(), String::new()),
        ObjectKind::Endpoint => (format!("endpoint {name}"), address::of_endpoint(name)),
        ObjectKind::Delivery => (format!("deliveries: {name}"), String::new()),
    }
}

/// `GET /audit?before=`
pub async fn list(State(console): State<Arc<Console>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let before = query.strip_prefix("before=").and_then(cursor);
    if before.is_none() && !query.is_empty() {
        return shell::unreadable(
            &console,
            SECTION,
            "before",
            "a position in the list, as its links have it",
        );
    }
    let page = match console.views.audit(before).await {
        Ok(page) => page,
        Err(error) => return shell::database_unavailable(&console, SECTION, &error),
    };
    let template = Page {
        shell: Shell::new(&console, SECTION),
        rows: page.entries.iter().map(Row::new).collect(),
        older: page.next.map(|next| format!("{SECTION}?before={}", cursor_text(next))),
        is_first: before.is_none(),
    };
    shell::render(StatusCode::OK, &template)
}
