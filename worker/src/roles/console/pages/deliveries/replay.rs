//! Sends messages again: one, or all that match a filter.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Path, RawForm, State},
    http::StatusCode,
    response::Response,
};
use jiff::Timestamp;

use super::{Params, show};
use crate::{
    domain::audit::{Action, Object, ObjectKind},
    endpoints,
    roles::console::{
        audit,
        pages::{
            endpoints::SECTION,
            shell::{self, Shell},
        },
        state::Console,
        view::format,
    },
    store::{DeliveryFilter, DeliveryRecord},
};

/// Messages that one request sends at most. The page then offers to continue.
const MAX_MESSAGES: u64 = 2_000;

#[derive(Template)]
#[template(path = "replayed.html")]
struct Page {
    shell: Shell,
    /// Number of messages that are sent again, by this form and those before it.
    sent: String,
    /// The fields of the form that continues. `None`: all are sent again.
    rest: Option<Params>,
    /// Address of the list.
    list: String,
}

/// Messages that were sent again.
#[derive(Default)]
struct Replayed {
    count: u64,
    /// The last one, if more messages match.
    last: Option<DeliveryRecord>,
}

/// `POST /deliveries/{id}/replay`
pub async fn replay_one(State(console): State<Arc<Console>>, Path(id): Path<String>) -> Response {
    let record = match show::find(&console, &id).await {
        Ok(record) => record,
        Err(page) => return page,
    };
    match endpoints::replay(&console.context, std::slice::from_ref(&record)).await {
        Ok(0) => refuse_selection(&console, "The endpoint of this message was removed."),
        Ok(_) => {
            let object = Object::new(ObjectKind::Delivery, &record.delivery.id);
            audit::record(&console, Action::ReplayDelivery, object).await;
            show::page(&console, &record, true).await
        }
        Err(error) => refuse(&console, &error.into(), 0),
    }
}

/// `POST /deliveries/replay`
pub async fn replay_all(State(console): State<Arc<Console>>, RawForm(body): RawForm) -> Response {
    let params = Params::read(&body);
    let filter = match params.filter(Timestamp::now()) {
        Ok(filter) if params.is_replayable() => filter,
        Ok(_) => return refuse_selection(&console, "Choose an endpoint or a call first."),
        Err(problem) => return refuse_selection(&console, &problem.text),
    };
    let before = match show::before(&console, &params).await {
        Ok(before) => before,
        Err(page) => return page,
    };
    let mut replayed = Replayed::default();
    let done = replay(&console, &filter, before, &mut replayed).await;
    tracing::info!(count = replayed.count, "messages sent again from the console");
    if replayed.count > 0 {
        let object = Object::new(ObjectKind::Delivery, &selected(&params, replayed.count));
        audit::record(&console, Action::ReplayDeliveries, object).await;
    }
    let sent = params.sent.saturating_add(replayed.count);
    if let Err(error) = done {
        return refuse(&console, &error, sent);
    }
    let list = params.address();
    let rest = replayed.last.map(|last| Params { before: last.delivery.id, sent, ..params });
    let shell = Shell::new(&console, SECTION);
    shell::render(StatusCode::OK, &Page { shell, sent: format::count(sent), rest, list })
}

/// The selected deliveries, in words.
fn selected(params: &Params, count: u64) -> String {
    let of = if params.endpoint.is_empty() { &params.call } else { &params.endpoint };
    format!("{} of {of}", format::count(count))
}

/// Sends at most [`MAX_MESSAGES`] messages of the deliveries after `before` in the list, and keeps account in `replayed`.
async fn replay(
    console: &Console,
    filter: &DeliveryFilter,
    mut before: Option<DeliveryRecord>,
    replayed: &mut Replayed,
) -> anyhow::Result<()> {
    loop {
        let page = console.views.deliveries(filter, before.as_ref()).await?;
        replayed.count += endpoints::replay(&console.context, &page.records).await? as u64;
        before = page.records.into_iter().last();
        if !page.more || before.is_none() {
            return Ok(());
        }
        if replayed.count >= MAX_MESSAGES {
            replayed.last = before;
            return Ok(());
        }
    }
}

fn refuse_selection(console: &Console, text: &str) -> Response {
    shell::message(console, SECTION, StatusCode::UNPROCESSABLE_ENTITY, "Nothing was sent again", text)
}

/// The page that says why messages were not sent again. `sent`: how many were.
fn refuse(console: &Console, error: &anyhow::Error, sent: u64) -> Response {
    tracing::warn!(%error, "the console could not send messages again");
    let text = match sent {
        0 => format!("{error}."),
        sent => format!("{error}. Before that, {} messages were sent again.", format::count(sent)),
    };
    shell::message(console, SECTION, StatusCode::BAD_GATEWAY, "Not sent again", &text)
}
