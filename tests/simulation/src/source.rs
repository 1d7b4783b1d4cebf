//! What the broker gives to a worker.

use std::{sync::Arc, time::Duration};

use aftercall_common::contract::streams::consumer::STATUS;
use aftercall_worker::{
    broker::{consumer::Pull, message::StreamMessage},
    domain::{
        cause::Cause,
        event::{Envelope, Origin},
    },
};
use bytes::Bytes;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{broker::Broker, worker::Worker};

/// How often a worker looks for messages, at first and when none came for a while.
const LOOK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// Most messages given at a time.
const BATCH: usize = 12;
/// One webhook in so many has its body elsewhere.
const LARGE: usize = 16;

/// A delivered message.
#[derive(Clone, Debug)]
pub struct Message {
    /// The consumer that gave it.
    pub consumer: &'static str,
    /// Its place in the stream, from 0.
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

/// What is known of a stored webhook besides its body.
pub fn envelope(id: &str, stored_at: Timestamp) -> Envelope {
    Envelope::new(id, stored_at, Origin::ElevenLabs)
}

/// What one consumer gives to one worker.
pub struct Source {
    pub worker: Arc<Worker>,
    pub consumer: &'static str,
}

impl Pull for Source {
    type Message = Message;

    async fn next(&mut self, stop: &CancellationToken) -> Option<Vec<Message>> {
        let mut look = LOOK.0;
        loop {
            stop.run_until_cancelled(self.worker.act(look)).await?;
            look = (look * 2).min(LOOK.1);
            let messages = self.take();
            if !messages.is_empty() {
                return Some(messages);
            }
        }
    }
}

impl Source {
    fn take(&self) -> Vec<Message> {
        let (sim, now) = (&self.worker.sim, self.worker.sim.now());
        let mut world = sim.world();
        let world = &mut *world;
        if world.broker.is_away(now) || world.broker.frozen_until.is_some_and(|until| now < until) {
            return Vec::new();
        }
        world.broker.turn(now);
        let rng = &mut world.rng;
        let picks = || rand::RngExt::random_bool(rng, 0.7);
        let Broker { status, transcripts, .. } = &mut world.broker;
        let deliveries = if self.consumer == STATUS { status } else { transcripts };
        let given = Broker::deliver(deliveries, BATCH, now, picks);
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
        let (object, payload) = if n % LARGE == LARGE - 1 {
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
