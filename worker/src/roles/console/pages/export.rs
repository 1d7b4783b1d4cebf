//! `GET /calls.csv`: the calls of a list as a CSV table.

use std::{io, sync::Arc};

use aftercall_common::phone_numbers::Numbers;
use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;

use super::calls::search_number;
use crate::{
    domain::audit::{Action, Object, ObjectKind},
    roles::console::{
        audit,
        state::Console,
        view::{filter::Params, format},
    },
    store::{CallView, ExportPages, Include, StoreError, call_json, csv_header, csv_rows, mask_numbers},
};

/// Most exports at the same time. Each reads as fast as its browser takes the table.
pub const MAX_EXPORTS: usize = 2;

/// Most characters of a batch's id in the name of a file.
const MAX_NAME: usize = 64;

/// A slot for an export.
pub type Slot = OwnedSemaphorePermit;

/// `GET /calls.csv`, with the parameters of `GET /calls`.
pub async fn csv(State(console): State<Arc<Console>>, RawQuery(query): RawQuery) -> Response {
    let now = Timestamp::now();
    let query = query.unwrap_or_default();
    let (params, problem) = Params::read_whole(form_urlencoded::parse(query.as_bytes()));
    if let Some(problem) = problem {
        return (StatusCode::UNPROCESSABLE_ENTITY, format!("{}\n", problem.text)).into_response();
    }
    if let Err(refused) = search_number(&console, &params, now).await {
        return refused;
    }
    let slot = match slot(&console) {
        Ok(slot) => slot,
        Err(refused) => return refused.into_response(),
    };
    let choices = console.choices.get(&console.views, console.health()).await;
    if params.searches_some_reasons(&choices.reasons, console.numbers) {
        let text =
            "more failure reasons contain this text than one table can have; enter more of the reason\n";
        return (StatusCode::UNPROCESSABLE_ENTITY, text).into_response();
    }
    let Some(filter) = params.filter(&choices.reasons, console.numbers, now).export(now) else {
        return (StatusCode::BAD_REQUEST, "a search for an id cannot be exported\n").into_response();
    };
    let query = params.query();
    if let Err(refused) = record(&console, if query.is_empty() { "all" } else { &query }).await {
        return refused.into_response();
    }
    let pages = stream::unfold(console.views.export(filter), async |mut pages: ExportPages| {
        let page = pages.next().await.transpose()?;
        Some((page.map(|page| page.calls().collect()), pages))
    });
    let name = file_name("calls", &params.batch, console.numbers);
    table(&name, pages, console.numbers, slot, now)
}

/// The name of the file with the calls of a batch, without the time and the ending. An empty `batch`: of any batch.
pub fn file_name(name: &str, batch: &str, numbers: Numbers) -> String {
    if batch.is_empty() {
        return name.to_owned();
    }
    let batch = format::id(batch, numbers);
    let batch = batch.chars().take(MAX_NAME);
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    format!("{name}-{}", batch.map(plain).collect::<String>())
}

/// Why an export does not begin.
#[derive(Clone, Copy, Debug)]
pub enum Refused {
    /// MongoDB does not answer.
    NoDatabase,
    /// All slots are taken.
    NoSlot,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::NoDatabase => {
                (StatusCode::SERVICE_UNAVAILABLE, "MongoDB does not answer; try again later\n")
                    .into_response()
            }
            Self::NoSlot => {
                let text =
                    format!("{MAX_EXPORTS} exports are running already; try again when one has ended\n");
                (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "10")], text).into_response()
            }
        }
    }
}

/// A slot for an export.
pub fn slot(console: &Console) -> Result<Slot, Refused> {
    if !console.health().mongodb {
        return Err(Refused::NoDatabase);
    }
    console.exports.clone().try_acquire_owned().map_err(|_full| Refused::NoSlot)
}

/// Records that the `selected` calls are exported, if the table has whole telephone numbers.
pub async fn record(console: &Console, selected: &str) -> Result<(), Refused> {
    if console.numbers == Numbers::Masked {
        return Ok(());
    }
    let calls = Object::new(ObjectKind::Calls, selected);
    let recorded = audit::record_first(console, Action::ExportNumbers, calls).await;
    recorded.map_err(|_error| Refused::NoDatabase)
}

/// The answer with the calls of `pages` as a table, whose file is named after `name` and the time. An error ends the
/// download, so that a browser does not take a part for the whole.
pub fn table(
    name: &str,
    pages: impl Stream<Item = Result<Vec<CallView>, StoreError>> + Send + 'static,
    numbers: Numbers,
    slot: Slot,
    now: Timestamp,
) -> Response {
    let header = stream::once(async { csv_header().map(Bytes::from).map_err(io::Error::other) });
    let rows = pages.map(move |page| {
        let _slot = &slot; // Held until the last page is sent.
        page.map_err(|error| {
            tracing::warn!(%error, "an export of the console ended early");
            io::Error::other("the database does not answer")
        })
        .and_then(|calls| rows(calls, numbers))
    });
    let name = format!("attachment; filename=\"{name}-{}.csv\"", now.strftime("%Y-%m-%dT%H%MZ"));
    let headers =
        [(header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, name)];
    // The compression of answers polls a body again after its end.
    (headers, Body::from_stream(header.chain(rows).fuse())).into_response()
}

fn rows(calls: Vec<CallView>, numbers: Numbers) -> io::Result<Bytes> {
    let calls = calls.into_iter().map(|call| {
        let mut call = call_json(&call, Include::NONE);
        mask_numbers(&mut call, numbers);
        call
    });
    csv_rows(calls).map(Bytes::from).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_batch_is_named_after_it() {
        for (batch, expected) in [
            ("", "calls"),
            ("btcal_3x", "calls-btcal_3x"),
            ("a/../b\"\r\n", "calls-a----b---"),
            ("+6581234567", "calls--65------67"),
        ] {
            assert_eq!(file_name("calls", batch, Numbers::Masked), expected);
        }
        assert_eq!(file_name("calls", &"x".repeat(200), Numbers::Masked).len(), "calls-".len() + MAX_NAME);
    }
}
