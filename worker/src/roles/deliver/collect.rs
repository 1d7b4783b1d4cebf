//! Collects changes of calls, so that a call is read once however often it changed. Pure.

use std::{collections::BTreeSet, iter};

use indexmap::IndexMap;
use mongodb::bson::oid::ObjectId;

use crate::{domain::delivery::EventType, store::CallChange};

/// The events of several calls, in the order of their first changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Collected(pub IndexMap<ObjectId, BTreeSet<EventType>>);

impl Collected {
    /// The calls with an event that `is_wanted`.
    pub(super) fn ids(&self, is_wanted: impl Fn(EventType) -> bool) -> Vec<ObjectId> {
        let some = |events: &BTreeSet<EventType>| events.iter().any(|event| is_wanted(*event));
        self.0.iter().filter(|(_, events)| some(events)).map(|(id, _)| *id).collect()
    }

    /// The same calls, at most `calls` in each part.
    pub(super) fn parts(self, calls: usize) -> impl Iterator<Item = Self> {
        let mut all = self.0.into_iter();
        iter::from_fn(move || {
            let part: IndexMap<_, _> = all.by_ref().take(calls).collect();
            (!part.is_empty()).then_some(Self(part))
        })
    }
}

impl Extend<CallChange> for Collected {
    fn extend<I: IntoIterator<Item = CallChange>>(&mut self, changes: I) {
        for change in changes {
            self.0.entry(change.id).or_default().extend(change.events);
        }
    }
}

impl FromIterator<CallChange> for Collected {
    fn from_iter<I: IntoIterator<Item = CallChange>>(changes: I) -> Self {
        let mut collected = Self::default();
        collected.extend(changes);
        collected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_a_call_are_joined_in_the_order_of_the_first() {
        use EventType::{Erased, Outcome, Status};
        let id = |n| ObjectId::from_bytes([n; 12]);
        let changes = [(2, vec![Status]), (1, vec![Status]), (2, vec![Outcome, Status]), (1, vec![Erased])];
        let changes = changes.into_iter().map(|(n, events)| CallChange { id: id(n), events });
        let collected: Collected = changes.collect();
        let of_calls: Vec<_> = collected.0.clone().into_iter().collect();
        assert_eq!(of_calls, [(id(2), [Status, Outcome].into()), (id(1), [Status, Erased].into())]);
        assert_eq!(collected.ids(|event| event == Erased), [id(1)]);
        assert_eq!(collected.ids(|event| event != Erased), [id(2), id(1)]);
        let parts: Vec<_> = collected.clone().parts(1).map(|part| part.ids(|_| true)).collect();
        assert_eq!(parts, [[id(2)], [id(1)]]);
        assert_eq!(collected.clone().parts(2).next(), Some(collected));
    }
}
