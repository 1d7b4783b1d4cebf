//! The list of conversations (`GET /v1/convai/conversations`) and single conversations.

use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{ApiError, ElevenLabs, answer::read};
use crate::domain::{
    conversation::ConversationStatus,
    event::{ConversationId, channel_of_source, lenient_id},
};

/// Conversations on a page: the most that the API allows.
const PAGE_SIZE: &str = "100";

/// An entry of the list. It names neither the call nor a telephone number.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The conversation.
    pub id: ConversationId,
    /// The state of the conversation. `None` if this version does not know the word.
    pub status: Option<ConversationStatus>,
    /// When the conversation began.
    pub began: Option<Timestamp>,
    /// The id of its agent.
    pub agent: Option<String>,
    /// The channel. `None` if the list does not name it.
    pub channel: Option<String>,
}

/// A page of the list.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The conversations on the page.
    pub conversations: Vec<Summary>,
    /// The cursor of the next page. `None` on the last page.
    pub next: Option<String>,
}

impl ElevenLabs {
    /// Fetches a page of the conversations that began from `since` to `until`, the oldest first.
    pub async fn list(
        &self,
        since: Timestamp,
        until: Timestamp,
        cursor: Option<&str>,
    ) -> Result<Page, ApiError> {
        let (since, until) = (since.as_second().to_string(), until.as_second().to_string());
        let mut pairs = vec![
            ("page_size", PAGE_SIZE),
            ("sort_direction", "asc"),
            ("call_start_after_unix", &since),
            ("call_start_before_unix", &until),
        ];
        pairs.extend(cursor.map(|cursor| ("cursor", cursor)));
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let path = format!("/v1/convai/conversations?{query}");
        self.send_with_retries(self.request(Method::GET, &path), page).await
    }

    /// Fetches one conversation with all its fields.
    pub async fn whole_conversation(&self, id: &ConversationId) -> Result<Map<String, Value>, ApiError> {
        let path = format!("/v1/convai/conversations/{}", id.as_str());
        self.send_with_retries(self.request(Method::GET, &path), read).await
    }
}

/// Reads a page. Skips conversations whose id is not valid, because no stored call can have such an id.
fn page(body: &[u8]) -> Result<Page, ApiError> {
    #[derive(Deserialize)]
    struct Wire {
        conversations: Vec<Value>,
        #[serde(default)]
        next_cursor: Option<String>,
        #[serde(default)]
        has_more: bool,
    }
    let wire: Wire = read(body)?;
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let summary = |item: &Value| {
        Some(Summary {
            id: lenient_id(&item["conversation_id"], ConversationId::new)?,
            status: ConversationStatus::read(&item["status"]),
            began: item["start_time_unix_secs"].as_i64().and_then(|begin| Timestamp::from_second(begin).ok()),
            agent: text(&item["agent_id"]),
            channel: text(&item["conversation_initiation_source"])
                .and_then(|source| channel_of_source(&source).map(str::to_owned)),
        })
    };
    let next = wire.next_cursor.filter(|cursor| wire.has_more && !cursor.is_empty());
    if wire.has_more && next.is_none() {
        return Err(ApiError::Unreadable); // Otherwise the rest of the list would count as compared.
    }
    Ok(Page { conversations: wire.conversations.iter().filter_map(summary).collect(), next })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_and_the_last_page_has_no_cursor() {
        let body = |more: bool| {
            format!(
                r#"{{"conversations":[{{"conversation_id":"v1","status":"done","start_time_unix_secs":7,"agent_id":"a","conversation_initiation_source":"widget"}},
                {{"conversation_id":"../v2","status":"done"}},{{"conversation_id":" ","status":"done"}},{{"conversation_id":"v3","status":"new"}}],
                "next_cursor":"c","has_more":{more}}}"#
            )
        };
        let first = page(body(true).as_bytes()).unwrap();
        let found: Vec<_> = first.conversations.iter().map(|one| (one.id.as_str(), one.status)).collect();
        assert_eq!(found, [("v1", Some(ConversationStatus::Done)), ("v3", None)]);
        let (agent, channel) = (&first.conversations[0].agent, &first.conversations[0].channel);
        assert_eq!((agent.as_deref(), channel.as_deref()), (Some("a"), Some("web")));
        assert_eq!((&first.conversations[1].agent, &first.conversations[1].channel), (&None, &None));
        assert_eq!((first.next.as_deref(), page(body(false).as_bytes()).unwrap().next), (Some("c"), None));
        assert!(page(b"{}").is_err());
    }
}
