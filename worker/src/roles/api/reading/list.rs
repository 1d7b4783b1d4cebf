//! A page of the list of calls.

use serde_json::{Value, json};

use super::{cursor, error::ReadingError, query::ListRequest};
use crate::{
    roles::api::fit::{Omitted, fit},
    store::{call_json, views::Views},
};

/// Most bytes of a page, so that many readers at once need little memory.
const MAX_BYTES: usize = 512 * 1024;
/// Bytes of a page besides its calls: the names of its two fields, and the cursor.
const FRAME_BYTES: usize = 128;

/// The JSON of the page that `query` requests, in at most `max_bytes`. A page with large calls has fewer calls
/// than requested.
pub async fn list(views: &Views, query: &str, max_bytes: usize) -> Result<Vec<u8>, ReadingError> {
    let request = ListRequest::read(query)?;
    let page = views.calls(&request.conditions, request.after, request.limit, request.include).await?;
    let room = max_bytes.min(MAX_BYTES).saturating_sub(FRAME_BYTES);
    let mut body = br#"{"calls":["#.to_vec();
    let mut next = page.next;
    let mut last = None;
    for call in &page.calls {
        let json = Value::Object(call_json(call, request.include));
        let encoded = fit(json, room, Omitted::Absent);
        if last.is_some() && body.len() + encoded.len() > room {
            next = last;
            break;
        }
        if last.is_some() {
            body.push(b',');
        }
        body.extend(encoded);
        last = call.position();
    }
    body.push(b']');
    if let Some(next) = next {
        let text = json!(cursor::encode(next, request.filters)).to_string();
        body.extend(br#","nextCursor":"#);
        body.extend(text.as_bytes());
    }
    body.push(b'}');
    Ok(body)
}
