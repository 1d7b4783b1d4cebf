//! `GET /calls/{name}/audio`: the recording, whole or a range of it, as players ask for it.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};

use super::Console;
use crate::store::StoreError;

/// `GET /calls/{name}/audio`
pub async fn serve(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    match find(&console, &name, &headers).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::info!(%error, "a recording was not read");
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
    let asked = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let (status, from, to) = match asked.map(|asked| range(asked, file.length)) {
        None | Some(Range::Whole) => (StatusCode::OK, 0, file.length - 1),
        Some(Range::Part(from, to)) => (StatusCode::PARTIAL_CONTENT, from, to),
        Some(Range::Beyond) => {
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

/// What a `Range` header asks for of so many bytes.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    /// Nothing that is understood: the whole is sent, as the standard has it.
    Whole,
    /// From the one to the other, both included.
    Part(u64, u64),
    /// What is not there.
    Beyond,
}

fn range(asked: &str, length: u64) -> Range {
    let Some((from, to)) = asked.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-')) else {
        return Range::Whole;
    };
    match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), _) if from >= length => Range::Beyond,
        (Ok(from), Ok(to)) if to >= from => Range::Part(from, to.min(length - 1)),
        (Ok(from), Err(_)) if to.is_empty() => Range::Part(from, length - 1),
        (Err(_), Ok(0)) if from.is_empty() => Range::Beyond,
        (Err(_), Ok(last)) if from.is_empty() => Range::Part(length.saturating_sub(last), length - 1),
        _ => Range::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_player_gets_the_part_it_asks_for() {
        #[rustfmt::skip]
        let table = [
            ("bytes=0-",      Range::Part(0, 99)),
            ("bytes=10-19",   Range::Part(10, 19)),
            ("bytes=90-500",  Range::Part(90, 99)),
            ("bytes=-10",     Range::Part(90, 99)),
            ("bytes=-500",    Range::Part(0, 99)),
            ("bytes=100-",    Range::Beyond),
            ("bytes=-0",      Range::Beyond),
            ("bytes=5-2",     Range::Whole),
            ("bytes=0-1,5-6", Range::Whole),
            ("lines=1-2",     Range::Whole),
            ("bytes=a-b",     Range::Whole),
        ];
        for (asked, expected) in table {
            assert_eq!(range(asked, 100), expected, "{asked}");
        }
    }
}
