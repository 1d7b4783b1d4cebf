//! `GET /calls/{name}/audio`: the recording of a call, whole or a range of its bytes.

use std::sync::Arc;

use aftercall_common::http::ByteRange;
use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::TryStreamExt as _;

use crate::{roles::console::state::Console, store::StoreError};

/// `GET /calls/{name}/audio`
pub async fn serve(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    match find(&console, &name, &headers).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::info!(%error, "a recording could not be read for the console");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

async fn find(console: &Console, name: &str, headers: &HeaderMap) -> Result<Response, StoreError> {
    let call = console.views.detail(name, usize::MAX).await?;
    let Some(id) = call.and_then(|call| call.audio_file) else {
        return Ok(StatusCode::NOT_FOUND.into_response());
    };
    let Some(file) = console.views.audio(&id).await?.filter(|file| file.length > 0) else {
        return Ok(StatusCode::NOT_FOUND.into_response());
    };
    let requested = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let (status, from, to) = match requested.map(|requested| ByteRange::read(requested, file.length)) {
        None | Some(ByteRange::Whole) => (StatusCode::OK, 0, file.length - 1),
        Some(ByteRange::Part(from, to)) => (StatusCode::PARTIAL_CONTENT, from, to),
        Some(ByteRange::Unsatisfiable) => {
            let length = [(header::CONTENT_RANGE, format!("bytes */{}", file.length))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, length).into_response());
        }
    };
    let bytes = console.views.audio_bytes(&file, from, to).await?.inspect_err(|error| {
        tracing::info!(%error, "a recording was not sent to its end");
    });
    let mut answer = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "audio/mpeg")
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CONTENT_LENGTH, to + 1 - from);
    if status == StatusCode::PARTIAL_CONTENT {
        answer = answer.header(header::CONTENT_RANGE, format!("bytes {from}-{to}/{}", file.length));
    }
    Ok(answer.body(Body::from_stream(bytes)).unwrap_or_default())
}
