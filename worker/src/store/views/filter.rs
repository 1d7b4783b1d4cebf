//! The filter of a list of calls: its query, and the index that answers it. Pure.
//!
//! Invariant: for every filter, one index gives the calls in the order of the list. So the cost of a page
//! depends on its length and not on the number of stored calls.

use jiff::Timestamp;
use mongodb::bson::{Document, doc, oid::ObjectId};

use super::row::CallRow;
use crate::{domain::call::Status, store::convert::bson_date};

/// Most reasons in one filter. The server merges at most 200 ordered scans, and a filter needs twelve scans
/// (one for each status) for a reason.
pub const MAX_REASONS: usize = 16;

/// The conditions of a list of calls. The list shows the calls that meet all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only calls that this search finds.
    pub search: Option<Search>,
    /// Only calls with one of these statuses. Empty: any status.
    pub statuses: Vec<Status>,
    /// Only calls that failed for one of these reasons, at most [`MAX_REASONS`].
    pub reasons: Option<Vec<String>>,
    /// Only calls that were created at this time or later.
    pub since: Option<Timestamp>,
    /// Only calls that were created at this time or earlier.
    pub until: Option<Timestamp>,
}

/// A search by identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    /// The beginning of a call id, a conversation id or the id of a placement.
    Id(String),
    /// The callee's number, in all its spellings.
    Number(Vec<String>),
}

/// The position of a call in the list. A page begins directly behind this position, or ends directly before
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// When the call was created.
    pub at: Timestamp,
    /// The `_id` of its document.
    pub id: ObjectId,
}

/// The side of the cursor on which a page lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Behind the cursor: calls that were created earlier.
    Older,
    /// Before the cursor: calls that were created later.
    Newer,
}

impl Filter {
    /// The query of a page. It does not contain [`Search::Id`], because ids are looked up separately.
    pub(super) fn query(&self, from: Option<(Cursor, Direction)>) -> Document {
        let mut query = self.properties();
        if let Some((cursor, direction)) = from {
            let at = bson_date(cursor.at);
            let (bound, beyond) = match direction {
                Direction::Older => ("$lte", "$lt"),
                Direction::Newer => ("$gte", "$gt"),
            };
            // With the bound on the time, the server can use the index. The rest orders calls of the same
            // millisecond.
            let mut created = query.get_document("createdAt").cloned().unwrap_or_default();
            let tighter = match direction {
                Direction::Older => self.until.is_none_or(|until| until > cursor.at),
                Direction::Newer => self.since.is_none_or(|since| since < cursor.at),
            };
            if tighter {
                created.insert(bound, at);
            }
            query.insert("createdAt", created);
            query.insert(
                "$or",
                vec![doc! { "createdAt": { beyond: at } }, doc! { "_id": { beyond: cursor.id } }],
            );
        }
        if let Some(Search::Number(numbers)) = &self.search {
            query.insert("toNumber", doc! { "$in": numbers });
        }
        query
    }

    /// The part of the query that concerns status, reason and time.
    pub(super) fn properties(&self) -> Document {
        let mut query = Document::new();
        let mut created = Document::new();
        if let Some(since) = self.since {
            created.insert("$gte", bson_date(since));
        }
        if let Some(until) = self.until {
            created.insert("$lte", bson_date(until));
        }
        if !created.is_empty() {
            query.insert("createdAt", created);
        }
        if let Some(reasons) = &self.reasons {
            query.insert("failureReason", doc! { "$in": reasons });
        }
        // The index of reasons has the status before the time. It gives the order of the list only if the
        // query names every status.
        let by_reason = self.reasons.is_some() && self.search.is_none();
        if !self.statuses.is_empty() || by_reason {
            let all = if self.statuses.is_empty() { &Status::ALL[..] } else { &self.statuses };
            query.insert(
                "status",
                doc! { "$in": all.iter().map(|status| status.as_str()).collect::<Vec<_>>() },
            );
        }
        query
    }

    /// The index for [`Self::query`].
    pub(super) fn index(&self) -> Document {
        match (&self.search, &self.reasons) {
            (Some(Search::Number(_)), _) => number_index(),
            (_, Some(_)) => reason_index(),
            _ if self.statuses.is_empty() => time_index(),
            _ => status_index(),
        }
    }

    /// Whether the list shows `call`. Agrees with the query.
    pub fn shows(&self, call: &CallRow) -> bool {
        let is_named = match &self.search {
            None => true,
            Some(Search::Number(numbers)) => {
                call.to_number.as_ref().is_some_and(|number| numbers.contains(number))
            }
            Some(Search::Id(id)) => {
                [&call.call_id, &call.shared_call_id, &call.conversation_id, &call.placement_id]
                    .into_iter()
                    .flatten()
                    .any(|own| own.starts_with(id))
            }
        };
        let status = call.status;
        is_named
            && (self.statuses.is_empty() || status.is_some_and(|status| self.statuses.contains(&status)))
            && self.reasons.as_ref().is_none_or(|reasons| {
                call.failure_reason.as_ref().is_some_and(|reason| reasons.contains(reason))
            })
            && self.since.is_none_or(|since| call.created_at >= since)
            && self.until.is_none_or(|until| call.created_at <= until)
    }
}

/// The order of a page: the newest call first, or the reverse for a page of newer calls.
pub(super) fn order(direction: Direction) -> Document {
    match direction {
        Direction::Older => doc! { "createdAt": -1, "_id": -1 },
        Direction::Newer => doc! { "createdAt": 1, "_id": 1 },
    }
}

/// All calls by time. The status at the end lets the server count the statuses of a day from the keys alone.
pub(in crate::store) fn time_index() -> Document {
    doc! { "createdAt": -1, "_id": -1, "status": 1 }
}

/// Calls of a status by time.
pub(in crate::store) fn status_index() -> Document {
    doc! { "status": 1, "createdAt": -1, "_id": -1 }
}

/// Failed calls by reason, status and time. Partial: it has no call that did not fail.
pub(in crate::store) fn reason_index() -> Document {
    doc! { "failureReason": 1, "status": 1, "createdAt": -1, "_id": -1 }
}

/// The index for the calls of a batch.
pub(in crate::store) fn batch_index() -> Document {
    doc! { "batchCallId": 1, "createdAt": -1 }
}

/// Calls by number and time. Partial: it has no call without a number.
pub(in crate::store) fn number_index() -> Document {
    doc! { "toNumber": 1, "createdAt": -1, "_id": -1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: i64) -> Timestamp {
        Timestamp::from_second(n).unwrap()
    }

    #[test]
    fn every_filter_has_an_index_that_begins_with_a_field_of_its_query() {
        let number = Some(Search::Number(vec!["+1".to_owned()]));
        let reasons = Some(vec!["busy".to_owned()]);
        let statuses = vec![Status::Busy];
        #[rustfmt::skip]
        let table = [
            (Filter::default(), "createdAt"),
            (Filter { since: Some(second(1)), ..Filter::default() }, "createdAt"),
            (Filter { statuses: statuses.clone(), ..Filter::default() }, "status"),
            (Filter { reasons: reasons.clone(), ..Filter::default() }, "failureReason"),
            (Filter { reasons, statuses: statuses.clone(), ..Filter::default() }, "failureReason"),
            (Filter { search: number, statuses, ..Filter::default() }, "toNumber"),
        ];
        for (filter, first) in table {
            let query = filter.query(None);
            assert_eq!(filter.index().keys().next().unwrap(), first, "{query}");
            assert!(first == "createdAt" || query.contains_key(first), "{query}");
        }
    }

    #[test]
    fn a_filter_by_reason_names_every_status() {
        let filter = Filter { reasons: Some(vec!["x".to_owned()]), ..Filter::default() };
        let query = filter.query(None);
        assert_eq!(query.get_document("status").unwrap().get_array("$in").unwrap().len(), 12);
    }

    #[test]
    fn a_cursor_narrows_the_time_range_and_never_widens_it() {
        let cursor = Cursor { at: second(50), id: ObjectId::from_bytes([7; 12]) };
        let filter = Filter { since: Some(second(10)), until: Some(second(90)), ..Filter::default() };
        let bounds = |filter: &Filter, direction| {
            let query = filter.query(Some((cursor, direction)));
            let created = query.get_document("createdAt").unwrap().clone();
            let second = |name: &str| created.get_datetime(name).ok().map(|at| at.timestamp_millis() / 1000);
            (second("$gte"), second("$lte"))
        };
        assert_eq!(bounds(&filter, Direction::Older), (Some(10), Some(50)));
        assert_eq!(bounds(&filter, Direction::Newer), (Some(50), Some(90)));
        let early = Filter { until: Some(second(40)), ..Filter::default() };
        assert_eq!(bounds(&early, Direction::Older), (None, Some(40)));
    }

    #[test]
    fn a_changed_call_is_shown_if_the_query_would_find_it() {
        let call = CallRow {
            call_id: Some("CA1".to_owned()),
            to_number: Some("+65".to_owned()),
            status: Some(Status::Busy),
            failure_reason: Some("busy".to_owned()),
            created_at: second(50),
            ..CallRow::empty()
        };
        let search = |search| Filter { search: Some(search), ..Filter::default() };
        #[rustfmt::skip]
        let table = [
            (Filter::default(), true),
            (search(Search::Id("CA".to_owned())), true),
            (search(Search::Id("A1".to_owned())), false),
            (search(Search::Number(vec!["+65".to_owned()])), true),
            (search(Search::Number(vec!["+6".to_owned()])), false),
            (Filter { statuses: vec![Status::Busy], ..Filter::default() }, true),
            (Filter { statuses: vec![Status::Ended], ..Filter::default() }, false),
            (Filter { reasons: Some(vec!["busy".to_owned()]), ..Filter::default() }, true),
            (Filter { reasons: Some(vec![]), ..Filter::default() }, false),
            (Filter { since: Some(second(51)), ..Filter::default() }, false),
            (Filter { until: Some(second(50)), ..Filter::default() }, true),
        ];
        for (filter, shown) in table {
            assert_eq!(filter.shows(&call), shown, "{filter:?}");
        }
    }
}
