//! The ports of a worker, implemented by the models.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use aftercall_common::{
    contract::streams::consumer,
    process::{success_log::SuccessLog, trace::Tracer},
};
use aftercall_worker::{
    Metrics,
    broker::large_bodies::BodyError,
    domain::{call::TranscriptState, cause::Cause, event::ConversationId},
    ports::Ports,
    retry::Pauses,
    roles::transcripts::{Job, JobKind},
    store::StoreError,
};
use async_nats::{Error, jetstream::AckKind};
use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    broker::{Broker, State},
    consumer::Message,
    database::Database,
    documents::Documents,
    process::Process,
    world::Simulation,
};

/// Longest time from a request to the broker, and from the broker to the answer.
const MAX_LATENCY: Duration = Duration::from_millis(10);
/// The ports of the roles of one worker.
#[derive(Clone, Debug)]
pub struct SimulatedPorts {
    process: Arc<Process>,
    database: Database,
}

impl SimulatedPorts {
    pub fn new(process: Arc<Process>) -> Self {
        Self { database: Database(process.clone()), process }
    }

    fn sim(&self) -> &Simulation {
        &self.process.sim
    }

    /// Publishes a message to the broker. Depending on chance the broker does not store it, or stores it
    /// without an acknowledgement. `what` names the message in the log.
    async fn publish(&self, what: &str, store: impl FnOnce(&mut Broker, Timestamp)) -> Result<(), Error> {
        self.process.act(MAX_LATENCY).await;
        let sim = self.sim();
        let fails = sim.happens(|faults| faults.lost_publish);
        if (fails && sim.below(2) == 0) || sim.world().broker.is_away(sim.now()) {
            sim.note(|| format!("{}: {what} is not stored", self.process.name));
            return Err("simulated: not stored".into());
        }
        let now = sim.now();
        store(&mut sim.world().broker, now);
        self.process.act(MAX_LATENCY).await;
        if fails {
            sim.note(|| format!("{}: {what} is stored, and not acknowledged", self.process.name));
            return Err("simulated: not acknowledged".into());
        }
        Ok(())
    }

    /// Checks that the document of an acknowledged webhook is written, and that its transcript job is stored.
    fn check_acknowledged(&self, message: &Message) {
        let sim = self.sim();
        let world = sim.world();
        let Some(call) = world.documents.with_event(&message.id) else {
            drop(world);
            return sim.violation(format!("{} was acknowledged before it was written", message.id));
        };
        // Another unacknowledged webhook of the same call may still store the job.
        let others = call.history.iter().any(|entry| {
            let of_this = |(n, webhook): (usize, &crate::broker::Webhook)| {
                n != message.n && webhook.id == entry.event_id && !world.broker.status[n].is_acknowledged()
            };
            world.broker.webhooks.iter().enumerate().any(of_this)
        });
        let owed =
            call.conversation_id.as_ref().filter(|_| call.transcript == Some(TranscriptState::Pending));
        let jobless = owed.is_some_and(|id| !world.broker.owed.contains(id.as_str()));
        drop(world);
        if jobless && !others {
            sim.violation(format!("{} was acknowledged before its transcript job was stored", message.id));
        }
    }
}

/// Id of the dead letter of a message.
pub fn dead_letter_key(consumer: &str, n: usize) -> String {
    format!("{consumer}:{n}")
}

impl Ports for SimulatedPorts {
    type Message = Message;
    type Calls = Database;

    fn calls(&self) -> &Database {
        &self.database
    }

    fn metrics(&self) -> &Metrics {
        static METRICS: OnceLock<Metrics> = OnceLock::new();
        METRICS.get_or_init(|| Metrics::register(&mut prometheus_client::registry::Registry::default()))
    }

    fn tracer(&self) -> &Tracer {
        static TRACER: OnceLock<Tracer> = OnceLock::new();
        TRACER.get_or_init(Tracer::default)
    }

    fn successes(&self) -> &SuccessLog {
        static SUCCESSES: OnceLock<SuccessLog> = OnceLock::new();
        SUCCESSES.get_or_init(SuccessLog::default)
    }

    fn now(&self) -> Timestamp {
        self.sim().now()
    }

    fn random(&self) -> f64 {
        f64::from(u32::try_from(self.sim().below(1000)).unwrap_or(0)) / 1000.0
    }

    fn pauses(&self, first: Duration, most: Duration) -> Pauses {
        Pauses::endless(first, most).steady()
    }

    async fn fetch_body(&self, object: &str) -> Result<Bytes, BodyError> {
        self.process.act(MAX_LATENCY * 10).await;
        let sim = self.sim();
        if sim.happens(|faults| faults.body) {
            return Err(BodyError::Temporary("simulated".to_owned()));
        }
        let world = sim.world();
        let found = world.broker.webhooks.iter().find(|webhook| webhook.id == object);
        found
            .map(|webhook| webhook.body.clone())
            .ok_or_else(|| BodyError::Temporary("no such object".to_owned()))
    }

    async fn enqueue_job(&self, conversation: &ConversationId, trace: Option<&str>) -> Result<(), Error> {
        let job = Job::first(JobKind::Transcript, conversation.clone(), trace);
        let id = conversation.as_str().to_owned();
        self.publish("a job", move |broker, now| broker.owe(&id, job.payload().into(), now)).await
    }

    async fn enqueue_recording(&self, _: &ConversationId, _: Option<&str>) -> Result<(), Error> {
        Ok(()) // As with `RECORDINGS=webhook`.
    }

    async fn schedule_job(&self, job: &Job, at: Timestamp) -> Result<(), Error> {
        let (id, body) = (job.conversation_id.as_str().to_owned(), Bytes::from(job.payload()));
        self.publish("a schedule", move |broker, _| {
            broker.scheduled.insert(id, (at, body));
        })
        .await
    }

    async fn dead_letter(
        &self,
        consumer: &'static str,
        message: &Message,
        cause: &Cause,
    ) -> Result<(), Error> {
        let (id, label) = (dead_letter_key(consumer, message.n), cause.reason.label());
        self.publish("a dead letter", move |broker, _| {
            broker.dead.insert(id, label);
        })
        .await
    }

    async fn attempts(&self, ids: &[String]) -> Result<Vec<u32>, StoreError> {
        let ids = ids.to_vec();
        let attempts = move |documents: &mut Documents| {
            ids.iter().map(|id| documents.attempts.get(id).copied().unwrap_or(0)).collect()
        };
        self.database.write("attempts", attempts).await
    }

    async fn begin_attempt(&self, ids: &[String], attempt: u32) -> Result<(), StoreError> {
        let ids = ids.to_vec();
        let begin = move |documents: &mut Documents| {
            for id in ids {
                let known = documents.attempts.entry(id).or_default();
                *known = attempt.max(*known);
            }
        };
        self.database.write("begin", begin).await
    }

    async fn end_attempt(&self, ids: &[String]) -> Result<(), StoreError> {
        let ids = ids.to_vec();
        let end = move |documents: &mut Documents| documents.attempts.retain(|id, _| !ids.contains(id));
        self.database.write("end", end).await
    }

    async fn acknowledge(&self, message: &Message, kind: AckKind) {
        self.process.act(MAX_LATENCY).await;
        let (sim, now) = (self.sim(), self.sim().now());
        if sim.happens(|faults| faults.lost_settlement) || sim.world().broker.is_away(now) {
            return;
        }
        let later = |wait: Duration| now.saturating_add(wait).unwrap_or(now);
        let state = match kind {
            AckKind::Ack => {
                if message.consumer == consumer::STATUS {
                    self.check_acknowledged(message);
                }
                State::Acknowledged(now)
            }
            AckKind::Term => {
                if !sim.world().broker.dead.contains_key(&dead_letter_key(message.consumer, message.n)) {
                    sim.violation(format!("{} was terminated before its dead letter was stored", message.id));
                }
                State::Acknowledged(now)
            }
            AckKind::Nak(wait) => State::Pending(later(wait.unwrap_or_default())),
            AckKind::Progress => State::Delivered(later(aftercall_common::contract::streams::ACK_WAIT)),
            AckKind::Next => {
                return sim.violation("a worker requested the next message by an acknowledgement");
            }
        };
        sim.note(|| format!("{}: {} {} {state:?}", self.process.name, message.consumer, message.n));
        let mut world = sim.world();
        let deliveries = match message.consumer {
            consumer::STATUS => &mut world.broker.status,
            _ => &mut world.broker.transcripts,
        };
        let delivery = &mut deliveries[message.n];
        // The broker takes an acknowledgement of any delivery, and everything else of the last delivery only.
        let settles = matches!(state, State::Acknowledged(_));
        if settles
            || (matches!(delivery.state, State::Delivered(_)) && delivery.delivered == message.delivered)
        {
            delivery.state = state;
        }
    }
}
