//! Pages of calls, and single calls, for the API.
//!
//! Invariant: a page examines a bounded number of calls, however many are stored and however few meet the
//! conditions. If the bound ends a page early, the page has fewer calls than requested, and names the position
//! at which the next page goes on.

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
use crate::store::{
    answer::{Include, projection},
    call_view::CallView,
    error::{StoreError, is_bad_hint},
};

/// Most calls that are examined for a page if no index covers all of its conditions.
const MAX_EXAMINED: u64 = 1000;

/// A page of calls, the newest first.
#[derive(Clone, Debug, Default)]
pub struct CallPage {
    /// The calls, with the fields that the JSON of a call needs.
    pub calls: Vec<CallView>,
    /// The position after which the next page begins. `None`: there are no more calls.
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
        let (plan, oldest) = self.choose(conditions.plans(), range, MAX_EXAMINED).await?;
        let query = plan.query(range.ending_at(oldest));
        let page = Page { query, direction: Direction::Older, limit: limit + 1 };
        let mut found = self.ask(page.find(self.store.calls.clone(), plan, projection(include))).await?;
        let has_more = found.len() > limit;
        found.truncate(limit);
        let next = if has_more { found.last().and_then(Cursor::of) } else { oldest };
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
    ) -> std::result::Result<Vec<crate::domain::event::ConversationId>, StoreError> {
        self.store.other_conversations(call).await
    }

    /// The plan that reaches the farthest position with `most` calls, and that position. `None`: the plan reaches
    /// the end of the list.
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
        // A position further down the list, in the direction of the page, has a smaller key.
        let key = |cursor: Cursor| match range.direction() {
            Direction::Older => cursor.at.as_millisecond(),
            Direction::Newer => -cursor.at.as_millisecond(),
        };
        let (best, end) = reached
            .into_iter()
            .enumerate()
            .min_by_key(|(_, reached)| reached.map(key))
            .expect("there is at least one plan");
        Ok((plans.swap_remove(best), end))
    }
}

/// The position of the last of the first `most` calls. `None`: there are fewer.
async fn reach(
    calls: Collection<Document>,
    query: Document,
    direction: Direction,
    index: Document,
    most: u64,
) -> Result<Option<Cursor>> {
    let found = calls
        .find_one(query)
        .sort(order(direction))
        .skip(most - 1)
        .projection(doc! { "createdAt": 1, "_id": 1 })
        .hint(Hint::Keys(index))
        .max_time(SERVER_TIME);
    match found.await {
        Ok(last) => Ok(last.as_ref().and_then(Cursor::of)),
        // The index is being built. The page is then slow, but complete.
        Err(error) if is_bad_hint(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
