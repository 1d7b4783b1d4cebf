//! Delivers one message: sends it, stores the job that follows a failure, records the attempt, acknowledges.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{AckKind, Message};
use bytes::Bytes;
use jiff::Timestamp;
use rand::RngExt as _;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::{Sender, consumers};
use crate::{
    Context,
    broker::{
        consumer::acknowledge,
        delivery_jobs::{self, DeliveryJob},
        large_bodies::{self, BodyError},
        outgoing::{Content, OutgoingMessage},
    },
    domain::{
        delivery::{
            Attempt, Delivery, DeliveryState, Endpoint, Next, Outcome, Reason, SendError, State, next,
        },
        time::between,
    },
    store::StoreError,
};

/// Delay after which the broker delivers a returned message again: because broker or object store did not answer, or
/// because the endpoint is disabled. It is longer than another worker takes to notice that the endpoint is disabled.
const REDELIVER_AFTER: Duration = Duration::from_secs(5);
/// Large bodies of one endpoint that are in memory at the same time.
const MAX_LARGE: usize = 1;

/// Delivers messages to one endpoint.
pub struct Deliverer {
    pub context: Arc<Context>,
    sender: Sender,
    endpoint: watch::Receiver<Arc<Endpoint>>,
    /// Ends the service of the endpoint.
    stop: CancellationToken,
    large: Semaphore,
}

impl Deliverer {
    pub fn new(
        context: Arc<Context>,
        sender: Sender,
        endpoint: watch::Receiver<Arc<Endpoint>>,
        stop: CancellationToken,
    ) -> Self {
        Self { context, sender, endpoint, stop, large: Semaphore::new(MAX_LARGE) }
    }

    /// The endpoint with its present settings.
    pub fn endpoint(&self) -> Arc<Endpoint> {
        self.endpoint.borrow().clone()
    }

    /// Delivers a new message, if the endpoint gets it.
    pub async fn deliver_new(&self, message: &Message) {
        let endpoint = self.endpoint();
        let outgoing = OutgoingMessage::received(consumers::stream(endpoint.kind), message);
        let is_wanted = |outgoing: &OutgoingMessage| match &outgoing.content {
            Content::Event { event, data } => endpoint.filter.matches(*event, data),
            Content::Webhook { provider, .. } => endpoint.filter.matches_provider(*provider),
        };
        let Some(outgoing) = outgoing.filter(is_wanted) else {
            return acknowledge(message, AckKind::Ack).await;
        };
        let stored = message.info().ok().map(|info| info.published.unix_timestamp_nanos());
        let stored = stored.and_then(|stored| Timestamp::from_nanosecond(stored).ok());
        let delivered = self.attempt(&endpoint, &outgoing, 0).await;
        if let (Ok(Outcome::Accepted), Some(stored)) = (&delivered, stored) {
            self.context.metrics.delivery_delay(between(stored, Timestamp::now()));
        }
        conclude(&endpoint, message, delivered).await;
    }

    /// Delivers a message again, as the job in `message` says.
    pub async fn deliver_again(&self, message: &Message) {
        let endpoint = self.endpoint();
        let job = match DeliveryJob::read(&message.payload) {
            Ok(job) => job,
            Err(reason) => {
                tracing::error!(endpoint = %endpoint.id, reason, "a message of DELIVERIES is dropped");
                return acknowledge(message, AckKind::Ack).await;
            }
        };
        let again = async {
            let Some(outgoing) = OutgoingMessage::fetch(&self.context.jetstream, &job).await? else {
                return Ok(self.record_gone(&endpoint, &job).await);
            };
            self.attempt(&endpoint, &outgoing, job.attempts).await
        };
        conclude(&endpoint, message, again.await).await;
    }

    /// Sends `message` after `attempts` attempts, and stores what follows from the outcome.
    ///
    /// # Errors
    /// The broker does not answer, so the message must not be acknowledged.
    async fn attempt(
        &self,
        endpoint: &Endpoint,
        message: &OutgoingMessage,
        attempts: u32,
    ) -> Result<Outcome, async_nats::Error> {
        let _large = match message.object {
            Some(_) => Some(self.large.acquire().await?),
            None => None,
        };
        let (attempt, outcome) = match self.body(message).await? {
            Some(body) => self.sender.post(endpoint, message, body).await,
            None => gone(),
        };
        self.context.metrics.delivery_attempt(outcome.label(), attempt.duration);
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
        self.record(delivery(endpoint, message), &attempt, &next).await;
        self.update_endpoint(endpoint, &outcome).await;
        Ok(outcome)
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

    async fn record(&self, delivery: Delivery, attempt: &Attempt, next: &Next) {
        let (state, due) = match next {
            Next::Done => (DeliveryState::Delivered, None),
            Next::Retry(at) => (DeliveryState::Waiting, Some(*at)),
            Next::Disable => (DeliveryState::Waiting, None),
            Next::GiveUp => (DeliveryState::Failed, None),
        };
        if let Err(error) = self.context.store.record_attempt(&delivery, attempt, state, due).await {
            tracing::warn!(delivery = delivery.id, %error, "an attempt was not recorded; the delivery goes on");
        }
    }

    /// Records that the message of `job` is not stored any more. Returns the outcome.
    async fn record_gone(&self, endpoint: &Endpoint, job: &DeliveryJob) -> Outcome {
        let (attempt, outcome) = gone();
        self.context.metrics.delivery_attempt(outcome.label(), attempt.duration);
        let delivery = Delivery {
            id: delivery_id(endpoint, &job.message_id),
            endpoint: endpoint.id.as_str().to_owned(),
            message_id: job.message_id.clone(),
            event_type: String::new(),
            call_id: None,
            conversation_id: None,
            stream: job.stream.as_str().to_owned(),
            sequence: job.sequence,
        };
        self.record(delivery, &attempt, &Next::GiveUp).await;
        outcome
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
                    "not delivered; waits for endpoints resume"
                );
            }
            Next::GiveUp => tracing::warn!(endpoint, message, attempt, outcome, "not delivered; given up"),
        }
    }

    /// Records whether the endpoint works, and stops it if it wants nothing any more or has failed for too long.
    async fn update_endpoint(&self, endpoint: &Endpoint, outcome: &Outcome) {
        let (store, now) = (&self.context.store, Timestamp::now());
        let updated = match outcome {
            Outcome::Accepted if endpoint.failing_since.is_none() => return,
            Outcome::Accepted => store.clear_endpoint_failing(&endpoint.id).await,
            Outcome::Failed(error) if !error.may_pass() => return,
            Outcome::Gone => self.stop_endpoint(endpoint, Reason::Gone).await,
            Outcome::Refused { .. } | Outcome::Failed(_) if endpoint.has_failed_too_long(now) => {
                self.stop_endpoint(endpoint, Reason::Failing).await
            }
            Outcome::Refused { .. } | Outcome::Failed(_) if endpoint.failing_since.is_some() => return,
            Outcome::Refused { .. } | Outcome::Failed(_) => {
                store.record_endpoint_failing(&endpoint.id, now).await
            }
        };
        if let Err(error) = updated {
            tracing::warn!(endpoint = %endpoint.id, %error, "the state of an endpoint was not stored");
        }
    }

    async fn stop_endpoint(&self, endpoint: &Endpoint, reason: Reason) -> Result<(), StoreError> {
        let stopped = self.context.store.stop_endpoint(&endpoint.id, reason).await?;
        self.stop.cancel();
        if stopped {
            let reason = State::Stopped(reason).label();
            tracing::error!(endpoint = %endpoint.id, reason, "an endpoint gets nothing any more; its messages wait");
        }
        Ok(())
    }
}

/// Acknowledges `message`. Returns it to the broker if the endpoint is disabled, or if the broker did not store what
/// follows.
async fn conclude(endpoint: &Endpoint, message: &Message, delivered: Result<Outcome, async_nats::Error>) {
    match delivered {
        Ok(Outcome::Gone) => acknowledge(message, AckKind::Nak(Some(REDELIVER_AFTER))).await,
        Ok(_) => acknowledge(message, AckKind::Ack).await,
        Err(error) => {
            tracing::warn!(endpoint = %endpoint.id, %error, "a delivery was not concluded; trying again");
            acknowledge(message, AckKind::Nak(Some(REDELIVER_AFTER))).await;
        }
    }
}

/// The attempt to send a message that is not stored any more.
fn gone() -> (Attempt, Outcome) {
    let error = SendError::MessageGone;
    let error_label = Some(error.label().to_owned());
    let (at, duration) = (Timestamp::now(), Duration::ZERO);
    (Attempt { at, duration, status: None, answer: None, error: error_label }, Outcome::Failed(error))
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

fn delivery_id(endpoint: &Endpoint, message_id: &str) -> String {
    format!("{}:{message_id}", endpoint.id)
}
