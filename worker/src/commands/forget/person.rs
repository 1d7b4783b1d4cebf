//! The person to erase. Decides which documents and messages belong to the person. Pure.

use std::collections::BTreeSet;

use aftercall_common::phone_numbers::Wanted;
use mongodb::bson::{Document, doc, oid::ObjectId};
use serde_json::Value;

use super::mention::{self, Role};
use crate::domain::event::{CallId, ConversationId, Event, PlacementId};

/// Fewest digits of a number to search for. A shorter number would also occur in the data of other people.
const MIN_DIGITS: usize = 7;
/// The fields of a document that identify its call.
const ID_FIELDS: [&str; 4] = ["callId", "sharedCallId", "conversationId", "_placementId"];

/// A person, identified by a telephone number, by the ids of calls, or by both.
#[derive(Clone, Debug, Default)]
pub(super) struct Person {
    number: Option<Wanted>,
    /// Whether data that only mentions the number belongs to the person.
    with_mentions: bool,
    /// Call ids, conversation ids, placement ids.
    ids: BTreeSet<String>,
    /// `_id` of documents.
    documents: BTreeSet<ObjectId>,
    /// Ids of events. The files of recordings and large transcripts have these names.
    events: BTreeSet<String>,
}

/// The owner of a document or message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The person.
    Person,
    /// Somebody else, and the number of the person is mentioned in it. Holds the id of the call or message.
    Mentions(String),
    /// Somebody else.
    Other,
}

impl Person {
    /// The person with this telephone number. `national`: the number is also found without its country code.
    /// `with_mentions`: data that only mentions the number belongs to the person.
    ///
    /// # Errors
    /// `number` is no telephone number.
    pub fn with_number(number: &str, national: bool, with_mentions: bool) -> Result<Self, &'static str> {
        let digits: String = number.chars().filter(char::is_ascii_digit).collect();
        let is_number = number.chars().all(|c| c.is_ascii_digit() || "+-() .".contains(c));
        if !is_number || digits.trim_start_matches('0').len() < MIN_DIGITS {
            return Err("must be a telephone number of at least seven digits");
        }
        Ok(Self { number: Some(Wanted::new(&digits, national)), with_mentions, ..Self::default() })
    }

    /// The person in the call or conversation `id`.
    pub fn with_id(id: &str) -> Self {
        Self { ids: BTreeSet::from([id.to_owned()]), ..Self::default() }
    }

    /// The same person. From now on, data that only mentions the number belongs to the person too.
    pub fn and_mentions(self) -> Self {
        Self { with_mentions: true, ..self }
    }

    /// Whether the person is identified by a telephone number, which can be in any document.
    pub fn has_number(&self) -> bool {
        self.number.is_some()
    }

    /// Whether `id` identifies a call of the person.
    pub fn knows(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// Number of known ids and documents. It grows when new ones are learned, and never shrinks.
    pub fn size(&self) -> usize {
        self.ids.len() + self.documents.len()
    }

    /// The known ids of events.
    pub fn events(&self) -> Vec<String> {
        self.events.iter().cloned().collect()
    }

    /// The known ids of calls and events.
    pub fn ids(&self) -> Vec<String> {
        self.ids.iter().chain(&self.events).cloned().collect()
    }

    /// The filter for the documents of the person.
    pub fn filter(&self) -> Document {
        let ids: Vec<_> = self.ids.iter().map(String::as_str).collect();
        let documents: Vec<_> = self.documents.iter().copied().collect();
        let mut any: Vec<_> = ID_FIELDS.iter().map(|field| doc! { *field: { "$in": &ids } }).collect();
        any.push(doc! { "_id": { "$in": documents } });
        doc! { "$or": any }
    }

    /// Adds the ids in documents of the person.
    pub fn learn(&mut self, calls: &[Document]) {
        for call in calls {
            for field in ID_FIELDS {
                self.ids.extend(call.get_str(field).ok().map(str::to_owned));
            }
            for field in ["audio", "transcript"] {
                let file = call.get_document(field).and_then(|file| file.get_str("fileId"));
                self.events.extend(file.ok().map(str::to_owned));
            }
        }
    }

    /// Decides whether the document `call` belongs to the person, because of its ids or its `content`. If it
    /// does, its ids become known.
    pub fn check_document(&mut self, call: &Document, content: &Value) -> Owner {
        let Some(number) = &self.number else { return Owner::Other };
        let ids: Vec<_> = ID_FIELDS.into_iter().filter_map(|field| call.get_str(field).ok()).collect();
        let owner = if ids.iter().any(|id| self.knows(id)) {
            Owner::Person
        } else {
            let name = || ids.first().map_or("a call without ids", |id| *id).to_owned();
            self.owner(mention::of_value(content, number), name)
        };
        if owner == Owner::Person {
            self.learn(std::slice::from_ref(call));
            self.documents.extend(call.get_object_id("_id").ok());
        }
        owner
    }

    /// Adds the id of an event.
    pub fn learn_event(&mut self, id: Option<String>) {
        self.events.extend(id);
    }

    /// Decides whether `event` belongs to the person, because of its ids or its `body`. If it does, its ids
    /// become known.
    pub fn check_event(&mut self, event: &Event, body: &[u8]) -> Owner {
        let ids = [
            event.call_id.as_ref().map(CallId::as_str),
            event.conversation_id.as_ref().map(ConversationId::as_str),
            event.placement_id.as_ref().map(PlacementId::as_str),
        ];
        let ids: Vec<_> = ids.into_iter().flatten().collect();
        let owner = if ids.iter().any(|id| self.knows(id)) {
            Owner::Person
        } else {
            let name = || ids.first().map_or("an event without ids", |id| *id).to_owned();
            self.owner(self.role(body), name)
        };
        if owner == Owner::Person {
            self.ids.extend(ids.into_iter().map(str::to_owned));
        }
        owner
    }

    /// Decides whether a message that is no event belongs to the person, because of its `body` or its
    /// `subject`. `name` identifies the message in the result.
    pub fn check_message(&self, body: &[u8], subject: &str, name: &str) -> Owner {
        let text = String::from_utf8_lossy(body);
        if self.ids.iter().any(|id| text.contains(id.as_str()) || subject.contains(id.as_str())) {
            return Owner::Person;
        }
        self.owner(self.role(body).max(self.role(subject.as_bytes())), || name.to_owned())
    }

    fn role(&self, body: &[u8]) -> Role {
        let number = self.number.as_ref();
        number.map_or(Role::None, |number| mention::of_text(&String::from_utf8_lossy(body), number))
    }

    fn owner(&self, role: Role, name: impl FnOnce() -> String) -> Owner {
        match role {
            Role::Party => Owner::Person,
            Role::Mentioned if self.with_mentions => Owner::Person,
            Role::Mentioned => Owner::Mentions(name()),
            Role::None => Owner::Other,
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
    fn a_telephone_number_has_at_least_seven_digits() {
        for number in ["12345", "all of them", "0000000000", "001234"] {
            assert!(Person::with_number(number, false, false).is_err(), "{number}");
        }
        assert!(Person::with_number("+1 (202) 555-0100", false, false).is_ok());
    }

    #[test]
    fn one_id_of_a_call_leads_to_its_other_ids() {
        let mut person = Person::with_id("c1");
        assert!(person.filter().to_string().contains("c1"));
        person.learn(&[doc! { "callId": "c1", "conversationId": "v1", "audio": { "fileId": "e1" } }]);
        assert_eq!(person.check_message(br#"{"conversation_id":"v1"}"#, "", "x"), Owner::Person);
        assert_eq!(person.check_message(b"", "transcripts.v1", "x"), Owner::Person);
        assert_eq!(person.events(), ["e1"]);
    }

    #[test]
    fn ids_of_a_document_that_mentions_the_number_are_added_only_on_request() {
        let call = doc! { "_id": ObjectId::from_bytes([1; 12]), "callId": "c1" };
        let content = json!({ "transcript": [{ "message": "call +1 202 555 0100" }] });
        let mut one = person("+12025550100");
        assert_eq!(one.check_document(&call, &content), Owner::Mentions("c1".to_owned()));
        assert_eq!(one.size(), 0);
        let mut with_mentions = person("+12025550100").and_mentions();
        assert_eq!(with_mentions.check_document(&call, &content), Owner::Person);
        assert_eq!(with_mentions.size(), 2);
        let party = json!({ "toNumber": "+1 202 555 0100" });
        assert_eq!(one.check_document(&call, &party), Owner::Person);
        let other = doc! { "_id": ObjectId::from_bytes([2; 12]), "callId": "c2" };
        assert_eq!(one.check_document(&other, &json!({ "toNumber": "+12025550101" })), Owner::Other);
        assert_eq!(one.check_document(&call, &content), Owner::Person, "the person is a party of this call");
    }
}
