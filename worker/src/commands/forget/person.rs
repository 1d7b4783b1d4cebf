//! Who is meant, and how to recognise what is about them. Pure.

use std::collections::BTreeSet;

use aftercall_common::phone_numbers::Wanted;
use mongodb::bson::{Document, doc, oid::ObjectId};
use serde_json::Value;

use super::mention::{self, Role};
use crate::domain::event::{CallId, ConversationId, Event, PlacementId};

/// A shorter row of digits would be found in what is about others.
const LEAST_DIGITS: usize = 7;
/// The fields of a document that name its call.
const IDS: [&str; 4] = ["callId", "sharedCallId", "conversationId", "_placementId"];

/// A person, by everything that is known to name one of their calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Person {
    number: Option<Wanted>,
    /// Whether what only mentions the number is theirs too.
    with_mentions: bool,
    /// Call ids, conversation ids, placement ids.
    ids: BTreeSet<String>,
    /// Documents.
    documents: BTreeSet<ObjectId>,
    /// Ids of events, by which recordings are named.
    events: BTreeSet<String>,
}

/// Whose something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// The person's.
    Theirs,
    /// Somebody else's, who mentions the number of the person; what it is called.
    Mentions(String),
    /// Somebody else's.
    Others,
}

impl Person {
    /// Everybody with `number`; `national`: also where it stands without its country.
    pub fn with_number(number: &str, national: bool, with_mentions: bool) -> Result<Self, &'static str> {
        let digits: String = number.chars().filter(char::is_ascii_digit).collect();
        let is_number = number.chars().all(|c| c.is_ascii_digit() || "+-() .".contains(c));
        if !is_number || digits.trim_start_matches('0').len() < LEAST_DIGITS {
            return Err("must be a telephone number of at least seven digits");
        }
        Ok(Self { number: Some(Wanted::new(&digits, national)), with_mentions, ..Self::default() })
    }

    pub fn with_id(id: &str) -> Self {
        Self { ids: BTreeSet::from([id.to_owned()]), ..Self::default() }
    }

    /// The same person, and everybody who mentions their number.
    pub fn and_mentions(self) -> Self {
        Self { with_mentions: true, ..self }
    }

    /// Whether a number names them, which may stand in any document.
    pub fn has_number(&self) -> bool {
        self.number.is_some()
    }

    /// Whether `id` names one of their calls.
    pub fn knows(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// How much is known. Grows only.
    pub fn size(&self) -> usize {
        self.ids.len() + self.documents.len()
    }

    pub fn events(&self) -> Vec<String> {
        self.events.iter().cloned().collect()
    }

    /// The documents that are known to be about them.
    pub fn filter(&self) -> Document {
        let ids: Vec<_> = self.ids.iter().map(String::as_str).collect();
        let documents: Vec<_> = self.documents.iter().copied().collect();
        let mut any: Vec<_> = IDS.iter().map(|field| doc! { *field: { "$in": &ids } }).collect();
        any.push(doc! { "_id": { "$in": documents } });
        doc! { "$or": any }
    }

    /// Takes up what their documents say of their calls.
    pub fn learn(&mut self, calls: &[Document]) {
        for call in calls {
            for field in IDS {
                self.ids.extend(call.get_str(field).ok().map(str::to_owned));
            }
            for field in ["audio", "transcript"] {
                let file = call.get_document(field).and_then(|file| file.get_str("fileId"));
                self.events.extend(file.ok().map(str::to_owned));
            }
        }
    }

    /// Whose `call` is by its content. If it is theirs, what it says is learned.
    pub fn look_at(&mut self, call: &Document, content: &Value) -> Whose {
        let Some(number) = &self.number else { return Whose::Others };
        let ids: Vec<_> = IDS.into_iter().filter_map(|field| call.get_str(field).ok()).collect();
        let whose = if ids.iter().any(|id| self.knows(id)) {
            Whose::Theirs
        } else {
            let name = || ids.first().map_or("a call without ids", |id| *id).to_owned();
            self.whose(mention::of_value(content, number), name)
        };
        if whose == Whose::Theirs {
            self.learn(std::slice::from_ref(call));
            self.documents.extend(call.get_object_id("_id").ok());
        }
        whose
    }

    pub fn learn_event(&mut self, id: Option<String>) {
        self.events.extend(id);
    }

    /// Whose `event` is; if theirs, its identifiers are theirs too.
    pub fn took_part(&mut self, event: &Event, body: &[u8]) -> Whose {
        let ids = [
            event.call_id.as_ref().map(CallId::as_str),
            event.conversation_id.as_ref().map(ConversationId::as_str),
            event.placement_id.as_ref().map(PlacementId::as_str),
        ];
        let ids: Vec<_> = ids.into_iter().flatten().collect();
        let whose = if ids.iter().any(|id| self.knows(id)) {
            Whose::Theirs
        } else {
            let name = || ids.first().map_or("an event without ids", |id| *id).to_owned();
            self.whose(self.role(body), name)
        };
        if whose == Whose::Theirs {
            self.ids.extend(ids.into_iter().map(str::to_owned));
        }
        whose
    }

    /// Whose a message is that is no event: by its body, or by its subject; `name` is what it is called.
    pub fn is_named_in(&self, body: &[u8], subject: &str, name: &str) -> Whose {
        let text = String::from_utf8_lossy(body);
        if self.ids.iter().any(|id| text.contains(id.as_str()) || subject.contains(id.as_str())) {
            return Whose::Theirs;
        }
        self.whose(self.role(body).max(self.role(subject.as_bytes())), || name.to_owned())
    }

    fn role(&self, body: &[u8]) -> Role {
        let number = self.number.as_ref();
        number.map_or(Role::None, |number| mention::of_text(&String::from_utf8_lossy(body), number))
    }

    fn whose(&self, role: Role, name: impl FnOnce() -> String) -> Whose {
        match role {
            Role::Party => Whose::Theirs,
            Role::Mentioned if self.with_mentions => Whose::Theirs,
            Role::Mentioned => Whose::Mentions(name()),
            Role::None => Whose::Others,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn person(number: &str) -> Person {
        Person::with_number(number, false, false).unwrap()
    }

    #[test]
    fn a_number_is_plain_and_long_enough() {
        for number in ["12345", "all of them", "0000000000", "001234"] {
            assert!(Person::with_number(number, false, false).is_err(), "{number}");
        }
        assert!(Person::with_number("+1 (202) 555-0100", false, false).is_ok());
    }

    #[test]
    fn one_id_leads_to_the_others() {
        let mut person = Person::with_id("c1");
        assert!(person.filter().to_string().contains("c1"));
        person.learn(&[doc! { "callId": "c1", "conversationId": "v1", "audio": { "fileId": "e1" } }]);
        assert_eq!(person.is_named_in(br#"{"conversation_id":"v1"}"#, "", "x"), Whose::Theirs);
        assert_eq!(person.is_named_in(b"", "transcripts.v1", "x"), Whose::Theirs);
        assert_eq!(person.events(), ["e1"]);
    }

    #[test]
    fn a_document_that_mentions_the_number_teaches_nothing_unless_it_is_asked_for() {
        let call = doc! { "_id": ObjectId::from_bytes([1; 12]), "callId": "c1" };
        let content = json!({ "transcript": [{ "message": "call +1 202 555 0100" }] });
        let mut one = person("+12025550100");
        assert_eq!(one.look_at(&call, &content), Whose::Mentions("c1".to_owned()));
        assert_eq!(one.size(), 0);
        let mut with_mentions = person("+12025550100").and_mentions();
        assert_eq!(with_mentions.look_at(&call, &content), Whose::Theirs);
        assert_eq!(with_mentions.size(), 2);
        let party = json!({ "toNumber": "+1 202 555 0100" });
        assert_eq!(one.look_at(&call, &party), Whose::Theirs);
        let other = doc! { "_id": ObjectId::from_bytes([2; 12]), "callId": "c2" };
        assert_eq!(one.look_at(&other, &json!({ "toNumber": "+12025550101" })), Whose::Others);
        assert_eq!(one.look_at(&call, &content), Whose::Theirs, "one of their calls by now");
    }
}
