//! The gateway: its commit core before the model of the broker, and senders before the gateway.

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

use crate::world::Sim;

/// `PUBLISH_TIMEOUT`.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often deadlines are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long a message is on its way to the broker or back, at most.
const WAY: Duration = Duration::from_millis(3);
const PATH: &str = "/api/webhooks/elevenlabs/call-status";

type Waiter = oneshot::Sender<PublishResult>;
/// Where senders find the gateway; none while it is down.
type Door = watch::Receiver<Option<mpsc::UnboundedSender<PublishRequest<Waiter>>>>;

/// A message on its way to the broker, on this connection.
type Sent = (u64, OutgoingMessage);

/// Keeps the gateway running until `end`, however often it is killed.
pub async fn keep(
    sim: Sim,
    door: watch::Sender<Option<mpsc::UnboundedSender<PublishRequest<Waiter>>>>,
    end: CancellationToken,
) {
    while !end.is_cancelled() {
        let (queue, arrived) = mpsc::unbounded_channel();
        door.send_replace(Some(queue));
        let process = run(sim.clone(), arrived);
        tokio::select! {
            biased;
            () = end.cancelled() => return,
            () = process => {}
            () = killed(&sim) => {}
        }
        sim.note(|| "the gateway is killed".to_owned());
        door.send_replace(None);
        sim.pass(Duration::from_secs(2)).await;
    }
}

async fn killed(sim: &Sim) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if sim.happens(|faults| faults.killed / 3.0) {
            return;
        }
    }
}

async fn run(sim: Sim, mut arrived: mpsc::UnboundedReceiver<PublishRequest<Waiter>>) {
    let mut commits: GroupCommit<Waiter> = GroupCommit::default();
    commits.set_supports_batches(true);
    let (to_broker, wire) = mpsc::unbounded_channel();
    let (answering, mut answers) = mpsc::unbounded_channel();
    crate::spawn(broker(sim.clone(), wire, answering));
    let mut connection = sim.world().broker.connection;
    let mut look = tokio::time::interval(LOOK);
    loop {
        let mut entries = Vec::new();
        tokio::select! {
            biased;
            _ = look.tick(), if !commits.is_idle() => commits.expire(Instant::now().into_std()),
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
                // A broker that is gone takes nothing; its messages are lost with it.
                let _gone = to_broker.send((connection, message));
            }
        }
        for (waiter, outcome) in commits.completed() {
            let _left = waiter.send(outcome);
        }
    }
}

/// The connection: messages arrive in their order, some late, some after the gateway has given them up.
async fn broker(
    sim: Sim,
    mut wire: mpsc::UnboundedReceiver<Sent>,
    answers: mpsc::UnboundedSender<(u64, AckId, Answer)>,
) {
    while let Some((connection, message)) = wire.recv().await {
        sim.pass(WAY).await;
        let frozen = sim.world().broker.frozen_until;
        if let Some(left) = frozen.and_then(|until| Duration::try_from(until.duration_since(sim.now())).ok())
        {
            tokio::time::sleep(left).await;
        }
        // What was on its way when the connection broke was received, or is sent again by the client on the
        // next connection, or is lost.
        if connection != sim.world().broker.connection && sim.below(2) == 0 {
            continue;
        }
        let refuses = sim.happens(|faults| faults.refusal);
        let now = sim.now();
        let answer = sim.world().broker.publish(&message, refuses, now);
        let id = message.webhook.id.to_string();
        sim.note(|| format!("broker: {} {:?} {answer:?}", &id[..8], message.position));
        if let Some(ack) = message.ack
            && !sim.happens(|faults| faults.lost_answer)
        {
            sim.pass(WAY).await;
            // The gateway may be gone.
            let _gone = answers.send((connection, ack, answer));
        }
    }
}

/// Posts `body` until it is accepted or the sender has enough; whether it was.
pub async fn post(sim: &Sim, door: &Door, body: Bytes) -> bool {
    let id = webhook_id(PATH, std::slice::from_ref(&body));
    loop {
        let queue = door.borrow().clone();
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
                let deadline = (now + TIMEOUT).into_std();
                let request = PublishRequest { webhook: Arc::new(webhook), deadline, waiter };
                let _closing = queue.send(request);
                let outcome = outcome.await.ok();
                if now.elapsed() > TIMEOUT + LOOK {
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
            return false; // ElevenLabs repeats nothing but transcripts, and not for ever.
        }
        sim.pass(Duration::from_secs(3)).await;
    }
}
