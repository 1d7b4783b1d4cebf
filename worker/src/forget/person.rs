//! Who is meant, and how to recognise what is about them. Pure.

use std::collections::BTreeSet;

use mongodb::bson::{Document, doc};

use crate::event::{CallId, ConversationId, Event, PlacementId};

/// A shorter row of digits would be found in what is about others.
const LEAST_DIGITS: usize = 7;

/// A person, by everything that is known to name one of their calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Person {
    /// Digits of the number.
    number: Option<String>,
    /// Call ids, conversation ids, placement ids.
    ids: BTreeSet<String>,
    /// Ids of events, by which recordings are named.
    events: BTreeSet<String>,
}

impl Person {
    pub fn with_number(number: &str) -> Result<Self, &'static str> {
        let digits: String = number.chars().filter(char::is_ascii_digit).collect();
        let is_number = number.chars().all(|c| c.is_ascii_digit() || "+-() .".contains(c));
        if !is_number || digits.len() < LEAST_DIGITS {
            return Err("must be a telephone number of at least seven digits");
        }
        Ok(Self { number: Some(digits), ..Self::default() })
    }

    pub fn with_id(id: &str) -> Self {
        Self { ids: BTreeSet::from([id.to_owned()]), ..Self::default() }
    }

    /// How much is known. Grows only.
    pub fn size(&self) -> usize {
        self.ids.len()
    }

    pub fn events(&self) -> Vec<String> {
        self.events.iter().cloned().collect()
    }

    /// The documents about them.
    pub fn filter(&self) -> Document {
        let ids: Vec<_> = self.ids.iter().map(String::as_str).collect();
        let mut any = vec![
            doc! { "callId": { "$in": &ids } },
            doc! { "sharedCallId": { "$in": &ids } },
            doc! { "conversationId": { "$in": &ids } },
            doc! { "_placementId": { "$in": &ids } },
        ];
        if let Some(digits) = &self.number {
            any.push(doc! { "toNumber": { "$in": [digits, format!("+{digits}")] } });
        }
        doc! { "$or": any }
    }

    /// Takes up what their documents say of their calls.
    pub fn learn(&mut self, calls: Vec<Document>) {
        for call in calls {
            for field in ["callId", "sharedCallId", "conversationId", "_placementId"] {
                self.ids.extend(call.get_str(field).ok().map(str::to_owned));
            }
            for field in ["audio", "transcript"] {
                let file = call.get_document(field).and_then(|file| file.get_str("fileId"));
                self.events.extend(file.ok().map(str::to_owned));
            }
        }
    }

    pub fn learn_event(&mut self, id: Option<String>) {
        self.events.extend(id);
    }

    /// Whether `event` is about them; if so its identifiers are theirs too.
    pub fn took_part(&mut self, event: &Event, body: &[u8]) -> bool {
        let ids = [
            event.call_id.as_ref().map(CallId::as_str),
            event.conversation_id.as_ref().map(ConversationId::as_str),
            event.placement_id.as_ref().map(PlacementId::as_str),
        ];
        let theirs = ids.into_iter().flatten().any(|id| self.ids.contains(id)) || self.has_number(body);
        if theirs {
            self.ids.extend(ids.into_iter().flatten().map(str::to_owned));
        }
        theirs
    }

    /// Whether their number or one of their ids stands anywhere in `body`.
    pub fn is_named_in(&self, body: &[u8]) -> bool {
        let text = String::from_utf8_lossy(body);
        self.has_number(body) || self.ids.iter().any(|id| text.contains(id.as_str()))
    }

    /// Whether the digits of their number stand in `body`, and are not part of a longer number.
    fn has_number(&self, body: &[u8]) -> bool {
        let Some(digits) = &self.number else { return false };
        let text = String::from_utf8_lossy(body);
        text.match_indices(digits.as_str()).any(|(at, _)| {
            // `%2B` is the plus sign of a form.
            let before = text[..at].trim_end_matches("%2B");
            let is_alone = before.len() < at || !before.ends_with(|c: char| c.is_ascii_digit());
            is_alone && !text[at + digits.len()..].starts_with(|c: char| c.is_ascii_digit())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_in_json_and_forms_and_not_in_longer_ones() {
        let person = Person::with_number("+1 (202) 555-0100").unwrap();
        #[rustfmt::skip]
        let table = [
            (r#"{"to_number":"+12025550100"}"#,  true),
            ("To=%2B12025550100&From=x",         true),
            (r#"{"n":12025550100}"#,             true),
            (r#"{"to_number":"+120255501001"}"#, false),
            (r#"{"to_number":"912025550100"}"#,  false),
            (r#"{"to_number":"+12025550101"}"#,  false),
        ];
        for (body, expected) in table {
            assert_eq!(person.is_named_in(body.as_bytes()), expected, "{body}");
        }
        assert!(Person::with_number("12345").is_err());
        assert!(Person::with_number("all of them").is_err());
    }

    #[test]
    fn one_id_leads_to_the_others() {
        let mut person = Person::with_id("c1");
        assert!(person.filter().to_string().contains("c1"));
        person.learn(vec![doc! { "callId": "c1", "conversationId": "v1", "audio": { "fileId": "e1" } }]);
        assert!(person.is_named_in(br#"{"conversation_id":"v1"}"#));
        assert_eq!(person.events(), ["e1"]);
    }
}
