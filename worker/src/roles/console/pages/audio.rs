//! `GET /calls/{name}/audio`: the recording of a call, whole or a range of its bytes.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};

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
    let (status, from, to) = match requested.map(|requested| parse_range(requested, file.length)) {
        None | Some(Range::Whole) => (StatusCode::OK, 0, file.length - 1),
        Some(Range::Part(from, to)) => (StatusCode::PARTIAL_CONTENT, from, to),
        Some(Range::Unsatisfiable) => {
            let length = [(header::CONTENT_RANGE, format!("bytes */{}", file.length))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, length).into_response());
        }
    };
    let bytes = console.views.audio_bytes(&file, file.chunks(from, to)).await?;
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

/// The bytes that a `Range` header requests.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    /// The whole file, because the header cannot be understood (RFC 9110).
    Whole,
    /// From the first to the last byte, both included.
    Part(u64, u64),
    /// The range begins after the end of the file.
    Unsatisfiable,
}

fn parse_range(header: &str, length: u64) -> Range {
    let Some((from, to)) = header.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-'))
    else {
        return Range::Whole;
    };
    match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), _) if from >= length => Range::Unsatisfiable,
        (Ok(from), Ok(to)) if to >= from => Range::Part(from, to.min(length - 1)),
        (Ok(from), Err(_)) if to.is_empty() => Range::Part(from, length - 1),
        (Err(_), Ok(0)) if from.is_empty() => Range::Unsatisfiable,
        (Err(_), Ok(last)) if from.is_empty() => Range::Part(length.saturating_sub(last), length - 1),
        _ => Range::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_header_selects_the_bytes_it_names() {
        #[rustfmt::skip]
        let table = [
            ("bytes=0-",      Range::Part(0, 99)),
            ("bytes=10-19",   Range::Part(10, 19)),
            ("bytes=90-500",  Range::Part(90, 99)),
            ("bytes=-10",     Range::Part(90, 99)),
            ("bytes=-500",    Range::Part(0, 99)),
            ("bytes=100-",    Range::Unsatisfiable),
            ("bytes=-0",      Range::Unsatisfiable),
            ("bytes=5-2",     Range::Whole),
            ("bytes=0-1,5-6", Range::Whole),
            ("lines=1-2",     Range::Whole),
            ("bytes=a-b",     Range::Whole),
        ];
        for (header, expected) in table {
            assert_eq!(parse_range(header, 100), expected, "{header}");
        }
    }
}
