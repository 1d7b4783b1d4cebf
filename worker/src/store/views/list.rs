//! Pages of the list of calls. A page begins after a given call and not after a number of calls, so the
//! thousandth page costs as much as the first.

use std::cmp::Reverse;

use futures_util::TryStreamExt as _;
use mongodb::{
    Collection,
    bson::{Document, doc, oid::ObjectId},
    error::Result,
    options::Hint,
};

use super::{
    connection::{SERVER_TIME, Views},
    filter::{Filter, Search},
    id_prefix::IdPrefix,
    plan::{Cursor, Direction, Plan, Range, order},
    row::{self, CallRow},
};
use crate::store::error::{StoreError, is_bad_hint};

/// Calls on a page.
pub const PAGE: usize = 50;
/// Most calls that are examined for a page if no index covers all conditions of its filter.
const MAX_EXAMINED: u64 = 2000;

/// A page of calls, the newest first.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// The calls.
    pub calls: Vec<CallRow>,
    /// Whether there are more calls in the requested direction, or may be: see [`Self::next`].
    pub more: bool,
    /// The position after which the next page in this direction begins. A page has fewer calls than [`PAGE`]
    /// although there may be more if few of the examined calls match.
    pub next: Option<Cursor>,
}

impl Views {
    /// A page of the calls that `filter` shows: the newest calls, or the calls next to a cursor.
    pub async fn list(
        &self,
        filter: &Filter,
        from: Option<(Cursor, Direction)>,
    ) -> std::result::Result<Listed, StoreError> {
        let calls = self.store.calls.clone();
        if let Some(Search::Id(id)) = &filter.search {
            let (id, filter) = (id.clone(), filter.clone());
            let listed = self.ask(async move { page_by_id(&calls, &id, &filter).await }).await?;
            return Ok(Listed { calls: self.mark_reviewed(listed.calls).await, ..listed });
        }
        let range = Range { from, ..Range::default() };
        let (plan, end) = self.choose(filter.conditions().plans(), range, MAX_EXAMINED).await?;
        let (query, direction) = (plan.query(range.ending_at(end)), range.direction());
        let page = Page { query, direction, limit: PAGE + 1 };
        let mut found = self.ask(page.find(calls, plan, row::fields())).await?;
        let is_full = found.len() > PAGE;
        found.truncate(PAGE);
        let next = if is_full { found.last().and_then(Cursor::of) } else { end };
        if direction == Direction::Newer {
            found.reverse();
        }
        let calls = self.mark_reviewed(found.iter().filter_map(CallRow::read).collect()).await;
        Ok(Listed { calls, more: next.is_some(), next })
    }

    /// The calls of these documents, in no particular order.
    pub async fn rows(&self, ids: Vec<ObjectId>) -> std::result::Result<Vec<CallRow>, StoreError> {
        let calls = self.store.calls.clone();
        let found: Vec<Document> = self
            .ask(async move {
                let found = calls.find(doc! { "_id": { "$in": ids } }).projection(row::fields());
                found.max_time(SERVER_TIME).await?.try_collect().await
            })
            .await?;
        Ok(self.mark_reviewed(found.iter().filter_map(CallRow::read).collect()).await)
    }
}

/// A query for one page.
pub(super) struct Page {
    pub query: Document,
    pub direction: Direction,
    /// Most calls.
    pub limit: usize,
}

impl Page {
    /// The calls of the page, with these fields.
    pub(super) async fn find(
        self,
        calls: Collection<Document>,
        plan: Plan,
        fields: Document,
    ) -> Result<Vec<Document>> {
        let order = order(self.direction);
        match find(&calls, &self.query, &order, self.limit, &fields, Some(plan.index)).await {
            // The index is being built, or an operator dropped it. Without it the query is slow, but correct.
            Err(error) if is_bad_hint(&error) => {
                find(&calls, &self.query, &order, self.limit, &fields, None).await
            }
            found => found,
        }
    }
}

async fn find(
    calls: &Collection<Document>,
    query: &Document,
    order: &Document,
    limit: usize,
    fields: &Document,
    index: Option<Document>,
) -> Result<Vec<Document>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut found = calls
        .find(query.clone())
        .sort(order.clone())
        .limit(limit)
        .projection(fields.clone())
        .max_time(SERVER_TIME);
    if let Some(index) = index {
        found = found.hint(Hint::Keys(index));
    }
    found.await?.try_collect().await
}

/// The calls with an id that begins with `id`. There are few of them, because people usually search for a
/// whole id.
async fn page_by_id(calls: &Collection<Document>, id: &IdPrefix, filter: &Filter) -> Result<Listed> {
    let mut found: Vec<CallRow> = Vec::new();
    let begin = id.as_str();
    let beyond = format!("{begin}\u{10ffff}");
    for field in ["callId", "sharedCallId", "conversationId", "_placementId"] {
        let mut query = filter.conditions().plans()[0].query(Range::default());
        query.insert(field, doc! { "$gte": begin, "$lt": &beyond });
        let order = doc! { field: 1 };
        let rows = find(calls, &query, &order, PAGE + 1, &row::fields(), Some(order.clone())).await?;
        let rows = rows.iter().filter(|row| row.get_str(field).is_ok_and(|own| id.finds(own)));
        for row in rows.filter_map(CallRow::read) {
            if found.iter().all(|other| other.id != row.id) {
                found.push(row);
            }
        }
    }
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    found.sort_by_key(|call| Reverse((call.created_at, call.id)));
    Ok(Listed { calls: found, more, next: None })
}
