//! One call.

use aftercall_common::contract::agent_calls::CallRequest;
use serde_json::Value;

use super::{error::ReadingError, query::include_of};
use crate::{
    domain::event::ConversationId,
    roles::api::fit::{Omitted, fit},
    store::{call_json, views::Views},
};

/// The JSON of the call that `request` names, in at most `max_bytes`, and its version. `None`: a worker of an
/// earlier version wrote the call.
pub async fn one(
    views: &Views,
    request: &CallRequest,
    max_bytes: usize,
) -> Result<(Vec<u8>, Option<String>), ReadingError> {
    let include = include_of(&request.query)?;
    let call = views.call(&request.id, include).await?.ok_or(ReadingError::NotFound)?;
    let others = views.other_conversations_of(&call).await?;
    let mut json = call_json(&call, include);
    if !others.is_empty() {
        let others = others.iter().map(ConversationId::as_str).collect::<Value>();
        json.insert("otherConversations".to_owned(), others);
    }
    // A further conversation of the call is a document of its own, and does not change this one.
    let version = call.revision().map(|revision| match others.len() {
        0 => revision.to_string(),
        further => format!("{revision}-{further}"),
    });
    Ok((fit(Value::Object(json), max_bytes, Omitted::Absent), version))
}
