//! Workers: the roles' own code before the models, killed, frozen and stopped.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use aftercall_common::{contract::streams::consumer, process::trace::Tracer};
use aftercall_worker::{
    Metrics,
    broker::{consumer::Pull as _, large_bodies::NoBody},
    domain::{call::TranscriptState, cause::Cause, event::ConversationId},
    ingestion,
    ports::Outside,
    retry::Pauses,
    roles::transcripts::{self, Job},
    store::StoreError,
};
use async_nats::{Error, jetstream::AckKind};
use bytes::Bytes;
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    broker::{Broker, State},
    calls::{Calls, Database},
    provider::Api,
    source::{Message, Source},
    world::Sim,
};

/// How long the broker takes for anything, at most.
const TAKES: Duration = Duration::from_millis(10);
/// From then on a transcript is given up.
pub const GIVE_UP_AFTER: Duration = Duration::from_mins(20);

/// One worker process.
#[derive(Debug)]
pub struct Worker {
    pub sim: Sim,
    pub name: String,
    /// It does nothing before.
    frozen_until: std::sync::Mutex<Timestamp>,
}

impl Worker {
    pub fn new(sim: Sim, name: String) -> Arc<Self> {
        Arc::new(Self { sim, name, frozen_until: std::sync::Mutex::new(Timestamp::UNIX_EPOCH) })
    }

    pub fn freeze(&self, time: Duration) {
        let until = self.sim.now().saturating_add(time).unwrap_or(Timestamp::MAX);
        *self.frozen_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = until;
    }

    /// Something happens outside, which takes up to `most`; a frozen worker does not begin it.
    pub async fn act(&self, most: Duration) {
        self.sim.pass(most).await;
        loop {
            let until = *self.frozen_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let Ok(left) = Duration::try_from(until.duration_since(self.sim.now())) else { return };
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}

/// What the roles of one worker need.
#[derive(Clone, Debug)]
pub struct Around {
    worker: Arc<Worker>,
    database: Database,
}

impl Around {
    fn new(worker: Arc<Worker>) -> Self {
        Self { database: Database(worker.clone()), worker }
    }

    fn sim(&self) -> &Sim {
        &self.worker.sim
    }

    /// Stores something, or does not, and says so or not.
    async fn publish(&self, what: &str, store: impl FnOnce(&mut Broker, Timestamp)) -> Result<(), Error> {
        self.worker.act(TAKES).await;
        let sim = self.sim();
        let fails = sim.happens(|faults| faults.lost_publish);
        if (fails && sim.below(2) == 0) || sim.world().broker.is_away(sim.now()) {
            sim.note(|| format!("{}: {what} is not stored", self.worker.name));
            return Err("simulated: not stored".into());
        }
        let now = sim.now();
        store(&mut sim.world().broker, now);
        self.worker.act(TAKES).await;
        if fails {
            sim.note(|| format!("{}: {what} is stored, and not acknowledged", self.worker.name));
            return Err("simulated: not acknowledged".into());
        }
        Ok(())
    }

    /// What must be so when a webhook is acknowledged.
    fn check_acknowledged(&self, message: &Message) {
        let sim = self.sim();
        let world = sim.world();
        let Some(call) = world.calls.with_event(&message.id) else {
            drop(world);
            return sim.violation(format!("{} was acknowledged before it was written", message.id));
        };
        // Who has not settled yet may still store the job.
        let others = call.history.iter().any(|entry| {
            let of_this = |(n, webhook): (usize, &crate::broker::Webhook)| {
                n != message.n && webhook.id == entry.event_id && !world.broker.status[n].is_settled()
            };
            world.broker.webhooks.iter().enumerate().any(of_this)
        });
        let owed =
            call.conversation_id.as_ref().filter(|_| call.transcript == Some(TranscriptState::Pending));
        let jobless = owed.is_some_and(|id| !world.broker.owed.contains(id.as_str()));
        drop(world);
        if jobless && !others {
            sim.violation(format!("{} was acknowledged before its transcript was owed", message.id));
        }
    }
}

/// Where a dead letter is.
fn grave(consumer: &str, n: usize) -> String {
    format!("{consumer}:{n}")
}

impl Outside for Around {
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

    fn now(&self) -> Timestamp {
        self.sim().now()
    }

    fn chance(&self) -> f64 {
        f64::from(u32::try_from(self.sim().below(1000)).unwrap_or(0)) / 1000.0
    }

    fn pauses(&self, first: Duration, most: Duration) -> Pauses {
        Pauses::endless(first, most).steady()
    }

    async fn fetch(&self, object: &str) -> Result<Bytes, NoBody> {
        self.worker.act(TAKES * 10).await;
        let sim = self.sim();
        if sim.happens(|faults| faults.body) {
            return Err(NoBody::Later("simulated".to_owned()));
        }
        let world = sim.world();
        let found = world.broker.webhooks.iter().find(|webhook| webhook.id == object);
        found.map(|webhook| webhook.body.clone()).ok_or_else(|| NoBody::Later("no such object".to_owned()))
    }

    async fn owe(&self, conversation: &ConversationId, trace: Option<&str>) -> Result<(), Error> {
        let job = Job { conversation_id: conversation.clone(), attempt: 0, trace: trace.map(str::to_owned) };
        let id = conversation.as_str().to_owned();
        self.publish("a job", move |broker, now| broker.owe(&id, job.payload().into(), now)).await
    }

    async fn later(&self, job: &Job, at: Timestamp) -> Result<(), Error> {
        let (id, body) = (job.conversation_id.as_str().to_owned(), Bytes::from(job.payload()));
        self.publish("a schedule", move |broker, _| {
            broker.later.insert(id, (at, body));
        })
        .await
    }

    async fn bury(&self, consumer: &'static str, message: &Message, cause: &Cause) -> Result<(), Error> {
        let (id, label) = (grave(consumer, message.n), cause.label);
        self.publish("a dead letter", move |broker, _| {
            broker.dead.insert(id, label);
        })
        .await
    }

    async fn attempts(&self, ids: &[String]) -> Result<Vec<u32>, StoreError> {
        let ids = ids.to_vec();
        let attempts = move |calls: &mut Calls| {
            ids.iter().map(|id| calls.attempts.get(id).copied().unwrap_or(0)).collect()
        };
        self.database.write("attempts", attempts).await
    }

    async fn begin_attempt(&self, ids: &[String], attempt: u32) -> Result<(), StoreError> {
        let ids = ids.to_vec();
        let begin = move |calls: &mut Calls| {
            for id in ids {
                let known = calls.attempts.entry(id).or_default();
                *known = attempt.max(*known);
            }
        };
        self.database.write("begin", begin).await
    }

    async fn end_attempt(&self, ids: &[String]) -> Result<(), StoreError> {
        let ids = ids.to_vec();
        let end = move |calls: &mut Calls| calls.attempts.retain(|id, _| !ids.contains(id));
        self.database.write("end", end).await
    }

    async fn settle(&self, message: &Message, kind: AckKind) {
        self.worker.act(TAKES).await;
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
                State::Settled(now)
            }
            AckKind::Term => {
                if !sim.world().broker.dead.contains_key(&grave(message.consumer, message.n)) {
                    sim.violation(format!("{} was terminated before it was buried", message.id));
                }
                State::Settled(now)
            }
            AckKind::Nak(wait) => State::Pending(later(wait.unwrap_or_default())),
            AckKind::Progress => State::Delivered(later(aftercall_common::contract::streams::ACK_WAIT)),
            AckKind::Next => return sim.violation("nobody asks for the next message so"),
        };
        sim.note(|| format!("{}: {} {} {state:?}", self.worker.name, message.consumer, message.n));
        let mut world = sim.world();
        let deliveries = match message.consumer {
            consumer::STATUS => &mut world.broker.status,
            _ => &mut world.broker.transcripts,
        };
        let delivery = &mut deliveries[message.n];
        // The broker takes an acknowledgement from whoever has the message; the rest only from the last.
        let settles = matches!(state, State::Settled(_));
        if settles
            || (matches!(delivery.state, State::Delivered(_)) && delivery.delivered == message.delivered)
        {
            delivery.state = state;
        }
    }
}

/// Runs both roles until `stop`, hands back what is not done.
async fn run(worker: Arc<Worker>, stop: CancellationToken) {
    let around = Around::new(worker.clone());
    let mut roles = JoinSet::new();
    roles.spawn({
        let (around, worker, stop) = (around.clone(), worker.clone(), stop.clone());
        async move {
            let mut source = Source { worker, consumer: consumer::STATUS };
            let outside = Arc::new(around);
            for message in ingestion::serve(outside.clone(), &mut source, &stop).await {
                outside.settle(&message, AckKind::Nak(None)).await;
            }
        }
    });
    roles.spawn(async move {
        let api = Api::new(worker.clone());
        let mut source = Source { worker, consumer: consumer::TRANSCRIPTS };
        while let Some(messages) = source.next(&stop).await {
            for message in messages {
                transcripts::work(&around, &api, GIVE_UP_AFTER, &message).await;
            }
        }
    });
    while roles.join_next().await.is_some() {}
}

/// Keeps one worker running until `end`, whatever happens to it.
pub async fn keep(sim: Sim, name: String, end: CancellationToken) {
    while !end.is_cancelled() {
        let (worker, stop) = (Worker::new(sim.clone(), name.clone()), CancellationToken::new());
        let mut process = JoinSet::new();
        process.spawn(run(worker.clone(), stop.clone()));
        loop {
            tokio::select! {
                biased;
                () = end.cancelled() => return,
                _ = process.join_next() => break,
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
            if sim.happens(|faults| faults.killed) {
                sim.note(|| format!("{name} is killed"));
                break; // With the set its tasks end where they stand.
            }
            if sim.happens(|faults| faults.stopped) {
                sim.note(|| format!("{name} is told to stop"));
                stop.cancel();
            }
            if sim.happens(|faults| faults.frozen) {
                sim.note(|| format!("{name} is frozen"));
                worker.freeze(Duration::from_secs(5 + sim.below(20)));
            }
        }
        drop(process);
        sim.pass(Duration::from_secs(2)).await;
    }
}
