//! The gateway process and the senders. The commit core of the gateway runs unchanged.

use std::{sync::Arc, time::Duration};

use aftercall_ingest::{
    admission::body::Body,
    storage::{
        message::webhook_id,
        publisher::{
            Webhook,
            commits::{Commits, Entry, Order, Outcome},
            wire::Answer,
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

type Waiter = oneshot::Sender<Outcome>;
/// The queue of the running gateway; `None` while the gateway is down.
type Address = watch::Receiver<Option<mpsc::UnboundedSender<Entry<Waiter>>>>;

/// A publish on its way to the broker, and the number of its connection.
type InTransit = (u64, Order);

/// Runs the gateway until `end`. Starts it again after each kill.
pub async fn run_until(
    sim: Simulation,
    address: watch::Sender<Option<mpsc::UnboundedSender<Entry<Waiter>>>>,
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
async fn run(sim: Simulation, mut arrived: mpsc::UnboundedReceiver<Entry<Waiter>>) {
    let mut commits: Commits<Waiter> = Commits::default();
    commits.set_takes_batches(true);
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
            Some((of, number, answer)) = answers.recv() => {
                if of == connection {
                    commits.answered(number, answer, Instant::now().into_std());
                }
            }
            Some(entry) = arrived.recv() => entries.push(entry),
        }
        entries.extend(std::iter::from_fn(|| arrived.try_recv().ok()));
        let (now, is_away) = {
            let world = sim.world();
            if connection != world.broker.connection {
                connection = world.broker.connection;
                commits.lost();
            }
            (Instant::now().into_std(), world.broker.is_away(sim.now()))
        };
        for entry in entries {
            commits.arrive(entry, now);
        }
        if is_away {
            commits.lost();
        } else {
            commits.advance(now);
            while let Some(order) = commits.order() {
                // The channel is closed at the end of the simulation only.
                let _gone = to_broker.send((connection, order));
            }
        }
        for (waiter, outcome) in commits.told() {
            let _left = waiter.send(outcome);
        }
    }
}

/// The connection to the broker. Publishes arrive in order. Some arrive after the gateway has given them up.
async fn transmit(
    sim: Simulation,
    mut wire: mpsc::UnboundedReceiver<InTransit>,
    answers: mpsc::UnboundedSender<(u64, u64, Answer)>,
) {
    while let Some((connection, order)) = wire.recv().await {
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
        let answer = sim.world().broker.publish(&order, refuses, now);
        sim.note(|| format!("broker: {} {:?} {answer:?}", &order.webhook.id.to_string()[..8], order.place));
        if let Some(number) = order.number
            && !sim.happens(|faults| faults.lost_answer)
        {
            sim.pass(NETWORK_DELAY).await;
            // The gateway may have been killed.
            let _gone = answers.send((connection, number, answer));
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
                let entry = Entry {
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
