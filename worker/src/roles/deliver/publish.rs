//! Reads changed calls and publishes their messages.

use std::time::Duration;

use aftercall_common::contract::streams::CALLS;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{collect::Collected, message};
use crate::{
    Context,
    broker::ordered_publish::{OrderedMessage, OrderedPublisher, PublishError},
    domain::{delivery::EventType, time::between},
    retry::Pauses,
    store::StoreError,
};

const FIRST_RETRY_DELAY: Duration = Duration::from_millis(100);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);
/// Bytes of a message besides its body; the broker counts both against `max_payload`.
const HEADER_BYTES: usize = 1024;

/// Publishes changes of calls to the stream `CALLS`.
pub(super) struct Publisher<'a> {
    context: &'a Context,
    stop: &'a CancellationToken,
    /// `None` before the first publish, and after a publish whose result is unknown.
    stream: Option<OrderedPublisher>,
}

/// Messages of changed calls.
struct Messages {
    messages: Vec<OrderedMessage>,
    /// When each call was last changed.
    changed_at: Vec<Timestamp>,
}

impl<'a> Publisher<'a> {
    pub(super) fn new(context: &'a Context, stop: &'a CancellationToken) -> Self {
        Self { context, stop, stream: None }
    }

    /// Publishes the present state of the changed calls. Repeats until the broker has stored it, or until `stop`: then it may
    /// not be published.
    ///
    /// # Errors
    /// The database failed.
    pub(super) async fn publish(&mut self, changes: &Collected) -> Result<(), StoreError> {
        if changes.0.is_empty() {
            return Ok(());
        }
        let mut pauses = Pauses::endless(FIRST_RETRY_DELAY, MAX_RETRY_DELAY);
        loop {
            match self.try_publish(changes).await? {
                Ok(()) => return Ok(()),
                Err(PublishError::Conflict) => {
                    tracing::debug!(
                        "another worker published changes of calls meanwhile; reading the calls again"
                    );
                }
                Err(PublishError::Broker(error)) => {
                    tracing::warn!(%error, "changes of calls are not published; trying again");
                }
            }
            self.stream = None;
            if !pauses.sleep(self.stop).await {
                return Ok(());
            }
        }
    }

    async fn try_publish(&mut self, changes: &Collected) -> Result<Result<(), PublishError>, StoreError> {
        // The end of the stream is read before the calls: see `OrderedPublisher::new`.
        let mut publisher = if let Some(publisher) = self.stream.take() {
            publisher
        } else {
            let client = self.context.nats.clone();
            match OrderedPublisher::new(client, &self.context.jetstream, CALLS).await {
                Ok(publisher) => publisher,
                Err(error) => return Ok(Err(error.into())),
            }
        };
        let Messages { messages, changed_at } = self.messages(changes).await?;
        let result = publisher.publish(&messages).await;
        if result.is_ok() {
            self.stream = Some(publisher);
            let (metrics, now) = (&self.context.metrics, Timestamp::now());
            for message in &messages {
                metrics.outgoing_event(message.event);
            }
            for at in changed_at {
                metrics.outgoing_delay(between(at, now));
            }
        }
        Ok(result)
    }

    /// The messages of the changed calls as they are now.
    async fn messages(&self, changes: &Collected) -> Result<Messages, StoreError> {
        let max_bytes = self.context.nats.max_payload().saturating_sub(HEADER_BYTES);
        let is_erasure = |event| event == EventType::Erased;
        let (stored, erased) = (changes.ids(|event| !is_erasure(event)), changes.ids(is_erasure));
        let (mut messages, mut changed_at) = (Vec::with_capacity(stored.len() + erased.len()), Vec::new());
        if !stored.is_empty() {
            for call in self.context.store.calls_to_publish(stored).await? {
                let events = call.object_id().and_then(|id| changes.0.get(&id));
                messages.extend(
                    events.into_iter().flat_map(|events| message::of_change(&call, events, max_bytes)),
                );
                changed_at.extend(call.revision().and_then(|at| Timestamp::from_millisecond(at).ok()));
            }
        }
        if !erased.is_empty() {
            let erased = self.context.store.erased_calls(erased).await?;
            messages.extend(erased.iter().flat_map(message::of_erasure));
        }
        Ok(Messages { messages, changed_at })
    }
}
