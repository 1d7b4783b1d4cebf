//! Delivers one message: sends it, stores the job that follows a failure, acknowledges, records the attempt.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream::{AckKind, Message};
use bytes::Bytes;
use jiff::Timestamp;
use rand::RngExt as _;
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Sender, consumers};
use crate::{
    Context,
    broker::{
        consumer::{acknowledge, hold},
        delivery_jobs::{self, DeliveryJob},
        large_bodies::{self, BodyError},
        outgoing::{Content, OutgoingMessage, Unsendable},
        time::timestamp,
    },
    domain::{
        delivery::{
            Attempt, Delivery, DeliveryState, Endpoint, Next, Outcome, Reason, SendError, State, next,
        },
        time::between,
    },
    store::StoreError,
};

/// Delay after which the broker delivers a returned message again. It is longer than another worker takes to notice
/// that the endpoint is disabled.
const REDELIVER_AFTER: Duration = Duration::from_secs(5);
/// Longest such delay, for a message that was returned several times because broker or object store failed. A request
/// may have been sent each time.
const MAX_REDELIVER_AFTER: Duration = Duration::from_mins(5);
/// How long a message of an unknown type waits for a worker of a later version. While 256 of them wait, the endpoint gets
/// nothing else, so a rolling upgrade should not take longer.
const MAX_UNKNOWN_AGE: Duration = Duration::from_mins(10);
/// Most large bodies of one endpoint in memory at the same time.
const MAX_LARGE: usize = 1;
/// Most attempts of one endpoint that are recorded at the same time.
const MAX_RECORDS: usize = 64;
/// How long an attempt waits, in its slot, until it can be recorded. After that it is not recorded, and later attempts do
/// not wait until one was recorded.
const RECORD_WAIT: Duration = Duration::from_secs(1);

/// An attempt of a message, and what follows from it.
pub struct Attempted {
    delivery: Delivery,
    attempt: Attempt,
    outcome: Outcome,
    next: Next,
}

/// An attempt that is being recorded.
pub struct Record<'a> {
    attempted: Attempted,
    _permit: SemaphorePermit<'a>,
}

/// Why the broker has to deliver a message again.
#[derive(Debug, thiserror::Error)]
enum NotConcluded {
    /// The service ended before the attempt.
    #[error("the endpoint is not served any more")]
    Stopping,
    /// The broker did not return the message, or has not stored the job that follows.
    #[error(transparent)]
    Broker(#[from] async_nats::Error),
}

/// Delivers messages to one endpoint.
pub struct Deliverer {
    pub context: Arc<Context>,
    sender: Sender,
    endpoint: watch::Receiver<Arc<Endpoint>>,
    /// Ends the service of the endpoint.
    stop: CancellationToken,
    large: Semaphore,
    records: Semaphore,
    /// An attempt waited for [`RECORD_WAIT`], and none was recorded since.
    is_store_late: AtomicBool,
}

impl Deliverer {
    pub fn new(
        context: Arc<Context>,
        sender: Sender,
        endpoint: watch::Receiver<Arc<Endpoint>>,
        stop: CancellationToken,
    ) -> Self {
        let (large, records) = (Semaphore::new(MAX_LARGE), Semaphore::new(MAX_RECORDS));
        let is_store_late = AtomicBool::new(false);
        Self { context, sender, endpoint, stop, large, records, is_store_late }
    }

    /// The endpoint with its present settings.
    pub fn endpoint(&self) -> Arc<Endpoint> {
        self.endpoint.borrow().clone()
    }

    /// Delivers a new message, if the endpoint gets it. The caller records the attempt.
    pub async fn deliver_new(&self, message: &Message) -> Option<Attempted> {
        let endpoint = self.endpoint();
        let outgoing = match OutgoingMessage::received(consumers::stream(endpoint.kind), message) {
            Ok(outgoing) => outgoing,
            Err(Unsendable::UnknownType(name)) if endpoint.filter.has_type(&name) => {
                leave_to_later_version(&endpoint, message).await;
                return None;
            }
            Err(Unsendable::UnknownType(_) | Unsendable::Internal) => {
                acknowledge(message, AckKind::Ack).await;
                return None;
            }
        };
        let is_wanted = |outgoing: &OutgoingMessage| match &outgoing.content {
            Content::Event { event, data } => endpoint.filter.matches(*event, data),
            Content::Webhook { provider, .. } => endpoint.filter.matches_provider(*provider),
        };
        if !is_wanted(&outgoing) {
            acknowledge(message, AckKind::Ack).await;
            return None;
        }
        let info = message.info().ok().filter(|info| info.delivered == 1);
        let stored = info.and_then(|info| timestamp(info.published));
        let attempted =
            self.conclude(&endpoint, message, Box::pin(self.attempt(&endpoint, &outgoing, 0))).await?;
        if let (Outcome::Accepted, Some(stored)) = (&attempted.outcome, stored) {
            self.context.metrics.delivery_delay(between(stored, Timestamp::now()));
        }
        Some(attempted)
    }

    /// Delivers a message again, as the job in `message` says. The caller records the attempt.
    pub async fn deliver_again(&self, message: &Message) -> Option<Attempted> {
        let endpoint = self.endpoint();
        let job = match DeliveryJob::read(&message.payload) {
            Ok(job) => job,
            Err(reason) => {
                tracing::error!(endpoint = %endpoint.id, reason, "a message of DELIVERIES is dropped");
                acknowledge(message, AckKind::Ack).await;
                return None;
            }
        };
        let again = async {
            match OutgoingMessage::fetch(&self.context.jetstream, &job).await? {
                Some(outgoing) => self.attempt(&endpoint, &outgoing, job.attempts).await,
                None => Ok(self.gone(delivery_of_job(&endpoint, &job))),
            }
        };
        self.conclude(&endpoint, message, Box::pin(again)).await
    }

    /// Acknowledges `message` once the attempt is made and the job that follows is stored. Otherwise, and if the endpoint
    /// is disabled, returns the message to the broker.
    async fn conclude(
        &self,
        endpoint: &Endpoint,
        message: &Message,
        attempt: impl Future<Output = Result<Attempted, NotConcluded>>,
    ) -> Option<Attempted> {
        match hold(message, attempt).await {
            Ok(attempted) if attempted.outcome == Outcome::Gone => {
                self.stop.cancel();
                acknowledge(message, AckKind::Nak(Some(REDELIVER_AFTER))).await;
                Some(attempted)
            }
            Ok(attempted) => {
                acknowledge(message, AckKind::Ack).await;
                Some(attempted)
            }
            Err(NotConcluded::Stopping) => {
                acknowledge(message, AckKind::Nak(Some(REDELIVER_AFTER))).await;
                None
            }
            Err(NotConcluded::Broker(error)) => {
                tracing::warn!(endpoint = %endpoint.id, %error, "a delivery was not concluded; trying again");
                let delivered = message.info().map_or(1, |info| info.delivered);
                acknowledge(message, AckKind::Nak(Some(redeliver_after(delivered)))).await;
                None
            }
        }
    }

    /// Sends `message`, and stores the job that follows from the outcome. `attempts`: number of earlier attempts.
    async fn attempt(
        &self,
        endpoint: &Endpoint,
        message: &OutgoingMessage,
        attempts: u32,
    ) -> Result<Attempted, NotConcluded> {
        let delivery = delivery(endpoint, message);
        let _large = match message.object {
            Some(_) => match self.stop.run_until_cancelled(self.large.acquire()).await {
                Some(permit) => Some(permit.map_err(|_closed| NotConcluded::Stopping)?),
                None => return Err(NotConcluded::Stopping),
            },
            None => None,
        };
        let Some(body) = self.body(message).await? else { return Ok(self.gone(delivery)) };
        let (attempt, outcome) = self.sender.post(endpoint, message, body).await;
        self.context.metrics.delivery_attempt(outcome.label(), Some(attempt.duration));
        let jitter = rand::rng().random_range(0.0..1.0);
        let next = next(&outcome, attempts + 1, jitter, Timestamp::now());
        if let Next::Retry(at) = next {
            let job = DeliveryJob {
                endpoint: endpoint.id.as_str().to_owned(),
                stream: message.stream,
                sequence: message.sequence,
                message_id: message.id.clone(),
                attempts: attempts + 1,
            };
            let due = self.context.broker_time.of(&self.context.jetstream, at).await;
            delivery_jobs::schedule_delivery(&self.context.jetstream, &job, due).await?;
        }
        Self::log(endpoint, message, attempts + 1, &outcome, &next);
        Ok(Attempted { delivery, attempt, outcome, next })
    }

    /// The attempt to send a message that is not stored any more.
    fn gone(&self, delivery: Delivery) -> Attempted {
        let error = SendError::MessageGone;
        let (at, duration) = (Timestamp::now(), Duration::ZERO);
        self.context.metrics.delivery_attempt(error.label(), None);
        tracing::warn!(
            endpoint = delivery.endpoint,
            message = delivery.message_id,
            outcome = error.label(),
            "not delivered; given up"
        );
        let error_label = Some(error.label().to_owned());
        let attempt = Attempt { at, duration, status: None, answer: None, error: error_label };
        Attempted { delivery, attempt, outcome: Outcome::Failed(error), next: Next::GiveUp }
    }

    /// The body of `message`. `None`: it is not stored any more.
    async fn body(&self, message: &OutgoingMessage) -> Result<Option<Bytes>, async_nats::Error> {
        let Some(object) = &message.object else { return Ok(Some(message.body.clone())) };
        match large_bodies::fetch(&self.context.jetstream, object).await {
            Ok(body) => Ok(Some(body)),
            Err(BodyError::Permanent(_)) => Ok(None),
            Err(BodyError::Temporary(reason)) => Err(reason.into()),
        }
    }

    /// Waits until `attempted` can be recorded. `None`: it is not recorded, because a slow database must not delay
    /// deliveries. The last attempt of a message is always recorded.
    pub async fn admit_record(&self, attempted: Attempted) -> Option<Record<'_>> {
        let wait = if self.is_store_late.load(Ordering::Relaxed) { Duration::ZERO } else { RECORD_WAIT };
        let permit = async { self.records.acquire().await.ok() };
        let permit = match attempted.next {
            Next::Disable | Next::GiveUp => permit.await,
            Next::Done | Next::Retry(_) => timeout(wait, permit).await.ok().flatten(),
        };
        if let Some(permit) = permit {
            return Some(Record { attempted, _permit: permit });
        }
        if !self.is_store_late.swap(true, Ordering::Relaxed) {
            tracing::warn!(endpoint = %self.endpoint().id, "attempts are not recorded at the moment: MongoDB is slow");
        }
        None
    }

    /// Records an attempt, and the state of the endpoint after it.
    pub async fn record(&self, record: Record<'_>) {
        let Attempted { delivery, attempt, outcome, next } = record.attempted;
        let (state, due) = match next {
            Next::Done => (DeliveryState::Delivered, None),
            Next::Retry(at) => (DeliveryState::Waiting, Some(at)),
            Next::Disable => (DeliveryState::Waiting, None),
            Next::GiveUp => (DeliveryState::Failed, None),
        };
        self.update_endpoint(&self.endpoint(), &outcome, attempt.at).await;
        match self.context.store.record_attempt(&delivery, &attempt, state, due).await {
            Ok(()) => self.is_store_late.store(false, Ordering::Relaxed),
            Err(error) => {
                tracing::warn!(delivery = delivery.id, %error, "an attempt was not recorded; the delivery goes on");
            }
        }
    }

    /// Logs an attempt that failed. Neither URL nor answer is logged, because both may hold secrets.
    fn log(endpoint: &Endpoint, message: &OutgoingMessage, attempt: u32, outcome: &Outcome, next: &Next) {
        let (endpoint, message, outcome) = (endpoint.id.as_str(), message.id.as_str(), outcome.label());
        match next {
            Next::Done => tracing::debug!(endpoint, message, attempt, "delivered"),
            Next::Retry(at) => {
                tracing::info!(endpoint, message, attempt, outcome, next = %at, "not delivered; sending again later");
            }
            Next::Disable => {
                tracing::info!(
                    endpoint,
                    message,
                    attempt,
                    outcome,
                    "not delivered: the receiver answered 410; the message waits for endpoints resume"
                );
            }
            Next::GiveUp => tracing::warn!(endpoint, message, attempt, outcome, "not delivered; given up"),
        }
    }

    /// Records whether the endpoint works. Disables it after a 410, and pauses it after five days of failures.
    /// `at`: when the attempt began.
    async fn update_endpoint(&self, endpoint: &Endpoint, outcome: &Outcome, at: Timestamp) {
        let store = &self.context.store;
        let updated = match outcome {
            Outcome::Accepted if endpoint.failing_since.is_none() => return,
            Outcome::Accepted => store.clear_endpoint_failing(&endpoint.id).await,
            Outcome::Failed(error) if !error.may_pass() => return,
            Outcome::Gone => self.stop_endpoint(endpoint, Reason::Gone).await,
            Outcome::Refused { .. } | Outcome::Failed(_) if endpoint.has_failed_too_long(at) => {
                self.stop_endpoint(endpoint, Reason::Failing).await
            }
            Outcome::Refused { .. } | Outcome::Failed(_) if endpoint.failing_since.is_some() => return,
            Outcome::Refused { .. } | Outcome::Failed(_) => {
                store.record_endpoint_failing(&endpoint.id, at).await
            }
        };
        if let Err(error) = updated {
            tracing::warn!(endpoint = %endpoint.id, %error, "the state of an endpoint was not stored");
        }
    }

    async fn stop_endpoint(&self, endpoint: &Endpoint, reason: Reason) -> Result<(), StoreError> {
        if self.context.store.stop_endpoint(&endpoint.id, reason).await? {
            self.stop.cancel();
            let reason = State::Stopped(reason).label();
            tracing::error!(endpoint = %endpoint.id, reason, "an endpoint gets nothing any more; its messages wait");
        }
        Ok(())
    }
}

/// Returns a message of an unknown type to the broker: during a rolling upgrade, a worker of a later version delivers it.
/// If the message is older than [`MAX_UNKNOWN_AGE`], there is no such worker, and the message is dropped.
async fn leave_to_later_version(endpoint: &Endpoint, message: &Message) {
    let stored = message.info().ok().and_then(|info| timestamp(info.published));
    if stored.is_some_and(|stored| between(stored, Timestamp::now()) < MAX_UNKNOWN_AGE) {
        acknowledge(message, AckKind::Nak(Some(REDELIVER_AFTER))).await;
    } else {
        tracing::error!(endpoint = %endpoint.id, subject = %message.subject, "an event of an unknown type is dropped");
        acknowledge(message, AckKind::Ack).await;
    }
}

/// The delay of a message that was delivered to workers `delivered` times.
fn redeliver_after(delivered: i64) -> Duration {
    let doublings = u32::try_from(delivered.clamp(1, 17) - 1).unwrap_or_default();
    REDELIVER_AFTER.saturating_mul(1 << doublings).min(MAX_REDELIVER_AFTER)
}

fn delivery(endpoint: &Endpoint, message: &OutgoingMessage) -> Delivery {
    Delivery {
        id: delivery_id(endpoint, &message.id),
        endpoint: endpoint.id.as_str().to_owned(),
        message_id: message.id.clone(),
        event_type: message.type_name().to_owned(),
        call_id: message.data_text("callId"),
        conversation_id: message.data_text("conversationId"),
        stream: message.stream.as_str().to_owned(),
        sequence: message.sequence,
    }
}

/// The delivery of a message that is not in its stream any more.
fn delivery_of_job(endpoint: &Endpoint, job: &DeliveryJob) -> Delivery {
    Delivery {
        id: delivery_id(endpoint, &job.message_id),
        endpoint: endpoint.id.as_str().to_owned(),
        message_id: job.message_id.clone(),
        event_type: String::new(),
        call_id: None,
        conversation_id: None,
        stream: job.stream.as_str().to_owned(),
        sequence: job.sequence,
    }
}

fn delivery_id(endpoint: &Endpoint, message_id: &str) -> String {
    format!("{}:{message_id}", endpoint.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_message_comes_back_later_each_time() {
        let after = |delivered| redeliver_after(delivered).as_secs();
        assert_eq!([1, 2, 3, 4].map(after), [5, 10, 20, 40]);
        assert_eq!([7, 100, i64::MAX].map(after), [300; 3]);
        assert_eq!([0, -1].map(after), [5; 2]);
    }
}
