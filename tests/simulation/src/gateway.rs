//! The gateway process and the senders. The commit core of the gateway runs unchanged.

use std::{sync::Arc, time::Duration};

use aftercall_ingest::{
    admission::body::Body,
    storage::{
        message::{Webhook, webhook_id},
        publisher::{
            PublishRequest, PublishResult,
            group_commit::GroupCommit,
            wire::{AckId, Answer, OutgoingMessage},
        },
    },
};
use async_nats::HeaderMap;
use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::world::{Simulation, spawn_detached};

/// The setting `PUBLISH_TIMEOUT`.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval in which deadlines are checked.
const DEADLINE_CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// Longest time of a message from the gateway to the broker, and of the answer.
const NETWORK_DELAY: Duration = Duration::from_millis(3);
const PATH: &str = "/api/webhooks/elevenlabs/call-status";

type Waiter = oneshot::Sender<PublishResult>;
/// The queue of the running gateway; `None` while the gateway is down.
type Address = watch::Receiver<Option<mpsc::UnboundedSender<PublishRequest<Waiter>>>>;

/// A publish on its way to the broker, and the number of its connection.
type InTransit = (u64, OutgoingMessage);

/// Runs the gateway until `end`. Starts it again after each kill.
pub async fn run_until(
    sim: Simulation,
    address: watch::Sender<Option<mpsc::UnboundedSender<PublishRequest<Waiter>>>>,
    end: CancellationToken,
) {
    while !end.is_cancelled() {
        let (queue, arrived) = mpsc::unbounded_channel();
        address.send_replace(Some(queue));
        let process = run(sim.clone(), arrived);
        tokio::select! {
            biased;
            () = end.cancelled() => return,
            () = process => {}
            () = killed(&sim) => {}
        }
        sim.note(|| "the gateway is killed".to_owned());
        address.send_replace(None);
        sim.pass(Duration::from_secs(2)).await;
    }
}

/// Waits until chance kills the gateway.
async fn killed(sim: &Simulation) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if sim.happens(|faults| faults.killed / 3.0) {
            return;
        }
    }
}

/// One gateway process: passes webhooks to the commit core, its publishes to the broker, and its results to
/// the senders.
async fn run(sim: Simulation, mut arrived: mpsc::UnboundedReceiver<PublishRequest<Waiter>>) {
    let mut commits: GroupCommit<Waiter> = GroupCommit::default();
    commits.set_supports_batches(true);
    let (to_broker, wire) = mpsc::unbounded_channel();
    let (answering, mut answers) = mpsc::unbounded_channel();
    spawn_detached(transmit(sim.clone(), wire, answering));
    let mut connection = sim.world().broker.connection;
    let mut deadline_check = tokio::time::interval(DEADLINE_CHECK_INTERVAL);
    loop {
        let mut entries = Vec::new();
        tokio::select! {
            biased;
            _ = deadline_check.tick(), if !commits.is_idle() => commits.expire(Instant::now().into_std()),
            Some((of, ack, answer)) = answers.recv() => {
                if of == connection {
                    commits.acknowledged(ack, answer, Instant::now().into_std());
                }
            }
            Some(entry) = arrived.recv() => entries.push(entry),
        }
        entries.extend(std::iter::from_fn(|| arrived.try_recv().ok()));
        let (now, is_away) = {
            let world = sim.world();
            if connection != world.broker.connection {
                connection = world.broker.connection;
                commits.connection_lost();
            }
            (Instant::now().into_std(), world.broker.is_away(sim.now()))
        };
        for entry in entries {
            commits.arrive(entry, now);
        }
        if is_away {
            commits.connection_lost();
        } else {
            commits.advance(now);
            while let Some(message) = commits.next_publish() {
                // The channel is closed at the end of the simulation only.
                let _gone = to_broker.send((connection, message));
            }
        }
        for (waiter, outcome) in commits.completed() {
            let _left = waiter.send(outcome);
        }
    }
}

/// The connection to the broker. Publishes arrive in order. Some arrive after the gateway has given them up.
async fn transmit(
    sim: Simulation,
    mut wire: mpsc::UnboundedReceiver<InTransit>,
    answers: mpsc::UnboundedSender<(u64, AckId, Answer)>,
) {
    while let Some((connection, message)) = wire.recv().await {
        sim.pass(NETWORK_DELAY).await;
        let frozen = sim.world().broker.frozen_until;
        if let Some(left) = frozen.and_then(|until| Duration::try_from(until.duration_since(sim.now())).ok())
        {
            tokio::time::sleep(left).await;
        }
        // The connection broke. The broker had received the publish, or the client sends it again on the next
        // connection, or it is lost.
        if connection != sim.world().broker.connection && sim.below(2) == 0 {
            continue;
        }
        let refuses = sim.happens(|faults| faults.refusal);
        let now = sim.now();
        let answer = sim.world().broker.publish(&message, refuses, now);
        sim.note(|| {
            format!("broker: {} {:?} {answer:?}", &message.webhook.id.to_string()[..8], message.position)
        });
        if let Some(ack) = message.ack
            && !sim.happens(|faults| faults.lost_answer)
        {
            sim.pass(NETWORK_DELAY).await;
            // The gateway may have been killed.
            let _gone = answers.send((connection, ack, answer));
        }
    }
}

/// Posts `body` until the gateway accepts it or the sender gives up. Returns whether it was accepted.
pub async fn post(sim: &Simulation, address: &Address, body: Bytes) -> bool {
    let id = webhook_id(PATH, std::slice::from_ref(&body));
    loop {
        let queue = address.borrow().clone();
        let outcome = match queue {
            None => None,
            Some(queue) => {
                let (waiter, outcome) = oneshot::channel();
                let webhook = Webhook {
                    subject: "webhooks.elevenlabs.call-status".into(),
                    id,
                    headers: HeaderMap::new(),
                    body: Body::unbudgeted(body.clone()),
                };
                let now = Instant::now();
                let entry = PublishRequest {
                    webhook: Arc::new(webhook),
                    deadline: (now + PUBLISH_TIMEOUT).into_std(),
                    waiter,
                };
                let _closing = queue.send(entry);
                let outcome = outcome.await.ok();
                if now.elapsed() > PUBLISH_TIMEOUT + DEADLINE_CHECK_INTERVAL {
                    sim.violation(format!("{id} was answered only after {:?}", now.elapsed()));
                }
                outcome
            }
        };
        if let Some(Ok(_)) = outcome {
            if !sim.world().broker.has(&id.to_string()) {
                sim.violation(format!("{id} was answered 200 and is not stored"));
            }
            return true;
        }
        if sim.below(10) == 0 {
            return false; // ElevenLabs repeats transcripts only, and a limited number of times.
        }
        sim.pass(Duration::from_secs(3)).await;
    }
}
