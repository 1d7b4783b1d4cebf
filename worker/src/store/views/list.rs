//! Pages of the list of calls. A page begins behind a given call and not behind a number of calls, so the
//! thousandth page costs as much as the first.

use std::cmp::Reverse;

use futures_util::TryStreamExt as _;
use mongodb::{
    Collection,
    bson::{Document, doc, oid::ObjectId},
    error::{ErrorKind, Result},
    options::Hint,
};

use super::{
    connection::{SERVER_TIME, Views},
    filter::{Cursor, Direction, Filter, Search, order},
    row::{self, CallRow},
};
use crate::store::error::StoreError;

/// Calls on a page.
pub const PAGE: usize = 50;
/// The server's code for a hint at an index that does not exist.
const BAD_HINT: i32 = 2;

/// A page of calls, the newest first.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// The calls.
    pub calls: Vec<CallRow>,
    /// Whether there are more calls in the requested direction.
    pub more: bool,
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
            return self.ask(async move { page_by_id(&calls, &id, &filter).await }).await;
        }
        let direction = from.map_or(Direction::Older, |(_, direction)| direction);
        let (query, index) = (filter.query(from), filter.index());
        let mut found = self.ask(async move { page(&calls, query, index, direction).await }).await?;
        let more = found.len() > PAGE;
        found.truncate(PAGE);
        if direction == Direction::Newer {
            found.reverse();
        }
        Ok(Listed { calls: found.iter().filter_map(CallRow::read).collect(), more })
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
        Ok(found.iter().filter_map(CallRow::read).collect())
    }
}

async fn page(
    calls: &Collection<Document>,
    query: Document,
    index: Document,
    direction: Direction,
) -> Result<Vec<Document>> {
    match find(calls, query.clone(), order(direction), Some(index)).await {
        // The index is being built, or an operator dropped it. Without it the query is slow, but correct.
        Err(error) if matches!(&*error.kind, ErrorKind::Command(error) if error.code == BAD_HINT) => {
            find(calls, query, order(direction), None).await
        }
        found => found,
    }
}

async fn find(
    calls: &Collection<Document>,
    query: Document,
    order: Document,
    index: Option<Document>,
) -> Result<Vec<Document>> {
    let limit = i64::try_from(PAGE + 1).expect("a small constant");
    let mut found =
        calls.find(query).sort(order).limit(limit).projection(row::fields()).max_time(SERVER_TIME);
    if let Some(index) = index {
        found = found.hint(Hint::Keys(index));
    }
    found.await?.try_collect().await
}

/// The calls with an id that begins with `id`. There are few of them, because people usually search for a
/// whole id.
async fn page_by_id(calls: &Collection<Document>, id: &str, filter: &Filter) -> Result<Listed> {
    let mut found: Vec<CallRow> = Vec::new();
    let beyond = format!("{id}\u{10ffff}");
    for field in ["callId", "sharedCallId", "conversationId", "_placementId"] {
        let mut query = filter.properties();
        query.insert(field, doc! { "$gte": id, "$lt": &beyond });
        let rows = find(calls, query, doc! { field: 1 }, Some(doc! { field: 1 })).await?;
        let rows = rows.iter().filter_map(CallRow::read);
        for row in rows {
            if found.iter().all(|other| other.id != row.id) {
                found.push(row);
            }
        }
    }
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    found.sort_by_key(|call| Reverse((call.created_at, call.id)));
    Ok(Listed { calls: found, more })
}
