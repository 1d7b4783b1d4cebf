//! The numbers of the dead letters by reason and type. Pure.
//!
//! Invariants:
//! - At most [`MAX_LETTERS`] numbers are held, each once.
//! - At most [`MAX_GROUPS`] groups are held, and one more for each known reason.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aftercall_common::contract::{
    provider::Provider,
    streams::subject::{TRANSCRIPT_DUE, WebhookSubject},
};

use crate::domain::reason::Reason;

/// Most numbers. Beyond, the oldest are left out.
const MAX_LETTERS: usize = 200_000;
/// Most groups with a type. Beyond, dead letters come into one group of other types for each reason.
const MAX_GROUPS: usize = 200;
/// Type of the dead letters without a group of their type, and reason of those whose reason is not known.
const OTHERS: &str = "other";

/// Dead letters with the same cause.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group {
    /// The stable label of the cause.
    pub reason: String,
    /// The event type, or where the messages came from if they name none.
    pub kind: String,
}

impl Group {
    /// The group of a dead letter with these headers: reason, event type, subject of the original message.
    pub fn new(reason: &str, event_type: &str, subject: &str) -> Self {
        let kind = if event_type.is_empty() { source(subject) } else { event_type };
        Self { reason: reason.to_owned(), kind: kind.to_owned() }
    }
}

/// Where messages of `subject` come from.
fn source(subject: &str) -> &'static str {
    match WebhookSubject::parse(subject) {
        Some(WebhookSubject::Received(Provider::ElevenLabs)) => "webhook of ElevenLabs",
        Some(WebhookSubject::Received(Provider::Twilio)) => "webhook of Twilio",
        Some(WebhookSubject::Reconciled) => "reconciled conversation",
        None if subject == TRANSCRIPT_DUE => "transcript job",
        None => "unknown",
    }
}

/// Where the message of a dead letter is stored: stream and sequence.
pub type Place = (&'static str, u64);

/// A group with its number of dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupCount {
    /// The group.
    pub group: Group,
    /// How many.
    pub count: u64,
    /// Number of the newest one.
    pub newest: u64,
}

/// The numbers of the dead letters, each with its group.
#[derive(Clone, Debug, Default)]
pub struct LetterIndex {
    letters: BTreeMap<u64, Entry>,
    groups: Vec<Group>,
    /// Number of letters in each group.
    sizes: Vec<usize>,
    positions: HashMap<Group, usize>,
    /// Whether older numbers were left out.
    is_cut: bool,
}

/// A dead letter.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Position of its group.
    group: usize,
    /// Where its message is stored. `None`: its headers name no place of a webhook or a job.
    place: Option<Place>,
}

impl LetterIndex {
    /// Adds a dead letter, whose message is stored at `place`.
    pub fn add(&mut self, number: u64, group: Group, place: Option<Place>) {
        let group = match self.positions.get(&group) {
            Some(position) => *position,
            None => self.new_group(group),
        };
        self.sizes[group] += 1;
        if let Some(before) = self.letters.insert(number, Entry { group, place }) {
            self.sizes[before.group] -= 1;
        }
        if self.letters.len() > MAX_LETTERS {
            self.remove_first();
            self.is_cut = true;
        }
    }

    /// The position of a group that has none. It takes the place of an empty group, if there are too many.
    fn new_group(&mut self, group: Group) -> usize {
        if self.groups.len() < MAX_GROUPS {
            return self.push(group);
        }
        if let Some(empty) = self.sizes.iter().position(|size| *size == 0) {
            self.positions.remove(&self.groups[empty]);
            self.positions.insert(group.clone(), empty);
            self.groups[empty] = group;
            return empty;
        }
        let is_known = Reason::of_dead_letters().any(|known| known.label() == group.reason);
        let reason = if is_known { group.reason } else { OTHERS.to_owned() };
        let others = Group { reason, kind: OTHERS.to_owned() };
        self.positions.get(&others).copied().unwrap_or_else(|| self.push(others))
    }

    fn push(&mut self, group: Group) -> usize {
        self.groups.push(group.clone());
        self.sizes.push(0);
        self.positions.insert(group, self.groups.len() - 1);
        self.groups.len() - 1
    }

    /// Removes a dead letter.
    pub fn remove(&mut self, number: u64) {
        if let Some(removed) = self.letters.remove(&number) {
            self.sizes[removed.group] -= 1;
        }
    }

    /// Removes the dead letters before `first`.
    pub fn remove_before(&mut self, first: u64) {
        while self.letters.first_key_value().is_some_and(|(number, _)| *number < first) {
            self.remove_first();
        }
    }

    fn remove_first(&mut self) {
        if let Some((_, removed)) = self.letters.pop_first() {
            self.sizes[removed.group] -= 1;
        }
    }

    /// The number of dead letters up to `last`.
    pub fn count_up_to(&self, last: u64) -> usize {
        self.letters.len() - self.letters.range(last.saturating_add(1)..).count()
    }

    /// Whether the index holds all of `stored` dead letters, of which the last has the number `last`.
    pub fn is_complete(&self, stored: u64, last: u64) -> bool {
        let held = self.count_up_to(last) as u64;
        held == stored || (self.is_cut && held < stored)
    }

    /// Whether older numbers were left out.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The groups, the largest first.
    pub fn groups(&self) -> Vec<GroupCount> {
        let mut newest = vec![0; self.groups.len()];
        for (number, letter) in &self.letters {
            newest[letter.group] = *number;
        }
        let counted = self.groups.iter().zip(&self.sizes).zip(newest).filter(|((_, size), _)| **size > 0);
        let mut groups: Vec<_> = counted
            .map(|((group, size), newest)| GroupCount { group: group.clone(), count: *size as u64, newest })
            .collect();
        groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.group.cmp(&b.group)));
        groups
    }

    /// The numbers before `end` of the dead letters of the group, the newest first. `kind`: `None` for all types.
    pub fn numbers<'a>(
        &'a self,
        reason: &str,
        kind: Option<&str>,
        end: u64,
    ) -> impl Iterator<Item = u64> + use<'a> {
        let is_in = |group: &Group| group.reason == reason && kind.is_none_or(|kind| group.kind == kind);
        let wanted: Vec<_> = self.groups.iter().map(is_in).collect();
        let newest_first = self.letters.range(..end).rev();
        newest_first.filter(move |(_, letter)| wanted[letter.group]).map(|(number, _)| *number)
    }

    /// How many dead letters from `first` on have their message at one of these `places`.
    pub fn count_at(&self, first: u64, places: &BTreeSet<Place>) -> usize {
        let letters = self.letters.range(first..).filter_map(|(_, letter)| letter.place);
        letters.filter(|place| places.contains(place)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(reason: &str, kind: &str) -> Group {
        Group { reason: reason.to_owned(), kind: kind.to_owned() }
    }

    fn index() -> LetterIndex {
        let mut index = LetterIndex::default();
        for number in 1..=9 {
            let kind = if number % 3 == 0 { "call.busy" } else { "call.ended" };
            let reason = if number < 8 { "no_identifier" } else { "invalid_json" };
            index.add(number, group(reason, kind), Some(("WEBHOOKS", 100 + number)));
        }
        index
    }

    #[test]
    fn groups_are_counted_and_the_largest_is_first() {
        let mut index = index();
        let counted = |index: &LetterIndex| -> Vec<_> {
            let groups = index.groups().into_iter();
            groups.map(|found| (found.group.reason, found.group.kind, found.count, found.newest)).collect()
        };
        let line =
            |reason: &str, kind: &str, count, newest| (reason.to_owned(), kind.to_owned(), count, newest);
        assert_eq!(
            counted(&index),
            [
                line("no_identifier", "call.ended", 5, 7),
                line("no_identifier", "call.busy", 2, 6),
                line("invalid_json", "call.busy", 1, 9),
                line("invalid_json", "call.ended", 1, 8),
            ]
        );
        index.remove(9);
        index.remove(9);
        index.remove_before(4);
        assert_eq!(counted(&index)[2..], [line("no_identifier", "call.busy", 1, 6)]);
        assert_eq!(index.count_up_to(7), 4);
        assert!(index.is_complete(5, 8) && !index.is_complete(6, 8) && index.is_complete(4, 7));
    }

    #[test]
    fn a_group_gives_its_numbers_and_nothing_else() {
        let index = index();
        let numbers = |reason, kind, end| index.numbers(reason, kind, end).collect::<Vec<_>>();
        assert_eq!(numbers("no_identifier", Some("call.busy"), u64::MAX), [6, 3]);
        assert_eq!(numbers("no_identifier", None, 5), [4, 3, 2, 1]);
        assert_eq!(numbers("invalid_json", Some("call.busy"), 9), [0; 0]);
        assert_eq!(numbers("no_event_type", None, u64::MAX), [0; 0]);
    }

    #[test]
    fn dead_letters_of_certain_messages_are_counted() {
        let mut index = index();
        index.add(10, group("no_identifier", "call.busy"), None);
        let places = [("WEBHOOKS", 103), ("WEBHOOKS", 105), ("WEBHOOKS", 107), ("TRANSCRIPTS", 106)].into();
        assert_eq!([0, 4, 8].map(|first| index.count_at(first, &places)), [3, 2, 0]);
    }

    #[test]
    fn numbers_and_groups_are_bounded() {
        let mut index = LetterIndex::default();
        for number in 0..MAX_LETTERS as u64 + 10 {
            index.add(number, group("no_identifier", &format!("call.{}", number % 1000)), None);
        }
        assert_eq!(index.count_up_to(u64::MAX), MAX_LETTERS);
        assert!(index.is_complete(MAX_LETTERS as u64 + 10, u64::MAX), "the oldest are left out");
        let groups = index.groups();
        assert_eq!(groups.len(), MAX_GROUPS + 1);
        assert_eq!(groups[0].group, group("no_identifier", OTHERS), "the reason is kept");
        assert_eq!(groups.iter().map(|found| found.count).sum::<u64>(), MAX_LETTERS as u64);
        for number in 0..1000 {
            index.add(1_000_000 + number, group(&format!("reason {number}"), "call.x"), None);
        }
        assert_eq!(index.groups().len(), MAX_GROUPS + 2, "unknown reasons are one group");
    }

    #[test]
    fn a_group_without_dead_letters_makes_room_for_another() {
        let mut index = LetterIndex::default();
        let full = MAX_GROUPS as u64;
        for number in 0..full {
            index.add(number, group("no_identifier", &format!("call.{number}")), None);
        }
        index.remove(7);
        index.remove_before(3);
        index.add(3, group("no_identifier", "call.again"), None); // A number is held once.
        for (number, kind) in
            [(1000, "call.a"), (1001, "call.b"), (1002, "call.c"), (1003, "call.d"), (1004, "call.e")]
        {
            index.add(number, group("invalid_json", kind), None);
        }
        let kinds = index
            .groups()
            .into_iter()
            .map(|found| (found.group.kind, found.count))
            .collect::<HashMap<_, _>>();
        for (kind, count) in [("call.a", 1), ("call.d", 1), ("call.again", 1), (OTHERS, 1)] {
            assert_eq!(kinds.get(kind), Some(&count), "{kind}");
        }
        assert!(!kinds.contains_key("call.7") && !kinds.contains_key("call.1"));
        assert_eq!(index.numbers("invalid_json", None, u64::MAX).count(), 5);
        assert_eq!(index.count_up_to(u64::MAX), MAX_GROUPS - 4 + 5);
    }

    #[test]
    fn a_dead_letter_without_a_type_is_grouped_by_its_source() {
        for (event_type, subject, kind) in [
            ("call.busy", "webhooks.elevenlabs.call-status", "call.busy"),
            ("", "webhooks.elevenlabs.call-status", "webhook of ElevenLabs"),
            ("", "webhooks.twilio.call-status", "webhook of Twilio"),
            ("", TRANSCRIPT_DUE, "transcript job"),
            ("", "$JS.API.>", "unknown"),
        ] {
            assert_eq!(Group::new("r", event_type, subject), group("r", kind), "{subject}");
        }
    }
}
