//! Pages of calls, and single calls, for the API.
//!
//! Invariant: a page examines a bounded number of calls, however many are stored and however few meet the
//! conditions. If a page reaches the bound, it has fewer calls than requested, and the next page begins after the
//! last examined call.

use futures_util::future::try_join_all;
use mongodb::{
    Collection,
    bson::{Document, doc},
    error::Result,
    options::Hint,
};

use super::{
    connection::{SERVER_TIME, Views},
    detail::filters_of_ids,
    list::Page,
    plan::{Conditions, Cursor, Direction, Plan, Range, order},
};
use crate::{
    domain::event::ConversationId,
    store::{
        answer::{Include, projection},
        call_view::CallView,
        error::{StoreError, is_bad_hint},
        lookup::{conversations_of, others},
    },
};

/// Most calls that each plan examines for a page, if no index covers all of its conditions.
const MAX_EXAMINED: u64 = 1000;

/// A page of calls, the newest first.
#[derive(Clone, Debug, Default)]
pub struct CallPage {
    /// The calls, with the fields that the JSON of a call needs.
    pub calls: Vec<CallView>,
    /// The position after which the next page begins; also of a page with fewer calls than requested. `None`: there are no
    /// more calls.
    pub next: Option<Cursor>,
}

impl Views {
    /// The first `limit` calls after `after` that meet the conditions, or fewer: see [`CallPage::next`].
    pub async fn calls(
        &self,
        conditions: &Conditions,
        after: Option<Cursor>,
        limit: usize,
        include: Include,
    ) -> std::result::Result<CallPage, StoreError> {
        let range = Range { from: after.map(|cursor| (cursor, Direction::Older)), ..Range::default() };
        let (plan, end) = self.choose(conditions.plans(), range, MAX_EXAMINED).await?;
        let query = plan.query(range.ending_at(end));
        let page = Page { query, direction: Direction::Older, limit: limit + 1 };
        let mut found = self.ask(page.find(self.store.calls.clone(), plan, projection(include))).await?;
        let has_more = found.len() > limit;
        found.truncate(limit);
        let next = if has_more { found.last().and_then(Cursor::of) } else { end };
        Ok(CallPage { calls: found.into_iter().map(CallView::new).collect(), next })
    }

    /// The call with the id `name`: a call id, a conversation id or the id of a placement.
    pub async fn call(
        &self,
        name: &str,
        include: Include,
    ) -> std::result::Result<Option<CallView>, StoreError> {
        self.find_call(name, projection(include)).await
    }

    /// The call with the id `name`, with these fields.
    pub(super) async fn find_call(
        &self,
        name: &str,
        fields: Document,
    ) -> std::result::Result<Option<CallView>, StoreError> {
        for filter in filters_of_ids(name) {
            let (calls, fields) = (self.store.calls.clone(), fields.clone());
            let found = self
                .ask(async move { calls.find_one(filter).projection(fields).max_time(SERVER_TIME).await });
            if let Some(call) = found.await? {
                return Ok(Some(CallView::new(call)));
            }
        }
        Ok(None)
    }

    /// The ids of the other conversations of the same telephone call.
    pub async fn other_conversations_of(
        &self,
        call: &CallView,
    ) -> std::result::Result<Vec<ConversationId>, StoreError> {
        let Some(shared) = call.shared_call_id() else { return Ok(Vec::new()) };
        let found = conversations_of(self.store.calls.clone(), shared.as_str().to_owned(), SERVER_TIME);
        Ok(others(call, self.ask(found).await?))
    }

    /// Chooses the plan whose first `most` calls reach farthest down the list. Returns it with the position of the last of
    /// these calls, or with `None` if the list ends before.
    pub(super) async fn choose(
        &self,
        mut plans: Vec<Plan>,
        range: Range,
        most: u64,
    ) -> std::result::Result<(Plan, Option<Cursor>), StoreError> {
        if plans[0].is_exact() {
            return Ok((plans.swap_remove(0), None));
        }
        let reached = plans.iter().map(|plan| {
            let calls = self.store.calls.clone();
            self.ask(reach(calls, plan.bounds(range), range.direction(), plan.index.clone(), most))
        });
        let reached = try_join_all(reached).await?;
        let best = farthest(&reached, range.direction());
        let end = match reached[best] {
            Reach::To(cursor) => Some(cursor),
            Reach::End | Reach::NoIndex => None,
        };
        Ok((plans.swap_remove(best), end))
    }
}

/// How far the first calls of a plan reach down the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// To this call.
    To(Cursor),
    /// To the end of the list.
    End,
    /// The index of the plan does not exist: it is being built, or an operator dropped it.
    NoIndex,
}

/// The number of the one that reaches farthest in `direction`. One without an index is taken only if there is no other:
/// it is not known what the page would cost.
fn farthest(reached: &[Reach], direction: Direction) -> usize {
    let key = |reach: &Reach| match (reach, direction) {
        (Reach::End, _) => (0, 0),
        (Reach::To(cursor), Direction::Older) => (1, cursor.at.as_millisecond()),
        (Reach::To(cursor), Direction::Newer) => (1, -cursor.at.as_millisecond()),
        (Reach::NoIndex, _) => (2, 0),
    };
    let best = reached.iter().enumerate().min_by_key(|(_, reach)| key(reach));
    best.map_or(0, |(number, _)| number)
}

/// How far the first `most` calls reach.
async fn reach(
    calls: Collection<Document>,
    query: Document,
    direction: Direction,
    index: Document,
    most: u64,
) -> Result<Reach> {
    let found = calls
        .find_one(query)
        .sort(order(direction))
        .skip(most - 1)
        .projection(doc! { "createdAt": 1, "_id": 1 })
        .hint(Hint::Keys(index))
        .max_time(SERVER_TIME);
    match found.await {
        Ok(last) => Ok(last.as_ref().and_then(Cursor::of).map_or(Reach::End, Reach::To)),
        Err(error) if is_bad_hint(&error) => Ok(Reach::NoIndex),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use mongodb::bson::oid::ObjectId;

    use super::*;

    #[test]
    fn the_plan_that_reaches_farthest_is_chosen_and_one_without_an_index_last() {
        use Reach::{End, NoIndex};
        let to = |second| {
            Reach::To(Cursor {
                at: Timestamp::from_second(second).unwrap(),
                id: ObjectId::from_bytes([0; 12]),
            })
        };
        #[rustfmt::skip]
        let table = [ // reached, of older calls, of newer calls
            (vec![to(5), to(3), to(4)], 1, 0),
            (vec![to(5), End],          1, 1),
            (vec![NoIndex, to(5)],      1, 1),
            (vec![NoIndex, End],        1, 1),
            (vec![NoIndex],             0, 0),
        ];
        for (reached, older, newer) in table {
            assert_eq!(farthest(&reached, Direction::Older), older, "{reached:?}");
            assert_eq!(farthest(&reached, Direction::Newer), newer, "{reached:?}");
        }
    }
}
