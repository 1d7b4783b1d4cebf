//! Calls in MongoDB: the collection `agent_calls`.
//!
//! Every change is a [`CallPatch`] joined with what is stored, in one update statement whose filter
//! is only an equality on an id: so statements may be repeated, reordered and run by many workers at
//! once. In a backlog a call that nobody has heard of is stored as the document that its statement would
//! make; whichever comes second is joined. Writes count once a majority has them in its journal.

mod apply;
mod calls;
mod command;
mod document;
mod erase;
mod error;
mod files;
mod indexes;
mod insert;
mod merge;
mod of_call;
mod placements;
mod preview;
mod reconciliation;
mod report;
mod statement;
mod suspects;
mod update;
pub mod views;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use jiff::Timestamp;
use mongodb::{
    Client, Collection, Database,
    bson::{Document, doc},
    options::{Acknowledgment, ClientOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern},
};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

pub use self::{
    apply::{Applied, Changed, Written, apply, write},
    calls::{Calls, Failure, Owing, Standing},
    document::{CallView, answer_json, value_to_bson},
    erase::content_of,
    error::StoreError,
    files::fetched_transcript,
    placements::{Begun, Concluded, NewPlacement, Placing},
    preview::{Difference, Preview},
    report::{Plan, Question, questions},
    statement::{Key, Settled},
    update::statement,
};
use crate::{
    config::Config,
    domain::{
        call::{Attachment, CallPatch},
        event::{CallId, ConversationId},
    },
    metrics::Metrics,
};

const COLLECTION: &str = "agent_calls";
/// How long the driver looks for a primary before it says that there is none.
const SERVER_SELECTION: Duration = Duration::from_secs(3);
const CONNECT: Duration = Duration::from_secs(3);
/// How often the driver looks at a server that did not answer or said that it shuts down: it finds one that is
/// back only then.
const LOOK: Duration = Duration::from_secs(2);
/// Most conversations that are named of one call. No call has so many.
const MOST_CONVERSATIONS: i64 = 100;
/// Longest the server may work on one operation.
const SERVER_TIME: Duration = Duration::from_secs(15);
/// Longest we wait for one operation: the server's time, and some for a network that went silent.
const OPERATION: Duration = Duration::from_secs(20);
/// Longest a stopping process waits for operations under way.
const SHUTDOWN: Duration = Duration::from_secs(2);
/// From then on a database is not ready.
const PING: Duration = Duration::from_secs(1);

/// The store of calls. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client,
    database: Database,
    calls: Collection<Document>,
    operations: TaskTracker,
    ping: Arc<Semaphore>,
    /// How long calls are kept.
    retention: Option<Duration>,
    metrics: Metrics,
}

impl Store {
    /// Prepares the connection; the driver connects when first used.
    ///
    /// # Errors
    /// A URI that cannot be read.
    pub async fn new(config: &Config, metrics: Metrics) -> anyhow::Result<Self> {
        Self::connect(config, metrics, "aftercall-worker", None).await
    }

    /// The same under another name, with at most `pool` connections to each server.
    async fn connect(
        config: &Config,
        metrics: Metrics,
        name: &str,
        pool: Option<u32>,
    ) -> anyhow::Result<Self> {
        let mut options =
            ClientOptions::parse(config.mongodb_uri.expose()).await.context("MONGODB_URI cannot be used")?;
        options.app_name.get_or_insert_with(|| name.to_owned());
        if pool.is_some() {
            options.max_pool_size = pool;
        }
        options.server_selection_timeout.get_or_insert(SERVER_SELECTION);
        options.connect_timeout.get_or_insert(CONNECT);
        options.heartbeat_freq.get_or_insert(LOOK);
        // Stronger than any default, and not to be weakened by a URI: an ack follows these writes.
        options.write_concern =
            Some(WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build());
        options.read_concern = Some(ReadConcern::majority());
        options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        let client = Client::with_options(options).context("MONGODB_URI cannot be used")?;
        let database = client.database(&config.mongodb_database);
        let calls = database.collection(COLLECTION);
        Ok(Self {
            client,
            database,
            calls,
            operations: TaskTracker::new(),
            ping: Arc::new(Semaphore::new(1)),
            retention: config.retention(),
            metrics,
        })
    }

    /// Creates the indexes, and makes sure that the server is a replica set: a standalone server has
    /// no transactions, which the merge of two halves of a call needs.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        let hello = self.run({
            let database = self.database.clone();
            async move { database.run_command(doc! { "hello": 1 }).await }
        });
        let hello = hello.await?;
        if !hello.contains_key("setName") && hello.get_str("msg").ok() != Some("isdbgrid") {
            return Err(StoreError::Standalone);
        }
        self.run(indexes::create(self.calls.clone())).await?;
        self.run(indexes::retain(self.calls.clone(), self.retention)).await
    }

    /// Whether the database answers, and does so within a moment. One question at a time, however
    /// often a probe asks.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let late = || StoreError::Unavailable("no answer in time".to_owned());
        let turn = self.ping.clone().try_acquire_owned().map_err(|_taken| late())?;
        let database = self.database.clone();
        let ping = self.run(async move {
            let _turn = turn; // Kept until the driver is done, however late.
            database.run_command(doc! { "ping": 1 }).await.map(drop)
        });
        tokio::time::timeout(PING, ping).await.unwrap_or_else(|_elapsed| Err(late()))
    }

    /// The call known by either identifier; by the call id where both know one, but of several conversations of
    /// that call the one that is named.
    pub async fn find(
        &self,
        call_id: Option<&CallId>,
        conversation_id: Option<&ConversationId>,
    ) -> Result<Option<CallView>, StoreError> {
        let by_call = call_id.map(|id| doc! { "callId": id.as_str() });
        let by_conversation = conversation_id.map(|id| doc! { "conversationId": id.as_str() });
        let mut known = None;
        for filter in by_call.into_iter().chain(by_conversation) {
            let calls = self.calls.clone();
            let found = self.run(async move { calls.find_one(filter).max_time(SERVER_TIME).await }).await?;
            let Some(found) = found.map(CallView::new) else { continue };
            let is_better = known
                .as_ref()
                .is_none_or(|known: &CallView| known.shared_call_id() == found.shared_call_id());
            if is_better {
                known = Some(found);
            }
            if known.as_ref().is_some_and(|known| known.shared_call_id().is_none()) {
                break;
            }
        }
        Ok(known)
    }

    /// The other conversations of the same telephone call, by their ids.
    pub async fn other_conversations(&self, call: &CallView) -> Result<Vec<ConversationId>, StoreError> {
        let (Some(shared), Some(own)) = (call.shared_call_id(), call.conversation_id()) else {
            return Ok(Vec::new());
        };
        let found = self.run(conversations_of(self.calls.clone(), shared.as_str().to_owned())).await?;
        let ids = found.into_iter().filter_map(|id| ConversationId::new(id).ok());
        Ok(ids.filter(|id| *id != own).collect())
    }

    /// Gives up transcripts owed since before `before` whose conversation is still not known; how many.
    pub async fn give_up_unknown(&self, before: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        let (filter, update) = statement::give_up_unknown(before, now);
        let calls = self.calls.clone();
        let given_up = self.run(async move { calls.update_many(filter, update).await }).await?;
        Ok(given_up.modified_count)
    }

    /// Conversations whose transcript is owed.
    pub async fn owed(&self, most: i64) -> Result<Vec<ConversationId>, StoreError> {
        use futures_util::TryStreamExt as _;
        let calls = self.calls.clone();
        let documents: Vec<Document> = self
            .run(async move {
                let filter = doc! { "transcriptState": "owed", "conversationId": { "$exists": true } };
                let found = calls.find(filter).projection(doc! { "conversationId": 1, "_id": 0 });
                found.limit(most).max_time(SERVER_TIME).await?.try_collect().await
            })
            .await?;
        Ok(documents
            .iter()
            .filter_map(|found| ConversationId::new(found.get_str("conversationId").ok()?).ok())
            .collect())
    }

    /// How many transcripts are owed, and since when the oldest of them.
    pub async fn backlog_of_transcripts(&self) -> Result<(u64, Option<Timestamp>), StoreError> {
        use futures_util::TryStreamExt as _;
        let calls = self.calls.clone();
        let found: Option<Document> = self
            .run(async move {
                // By the index of owed transcripts, which is small however many calls there are.
                let group =
                    doc! { "_id": null, "owed": { "$sum": 1_i64 }, "since": { "$min": "$_owedSince" } };
                let stages = [doc! { "$match": { "transcriptState": "owed" } }, doc! { "$group": group }];
                calls.aggregate(stages).max_time(SERVER_TIME).await?.try_next().await
            })
            .await?;
        let Some(found) = found else { return Ok((0, None)) };
        let owed = found.get_i64("owed").ok().and_then(|owed| u64::try_from(owed).ok());
        let since = found.get_datetime("since").ok();
        let since = since.and_then(|since| Timestamp::from_millisecond(since.timestamp_millis()).ok());
        Ok((owed.unwrap_or(0), since))
    }

    /// Waits for operations under way, within a bound, and closes the connections.
    pub async fn shutdown(self) {
        self.operations.close();
        if tokio::time::timeout(SHUTDOWN, self.operations.wait()).await.is_err() {
            tracing::warn!(operations = self.operations.len(), "MongoDB does not answer; not waited for");
        }
        // The driver may wait for a server that does not answer; this process ends all the same.
        let closed = tokio::time::timeout(SHUTDOWN, self.client.shutdown().immediate(true)).await;
        if closed.is_err() {
            tracing::debug!("connections to MongoDB are left as they are");
        }
    }

    /// Runs one operation under a deadline.
    ///
    /// The driver must not be dropped half-way (RUST-937), so an operation that is late goes on in a
    /// task of its own while its caller learns that the outcome is unknown.
    async fn run<T: Send + 'static>(
        &self,
        operation: impl Future<Output = mongodb::error::Result<T>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let done = match tokio::time::timeout(OPERATION, self.operations.spawn(operation)).await {
            Ok(Ok(done)) => done.map_err(StoreError::from),
            Ok(Err(_panicked)) => Err(StoreError::Unavailable("operation panicked".to_owned())),
            Err(_elapsed) => Err(StoreError::Unavailable("no answer in time".to_owned())),
        };
        self.metrics
            .store_operation(done.as_ref().map_or_else(StoreError::label, |_| "ok"), started.elapsed());
        done
    }
}

/// Ids of the conversations of the telephone call `shared`, in their order.
async fn conversations_of(
    calls: Collection<Document>,
    shared: String,
) -> mongodb::error::Result<Vec<String>> {
    use futures_util::TryStreamExt as _;
    let found =
        calls.find(doc! { "sharedCallId": shared }).projection(doc! { "_id": 0, "conversationId": 1 });
    let found = found.sort(doc! { "conversationId": 1 }).limit(MOST_CONVERSATIONS).max_time(SERVER_TIME);
    let found: Vec<Document> = found.await?.try_collect().await?;
    Ok(found.iter().filter_map(|call| call.get_str("conversationId").ok().map(str::to_owned)).collect())
}

impl Calls for Store {
    async fn unknown(&self, patches: &[&CallPatch]) -> Result<Vec<bool>, StoreError> {
        insert::unknown(self, patches).await
    }

    async fn insert(&self, patches: &[&CallPatch]) -> Result<Vec<(usize, Failure)>, StoreError> {
        insert::insert(self, patches).await
    }

    async fn update(&self, patches: &[&CallPatch]) -> Result<Vec<(usize, Failure)>, StoreError> {
        update::update(self, patches).await
    }

    async fn merge(&self, patch: &CallPatch) -> Result<Vec<ConversationId>, StoreError> {
        merge::merge(self, patch.clone()).await
    }

    async fn standings(
        &self,
        patches: &[&CallPatch],
        with_status: bool,
    ) -> Result<Vec<Standing>, StoreError> {
        update::standings(self, patches, with_status).await
    }

    async fn save_file(&self, id: &str, file: &Attachment) -> Result<(), StoreError> {
        files::store(self, id, file).await
    }

    async fn owing(&self, conversation: &ConversationId) -> Result<Option<Owing>, StoreError> {
        let call = self.find(None, Some(conversation)).await?;
        Ok(call.filter(CallView::owes_transcript).map(|call| Owing { since: call.owed_since() }))
    }

    /// `false` may also mean that the call was just merged with its other half: the update waits for
    /// the merge, then goes on behind the place where the merged document is. The caller looks again.
    async fn settle_transcript(
        &self,
        conversation: &ConversationId,
        settled: Settled,
    ) -> Result<bool, StoreError> {
        let (filter, update) = statement::transcript(conversation, settled);
        let calls = self.calls.clone();
        let updated = self.run(async move { calls.update_one(filter, update).await }).await?;
        Ok(updated.matched_count > 0)
    }
}
