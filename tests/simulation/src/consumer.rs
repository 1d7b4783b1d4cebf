//! The consumer of a worker: it pulls messages from the model of the broker.

use std::{sync::Arc, time::Duration};

use aftercall_common::contract::streams::consumer::STATUS;
use aftercall_worker::{
    broker::{consumer::Pull, message::StreamMessage},
    domain::{
        cause::Cause,
        event::{Envelope, Origin, Provider},
    },
};
use bytes::Bytes;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{broker::Broker, process::Process};

/// Interval between two pulls: the first one, and the longest one when no messages come.
const POLL_INTERVAL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// Most messages of one pull.
const MAX_BATCH: usize = 12;
/// One webhook in so many has its body in the object store.
const LARGE_EVERY: usize = 16;

/// A delivered message.
#[derive(Clone, Debug)]
pub struct Message {
    /// The consumer that delivered the message.
    pub consumer: &'static str,
    /// Index in the stream, from 0.
    pub n: usize,
    pub id: String,
    payload: Bytes,
    object: Option<String>,
    stored_at: Timestamp,
    pub delivered: i64,
}

impl StreamMessage for Message {
    fn envelope(&self) -> Result<Envelope, Cause> {
        Ok(envelope(&self.id, self.stored_at))
    }

    fn payload(&self) -> Bytes {
        self.payload.clone()
    }

    fn object(&self) -> Option<&str> {
        self.object.as_deref()
    }

    fn traceparent(&self) -> Option<&str> {
        None
    }

    fn received_at(&self) -> Option<Timestamp> {
        None
    }

    fn delivered(&self) -> i64 {
        self.delivered
    }
}

/// The metadata of a stored webhook.
pub fn envelope(id: &str, stored_at: Timestamp) -> Envelope {
    Envelope::new(id, stored_at, Origin::Webhook(Provider::ElevenLabs))
}

/// One consumer as one worker uses it.
pub struct Source {
    pub process: Arc<Process>,
    pub consumer: &'static str,
}

impl Pull for Source {
    type Message = Message;

    async fn next(&mut self, stop: &CancellationToken) -> Option<Vec<Message>> {
        let mut interval = POLL_INTERVAL.0;
        loop {
            stop.run_until_cancelled(self.process.act(interval)).await?;
            interval = (interval * 2).min(POLL_INTERVAL.1);
            let messages = self.pull();
            if !messages.is_empty() {
                return Some(messages);
            }
        }
    }
}

impl Source {
    /// Pulls once.
    fn pull(&self) -> Vec<Message> {
        let (sim, now) = (&self.process.sim, self.process.sim.now());
        let mut world = sim.world();
        let world = &mut *world;
        if world.broker.is_away(now) || world.broker.frozen_until.is_some_and(|until| now < until) {
            return Vec::new();
        }
        world.broker.advance(now);
        let rng = &mut world.rng;
        let picks = || rand::RngExt::random_bool(rng, 0.7);
        let Broker { status, transcripts, .. } = &mut world.broker;
        let deliveries = if self.consumer == STATUS { status } else { transcripts };
        let given = Broker::deliver(deliveries, MAX_BATCH, now, picks);
        let delivered: Vec<_> = given.into_iter().map(|n| (n, deliveries[n].delivered)).collect();
        delivered.into_iter().map(|(n, delivered)| self.message(&world.broker, n, delivered)).collect()
    }

    fn message(&self, broker: &Broker, n: usize, delivered: i64) -> Message {
        let consumer = self.consumer;
        if consumer != STATUS {
            let (id, payload) = (format!("job {n}"), broker.jobs[n].clone());
            return Message {
                consumer,
                n,
                id,
                payload,
                object: None,
                stored_at: Timestamp::UNIX_EPOCH,
                delivered,
            };
        }
        let webhook = &broker.webhooks[n];
        let (object, payload) = if n % LARGE_EVERY == LARGE_EVERY - 1 {
            (Some(webhook.id.clone()), Bytes::new())
        } else {
            (None, webhook.body.clone())
        };
        Message {
            consumer,
            n,
            id: webhook.id.clone(),
            payload,
            object,
            stored_at: webhook.stored_at,
            delivered,
        }
    }
}
