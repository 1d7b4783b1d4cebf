//! Pages of an export.
//!
//! A page is one query that begins after the last call of the page before. So nothing stays open at the server
//! between two pages: no cursor, no snapshot. A page that could not be read is read again.
//!
//! The newest call comes first. `createdAt` of a stored call can only become earlier, so a call that is not read
//! yet never moves to a part that is read already: every call that is stored all the time is read.

use std::time::Duration;

use mongodb::{
    Collection,
    bson::{Document, RawDocumentBuf, oid::ObjectId},
    error::{Error, Result},
    options::Hint,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::filter::ExportFilter;
use crate::{
    retry::Pauses,
    store::{
        answer::{Include, projection},
        call_view::CallView,
        connection::{SERVER_TIME, Store},
        convert::timestamp,
        error::{StoreError, is_bad_hint},
        views::{Cursor, Direction, Plan, Range, order},
    },
};

/// Most calls of a page.
const PAGE: u16 = 2000;
/// Size of the documents at which a page ends, in bytes.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Longest time that the server may work on a page. A filter without an index of its own reads many calls for a
/// page.
const PAGE_TIME: Duration = Duration::from_mins(1);
/// Pages that are read ahead.
const READ_AHEAD: usize = 1;
/// Pauses before a page is read again, and their sum. A set of servers elects a new primary meanwhile.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(5);
const MAX_PAUSES: Duration = Duration::from_mins(1);
/// Longest wait for a page.
const PAGE_TIMEOUT: Duration = Duration::from_mins(4);

/// A page of an export.
#[derive(Debug)]
pub struct ExportPage {
    calls: Vec<RawDocumentBuf>,
    /// The position of the last call.
    pub last: Cursor,
}

impl ExportPage {
    /// The calls, with the fields that an answer without content has. A document that cannot be read is left
    /// out.
    pub fn calls(&self) -> impl Iterator<Item = CallView> {
        self.calls.iter().filter_map(|call| Document::try_from(call).ok()).map(CallView::new)
    }
}

/// The pages of an export. They are read ahead by a task, which ends with this value.
#[derive(Debug)]
pub struct ExportPages {
    pages: mpsc::Receiver<std::result::Result<ExportPage, StoreError>>,
    stop: CancellationToken,
}

impl ExportPages {
    /// The next page. `None` after the last one.
    ///
    /// # Errors
    /// The database gave no page for a minute, or refuses the query.
    pub async fn next(&mut self) -> std::result::Result<Option<ExportPage>, StoreError> {
        let late = |_elapsed| StoreError::Unavailable("no answer in time".to_owned());
        tokio::time::timeout(PAGE_TIMEOUT, self.pages.recv()).await.map_err(late)?.transpose()
    }
}

impl Drop for ExportPages {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Store {
    /// The calls that meet `filter`, the newest first, from after the position `from`.
    pub fn export(&self, filter: ExportFilter, from: Option<Cursor>) -> ExportPages {
        let (sender, pages) = mpsc::channel(READ_AHEAD);
        let stop = CancellationToken::new();
        let (calls, stopped) = (self.calls.clone_with_type(), stop.clone());
        self.operations.spawn(async move { read(&calls, &filter.plan(), from, &sender, &stopped).await });
        ExportPages { pages, stop }
    }

    /// The number of calls that meet `filter`.
    pub async fn export_count(&self, filter: &ExportFilter) -> std::result::Result<u64, StoreError> {
        let (calls, query) = (self.calls.clone(), filter.plan().query(Range::default()));
        self.run(async move { calls.count_documents(query).max_time(SERVER_TIME).await }).await
    }
}

/// Sends all pages, and ends after the last one, after an error, or when nobody reads them.
async fn read(
    calls: &Collection<RawDocumentBuf>,
    plan: &Plan,
    mut from: Option<Cursor>,
    pages: &mpsc::Sender<std::result::Result<ExportPage, StoreError>>,
    stop: &CancellationToken,
) {
    let mut pauses = Pauses::within(FIRST_PAUSE, MAX_PAUSE, MAX_PAUSES);
    loop {
        let page = match page(calls, plan, from).await.map_err(StoreError::from) {
            Ok(None) => return,
            Ok(Some(page)) => Ok(page),
            Err(StoreError::Unavailable(_)) if pauses.sleep(stop).await => continue,
            Err(error) => Err(error),
        };
        pauses.reset();
        let last = page.as_ref().ok().map(|page| page.last);
        if pages.send(page).await.is_err() || last.is_none() {
            return;
        }
        from = last;
    }
}

/// The page after `from`. `None` if there are no more calls.
async fn page(
    calls: &Collection<RawDocumentBuf>,
    plan: &Plan,
    from: Option<Cursor>,
) -> Result<Option<ExportPage>> {
    let range = Range { from: from.map(|cursor| (cursor, Direction::Older)), ..Range::default() };
    let query = plan.query(range);
    let found = match find(calls, query.clone(), Some(plan.index.clone())).await {
        // The index is being built, or an operator dropped it. Without it the query is slow, but correct.
        Err(error) if is_bad_hint(&error) => find(calls, query, None).await,
        found => found,
    }?;
    let Some(last) = found.last() else { return Ok(None) };
    let last = position(last).ok_or_else(|| Error::custom("a stored call has no ObjectId or no date"))?;
    Ok(Some(ExportPage { calls: found, last }))
}

async fn find(
    calls: &Collection<RawDocumentBuf>,
    query: Document,
    index: Option<Document>,
) -> Result<Vec<RawDocumentBuf>> {
    let mut found = calls
        .find(query)
        .sort(order(Direction::Older))
        .limit(PAGE.into())
        .batch_size(PAGE.into())
        .projection(projection(Include::NONE))
        .max_time(PAGE_TIME);
    if let Some(index) = index {
        found = found.hint(Hint::Keys(index));
    }
    let mut found = found.await?;
    let (mut page, mut bytes) = (Vec::new(), 0);
    while bytes < PAGE_BYTES && found.advance().await? {
        let call = found.current().to_owned();
        bytes += call.as_bytes().len();
        page.push(call);
    }
    Ok(page)
}

fn position(call: &RawDocumentBuf) -> Option<Cursor> {
    let id: ObjectId = call.get_object_id("_id").ok()?;
    let at = timestamp(&call.get_datetime("createdAt").ok()?.into())?;
    Some(Cursor { at, id })
}
