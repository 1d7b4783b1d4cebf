//! `GET /batches/{id}/retry.csv`: the recipients that no call of the batch reached, as a CSV table.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use futures_util::stream;
use jiff::Timestamp;
use mongodb::bson::oid::ObjectId;

use crate::{
    roles::console::{pages::export, state::Console},
    store::{StoreError, views::Views},
};

/// Calls that are read at once.
const CALLS: usize = 1000;

/// `GET /batches/{id}/retry.csv`: the latest call of each recipient that may be called again.
pub async fn csv(State(console): State<Arc<Console>>, Path(id): Path<String>) -> Response {
    let slot = match export::slot(&console) {
        Ok(slot) => slot,
        Err(refused) => return refused.into_response(),
    };
    let calls = match find(&console.views, &id).await {
        Ok(Some(calls)) => calls,
        Ok(None) => return (StatusCode::NOT_FOUND, "no stored call belongs to this batch\n").into_response(),
        Err(error) => {
            tracing::warn!(%error, "the calls of a batch to try again were not found");
            let text = "MongoDB did not find the calls of this batch in time; try again later\n";
            return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
        }
    };
    if let Err(refused) = export::record(&console, &format!("batch {id}, to try again")).await {
        return refused.into_response();
    }
    let views = console.views.clone();
    let pages = stream::unfold(calls.into_iter(), move |mut calls| {
        let views = views.clone();
        async move {
            let ids: Vec<_> = calls.by_ref().take(CALLS).collect();
            if ids.is_empty() {
                return None;
            }
            Some((views.retried_calls(ids).await, calls))
        }
    });
    let name = export::file_name("to-try-again", &id, console.numbers);
    export::table(&name, pages, console.numbers, slot, Timestamp::now())
}

/// The calls of the table. `None`: the batch has no call.
async fn find(views: &Views, id: &str) -> Result<Option<Vec<ObjectId>>, StoreError> {
    if !views.has_batch(id).await? {
        return Ok(None);
    }
    views.calls_to_retry(id).await.map(Some)
}
